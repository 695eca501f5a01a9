//! What happened lately: the last transitions of each shard, and the outages of
//! each cluster. A bounded memory of this process; it is empty after a start.
//! No IO, no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use glance_protocol::{Cause, ClusterName, State, feed::Notices, seconds};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    mirror::{BlockChange, Mirror, ShardChange},
    verdict::Tally,
};

/// How many transitions of a shard are kept.
const TRANSITIONS_MAX: usize = 8;
/// How many outages are kept.
const OUTAGES_MAX: usize = 32;
/// An outage that comes back so soon is the same one.
const SAME_MS: i64 = 60_000;
/// So many times as many as were down for some time are an outage of their own.
const PEAK: u32 = 2;

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

/// Shards of a cluster were down.
#[derive(Debug, Clone, PartialEq)]
struct Outage {
    cluster: ClusterName,
    began_ms: i64,
    ended_ms: Option<i64>,
    /// When it was seen.
    noticed_ms: i64,
    /// The most at one time.
    shards: u32,
}

impl Outage {
    fn to_json(&self) -> Value {
        json!({
            "cluster": self.cluster.as_str(),
            "began": seconds(self.began_ms),
            "ended": self.ended_ms.map(seconds),
            "shards": self.shards,
        })
    }
}

/// What this process remembers.
#[derive(Debug)]
pub(crate) struct History {
    /// From when on it remembers.
    since_ms: Option<i64>,
    /// The last transitions of shards that had any, the newest last.
    shards: BTreeMap<ClusterName, BTreeMap<u32, VecDeque<Transition>>>,
    /// The newest last.
    outages: VecDeque<Outage>,
    /// The same as JSON, the newest first.
    told: Arc<str>,
    /// Whether states or notices changed since the last look.
    changed: bool,
}

impl Default for History {
    fn default() -> Self {
        Self {
            since_ms: None,
            shards: BTreeMap::new(),
            outages: VecDeque::new(),
            told: "[]".into(),
            changed: false,
        }
    }
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
            self.count(
                &cluster.info.name,
                tally.broken,
                tally.broken_since_ms,
                now_ms,
            );
        }
        // Of a cluster that is gone, nothing is down any more.
        for outage in &mut self.outages {
            if find(mirror, &outage.cluster).is_none() {
                outage.ended_ms.get_or_insert(now_ms);
            }
        }
        let newest_first: Vec<Value> = self.outages.iter().rev().map(Outage::to_json).collect();
        self.told = Value::from(newest_first).to_string().into();
    }

    /// A few that are down for days are one outage, and many that come on top of them another: each has a time of its own.
    fn count(&mut self, cluster: &ClusterName, down: u32, since_ms: Option<i64>, now_ms: i64) {
        let rest_began_ms = self.end_peaks(cluster, down, now_ms);
        if down == 0 {
            return;
        }
        let Some(largest) = self.open(cluster).last().copied() else {
            match (rest_began_ms, self.recent(cluster, 0, now_ms)) {
                (Some(began_ms), _) => self.begin_outage(cluster, down, began_ms, now_ms),
                (None, Some(again)) => self.reopen(again, down),
                (None, None) => {
                    let began_ms = since_ms.unwrap_or(now_ms).min(now_ms);
                    self.begin_outage(cluster, down, began_ms, now_ms);
                }
            }
            return;
        };
        let shards = self.outages[largest].shards;
        if down <= shards.saturating_mul(PEAK) {
            self.reopen(largest, down);
        } else if let Some(again) = self.recent(cluster, shards, now_ms) {
            self.reopen(again, down);
        } else if now_ms - self.outages[largest].noticed_ms < SAME_MS {
            // It has just begun, and grows.
            self.reopen(largest, down);
        } else {
            self.begin_outage(cluster, down, now_ms, now_ms);
        }
    }

    /// Ends the outages of which half is over. The rest of the last one goes on as a smaller one, since the returned time.
    fn end_peaks(&mut self, cluster: &ClusterName, down: u32, now_ms: i64) -> Option<i64> {
        let mut rest_began_ms = None;
        for index in self.open(cluster).into_iter().rev() {
            let outage = &mut self.outages[index];
            if down > 0 && down.saturating_mul(PEAK) > outage.shards {
                return None;
            }
            outage.ended_ms = Some(now_ms);
            rest_began_ms = Some(outage.began_ms);
        }
        rest_began_ms
    }

    fn begin_outage(&mut self, cluster: &ClusterName, shards: u32, began_ms: i64, now_ms: i64) {
        if self.outages.len() == OUTAGES_MAX {
            let over = self.outages.iter().position(|it| it.ended_ms.is_some());
            self.outages.remove(over.unwrap_or(0));
        }
        self.outages.push_back(Outage {
            cluster: cluster.clone(),
            began_ms,
            noticed_ms: now_ms,
            ended_ms: None,
            shards,
        });
    }

    fn reopen(&mut self, index: usize, down: u32) {
        let outage = &mut self.outages[index];
        outage.ended_ms = None;
        outage.shards = outage.shards.max(down);
    }

    /// The outages that go on, the largest last.
    fn open(&self, cluster: &ClusterName) -> Vec<usize> {
        let outages = self.outages.iter().enumerate();
        let open = outages.filter(|(_, it)| it.cluster == *cluster && it.ended_ms.is_none());
        let mut open: Vec<usize> = open.map(|(index, _)| index).collect();
        open.sort_by_key(|index| self.outages[*index].shards);
        open
    }

    /// An outage of more shards that was over a moment ago.
    fn recent(&self, cluster: &ClusterName, shards: u32, now_ms: i64) -> Option<usize> {
        let is_recent = |it: &Outage| it.ended_ms.is_some_and(|ms| now_ms - ms < SAME_MS);
        let outages = self.outages.iter().enumerate();
        let recent =
            outages.filter(|(_, it)| it.cluster == *cluster && is_recent(it) && it.shards > shards);
        recent
            .max_by_key(|(_, it)| it.ended_ms)
            .map(|(index, _)| index)
    }

    /// The outages, for everybody who asks.
    #[must_use]
    pub(crate) fn lately(&self) -> Lately {
        Lately {
            last: self.last_outage(),
            since_ms: self.since_ms,
            outages: self.told.clone(),
        }
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

    /// The outage that ended last, for the text.
    fn last_outage(&self) -> Option<LastOutage> {
        let ended = self.outages.iter().filter_map(|outage| {
            Some(LastOutage {
                cluster: outage.cluster.clone(),
                shards: outage.shards,
                began_ms: outage.began_ms,
                ended_ms: outage.ended_ms?,
            })
        });
        ended.max_by_key(|outage| (outage.ended_ms, outage.shards))
    }
}

/// What is told of the fleet as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Lately {
    /// The outage that ended last.
    pub last: Option<LastOutage>,
    since_ms: Option<i64>,
    outages: Arc<str>,
}

impl Lately {
    /// What `/api/history` answers.
    #[must_use]
    pub(crate) fn to_json(&self, now_ms: i64) -> String {
        let since = Value::from(self.since_ms.map(seconds));
        let (now, outages) = (seconds(now_ms), &self.outages);
        format!(r#"{{"now":{now},"since":{since},"outages":{outages}}}"#)
    }
}

/// An outage that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastOutage {
    /// Whose it was.
    pub cluster: ClusterName,
    /// How many were down, at the most.
    pub shards: u32,
    /// When it began, in Unix milliseconds.
    pub began_ms: i64,
    /// When it ended, in Unix milliseconds.
    pub ended_ms: i64,
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
    fn an_outage_is_one_although_it_flickers() {
        let mut history = History::default();
        let steps = [
            (0, 0, None),
            (1000, 3, Some(900)),
            (2000, 128, Some(900)),
            (3000, 0, None),
            (50_000, 2, Some(50_000)),
            (60_000, 0, None),
        ];
        for (now_ms, down, since_ms) in steps {
            history.count(&name(), down, since_ms, now_ms);
        }
        let last = history.last_outage().unwrap();
        assert_eq!(
            (last.shards, last.began_ms, last.ended_ms),
            (128, 900, 60_000)
        );
        history.count(&name(), 1, Some(130_000), 130_000);
        assert_eq!(history.outages.len(), 2);
        assert_eq!(history.last_outage(), Some(last), "the other one goes on");
        for round in 1..100 {
            let now_ms = round * 200_000;
            history.count(&name(), 1, None, now_ms);
            history.count(&name(), 0, None, now_ms + 1);
        }
        assert_eq!(history.outages.len(), OUTAGES_MAX);
    }

    const DAY_MS: i64 = 86_400_000;

    /// The last outage that is over, after each look.
    fn look(history: &mut History, down: u32, now_ms: i64) -> Option<(u32, i64, i64)> {
        history.count(&name(), down, Some(0), now_ms);
        let last = history.last_outage();
        last.map(|it| (it.shards, it.began_ms, it.ended_ms))
    }

    #[test]
    fn many_on_top_of_a_few_have_a_time_of_their_own() {
        let mut history = History::default();
        let mut count = |down, now_ms| look(&mut history, down, now_ms);
        assert_eq!(count(1, 0), None);
        assert_eq!(count(1, DAY_MS), None);
        assert_eq!(count(128, 2 * DAY_MS), None);
        let peak = Some((128, 2 * DAY_MS, 2 * DAY_MS + 240_000));
        assert_eq!(count(1, 2 * DAY_MS + 240_000), peak);
        assert_eq!(count(1, 3 * DAY_MS), peak);
        assert_eq!(count(0, 4 * DAY_MS), Some((1, 0, 4 * DAY_MS)));
        // Shard after shard within a minute is one.
        for (down, now_ms) in [(1, 0), (10, 1000), (128, 2000), (0, 300_000)] {
            count(down, 10 * DAY_MS + now_ms);
        }
        assert_eq!(history.outages.len(), 3);
    }

    #[test]
    fn the_rest_of_an_outage_is_a_smaller_one() {
        let mut history = History::default();
        assert_eq!(look(&mut history, 128, 1000), None);
        let peak = Some((128, 0, 240_000));
        assert_eq!(look(&mut history, 1, 240_000), peak);
        assert_eq!(look(&mut history, 1, DAY_MS), peak);
        let rest = Some((1, 0, 3 * DAY_MS));
        assert_eq!(look(&mut history, 0, 3 * DAY_MS), rest);
    }

    #[test]
    fn a_peak_that_flickers_leaves_room_for_others() {
        let mut history = History::default();
        look(&mut history, 1, 0);
        for round in 0..100 {
            let now_ms = DAY_MS + round * 20_000;
            look(&mut history, 128, now_ms);
            look(&mut history, 1, now_ms + 10_000);
        }
        assert_eq!(history.outages.len(), 2);
        let ended = 10 * DAY_MS;
        assert_eq!(look(&mut history, 0, ended), Some((1, 0, ended)));
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
