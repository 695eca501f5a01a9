//! How many people can open the page in a second, with all its parts and the data.
//!
//! Beside it stands a bare hyper server that sends as many bytes for as many requests.

use std::{
    net::SocketAddrV4,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::json;

use crate::{
    bare, meter,
    options::Options,
    pace::SHARDS,
    results::{Figure, Goal, Limit},
    statistics::Numbers,
    system::{Setup, System, start_listening},
    table::Table,
    visit::Visit,
};

const VISITS_PER_S: f64 = 2000.0;
/// Visitors at the same time.
const VISITORS: usize = 64;
const PERIOD: Duration = Duration::from_secs(4);

struct Row {
    name: &'static str,
    visit: Visit,
    bare: Visit,
    ours: Numbers,
    limit: Numbers,
}

/// Measures the figure.
///
/// # Errors
///
/// When an answer is wrong or does not come.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let system = System::start(Setup::of(SHARDS)).await?;
    let address = system.web().1;
    let limit = start_listening(bare::process(&["files"])?).await?;
    let visits = [
        ("a first visit", Visit::first(address).await?),
        ("another visit", Visit::again(address).await?),
    ];
    let mut rows = visits.map(|(name, visit)| Row {
        name,
        // Who has everything is sent nothing.
        bare: visit.bare(limit.address),
        visit,
        ours: Numbers::new(),
        limit: Numbers::new(),
    });
    for round in 1..=options.rounds {
        eprintln!("rush: round {round} of {} ...", options.rounds);
        rows[1].visit = Visit::again(address).await?;
        for row in &mut rows {
            let ours = rate(&row.visit, address).await;
            row.ours
                .push(ours.with_context(|| format!("cannot measure '{}'", row.name))?);
            row.limit.push(rate(&row.bare, limit.address).await?);
        }
    }
    Ok(vec![figure(options, &rows)])
}

/// Visits a second.
async fn rate(visit: &Visit, address: SocketAddrV4) -> anyhow::Result<f64> {
    let (start, made) = (Instant::now(), AtomicUsize::new(0));
    let visitors = (0..VISITORS).map(async |_| {
        while start.elapsed() < PERIOD {
            let number = made.fetch_add(1, Ordering::Relaxed);
            visit.make(address, number).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(visitors).await?;
    Ok(meter::as_float(made.into_inner() as u64) / start.elapsed().as_secs_f64())
}

fn figure(options: &Options, rows: &[Row]) -> Figure {
    let title = format!(
        "The rush: {} rounds of {} s, {VISITORS} visitors at a time, {SHARDS} shards",
        options.rounds,
        PERIOD.as_secs()
    );
    let mut table = Table::new([
        "visit",
        "requests",
        "KiB",
        "a second",
        "bare hyper",
        "ratio",
    ]);
    let mut kept = Vec::new();
    for row in rows {
        let bytes: usize = row.visit.bodies.iter().sum();
        table.push([
            row.name.to_owned(),
            row.visit.requests().to_string(),
            (bytes / 1024).to_string(),
            format!("{:.0}", row.ours.spread()),
            format!("{:.0}", row.limit.spread()),
            format!("{:.2}", row.ours.ratio_to(&row.limit)),
        ]);
        kept.push(json!({ "name": row.name, "bodies": row.visit.bodies, "ours": row.ours, "limit": row.limit }));
    }
    let goals = rows.iter().map(|row| Goal {
        what: format!("{}, each second", row.name),
        unit: "",
        limit: Limit::AtLeast(VISITS_PER_S),
        measured: row.ours.spread().median,
    });
    Figure {
        name: "rush",
        title,
        goals: goals.collect(),
        rows: json!(kept),
        tables: vec![table],
    }
}
