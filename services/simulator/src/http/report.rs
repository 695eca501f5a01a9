//! The bodies of `POST /api/report` and of its answer.

use std::collections::BTreeMap;

use glance_protocol::{ClusterName, Details, State};
use serde::{Deserialize, Serialize};

use crate::outbox::Parcel;

/// What a group has to say of its shards.
#[derive(Debug, Default)]
pub(crate) struct Batch(BTreeMap<u32, Entry>);

#[derive(Debug)]
struct Entry {
    state: Option<State>,
    details: Details,
}

impl Parcel for Batch {
    fn update(&mut self, newer: Self) {
        for (id, mut entry) in newer.0 {
            let older = self.0.get(&id).and_then(|entry| entry.state);
            entry.state = entry.state.or(older);
            self.0.insert(id, entry);
        }
    }
}

/// The body of a report.
#[derive(Serialize)]
struct ReportWire<'a> {
    cluster: &'a ClusterName,
    group: &'a str,
    shards: Vec<EntryWire<'a>>,
}

#[derive(Serialize)]
struct EntryWire<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(flatten)]
    details: &'a Details,
}

/// The answer to a report. An error has neither field.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// How many entries were taken.
    pub(crate) accepted: usize,
    /// The others.
    pub(crate) rejected: Vec<Rejected>,
}

/// An entry that was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct Rejected {
    /// The shard.
    pub(crate) id: u32,
    /// Why.
    pub(crate) error: String,
}

/// The answer when nothing at all was taken, for a reason that has to do with no entry.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) error: String,
}

impl Batch {
    /// What is said of one shard: a report, or a health check when there is no state.
    pub(crate) fn of(shard: u32, state: Option<State>, details: Details) -> Self {
        Self(BTreeMap::from([(shard, Entry { state, details })]))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// The body for a group of a cluster.
    pub(crate) fn to_bytes(
        &self,
        cluster: &ClusterName,
        group: &str,
    ) -> serde_json::Result<Vec<u8>> {
        let shards = self.0.iter().map(|(id, entry)| EntryWire {
            id: *id,
            state: entry.state.map(State::name),
            details: &entry.details,
        });
        serde_json::to_vec(&ReportWire {
            cluster,
            group,
            shards: shards.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(shard: u32, state: Option<State>, latency_ms: f64) -> Batch {
        let details = Details {
            latency_ms: Some(latency_ms),
            ..Details::default()
        };
        Batch::of(shard, state, details)
    }

    #[test]
    fn a_health_check_does_not_take_away_a_report_that_waits() {
        let mut waiting = batch(1, Some(State::Resuming), 1.0);
        waiting.update(batch(1, None, 2.0));
        waiting.update(batch(2, None, 3.0));
        let bytes = waiting.to_bytes(&"main".parse().unwrap(), "0").unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"cluster":"main","group":"0","shards":[{"id":1,"state":"resuming","latency_ms":2.0},{"id":2,"latency_ms":3.0}]}"#
        );
    }
}
