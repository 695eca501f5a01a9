//! Clusters whose size is learned from reports.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use async_nats::jetstream;
use common::{Answer, LIMIT, TestBridge, put_auto, set_up, stored};
use glance_protocol::bucket;
use glance_testing::{NatsServer, eventually};

const UNKNOWN: &str = "size not yet known: send a report with 'total' to /api/report, or over NATS";

fn outside(shard: u32) -> String {
    format!("shard '{shard}' falls outside the range of valid shards on cluster 'big'")
}

async fn start(total: u32) -> (NatsServer, TestBridge) {
    let server = NatsServer::start().await;
    set_up(&server, &[]).await;
    put_auto(&server, "big", total, 0).await;
    let bridge = TestBridge::start(&server).await;
    (server, bridge)
}

async fn report(bridge: &TestBridge, body: &str) -> Answer {
    let mut client = bridge.client().await;
    client
        .send("POST", "/api/report", &[], body.as_bytes())
        .await
}

async fn until(bridge: &TestBridge, path: &str, error: &str) {
    eventually(LIMIT, async || {
        bridge.post(path).await.body.contains(error).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_size_is_not_known_until_a_report_tells_it() {
    let (server, bridge) = start(0).await;
    for path in [
        "/api/status/big/0/3",
        "/api/status/big/-1/3",
        "/api/status/big/0/9",
        "/api/health/big/0",
        "/api/health/big/99999999999",
    ] {
        bridge.post(path).await.assert_error(400, UNKNOWN);
    }
    bridge
        .post("/api/health/nope/0")
        .await
        .assert_error(400, "cluster 'nope' does not exist");
    let answer = report(
        &bridge,
        r#"{"cluster":"big","shards":[{"id":0,"state":3}]}"#,
    )
    .await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(UNKNOWN), "{answer:?}");

    let body = r#"{"cluster":"big","total":4,"shards":[{"id":1,"state":3},{"id":4,"state":3}]}"#;
    let answer = report(&bridge, body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(&outside(4)), "{answer:?}");
    let body = stored(&server, "big", 1).await.unwrap();
    assert_eq!(body, r#"{"state":3,"total":4}"#);
    // The list does not tell the size yet, but the report that was stored does, on any replica.
    let other = TestBridge::start(&server).await;
    for bridge in [&bridge, &other] {
        bridge.post("/api/health/big/1").await.assert_accepted();
        bridge
            .post("/api/health/big/2")
            .await
            .assert_error(400, UNKNOWN);
    }

    put_auto(&server, "big", 4, 1).await;
    until(&bridge, "/api/health/big/2", "is not known to the system").await;
    bridge.post("/api/health/big/1").await.assert_accepted();
    bridge.post("/api/status/big/2/3").await.assert_accepted();
    bridge.post("/api/health/big/2").await.assert_accepted();
    bridge
        .post("/api/status/big/4/3")
        .await
        .assert_error(400, &outside(4));
}

#[tokio::test]
async fn a_report_beyond_the_known_size_counts_until_it_was_taken_into_account() {
    let (server, bridge) = start(4).await;
    let other = TestBridge::start(&server).await;
    let body = r#"{"cluster":"big","total":8,"shards":[{"id":6,"state":3}]}"#;
    assert_eq!(report(&bridge, body).await.status, 200);
    for bridge in [&bridge, &other] {
        bridge.post("/api/health/big/6").await.assert_accepted();
        bridge
            .post("/api/health/big/7")
            .await
            .assert_error(400, &outside(7));
    }
    // The larger size was learned, and given up again: the same report proves nothing now.
    put_auto(&server, "big", 4, 1).await;
    until(&other, "/api/health/big/6", &outside(6)).await;
    until(&bridge, "/api/status/big/6/3", &outside(6)).await;
}

/// The stream keeps the last report of a shard, and with it the claim.
#[tokio::test]
async fn a_status_keeps_the_claim_of_the_report_that_it_replaces() {
    let (server, bridge) = start(4).await;
    let body = r#"{"cluster":"big","total":8,"shards":[{"id":6,"state":3}]}"#;
    assert_eq!(report(&bridge, body).await.status, 200);
    bridge.post("/api/status/big/6/4").await.assert_accepted();
    let body = stored(&server, "big", 6).await.unwrap();
    assert_eq!(body, r#"{"state":4,"total":8}"#);
    bridge.post("/api/health/big/6").await.assert_accepted();
    bridge.post("/api/status/big/6/3").await.assert_accepted();
    // Where the size is known, nothing is added.
    bridge.post("/api/status/big/3/3").await.assert_accepted();
    assert_eq!(stored(&server, "big", 3).await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_configured_size_is_not_argued_with() {
    let server = NatsServer::start().await;
    set_up(&server, &[("big", 4)]).await;
    let bridge = TestBridge::start(&server).await;
    let client = server.client().await;
    let context = jetstream::new(client);
    let body = r#"{"state":3,"total":8}"#;
    let sent = context.publish("glance.big.6.state", body.into()).await;
    sent.unwrap().await.unwrap();
    bridge
        .post("/api/health/big/6")
        .await
        .assert_error(400, &outside(6));
    let body = r#"{"cluster":"big","total":8,"shards":[{"id":3,"state":3},{"id":6,"state":3}]}"#;
    let answer = report(&bridge, body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(&outside(6)), "{answer:?}");
    let body = stored(&server, "big", 3).await.unwrap();
    assert_eq!(body, r#"{"state":3,"total":8}"#);
}

#[tokio::test]
async fn what_is_known_of_the_shards_survives_a_change_of_size() {
    let (server, bridge) = start(100).await;
    bridge.post("/api/status/big/0/3").await.assert_accepted();
    bridge.post("/api/status/big/99/3").await.assert_accepted();
    // Without the stream nothing can be looked up, so what is accepted is known.
    let context = jetstream::new(server.client().await);
    context.delete_stream(bucket::STATES).await.unwrap();
    put_auto(&server, "big", 200, 2).await;
    until(&bridge, "/api/status/big/150/3", "did not take it").await;
    bridge.post("/api/health/big/0").await.assert_accepted();
    bridge.post("/api/health/big/99").await.assert_accepted();

    put_auto(&server, "big", 50, 2).await;
    until(&bridge, "/api/status/big/60/3", "cannot be told now").await;
    bridge.post("/api/health/big/0").await.assert_accepted();
    assert_eq!(bridge.post("/api/health/big/99").await.status, 503);
    // A shard that went away is not remembered when the cluster grows again.
    put_auto(&server, "big", 200, 2).await;
    until(&bridge, "/api/status/big/150/3", "did not take it").await;
    bridge.post("/api/health/big/0").await.assert_accepted();
    assert_eq!(bridge.post("/api/health/big/99").await.status, 503);
}
