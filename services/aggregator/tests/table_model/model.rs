//! The contract, section 2, written down as simply as possible.
//!
//! Every question is answered by a loop over all shards and over all that
//! happened to the link. Nothing is remembered that can be computed again.

use std::time::Duration;

use glance_aggregator::table::Moment;
use glance_protocol::{Bot, Cause, Details, ReportBody, ShardRow, State, Timeouts};

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
    Range,
    NeverReported,
    NoState,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Shard {
    pub(crate) row: ShardRow,
    /// The last sign of life on the clock that stands still while blind.
    heard: Duration,
    /// What happened since somebody asked for the marks of its block: a change, a sign of life.
    pub(crate) changed: bool,
    pub(crate) touched: bool,
    /// What happened since somebody asked who was heard in its block.
    pub(crate) beat: bool,
    pub(crate) healed: bool,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) timeout: Duration,
    pub(crate) shards: Vec<Shard>,
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
        let cluster = |bot: &Bot| Cluster {
            timeout: timeouts.of(&bot.name),
            shards: vec![Shard::default(); bot.total.unwrap_or(0) as usize],
        };
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

    fn find(&mut self, (cluster, shard): Place) -> Result<&mut Shard, Kind> {
        let cluster = self.clusters.get_mut(cluster).ok_or(Kind::Cluster)?;
        cluster.shards.get_mut(shard as usize).ok_or(Kind::Range)
    }

    /// A report; `stored_ms` is the broker's time of one that is replayed.
    pub(crate) fn report(
        &mut self,
        place: Place,
        body: &ReportBody,
        now: Moment,
        stored_ms: Option<i64>,
    ) -> Result<Option<Expected>, Kind> {
        let clock = self.clock(now.mono);
        let state = body.state.ok_or(Kind::NoState)?;
        // Nothing happens in the future, whatever the broker's clock says.
        let at_ms = stored_ms.unwrap_or(now.wall_ms).min(now.wall_ms);
        let shard = self.find(place)?;
        let heard_ms = match (stored_ms, shard.row.last_heard_ms) {
            (Some(_), Some(known_ms)) => at_ms.max(known_ms),
            _ => at_ms,
        };
        shard.sign_of_life(clock, heard_ms, &body.details);
        // Viewers would take a replayed report for a sign of life of now.
        shard.beat |= stored_ms.is_none();
        Ok(shard.enter(place, state, Cause::Report, at_ms))
    }

    pub(crate) fn health(
        &mut self,
        place: Place,
        body: &ReportBody,
        now: Moment,
    ) -> Result<Option<Expected>, Kind> {
        if body.state.is_some() {
            return self.report(place, body, now, None);
        }
        let clock = self.clock(now.mono);
        let shard = self.find(place)?;
        if shard.row.since_ms.is_none() {
            return Err(Kind::NeverReported);
        }
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
        for cluster in 0..self.clusters.len() {
            if clock < self.grace_end(self.clusters[cluster].timeout) {
                continue;
            }
            let Cluster { timeout, shards } = &mut self.clusters[cluster];
            for (id, shard) in (0..).zip(shards) {
                if shard.waited_for() && clock - shard.heard >= *timeout {
                    let place = (cluster, id);
                    flagged.extend(shard.enter(
                        place,
                        State::Unhealthy,
                        Cause::Timeout,
                        now.wall_ms,
                    ));
                }
            }
        }
        flagged
    }

    /// When the next shard is flagged if nothing else happens, on the monotonic clock.
    pub(crate) fn next_flag(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for cluster in self.clusters.iter().filter(|_| self.is_clear()) {
            let grace_end = self.grace_end(cluster.timeout);
            for shard in cluster.shards.iter().filter(|shard| shard.waited_for()) {
                let flag = self.moment((shard.heard + cluster.timeout).max(grace_end));
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
    pub(crate) fn restore(&mut self, places: &[Place], rows: &[ShardRow], now: Moment) {
        let clock = self.clock(now.mono);
        for (place, row) in places.iter().zip(rows) {
            let shard = self.shard(*place);
            shard.row = row.clone();
            shard.heard = clock;
        }
    }
}

impl Shard {
    /// Whether silence makes it Unhealthy.
    fn waited_for(&self) -> bool {
        self.row.since_ms.is_some() && self.row.state != State::Unhealthy
    }

    fn sign_of_life(&mut self, clock: Duration, wall_ms: i64, details: &Details) {
        self.heard = clock;
        self.row.last_heard_ms = Some(wall_ms);
        if details.group.is_some() {
            self.row.details.group.clone_from(&details.group);
        }
        if details.latency_ms.is_some() {
            self.row.details.latency_ms = details.latency_ms;
        }
        self.touched = true;
    }

    /// `since`, `previous` and `cause` speak of the moment when the state was
    /// entered, so the same state again changes none of them.
    fn enter(&mut self, place: Place, state: State, cause: Cause, at_ms: i64) -> Option<Expected> {
        let first = self.row.since_ms.is_none();
        let previous = self.row.state;
        if previous == state && !first {
            return None;
        }
        self.changed = true;
        self.row.state = state;
        self.row.previous = previous;
        self.row.cause = Some(cause);
        self.row.since_ms = Some(at_ms);
        // A first report of Unknown changes nothing that anybody sees.
        (previous != state).then_some(Expected {
            place,
            state,
            previous,
            cause,
            at_ms,
        })
    }
}
