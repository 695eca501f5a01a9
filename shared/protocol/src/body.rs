//! Bodies of the messages that bots publish.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{State, shard::SHARDS_MAX, state::StateError};

/// The largest body of a report or a health check, in bytes.
pub const BODY_BYTES_MAX: usize = 1024;
/// The longest `group` and `version`, in bytes.
pub const TEXT_BYTES_MAX: usize = 64;

/// What a bot may tell of a shard besides its state. All of it is optional.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Details {
    /// How many shards the cluster has by the bot's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// The process that hosts the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// The version of the bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// Latency of the gateway connection in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// How many guilds the shard serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guilds: Option<u64>,
    /// How many of its guilds Discord calls unavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_guilds: Option<u64>,
    /// Gateway events a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_s: Option<f64>,
}

impl Details {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what `newer` knows, and keeps the rest.
    pub fn update(&mut self, newer: &Self) {
        fn take<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
            if let Some(value) = new {
                *old = Some(value.clone());
            }
        }
        take(&mut self.total, newer.total.as_ref());
        take(&mut self.group, newer.group.as_ref());
        take(&mut self.version, newer.version.as_ref());
        take(&mut self.latency_ms, newer.latency_ms.as_ref());
        take(&mut self.guilds, newer.guilds.as_ref());
        take(
            &mut self.unavailable_guilds,
            newer.unavailable_guilds.as_ref(),
        );
        take(&mut self.events_per_s, newer.events_per_s.as_ref());
    }

    /// Reads the optional fields of a JSON object. The second value counts the
    /// ones that were ignored because they have no sensible value.
    #[must_use]
    pub fn from_map(map: &Map<String, Value>) -> (Self, u32) {
        let mut reader = Reader { map, ignored: 0 };
        let details = Self {
            total: reader.take("total", |value| {
                let total = u32::try_from(value.as_u64()?).ok()?;
                (1..=SHARDS_MAX).contains(&total).then_some(total)
            }),
            group: reader.take("group", short_text),
            version: reader.take("version", short_text),
            latency_ms: reader.take("latency_ms", amount),
            guilds: reader.take("guilds", count),
            unavailable_guilds: reader.take("unavailable_guilds", count),
            events_per_s: reader.take("events_per_s", amount),
        };
        (details, reader.ignored)
    }
}

/// Reads optional fields and counts the ones that it had to ignore.
struct Reader<'a> {
    map: &'a Map<String, Value>,
    ignored: u32,
}

impl Reader<'_> {
    fn take<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        let read = read(value);
        self.ignored += u32::from(read.is_none());
        read
    }
}

fn short_text(value: &Value) -> Option<Arc<str>> {
    let text = value.as_str()?;
    (text.len() <= TEXT_BYTES_MAX).then(|| text.into())
}

/// A number that JavaScript can hold exactly, so that the page shows it as it was sent.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number < 1 << 53)
}

/// Three decimals are enough, and nobody can make others write a number of 300 digits.
fn amount(value: &Value) -> Option<f64> {
    let rounded = (value.as_f64()? * 1000.0).round() / 1000.0;
    // Adding zero turns -0 into 0.
    (0.0..1e9).contains(&rounded).then_some(rounded + 0.0)
}

/// A report or a health check, read from the body of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReportBody {
    /// The state; a health check need not carry one.
    pub state: Option<State>,
    /// Everything else.
    pub details: Details,
    /// How many optional fields had no sensible value and were left out.
    pub ignored: u32,
}

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than [`BODY_BYTES_MAX`].
    #[error("the body has {0} bytes, and at most {BODY_BYTES_MAX} are taken")]
    TooLarge(usize),
    /// A report without a state.
    #[error("the body holds no state")]
    NoState,
    /// No such state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The `state` of a JSON object is neither a number nor a name.
    #[error("'state' must be a whole number from 0 to 6 or a name")]
    StateType,
    /// Neither a state nor a JSON object.
    #[error("the body is no JSON object")]
    Shape,
}

impl ReportBody {
    /// Reads the body of a `.state` message: `3`, `online`, or a JSON object with a `state`.
    ///
    /// # Errors
    ///
    /// When it is none of these.
    pub fn parse_state(body: &[u8]) -> Result<Self, BodyError> {
        let text = text(body)?;
        if text.is_empty() {
            return Err(BodyError::NoState);
        }
        if text.starts_with('{') {
            let report = Self::parse_object(text)?;
            return match report.state {
                Some(_) => Ok(report),
                None => Err(BodyError::NoState),
            };
        }
        let state = match text.parse::<i64>() {
            Ok(number) => State::from_number(number)?,
            Err(_) => State::from_name(text)?,
        };
        Ok(Self {
            state: Some(state),
            ..Self::default()
        })
    }

    /// Reads the body of a `.health` message: empty, or a JSON object.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn parse_health(body: &[u8]) -> Result<Self, BodyError> {
        let text = text(body)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::parse_object(text)
    }

    /// Reads the fields of a JSON object.
    ///
    /// # Errors
    ///
    /// When its `state` is none. Other fields are ignored when they make no sense.
    pub fn from_map(map: &Map<String, Value>) -> Result<Self, BodyError> {
        let state = match map.get("state") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(State::from_name(name)?),
            Some(value) => {
                let number = value.as_i64().ok_or(BodyError::StateType)?;
                Some(State::from_number(number)?)
            }
        };
        let (details, ignored) = Details::from_map(map);
        Ok(Self {
            state,
            details,
            ignored,
        })
    }

    fn parse_object(text: &str) -> Result<Self, BodyError> {
        let map = serde_json::from_str(text).map_err(|_| BodyError::Shape)?;
        Self::from_map(&map)
    }

    /// The shortest body that says the same: empty, a digit, or a JSON object.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            state: Option<u8>,
            #[serde(flatten)]
            details: &'a Details,
        }
        if self.details.is_empty() {
            return self
                .state
                .map(|state| vec![b'0' + state.number()])
                .unwrap_or_default();
        }
        let wire = Wire {
            state: self.state.map(State::number),
            details: &self.details,
        };
        // Serialising plain numbers and texts into memory cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// The body of a `.health` message, which cannot be a bare digit.
    #[must_use]
    pub fn to_health_bytes(&self) -> Vec<u8> {
        match self.state {
            Some(state) if self.details.is_empty() => {
                format!("{{\"state\":{}}}", state.number()).into_bytes()
            }
            _ => self.to_bytes(),
        }
    }
}

fn text(body: &[u8]) -> Result<&str, BodyError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge(body.len()));
    }
    // A line feed at the end is what `echo` adds.
    std::str::from_utf8(body)
        .map(|text| text.trim_matches([' ', '\t', '\r', '\n']))
        .map_err(|_| BodyError::Shape)
}
