//! Which faults are made, in which order: all of it follows from the seed.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The leading aggregator dies; its place is taken again later.
    LeaderKilled,
    /// The leading aggregator is stopped in an orderly way.
    LeaderStopped,
    /// The leading aggregator stands still for longer than its lease, and goes on.
    LeaderPaused,
    /// An aggregator that follows dies.
    FollowerKilled,
    /// No aggregator runs for longer than the timeout, while states change.
    AggregatorsDown,
    /// What the leader sends is on its way for longer than its lease, and comes after another leads.
    LeaderLate,
    /// The leader's link is half-open for longer than its lease.
    LeaderCutOff,
    /// The aggregators' links are cut again and again.
    LinksFlap,
    /// The broker hangs, dies and is started again.
    BrokerKilled,
    /// The broker is away for longer than the timeout.
    BrokerAway,
    /// The broker comes back with an empty store.
    StoreLost,
    /// The broker accepts and never answers.
    BrokerFrozen,
    /// The broker is up, but JetStream is not.
    JetStreamOff,
    /// More messages come than a subscription holds, so that some are dropped.
    Flood,
    /// A web replica dies.
    WebKilled,
    /// A web replica is stopped in an orderly way.
    WebStopped,
    /// A web replica stands still, and goes on.
    WebPaused,
    /// A web replica cannot reach the broker.
    WebCutOff,
    /// A bridge dies under requests.
    BridgeKilled,
    /// A bridge is stopped in an orderly way under requests.
    BridgeStopped,
    /// A bridge cannot reach the broker.
    BridgeCutOff,
    /// Everything is restarted, one after another.
    Deploy,
    /// The wall clock of a service is wrong by an hour, and right again.
    ClockStepped,
    /// A bot changes its number of shards while the leader dies.
    Resized,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::LeaderKilled,
        Self::LeaderStopped,
        Self::LeaderPaused,
        Self::FollowerKilled,
        Self::AggregatorsDown,
        Self::LeaderLate,
        Self::LeaderCutOff,
        Self::LinksFlap,
        Self::BrokerKilled,
        Self::BrokerAway,
        Self::StoreLost,
        Self::BrokerFrozen,
        Self::JetStreamOff,
        Self::Flood,
        Self::WebKilled,
        Self::WebStopped,
        Self::WebPaused,
        Self::WebCutOff,
        Self::BridgeKilled,
        Self::BridgeStopped,
        Self::BridgeCutOff,
        Self::Deploy,
        Self::ClockStepped,
        Self::Resized,
    ];

    /// Its name on the command line and in the report.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The kind of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One fault, with what is left to chance in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Its number in the whole run, from 1.
    pub number: usize,
    /// What is done.
    pub kind: Kind,
    /// For the choices within.
    pub seed: u64,
}

/// Each of these kinds `times` times, in an order that follows from the seed.
#[must_use]
pub fn plan(seed: u64, kinds: &[Kind], times: usize) -> Vec<Round> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut order = Vec::new();
    for _ in 0..times {
        let mut turn = kinds.to_vec();
        turn.shuffle(&mut rng);
        order.extend(turn);
    }
    (1..)
        .zip(order)
        .map(|(number, kind)| Round {
            number,
            kind,
            seed: rng.random(),
        })
        .collect()
}

/// Deals the rounds out to systems that run side by side.
#[must_use]
pub fn deal(rounds: &[Round], lanes: usize) -> Vec<Vec<Round>> {
    (0..lanes)
        .map(|lane| rounds.iter().skip(lane).step_by(lanes).copied().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_order_and_no_kind_is_left_out() {
        let rounds = plan(7, &Kind::ALL, 30);
        assert_eq!(rounds, plan(7, &Kind::ALL, 30));
        assert_ne!(rounds, plan(8, &Kind::ALL, 30));
        for kind in Kind::ALL {
            let times = rounds.iter().filter(|round| round.kind == kind).count();
            assert_eq!(times, 30, "{kind:?}");
            assert_eq!(Kind::of_name(&kind.name()), Some(kind));
        }
        let dealt: usize = deal(&rounds, 7).iter().map(Vec::len).sum();
        assert_eq!(dealt, rounds.len());
    }
}
