//! Several aggregators: one leads, the others follow and take over.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};
use glance_protocol::{Lease, ShardRow, State, bucket};
use glance_testing::{NatsServer, eventually};
use support::{LIMIT, Running, start};

/// Far less than a lease lasts.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn leases(running: &Running) -> kv::Store {
    let jetstream = jetstream::new(running.client.clone());
    jetstream.get_key_value(bucket::LEASE).await.unwrap()
}

async fn lease(running: &Running) -> Option<Lease> {
    let value = leases(running).await.get(bucket::LEADER_KEY).await.ok()??;
    Lease::from_bytes(&value).ok()
}

/// Waits until the table is written with another epoch than this one, and returns that.
async fn epoch_after(running: &Running, before: u64) -> u64 {
    eventually(LIMIT, || async {
        let epoch = running.block("main", 0).await?.epoch;
        (epoch > before).then_some(epoch)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_takes_over_at_once_after_a_clean_stop() {
    let server = NatsServer::start().await;
    let flags = ["--bots", "main:4"];
    let first = start(&server, &flags).await;
    first.row_when(0, |_| true).await;
    first.report("glance.main.1.state", "online").await;
    first.row_when(1, |row| row.state == State::Online).await;
    let epoch = first.block("main", 0).await.unwrap().epoch;
    let second = start(&server, &flags).await;
    second.wait_ready().await;
    let holder = lease(&first).await.unwrap().holder;

    first.stop().await;
    let stopped = Instant::now();
    let next = epoch_after(&second, epoch).await;
    assert!(stopped.elapsed() < AT_ONCE, "{:?}", stopped.elapsed());
    let lease = lease(&second).await.unwrap();
    assert_eq!(lease.epoch, next);
    assert!(
        lease.holder.is_some() && lease.holder != holder,
        "{lease:?}"
    );
    second.row_when(1, |row| row.state == State::Online).await;
    second.report("glance.main.2.state", "starting").await;
    second.row_when(2, |row| row.state == State::Starting).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_follows_and_may_lead_again() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    running.report("glance.main.1.state", "online").await;
    let row = running.row_when(1, |row| row.state == State::Online).await;
    let before = running.block("main", 0).await.unwrap();
    // Another one takes the lease and is never heard of again.
    let other = Lease {
        epoch: before.epoch + 10,
        holder: Some("another".into()),
    };
    let value = other.to_bytes().into();
    leases(&running)
        .await
        .put(bucket::LEADER_KEY, value)
        .await
        .unwrap();
    let epoch = epoch_after(&running, before.epoch).await;
    assert_eq!(epoch, other.epoch + 1);
    let after = running.row_when(1, ShardRow::reported).await;
    assert_eq!((after.state, after.since_ms), (row.state, row.since_ms));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_is_taken_again() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let before = lease(&running).await.unwrap();
    leases(&running)
        .await
        .purge(bucket::LEADER_KEY)
        .await
        .unwrap();
    let after = eventually(LIMIT, || lease(&running)).await;
    assert_eq!(after, before, "nobody else led meanwhile");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_is_greater_than_all_that_is_kept() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    let first = epoch_after(&running, 0).await;
    running.stop().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    let second = epoch_after(&running, first).await;
    // The lease is lost, the table is not.
    jetstream::new(running.client.clone())
        .delete_key_value(bucket::LEASE)
        .await
        .unwrap();
    running.stop().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    epoch_after(&running, second).await;
    running.stop().await;
}
