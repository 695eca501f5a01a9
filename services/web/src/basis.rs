//! What time it is for viewers. No IO; both clocks are passed in.
//!
//! Every time that viewers see was measured by the aggregator, so its clock
//! tells them `now` as well: the newest pulse says it, and this host's monotonic
//! clock carries it on. A step of this host's wall clock changes nothing then.

use std::time::{Duration, Instant};

use glance_protocol::feed::Clock;

use crate::mirror::Mirror;

/// From this silence of the aggregator on the picture is called old.
pub(crate) const STALE: Duration = Duration::from_secs(5);

/// This process never takes so long between two turns, unless it was paused.
const PAUSED: Duration = Duration::from_secs(2);
/// After a pause, what comes in this time has waited for us.
const BACKLOG: Duration = Duration::from_millis(500);

/// What is known of the aggregator's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Basis {
    /// The newest pulse: when it came, and what time it said, in Unix milliseconds.
    pulse: Option<(Instant, i64)>,
    turned: Option<Instant>,
    woken: Option<Instant>,
}

impl Basis {
    /// The process runs; called several times a second.
    pub(crate) fn turn(&mut self, now: Instant) {
        let paused = |turned| now.saturating_duration_since(turned) > PAUSED;
        if self.turned.is_some_and(paused) {
            self.woken = Some(now);
        }
        self.turned = Some(now);
    }

    /// A pulse came. One that waited while this process was paused came as long
    /// after the one before it as it says: its aggregator may be gone by now.
    pub(crate) fn hear(&mut self, now: Instant, at_ms: i64) {
        let waited = |woken| now.saturating_duration_since(woken) < BACKLOG;
        let came = match self.pulse {
            Some((came, before_ms)) if self.woken.is_some_and(waited) => {
                let later_ms = u64::try_from(at_ms.saturating_sub(before_ms)).unwrap_or(0);
                let then = came.checked_add(Duration::from_millis(later_ms));
                then.unwrap_or(now).min(now)
            }
            _ => now,
        };
        self.pulse = Some((came, at_ms));
    }

    /// When the aggregator was last heard.
    #[must_use]
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.pulse.map(|(came, _)| came)
    }

    /// The times at this moment. Before the first pulse this host's wall clock
    /// has to do, but what was kept is never from the future.
    #[must_use]
    pub(crate) fn clock(&self, now: Instant, wall_ms: i64, mirror: &Mirror) -> Clock {
        let now_ms = match self.pulse {
            Some((came, at_ms)) => {
                at_ms.saturating_add(milliseconds(now.saturating_duration_since(came)))
            }
            None => wall_ms.max(mirror.kept_at_ms().unwrap_or(wall_ms)),
        };
        let silence = |came| now.saturating_duration_since(came);
        let is_heard = self.pulse.is_some_and(|(came, _)| silence(came) <= STALE);
        Clock {
            now_ms,
            heard_ms: self.pulse.map(|(_, at_ms)| at_ms),
            // Who is not heard may be gone, and then nobody judges.
            judging_since_ms: mirror.judging_since_ms().filter(|_| is_heard),
        }
    }
}

fn milliseconds(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn the_wall_clock_of_this_host_counts_only_before_the_first_pulse() {
        let (mut basis, mirror, start) = (Basis::default(), Mirror::default(), Instant::now());
        assert_eq!(basis.clock(start, 5000, &mirror).now_ms, 5000);
        basis.hear(start, 100_000);
        let later = start + Duration::from_secs(3);
        for wall_ms in [5000, HOUR_MS, -HOUR_MS] {
            let clock = basis.clock(later, wall_ms, &mirror);
            assert_eq!((clock.now_ms, clock.heard_ms), (103_000, Some(100_000)));
        }
    }

    #[test]
    fn nobody_judges_while_no_aggregator_is_heard() {
        let (mut basis, mut mirror, start) = (Basis::default(), Mirror::default(), Instant::now());
        mirror.judge_since(1000);
        basis.hear(start, 2000);
        let judging = |after| basis.clock(start + after, 0, &mirror).judging_since_ms;
        assert_eq!(judging(STALE), Some(1000));
        assert_eq!(judging(STALE + Duration::from_millis(1)), None);
    }

    #[test]
    fn a_clock_that_the_aggregator_set_back_is_believed() {
        let (mut basis, mirror, start) = (Basis::default(), Mirror::default(), Instant::now());
        basis.hear(start, HOUR_MS);
        basis.hear(start + Duration::from_secs(1), 1000);
        assert_eq!(
            basis
                .clock(start + Duration::from_secs(1), 0, &mirror)
                .now_ms,
            1000
        );
    }

    #[test]
    fn what_waited_during_a_pause_is_not_taken_for_new() {
        let (mut basis, mirror, start) = (Basis::default(), Mirror::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        basis.turn(start);
        basis.hear(start, 0);
        // It was paused for a minute, and the aggregator died after ten seconds of it.
        basis.turn(at(60));
        for second in 1..=10 {
            basis.hear(at(60), second * 1000);
        }
        assert_eq!(basis.heard(), Some(at(10)));
        assert_eq!(basis.clock(at(60), 0, &mirror).now_ms, 60_000);
        basis.turn(at(61));
        basis.hear(at(61), 12_000);
        assert_eq!(basis.heard(), Some(at(61)));
    }
}
