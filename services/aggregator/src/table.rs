//! The table of all shards: pure, without IO, clock or lock.
//!
//! [`Table::apply`] takes one event and the present moment, and tells which
//! shards changed. It holds every rule of a shard's life:
//!
//! * A shard is Unknown until its first report. It does not time out and refuses health checks until then.
//! * A report sets the state, whatever it was. It is a sign of life.
//! * A health check is a sign of life. It makes an Unhealthy shard Online, and changes no other state.
//! * A shard that reported and is silent for longer than the health timeout becomes Unhealthy.
//! * Nobody is flagged while the aggregator is blind, nor for one timeout after (see the module `sight`).

mod cluster;

use std::{collections::HashMap, time::Duration};

use glance_protocol::{
    BlockSet, Bot, Cause, ClusterInfo, ClusterName, ReportBody, ShardId, ShardRow, State,
    TableBlock, Timeouts,
    shard::{BLOCK_LEN, block_len},
};

use self::cluster::Cluster;
use crate::sight::Sight;

/// A moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, since the start of the process. Deadlines use only this one.
    pub mono: Duration,
    /// Unix milliseconds, for people.
    pub wall_ms: i64,
}

/// What a bot says of one shard.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Which cluster.
    pub cluster: &'a ClusterName,
    /// Which shard.
    pub shard: ShardId,
    /// What it says.
    pub body: &'a ReportBody,
}

/// What can happen to the table.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A message on `.state`. Its body must hold a state.
    Report(Message<'a>),
    /// A message on `.health`. With a state it is a report and a health check in one.
    Health(Message<'a>),
    /// A report that the broker stored at this time (Unix milliseconds) and that is heard only now.
    Replay(Message<'a>, i64),
    /// Time passes.
    Tick,
    /// The aggregator cannot hear the bots.
    SightLost,
    /// The aggregator hears the bots (again).
    SightRegained,
}

/// A shard changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Which shard.
    pub shard: ShardId,
    /// The new state.
    pub state: State,
    /// The old one.
    pub previous: State,
    /// What made it change.
    pub cause: Cause,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
}

/// Why a message was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such cluster.
    #[error("cluster '{0}' does not exist")]
    Cluster(ClusterName),
    /// The cluster has fewer shards.
    #[error("shard {shard} is outside of cluster '{cluster}', which has {total} shards")]
    Range {
        /// Which cluster.
        cluster: ClusterName,
        /// Which shard.
        shard: ShardId,
        /// How many it has.
        total: u32,
    },
    /// A health check of a shard that never reported.
    #[error("shard {0} of cluster '{1}' has not reported a state yet")]
    NeverReported(ShardId, ClusterName),
    /// A report without a state.
    #[error("the report holds no state")]
    NoState,
}

/// What happened to a block since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// A state changed, or a shard reported for the first time.
    pub changed: bool,
    /// Something else changed: last heard, or details.
    pub touched: bool,
}

/// The state of every shard of every cluster.
#[derive(Debug)]
pub struct Table {
    clusters: Vec<Cluster>,
    places: HashMap<ClusterName, usize>,
    sight: Sight,
    judging_since_ms: Option<i64>,
}

impl Table {
    /// All shards are Unknown, and the aggregator is blind.
    #[must_use]
    pub fn new(bots: &[Bot], timeouts: &Timeouts) -> Self {
        let clusters: Vec<Cluster> = bots
            .iter()
            .map(|bot| Cluster::new(bot, timeouts.of(&bot.name)))
            .collect();
        let names = clusters.iter().map(|cluster| cluster.info.name.clone());
        Self {
            places: names.zip(0..).collect(),
            clusters,
            sight: Sight::blind(),
            judging_since_ms: None,
        }
    }

    /// Applies one event. Transitions are added to `changes`.
    ///
    /// # Errors
    ///
    /// When the message was refused; the table is then as before.
    pub fn apply(
        &mut self,
        input: Input<'_>,
        now: Moment,
        changes: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        match input {
            Input::Report(message) => self.report(message, now, None, changes),
            // The broker's clock may be ahead of ours; nothing happens in the future.
            Input::Replay(message, stored_ms) => {
                self.report(message, now, Some(stored_ms.min(now.wall_ms)), changes)
            }
            Input::Health(message) if message.body.state.is_some() => {
                self.report(message, now, None, changes)
            }
            Input::Health(message) => self.health(message, now, changes),
            Input::Tick => {
                self.judge(now, changes);
                Ok(())
            }
            Input::SightLost => {
                self.sight.lose(now.mono);
                self.judging_since_ms = None;
                Ok(())
            }
            Input::SightRegained => {
                self.regain_sight(now);
                Ok(())
            }
        }
    }

    /// When [`Input::Tick`] has something to do next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let earliest = self
            .clusters
            .iter()
            .filter_map(Cluster::next_deadline)
            .min();
        self.sight.when(earliest?)
    }

    /// Whether the aggregator hears the bots.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.sight.is_clear()
    }

    /// Since when silence is judged (of at least one cluster), in Unix milliseconds.
    pub fn judging_since_ms(&mut self, now: Moment) -> Option<i64> {
        let time = self.sight.time(now.mono);
        let judged = self.sight.is_clear() && self.clusters.iter().any(|c| time >= c.grace.end());
        self.judging_since_ms = match judged {
            true => self.judging_since_ms.or(Some(now.wall_ms)),
            false => None,
        };
        self.judging_since_ms
    }

    /// Takes a block over that an aggregator kept. Shards that there are no more are left out.
    pub fn restore(&mut self, block: &TableBlock, now: Moment) {
        let time = self.sight.time(now.mono);
        let Some(cluster) = self.cluster_mut(&block.cluster) else {
            return;
        };
        let first = block.block.saturating_mul(BLOCK_LEN);
        for (shard, row) in (first..cluster.info.total).zip(&block.rows) {
            if let Some(place) = cluster.rows.get_mut(shard as usize) {
                *place = row.clone();
            }
            if row.reported() && row.state != State::Unhealthy {
                cluster.deadlines.arm(shard, time);
            } else {
                cluster.deadlines.disarm(shard);
            }
        }
    }

    /// The clusters, in configured order.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterInfo> {
        self.clusters.iter().map(|cluster| &cluster.info)
    }

    /// The place of a cluster in the configured order.
    #[must_use]
    pub fn place(&self, cluster: &ClusterName) -> Option<usize> {
        self.places.get(cluster).copied()
    }

    /// One shard.
    #[must_use]
    pub fn row(&self, cluster: &ClusterName, shard: ShardId) -> Option<&ShardRow> {
        let place = *self.places.get(cluster)?;
        self.clusters.get(place)?.rows.get(shard.get() as usize)
    }

    /// The rows of a block.
    #[must_use]
    pub fn rows(&self, cluster: usize, block: u32) -> &[ShardRow] {
        let Some(cluster) = self.clusters.get(cluster) else {
            return &[];
        };
        let first = (block.saturating_mul(BLOCK_LEN)) as usize;
        let last = first + block_len(cluster.info.total, block) as usize;
        cluster.rows.get(first..last).unwrap_or(&[])
    }

    /// What happened to a block since this was last asked.
    pub fn take_marks(&mut self, cluster: usize, block: u32) -> Marks {
        self.clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.marks.get_mut(block as usize))
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Who was heard and who was healed since this was last asked. Replayed reports are not heard now.
    pub fn take_heard(&mut self, cluster: usize, block: u32) -> (BlockSet, BlockSet) {
        let Some(cluster) = self.clusters.get_mut(cluster) else {
            return Default::default();
        };
        let take = |sets: &mut Vec<BlockSet>| {
            let set = sets.get_mut(block as usize);
            set.map(std::mem::take).unwrap_or_default()
        };
        (take(&mut cluster.heard), take(&mut cluster.healed))
    }

    fn cluster_mut(&mut self, name: &ClusterName) -> Option<&mut Cluster> {
        let place = *self.places.get(name)?;
        self.clusters.get_mut(place)
    }

    fn checked(&mut self, name: &ClusterName, shard: ShardId) -> Result<&mut Cluster, Refusal> {
        let cluster = self
            .cluster_mut(name)
            .ok_or_else(|| Refusal::Cluster(name.clone()))?;
        if shard.get() >= cluster.info.total {
            return Err(Refusal::Range {
                cluster: name.clone(),
                shard,
                total: cluster.info.total,
            });
        }
        Ok(cluster)
    }

    fn report(
        &mut self,
        message: Message<'_>,
        now: Moment,
        stored_ms: Option<i64>,
        changes: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let time = self.sight.time(now.mono);
        let Message { shard, body, .. } = message;
        let state = body.state.ok_or(Refusal::NoState)?;
        let cluster = self.checked(message.cluster, shard)?;
        cluster.hear(shard, &body.details, stored_ms, now.wall_ms);
        if state == State::Unhealthy {
            cluster.deadlines.disarm(shard.get());
        } else {
            cluster.deadlines.arm(shard.get(), time);
        }
        let at_ms = stored_ms.unwrap_or(now.wall_ms);
        cluster.enter(shard, state, Cause::Report, at_ms, changes);
        Ok(())
    }

    fn health(
        &mut self,
        message: Message<'_>,
        now: Moment,
        changes: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let time = self.sight.time(now.mono);
        let shard = message.shard;
        let cluster = self.checked(message.cluster, shard)?;
        let row = cluster.rows.get(shard.get() as usize);
        let Some(state) = row.filter(|row| row.reported()).map(|row| row.state) else {
            return Err(Refusal::NeverReported(shard, message.cluster.clone()));
        };
        cluster.hear(shard, &message.body.details, None, now.wall_ms);
        cluster.deadlines.arm(shard.get(), time);
        if state == State::Unhealthy {
            cluster.enter(shard, State::Online, Cause::Health, now.wall_ms, changes);
            if let Some(healed) = cluster.healed.get_mut(shard.block() as usize) {
                healed.insert(shard.offset());
            }
        }
        Ok(())
    }

    fn judge(&mut self, now: Moment, changes: &mut Vec<Transition>) {
        if !self.sight.is_clear() {
            return;
        }
        let time = self.sight.time(now.mono);
        for cluster in &mut self.clusters {
            cluster.judge(time, now.wall_ms, changes);
        }
    }

    fn regain_sight(&mut self, now: Moment) {
        if self.sight.is_clear() {
            return;
        }
        self.sight.regain(now.mono);
        let time = self.sight.time(now.mono);
        for cluster in &mut self.clusters {
            cluster.grace.renew(time);
        }
    }
}
