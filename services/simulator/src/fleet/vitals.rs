//! What a shard measures of itself.

use std::time::Duration;

use glance_protocol::{Details, State};
use rand::{RngExt, rngs::StdRng};

/// How long Discord takes to send all guilds of a new session.
const GUILDS_ARRIVE: Duration = Duration::from_secs(12);
/// The share of health checks that see a gateway that answers late.
const SPIKE_PROBABILITY: f64 = 0.01;
/// Discord refuses more guilds on one shard.
const GUILDS_MAX: u64 = 2500;

/// The numbers of one shard, which wander from one health check to the next.
#[derive(Debug)]
pub(super) struct Vitals {
    /// Where the latency wanders around, and where it is.
    latency_usual_ms: f64,
    latency_ms: f64,
    guilds: u64,
    /// Events a second that one guild causes, on average.
    events_per_guild: f64,
    /// When the session began; `None` when the simulation found it running.
    pub(super) ready_at: Option<Duration>,
    /// The connection stands, but no event arrives any more.
    pub(super) zombie: bool,
}

impl Vitals {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        let latency_usual_ms = rng.random_range(28.0..75.0);
        Self {
            latency_usual_ms,
            latency_ms: latency_usual_ms,
            guilds: rng.random_range(850..1250),
            events_per_guild: rng.random_range(0.03..0.07),
            ready_at: None,
            zombie: false,
        }
    }

    /// One step of the random walks.
    pub(super) fn wander(&mut self, rng: &mut StdRng) {
        let pull = (self.latency_usual_ms - self.latency_ms) * 0.2;
        self.latency_ms = (self.latency_ms + pull + rng.random_range(-5.0..5.0)).max(8.0);
        if rng.random_bool(0.02) {
            let joined = u64::from(rng.random_bool(0.55));
            self.guilds = (self.guilds + 2 * joined - 1).clamp(1, GUILDS_MAX);
        }
    }

    /// What a shard in `state` says of itself. Nothing is known of a connection that does not stand.
    #[allow(clippy::cast_precision_loss)] // A few thousand guilds.
    pub(super) fn details(&self, state: State, now: Duration, rng: &mut StdRng) -> Details {
        let online = state == State::Online;
        let jitter = rng.random_range(0.8..1.2);
        let spike = if rng.random_bool(SPIKE_PROBABILITY) {
            rng.random_range(80.0..400.0)
        } else {
            0.0
        };
        let events = if online && !self.zombie {
            self.guilds as f64 * self.events_per_guild * jitter
        } else {
            0.0
        };
        Details {
            latency_ms: online.then(|| tenths(self.latency_ms * jitter.sqrt() + spike)),
            guilds: Some(self.guilds),
            unavailable_guilds: online.then(|| self.unavailable(now)),
            events_per_s: Some(tenths(events)),
            ..Details::default()
        }
    }

    /// All guilds of a new session are unavailable first, and then arrive one after the other.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // A share of a few thousand guilds.
    fn unavailable(&self, now: Duration) -> u64 {
        let Some(ready_at) = self.ready_at else {
            return 0;
        };
        let age = now.saturating_sub(ready_at);
        let missing = 1.0 - (age.as_secs_f64() / GUILDS_ARRIVE.as_secs_f64()).min(1.0);
        (self.guilds as f64 * missing) as u64
    }
}

/// Measurements have one decimal; more would only make bodies longer.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn latency_varies_around_its_usual_value() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut vitals = Vitals::new(&mut rng);
        let seen: Vec<f64> = (0..500)
            .map(|_| {
                vitals.wander(&mut rng);
                let details = vitals.details(State::Online, Duration::from_secs(60), &mut rng);
                details.latency_ms.expect("a connected shard knows it")
            })
            .collect();
        let mean = seen.iter().sum::<f64>() / 500.0;
        assert!((mean - vitals.latency_usual_ms).abs() < 15.0, "{mean}");
        assert!(seen.iter().all(|latency| (1.0..1000.0).contains(latency)));
        assert!(seen.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_zombie_hears_nothing_and_guilds_arrive_after_ready() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut vitals = Vitals::new(&mut rng);
        vitals.ready_at = Some(Duration::ZERO);
        let fresh = vitals.details(State::Online, Duration::ZERO, &mut rng);
        assert_eq!(fresh.unavailable_guilds, fresh.guilds);
        assert!(fresh.events_per_s > Some(0.0));
        vitals.zombie = true;
        let later = vitals.details(State::Online, GUILDS_ARRIVE, &mut rng);
        assert_eq!(later.unavailable_guilds, Some(0));
        assert_eq!(later.events_per_s, Some(0.0));
    }
}
