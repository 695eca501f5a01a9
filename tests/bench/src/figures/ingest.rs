//! How many messages a second one aggregator takes, beside a process that only receives them.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::{
    alone::{Aggregator, Receiver},
    fleet::{TALKATIVE, Verb},
    flood::{Length, Traffic, flood},
    options::Options,
    results::{Figure, Goal, Limit},
    statistics::Numbers,
    table::Table,
};

/// Sixteen blocks of the table.
const SHARDS: u32 = 16 * 1024;
const LENGTH: Length = Length::Timed {
    warm_up: Duration::from_millis(300),
    period: Duration::from_secs(2),
};
/// No shard times out during a measurement.
const HEALTH_TIMEOUT_S: u32 = 86_400;

/// What part of the bare receiver's rate it should be.
const RATIO_MIN: f64 = 0.6;

/// What comes in.
struct Row {
    name: &'static str,
    verb: Verb,
    /// In each pass over the fleet, the shards say the next of these.
    bodies: &'static [&'static [u8]],
    has_goal: bool,
}

const ROWS: [Row; 4] = [
    Row {
        name: "health checks, empty",
        verb: Verb::Health,
        bodies: &[b""],
        has_goal: true,
    },
    Row {
        name: "health checks that tell all they may",
        verb: Verb::Health,
        bodies: &[TALKATIVE],
        has_goal: false,
    },
    Row {
        name: "reports of the same state",
        verb: Verb::State,
        bodies: &[b"3"],
        has_goal: true,
    },
    Row {
        name: "reports that each change the state",
        verb: Verb::State,
        bodies: &[b"6", b"3"],
        has_goal: false,
    },
];

/// A row with its traffic, and what was measured: messages a second.
struct Measured {
    row: Row,
    traffic: Traffic,
    ours: Numbers,
    bare: Numbers,
}

/// Measures the figure.
///
/// # Errors
///
/// When a message gets lost, or a program ends.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut aggregator = Aggregator::start(SHARDS, HEALTH_TIMEOUT_S).await;
    let mut ours = aggregator.fill(b"3")?;
    let (_subscriber, mut subscriber) = Receiver::start(Verb::Health, SHARDS).await?;
    let (_consumer, mut consumer) = Receiver::start(Verb::State, SHARDS).await?;
    let mut all = Vec::new();
    for row in ROWS {
        all.push(Measured {
            traffic: Traffic::new(row.verb, SHARDS, row.bodies)?,
            row,
            ours: Numbers::default(),
            bare: Numbers::default(),
        });
    }
    for round in 1..=options.rounds {
        eprintln!("ingest: round {round} of {} ...", options.rounds);
        for it in &mut all {
            let failed = || format!("cannot measure '{}'", it.row.name);
            let rate = flood(&mut ours, &it.traffic, LENGTH).with_context(failed)?;
            aggregator.check().with_context(failed)?;
            it.ours.push(rate);
            let bare = match it.row.verb {
                Verb::Health => &mut subscriber,
                Verb::State => &mut consumer,
            };
            let rate = flood(bare, &it.traffic, LENGTH).with_context(failed)?;
            it.bare.push(rate);
        }
    }
    Ok(vec![figure(options, &all)])
}

fn figure(options: &Options, all: &[Measured]) -> Figure {
    let mut table = Table::new([
        "what comes in",
        "aggregator, 1/s",
        "bare receiver, 1/s",
        "ratio",
    ]);
    for it in all {
        table.push([
            it.row.name.to_owned(),
            format!("{:.0}", it.ours.spread()),
            format!("{:.0}", it.bare.spread()),
            it.ours.ratio_to(&it.bare).to_string(),
        ]);
    }
    let goals = all.iter().filter(|it| it.row.has_goal).map(|it| Goal {
        what: format!("{}, part of the bare receiver's rate", it.row.name),
        unit: "",
        limit: Limit::AtLeast(RATIO_MIN),
        measured: it.ours.ratio_to(&it.bare).median,
    });
    let rows: Vec<_> = all
        .iter()
        .map(|it| json!({ "name": it.row.name, "aggregator": it.ours, "bare": it.bare }))
        .collect();
    Figure {
        name: "ingest",
        title: format!(
            "What one aggregator takes in, {} shards: {} rounds of 2 s each",
            SHARDS, options.rounds
        ),
        goals: goals.collect(),
        rows: json!(rows),
        tables: vec![table],
    }
}
