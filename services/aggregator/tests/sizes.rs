//! Sizes that are learned, on a real nats-server.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use async_nats::jetstream;
use futures::StreamExt as _;
use glance_protocol::{ClusterList, Rejection, ShardRow, State, bucket};
use glance_testing::{NatsServer, eventually};
use support::{LIMIT, Running, start};

const FLAGS: [&str; 4] = ["--bots", "demo:1;main:auto", "--health-timeout", "1"];

/// Waits until the list says that `main` has so many shards.
async fn wait_total(running: &Running, total: u32) {
    eventually(LIMIT, || async {
        let table = jetstream::new(running.client.clone());
        let table = table.get_key_value(bucket::TABLE).await.ok()?;
        let value = table.get(bucket::CLUSTERS_KEY).await.ok()??;
        let list = ClusterList::from_bytes(&value).unwrap();
        let main = list.get("main")?;
        assert!(main.auto);
        (main.total == total).then_some(())
    })
    .await;
}

async fn wait_blocks(running: &Running, lens: [Option<usize>; 2]) {
    eventually(LIMIT, || async {
        for (number, len) in (0..).zip(lens) {
            let block = running.block("main", number).await;
            if block.map(|block| block.rows.len()) != len {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_learned_kept_and_outlived() {
    let server = NatsServer::start().await;
    let running = start(&server, &FLAGS).await;
    wait_total(&running, 0).await;
    let mut rejected = running.client.subscribe("glance.rejected").await.unwrap();
    running.client.flush().await.unwrap();
    running.report("glance.main.0.state", "3").await;
    let refused = rejected.next().await.unwrap();
    let refused: Rejection = serde_json::from_slice(&refused.payload).unwrap();
    assert!(refused.reason.contains("not known yet"), "{refused:?}");

    let claim = |total: u32| format!(r#"{{"state":3,"total":{total}}}"#);
    running.report("glance.main.1.state", &claim(4)).await;
    wait_total(&running, 4).await;
    wait_blocks(&running, [Some(4), None]).await;
    // A higher one is taken at once.
    running.report("glance.main.1999.state", &claim(2000)).await;
    wait_total(&running, 2000).await;
    wait_blocks(&running, [Some(1024), Some(976)]).await;
    running.stop().await;

    // It is known after a restart, also to who is told of a lower one now.
    let running = start(&server, &FLAGS).await;
    wait_total(&running, 2000).await;
    running.row_when(1, ShardRow::reported).await;
    running.report("glance.main.2.state", &claim(1000)).await;
    // Nothing speaks for the higher one any more.
    wait_total(&running, 1000).await;
    wait_blocks(&running, [Some(1000), None]).await;
    let states = jetstream::new(running.client.clone());
    let states = states.get_stream(bucket::STATES).await.unwrap();
    eventually(LIMIT, || async {
        let found = states.get_last_raw_message_by_subject("glance.main.1999.state");
        found.await.is_err().then_some(())
    })
    .await;
    running.stop().await;

    let running = start(&server, &FLAGS).await;
    wait_total(&running, 1000).await;
    running.row_when(2, ShardRow::reported).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_size_of_a_configured_cluster_is_told_once() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let mut rejected = running.client.subscribe("glance.rejected").await.unwrap();
    running.client.flush().await.unwrap();
    for shard in 0..3 {
        let subject = format!("glance.main.{shard}.state");
        running.report(&subject, r#"{"state":3,"total":9}"#).await;
    }
    running
        .report("glance.main.7.state", r#"{"state":3,"total":9}"#)
        .await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let message = rejected.next().await.unwrap();
        let rejection: Rejection = serde_json::from_slice(&message.payload).unwrap();
        told.push((rejection.subject, rejection.reason));
    }
    assert_eq!(told[0].0, "glance.main.0.state");
    assert!(
        told[0].1.contains("9 shards, but 4 are configured"),
        "{told:?}"
    );
    assert_eq!(told[1].0, "glance.main.7.state");
    for shard in 0..3 {
        running.row_when(shard, ShardRow::reported).await;
    }
    running.stop().await;
}

/// The claims came just before the end, so that nobody had time to judge them.
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_size_that_was_claimed_before_a_restart_is_taken() {
    let server = NatsServer::start().await;
    let flags = ["--bots", "main:auto", "--health-timeout", "2"];
    let running = start(&server, &flags).await;
    wait_total(&running, 0).await;
    for shard in 0..4 {
        let subject = format!("glance.main.{shard}.state");
        running.report(&subject, r#"{"state":3,"total":4}"#).await;
    }
    for shard in 0..2 {
        let subject = format!("glance.main.{shard}.state");
        running.report(&subject, r#"{"state":4,"total":2}"#).await;
    }
    running
        .row_when(1, |row| row.state == State::Starting)
        .await;
    wait_total(&running, 4).await;
    running.stop().await;
    let running = start(&server, &flags).await;
    wait_total(&running, 2).await;
    running.stop().await;
}

/// A follower heard the same claims, and judged none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_was_given_up_does_not_come_back_with_another_leader() {
    let server = NatsServer::start().await;
    let flags = ["--bots", "main:auto", "--health-timeout", "1"];
    let first = start(&server, &flags).await;
    wait_total(&first, 0).await;
    let second = start(&server, &flags).await;
    second.wait_ready().await;
    for shard in 0..4 {
        let subject = format!("glance.main.{shard}.state");
        first.report(&subject, r#"{"state":3,"total":4}"#).await;
    }
    wait_total(&first, 4).await;
    first
        .report("glance.main.0.state", r#"{"state":3,"total":2}"#)
        .await;
    wait_total(&first, 2).await;
    let epoch = first.block("main", 0).await.unwrap().epoch;
    first.stop().await;
    // The first block of the new leader has the size already.
    let block = eventually(LIMIT, || async {
        let block = second.block("main", 0).await?;
        (block.epoch > epoch).then_some(block)
    })
    .await;
    assert_eq!(block.rows.len(), 2);
    wait_total(&second, 2).await;
    second.stop().await;
}

/// The stream keeps the last report of a shard: it may never deliver the one that claimed the size.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_counts_also_when_a_later_report_replaces_it() {
    let server = NatsServer::start().await;
    let running = start(&server, &FLAGS).await;
    wait_total(&running, 0).await;
    for total in (5..50).step_by(5) {
        let subject = format!("glance.main.{}.state", total - 1);
        let body = format!(r#"{{"state":4,"total":{total}}}"#);
        running
            .client
            .publish(subject.clone(), body.into())
            .await
            .unwrap();
        running.client.publish(subject, "3".into()).await.unwrap();
        running.client.flush().await.unwrap();
        wait_total(&running, total).await;
        let shard = total as usize - 1;
        running
            .row_when(shard, |row| row.state == State::Online)
            .await;
    }
    running.stop().await;
}
