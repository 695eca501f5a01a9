//! What the programs tell Prometheus when something goes wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use glance_testing::{NatsServer, Signal, eventually};
use glance_tests::{LIMIT, Parts, Program, Scrape, get, post};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

const AGE: &str = "glance_web_snapshot_age_seconds";
const STALE: &str = "glance_web_stale";
const EPOCH: &str = "glance_aggregator_epoch";
const LEADER: &str = "glance_aggregator_leader";
/// A frame of text that is not masked, after the opening of a WebSocket.
const UNMASKED: &[u8] = b"GET /api/feed HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x01x";

/// Sends bytes, and gives what is answered until the end of the connection.
async fn send(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(LIMIT, read).await.unwrap().unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_fall_silent_are_counted() {
    let server = NatsServer::start().await;
    let aggregator = Program::start_with("glance-aggregator", &server.url(), |program| {
        program.env("GLANCE_HEALTH_TIMEOUT", "60;main:2")
    });
    aggregator.wait_value(LEADER, 1.0).await;
    let client = server.client().await;
    for subject in [
        "glance.main.0.state",
        "glance.main.1.state",
        "glance.demo.0.state",
    ] {
        client.publish(subject, "online".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let of = |cluster: &str, cause: &str| {
        format!("glance_aggregator_transitions_total{{cluster={cluster:?},cause={cause:?}}}")
    };
    let shards = |cluster: &str, state: &str| {
        format!("glance_aggregator_shards{{cluster={cluster:?},state={state:?}}}")
    };
    let scrape = aggregator.wait_value(&of("main", "timeout"), 2.0).await;
    for (series, wanted) in [
        (of("main", "report"), 2.0),
        (of("demo", "timeout"), 0.0),
        (of("demo", "report"), 1.0),
        (shards("main", "unhealthy"), 2.0),
        (shards("main", "online"), 0.0),
        (shards("demo", "online"), 1.0),
    ] {
        assert_eq!(scrape.value(&series), Some(wanted), "{series}");
    }
    // One that is heard again returns, and falls silent once more.
    client
        .publish("glance.main.1.health", "".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    let scrape = aggregator.wait_value(&of("main", "timeout"), 3.0).await;
    assert_eq!(scrape.value(&of("main", "health")), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_tells_its_epoch() {
    let server = NatsServer::start().await;
    let mut first = Program::start("glance-aggregator", &server.url());
    let scrape = first.wait_value(LEADER, 1.0).await;
    assert_eq!(scrape.value(EPOCH), Some(1.0));
    let second = Program::start("glance-aggregator", &server.url());
    second.wait_value("glance_aggregator_complete", 1.0).await;
    let scrape = Scrape::of(second.metrics).await.unwrap();
    assert_eq!(scrape.value(LEADER), Some(0.0));
    assert_eq!(scrape.value(EPOCH), Some(0.0));

    first.process.signal(Signal::KILL);
    let scrape = second.wait_value(LEADER, 1.0).await;
    assert_eq!(scrape.value(EPOCH), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn web_tells_how_old_its_picture_is() {
    let mut parts = Parts::start().await;
    let port = parts.web.metrics;
    let scrape = parts.web.wait_value(STALE, 0.0).await;
    assert!(scrape.value(AGE).unwrap() < 5.0);
    parts.aggregator.process.signal(Signal::KILL);
    parts.aggregator.process.wait_exit(LIMIT).await;
    let killed = Instant::now();

    let mut ages = Vec::new();
    let scrape = eventually(LIMIT, async || {
        let scrape = Scrape::of(port).await?;
        ages.push(scrape.value(AGE).unwrap());
        (scrape.value(STALE) == Some(1.0)).then_some(scrape)
    })
    .await;
    // A last pulse may have been on its way. After it, the picture is older at each scrape.
    let last = (0..ages.len()).min_by(|a, b| ages[*a].total_cmp(&ages[*b]));
    let after = &ages[last.unwrap()..];
    assert!(after.len() > 5 && after.is_sorted(), "{ages:?}");
    let age = scrape.value(AGE).unwrap();
    assert!(age > 5.0 && age < 6.0 + killed.elapsed().as_secs_f64());
    // The picture stays, and the bridge does not depend on it.
    assert_eq!(get(parts.web.public, "/api/snapshot").await.status, 200);
    assert_eq!(scrape.value("glance_web_table_received"), Some(1.0));

    let aggregator = Program::start("glance-aggregator", &parts.server.url());
    let scrape = parts.web.wait_value(STALE, 0.0).await;
    assert!(scrape.value(AGE).unwrap() < 5.0);
    aggregator.wait_value(EPOCH, 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_wrongly_is_counted() {
    let parts = Parts::start().await;
    let Parts { bridge, web, .. } = &parts;
    let closed = |cause: &str| {
        format!("glance_web_feed_closed_total{{dialect=\"everybody\",cause={cause:?}}}")
    };
    let answer = send(web.public, UNMASKED).await;
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    let scrape = web.wait_value(&closed("wrong"), 1.0).await;
    assert_eq!(scrape.value(&closed("left")), Some(0.0));

    let refused = "glance_http_refused_total{reason=\"malformed\"}";
    for (program, count) in [(web, 1u32), (bridge, 2)] {
        let before = Scrape::of(program.metrics).await.unwrap();
        assert_eq!(before.value(refused).unwrap_or(0.0), 0.0);
        for _ in 0..count {
            let answer = send(program.public, b"what is this?\r\n\r\n").await;
            assert!(answer.starts_with(b"HTTP/1.1 400"));
        }
        program.wait_value(refused, count.into()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_timed_by_route() {
    let parts = Parts::start().await;
    let web = &parts.web;
    let count =
        |route: &str| format!("glance_web_request_duration_seconds_count{{route={route:?}}}");
    for (path, status) in [("/plain", 200), ("/api/snapshot", 200), ("/", 200)] {
        assert_eq!(get(web.public, path).await.status, status, "{path}");
    }
    assert_eq!(get(web.public, "/api/snapshot").await.status, 200);
    // Answers that are errors are timed too, and what is no route of ours is not.
    assert_eq!(post(web.public, "/plain").await.status, 405);
    assert_eq!(get(web.public, "/nowhere").await.status, 404);
    for (route, wanted) in [
        ("/plain", 2.0),
        ("/api/snapshot", 2.0),
        ("/", 1.0),
        ("/api/history", 0.0),
    ] {
        web.wait_value(&count(route), wanted).await;
    }
    let scrape = Scrape::of(web.metrics).await.unwrap();
    let bucket = |le: &str| {
        format!("glance_web_request_duration_seconds_bucket{{le={le:?},route=\"/plain\"}}")
    };
    assert_eq!(scrape.value(&bucket("+Inf")), Some(2.0));
    let sum = "glance_web_request_duration_seconds_sum{route=\"/plain\"}";
    let sum = scrape.value(sum).unwrap();
    assert!(sum > 0.0 && sum < LIMIT.as_secs_f64(), "{sum}");
}
