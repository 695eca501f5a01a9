//! The shards of one cluster.

use std::time::Duration;

use glance_protocol::{
    BlockSet, Bot, Cause, ClusterInfo, Details, ShardId, State, shard::block_count,
};
use glance_runner::fault::{self, Mutation};

use super::{
    Counts, Marks, Transition,
    row::Row,
    size::{Disagreements, Learned},
};
use crate::{deadlines::Deadlines, sight::Grace};

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) info: ClusterInfo,
    pub(super) timeout: Duration,
    pub(super) rows: Vec<Row>,
    /// For each shard the sequence up to which the stream's reports are in its row.
    pub(super) sequences: Vec<u64>,
    pub(super) deadlines: Deadlines,
    pub(super) grace: Grace,
    pub(super) marks: Vec<Marks>,
    pub(super) heard: Vec<BlockSet>,
    pub(super) healed: Vec<BlockSet>,
    /// `None` when the size is configured.
    pub(super) learned: Option<Learned>,
    pub(super) disagreements: Disagreements,
    pub(super) counts: Counts,
    /// The size when somebody last asked whether it changed.
    pub(super) total_told: u32,
}

/// A sign of life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life<'a> {
    pub(super) shard: ShardId,
    pub(super) details: &'a Details,
    /// For people, in Unix milliseconds.
    pub(super) at_ms: i64,
    /// Whether it was stored while nobody listened.
    pub(super) replayed: bool,
    /// When it is heard, on the clock of sight.
    pub(super) time: Duration,
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
            rows: vec![Row::default(); total as usize],
            sequences: vec![0; total as usize],
            deadlines: Deadlines::new(total),
            grace: Grace::new(timeout),
            marks: vec![Marks::default(); blocks],
            heard: vec![BlockSet::default(); blocks],
            healed: vec![BlockSet::default(); blocks],
            learned: bot.total.is_none().then(Learned::default),
            disagreements: Disagreements::default(),
            counts: Counts::default(),
            total_told: total,
        }
    }

    /// When there is something to judge next, on the clock of sight: not before the end of the grace.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let silence = self
            .deadlines
            .first()
            .map(|(_, heard)| heard + self.timeout);
        let size = self.learned.as_ref().and_then(|it| it.due(self.timeout));
        let next = silence.into_iter().chain(size).min()?;
        Some(next.max(self.grace.end()))
    }

    /// Takes a lower size whose time has come, and flags every shard whose deadline has.
    pub(super) fn judge(&mut self, time: Duration, wall_ms: i64, changes: &mut Vec<Transition>) {
        if time < self.grace.end() {
            return;
        }
        // First, so that a shard that goes away is not flagged on its way out.
        self.shrink(time);
        while let Some((shard, heard)) = self.deadlines.first() {
            if !self.is_silent(heard, time) {
                break;
            }
            self.deadlines.disarm(shard);
            if let Ok(shard) = ShardId::new(shard) {
                self.enter(shard, State::Unhealthy, Cause::Timeout, wall_ms, changes);
            }
        }
    }

    /// Whether a shard that was heard then is silent for too long.
    fn is_silent(&self, heard: Duration, time: Duration) -> bool {
        // The fault: what was known before the first clear sight counts as silence.
        let no_grace = fault::is(Mutation::NoGrace) && heard.is_zero();
        no_grace || time.saturating_sub(heard) >= self.timeout
    }

    /// Notes a sign of life.
    pub(super) fn hear(&mut self, life: Life<'_>) {
        let Some(row) = self.rows.get_mut(life.shard.get() as usize) else {
            return;
        };
        row.last_heard = Some(life.at_ms).into();
        row.learn(life.details);
        let block = life.shard.block() as usize;
        // Whoever is told so takes it for a sign of life of now.
        if let Some(heard) = self.heard.get_mut(block).filter(|_| !life.replayed) {
            heard.insert(life.shard.offset());
        }
        if let Some(marks) = self.marks.get_mut(block) {
            marks.touched = true;
        }
        let mut time = life.time;
        if fault::is(Mutation::NoGrace) {
            time = time.max(Duration::from_nanos(1));
        }
        self.deadlines.arm(life.shard.get(), time);
        if let Some(learned) = &mut self.learned {
            learned.hear(life.shard.get(), life.time, self.timeout);
        }
    }

    /// The time of a replayed report, for people. The broker's clock may be wrong:
    /// nothing happened before what is known, and nothing in the future.
    pub(super) fn time_within(&self, shard: ShardId, at_ms: i64, now_ms: i64) -> i64 {
        let row = self.rows.get(shard.get() as usize);
        let known = row.and_then(|row| row.last_heard.get().max(row.since.get()));
        at_ms.max(known.unwrap_or(at_ms)).min(now_ms)
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
        row.since = Some(at_ms).into();
        if let Some(marks) = self.marks.get_mut(shard.block() as usize) {
            marks.changed = true;
        }
        if previous != state {
            self.counts.transition(cause);
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

    /// Moves all times by which people see ages.
    pub(super) fn shift_times(&mut self, by_ms: i64) {
        for row in &mut self.rows {
            for time in [&mut row.since, &mut row.last_heard] {
                *time = time.get().map(|ms| ms.saturating_add(by_ms)).into();
            }
        }
        for marks in &mut self.marks {
            marks.changed = true;
        }
    }
}
