//! Faults of every kind, at real processes. `make soak` plays many rounds.
//!
//! `GLANCE_FAULT_SEED=<seed>` replays the order of the faults. The flags are `--each <count>` (how often each kind of
//! fault is made at least), `--rounds <count>` (how many rounds there are at least), `--lanes <count>` (how many
//! installations run side by side), `--aggregators <count>` of each, and `--only <kind>`.

#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::process::ExitCode;

use glance_tests::fault::{
    plan::{Kind, plan},
    run::run,
    system::Shape,
};

/// How often each kind is made.
const TIMES: usize = 2;
/// A round is mostly waiting.
const LANES: usize = 6;

struct Options {
    seed: u64,
    rounds: usize,
    times: usize,
    lanes: usize,
    shape: Shape,
    kinds: Vec<Kind>,
}

fn main() -> ExitCode {
    let Some(options) = read_options() else {
        return ExitCode::SUCCESS;
    };
    let seed = options.seed;
    println!("GLANCE_FAULT_SEED={seed}");
    let began = std::time::Instant::now();
    let times = options.rounds.div_ceil(options.kinds.len());
    let rounds = plan(seed, &options.kinds, times.max(options.times));
    match run(options.shape, seed, &rounds, options.lanes) {
        Ok(tally) => {
            println!("{tally}{:<26} {:>7} s", "took", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("GLANCE_FAULT_SEED={seed}\n{failure}");
            ExitCode::FAILURE
        }
    }
}

/// `None` when cargo asks for another test, or only for the names of the tests.
fn read_options() -> Option<Options> {
    let seed = std::env::var("GLANCE_FAULT_SEED").ok();
    let mut options = Options {
        seed: seed.map_or_else(rand::random, |seed| {
            seed.parse().expect("a seed is a number")
        }),
        rounds: 0,
        times: TIMES,
        lanes: LANES,
        shape: Shape::default(),
        kinds: Kind::ALL.to_vec(),
    };
    let mut only = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|text| text.parse().ok());
            number.expect("a number follows")
        };
        match word.as_str() {
            "--rounds" => options.rounds = number(),
            "--each" => options.times = number(),
            "--lanes" => options.lanes = number(),
            "--aggregators" => options.shape.aggregators = number(),
            "--only" => {
                let name = words.next().expect("a kind follows");
                only.push(Kind::of_name(&name).expect("there is such a kind"));
            }
            "--list" => return None,
            // What cargo and the standard harness know, such as `--nocapture`.
            flag if flag.starts_with('-') => {}
            filter if "faults".contains(filter) => {}
            _ => return None,
        }
    }
    if !only.is_empty() {
        options.kinds = only;
    }
    Some(options)
}
