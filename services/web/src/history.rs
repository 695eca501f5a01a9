//! What happened lately: the last transitions of each shard, and the outages of
//! each cluster. A bounded memory of this process; it is empty after a start.
//! No IO, no clock.

use std::collections::{BTreeMap, VecDeque};

use glance_protocol::{Cause, ClusterName, State, feed::Notices, seconds};
use serde_json::{Value, json};

use self::outages::Outages;
use crate::{
    cluster::Cluster,
    mirror::{BlockChange, Mirror, ShardChange},
    verdict::Tally,
};

mod outages;

pub(crate) use outages::{LastOutage, Lately};

/// How many transitions of a shard are kept.
const TRANSITIONS_MAX: usize = 8;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// The outages.
    Fleet,
    /// The transitions of a shard.
    Shard(ClusterName, u32),
}

impl Question {
    /// Reads the path of a request, after `/api/history`.
    #[must_use]
    pub(crate) fn parse(rest: &str) -> Option<Self> {
        if rest.is_empty() {
            return Some(Self::Fleet);
        }
        let (cluster, shard) = rest.strip_prefix('/')?.split_once('/')?;
        let shard = glance_protocol::ShardId::parse(shard).ok()?;
        Some(Self::Shard(cluster.parse().ok()?, shard.get()))
    }
}

/// A shard entered another state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Transition {
    at_ms: i64,
    state: State,
    previous: State,
    cause: Option<Cause>,
}

impl Transition {
    fn to_json(self) -> Value {
        json!({
            "at": seconds(self.at_ms),
            "state": self.state.number(),
            "previous": self.previous.number(),
            "cause": self.cause.map(Cause::as_str),
        })
    }
}

/// What this process remembers.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// From when on it remembers.
    since_ms: Option<i64>,
    /// The last transitions of shards that had any, the newest last.
    shards: BTreeMap<ClusterName, BTreeMap<u32, VecDeque<Transition>>>,
    outages: Outages,
    /// Whether states or notices changed since the last look.
    changed: bool,
}

impl History {
    /// The table is complete: what comes from now on is news.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        self.since_ms = Some(now_ms);
        self.changed = true;
    }

    /// Whether it remembers anything yet.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.since_ms.is_some()
    }

    /// Notes the transitions in a block.
    pub(crate) fn note(&mut self, change: &BlockChange) {
        self.changed = true;
        if self.since_ms.is_none() {
            return;
        }
        let shards = self.shards.entry(change.cluster.clone()).or_default();
        for ShardChange {
            shard,
            state_changed,
        } in &change.shards
        {
            let Some(at_ms) = shard.since_ms.filter(|_| *state_changed) else {
                continue;
            };
            let ring = shards.entry(shard.id).or_default();
            if ring.len() == TRANSITIONS_MAX {
                ring.pop_front();
            }
            ring.push_back(Transition {
                at_ms,
                state: shard.state,
                previous: shard.previous,
                cause: shard.cause,
            });
        }
    }

    /// Notices decide what is an outage.
    pub(crate) fn look_again(&mut self) {
        self.changed = true;
    }

    /// Forgets shards that are gone.
    pub(crate) fn resize(&mut self, mirror: &Mirror) {
        self.changed = true;
        self.shards.retain(|name, shards| {
            let cluster = find(mirror, name);
            let total = cluster.map_or(0, |cluster| cluster.info.total);
            shards.retain(|id, _| *id < total);
            cluster.is_some()
        });
    }

    /// Looks how many shards are down; called a few times a second.
    pub(crate) fn look(&mut self, mirror: &Mirror, notices: &Notices, now_ms: i64) {
        if self.since_ms.is_none() || !std::mem::take(&mut self.changed) {
            return;
        }
        for cluster in mirror.clusters() {
            let tally = Tally::of(cluster, notices, now_ms);
            self.outages.count(
                &cluster.info.name,
                tally.broken,
                tally.broken_since_ms,
                now_ms,
            );
        }
        let is_there = |cluster: &ClusterName| find(mirror, cluster).is_some();
        self.outages.settle(is_there, now_ms);
    }

    /// The outages, for everybody who asks.
    #[must_use]
    pub(crate) fn lately(&self) -> Lately {
        self.outages.lately(self.since_ms)
    }

    /// The transitions of a shard as JSON; `None` for what does not exist.
    #[must_use]
    pub(crate) fn answer(
        &self,
        cluster: &ClusterName,
        id: u32,
        mirror: &Mirror,
        now_ms: i64,
    ) -> Option<String> {
        let known = self.transitions(find(mirror, cluster)?, id)?;
        let newest_first: Vec<Value> = known.into_iter().rev().map(Transition::to_json).collect();
        let (now, since) = (seconds(now_ms), self.since_ms.map(seconds));
        Some(json!({"now": now, "since": since, "transitions": newest_first}).to_string())
    }

    /// The oldest first. What the table itself says is known of every shard.
    fn transitions(&self, cluster: &Cluster, id: u32) -> Option<Vec<Transition>> {
        let row = cluster.row(id)?;
        let kept = self.shards.get(&cluster.info.name);
        if let Some(ring) = kept.and_then(|shards| shards.get(&id)) {
            return Some(ring.iter().copied().collect());
        }
        let entered = row.since_ms.map(|at_ms| Transition {
            at_ms,
            state: row.state,
            previous: row.previous,
            cause: row.cause,
        });
        Some(entered.into_iter().collect())
    }
}

fn find<'a>(mirror: &'a Mirror, name: &ClusterName) -> Option<&'a Cluster> {
    let mut clusters = mirror.clusters().iter();
    clusters.find(|cluster| cluster.info.name == *name)
}

#[cfg(test)]
mod tests {
    use glance_protocol::feed::{PageShard, Version};

    use super::*;

    fn name() -> ClusterName {
        "main".parse().unwrap()
    }

    fn change(id: u32, at_ms: i64) -> BlockChange {
        let shard = PageShard {
            id,
            state: State::Online,
            previous: State::Resuming,
            since_ms: Some(at_ms),
            cause: Some(Cause::Report),
        };
        BlockChange {
            cluster: name(),
            block: 0,
            version: Version::default(),
            shards: vec![ShardChange {
                shard,
                state_changed: true,
            }],
        }
    }

    #[test]
    fn only_the_last_transitions_are_kept() {
        let mut history = History::default();
        history.note(&change(0, 1));
        assert!(
            history.shards.is_empty(),
            "what was there before is no news"
        );
        history.begin(0);
        for at_ms in 0..20 {
            history.note(&change(0, at_ms));
        }
        let ring = &history.shards[&name()][&0];
        let times: Vec<i64> = ring.iter().map(|entry| entry.at_ms).collect();
        assert_eq!(times, (12..20).collect::<Vec<_>>());
        history.resize(&Mirror::default());
        assert!(history.shards.is_empty());
    }

    #[test]
    fn questions() {
        for (path, question) in [
            ("", Some(Question::Fleet)),
            ("/main/12", Some(Question::Shard(name(), 12))),
            ("/main", None),
            ("/main/x", None),
            ("/ma in/1", None),
            ("/main/1/", None),
            ("x", None),
        ] {
            assert_eq!(Question::parse(path), question, "{path}");
        }
    }
}
