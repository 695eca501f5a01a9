//! `POST /api/report`: many shards in one request.

use std::{collections::BTreeSet, fmt};

use glance_protocol::{
    Details, ReportBody, ShardId, Subject,
    body::{BODY_BYTES_MAX, BodyError},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{Map, Number as JsonNumber, Value};

use crate::{
    clusters::{Cluster, Clusters},
    path::Number,
    publish::{Message, Turn},
    refusal::{Refusal, Unavailable},
};

/// The largest report, in bytes.
pub(crate) const BYTES_MAX: usize = 512 * 1024;
/// The most entries of a report.
pub(crate) const ENTRIES_MAX: usize = 4096;

/// A report, of which nothing but its shape has been checked.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) cluster: String,
    /// `total`, `group` and `version` for all entries that have none of their own.
    defaults: Details,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Wire {
    cluster: String,
    shards: Entries,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

struct Entries(Vec<Entry>);

/// One shard of a report.
#[derive(Debug)]
struct Entry {
    id: Option<JsonNumber>,
    body: Result<ReportBody, String>,
}

/// The answer to a report.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) accepted: usize,
    rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Rejected {
    id: Option<JsonNumber>,
    error: String,
}

impl Outcome {
    /// The body of the answer.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Numbers and texts always fit into JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// An entry that makes sense by itself.
struct Valid {
    id: Option<JsonNumber>,
    shard: ShardId,
    body: ReportBody,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// When it is none, or has too many entries. Wrong entries are no error.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|cause| Refusal::Malformed(format!("the body is no report: {cause}")))?;
        let given = Details::from_map(&wire.rest).0;
        Ok(Self {
            cluster: wire.cluster,
            defaults: Details {
                total: given.total,
                group: given.group,
                version: given.version,
                ..Details::default()
            },
            entries: wire.shards.0,
        })
    }

    /// Publishes the entries, in their order.
    ///
    /// # Errors
    ///
    /// When the broker did not take all of them. The whole report can be sent again.
    pub(crate) async fn deliver(
        self,
        clusters: &Clusters,
        cluster: &Cluster,
        turn: &Turn<'_>,
    ) -> Result<Outcome, Unavailable> {
        let (valid, mut rejected) = self.check(cluster);
        let known = look_up(&valid, clusters, cluster, turn).await?;
        let mut messages = Vec::with_capacity(valid.len());
        let mut reported = Vec::new();
        for (entry, known) in valid.into_iter().zip(known) {
            if !known {
                let error = Refusal::NeverReported(entry.shard).to_string();
                rejected.push(Rejected {
                    id: entry.id,
                    error,
                });
                continue;
            }
            if entry.body.state.is_some() {
                reported.push(entry.shard);
            }
            messages.push(entry.into_message(cluster));
        }
        let accepted = messages.len();
        turn.deliver(messages).await?;
        for shard in reported {
            cluster.note_report(shard);
        }
        Ok(Outcome { accepted, rejected })
    }

    /// Checks that each entry is either taken, as the aggregator would take it, or told.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check_all(self, cluster: &Cluster) {
        let count = self.entries.len();
        let (valid, rejected) = self.check(cluster);
        assert_eq!(valid.len() + rejected.len(), count);
        for entry in valid {
            let message = entry.into_message(cluster);
            let read = match message.subject {
                Subject::State(..) => ReportBody::parse_state(&message.body),
                _ => ReportBody::parse_health(&message.body),
            };
            assert!(read.is_ok(), "{message:?}");
        }
        // It can be told.
        let outcome = Outcome {
            accepted: 0,
            rejected,
        };
        assert!(!outcome.to_bytes().is_empty());
    }

    fn check(self, cluster: &Cluster) -> (Vec<Valid>, Vec<Rejected>) {
        let mut valid = Vec::new();
        let mut rejected = Vec::new();
        for entry in self.entries {
            let id = entry.id.clone();
            match entry.check(cluster, &self.defaults) {
                Ok((shard, body)) => valid.push(Valid { id, shard, body }),
                Err(error) => rejected.push(Rejected { id, error }),
            }
        }
        (valid, rejected)
    }
}

impl Entry {
    fn check(self, cluster: &Cluster, defaults: &Details) -> Result<(ShardId, ReportBody), String> {
        let number = self.id.map(|number| number.to_string());
        let number = number.and_then(|number| Number::parse(&number));
        let number = number.ok_or("'id' must be a whole number")?;
        let mut details = defaults.clone();
        if let Ok(body) = &self.body {
            details.update(&body.details);
        }
        let shard = cluster.shard(&number, details.total);
        let shard = shard.map_err(|cause| cause.to_string())?;
        let mut body = self.body?;
        body.details = details;
        match body.to_bytes().len() {
            size if size > BODY_BYTES_MAX => Err(BodyError::TooLarge(size).to_string()),
            _ => Ok((shard, body)),
        }
    }
}

impl Valid {
    fn into_message(self, cluster: &Cluster) -> Message {
        let name = cluster.name.clone();
        match self.body.state {
            Some(_) => Message {
                subject: Subject::State(name, self.shard),
                body: self.body.to_bytes().into(),
            },
            None => Message {
                subject: Subject::Health(name, self.shard),
                body: self.body.to_health_bytes().into(),
            },
        }
    }
}

/// Which entries may be published: all reports, and the health checks of shards
/// that have reported, be it earlier in the same request.
async fn look_up(
    entries: &[Valid],
    clusters: &Clusters,
    cluster: &Cluster,
    turn: &Turn<'_>,
) -> Result<Vec<bool>, Unavailable> {
    let mut reported = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut places = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        if entry.body.state.is_some() {
            reported.insert(entry.shard);
        } else if !reported.contains(&entry.shard) && !cluster.reported(entry.shard) {
            open.insert(entry.shard);
            places.push((place, entry.shard));
        }
    }
    let found = turn.have_reported(clusters, cluster, &open).await?;
    let mut known = vec![true; entries.len()];
    for (place, shard) in places {
        if let Some(known) = known.get_mut(place) {
            *known = found.contains(&shard);
        }
    }
    Ok(known)
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of shards")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                // Each entry is turned into its few fields at once, so that odd ones take no memory.
                while let Some(value) = seq.next_element::<Value>()? {
                    if entries.len() == ENTRIES_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a report has at most {ENTRIES_MAX} shards"
                        )));
                    }
                    entries.push(Entry::from(value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_seq(EntriesVisitor)
    }
}

impl From<Value> for Entry {
    fn from(value: Value) -> Self {
        let Value::Object(mut map) = value else {
            return Self {
                id: None,
                body: Err(
                    "an entry must be an object such as {\"id\":48,\"state\":\"online\"}".into(),
                ),
            };
        };
        let id = match map.remove("id") {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        Self {
            id,
            body: ReportBody::from_map(&map).map_err(|cause| cause.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
