//! What viewers are told when the aggregator, or the broker, is silent.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use glance_protocol::{Cause, ShardRow, State};
use glance_runner::clock::unix_ms;
use glance_testing::{NatsServer, Signal, eventually};
use support::{Aggregator, LIMIT, SINCE_MS, Service, online};

async fn start(server: &NatsServer) -> (Aggregator, Service) {
    let mut aggregator = Aggregator::start(server, &[("main", 2)]).await;
    aggregator.put("main", 0, vec![online(); 2]).await;
    let service = Service::start(server).await;
    service.is_ready().await;
    aggregator.pulse("main", &[], &[]).await;
    service.says("ready").await;
    (aggregator, service)
}

/// Waits for the silence, and looks at all who tell it.
async fn grows_old(service: &Service, tag: &str) {
    service.says("stale").await;
    assert_eq!(service.get("/readyz").await.status, 200);
    let known = format!("If-None-Match: {tag}\r\n");
    let table = eventually(LIMIT, async || {
        let answer = service.request("GET", "/api/snapshot", &known).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    let time = |name: &str| table[name].as_f64().unwrap();
    assert!(time("now") - time("heard") >= 5.0, "{table}");
    assert_eq!(table["clusters"][0]["states"], "33");
    let plain = service.get("/plain").await;
    let words = "\nOLD: the dashboard cannot hear the bots: the aggregator was last heard ";
    assert!(plain.text().contains(words), "{}", plain.text());
}

/// Pulses again and again, as an aggregator does, until the replica hears one.
async fn recovers(aggregator: &mut Aggregator, service: &Service) {
    eventually(LIMIT, async || {
        aggregator.pulse("main", &[], &[]).await;
        (service.get("/readyz").await.text() == "ready\n").then_some(())
    })
    .await;
    let plain = service.get("/plain").await;
    assert!(plain.text().contains("\nUp to date.\n"), "{}", plain.text());
}

async fn tag(service: &Service) -> String {
    let answer = service.get("/api/snapshot").await;
    answer.header("etag").to_owned()
}

#[tokio::test]
async fn without_an_aggregator() {
    let server = NatsServer::start().await;
    let (mut aggregator, service) = start(&server).await;
    let first = tag(&service).await;
    grows_old(&service, &first).await;
    // And older.
    let second = tag(&service).await;
    eventually(LIMIT, async || {
        (tag(&service).await != second).then_some(())
    })
    .await;
    recovers(&mut aggregator, &service).await;
}

#[tokio::test]
async fn while_the_broker_is_away() {
    let mut server = NatsServer::start().await;
    let (mut aggregator, service) = start(&server).await;
    let tag = tag(&service).await;
    server.kill();
    grows_old(&service, &tag).await;
    server.restart().await;
    recovers(&mut aggregator, &service).await;
}

#[tokio::test]
async fn while_the_broker_does_not_answer() {
    let mut server = NatsServer::start().await;
    let (mut aggregator, service) = start(&server).await;
    let tag = tag(&service).await;
    server.signal(Signal::STOP);
    grows_old(&service, &tag).await;
    server.signal(Signal::CONT);
    recovers(&mut aggregator, &service).await;
}

#[tokio::test]
async fn a_table_that_was_kept_says_how_old_it_is() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 1)]).await;
    aggregator.at_ms = unix_ms() - 200_000;
    aggregator.put("main", 0, vec![online()]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let plain = service.get("/plain").await;
    let words = "the aggregator was not heard yet; this is the table as it was kept 3 min ago.";
    assert!(plain.text().contains(words), "{}", plain.text());
}

#[tokio::test]
async fn a_silent_cluster_is_told_as_one() {
    let server = NatsServer::start().await;
    let silent = |last_heard_ms| ShardRow {
        state: State::Unhealthy,
        previous: State::Online,
        cause: Some(Cause::Timeout),
        last_heard_ms: Some(last_heard_ms),
        ..online()
    };
    let mut rows = vec![
        silent(SINCE_MS - 800_000),
        silent(SINCE_MS - 725_000),
        ShardRow::default(),
    ];
    let mut aggregator = Aggregator::start(&server, &[("main", 3)]).await;
    aggregator.put("main", 0, rows.clone()).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    aggregator.pulse("main", &[], &[]).await;
    service.says("ready").await;
    let text = service.get("/plain").await.text().to_owned();
    let words =
        "\nmain  0/3 online\n  not heard since 12 min ago\n              2  never reported\n";
    assert!(text.ends_with(words), "{text}");

    rows[0] = online();
    aggregator.put("main", 0, rows).await;
    let text = eventually(LIMIT, async || {
        let plain = service.get("/plain").await;
        plain
            .text()
            .contains("\nmain  1/3 online\n")
            .then(|| plain.text().to_owned())
    })
    .await;
    let words =
        "  1  unhealthy, was online, for 1 s, this shard is silent, last heard 12 min ago\n";
    assert!(text.contains(words), "{text}");
}
