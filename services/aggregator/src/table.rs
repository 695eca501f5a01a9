//! The table of all shards: pure, without IO, clock or lock.
//!
//! [`Table::apply`] takes one event and the present moment, and tells which
//! shards changed. It holds every rule of a shard's life:
//!
//! * A shard is Unknown until its first report. It does not time out and refuses health checks until then.
//! * A report sets the state, whatever it was. It is a sign of life.
//! * A health check is a sign of life. It makes an Unhealthy shard Online, and changes no other state.
//! * A shard that reported and is silent for longer than the health timeout becomes Unhealthy.
//! * A cluster's size may be learned from what its bot says (see the module `size`).
//! * Nobody is flagged while the aggregator is blind, nor for one timeout after (see the module `sight`).

mod cluster;
mod counts;
mod input;
mod kept;
mod news;
mod row;
mod size;

use std::{collections::HashMap, time::Duration};

use glance_protocol::{
    Bot, Cause, ClusterInfo, ClusterName, ShardId, ShardRow, State, TableBlock, Timeouts,
    shard::{BLOCK_LEN, block_len},
};

use self::{
    cluster::{Cluster, Life},
    kept::Kept,
    row::Row,
};
pub use self::{
    counts::Counts,
    input::{Disagreement, Input, Marks, Message, Moment, Refusal, Resize, Stored, Transition},
};
use crate::sight::Sight;

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
    /// When the message was refused. No shard's state is then changed; a claim of the
    /// cluster's size counts also when the health check that carries it is refused.
    pub fn apply(
        &mut self,
        input: Input<'_>,
        now: Moment,
        changes: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        match input {
            Input::Report(message, stored) => self.report(message, Some(stored), now, changes),
            Input::Claim(message) => self.admit(message, None, now).map(drop),
            Input::Health(message) if message.body.state.is_some() => {
                self.report(message, None, now, changes)
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
            Input::ClockStepped(by_ms) => {
                self.shift_times(by_ms);
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

    /// Takes a block over that an aggregator kept. Shards that there are no more are left
    /// out. `same_stream`: the sequence up to which the block is true counts in the present stream.
    pub fn restore(&mut self, block: &TableBlock, same_stream: bool, now: Moment) {
        let time = self.sight.time(now.mono);
        if let Some(cluster) = self.cluster_mut(&block.cluster) {
            cluster.restore(Kept {
                block,
                same_stream,
                now,
                time,
            });
        }
    }

    /// Takes a size over that an aggregator learned; before the cluster's blocks. What
    /// reports up to the sequence `known_to` claim is past. Sizes that are configured stay.
    pub fn restore_total(&mut self, kept: &ClusterInfo, known_to: u64) {
        if let Some(cluster) = self.cluster_mut(&kept.name) {
            cluster.restore_total(kept.total, known_to);
        }
    }

    /// At a take-over: merges a block that the last leader kept into this table, which
    /// followed and judged nobody. What the last leader may not have told is added to
    /// `changes`. All shards have one timeout from now.
    pub fn adopt(
        &mut self,
        block: &TableBlock,
        same_stream: bool,
        now: Moment,
        changes: &mut Vec<Transition>,
    ) {
        let time = self.sight.time(now.mono);
        if let Some(cluster) = self.cluster_mut(&block.cluster) {
            let kept = Kept {
                block,
                same_stream,
                now,
                time,
            };
            cluster.adopt(kept, changes);
        }
    }

    /// At a take-over: lower sizes that were claimed longer than a timeout ago have been judged by the last leader.
    pub fn forget_old_claims(&mut self, now: Moment) {
        for cluster in &mut self.clusters {
            let timeout = cluster.timeout;
            if let Some(learned) = &mut cluster.learned {
                learned.forget_claims_before(now.mono.saturating_sub(timeout));
            }
        }
    }

    /// At a take-over: all shards that could fall silent have one timeout from now.
    pub fn wait_for_all(&mut self, now: Moment) {
        let time = self.sight.time(now.mono);
        for cluster in &mut self.clusters {
            (0..cluster.info.total).for_each(|shard| cluster.wait_for(shard, time));
        }
    }

    /// The stream of reports is another one: no report of it is known.
    pub fn forget_sequences(&mut self) {
        for cluster in &mut self.clusters {
            cluster.sequences.fill(0);
            if let Some(learned) = &mut cluster.learned {
                learned.forget_sequences();
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

    /// Whether the size of a cluster is learned.
    #[must_use]
    pub fn is_auto(&self, cluster: &ClusterName) -> bool {
        let place = self.places.get(cluster);
        let cluster = place.and_then(|place| self.clusters.get(*place));
        cluster.is_some_and(|cluster| cluster.info.auto)
    }

    /// One shard.
    #[must_use]
    pub fn row(&self, cluster: &ClusterName, shard: ShardId) -> Option<ShardRow> {
        let place = *self.places.get(cluster)?;
        let row = self.clusters.get(place)?.rows.get(shard.get() as usize);
        row.map(Row::to_shard_row)
    }

    /// The rows of a block.
    #[must_use]
    pub fn rows(&self, cluster: usize, block: u32) -> Vec<ShardRow> {
        let Some(cluster) = self.clusters.get(cluster) else {
            return Vec::new();
        };
        let first = (block.saturating_mul(BLOCK_LEN)) as usize;
        let last = first + block_len(cluster.info.total, block) as usize;
        let rows = cluster.rows.get(first..last).unwrap_or(&[]);
        rows.iter().map(Row::to_shard_row).collect()
    }

    fn cluster_mut(&mut self, name: &ClusterName) -> Option<&mut Cluster> {
        let place = *self.places.get(name)?;
        self.clusters.get_mut(place)
    }

    /// The cluster of a message that is fit to be applied; `None` when it is known already.
    fn admit(
        &mut self,
        message: Message<'_>,
        sequence: Option<u64>,
        now: Moment,
    ) -> Result<Option<&mut Cluster>, Refusal> {
        let time = self.sight.time(now.mono);
        let cluster = self
            .cluster_mut(message.cluster)
            .ok_or_else(|| Refusal::Cluster(message.cluster.clone()))?;
        let is_news = cluster.admit(message, sequence, time, now.mono)?;
        Ok(is_news.then_some(cluster))
    }

    fn report(
        &mut self,
        message: Message<'_>,
        stored: Option<Stored>,
        now: Moment,
        changes: &mut Vec<Transition>,
    ) -> Result<(), Refusal> {
        let time = self.sight.time(now.mono);
        let Message { shard, body, .. } = message;
        let state = body.state.ok_or(Refusal::NoState)?;
        let sequence = stored.map(|stored| stored.sequence);
        let Some(cluster) = self.admit(message, sequence, now)? else {
            return Ok(());
        };
        let stored_ms = stored.and_then(|stored| stored.at_ms);
        let at_ms = stored_ms.map_or(now.wall_ms, |at_ms| {
            cluster.time_within(shard, at_ms, now.wall_ms)
        });
        cluster.hear(Life {
            shard,
            details: &body.details,
            at_ms,
            replayed: stored_ms.is_some(),
            time,
        });
        if state == State::Unhealthy {
            cluster.deadlines.disarm(shard.get());
        }
        if let (Some(known), Some(sequence)) =
            (cluster.sequences.get_mut(shard.get() as usize), sequence)
        {
            *known = sequence;
        }
        match stored {
            Some(_) => cluster.counts.reports += 1,
            None => cluster.counts.health_checks += 1,
        }
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
        let Some(cluster) = self.admit(message, None, now)? else {
            return Ok(());
        };
        let row = cluster.rows.get(shard.get() as usize);
        let Some(state) = row.filter(|row| row.reported()).map(|row| row.state) else {
            return Err(Refusal::NeverReported(shard, message.cluster.clone()));
        };
        cluster.hear(Life {
            shard,
            details: &message.body.details,
            at_ms: now.wall_ms,
            replayed: false,
            time,
        });
        cluster.counts.health_checks += 1;
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

    fn shift_times(&mut self, by_ms: i64) {
        self.judging_since_ms = self.judging_since_ms.map(|ms| ms.saturating_add(by_ms));
        for cluster in &mut self.clusters {
            cluster.shift_times(by_ms);
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
