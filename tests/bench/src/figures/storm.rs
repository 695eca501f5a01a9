//! Every shard changes within a second, in front of a crowd, while more people open the page.

use std::{
    collections::HashMap,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use glance_protocol::State;
use serde::Serialize;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::{
    crowd::{Crowd, Line, Log},
    frames::{self, Frame},
    meter,
    options::Options,
    pace::{SHARDS, state_of_pass},
    results::{Figure, Goal, Limit},
    statistics::{Numbers, Samples, Summary},
    system::{Setup, System, body_of},
    table::Table,
    visit::Visit,
};

const VIEWERS: usize = 5000;
const PATH: &str = "/api/feed?dialect=page";
/// All shards report in this time, a part of them in each step.
const STORM: Duration = Duration::from_millis(900);
const STEP: Duration = Duration::from_millis(10);
/// Until everything is quiet, before and after.
const REST: Duration = Duration::from_secs(2);
/// Somebody opens the page each so often, until this long after the last report.
const AFTER: Duration = Duration::from_millis(400);
const VISIT_INTERVAL: Duration = Duration::from_millis(50);
/// The goals.
const LAST_MS_MAX: f64 = 1000.0;
const PAGE_MS_MAX: f64 = 100.0;

struct Row {
    name: &'static str,
    /// Of a hundred viewers, so many read nothing.
    stalled_percent: usize,
    line: Line<'static>,
    measured: Measured,
}

#[derive(Default, Serialize)]
struct Measured {
    last_ms: Numbers,
    median_ms: Numbers,
    page_p95_ms: Numbers,
    visit_p95_ms: Numbers,
    /// What a viewer was sent in the storm.
    kib_sent: Numbers,
    rest_kib: Numbers,
    peak_kib: Numbers,
}

/// Measures the figure.
///
/// # Errors
///
/// When a viewer that reads is closed, or misses a change.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut rows = [
        ("all read", 0, Line::Browser(PATH)),
        ("a fifth read nothing", 20, Line::Browser(PATH)),
        ("all read, not compressed", 0, Line::Feed(PATH)),
    ]
    .map(|(name, stalled_percent, line)| Row {
        name,
        stalled_percent,
        line,
        measured: Measured::default(),
    });
    for round in 1..=options.rounds {
        eprintln!("storm: round {round} of {} ...", options.rounds);
        for row in &mut rows {
            // A system of its own: the most memory that a process ever took cannot be set back.
            let system = System::start(Setup::of(SHARDS)).await?;
            let measured = storm(&system, row).await;
            measured.with_context(|| format!("cannot measure '{}'", row.name))?;
        }
    }
    Ok(vec![figure(options, &rows)])
}

async fn storm(system: &System, row: &mut Row) -> anyhow::Result<()> {
    let (process, address) = system.web();
    let visit = Visit::first(address).await?;
    let before = meter::resident_bytes(process.id())?;
    let stalled = VIEWERS * row.stalled_percent / 100;
    let _stalled = Crowd::connect_stalled(address, row.line, stalled).await?;
    let crowd = Crowd::connect(address, row.line, VIEWERS - stalled).await?;
    sleep(REST).await;
    let kib = |bytes: u64| {
        meter::as_float(bytes.saturating_sub(before)) / 1024.0 / meter::as_float(VIEWERS as u64)
    };
    row.measured
        .rest_kib
        .push(kib(meter::resident_bytes(process.id())?));
    let state = state_of_pass(0);
    crowd.record();
    let end = Instant::now() + STORM + AFTER;
    let (reported, visits) =
        tokio::join!(report_all(system, state), visit_until(&visit, address, end));
    let reported = reported?;
    let (pages, visits) = visits?;
    sleep(REST).await;
    row.measured
        .peak_kib
        .push(kib(meter::peak_bytes(process.id())?));
    let logs = crowd.recorded().await?;
    crowd.ensure_all_present()?;
    let bytes = complete_after(&logs, state)?;
    let mut samples = Samples::new();
    for log in &logs {
        let at = log
            .reached(bytes)
            .context("a viewer was told to begin anew")?;
        samples.push(at.saturating_duration_since(reported));
    }
    let summary = samples.summary();
    row.measured.last_ms.push(summary.max_ms());
    row.measured.median_ms.push(summary.median_ms());
    row.measured.page_p95_ms.push(pages.p95_ms());
    row.measured.visit_p95_ms.push(visits.p95_ms());
    row.measured
        .kib_sent
        .push(meter::as_float(bytes as u64) / 1024.0);
    Ok(())
}

/// Reports a state for each shard; says when the last one was handed to the kernel.
async fn report_all(system: &System, state: State) -> anyhow::Result<Instant> {
    let steps = u32::try_from(STORM.as_millis() / STEP.as_millis())?;
    let mut step = interval(STEP);
    for number in 0..steps {
        step.tick().await;
        // Neighbours report far apart, so that each block changes all the time.
        for shard in (number..SHARDS).step_by(steps as usize) {
            let subject = system.subject(shard)?;
            system
                .broker()
                .publish(subject, body_of(state).into())
                .await?;
        }
    }
    system.broker().flush().await?;
    Ok(Instant::now())
}

/// Opens the page again and again; how long the page took, and the whole of it.
async fn visit_until(
    visit: &Visit,
    address: SocketAddrV4,
    end: Instant,
) -> anyhow::Result<(Summary, Summary)> {
    let (mut pages, mut visits) = (Samples::new(), Samples::new());
    let mut turn = interval(VISIT_INTERVAL);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    while Instant::now() < end {
        turn.tick().await;
        number += 1;
        let took = visit.make(address, number).await?;
        pages.push(took.page);
        visits.push(took.whole);
    }
    Ok((pages.summary(), visits.summary()))
}

/// After how many bytes a viewer had been told the state of each shard. All are sent the same bytes.
fn complete_after(logs: &[Log], state: State) -> anyhow::Result<usize> {
    let log = logs.iter().find(|log| !log.bytes.is_empty());
    let bytes = &log.context("nobody kept anything")?.bytes;
    let mut told = HashMap::new();
    let mut end = 0;
    for (frame_end, frame) in frames::read(bytes) {
        ensure!(frame != Frame::Resync, "a viewer was told to begin anew");
        if let Frame::Changes(shards) = frame {
            for (shard, now) in shards {
                if told.insert(shard, now) != Some(now) && now == state {
                    end = frame_end;
                }
            }
        }
    }
    let complete = told.values().filter(|now| **now == state).count();
    ensure!(
        complete == SHARDS as usize,
        "viewers were told of {complete} shards only"
    );
    Ok(end)
}

fn figure(options: &Options, rows: &[Row]) -> Figure {
    let title = format!(
        "A storm: {} rounds; {SHARDS} shards change within {} ms, {VIEWERS} viewers of the page",
        options.rounds,
        STORM.as_millis()
    );
    let mut table = Table::new([
        "viewers",
        "last one has all, ms after the last report",
        "median viewer, ms",
        "page with parts opened meanwhile, p95 ms",
        "with the data, p95 ms",
        "KiB sent to each",
        "KiB a viewer before",
        "at the peak",
    ]);
    let mut goals = Vec::new();
    let mut kept = Vec::new();
    for row in rows {
        let it = &row.measured;
        table.push([
            row.name.to_owned(),
            format!("{:.0}", it.last_ms.spread()),
            format!("{:.0}", it.median_ms.spread()),
            format!("{:.0}", it.page_p95_ms.spread()),
            format!("{:.0}", it.visit_p95_ms.spread()),
            format!("{:.0}", it.kib_sent.spread()),
            format!("{:.1}", it.rest_kib.spread()),
            format!("{:.1}", it.peak_kib.spread()),
        ]);
        let goal = |what: &str, limit, measured: &Numbers| Goal {
            what: format!("{}, {what}", row.name),
            unit: " ms",
            limit: Limit::Under(limit),
            measured: measured.spread().median,
        };
        goals.push(goal(
            "last viewer after the last report",
            LAST_MS_MAX,
            &it.last_ms,
        ));
        goals.push(goal(
            "page opened meanwhile, p95",
            PAGE_MS_MAX,
            &it.page_p95_ms,
        ));
        kept.push(json!({ "name": row.name, "measured": it }));
    }
    Figure {
        name: "storm",
        title,
        goals,
        rows: json!(kept),
        tables: vec![table],
    }
}
