//! Whether the bots can be heard, and by which clocks.

use std::time::Duration;

use glance_protocol::Pulse;
use glance_runner::{
    Link, clock,
    fault::{self, Mutation},
};
use tracing::{info, warn};

use super::{Owner, Role};
use crate::{
    store::Store,
    table::{Input, Moment},
};

/// Who does not hear its own pulse for this long is blind.
const ECHO_WAIT_MAX: Duration = Duration::from_secs(2);
/// A wall clock that moves by more than this against the monotonic one was set.
const CLOCK_STEP_MS: i64 = 1000;
/// Two pulses tell the same of a clock when they differ by less.
const CLOCK_SAME_MS: u64 = 500;

/// Where the pulse is.
#[derive(Debug, Default)]
pub(crate) struct PulseState {
    /// The number of the last pulse that was sent.
    pub(super) number: u64,
    pub(super) next_at: Duration,
    /// When the last pulse came back.
    pub(super) echo_at: Duration,
    /// Only a pulse after this one proves that we hear.
    blind_since_number: u64,
}

/// Watches the wall clocks: our own, and that of whoever leads.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// The wall clock minus the monotonic one, in milliseconds, when it was last looked at.
    offset_ms: i64,
    leader: Option<LeaderClock>,
}

/// The clock of whoever leads, by its pulses.
#[derive(Debug, Clone, Copy)]
struct LeaderClock {
    epoch: u64,
    /// By how many milliseconds it was ahead of ours in the last pulse.
    last_ms: i64,
    /// The same, as two pulses in a row told.
    confirmed_ms: Option<i64>,
}

impl WallClock {
    /// `mono` is the monotonic clock of now.
    pub(crate) fn new(mono: Duration) -> Self {
        Self {
            offset_ms: clock::unix_ms().saturating_sub(millis(mono)),
            leader: None,
        }
    }

    /// Notes the time in a pulse of another aggregator. A single one may have been
    /// on its way for long: those that come late together are a second apart.
    fn note_leader(&mut self, epoch: u64, ahead_ms: i64) {
        let before = self.leader.filter(|before| before.epoch == epoch);
        let same = before.is_some_and(|it| it.last_ms.abs_diff(ahead_ms) < CLOCK_SAME_MS);
        let kept = before.and_then(|before| before.confirmed_ms);
        self.leader = Some(LeaderClock {
            epoch,
            last_ms: ahead_ms,
            confirmed_ms: if same { Some(ahead_ms) } else { kept },
        });
    }

    /// The epoch of whoever led last, and by how many milliseconds its clock was ahead of ours.
    pub(super) fn leader(&self) -> Option<(u64, i64)> {
        let leader = self.leader?;
        Some((leader.epoch, leader.confirmed_ms?))
    }

    /// The moment on both clocks.
    pub(crate) fn moment(&self, mono: Duration) -> Moment {
        Moment {
            mono,
            wall_ms: millis(mono).saturating_add(self.offset_ms),
        }
    }

    /// Looks at the wall clock, and says by how many milliseconds it moved against the monotonic one.
    fn look(&mut self, mono: Duration) -> i64 {
        let before = self.offset_ms;
        self.offset_ms = clock::unix_ms().saturating_sub(millis(mono));
        self.offset_ms.saturating_sub(before)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Owner {
    /// When the wall clock was set, the times in the table move with it, so that ages stay right.
    pub(super) fn watch_clock(&mut self) {
        let step_ms = self.clock.look(self.started.elapsed());
        if step_ms.abs() > CLOCK_STEP_MS {
            warn!("the wall clock was set by {step_ms} ms; ages are not changed by that");
            self.clock.leader = None;
            self.stirred = true;
            let now = self.now();
            self.note(Input::ClockStepped(step_ms), now);
        }
    }

    pub(super) fn watch_sight(&mut self, now: Moment) {
        if !self.table.is_clear() {
            return;
        }
        if !self.leads() {
            self.lose_sight("the lease ran out", now);
        } else if now.mono.saturating_sub(self.pulse.echo_at) > ECHO_WAIT_MAX {
            self.lose_sight("its own pulse does not come back", now);
        }
    }

    pub(super) fn take_echo(&mut self, message: &async_nats::Message, now: Moment) {
        // Others may publish there too; only our own pulse proves anything.
        let Ok(pulse) = Pulse::from_bytes(&message.payload) else {
            return;
        };
        if self.role == Role::Following {
            let ahead_ms = pulse.at_ms.saturating_sub(now.wall_ms);
            self.clock.note_leader(pulse.epoch, ahead_ms);
        }
        let is_own = self.leads() && pulse.epoch == self.epoch;
        if !is_own || pulse.number <= self.pulse.blind_since_number {
            return;
        }
        self.pulse.echo_at = now.mono;
        if !self.table.is_clear() && !self.replaying {
            info!("hearing the bots; silence is judged after one timeout");
            self.note(Input::SightRegained, now);
        }
    }

    pub(super) fn take_link(&mut self, link: Link, now: Moment) {
        if link.dropped != self.link.dropped {
            self.lose_sight("messages were dropped", now);
        } else if !link.connected || link.connects != self.link.connects {
            self.lose_sight("the broker is away", now);
        }
        // What was stored meanwhile comes first, unless the reader of the stream was faster than this event.
        self.replaying |= link.connects > self.caught_up_on;
        self.link = link;
    }

    /// The stream of states is not read at present.
    pub(super) fn lose_states(&mut self, now: Moment) {
        self.replaying = true;
        self.lose_sight("stored reports cannot be read", now);
    }

    pub(super) fn lose_sight(&mut self, reason: &str, now: Moment) {
        if fault::is(Mutation::BlindTimeCounts) {
            return;
        }
        self.pulse.blind_since_number = self.pulse.number;
        if self.table.is_clear() {
            warn!("cannot hear the bots ({reason}); nobody is flagged meanwhile");
            self.note(Input::SightLost, now);
        }
    }

    /// All stored reports are in the table: it may be shown.
    pub(super) fn catch_up(&mut self, connects: u64) {
        if !self.caught_up {
            info!("the table is complete");
            self.caught_up = true;
        }
        self.caught_up_on = connects;
        // There may have been another connection since.
        self.replaying = connects < self.link.connects;
        self.ready.send_replace(true);
    }

    /// The connection is a new one: the broker may have lost anything.
    pub(super) fn reopen(&mut self, store: Store, now: Moment) {
        if store.states_id != self.store.states_id || store.last_sequence < self.applied {
            self.table.forget_sequences();
            self.blocks.forget_sequences();
            self.applied = 0;
            self.untold.clear();
        }
        self.store = store;
        self.blocks.mark_all(now.mono);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pulses: &[(u64, i64)]) -> Option<(u64, i64)> {
        let mut clock = WallClock::new(Duration::ZERO);
        for (epoch, ahead_ms) in pulses {
            clock.note_leader(*epoch, *ahead_ms);
        }
        clock.leader()
    }

    #[test]
    fn a_clock_is_known_by_two_pulses() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[(7, 5000)]), None);
        assert_eq!(told(&[(7, 5000), (7, 4990)]), Some((7, 4990)));
        // Another leader has another clock.
        assert_eq!(told(&[(7, 5000), (7, 5000), (8, 5000)]), None);
    }

    #[test]
    fn pulses_that_were_late_say_nothing_of_the_clock() {
        let late = (1..50).map(|second| (7, second * 1000 - 50_000));
        let pulses: Vec<_> = [(7, 3), (7, 2)].into_iter().chain(late).collect();
        assert_eq!(told(&pulses), Some((7, 2)));
    }

    #[test]
    fn a_clock_that_was_set_and_set_back_is_followed() {
        let hour = 3_600_000;
        let mut pulses = vec![(7, 0), (7, 1), (7, hour), (7, hour)];
        assert_eq!(told(&pulses), Some((7, hour)));
        pulses.extend([(7, 2), (7, 3)]);
        assert_eq!(told(&pulses), Some((7, 3)));
    }
}
