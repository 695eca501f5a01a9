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
    /// Answers in each visit that said that nothing has changed.
    unchanged: Numbers,
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
        bare: visit.bare(limit.address),
        visit,
        ours: Numbers::new(),
        unchanged: Numbers::new(),
        limit: Numbers::new(),
    });
    for round in 1..=options.rounds {
        eprintln!("rush: round {round} of {} ...", options.rounds);
        // What is known has to be new.
        rows[1].visit = Visit::again(address).await?;
        for row in &mut rows {
            let ours = rate(&row.visit, address).await;
            let ours = ours.with_context(|| format!("cannot measure '{}'", row.name))?;
            row.ours.push(ours.visits);
            row.unchanged.push(ours.unchanged);
            row.limit.push(rate(&row.bare, limit.address).await?.visits);
        }
    }
    Ok(vec![figure(options, &rows)])
}

struct Rate {
    /// A second.
    visits: f64,
    /// Answers in each that said that nothing has changed.
    unchanged: f64,
}

async fn rate(visit: &Visit, address: SocketAddrV4) -> anyhow::Result<Rate> {
    let (start, made) = (Instant::now(), AtomicUsize::new(0));
    let unchanged = AtomicUsize::new(0);
    let visitors = (0..VISITORS).map(async |_| {
        while start.elapsed() < PERIOD {
            let number = made.fetch_add(1, Ordering::Relaxed);
            let took = visit.make(address, number).await?;
            unchanged.fetch_add(took.unchanged, Ordering::Relaxed);
        }
        anyhow::Ok(())
    });
    try_join_all(visitors).await?;
    let [made, unchanged] = [made, unchanged].map(|it| meter::as_float(it.into_inner() as u64));
    Ok(Rate {
        visits: made / start.elapsed().as_secs_f64(),
        unchanged: unchanged / made,
    })
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
            format!("{:.1}", row.unchanged.spread()),
            (bytes / 1024).to_string(),
            format!("{:.0}", row.ours.spread()),
            format!("{:.0}", row.limit.spread()),
            format!("{:.2}", row.ours.ratio_to(&row.limit)),
        ]);
        kept.push(json!({ "name": row.name, "bodies": row.visit.bodies, "ours": row.ours, "unchanged": row.unchanged, "limit": row.limit }));
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
