//! Several aggregators: one leads, the others follow and take over.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};
use futures::StreamExt as _;
use glance_protocol::{Lease, Rejection, ShardRow, State, bucket};
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
    assert_eq!(after.holder, before.holder);
    // Revisions may have begun anew with the store.
    assert!(after.epoch > before.epoch, "{after:?}");
    epoch_after(&running, before.epoch).await;
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

/// Waits until the table is written with a greater epoch, and returns the row.
async fn row_after(running: &Running, before: u64, shard: usize) -> ShardRow {
    eventually(LIMIT, || async {
        let block = running.block("main", 0).await?;
        (block.epoch > before).then(|| block.rows[shard].clone())
    })
    .await
}

/// What only the last leader knew: who was silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_flagged_shard_stays_flagged_when_another_takes_over() {
    let server = NatsServer::start().await;
    let flags = ["--bots", "main:4", "--health-timeout", "2"];
    let first = start(&server, &flags).await;
    first.row_when(0, |_| true).await;
    // It follows for a while, so that it has not read what comes now from the kept table.
    let second = start(&server, &flags).await;
    second.wait_ready().await;
    first.report("glance.main.1.state", "online").await;
    let flagged = first.row_when(1, |row| row.state == State::Unhealthy).await;
    let epoch = first.block("main", 0).await.unwrap().epoch;
    first.stop().await;
    let row = row_after(&second, epoch, 1).await;
    assert_eq!((row.state, row.since_ms), (flagged.state, flagged.since_ms));
    second.stop().await;
}

/// What nobody led for: a health check may carry a state, and it has no sequence.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_a_health_check_while_nobody_leads_is_kept() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    running.report("glance.main.1.state", "online").await;
    running.row_when(1, |row| row.state == State::Online).await;
    let other = Lease {
        epoch: running.block("main", 0).await.unwrap().epoch + 1,
        holder: Some("another".into()),
    };
    let value = other.to_bytes().into();
    leases(&running)
        .await
        .put(bucket::LEADER_KEY, value)
        .await
        .unwrap();
    // It is deposed when its pulse stops. (No pulse comes for a second and a half.)
    let mut pulses = running.client.subscribe("glance.pulse").await.unwrap();
    let silence = Duration::from_millis(1500);
    while tokio::time::timeout(silence, pulses.next()).await.is_ok() {}
    let body = r#"{"state":"stopping"}"#;
    let subject = "glance.main.1.health";
    running.client.publish(subject, body.into()).await.unwrap();
    let row = row_after(&running, other.epoch, 1).await;
    assert_eq!(row.state, State::Stopping);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_report_that_came_while_nobody_led_is_told_and_removed() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let client = running.client.clone();
    running.stop().await;
    let jetstream = jetstream::new(client.clone());
    let ack = jetstream.publish("glance.nope.1.state", "3".into());
    ack.await.unwrap().await.unwrap();
    let mut rejected = client.subscribe("glance.rejected").await.unwrap();
    client.flush().await.unwrap();

    let running = start(&server, &["--bots", "main:4"]).await;
    let told = tokio::time::timeout(LIMIT, rejected.next()).await.unwrap();
    let told: Rejection = serde_json::from_slice(&told.unwrap().payload).unwrap();
    assert_eq!(told.subject, "glance.nope.1.state");
    let states = jetstream.get_stream(bucket::STATES).await.unwrap();
    eventually(LIMIT, || async {
        let info = states.get_info().await.ok()?;
        (info.state.messages == 0).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_lost_around_a_fail_over_are_made_again() {
    let server = NatsServer::start().await;
    let first = start(&server, &["--bots", "main:4"]).await;
    first.row_when(0, |_| true).await;
    let second = start(&server, &["--bots", "main:4"]).await;
    second.wait_ready().await;
    let jetstream = jetstream::new(second.client.clone());
    jetstream.delete_key_value(bucket::TABLE).await.unwrap();
    first.stop().await;
    second.row_when(0, |_| true).await;
    // The connection stands, and only the lease is gone.
    jetstream.delete_key_value(bucket::LEASE).await.unwrap();
    eventually(LIMIT, || async {
        jetstream.get_key_value(bucket::LEASE).await.ok()?;
        lease(&second).await
    })
    .await;
    second.report("glance.main.1.state", "online").await;
    second.row_when(1, |row| row.state == State::Online).await;
    second.stop().await;
}

/// Two aggregators that were configured differently: the one does not remove what the other one serves.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_aggregator_is_configured_with_is_not_removed() {
    let server = NatsServer::start().await;
    let first = start(&server, &["--bots", "main:4;new:2"]).await;
    first.row_when(0, |_| true).await;
    first.report("glance.new.1.state", "online").await;
    let second = start(&server, &["--bots", "main:4"]).await;
    second.wait_ready().await;
    let epoch = first.block("main", 0).await.unwrap().epoch;
    first.stop().await;
    let epoch = epoch_after(&second, epoch).await;
    second.report("glance.new.0.state", "online").await;
    second.stop().await;

    let third = start(&server, &["--bots", "main:4;new:2"]).await;
    epoch_after(&third, epoch).await;
    eventually(LIMIT, || async {
        let rows = third.block("new", 0).await?.rows;
        rows.iter().all(ShardRow::reported).then_some(())
    })
    .await;
    third.stop().await;
}
