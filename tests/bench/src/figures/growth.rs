//! What the system costs as the fleet, the crowd and the number of web replicas grow.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use glance_protocol::{State, Subject, subject::TABLE_FILTER};
use serde::Serialize;
use serde_json::json;
use tokio::time::{interval, sleep, timeout};

use crate::{
    crowd::{Crowd, Line, Log},
    meter::{self, Reading},
    results::Figure,
    system::{Setup, System, body_of},
    table::Table,
};

const PATH: &str = "/api/feed?dialect=page";
/// How long each row is measured.
const PERIOD: Duration = Duration::from_secs(10);
/// Until everything is quiet before that.
const REST: Duration = Duration::from_secs(2);
/// What the fleet sends: a health check of each shard in so many seconds, and a change of one shard in so many.
const HEALTH_INTERVAL_S: u32 = 30;
const SHARDS_PER_CHANGE: u32 = 1000;
const STEP: Duration = Duration::from_millis(10);

/// What a row is about.
#[derive(Debug, Clone, Copy, Serialize)]
struct Scale {
    shards: u32,
    viewers: usize,
    webs: usize,
}

const SCALES: [Scale; 9] = [
    Scale::of(1_000, 100, 1),
    Scale::of(10_000, 100, 1),
    Scale::of(100_000, 100, 1),
    Scale::of(10_000, 100, 1),
    Scale::of(10_000, 1_000, 1),
    Scale::of(10_000, 10_000, 1),
    Scale::of(10_000, 500, 1),
    Scale::of(10_000, 500, 2),
    Scale::of(10_000, 500, 4),
];

impl Scale {
    const fn of(shards: u32, viewers: usize, webs: usize) -> Self {
        Self {
            shards,
            viewers,
            webs,
        }
    }
}

/// Percent of a core, and resident mebibytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Cost {
    core_percent: f64,
    mib: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    scale: Scale,
    aggregator: Cost,
    broker: Cost,
    /// Of each replica, on average.
    web: Cost,
    /// What the broker sends to each replica.
    replica_kib_per_s: f64,
    /// What a viewer is sent.
    viewer_kib_per_s: f64,
}

/// Measures the figure, in one round.
///
/// # Errors
///
/// When a program ends or a viewer is closed.
pub(super) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let mut rows = Vec::new();
    for scale in SCALES {
        eprintln!("growth: {scale:?} ...");
        let row = row(scale).await;
        rows.push(row.with_context(|| format!("cannot measure {scale:?}"))?);
    }
    Ok(vec![figure(&rows)])
}

async fn row(scale: Scale) -> anyhow::Result<Row> {
    let setup = Setup {
        webs: scale.webs,
        ..Setup::of(scale.shards)
    };
    let system = System::start(setup).await?;
    let mut crowds = Vec::new();
    for (number, (_, address)) in system.webs().enumerate() {
        // What does not divide evenly goes to the last one.
        let before = scale.viewers * number / scale.webs;
        let until = scale.viewers * (number + 1) / scale.webs;
        crowds.push(Crowd::connect(address, Line::Browser(PATH), until - before).await?);
    }
    let load = load(&system, scale.shards);
    let measured = timeout(Duration::from_secs(120), async {
        sleep(REST).await;
        costs(&system, scale, &crowds).await
    });
    tokio::select! {
        ended = load => Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("the load ended"))),
        row = measured => row.context("not done in time")?,
    }
}

/// What the fleet sends, until this is dropped.
async fn load(system: &System, shards: u32) -> anyhow::Result<()> {
    let healths = system.health_subjects();
    let mut healths = healths.iter().cycle();
    let mut changing = (0..shards).cycle().step_by(17);
    let mut states = [State::Resuming, State::Online].iter().cycle();
    let steps_per_s = 1.0 / STEP.as_secs_f64();
    let (mut owed_healths, mut owed_changes) = (0.0, 0.0);
    let mut step = interval(STEP);
    loop {
        step.tick().await;
        owed_healths += f64::from(shards) / f64::from(HEALTH_INTERVAL_S) / steps_per_s;
        owed_changes += f64::from(shards) / f64::from(SHARDS_PER_CHANGE) / steps_per_s;
        while owed_healths >= 1.0 {
            owed_healths -= 1.0;
            let subject = healths.next().context("no shards")?;
            system.broker().publish(subject.clone(), "".into()).await?;
        }
        while owed_changes >= 1.0 {
            owed_changes -= 1.0;
            let (shard, state) = changing.next().zip(states.next()).context("no shards")?;
            let subject = system.subject(shard)?;
            system
                .broker()
                .publish(subject, body_of(*state).into())
                .await?;
        }
    }
}

async fn costs(system: &System, scale: Scale, crowds: &[Crowd]) -> anyhow::Result<Row> {
    let webs: Vec<u32> = system.webs().map(|(process, _)| process.id()).collect();
    let pids = [&[system.aggregator().id(), system.broker_id()], &webs[..]].concat();
    let before: Vec<Reading> = pids
        .iter()
        .map(|pid| Reading::take(*pid))
        .collect::<Result<_, _>>()?;
    crowds.iter().for_each(Crowd::record);
    let start = Instant::now();
    let to_replica = bytes_to_replica(system, PERIOD).await?;
    let mut costs = Vec::new();
    for (pid, before) in pids.iter().zip(before) {
        costs.push(Cost {
            core_percent: before.until(Reading::take(*pid)?).core_percent(),
            mib: meter::as_float(meter::resident_bytes(*pid)?) / 1024.0 / 1024.0,
        });
    }
    let period_s = start.elapsed().as_secs_f64();
    let mut sent = 0;
    for crowd in crowds {
        let logs = crowd.recorded().await?;
        sent += logs.iter().map(Log::len).sum::<usize>();
        crowd.ensure_all_present()?;
    }
    let kib = |bytes: usize| meter::as_float(bytes as u64) / 1024.0 / period_s;
    let count = meter::as_float(webs.len() as u64);
    let web = |of: fn(&Cost) -> f64| costs[2..].iter().map(of).sum::<f64>() / count;
    Ok(Row {
        scale,
        aggregator: costs[0],
        broker: costs[1],
        web: Cost {
            core_percent: web(|cost| cost.core_percent),
            mib: web(|cost| cost.mib),
        },
        replica_kib_per_s: kib(to_replica),
        viewer_kib_per_s: kib(sent) / meter::as_float(scale.viewers as u64),
    })
}

/// How many bytes a subscriber gets that listens to what web replicas listen to.
async fn bytes_to_replica(system: &System, period: Duration) -> anyhow::Result<usize> {
    let client = system.another_client().await;
    let blocks = client.subscribe(TABLE_FILTER).await?;
    let pulses = client.subscribe(Subject::Pulse.to_string()).await?;
    let messages = futures::stream::select(blocks, pulses);
    let mut messages = std::pin::pin!(messages.take_until(sleep(period)));
    let mut bytes = 0;
    while let Some(message) = messages.next().await {
        bytes += message.length;
    }
    Ok(bytes)
}

fn figure(rows: &[Row]) -> Figure {
    let mut table = Table::new([
        "shards, viewers, web replicas",
        "aggregator, % of a core",
        "MiB",
        "nats-server, %",
        "MiB",
        "each web, %",
        "MiB",
        "to each web, KiB/s",
        "to each viewer, KiB/s",
    ]);
    for row in rows {
        let Scale {
            shards,
            viewers,
            webs,
        } = row.scale;
        let costs = [row.aggregator, row.broker, row.web];
        let [aggregator, broker, web] = costs.map(|cost| {
            [
                format!("{:.1}", cost.core_percent),
                format!("{:.0}", cost.mib),
            ]
        });
        let [aggregator, aggregator_mib] = aggregator;
        let [broker, broker_mib] = broker;
        let [web, web_mib] = web;
        table.push([
            format!("{shards}, {viewers}, {webs}"),
            aggregator,
            aggregator_mib,
            broker,
            broker_mib,
            web,
            web_mib,
            format!("{:.1}", row.replica_kib_per_s),
            format!("{:.2}", row.viewer_kib_per_s),
        ]);
    }
    Figure {
        name: "growth",
        title: format!(
            "Growth: a health check of each shard in {HEALTH_INTERVAL_S} s, a change a second for each {SHARDS_PER_CHANGE} shards, {} s each",
            PERIOD.as_secs()
        ),
        goals: Vec::new(),
        rows: json!(rows),
        tables: vec![table],
    }
}
