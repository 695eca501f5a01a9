//! The fault suite notices each of six mistakes, and does not complain about the programs without them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{thread, time::Duration};

use glance_runner::fault::Mutation;
use glance_tests::fault::{
    complaint::Rule,
    plan::{Kind, plan},
    run::run,
    system::Shape,
};

/// A mistake, the kinds of fault that show it, and as what it may be noticed first.
type Case = (Mutation, &'static [Kind], &'static [Rule]);

const CASES: [Case; 6] = [
    (
        Mutation::BlindTimeCounts,
        &[Kind::BrokerAway],
        &[Rule::FalselyFlagged],
    ),
    (
        Mutation::EpochIgnored,
        &[Kind::LeaderLate],
        &[Rule::JudgingCameBack],
    ),
    (
        Mutation::PutWithoutCas,
        &[Kind::LeaderLate],
        &[Rule::EpochWentBack],
    ),
    (
        Mutation::ReplaySkipped,
        &[Kind::AggregatorsDown],
        &[Rule::Lost],
    ),
    (Mutation::EarlyAnswer, &[Kind::BrokerKilled], &[Rule::Lost]),
    (
        Mutation::NoGrace,
        &[Kind::AggregatorsDown],
        &[Rule::FalselyFlagged],
    ),
];

const SEED: u64 = 20_190_601;
/// Rounds of each kind at most, until the mistake is noticed.
const ROUNDS: usize = 3;
/// How many installations share the rounds without a mistake.
const LANES: usize = 4;

#[test]
fn each_mistake_is_noticed() {
    thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(|| expect_failure(case));
        }
    });
}

fn expect_failure((mutation, kinds, rules): &Case) {
    let shape = Shape {
        mutation: Some(*mutation),
        // What is lost does not come back by waiting longer.
        patience: Duration::from_secs(12),
        ..Shape::default()
    };
    let name = mutation.name();
    match run(shape, SEED, &plan(SEED, kinds, ROUNDS), 1) {
        Ok(tally) => panic!("{name} is not noticed:\n{tally}"),
        Err(failure) => {
            let first = failure.complaints.first().expect("a failure has a reason");
            println!("{name}: {first}");
            assert!(rules.contains(&first.rule), "{name}: {failure}");
        }
    }
}

#[test]
fn without_a_mistake_there_is_no_complaint() {
    let mut kinds: Vec<Kind> = CASES.iter().flat_map(|case| case.1).copied().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let rounds = plan(SEED, &kinds, ROUNDS);
    if let Err(failure) = run(Shape::default(), SEED, &rounds, LANES) {
        panic!("{failure}");
    }
}
