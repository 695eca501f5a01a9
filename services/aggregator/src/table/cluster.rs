//! The shards of one cluster.

use std::time::Duration;

use glance_protocol::{
    BlockSet, Bot, Cause, ClusterInfo, Details, ShardId, ShardRow, State, shard::block_count,
};

use super::{Marks, Transition};
use crate::{deadlines::Deadlines, sight::Grace};

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) info: ClusterInfo,
    pub(super) timeout: Duration,
    pub(super) rows: Vec<ShardRow>,
    pub(super) deadlines: Deadlines,
    pub(super) grace: Grace,
    pub(super) marks: Vec<Marks>,
    pub(super) heard: Vec<BlockSet>,
    pub(super) healed: Vec<BlockSet>,
}

impl Cluster {
    pub(super) fn new(bot: &Bot, timeout: Duration) -> Self {
        let total = bot.total.unwrap_or(0);
        let blocks = block_count(total) as usize;
        Self {
            info: ClusterInfo {
                name: bot.name.clone(),
                total,
                timeout_s: timeout.as_secs_f64(),
                auto: bot.total.is_none(),
            },
            timeout,
            rows: vec![ShardRow::default(); total as usize],
            deadlines: Deadlines::new(total),
            grace: Grace::new(timeout),
            marks: vec![Marks::default(); blocks],
            heard: vec![BlockSet::default(); blocks],
            healed: vec![BlockSet::default(); blocks],
        }
    }

    /// The first deadline that is not before the end of the grace, on the clock of sight.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let (_, heard) = self.deadlines.first()?;
        Some((heard + self.timeout).max(self.grace.end()))
    }

    /// Flags every shard whose deadline has come.
    pub(super) fn judge(&mut self, time: Duration, wall_ms: i64, changes: &mut Vec<Transition>) {
        if time < self.grace.end() {
            return;
        }
        while let Some((shard, heard)) = self.deadlines.first() {
            if time.saturating_sub(heard) < self.timeout {
                break;
            }
            self.deadlines.disarm(shard);
            if let Ok(shard) = ShardId::new(shard) {
                self.enter(shard, State::Unhealthy, Cause::Timeout, wall_ms, changes);
            }
        }
    }

    /// Notes a sign of life: one of now, or one that the broker stored and that may be older than what is known.
    pub(super) fn hear(
        &mut self,
        shard: ShardId,
        details: &Details,
        stored_ms: Option<i64>,
        now_ms: i64,
    ) {
        let Some(row) = self.rows.get_mut(shard.get() as usize) else {
            return;
        };
        row.last_heard_ms = match stored_ms {
            Some(stored_ms) => row.last_heard_ms.max(Some(stored_ms)),
            None => Some(now_ms),
        };
        if !details.is_empty() {
            row.details.update(details);
            row.details.total = None;
        }
        let block = shard.block() as usize;
        // Whoever is told so takes it for a sign of life of now.
        if let Some(heard) = self.heard.get_mut(block).filter(|_| stored_ms.is_none()) {
            heard.insert(shard.offset());
        }
        if let Some(marks) = self.marks.get_mut(block) {
            marks.touched = true;
        }
    }

    /// Makes a shard enter a state. The same state again moves nothing.
    pub(super) fn enter(
        &mut self,
        shard: ShardId,
        state: State,
        cause: Cause,
        at_ms: i64,
        changes: &mut Vec<Transition>,
    ) {
        let Some(row) = self.rows.get_mut(shard.get() as usize) else {
            return;
        };
        if row.reported() && row.state == state {
            return;
        }
        let previous = row.state;
        row.previous = previous;
        row.state = state;
        row.cause = Some(cause);
        row.since_ms = Some(at_ms);
        if let Some(marks) = self.marks.get_mut(shard.block() as usize) {
            marks.changed = true;
        }
        if previous != state {
            changes.push(Transition {
                cluster: self.info.name.clone(),
                shard,
                state,
                previous,
                cause,
                at_ms,
            });
        }
    }
}
