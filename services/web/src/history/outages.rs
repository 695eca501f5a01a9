//! The outages of all clusters, as far as this process remembers.

use std::{collections::VecDeque, sync::Arc};

use glance_protocol::{ClusterName, seconds};
use serde_json::{Value, json};

/// How many outages are kept.
const OUTAGES_MAX: usize = 32;
/// An outage that comes back so soon is the same one.
const SAME_MS: i64 = 60_000;
/// So many times as many as were down for some time are an outage of their own.
const PEAK: u32 = 2;

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

/// What was down, and when.
#[derive(Debug)]
pub(super) struct Outages {
    /// The newest last.
    list: VecDeque<Outage>,
    /// The same as JSON, the newest first.
    told: Arc<str>,
}

impl Default for Outages {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            told: "[]".into(),
        }
    }
}

impl Outages {
    /// A few that are down for days are one outage, and many that come on top of them another: each has a time of its own.
    pub(super) fn count(
        &mut self,
        cluster: &ClusterName,
        down: u32,
        since_ms: Option<i64>,
        now_ms: i64,
    ) {
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
        let shards = self.list[largest].shards;
        if down <= shards.saturating_mul(PEAK) {
            self.reopen(largest, down);
        } else if let Some(again) = self.recent(cluster, shards, now_ms) {
            self.reopen(again, down);
        } else if now_ms - self.list[largest].noticed_ms < SAME_MS {
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
            let outage = &mut self.list[index];
            if down > 0 && down.saturating_mul(PEAK) > outage.shards {
                return None;
            }
            outage.ended_ms = Some(now_ms);
            rest_began_ms = Some(outage.began_ms);
        }
        rest_began_ms
    }

    fn begin_outage(&mut self, cluster: &ClusterName, shards: u32, began_ms: i64, now_ms: i64) {
        if self.list.len() == OUTAGES_MAX {
            let over = self.list.iter().position(|it| it.ended_ms.is_some());
            self.list.remove(over.unwrap_or(0));
        }
        self.list.push_back(Outage {
            cluster: cluster.clone(),
            began_ms,
            noticed_ms: now_ms,
            ended_ms: None,
            shards,
        });
    }

    fn reopen(&mut self, index: usize, down: u32) {
        let outage = &mut self.list[index];
        outage.ended_ms = None;
        outage.shards = outage.shards.max(down);
    }

    /// The outages that go on, the largest last.
    fn open(&self, cluster: &ClusterName) -> Vec<usize> {
        let outages = self.list.iter().enumerate();
        let open = outages.filter(|(_, it)| it.cluster == *cluster && it.ended_ms.is_none());
        let mut open: Vec<usize> = open.map(|(index, _)| index).collect();
        open.sort_by_key(|index| self.list[*index].shards);
        open
    }

    /// An outage of more shards that was over a moment ago.
    fn recent(&self, cluster: &ClusterName, shards: u32, now_ms: i64) -> Option<usize> {
        let is_recent = |it: &Outage| it.ended_ms.is_some_and(|ms| now_ms - ms < SAME_MS);
        let outages = self.list.iter().enumerate();
        let recent =
            outages.filter(|(_, it)| it.cluster == *cluster && is_recent(it) && it.shards > shards);
        recent
            .max_by_key(|(_, it)| it.ended_ms)
            .map(|(index, _)| index)
    }

    /// Ends the outages of clusters that are gone: nothing of them is down any more. Then all of them can be told.
    pub(super) fn settle(&mut self, is_there: impl Fn(&ClusterName) -> bool, now_ms: i64) {
        for outage in &mut self.list {
            if !is_there(&outage.cluster) {
                outage.ended_ms.get_or_insert(now_ms);
            }
        }
        let newest_first: Vec<Value> = self.list.iter().rev().map(Outage::to_json).collect();
        self.told = Value::from(newest_first).to_string().into();
    }

    /// What is told of them. `since_ms`: from when on this process remembers.
    pub(super) fn lately(&self, since_ms: Option<i64>) -> Lately {
        Lately {
            last: self.last(),
            since_ms,
            outages: self.told.clone(),
        }
    }

    /// The outage that ended last, for the text.
    fn last(&self) -> Option<LastOutage> {
        let ended = self.list.iter().filter_map(|outage| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ClusterName {
        "main".parse().unwrap()
    }

    #[test]
    fn an_outage_is_one_although_it_flickers() {
        let mut outages = Outages::default();
        let steps = [
            (0, 0, None),
            (1000, 3, Some(900)),
            (2000, 128, Some(900)),
            (3000, 0, None),
            (50_000, 2, Some(50_000)),
            (60_000, 0, None),
        ];
        for (now_ms, down, since_ms) in steps {
            outages.count(&name(), down, since_ms, now_ms);
        }
        let last = outages.last().unwrap();
        assert_eq!(
            (last.shards, last.began_ms, last.ended_ms),
            (128, 900, 60_000)
        );
        outages.count(&name(), 1, Some(130_000), 130_000);
        assert_eq!(outages.list.len(), 2);
        assert_eq!(outages.last(), Some(last), "the other one goes on");
        for round in 1..100 {
            let now_ms = round * 200_000;
            outages.count(&name(), 1, None, now_ms);
            outages.count(&name(), 0, None, now_ms + 1);
        }
        assert_eq!(outages.list.len(), OUTAGES_MAX);
    }

    const DAY_MS: i64 = 86_400_000;

    /// The last outage that is over, after each look.
    fn look(outages: &mut Outages, down: u32, now_ms: i64) -> Option<(u32, i64, i64)> {
        outages.count(&name(), down, Some(0), now_ms);
        let last = outages.last();
        last.map(|it| (it.shards, it.began_ms, it.ended_ms))
    }

    #[test]
    fn many_on_top_of_a_few_have_a_time_of_their_own() {
        let mut outages = Outages::default();
        let mut count = |down, now_ms| look(&mut outages, down, now_ms);
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
        assert_eq!(outages.list.len(), 3);
    }

    #[test]
    fn the_rest_of_an_outage_is_a_smaller_one() {
        let mut outages = Outages::default();
        assert_eq!(look(&mut outages, 128, 1000), None);
        let peak = Some((128, 0, 240_000));
        assert_eq!(look(&mut outages, 1, 240_000), peak);
        assert_eq!(look(&mut outages, 1, DAY_MS), peak);
        let rest = Some((1, 0, 3 * DAY_MS));
        assert_eq!(look(&mut outages, 0, 3 * DAY_MS), rest);
    }

    #[test]
    fn a_peak_that_flickers_leaves_room_for_others() {
        let mut outages = Outages::default();
        look(&mut outages, 1, 0);
        for round in 0..100 {
            let now_ms = DAY_MS + round * 20_000;
            look(&mut outages, 128, now_ms);
            look(&mut outages, 1, now_ms + 10_000);
        }
        assert_eq!(outages.list.len(), 2);
        let ended = 10 * DAY_MS;
        assert_eq!(look(&mut outages, 0, ended), Some((1, 0, ended)));
    }
}
