//! Clients that take nothing, or do not end what they begin, against the real program and for as long as its limits let
//! them. They all come at the same time, and others are served meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod scene;
mod support;

use std::{ops::Range, time::Duration};

use futures::future::join_all;
use glance_protocol::{ShardRow, State};
use glance_testing::{eventually, free_port};
use scene::{ATTACKER, Scene, UPGRADE};
use support::{LIMIT, SINCE_MS, online, raw};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

/// How many viewers of each dialect never read.
const VIEWERS: u32 = 100;
/// How many changes all of them are told at most; they stall after some 1,300.
const CHANGES_MAX: u32 = 5000;
/// Who takes nothing of so many changes in a row has stalled.
const STALLED: u32 = 50;
const HALF_HEADS: u32 = 1000;
const DRIPPED: u32 = 50;
/// How often a client that drips sends a byte, and others are looked after.
const PAUSE: Duration = Duration::from_millis(500);
/// A write to a viewer may take 10 s when it is smaller than 64 KiB. The rest is for a busy machine.
const WRITE_MAX: Duration = Duration::from_secs(18);
/// When a head that is not finished is cut off, in seconds: after 20 s.
const HEAD_S: Range<f64> = 19.5..28.0;

const DIALECTS: [&str; 2] = ["everybody", "page"];

/// The program, and where it tells its metrics.
struct Stalls {
    scene: Scene,
    metrics: u16,
}

impl Stalls {
    async fn start() -> Self {
        let metrics = free_port();
        let address = format!("127.0.0.1:{metrics}");
        let scene = Scene::start(|program| program.env("GLANCE_METRICS_ADDRESS", &address));
        Self {
            scene: scene.await,
            metrics,
        }
    }

    async fn value(&self, series: &str) -> f64 {
        let address = ([127, 0, 0, 1], self.metrics).into();
        let request = "GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let answer = raw(address, request).await;
        let mut lines = answer.text().lines();
        let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    async fn wait_value(&self, series: &str, is_wanted: impl Fn(f64) -> bool) {
        let limit = LIMIT + WRITE_MAX;
        eventually(limit, async || {
            is_wanted(self.value(series).await).then_some(())
        })
        .await;
    }

    /// Clients that send the same bytes, and the moment before the first of them came.
    async fn send(&self, count: u32, bytes: &[u8]) -> Vec<(TcpStream, Instant)> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            streams.push((self.scene.send(ATTACKER, bytes).await, start));
        }
        streams
    }

    /// Changes all shards until no viewer takes more.
    async fn change_until_they_stall(&mut self) {
        let mut taken = (0, 0.0);
        for n in 1..CHANGES_MAX {
            let state = [State::Online, State::Resuming][n as usize % 2];
            let row = |shard: i64| ShardRow {
                state,
                since_ms: Some(SINCE_MS + 1000 * (i64::from(n) * 64 + shard)),
                ..online()
            };
            let rows = (0..64).map(row).collect();
            self.scene.aggregator.put("main", 0, rows).await;
            if n % STALLED > 0 {
                continue;
            }
            let mut sum = 0.0;
            for dialect in DIALECTS {
                let series = format!("glance_web_feed_messages_total{{dialect={dialect:?}}}");
                sum += self.value(&series).await;
            }
            if sum > taken.1 {
                taken = (n, sum);
            } else if n >= taken.0 + 4 * STALLED {
                println!("they stall after {} changes", taken.0);
                return;
            }
        }
        panic!("they take {CHANGES_MAX} changes");
    }
}

/// Waits until the other side ends the connection, without a word; gives how long that took since `start`.
async fn cut_off((mut stream, start): (TcpStream, Instant)) -> Duration {
    let mut answer = Vec::new();
    let end = timeout(4 * LIMIT, stream.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = end.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "");
    start.elapsed()
}

/// The same for a client that goes on sending, a byte at a time.
async fn drip((stream, start): (TcpStream, Instant)) -> Duration {
    let (mut read, mut write) = stream.into_split();
    let sends = async {
        for byte in UPGRADE.bytes().take(UPGRADE.len() - 1) {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(PAUSE).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let end = timeout(4 * LIMIT, read.read_to_end(&mut answer));
    tokio::select! {
        () = sends => {}
        end = end => {
            let _ = end.unwrap();
        }
    }
    assert_eq!(String::from_utf8_lossy(&answer), "");
    start.elapsed()
}

async fn all_within(what: &str, tasks: Vec<JoinHandle<Duration>>) {
    let took = join_all(tasks).await.into_iter();
    let took: Vec<_> = took.map(|it| it.unwrap().as_secs_f64()).collect();
    let longest = took.iter().copied().fold(0.0, f64::max);
    let shortest = took.into_iter().fold(f64::INFINITY, f64::min);
    println!("{what}: cut off after {shortest:.1} to {longest:.1} s");
    assert!(
        HEAD_S.contains(&shortest) && HEAD_S.contains(&longest),
        "{what}: {shortest} {longest}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_or_finishes_nothing_is_closed_in_time() {
    let mut it = Stalls::start().await;

    let half = UPGRADE.as_bytes().strip_suffix(b"\r\n").unwrap();
    let held = it.send(HALF_HEADS, half).await;
    let half_heads: Vec<_> = held
        .into_iter()
        .map(|it| tokio::spawn(cut_off(it)))
        .collect();
    let held = it.send(DRIPPED, b"").await;
    let dripped: Vec<_> = held.into_iter().map(|it| tokio::spawn(drip(it))).collect();
    let all = f64::from(HALF_HEADS + DRIPPED);
    it.wait_value("glance_http_connections", |open| open >= all)
        .await;
    println!(
        "{HALF_HEADS} half heads, {DRIPPED} dripped: {} KiB more",
        it.scene.grown_kib()
    );
    it.scene.others_are_served().await;

    // They read nothing, not even the 101.
    let page = UPGRADE.replace("/api/feed", "/api/feed?dialect=page");
    let mut viewers = it.send(VIEWERS, UPGRADE.as_bytes()).await;
    viewers.extend(it.send(VIEWERS, page.as_bytes()).await);
    for dialect in DIALECTS {
        let series = format!("glance_web_feed_connections_total{{dialect={dialect:?}}}");
        it.wait_value(&series, |came| came >= f64::from(VIEWERS))
            .await;
    }
    it.change_until_they_stall().await;
    let stalled = Instant::now();
    println!("{} viewers: {} KiB more", 2 * VIEWERS, it.scene.grown_kib());
    it.scene.others_are_served().await;
    for dialect in DIALECTS {
        let series = format!("glance_web_feed_closed_total{{dialect={dialect:?},cause=\"slow\"}}");
        it.wait_value(&series, |closed| closed >= f64::from(VIEWERS))
            .await;
    }
    let took = stalled.elapsed();
    println!("viewers that never read: closed {took:.1?} after all had stalled");
    assert!(took < WRITE_MAX, "{took:?}");
    // What was on its way is still theirs, and then it ends.
    for (mut viewer, _) in viewers {
        let mut taken = Vec::new();
        let _ = timeout(LIMIT, viewer.read_to_end(&mut taken))
            .await
            .expect("it ends");
        assert!(taken.starts_with(b"HTTP/1.1 101"));
    }

    let mut rounds = interval(PAUSE);
    while !half_heads
        .iter()
        .chain(&dripped)
        .all(JoinHandle::is_finished)
    {
        rounds.tick().await;
        it.scene.others_are_served().await;
    }
    all_within("half a head", half_heads).await;
    all_within("a byte every half second", dripped).await;
    it.wait_value("glance_http_connections", |open| open < 10.0)
        .await;
    it.scene.others_are_served().await;
}
