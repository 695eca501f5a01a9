//! One change to a crowd of viewers, and the memory that each of them costs.
//!
//! Beside it stands a program with as many connections, which writes a frame of the same size to each in one loop.

use std::{net::SocketAddrV4, time::Duration, time::Instant};

use anyhow::Context as _;
use async_nats::Client;
use glance_protocol::State;
use glance_testing::Process;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{interval, sleep},
};

use crate::{
    bare::{self, writer},
    crowd::{Crowd, Line},
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

struct Row {
    name: &'static str,
    path: &'static str,
    viewers: usize,
    healths: bool,
    ours_ms: Numbers,
    bare_ms: Numbers,
    ours_kib: Numbers,
    bare_kib: Numbers,
    /// Resident memory after they left, over that before they came.
    left: Numbers,
}

impl Row {
    fn new(name: &'static str, path: &'static str, viewers: usize, healths: bool) -> Self {
        let [ours_ms, bare_ms, ours_kib, bare_kib, left] = [const { Numbers::new() }; 5];
        Self {
            name,
            path,
            viewers,
            healths,
            ours_ms,
            bare_ms,
            ours_kib,
            bare_kib,
            left,
        }
    }
}

/// Measures the figure.
///
/// # Errors
///
/// When a viewer is closed or misses a change.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut rows = [
        Row::new(
            "the page's dialect",
            "/api/feed?dialect=page",
            10_000,
            false,
        ),
        Row::new("the default dialect", "/api/feed", 1000, true),
    ];
    for round in 1..=options.rounds {
        eprintln!("fan-out: round {round} of {} ...", options.rounds);
        // A new system each time, and a replica for each row, so that what visitors leave behind shows.
        let webs = rows.len();
        let system = System::start(Setup {
            webs,
            ..Setup::of(SHARDS)
        })
        .await?;
        for (row, web) in rows.iter_mut().zip(system.webs()) {
            let measured = ours(&system, web, row).await;
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
) -> anyhow::Result<()> {
    let healths = row.healths.then(|| Healths::start(system));
    let subject_of = |shard| system.subject(shard);
    // All are Online, and each of these changes once.
    let state = State::Resuming;
    let first = row.viewers % 1000 + usize::from(row.healths);
    let change = async |crowd: &Crowd, number: usize| {
        let shard = u32::try_from(first + number * 1031)? % SHARDS;
        let seen = crowd.look_for(match row.path.contains("page") {
            true => format!("[[{shard},{},", state.number()),
            false => format!("\"shard\":{shard},\"state\":{}}}", state.number()),
        });
        system
            .broker()
            .publish(subject_of(shard)?, body_of(state).into())
            .await?;
        anyhow::Ok(seen)
    };
    let told = tell(process, address, Line::Feed(row.path), row.viewers, change).await?;
    drop(healths);
    row.ours_ms.push(told.median_ms);
    row.ours_kib.push(told.kib);
    row.left.push(told.left);
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
    row.bare_ms.push(told.median_ms);
    row.bare_kib.push(told.kib);
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
    mut change: impl AsyncFnMut(&Crowd, usize) -> anyhow::Result<crate::crowd::Awaited>,
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
        let (ratio, kib, left) = (
            row.ours_ms.ratio_to(&row.bare_ms),
            row.ours_kib.spread(),
            row.left.spread(),
        );
        table.push([
            row.name.to_owned(),
            row.viewers.to_string(),
            format!("{:.0}", row.ours_ms.spread()),
            format!("{:.0}", row.bare_ms.spread()),
            format!("{ratio:.1}"),
            format!("{kib:.1}"),
            format!("{:.1}", row.bare_kib.spread()),
            format!("{left:.2}"),
        ]);
        let goal = |what: &str, unit, limit, measured| Goal {
            what: format!("{}, {} viewers, {what}", row.name, row.viewers),
            unit,
            limit: Limit::Under(limit),
            measured,
        };
        goals.push(goal("over the bare loop", "", 3.0, ratio.median));
        goals.push(goal("memory of each", " KiB", 10.0, kib.median));
        goals.push(goal("memory after over before", "", LEFT_MAX, left.median));
        kept.push(json!({
            "name": row.name, "viewers": row.viewers, "ours_ms": row.ours_ms, "bare_ms": row.bare_ms,
            "kib": row.ours_kib, "bare_kib": row.bare_kib, "left": row.left,
        }));
    }
    Figure {
        name: "fan_out",
        title,
        goals,
        rows: json!(kept),
        tables: vec![table],
    }
}
