//! A broker that is there, and does not do what it should.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::time::{Duration, Instant};

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy},
};
use common::{
    Answer, LIMIT, TestBridge, create_stream_with, create_table_with, put_clusters, set_up, stored,
};
use futures::{StreamExt as _, stream};
use glance_bridge::BridgeOptions;
use glance_protocol::bucket;
use glance_testing::{Flow, NatsCluster, NatsServer, Proxy, eventually};

/// How long the client takes to notice a half-open connection: some pings, five seconds apart.
const NOTICED: Duration = Duration::from_secs(30);

/// Sends a request, and checks that the answer comes in time.
async fn ask(bridge: &TestBridge, method: &str, path: &str, body: &str) -> Answer {
    let mut client = bridge.client().await;
    let start = Instant::now();
    let answer = client.send(method, path, &[], body.as_bytes()).await;
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "{method} {path} took {took:?}"
    );
    answer
}

/// Everything that needs more than a connection. Shard 1 has reported, shard 2 has not.
async fn assert_unavailable(bridge: &TestBridge) {
    for (method, path, body) in [
        ("POST", "/api/status/main/1/3", ""),
        ("POST", "/api/health/main/2", ""),
        (
            "POST",
            "/api/report",
            r#"{"cluster":"main","shards":[{"id":1,"state":3}]}"#,
        ),
        (
            "POST",
            "/api/report",
            r#"{"cluster":"main","shards":[{"id":1},{"id":2},{"id":3}]}"#,
        ),
        ("PUT", "/api/announcement", r#"{"text":"x"}"#),
        ("DELETE", "/api/maintenance/main", ""),
    ] {
        let answer = ask(bridge, method, path, body).await;
        assert_eq!(answer.status, 503, "{method} {path} {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

async fn until(bridge: &TestBridge, limit: Duration, path: &str, status: u16) {
    eventually(limit, async || {
        let answer = ask(bridge, "POST", path, "").await;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn jetstream_is_off() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    server.restart_without_jetstream().await;
    // Health checks need no store.
    until(&bridge, LIMIT, "/api/health/main/1", 204).await;
    assert_unavailable(&bridge).await;
    bridge.post("/api/health/main/1").await.assert_accepted();
    server.restart().await;
    until(&bridge, LIMIT, "/api/status/main/1/5", 204).await;
    assert_eq!(stored(&server, "main", 1).await.as_deref(), Some("5"));
    assert_eq!(bridge.post("/api/health/main/2").await.status, 409);
}

#[tokio::test]
async fn the_stream_is_full() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let context = jetstream::new(server.client().await);
    context.delete_stream(bucket::STATES).await.unwrap();
    let full = Config {
        max_messages: 1,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    create_stream_with(&context, full).await;
    let bridge = TestBridge::start(&server).await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    let refused = "the broker did not take it, please try again";
    ask(&bridge, "POST", "/api/status/main/2/3", "")
        .await
        .assert_error(503, refused);
    // It is no report that was taken.
    assert_eq!(bridge.post("/api/health/main/2").await.status, 409);
    bridge.post("/api/health/main/1").await.assert_accepted();
}

#[tokio::test]
async fn the_connection_is_half_open() {
    half_open(Flow::Stall).await;
}

#[tokio::test]
async fn the_broker_hears_and_is_not_heard() {
    half_open(Flow::StallDown).await;
}

async fn half_open(flow: Flow) {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let proxy = Proxy::start(server.port()).await;
    let bridge = TestBridge::start_at(&proxy.url(), "", &BridgeOptions::default()).await;
    bridge.wait_ready().await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    proxy.set(flow);
    assert_unavailable(&bridge).await;
    // Until that is noticed, a health check is handed to the connection.
    until(&bridge, NOTICED, "/api/health/main/1", 503).await;
    assert_unavailable(&bridge).await;
    proxy.set(Flow::Pass);
    until(&bridge, LIMIT, "/api/health/main/1", 204).await;
    until(&bridge, LIMIT, "/api/status/main/1/5", 204).await;
    assert_eq!(stored(&server, "main", 1).await.as_deref(), Some("5"));
}

#[tokio::test]
async fn many_reports_that_were_not_answered_do_not_slow_the_recovery() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4096)]).await;
    let proxy = Proxy::start(server.port()).await;
    let bridge = TestBridge::start_at(&proxy.url(), "", &BridgeOptions::default()).await;
    bridge.wait_ready().await;
    proxy.set(Flow::Stall);
    let all: Vec<String> = (0..4096)
        .map(|id| format!(r#"{{"id":{id},"state":3}}"#))
        .collect();
    let body = format!(r#"{{"cluster":"main","shards":[{}]}}"#, all.join(","));
    // Far more than may be under way without an acknowledgement.
    for _ in 0..4 {
        let reports = (0..8).map(|_| send_report(&bridge, &body));
        for answer in futures::future::join_all(reports).await {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
    }
    proxy.set(Flow::Pass);
    until(&bridge, LIMIT, "/api/status/main/1/5", 204).await;
    assert_eq!(send_report(&bridge, &body).await.status, 200);
}

async fn send_report(bridge: &TestBridge, body: &str) -> Answer {
    let mut client = bridge.client().await;
    client
        .send("POST", "/api/report", &[], body.as_bytes())
        .await
}

#[tokio::test]
async fn a_node_of_three_dies() {
    let mut cluster = NatsCluster::start(3).await;
    let context = jetstream::new(cluster.client().await);
    let replicated = Config {
        num_replicas: 3,
        ..Config::default()
    };
    create_stream_with(&context, replicated).await;
    create_table_with(&context, 3).await;
    put_clusters(cluster.node(0), 1, &[("main", 1000)]).await;
    cluster.settled(NOTICED).await;
    let leader = cluster.leader_of(bucket::STATES).await.unwrap();
    let mut bridges = Vec::new();
    for index in (0..3).filter(|index| *index != leader) {
        let url = cluster.node(index).url();
        let bridge = TestBridge::start_at(&url, "", &BridgeOptions::default()).await;
        bridge.wait_ready().await;
        bridges.push(bridge);
    }
    let [first, second] = &bridges[..] else {
        panic!("two nodes are left")
    };
    let report_all = async |ids: std::ops::Range<u32>| {
        let checks = ids.map(|id| async move {
            let status = format!("/api/status/main/{id}/3");
            until(first, NOTICED, &status, 204).await;
            let health = format!("/api/health/main/{id}");
            let answer = ask(second, "POST", &health, "").await;
            assert!(matches!(answer.status, 204 | 503), "{answer:?}");
            answer.status == 204
        });
        let checks = stream::iter(checks).buffer_unordered(16);
        let taken: Vec<bool> = checks.collect().await;
        taken.into_iter().filter(|taken| *taken).count()
    };
    assert_eq!(report_all(0..200).await, 200);
    cluster.kill(leader);
    report_all(200..400).await;
    assert_eq!(report_all(400..600).await, 200);
}
