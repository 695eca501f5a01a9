//! What the programs cost while nothing happens.

use std::time::Duration;

use serde_json::json;

use crate::{
    meter::{Reading, Usage},
    results::{Figure, Goal, Limit},
    system::{Setup, System},
    table::Table,
};

/// The size of a large bot.
const SHARDS: u32 = 1056;
const PERIOD: Duration = Duration::from_secs(25);
/// The fleet's last blocks are written ten seconds after it reported.
const SETTLE: Duration = Duration::from_secs(11);

const CORE_PERCENT_MAX: f64 = 0.5;
const WAKEUPS_PER_S_MAX: f64 = 30.0;

/// Measures the figure, once.
///
/// # Errors
///
/// When a program ends.
pub(super) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let system = System::start(Setup::of(SHARDS)).await?;
    eprintln!("idle ...");
    tokio::time::sleep(SETTLE).await;
    let programs = [
        ("aggregator", system.aggregator().id(), true),
        ("bridge", system.bridge_process().0.id(), true),
        ("web", system.web().0.id(), true),
        ("nats-server", system.broker_id(), false),
    ];
    let before = programs.map(|(_, id, _)| Reading::take(id));
    tokio::time::sleep(PERIOD).await;
    let mut used = Vec::new();
    for ((name, id, is_ours), before) in programs.into_iter().zip(before) {
        used.push((name, is_ours, before?.until(Reading::take(id)?)));
    }
    Ok(vec![figure(&used)])
}

fn figure(used: &[(&'static str, bool, Usage)]) -> Figure {
    let mut table = Table::new(["program", "% of a core", "wake-ups a second"]);
    for (name, _, usage) in used {
        table.push([
            (*name).to_owned(),
            format!("{:.2}", usage.core_percent()),
            format!("{:.1}", usage.wakeups_per_s()),
        ]);
    }
    let ours = used.iter().filter(|(_, is_ours, _)| *is_ours);
    let goals = ours.flat_map(|(name, _, usage)| {
        [
            Goal {
                what: format!("{name}, idle"),
                unit: "% of a core",
                limit: Limit::Under(CORE_PERCENT_MAX),
                measured: usage.core_percent(),
            },
            Goal {
                what: format!("{name}, idle"),
                unit: " wake-ups a second",
                limit: Limit::Under(WAKEUPS_PER_S_MAX),
                measured: usage.wakeups_per_s(),
            },
        ]
    });
    let rows: Vec<_> = used
        .iter()
        .map(|(name, _, usage)| {
            json!({
                "name": name,
                "core_percent": usage.core_percent(),
                "wakeups_per_s": usage.wakeups_per_s(),
            })
        })
        .collect();
    Figure {
        name: "idle",
        title: format!("Idle: {SHARDS} silent shards, for {} s", PERIOD.as_secs()),
        goals: goals.collect(),
        rows: json!(rows),
        tables: vec![table],
    }
}
