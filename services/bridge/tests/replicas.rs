//! Several bridges side by side: whatever one has acknowledged, all know.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use async_nats::jetstream;
use common::{LIMIT, TestBridge, create_table, put_block, put_clusters, set_up};
use futures::{StreamExt as _, stream};
use glance_protocol::bucket;
use glance_testing::{NatsServer, eventually};

/// Longer than the aggregator may take to fill an empty store, which the bridge waits for.
const FORGOTTEN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_health_check_after_a_status_is_never_refused() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 3000)]).await;
    // As far as the table knows, nobody has reported, and no aggregator runs that would write it anew.
    for block in 0..3 {
        put_block(&server, "main", block, 1024, &[]).await;
    }
    let first = TestBridge::start(&server).await;
    let mut second = TestBridge::start(&server).await;
    for round in 0..3 {
        let pairs = stream::iter((0..500).map(|id| id * 6 + round));
        let checks = pairs.map(|id| {
            let (one, other) = match id % 4 {
                0 | 1 => (&first, &second),
                _ => (&second, &first),
            };
            async move {
                let status = format!("/api/status/main/{id}/3");
                one.post(&status).await.assert_accepted();
                let health = format!("/api/health/main/{id}");
                other.post(&health).await.assert_accepted();
            }
        });
        checks.buffer_unordered(32).collect::<Vec<()>>().await;
        // One that has just been started knows as much.
        second.stop().await;
        second = TestBridge::start(&server).await;
        let health = format!("/api/health/main/{}", round + 6);
        second.post(&health).await.assert_accepted();
    }
}

/// A bridge that knows all shards of a block.
async fn knowing() -> (NatsServer, TestBridge) {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 3)]).await;
    put_block(&server, "main", 0, 3, &[0, 1, 2]).await;
    let bridge = TestBridge::start(&server).await;
    bridge.post("/api/health/main/0").await.assert_accepted();
    (server, bridge)
}

async fn wait_refused(bridge: &TestBridge, limit: Duration) {
    eventually(limit, async || {
        let answer = bridge.post("/api/health/main/0").await;
        (answer.status == 409).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_lost_store_said_is_forgotten_when_it_is_filled_otherwise() {
    let (mut server, bridge) = knowing().await;
    server.kill();
    server.delete_store();
    server.restart().await;
    set_up(&server, &[("main", 3)]).await;
    put_block(&server, "main", 0, 3, &[1]).await;
    wait_refused(&bridge, LIMIT).await;
    bridge.post("/api/health/main/1").await.assert_accepted();
    bridge.post("/api/status/main/0/3").await.assert_accepted();
    bridge.post("/api/health/main/0").await.assert_accepted();
}

#[tokio::test]
async fn a_bucket_that_began_anew_is_noticed_on_a_standing_connection() {
    let (server, bridge) = knowing().await;
    for _ in 0..5 {
        put_block(&server, "main", 0, 3, &[0, 1, 2]).await;
    }
    let context = jetstream::new(server.client().await);
    context.delete_key_value(bucket::TABLE).await.unwrap();
    create_table(&context).await;
    // No list is written at first that would tell it.
    put_block(&server, "main", 0, 3, &[1]).await;
    put_clusters(&server, 1, &[("main", 3)]).await;
    wait_refused(&bridge, LIMIT).await;
    bridge.post("/api/health/main/1").await.assert_accepted();
}

#[tokio::test]
async fn what_a_lost_store_said_is_forgotten_when_nobody_fills_it() {
    let (mut server, bridge) = knowing().await;
    server.kill();
    server.delete_store();
    server.restart().await;
    set_up(&server, &[("main", 3)]).await;
    // The aggregator may still know the shard, and fill the store from memory.
    eventually(LIMIT, async || {
        let answer = bridge.post("/api/health/main/0").await;
        assert_ne!(answer.status, 409);
        (answer.status == 204).then_some(())
    })
    .await;
    wait_refused(&bridge, FORGOTTEN).await;
}
