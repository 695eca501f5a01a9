//! What may go wrong around the aggregator, on a real nats-server.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt as _;
use glance_protocol::{Rejection, ShardRow, State, bucket};
use glance_testing::{NatsServer, eventually};
use support::{LIMIT, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_shrinks_and_grows_again_loses_nothing() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:200"]).await;
    running.row_when(0, |_| true).await;
    running.report("glance.main.150.state", "online").await;
    running.row_when(150, ShardRow::reported).await;
    running.stop().await;
    for (bots, len) in [("main:100", 100), ("main:200", 200)] {
        let running = start(&server, &["--bots", bots]).await;
        eventually(LIMIT, || async {
            (running.block("main", 0).await?.rows.len() == len).then_some(())
        })
        .await;
        if len == 200 {
            running.row_when(150, ShardRow::reported).await;
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_at_the_broker_is_made_again() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let epoch = running.block("main", 0).await.unwrap().epoch;
    let jetstream = jetstream::new(running.client.clone());
    jetstream.delete_key_value(bucket::TABLE).await.unwrap();
    jetstream.delete_stream(bucket::CHANGES).await.unwrap();
    running.report("glance.main.0.state", "online").await;
    let row = eventually(LIMIT * 2, || async {
        let row = running.block("main", 0).await?.rows.first()?.clone();
        (row.state == State::Online).then_some(row)
    })
    .await;
    assert!(row.reported());
    // Revisions began anew: with the same epoch, a new value would seem older than one before.
    eventually(LIMIT, || async {
        (running.block("main", 0).await?.epoch > epoch).then_some(())
    })
    .await;
    eventually(LIMIT * 2, || async {
        let changes = jetstream.get_stream(bucket::CHANGES).await.ok()?;
        (changes.get_info().await.ok()?.state.messages > 0).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_does_not_overtake_the_report_before_it() {
    const SHARDS: usize = 500;
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:500"]).await;
    running.row_when(0, |_| true).await;
    let mut rejected = running.client.subscribe("glance.rejected").await.unwrap();
    for shard in 0..SHARDS {
        let client = &running.client;
        let state = format!("glance.main.{shard}.state");
        let health = format!("glance.main.{shard}.health");
        client.publish(state, "starting".into()).await.unwrap();
        let body = r#"{"state":"online"}"#;
        client.publish(health.clone(), body.into()).await.unwrap();
        client.publish(health, "".into()).await.unwrap();
        if shard % 10 == 0 {
            client.flush().await.unwrap();
        }
    }
    // The last one is there: so are the others, as far as they ever will be.
    running
        .row_when(SHARDS - 1, |row| row.state == State::Online)
        .await;
    eventually(LIMIT, || async {
        let rows = running.block("main", 0).await?.rows;
        rows.iter()
            .all(|row| row.state == State::Online)
            .then_some(())
    })
    .await;
    // Nobody was told that a shard had not reported.
    running
        .client
        .publish("glance.nope.0.health", "".into())
        .await
        .unwrap();
    let first = tokio::time::timeout(LIMIT, rejected.next())
        .await
        .unwrap()
        .unwrap();
    let first: Rejection = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(first.subject, "glance.nope.0.health");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_pulse_ends_nobody() {
    let server = NatsServer::start().await;
    let mut running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let forged = format!(
        r#"{{"v":1,"epoch":{},"number":1,"at":1,"judging_since":null,"part":0,"parts":1,"clusters":[]}}"#,
        u64::MAX
    );
    running
        .client
        .publish("glance.pulse", forged.into())
        .await
        .unwrap();
    running.report("glance.main.0.state", "online").await;
    running.row_when(0, |row| row.state == State::Online).await;
    let ended = running.aggregator.ended();
    assert!(
        tokio::time::timeout(Duration::from_millis(500), ended)
            .await
            .is_err()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_spin_when_nothing_can_be_written() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let jetstream = jetstream::new(running.client.clone());
    jetstream.delete_key_value(bucket::TABLE).await.unwrap();
    running.report("glance.main.0.state", "online").await;
    let statistics = running.broker.client.statistics();
    let sent = || {
        statistics
            .out_messages
            .load(std::sync::atomic::Ordering::SeqCst)
    };
    let before = sent();
    running.aggregator.stop().await.unwrap();
    assert!(
        sent() - before < 200,
        "{} messages while stopping",
        sent() - before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_client_cannot_take_are_removed() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let mut rejected = running.client.subscribe("glance.rejected").await.unwrap();
    running.client.flush().await.unwrap();
    // No client sends these; a raw connection can.
    let mut raw = tokio::net::TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    let mut bytes = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    bytes.extend(b"PUB glance.\xff\xfe.3.state 1\r\n3\r\n");
    bytes.extend(b"HPUB glance.main.3.state 12 13\r\nJUNK/1.0\r\n\r\n3\r\n");
    bytes.extend(b"HPUB glance.main.2.state 17 18\r\nNATS/1.0\r\nabc\r\n\r\n3\r\nPING\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut raw, &bytes)
        .await
        .unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        let message = tokio::time::timeout(LIMIT, rejected.next())
            .await
            .unwrap()
            .unwrap();
        let rejection: Rejection = serde_json::from_slice(&message.payload).unwrap();
        told.push(rejection.subject);
    }
    assert!(told.contains(&"glance.main.3.state".to_owned()), "{told:?}");
    running.report("glance.main.1.state", "online").await;
    running.row_when(1, |row| row.state == State::Online).await;
    running.stop().await;
    // A start finds nothing of them.
    let running = start(&server, &["--bots", "main:4"]).await;
    running.report("glance.main.0.state", "online").await;
    running.row_when(0, |row| row.state == State::Online).await;
    running.stop().await;
}
