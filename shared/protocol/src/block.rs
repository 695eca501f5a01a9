//! Blocks of the table: 1,024 shards each, as columns.
//!
//! Columns repeat no field names, and times are distances from the block's own
//! time, so a block of a large bot takes some ten kilobytes.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Cause, ClusterName, DecodeError, Details, State, shard::BLOCK_LEN};

const VERSION: u32 = 1;

/// What is known of one shard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShardRow {
    /// Its present state.
    pub state: State,
    /// The state before that.
    pub previous: State,
    /// What made it enter its present state; `None` before the first report.
    pub cause: Option<Cause>,
    /// When it entered its present state, in Unix milliseconds; `None` before the first report.
    pub since_ms: Option<i64>,
    /// The last sign of life, in Unix milliseconds; `None` before the first report.
    pub last_heard_ms: Option<i64>,
    /// What the bot told besides. `total` is not kept here.
    pub details: Details,
}

impl ShardRow {
    /// Whether the shard has ever reported.
    #[must_use]
    pub fn reported(&self) -> bool {
        self.since_ms.is_some()
    }
}

/// A block: shards `block * 1024 ..` of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct TableBlock {
    /// The epoch of the aggregator that wrote it.
    pub epoch: u64,
    /// The cluster.
    pub cluster: ClusterName,
    /// Which block of the cluster.
    pub block: u32,
    /// The stream of states that `sequence` counts in: its time of creation.
    pub stream: String,
    /// The block is true up to this sequence of that stream.
    pub sequence: u64,
    /// When it was written, in Unix milliseconds.
    pub at_ms: i64,
    /// One row a shard, at most 1,024.
    pub rows: Vec<ShardRow>,
}

/// Texts that repeat: each once, and for each shard its place in the list.
#[derive(Serialize, Deserialize)]
struct Dictionary {
    values: Vec<Arc<str>>,
    index: Vec<Option<u32>>,
}

type Column<T> = Option<Vec<Option<T>>>;

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    epoch: u64,
    cluster: ClusterName,
    block: u32,
    len: u32,
    stream: String,
    sequence: u64,
    at: i64,
    states: String,
    previous: String,
    causes: String,
    /// Milliseconds before `at`.
    since: Vec<Option<i64>>,
    /// Milliseconds before `at`.
    heard: Vec<Option<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Dictionary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Dictionary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency_ms: Column<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guilds: Column<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unavailable_guilds: Column<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events_per_s: Column<f64>,
}

impl TableBlock {
    /// Moves all times by so many milliseconds: the clock that they were read off differs from another.
    pub fn shift_times(&mut self, by_ms: i64) {
        let shift = |time: &mut i64| *time = time.saturating_add(by_ms);
        shift(&mut self.at_ms);
        for row in &mut self.rows {
            row.since_ms.as_mut().map(shift);
            row.last_heard_ms.as_mut().map(shift);
        }
    }

    /// The value of the block's key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let rows = &self.rows;
        let age = |time: Option<i64>| time.map(|ms| self.at_ms.saturating_sub(ms));
        let wire = Wire {
            v: VERSION,
            epoch: self.epoch,
            cluster: self.cluster.clone(),
            block: self.block,
            len: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            stream: self.stream.clone(),
            sequence: self.sequence,
            at: self.at_ms,
            states: rows.iter().map(|row| row.state.to_char()).collect(),
            previous: rows.iter().map(|row| row.previous.to_char()).collect(),
            causes: rows.iter().map(|row| Cause::to_char(row.cause)).collect(),
            since: rows.iter().map(|row| age(row.since_ms)).collect(),
            heard: rows.iter().map(|row| age(row.last_heard_ms)).collect(),
            group: dictionary(rows, |details| details.group.as_ref()),
            version: dictionary(rows, |details| details.version.as_ref()),
            latency_ms: column(rows, |details| details.latency_ms),
            guilds: column(rows, |details| details.guilds),
            unavailable_guilds: column(rows, |details| details.unavailable_guilds),
            events_per_s: column(rows, |details| details.events_per_s),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the value of a block's key.
    ///
    /// # Errors
    ///
    /// When it is not JSON of the known version, or its columns do not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.v != VERSION {
            return Err(DecodeError::Version(wire.v));
        }
        let rows = wire.rows()?;
        Ok(Self {
            epoch: wire.epoch,
            cluster: wire.cluster,
            block: wire.block,
            stream: wire.stream,
            sequence: wire.sequence,
            at_ms: wire.at,
            rows,
        })
    }
}

impl Wire {
    fn rows(&self) -> Result<Vec<ShardRow>, DecodeError> {
        if self.len > BLOCK_LEN {
            return Err(DecodeError::Inconsistent("a block has too many shards"));
        }
        let len = self.len as usize;
        let states = states(&self.states, len)?;
        let previous = states_before(&self.previous, len)?;
        let causes: Vec<Option<Cause>> = self
            .causes
            .chars()
            .map(Cause::from_char)
            .collect::<Option<_>>()
            .filter(|causes: &Vec<_>| causes.len() == len)
            .ok_or(DecodeError::Inconsistent("the column of causes is wrong"))?;
        let time = |age: Option<i64>| age.map(|ms| self.at.saturating_sub(ms));
        let mut rows = Vec::with_capacity(len);
        for (index, state) in states.into_iter().enumerate() {
            rows.push(ShardRow {
                state,
                previous: previous.get(index).copied().unwrap_or_default(),
                cause: causes.get(index).copied().flatten(),
                since_ms: time(at(&self.since, index)?),
                last_heard_ms: time(at(&self.heard, index)?),
                details: Details {
                    total: None,
                    group: word(self.group.as_ref(), index)?,
                    version: word(self.version.as_ref(), index)?,
                    latency_ms: value(self.latency_ms.as_ref(), index)?,
                    guilds: value(self.guilds.as_ref(), index)?,
                    unavailable_guilds: value(self.unavailable_guilds.as_ref(), index)?,
                    events_per_s: value(self.events_per_s.as_ref(), index)?,
                },
            });
        }
        Ok(rows)
    }
}

fn states(column: &str, len: usize) -> Result<Vec<State>, DecodeError> {
    column
        .chars()
        .map(State::from_char)
        .collect::<Option<Vec<_>>>()
        .filter(|states| states.len() == len)
        .ok_or(DecodeError::Inconsistent("the column of states is wrong"))
}

fn states_before(column: &str, len: usize) -> Result<Vec<State>, DecodeError> {
    states(column, len)
        .map_err(|_| DecodeError::Inconsistent("the column of previous states is wrong"))
}

fn at<T: Copy>(column: &[Option<T>], index: usize) -> Result<Option<T>, DecodeError> {
    column
        .get(index)
        .copied()
        .ok_or(DecodeError::Inconsistent("a column is too short"))
}

fn value<T: Copy>(column: Option<&Vec<Option<T>>>, index: usize) -> Result<Option<T>, DecodeError> {
    column.map_or(Ok(None), |column| at(column, index))
}

fn word(dictionary: Option<&Dictionary>, index: usize) -> Result<Option<Arc<str>>, DecodeError> {
    let Some(dictionary) = dictionary else {
        return Ok(None);
    };
    let Some(place) = at(&dictionary.index, index)? else {
        return Ok(None);
    };
    let word = dictionary.values.get(place as usize);
    word.map(|word| Some(word.clone()))
        .ok_or(DecodeError::Inconsistent("a text is not in its list"))
}

fn column<T>(rows: &[ShardRow], get: impl Fn(&Details) -> Option<T>) -> Column<T> {
    let values: Vec<Option<T>> = rows.iter().map(|row| get(&row.details)).collect();
    values.iter().any(Option::is_some).then_some(values)
}

fn dictionary(
    rows: &[ShardRow],
    get: impl Fn(&Details) -> Option<&Arc<str>>,
) -> Option<Dictionary> {
    let mut places: HashMap<&str, u32> = HashMap::new();
    let mut values: Vec<Arc<str>> = Vec::new();
    let index = rows
        .iter()
        .map(|row| {
            let word = get(&row.details)?;
            let next = u32::try_from(values.len()).ok()?;
            let place = *places.entry(word).or_insert(next);
            if place == next {
                values.push(word.clone());
            }
            Some(place)
        })
        .collect();
    (!values.is_empty()).then_some(Dictionary { values, index })
}
