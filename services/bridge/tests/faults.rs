//! What happens when something is missing, goes away, or is too slow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant};

use common::{
    Answer, Client, LIMIT, TestBridge, create_stream, create_table, put_block, put_clusters,
    set_up, stored,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use glance_bridge::BridgeOptions;
use glance_protocol::bucket;
use glance_testing::{NatsServer, Signal, eventually};

/// Every kind of request that needs the broker.
const REQUESTS: [(&str, &str, &str); 6] = [
    ("POST", "/api/status/main/1/3", ""),
    ("POST", "/api/health/main/1", ""),
    ("POST", "/api/health/main/2", ""),
    (
        "POST",
        "/api/report",
        r#"{"cluster":"main","shards":[{"id":1,"state":3},{"id":2}]}"#,
    ),
    ("PUT", "/api/announcement", r#"{"text":"x"}"#),
    ("DELETE", "/api/maintenance/main", ""),
];

async fn assert_unavailable(bridge: &TestBridge) {
    for (method, path, body) in REQUESTS {
        let mut client = bridge.client().await;
        let start = Instant::now();
        let answer = client.send(method, path, &[], body.as_bytes()).await;
        let took = start.elapsed();
        assert_eq!(answer.status, 503, "{method} {path} {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.body.ends_with(r#"please try again"}"#), "{answer:?}");
        assert!(
            took < Duration::from_secs(2),
            "{method} {path} took {took:?}"
        );
    }
}

/// Pauses the broker as a stalled machine would, and waits until it really answers nobody.
async fn stall(server: &mut NatsServer, bridge: &TestBridge) {
    server.signal(Signal::STOP);
    eventually(LIMIT, async || {
        let answer = bridge.post("/api/status/main/0/3").await;
        (answer.status == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_broker_dies_and_comes_back() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    server.kill();
    assert_unavailable(&bridge).await;
    // What is wrong in itself is still told.
    bridge
        .post("/api/status/nope/1/3")
        .await
        .assert_error(400, "cluster 'nope' does not exist");

    server.restart().await;
    let answer = eventually(LIMIT, async || {
        let answer = bridge.post("/api/status/main/1/5").await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    answer.assert_accepted();
    assert_eq!(stored(&server, "main", 1).await.as_deref(), Some("5"));
    bridge.post("/api/health/main/1").await.assert_accepted();
    // The list is followed again.
    put_clusters(&server, 2, &[("main", 4), ("new", 2)]).await;
    eventually(LIMIT, async || {
        let answer = bridge.post("/api/status/new/1/3").await;
        (answer.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_broker_stalls() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    stall(&mut server, &bridge).await;
    for (method, path, body) in REQUESTS {
        if path == "/api/health/main/1" {
            // Nothing tells that the connection is half-open, and a health check is not acknowledged.
            continue;
        }
        let start = Instant::now();
        let mut client = bridge.client().await;
        let answer = client.send(method, path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, 503, "{method} {path} {answer:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{method} {path}");
    }
    server.signal(Signal::CONT);
    eventually(LIMIT, async || {
        let answer = bridge.post("/api/status/main/1/3").await;
        (answer.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_has_been_created_yet() {
    let server = NatsServer::start().await;
    let options = BridgeOptions::default();
    let bridge = TestBridge::start_early(&server, "", &options).await;
    let error = "the list of clusters is not known yet, please try again";
    for path in [
        "/api/status/main/1/3",
        "/api/status/nope/99/99",
        "/api/health/main/1",
    ] {
        bridge.post(path).await.assert_error(503, error);
    }
    assert_eq!(bridge.send("GET", "/api/health/main/1").await.status, 405);

    // The table is there, but not the list.
    let jetstream = async_nats::jetstream::new(server.client().await);
    create_table(&jetstream).await;
    bridge
        .post("/api/status/main/1/3")
        .await
        .assert_error(503, error);
    // The list is there, but not the stream: neither can a report be stored, nor a shard looked up.
    put_clusters(&server, 1, &[("main", 4)]).await;
    bridge.wait_ready().await;
    let refused = "the broker did not take it, please try again";
    bridge
        .post("/api/status/main/1/3")
        .await
        .assert_error(503, refused);
    let undecided = "whether shard '1' has reported before cannot be told now, please try again";
    bridge
        .post("/api/health/main/1")
        .await
        .assert_error(503, undecided);
    create_stream(&jetstream).await;
    bridge.post("/api/status/main/1/3").await.assert_accepted();
    bridge.post("/api/health/main/1").await.assert_accepted();
}

#[tokio::test]
async fn the_passphrase_comes_before_a_missing_list() {
    let server = NatsServer::start().await;
    let options = BridgeOptions::default();
    let bridge = TestBridge::start_early(&server, "secret", &options).await;
    let answer = bridge.post("/api/status/main/1/3").await;
    answer.assert_error(401, "this endpoint requires authorization");
}

#[tokio::test]
async fn the_list_is_followed() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    let until = async |path: &str, status: u16| {
        eventually(LIMIT, async || {
            let answer = bridge.post(path).await;
            (answer.status == status).then_some(())
        })
        .await;
    };
    bridge.post("/api/status/main/3/3").await.assert_accepted();
    put_clusters(&server, 1, &[("demo", 1), ("main", 9)]).await;
    until("/api/status/demo/0/3", 204).await;
    bridge.post("/api/health/main/3").await.assert_accepted();
    until("/api/status/main/8/3", 204).await;
    put_clusters(&server, 1, &[("main", 3)]).await;
    until("/api/status/main/8/3", 400).await;
    bridge
        .post("/api/status/demo/0/3")
        .await
        .assert_error(400, "cluster 'demo' does not exist");

    // A foreign message that only looks like the list is not believed.
    let client = server.client().await;
    let list = br#"{"v":1,"epoch":9,"clusters":[{"name":"evil","total":1,"timeout_s":30}]}"#;
    client
        .publish("glance.table.clusters", list.to_vec().into())
        .await
        .unwrap();
    client
        .publish("glance.table.main.0", "x".into())
        .await
        .unwrap();
    client
        .publish("glance.table.>.0", "x".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    put_clusters(&server, 1, &[("main", 3), ("last", 1)]).await;
    until("/api/status/last/0/3", 204).await;
    bridge
        .post("/api/status/evil/0/3")
        .await
        .assert_error(400, "cluster 'evil' does not exist");
}

#[tokio::test]
async fn the_store_is_lost() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    for _ in 0..5 {
        put_clusters(&server, 1, &[("main", 4)]).await;
    }
    let bridge = TestBridge::start(&server).await;
    server.stop().await;
    server.delete_store();
    server.restart().await;
    // The last list is kept, and a new one is taken although its revision is lower.
    eventually(LIMIT, async || {
        let answer = bridge.post("/api/status/main/1/3").await;
        answer.body.contains("did not take it").then_some(())
    })
    .await;
    set_up(&server, &[("other", 4)]).await;
    eventually(LIMIT, async || {
        (bridge.post("/api/status/other/1/3").await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn blocks_are_read_at_the_start_and_followed() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 1026)]).await;
    put_block(&server, "main", 1, 2, &[1025]).await;
    let bridge = TestBridge::start(&server).await;
    // Without the stream nothing can be looked up, so what is accepted is known.
    let jetstream = async_nats::jetstream::new(server.client().await);
    jetstream.delete_stream(bucket::STATES).await.unwrap();
    eventually(LIMIT, async || {
        (bridge.post("/api/health/main/1025").await.status == 204).then_some(())
    })
    .await;
    assert_eq!(bridge.post("/api/health/main/1024").await.status, 503);
    put_block(&server, "main", 1, 2, &[1024, 1025]).await;
    eventually(LIMIT, async || {
        (bridge.post("/api/health/main/1024").await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn too_many_requests_are_told_to_come_back() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 100)]).await;
    let options = BridgeOptions {
        waiting_max: 4,
        in_flight_max: 2,
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::start_with(&server, "", &options).await;
    stall(&mut server, &bridge).await;
    let requests: FuturesUnordered<_> = (0..20)
        .map(|id| {
            let path = format!("/api/status/main/{id}/3");
            let bridge = &bridge;
            async move { bridge.post(&path).await }
        })
        .collect();
    let answers: Vec<Answer> = requests.collect().await;
    let busy = "too many requests are waiting for the broker, please try again";
    let busy = answers
        .iter()
        .filter(|answer| answer.body.contains(busy))
        .count();
    assert_eq!(busy, 16, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 503));
    server.signal(Signal::CONT);
    eventually(LIMIT, async || {
        (bridge.post("/api/status/main/1/3").await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    let mut idle = bridge.client().await;
    idle.send("POST", "/api/status/main/0/3", &[], b"")
        .await
        .assert_accepted();
    let mut busy = bridge.client().await;
    busy.send("POST", "/api/status/main/1/3", &[], b"")
        .await
        .assert_accepted();
    server.signal(Signal::STOP);
    busy.send_head("POST", "/api/status/main/1/5", &[], 0).await;
    let report = br#"{"cluster":"main","shards":[{"id":2,"state":4}]}"#;
    let mut halfway = bridge.client().await;
    let expect = [("expect", "100-continue")];
    halfway
        .send_head("POST", "/api/report", &expect, report.len())
        .await;
    // It has come to the body of this request, and so to the request before.
    assert_eq!(halfway.answer("POST").await.status, 100);
    halfway.write(&report[..10]).await;
    // An idle connection is closed, so the listener knows of the stop.
    bridge.begin_stop();
    assert!(idle.is_closed().await);
    server.signal(Signal::CONT);
    halfway.write(&report[10..]).await;
    let answer = busy.answer("POST").await;
    answer.assert_accepted();
    // The client is told not to send another request here.
    assert_eq!(answer.header("connection"), Some("close"));
    let answer = halfway.answer("POST").await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"accepted":1,"rejected":[]}"#)
    );
    let port = bridge.port;
    bridge.stop().await;
    assert_eq!(stored(&server, "main", 1).await.as_deref(), Some("5"));
    assert_eq!(stored(&server, "main", 2).await.as_deref(), Some("4"));
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_slow_body_holds_nobody_up() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..30 {
        let mut client = bridge.client().await;
        client.send_head("POST", "/api/report", &[], 300_000).await;
        client.write(b"{").await;
        slow.push(client);
    }
    let start = Instant::now();
    let body = r#"{"cluster":"main","shards":[{"id":1,"state":3}]}"#;
    let mut client = bridge.client().await;
    let answer = client
        .send("POST", "/api/report", &[], body.as_bytes())
        .await;
    assert_eq!(answer.status, 200);
    assert!(start.elapsed() < Duration::from_secs(1));
}
