//! One change to a crowd of viewers, and the memory that each of them costs.
//!
//! Beside it stands a program with as many connections, which writes a frame of the same size to each in one loop.

use std::{net::SocketAddrV4, time::Duration, time::Instant};

use anyhow::Context as _;
use async_nats::Client;
use glance_protocol::State;
use glance_testing::Process;
use serde::Serialize;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{interval, sleep},
};

use crate::{
    bare::{self, writer},
    crowd::{Awaited, Crowd, Line},
    meter,
    options::Options,
    pace::{Pace, SHARDS},
    results::{Figure, Goal, Limit},
    statistics::{Numbers, Samples},
    system::{Setup, System, body_of, start_listening},
    table::Table,
};

/// Changes of a round, and the shortest pause between two. A crowd is told one well before the next.
const CHANGES: usize = 12;
const PAUSE: Duration = Duration::from_millis(450);
/// Until everything is quiet after viewers came or left.
const REST: Duration = Duration::from_secs(2);
/// Memory after the viewers left, over that before they came; and how long it may take to go back to the system.
const LEFT_MAX: f64 = 1.1;
const LEAVE_MAX: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(250);
/// A bot checks in every so many seconds for each shard.
const HEALTH_INTERVAL_S: u32 = 30;
/// The length of a frame of the page's dialect with one shard in it.
const FRAME_BYTES: usize = 130;

/// A browser with the page, and a client of the default dialect.
const PAGE: Line<'static> = Line::Browser("/api/feed?dialect=page");
const DEFAULT: Line<'static> = Line::Feed("/api/feed");
const PAGE_VIEWERS: usize = 10_000;
const DEFAULT_VIEWERS: usize = 1000;

struct Row {
    name: &'static str,
    line: Line<'static>,
    viewers: usize,
    /// How many of the default dialect are there already. Where there are any, health checks flow.
    others: usize,
    measured: Measured,
}

#[derive(Default, Serialize)]
struct Measured {
    ours_ms: Numbers,
    bare_ms: Numbers,
    ours_kib: Numbers,
    bare_kib: Numbers,
    /// Resident memory after they left, over that before they came.
    left: Numbers,
}

/// Measures the figure.
///
/// # Errors
///
/// When a viewer is closed or misses a change.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut rows = [
        ("the page's dialect", PAGE, PAGE_VIEWERS, 0),
        ("the default dialect", DEFAULT, DEFAULT_VIEWERS, 0),
        (
            "the page's, beside the default",
            PAGE,
            PAGE_VIEWERS,
            DEFAULT_VIEWERS,
        ),
    ]
    .map(|(name, line, viewers, others)| Row {
        name,
        line,
        viewers,
        others,
        measured: Measured::default(),
    });
    for round in 1..=options.rounds {
        eprintln!("fan-out: round {round} of {} ...", options.rounds);
        // A new system each time, and a replica for each row, so that what visitors leave behind shows.
        let webs = rows.len();
        let system = System::start(Setup {
            webs,
            ..Setup::of(SHARDS)
        })
        .await?;
        for (number, (row, web)) in rows.iter_mut().zip(system.webs()).enumerate() {
            let measured = ours(&system, web, row, number).await;
            measured.with_context(|| format!("cannot measure '{}'", row.name))?;
            bare(&system, row)
                .await
                .context("cannot measure the bare loop")?;
        }
    }
    Ok(vec![figure(options, &rows)])
}

async fn ours(
    system: &System,
    (process, address): (&Process, SocketAddrV4),
    row: &mut Row,
    number: usize,
) -> anyhow::Result<()> {
    let others = Crowd::connect(address, DEFAULT, row.others).await?;
    let healths = (row.line == DEFAULT || row.others > 0).then(|| Healths::start(system));
    if row.others > 0 {
        sleep(REST).await;
    }
    let subject_of = |shard| system.subject(shard);
    // All are Online, and each of these changes once.
    let state = State::Resuming;
    let change = async |crowd: &Crowd, change: usize| {
        let shard = u32::try_from(number + change * 1031)? % SHARDS;
        let seen = crowd.look_for(match row.line == PAGE {
            true => format!("[[{shard},{},", state.number()),
            false => format!("\"shard\":{shard},\"state\":{}}}", state.number()),
        });
        system
            .broker()
            .publish(subject_of(shard)?, body_of(state).into())
            .await?;
        anyhow::Ok(seen)
    };
    let told = tell(process, address, row.line, row.viewers, change).await?;
    others.ensure_all_present()?;
    drop((healths, others));
    row.measured.ours_ms.push(told.median_ms);
    row.measured.ours_kib.push(told.kib);
    row.measured.left.push(told.left);
    Ok(())
}

async fn bare(system: &System, row: &mut Row) -> anyhow::Result<()> {
    let program = bare::process(&["writer", &system.broker_url()])?;
    let bare = start_listening(program).await?;
    let change = async |crowd: &Crowd, number: usize| {
        let text = format!("frame {number}.");
        let frame = format!("{text:.<FRAME_BYTES$}");
        let seen = crowd.look_for(text);
        system
            .broker()
            .publish(writer::SUBJECT, frame.into())
            .await?;
        anyhow::Ok(seen)
    };
    let told = tell(&bare.process, bare.address, Line::Bare, row.viewers, change).await?;
    row.measured.bare_ms.push(told.median_ms);
    row.measured.bare_kib.push(told.kib);
    Ok(())
}

struct Told {
    /// From the publish until the last viewer has it.
    median_ms: f64,
    /// Resident memory a viewer, at rest.
    kib: f64,
    left: f64,
}

/// Connects a crowd, and lets something change that all are told.
async fn tell(
    process: &Process,
    address: SocketAddrV4,
    line: Line<'_>,
    viewers: usize,
    mut change: impl AsyncFnMut(&Crowd, usize) -> anyhow::Result<Awaited>,
) -> anyhow::Result<Told> {
    let before = resident(process)?;
    let crowd = Crowd::connect(address, line, viewers).await?;
    sleep(REST).await;
    let kib = (resident(process)? - before) / 1024.0 / count(viewers);
    let mut samples = Samples::new();
    let mut pace = Pace::new(PAUSE);
    for number in 0..CHANGES {
        pace.wait().await;
        let start = Instant::now();
        let seen = change(&crowd, number).await?.seen().await?;
        samples.push(seen.saturating_duration_since(start));
    }
    crowd.ensure_all_present()?;
    drop(crowd);
    let left = Instant::now();
    while left.elapsed() < LEAVE_MAX && resident(process)? > before * LEFT_MAX {
        sleep(LOOK).await;
    }
    Ok(Told {
        median_ms: samples.summary().median_ms(),
        kib,
        left: resident(process)? / before,
    })
}

fn resident(process: &Process) -> anyhow::Result<f64> {
    meter::resident_bytes(process.id()).map(meter::as_float)
}

fn count(number: usize) -> f64 {
    meter::as_float(number as u64)
}

/// Health checks of the whole fleet, until this is dropped.
struct Healths(JoinHandle<()>);

impl Healths {
    fn start(system: &System) -> Self {
        let (client, subjects) = (system.broker().clone(), system.health_subjects());
        Self(tokio::spawn(send_healths(client, subjects)))
    }
}

impl Drop for Healths {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send_healths(client: Client, subjects: Vec<String>) {
    let mut turn = interval(Duration::from_secs(HEALTH_INTERVAL_S.into()) / SHARDS);
    for subject in subjects.iter().cycle() {
        turn.tick().await;
        if client.publish(subject.clone(), "".into()).await.is_err() {
            return;
        }
    }
}

fn figure(options: &Options, rows: &[Row]) -> Figure {
    let title = format!(
        "A change to a crowd: {} rounds of {CHANGES} changes",
        options.rounds
    );
    let mut table = Table::new([
        "viewers",
        "number",
        "last one has it, ms",
        "bare loop, ms",
        "ratio",
        "KiB a viewer",
        "bare connection, KiB",
        "memory after they left",
    ]);
    let mut goals = Vec::new();
    let mut kept = Vec::new();
    for row in rows {
        let it = &row.measured;
        let ratio = it.ours_ms.ratio_to(&it.bare_ms);
        let (kib, left) = (it.ours_kib.spread(), it.left.spread());
        table.push([
            row.name.to_owned(),
            row.viewers.to_string(),
            format!("{:.0}", it.ours_ms.spread()),
            format!("{:.0}", it.bare_ms.spread()),
            format!("{ratio:.1}"),
            format!("{kib:.1}"),
            format!("{:.1}", it.bare_kib.spread()),
            format!("{left:.2}"),
        ]);
        let goal = |what: &str, unit, limit, measured| Goal {
            what: format!("{} viewers of {}, {what}", row.viewers, row.name),
            unit,
            limit: Limit::Under(limit),
            measured,
        };
        goals.push(goal("over the bare loop", "", 3.0, ratio.median));
        goals.push(goal("memory of each", " KiB", 10.0, kib.median));
        goals.push(goal("memory after over before", "", LEFT_MAX, left.median));
        kept.push(json!({ "name": row.name, "viewers": row.viewers, "measured": it }));
    }
    Figure {
        name: "fan_out",
        title,
        goals,
        rows: json!(kept),
        tables: vec![table],
    }
}
