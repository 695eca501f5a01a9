//! The aggregator against a real nats-server.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use async_nats::jetstream;
use futures::StreamExt as _;
use glance_protocol::{ClusterList, Pulse, Rejection, ShardRow, State, Subject, bucket, subject};
use glance_testing::{NatsServer, eventually};
use support::{LIMIT, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_reaches_the_table_the_changes_and_the_pulse() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4;demo:1"]).await;
    let mut changes = running
        .client
        .subscribe("glance.*.*.changed")
        .await
        .unwrap();
    let mut pulses = running.client.subscribe("glance.pulse").await.unwrap();
    running.row_when(3, |row| !row.reported()).await;

    running
        .report(
            "glance.main.3.state",
            r#"{"state":"Online","group":"g","latency_ms":41}"#,
        )
        .await;
    let row = running.row_when(3, |row| row.state == State::Online).await;
    assert_eq!(row.previous, State::Unknown);
    assert_eq!(row.details.group.as_deref(), Some("g"));
    assert_eq!(row.details.latency_ms, Some(41.0));

    let change = changes.next().await.unwrap();
    let change: serde_json::Value = serde_json::from_slice(&change.payload).unwrap();
    assert_eq!(change["cluster"], "main");
    assert_eq!((&change["shard"], &change["state"]), (&3.into(), &3.into()));
    assert_eq!(
        (&change["previous"], &change["cause"]),
        (&0.into(), &"report".into())
    );

    running.health("glance.main.3.health").await;
    loop {
        let message = tokio::time::timeout(LIMIT, pulses.next()).await.unwrap();
        let pulse = Pulse::from_bytes(&message.unwrap().payload).unwrap();
        assert_eq!(pulse.clusters[0].name.as_str(), "main");
        if pulse.clusters[0].blocks[0].heard.contains(3) {
            break;
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_flagged_and_a_health_check_heals() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:2", "--health-timeout", "1"]).await;
    running.row_when(0, |row| !row.reported()).await;
    running.report("glance.main.0.state", "stopping").await;
    let row = running
        .row_when(0, |row| row.state == State::Unhealthy)
        .await;
    assert_eq!(row.previous, State::Stopping);
    running.health("glance.main.0.health").await;
    let row = running.row_when(0, |row| row.state == State::Online).await;
    assert_eq!(row.previous, State::Unhealthy);
    // The other one never reported, and does not time out.
    assert!(!running.block("main", 0).await.unwrap().rows[1].reported());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_over_a_restart() {
    let mut server = NatsServer::start().await;
    let flags = ["--bots", "main:4"];
    let running = start(&server, &flags).await;
    running.row_when(0, |row| !row.reported()).await;
    running.report("glance.main.0.state", "online").await;
    running.report("glance.main.1.state", "5").await;
    let before = running.row_when(1, ShardRow::reported).await;
    running.stop().await;

    // While nobody listens, reports are kept; and the broker restarts as well.
    let client = server.client().await;
    let jetstream = jetstream::new(client.clone());
    let ack = jetstream.publish("glance.main.2.state", "resuming".into());
    ack.await.unwrap().await.unwrap();
    let stored = glance_runner::clock::unix_ms();
    server.kill();
    server.restart().await;

    let running = start(&server, &flags).await;
    let row = running
        .row_when(2, |row| row.state == State::Resuming)
        .await;
    let since = row.since_ms.unwrap();
    assert!(
        since <= stored,
        "the stored time counts, not that of the start"
    );
    let again = running.row_when(1, ShardRow::reported).await;
    assert_eq!(
        (again.state, again.since_ms),
        (before.state, before.since_ms)
    );
    running.row_when(0, |row| row.state == State::Online).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_told_removed_and_harm_nobody() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    let mut rejected = running.client.subscribe("glance.rejected").await.unwrap();
    let long = "9".repeat(30);
    let large = "x".repeat(1500);
    let mut sent = Vec::new();
    for (subject, body) in [
        ("glance.main.9999.state", "3"),
        (&*format!("glance.main.{long}.state"), "3"),
        ("glance.nope.0.state", "3"),
        ("glance.main.0.state", "7"),
        ("glance.main.0.state", "\u{0}\u{1}"),
        ("glance.main.0.state", &large),
        ("glance.main.-1.state", "3"),
        ("glance.table.5.state", "3"),
    ] {
        running.report(subject, body).await;
        sent.push(subject.to_owned());
    }
    running.health("glance.main.1.health").await;
    sent.push("glance.main.1.health".to_owned());
    // Too large for the stream: without an acknowledgement, only this tells.
    let megabyte = bytes::Bytes::from(vec![b'x'; 1024 * 1024 - 1024]);
    for subject in ["glance.main.2.state", "glance.main.2.health"] {
        running
            .client
            .publish(subject, megabyte.clone())
            .await
            .unwrap();
        sent.push(subject.to_owned());
    }
    running.client.flush().await.unwrap();
    let mut told = Vec::new();
    while told.len() < sent.len() {
        let message = tokio::time::timeout(LIMIT, rejected.next()).await.unwrap();
        let rejection: Rejection = serde_json::from_slice(&message.unwrap().payload).unwrap();
        assert!(!rejection.reason.is_empty());
        told.push(rejection.subject);
    }
    told.sort();
    sent.sort();
    assert_eq!(told, sent);

    let states = jetstream::new(running.client.clone());
    let states = states.get_stream(bucket::STATES).await.unwrap();
    eventually(LIMIT, || async {
        let info = states.get_info().await.ok()?;
        (info.state.messages == 0).then_some(())
    })
    .await;
    running.report("glance.main.0.state", "online").await;
    running.row_when(0, |row| row.state == State::Online).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_clusters_follows_the_configuration() {
    let server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:2000;demo:1"]).await;
    running.row_when(0, |_| true).await;
    running.report("glance.main.1999.state", "3").await;
    eventually(LIMIT, || async {
        let block = running.block("main", 1).await?;
        block.rows.last()?.reported().then_some(())
    })
    .await;
    running.stop().await;

    let running = start(&server, &["--bots", "demo:1;main:100"]).await;
    let list = eventually(LIMIT, || async {
        let table = jetstream::new(running.client.clone());
        let table = table.get_key_value(bucket::TABLE).await.ok()?;
        let value = table.get(bucket::CLUSTERS_KEY).await.ok()??;
        let list = ClusterList::from_bytes(&value).unwrap();
        (list.get("main")?.total == 100).then_some(list)
    })
    .await;
    assert_eq!(list.clusters[0].name.as_str(), "demo");
    eventually(LIMIT, || async {
        running.block("main", 1).await.is_none().then_some(())
    })
    .await;
    assert_eq!(running.block("main", 0).await.unwrap().rows.len(), 100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_empty_is_filled_again() {
    let mut server = NatsServer::start().await;
    let running = start(&server, &["--bots", "main:4"]).await;
    running.row_when(0, |_| true).await;
    running.report("glance.main.2.state", "online").await;
    running.row_when(2, |row| row.state == State::Online).await;
    server.kill();
    server.delete_store();
    server.restart().await;
    running.row_when(2, |row| row.state == State::Online).await;
    running.report("glance.main.1.state", "online").await;
    running.row_when(1, |row| row.state == State::Online).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_republished_with_their_revision() {
    let server = NatsServer::start().await;
    let client = server.client().await;
    let mut table = client.subscribe(subject::TABLE_FILTER).await.unwrap();
    client.flush().await.unwrap();
    let running = start(&server, &["--bots", "main:1"]).await;
    let mut seen = Vec::new();
    let block = Subject::Block("main".parse().unwrap(), 0);
    while ![&Subject::Clusters, &block, &Subject::Lease]
        .iter()
        .all(|subject| seen.contains(*subject))
    {
        let message = tokio::time::timeout(LIMIT, table.next())
            .await
            .unwrap()
            .unwrap();
        assert!(glance_runner::broker::republished_revision(&message).unwrap() > 0);
        seen.push(Subject::parse(&message.subject).unwrap());
    }
    running.stop().await;
}
