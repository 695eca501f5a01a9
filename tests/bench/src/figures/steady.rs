//! What a large fleet costs the aggregator: 100,000 shards, each heard every 30 s.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use glance_protocol::State;
use serde_json::json;

use crate::{
    alone::{Aggregator, Receiver},
    fleet::{self, MARKS, TALKATIVE, Verb},
    meter::{self, Reading, Usage},
    results::{Figure, Goal, Limit},
    statistics::Numbers,
    table::Table,
};

/// With those for marks, which report as all others do.
const SHARDS: u32 = 100_000;
const INTERVAL: Duration = Duration::from_secs(30);
/// More than the interval, so that nobody times out.
const HEALTH_TIMEOUT_S: u32 = 60;
/// Blocks of the table go out every 10 s: two of these periods.
const PERIOD: Duration = Duration::from_secs(20);
/// What the fill left behind is written before anything is measured.
const SETTLE: Duration = Duration::from_secs(12);

const WARM_UP: Duration = Duration::from_secs(1);

const CORE_PERCENT_MAX: f64 = 5.0;
const BYTES_PER_SHARD_MAX: f64 = 100.0;

/// What the shards tell.
struct Row {
    name: &'static str,
    report: &'static [u8],
    health: &'static [u8],
    has_goal: bool,
}

const ROWS: [Row; 2] = [
    Row {
        name: "only that they live",
        report: b"3",
        health: b"",
        has_goal: true,
    },
    Row {
        name: "all that they may",
        report: TALKATIVE,
        health: TALKATIVE,
        has_goal: false,
    },
];

#[derive(Default)]
struct Measured {
    core_percent: Numbers,
    /// Of a process that only subscribes to the same health checks.
    bare_percent: Numbers,
    wakeups: Numbers,
    bytes_per_shard: Numbers,
}

/// Measures the figure, once: its periods are long.
///
/// # Errors
///
/// When a message gets lost, or a program ends.
pub(super) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let base = base_bytes().await?;
    let mut all = ROWS.map(|row| (row, Measured::default()));
    for (row, measured) in &mut all {
        eprintln!("steady: shards tell {} ...", row.name);
        let mut aggregator = Aggregator::start(SHARDS - MARKS, HEALTH_TIMEOUT_S).await;
        aggregator.fill(row.report)?;
        let id = aggregator.id();
        tokio::time::sleep(SETTLE).await;
        let usage = cost(aggregator.broker(), id, row.health)?;
        aggregator.check()?;
        let bytes = meter::resident_bytes(id)?.saturating_sub(base);
        drop(aggregator);
        // None of the shards is a mark to it.
        let (receiver, _) = Receiver::start(Verb::Health, SHARDS).await?;
        let bare = cost(receiver.broker(), receiver.id(), row.health)?;
        measured.bare_percent.push(bare.core_percent());
        measured.core_percent.push(usage.core_percent());
        measured.wakeups.push(usage.wakeups_per_s());
        let bytes_per_shard = meter::as_float(bytes) / f64::from(SHARDS);
        measured.bytes_per_shard.push(bytes_per_shard);
    }
    Ok(vec![figure(base, &all)])
}

/// What a process uses while the health checks come.
fn cost(broker: SocketAddrV4, process: u32, body: &[u8]) -> anyhow::Result<Usage> {
    tokio::task::block_in_place(|| {
        let pulses = Pulses::open(broker, body)?;
        pulses.send(WARM_UP)?;
        let before = Reading::take(process)?;
        pulses.send(PERIOD)?;
        Ok(before.until(Reading::take(process)?))
    })
}

/// The memory of an aggregator with one shard, and those for marks.
async fn base_bytes() -> anyhow::Result<u64> {
    let aggregator = Aggregator::start(1, HEALTH_TIMEOUT_S).await;
    aggregator.fill(&fleet::mark_body(Verb::State, State::Online))?;
    tokio::time::sleep(SETTLE).await;
    meter::resident_bytes(aggregator.id())
}

/// Health checks of all shards in turn, each by itself, evenly spread over the interval.
struct Pulses {
    socket: TcpStream,
    messages: Vec<Vec<u8>>,
}

impl Pulses {
    fn open(broker: SocketAddrV4, body: &[u8]) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(broker)?;
        socket.set_nodelay(true)?;
        socket.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
        answer_pings(&socket)?;
        let messages = (0..SHARDS).map(|shard| {
            let mut bytes = Vec::new();
            fleet::publish(&mut bytes, Verb::Health, shard, body)?;
            anyhow::Ok(bytes)
        });
        Ok(Self {
            messages: messages.collect::<Result<_, _>>()?,
            socket,
        })
    }

    fn send(&self, period: Duration) -> anyhow::Result<()> {
        let pause = INTERVAL / SHARDS;
        let start = Instant::now();
        let mut due = start;
        for message in self.messages.iter().cycle() {
            if due >= start + period {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            (&self.socket).write_all(message)?;
            due += pause;
        }
        let late = (start + period).elapsed();
        ensure!(
            late < Duration::from_secs(1),
            "sending was too slow by {late:?}"
        );
        Ok(())
    }
}

/// Only pings need an answer. A health check is one packet, so the thread does not get between.
fn answer_pings(socket: &TcpStream) -> anyhow::Result<()> {
    let mut socket = socket.try_clone()?;
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(len @ 1..) = socket.read(&mut bytes) {
            let is_ping = bytes[..len].windows(4).any(|word| word == b"PING");
            if is_ping && socket.write_all(b"PONG\r\n").is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn figure(base: u64, all: &[(Row, Measured)]) -> Figure {
    let mut table = Table::new([
        "what the shards tell",
        "% of a core",
        "bare subscriber, % of a core",
        "wake-ups a second",
        "bytes a shard",
    ]);
    for (row, it) in all {
        table.push([
            row.name.to_owned(),
            it.core_percent.spread().to_string(),
            it.bare_percent.spread().to_string(),
            format!("{:.0}", it.wakeups.spread()),
            format!("{:.0}", it.bytes_per_shard.spread()),
        ]);
    }
    let goals = all
        .iter()
        .filter(|(row, _)| row.has_goal)
        .flat_map(|(_, it)| {
            [
                Goal {
                    what: "the aggregator's processor time".to_owned(),
                    unit: "% of a core",
                    limit: Limit::Under(CORE_PERCENT_MAX),
                    measured: it.core_percent.spread().median,
                },
                Goal {
                    what: "the aggregator's memory".to_owned(),
                    unit: " bytes a shard",
                    limit: Limit::Under(BYTES_PER_SHARD_MAX),
                    measured: it.bytes_per_shard.spread().median,
                },
            ]
        });
    let rows: Vec<_> = all
        .iter()
        .map(|(row, it)| {
            json!({
                "name": row.name,
                "core_percent": it.core_percent,
                "bare_percent": it.bare_percent,
                "wakeups_per_s": it.wakeups,
                "bytes_per_shard": it.bytes_per_shard,
            })
        })
        .collect();
    Figure {
        name: "steady",
        title: format!(
            "The aggregator with {SHARDS} shards, a health check of each every {} s, {} s long; its base are {} KiB",
            INTERVAL.as_secs(),
            PERIOD.as_secs(),
            base / 1024
        ),
        goals: goals.collect(),
        rows: json!({ "base_bytes": base, "rows": rows }),
        tables: vec![table],
    }
}
