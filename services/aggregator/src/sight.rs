//! When silence may be judged.
//!
//! While the aggregator cannot hear, silence means nothing. Silence is measured
//! on a clock that stands still in such times, and after each of them nobody is
//! flagged for one timeout, since what was sent meanwhile may be lost. A link
//! that flaps could hide a dead shard for ever in that way, so the periods of
//! grace in a row end five timeouts (of that clock) after the first.

use std::time::Duration;

use glance_runner::fault::{self, Mutation};

/// How many timeouts the grace may last when the link flaps.
const GRACE_TIMEOUTS_MAX: u32 = 5;

/// Silence is judged at least this often. Sight that is lost sooner than this
/// after the end of a period of grace may have been lost before anybody was judged.
const JUDGED_WITHIN: Duration = Duration::from_secs(1);

/// A monotonic clock that stands still while the aggregator is blind.
#[derive(Debug)]
pub(crate) struct Sight {
    /// What the clock showed at the last change of sight.
    base: Duration,
    /// When sight came back; `None` while blind.
    clear_since: Option<Duration>,
}

impl Sight {
    /// Blind, as at a start.
    pub(crate) fn blind() -> Self {
        Self {
            base: Duration::ZERO,
            clear_since: None,
        }
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.clear_since.is_some()
    }

    /// What the clock shows.
    pub(crate) fn time(&self, now: Duration) -> Duration {
        match self.clear_since {
            Some(since) => self.base + now.saturating_sub(since),
            None => self.base,
        }
    }

    pub(crate) fn lose(&mut self, now: Duration) {
        self.base = self.time(now);
        self.clear_since = None;
    }

    pub(crate) fn regain(&mut self, now: Duration) {
        self.clear_since.get_or_insert(now);
    }

    /// When the clock will show `time`; `None` while it stands still.
    pub(crate) fn when(&self, time: Duration) -> Option<Duration> {
        Some(self.clear_since? + time.saturating_sub(self.base))
    }
}

/// The period of grace of one cluster, on the clock of [`Sight`].
#[derive(Debug)]
pub(crate) struct Grace {
    timeout: Duration,
    /// Nobody is flagged before.
    end: Duration,
    /// When the first period of this row began.
    row_began: Duration,
}

impl Grace {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            end: timeout,
            row_began: Duration::ZERO,
        }
    }

    /// Sight came back at `time`.
    pub(crate) fn renew(&mut self, time: Duration) {
        if time >= self.end + JUDGED_WITHIN {
            // Silence was judged: this is the first period of a row.
            self.row_began = time;
        }
        let limit = self.row_began + self.timeout * GRACE_TIMEOUTS_MAX;
        self.end = (time + self.timeout).min(limit).max(self.end);
    }

    /// The end of the period.
    pub(crate) fn end(&self) -> Duration {
        if fault::is(Mutation::NoGrace) {
            return Duration::ZERO;
        }
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn blind_time_does_not_count() {
        let mut sight = Sight::blind();
        assert_eq!((sight.time(s(5)), sight.when(s(1))), (s(0), None));
        sight.regain(s(10));
        sight.regain(s(11));
        assert_eq!(sight.time(s(12)), s(2));
        assert_eq!(sight.when(s(7)), Some(s(17)));
        sight.lose(s(13));
        sight.lose(s(15));
        assert_eq!(sight.time(s(99)), s(3));
        sight.regain(s(100));
        assert_eq!(sight.time(s(101)), s(4));
    }

    #[test]
    fn a_flapping_link_does_not_extend_the_grace_for_ever() {
        let mut grace = Grace::new(s(30));
        grace.renew(s(0));
        assert_eq!(grace.end(), s(30));
        for flap in 1..20 {
            grace.renew(s(25 * flap).min(s(149)));
        }
        assert_eq!(grace.end(), s(150));
        // At the very end of it perhaps nobody was judged yet.
        grace.renew(s(150));
        assert_eq!(grace.end(), s(150));
        // The next one after that begins a new row.
        grace.renew(s(160));
        assert_eq!(grace.end(), s(190));
    }
}
