//! What an aggregator kept becomes part of the table: at a start, and when a follower takes over.

use std::time::Duration;

use glance_protocol::{
    Cause, ShardId, ShardRow, State, TableBlock,
    shard::{BLOCK_LEN, block_len},
};

use super::{Moment, Transition, cluster::Cluster, row::Row};

/// Longer than a lease and what the last leader had not written.
const JUST_NOW_MS: i64 = 30_000;

/// A kept block, as it is to be understood here.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub(super) block: &'a TableBlock,
    /// Whether the sequence that it is true up to counts in the present stream.
    pub(super) same_stream: bool,
    pub(super) now: Moment,
    /// Now, on the clock of sight.
    pub(super) time: Duration,
}

impl Kept<'_> {
    fn first(&self) -> u32 {
        self.block.block.saturating_mul(BLOCK_LEN)
    }

    fn sequence(&self) -> u64 {
        if self.same_stream {
            self.block.sequence
        } else {
            0
        }
    }

    /// A row. The clock that it was written by may have been ahead: nothing is in the future.
    fn row(&self, offset: usize) -> ShardRow {
        let mut row = self.block.rows.get(offset).cloned().unwrap_or_default();
        for time_ms in [&mut row.since_ms, &mut row.last_heard_ms] {
            *time_ms = time_ms.map(|time_ms| time_ms.min(self.now.wall_ms));
        }
        row
    }
}

impl Cluster {
    /// Takes a block over as it is.
    pub(super) fn restore(&mut self, kept: Kept<'_>) {
        let first = kept.first();
        for (shard, offset) in (first..self.info.total).zip(0..kept.block.rows.len()) {
            if let Some(row) = self.rows.get_mut(shard as usize) {
                *row = kept.row(offset).into();
            }
            if let Some(sequence) = self.sequences.get_mut(shard as usize) {
                *sequence = kept.sequence();
            }
            self.wait_for(shard, kept.time);
        }
        if let Some(learned) = &mut self.learned {
            learned.know(kept.sequence());
        }
    }

    /// Merges what is known here, where nobody was judged, with what the last leader kept.
    pub(super) fn adopt(&mut self, kept: Kept<'_>, changes: &mut Vec<Transition>) {
        let first = kept.first();
        let len = block_len(self.info.total, kept.block.block) as usize;
        let mut same = kept.block.rows.len() == len;
        for (shard, offset) in (first..self.info.total).zip(0..len) {
            self.adopt_row(shard, &kept, offset, changes);
            let mine = self.rows.get(shard as usize).map(Row::to_shard_row);
            same &= mine.as_ref() == kept.block.rows.get(offset);
        }
        if let Some(marks) = self.marks.get_mut(kept.block.block as usize) {
            marks.touched = true;
            marks.changed |= !same;
        }
        if let Some(learned) = &mut self.learned {
            learned.know(kept.sequence());
        }
    }

    fn adopt_row(
        &mut self,
        shard: u32,
        kept: &Kept<'_>,
        offset: usize,
        changes: &mut Vec<Transition>,
    ) {
        let index = shard as usize;
        let (Some(row), Some(sequence)) = (self.rows.get_mut(index), self.sequences.get_mut(index))
        else {
            return;
        };
        let mut mine = row.to_shard_row();
        let theirs = kept.row(offset);
        let last_heard_ms = mine.last_heard_ms.max(theirs.last_heard_ms);
        let newer = *sequence > kept.sequence()
            || !theirs.reported()
            || healed_since(&mine, &theirs)
            || said_since(&mine, kept);
        if mine.reported() && newer {
            succeed(&mut mine, &theirs);
            if mine.state != theirs.state
                && let Ok(shard) = ShardId::new(shard)
            {
                changes.push(Transition {
                    cluster: self.info.name.clone(),
                    shard,
                    state: mine.state,
                    previous: mine.previous,
                    cause: mine.cause.unwrap_or(Cause::Report),
                    at_ms: mine.since_ms.unwrap_or(kept.now.wall_ms),
                });
            }
        } else {
            mine = theirs;
        }
        mine.last_heard_ms = last_heard_ms;
        *row = mine.into();
        if offset < kept.block.rows.len() {
            *sequence = kept.sequence().max(*sequence);
        }
        self.wait_for(shard, kept.time);
    }

    /// Whoever reported and is not Unhealthy has one timeout from now.
    pub(super) fn wait_for(&mut self, shard: u32, time: Duration) {
        let row = self.rows.get(shard as usize);
        if row.is_some_and(|row| row.reported() && row.state != State::Unhealthy) {
            self.deadlines.arm(shard, time);
        } else {
            self.deadlines.disarm(shard);
        }
    }
}

/// Whether a health check healed the shard after the last leader flagged it.
fn healed_since(mine: &ShardRow, theirs: &ShardRow) -> bool {
    let flagged = (theirs.state, theirs.cause) == (State::Unhealthy, Some(Cause::Timeout));
    let healed = (mine.state, mine.cause) == (State::Online, Some(Cause::Health));
    let after = mine.since_ms >= theirs.since_ms;
    flagged && healed && after && mine.previous == State::Unhealthy
}

/// Whether the shard said its state after the block was written: a health check may carry one, which has no
/// sequence. Two clocks are compared here, so only what was said just now counts, while perhaps nobody led.
fn said_since(mine: &ShardRow, kept: &Kept<'_>) -> bool {
    let just_now_ms = kept.now.wall_ms.saturating_sub(JUST_NOW_MS);
    let after_ms = kept.block.at_ms.max(just_now_ms);
    mine.cause == Some(Cause::Report) && mine.since_ms > Some(after_ms)
}

/// My row is what the shard became after theirs.
fn succeed(mine: &mut ShardRow, theirs: &ShardRow) {
    if mine.state == theirs.state {
        return;
    }
    mine.previous = theirs.state;
    // Here the shard may seem to have been in its state all the time, since nobody flagged it here.
    mine.since_ms = mine.since_ms.max(theirs.since_ms);
}
