//! The contract, section 2, written down as simply as possible.
//!
//! Every question is answered by a loop over all shards and over all that
//! happened to the link. Nothing is remembered that can be computed again.

use std::time::Duration;

use glance_aggregator::table::Moment;
use glance_protocol::{Bot, Cause, ReportBody, ShardRow, State, Timeouts};

use crate::model_cluster::{Cluster, Shard};

/// A place of a shard: its cluster in the configured order, and its id.
pub(crate) type Place = (usize, u32);

/// What a transition must say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    pub(crate) place: Place,
    pub(crate) state: State,
    pub(crate) previous: State,
    pub(crate) cause: Cause,
    pub(crate) at_ms: i64,
}

/// Why a message must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cluster,
    /// Of a cluster of this many shards.
    Range(u32),
    Gone,
    SizeUnknown,
    NeverReported,
    NoState,
}

/// A kept block, or a part of one.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) rows: Vec<ShardRow>,
    /// In the present stream; 0 when it counts in another one.
    pub(crate) sequence: u64,
    pub(crate) written_ms: i64,
    pub(crate) now_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) clusters: Vec<Cluster>,
    /// When the aggregator could hear: from, and to (or still).
    clear: Vec<(Duration, Option<Duration>)>,
    /// Since when somebody's silence is judged, as the wall clock showed it when first asked.
    judging_since_ms: Option<i64>,
}

impl Model {
    pub(crate) fn new(bots: &[Bot], timeouts: &Timeouts) -> Self {
        let cluster = |bot: &Bot| Cluster::new(bot.total, timeouts.of(&bot.name));
        Self {
            clusters: bots.iter().map(cluster).collect(),
            clear: Vec::new(),
            judging_since_ms: None,
        }
    }

    pub(crate) fn is_clear(&self) -> bool {
        matches!(self.clear.last(), Some((_, None)))
    }

    pub(crate) fn lose_sight(&mut self, now: Moment) {
        if let Some((_, end @ None)) = self.clear.last_mut() {
            *end = Some(now.mono);
        }
        self.judging_since_ms = None;
    }

    pub(crate) fn regain_sight(&mut self, now: Moment) {
        if !self.is_clear() {
            self.clear.push((now.mono, None));
        }
    }

    /// How long the aggregator could hear until `now`.
    fn clock(&self, now: Duration) -> Duration {
        let length = |(from, to): &(Duration, Option<Duration>)| to.unwrap_or(now) - *from;
        self.clear.iter().map(length).sum()
    }

    /// When the clock shows `time`, or showed it: not before sight last came back.
    fn moment(&self, time: Duration) -> Duration {
        let (from, _) = self.clear.last().copied().unwrap_or_default();
        from + time.saturating_sub(self.clock(from))
    }

    /// Until when, on the clock, nobody of a cluster is flagged.
    ///
    /// One timeout after each return of sight. Returns within such a period, and
    /// within a second after it, belong to the same row, and a row lasts five
    /// timeouts at most. The second is there for whoever judges to come round.
    fn grace_end(&self, timeout: Duration) -> Duration {
        let mut row_began = Duration::ZERO;
        let mut end = timeout;
        for (from, _) in &self.clear {
            let back = self.clock_at_return(*from);
            if back < end + Duration::from_secs(1) {
                end = end.max((back + timeout).min(row_began + 5 * timeout));
            } else {
                row_began = back;
                end = back + timeout;
            }
        }
        end
    }

    fn clock_at_return(&self, from: Duration) -> Duration {
        let before = self
            .clear
            .iter()
            .filter(|(_, to)| to.is_some_and(|to| to <= from));
        before.map(|(from, to)| to.unwrap_or(*from) - *from).sum()
    }

    /// A report; with its sequence when the stream delivered it, and with the broker's
    /// time when it is replayed.
    pub(crate) fn report(
        &mut self,
        place: Place,
        body: &ReportBody,
        now: Moment,
        (sequence, stored_ms): (Option<u64>, Option<i64>),
    ) -> Result<Option<Expected>, Kind> {
        let clock = self.clock(now.mono);
        let state = body.state.ok_or(Kind::NoState)?;
        let cluster = self.clusters.get_mut(place.0).ok_or(Kind::Cluster)?;
        if !cluster.admit(place.1, body.details.total, sequence, clock)? {
            return Ok(None);
        }
        let shard = cluster.hear(place.1, clock);
        // Nothing happens in the future, or before what is known, whatever the broker's clock says.
        let known = [stored_ms, shard.row.last_heard_ms, shard.row.since_ms];
        let at_ms = match stored_ms {
            Some(_) => known.into_iter().flatten().max().unwrap().min(now.wall_ms),
            None => now.wall_ms,
        };
        shard.sign_of_life(clock, at_ms, &body.details);
        // Viewers would take a replayed report for a sign of life of now.
        shard.beat |= stored_ms.is_none();
        shard.sequence = sequence.unwrap_or(shard.sequence);
        Ok(shard.enter(place, state, Cause::Report, at_ms))
    }

    pub(crate) fn health(
        &mut self,
        place: Place,
        body: &ReportBody,
        now: Moment,
    ) -> Result<Option<Expected>, Kind> {
        if body.state.is_some() {
            return self.report(place, body, now, (None, None));
        }
        let clock = self.clock(now.mono);
        let cluster = self.clusters.get_mut(place.0).ok_or(Kind::Cluster)?;
        cluster.admit(place.1, body.details.total, None, clock)?;
        if cluster.shards[place.1 as usize].row.since_ms.is_none() {
            return Err(Kind::NeverReported);
        }
        let shard = cluster.hear(place.1, clock);
        shard.sign_of_life(clock, now.wall_ms, &body.details);
        shard.beat = true;
        if shard.row.state != State::Unhealthy {
            return Ok(None);
        }
        shard.healed = true;
        Ok(shard.enter(place, State::Online, Cause::Health, now.wall_ms))
    }

    pub(crate) fn tick(&mut self, now: Moment) -> Vec<Expected> {
        let mut flagged = Vec::new();
        if !self.is_clear() {
            return flagged;
        }
        let clock = self.clock(now.mono);
        for index in 0..self.clusters.len() {
            if clock < self.grace_end(self.clusters[index].timeout) {
                continue;
            }
            let cluster = &mut self.clusters[index];
            cluster.shrink(clock);
            for (id, shard) in (0..).zip(&mut cluster.shards) {
                if shard.waited_for() && clock - shard.heard >= cluster.timeout {
                    flagged.extend(shard.enter(
                        (index, id),
                        State::Unhealthy,
                        Cause::Timeout,
                        now.wall_ms,
                    ));
                }
            }
        }
        flagged
    }

    /// When the next shard is flagged, or the next size taken, if nothing else happens: on the
    /// monotonic clock.
    pub(crate) fn next_flag(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for cluster in self.clusters.iter().filter(|_| self.is_clear()) {
            let grace_end = self.grace_end(cluster.timeout);
            let waited_for = cluster.shards.iter().filter(|shard| shard.waited_for());
            let ends = waited_for.map(|shard| shard.heard + cluster.timeout);
            for end in ends.chain(cluster.pending().map(|(_, due)| due)) {
                let flag = self.moment(end.max(grace_end));
                next = Some(next.map_or(flag, |next| next.min(flag)));
            }
        }
        next
    }

    pub(crate) fn judging_since_ms(&mut self, now: Moment) -> Option<i64> {
        let clock = self.clock(now.mono);
        let judged = |cluster: &Cluster| clock >= self.grace_end(cluster.timeout);
        if !self.is_clear() || !self.clusters.iter().any(judged) {
            self.judging_since_ms = None;
            return None;
        }
        Some(*self.judging_since_ms.get_or_insert(now.wall_ms))
    }

    /// The places of the shards of a block.
    pub(crate) fn block(&self, cluster: usize, block: u32) -> Vec<Place> {
        let total = self.clusters.get(cluster).map_or(0, |c| c.shards.len());
        (0_u32..)
            .take(total)
            .filter(|id| id / 1024 == block)
            .map(|id| (cluster, id))
            .collect()
    }

    pub(crate) fn shard(&mut self, (cluster, id): Place) -> &mut Shard {
        &mut self.clusters[cluster].shards[id as usize]
    }

    /// Takes rows over as they are; whoever is waited for counts as heard now.
    pub(crate) fn restore(&mut self, (cluster, block): (usize, u32), kept: &Kept, now: Moment) {
        let clock = self.clock(now.mono);
        for (place, row) in self.block(cluster, block).into_iter().zip(&kept.rows) {
            let shard = self.shard(place);
            shard.row = not_after(row, now);
            shard.heard = clock;
            shard.sequence = kept.sequence;
        }
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.newest = cluster.newest.max(kept.sequence);
        }
    }

    /// Merges rows of the last leader with what is known here.
    pub(crate) fn adopt(
        &mut self,
        (cluster, block): (usize, u32),
        kept: &Kept,
        now: Moment,
    ) -> Vec<Expected> {
        let clock = self.clock(now.mono);
        let places = self.block(cluster, block);
        let mut untold = Vec::new();
        for (offset, place) in places.iter().enumerate() {
            let row = kept.rows.get(offset);
            let theirs = not_after(&row.cloned().unwrap_or_default(), now);
            let shard = self.shard(*place);
            untold.extend(shard.merge(*place, &theirs, kept));
            shard.heard = clock;
            if row.is_some() {
                shard.sequence = shard.sequence.max(kept.sequence);
            }
        }
        let rows: Vec<_> = places.iter().map(|p| self.shard(*p).row.clone()).collect();
        if let Some(first) = places.first() {
            self.shard(*first).touched = true;
            self.shard(*first).changed |= rows != kept.rows;
        }
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.newest = cluster.newest.max(kept.sequence);
        }
        untold
    }

    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        self.judging_since_ms = self.judging_since_ms.map(|ms| ms + by_ms);
        let clusters = self.clusters.iter_mut();
        for shard in clusters.flat_map(|cluster| &mut cluster.shards) {
            shard.row.since_ms = shard.row.since_ms.map(|ms| ms + by_ms);
            shard.row.last_heard_ms = shard.row.last_heard_ms.map(|ms| ms + by_ms);
            shard.changed = true;
        }
    }

    pub(crate) fn forget_sequences(&mut self) {
        for cluster in &mut self.clusters {
            (cluster.known_to, cluster.newest, cluster.claimed_in) = (0, 0, 0);
            for shard in &mut cluster.shards {
                shard.sequence = 0;
            }
        }
    }
}

fn not_after(row: &ShardRow, now: Moment) -> ShardRow {
    ShardRow {
        since_ms: row.since_ms.map(|ms| ms.min(now.wall_ms)),
        last_heard_ms: row.last_heard_ms.map(|ms| ms.min(now.wall_ms)),
        ..row.clone()
    }
}
