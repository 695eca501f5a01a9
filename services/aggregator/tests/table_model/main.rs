//! The table of shards against a naive model of the contract, in random histories.
//!
//! A failure prints the seed and the shortest history that still fails. To
//! repeat it: `GLANCE_TEST_SEED=<seed> cargo test -p glance-aggregator --test table_model`.
//! `GLANCE_TEST_HISTORIES` sets how many histories are tried.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test, its helpers too.

mod history;
mod link;
mod model;
mod model_cluster;
mod run;
mod scene;
mod sizes;
mod takeover;

use history::{Act, History};
use run::{Run, Trace};

const SEED: u64 = 20_261_122;
const HISTORIES: u64 = 3_000;
const STEPS: usize = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Seeds of `count` histories, or fewer when the one who runs the tests says so.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = number("GLANCE_TEST_SEED").unwrap_or(SEED);
    first..first + number("GLANCE_TEST_HISTORIES").unwrap_or(count)
}

/// Leaves steps out for as long as the history still fails.
fn shortest(mut history: History, fails: impl Fn(&History) -> bool) -> History {
    let mut chunk = history.steps.len() / 2;
    while chunk > 0 {
        let mut from = 0;
        while from < history.steps.len() {
            let mut shorter = history.clone();
            let to = (from + chunk).min(history.steps.len());
            shorter.steps.drain(from..to);
            match fails(&shorter) {
                true => history = shorter,
                false => from = to,
            }
        }
        chunk /= 2;
    }
    history
}

fn check(seed: u64, check: impl Fn(&History) -> Result<(), String>) {
    let history = History::random(seed, STEPS);
    if check(&history).is_ok() {
        return;
    }
    let history = shortest(history, |history| check(history).is_err());
    let problem = check(&history).unwrap_err();
    panic!("GLANCE_TEST_SEED={seed}\n{history:#?}\n{problem}");
}

/// After each step the table is what the contract says.
#[test]
fn the_table_behaves_as_the_contract_says() {
    // Two halves at once, since most machines have two cores.
    let seeds = seeds(HISTORIES);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let seeds = seeds.clone().skip(half).step_by(2);
            scope.spawn(move || {
                for seed in seeds {
                    check(seed, |history| Run::of(history).map(drop));
                }
            });
        }
    });
}

/// Somebody who sets the wall clock changes times that people see, and nothing else.
#[test]
fn steps_of_the_wall_clock_change_no_state() {
    let trace = |history: &History| -> Result<Trace, String> { Ok(Run::of(history)?.trace) };
    for seed in seeds(HISTORIES / 10) {
        check(seed, |history| {
            let mut history = history.clone();
            // Two aggregators' times can be compared only by a clock that nobody steps in secret.
            let steps = history.steps.iter_mut();
            for step in steps.filter(|step| matches!(step.act, Act::Adopt(..))) {
                step.act = Act::Tick;
            }
            let mut steady = history.clone();
            for step in &mut steady.steps {
                step.wall_step_ms = 0;
            }
            match trace(&history)? == trace(&steady)? {
                true => Ok(()),
                false => Err("the wall clock made a difference".to_owned()),
            }
        });
    }
}
