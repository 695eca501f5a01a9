//! Whom a replica believes when aggregators change, and when the store was lost.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::time::Duration;

use glance_testing::NatsServer;
use support::{
    Aggregator, LIMIT, SINCE_MS, Service, Viewer, create_bucket, create_lease, lead, online,
};
use tokio::time::timeout;

const PING_0: &str = r#"{"op":"health_ping","payload":{"cluster":"main","shard":0}}"#;
const PING_1: &str = r#"{"op":"health_ping","payload":{"cluster":"main","shard":1}}"#;

async fn fleet(server: &NatsServer) -> Aggregator {
    let mut aggregator = Aggregator::start(server, &[("main", 2)]).await;
    aggregator.put("main", 0, vec![online(); 2]).await;
    aggregator
}

/// A viewer of the default dialect that has read its hello.
async fn viewer(service: &Service) -> Viewer {
    let mut viewer = service.view("/api/feed").await;
    viewer.text().await;
    viewer
}

/// Waits until the page was told this state of shard 0, and returns what else it was told before.
async fn shown(page: &mut Viewer, state: u64) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let news = page.news().await;
        if news["op"] == "changes" && news["payload"]["shards"][0][1] == state {
            return before;
        }
        before.push(news["op"].as_str().unwrap().to_owned());
    }
}

/// Also by who starts afterwards, when nothing but the lease tells that another one leads.
#[tokio::test]
async fn a_deposed_leader_is_believed_by_nobody() {
    let server = NatsServer::start().await;
    let mut old = fleet(&server).await;
    let first = Service::start(&server).await;
    first.is_ready().await;
    let mut viewers = vec![viewer(&first).await];
    old.pulse("main", &[0], &[]).await;
    assert_eq!(viewers[0].text().await, PING_0);

    let lease = create_lease(&server).await;
    lead(&lease, 8).await;
    let second = Service::start(&server).await;
    second.is_ready().await;
    viewers.push(viewer(&second).await);
    // It was paused, and does not know yet.
    old.pulse("main", &[0], &[]).await;
    let mut new = Aggregator::with_store(&server, old.store.clone(), 8, &[("main", 2)]).await;
    new.put("main", 0, vec![online(); 2]).await;
    old.pulse("main", &[0], &[]).await;
    for (viewer, service) in viewers.iter_mut().zip([&first, &second]) {
        // The new leader's pulse counts from when the replica knows it.
        let heard = async {
            loop {
                let text = viewer.text().await;
                assert_ne!(text, PING_0);
                if text == PING_1 {
                    return;
                }
            }
        };
        tokio::pin!(heard);
        loop {
            new.pulse("main", &[1], &[]).await;
            if timeout(Duration::from_millis(100), &mut heard)
                .await
                .is_ok()
            {
                break;
            }
        }
        service.says("ready").await;
    }
}

#[tokio::test]
async fn a_forged_pulse_changes_nothing() {
    let server = NatsServer::start().await;
    let mut aggregator = fleet(&server).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = viewer(&service).await;
    aggregator.epoch = u64::MAX;
    aggregator.pulse("main", &[0], &[]).await;
    aggregator.epoch = 7;
    aggregator.pulse("main", &[1], &[]).await;
    assert_eq!(viewer.text().await, PING_1);
}

/// The store was restored from a copy: lower epochs are right from then on.
#[tokio::test]
async fn a_lower_lease_is_adopted() {
    let server = NatsServer::start().await;
    let aggregator = fleet(&server).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut page = service.view("/api/feed?dialect=page").await;
    page.news().await;
    lead(&create_lease(&server).await, 3).await;
    let store = aggregator.store.clone();
    let mut other = Aggregator::with_store(&server, store, 3, &[("main", 2)]).await;
    other.pulse("main", &[], &[]).await;
    let before = timeout(Duration::from_secs(2), shown(&mut page, 0)).await;
    assert_eq!(before.unwrap(), ["resync"]);
    other.pulse("main", &[], &[]).await;
    service.says("ready").await;
}

/// The leader fills it again with the epoch that it has; only the revisions begin at 1. No pulse has to tell.
#[tokio::test]
async fn a_store_that_was_lost_and_filled_again_is_believed_at_once() {
    let mut server = NatsServer::start().await;
    let mut aggregator = fleet(&server).await;
    for _ in 0..10 {
        aggregator.put("main", 0, vec![online(); 2]).await;
    }
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut page = service.view("/api/feed?dialect=page").await;
    page.news().await;
    server.kill();
    server.delete_store();
    server.restart().await;
    lead(&create_lease(&server).await, 7).await;
    let store = create_bucket(&server, true).await;
    Aggregator::with_store(&server, store, 7, &[("main", 2)]).await;
    let before = timeout(Duration::from_secs(3), shown(&mut page, 0)).await;
    assert_eq!(before.unwrap(), ["resync"]);
}

/// Its wall clock was corrected, so `now` and all other times go back together, and no age is wrong.
#[tokio::test]
async fn times_follow_the_aggregators_clock_back() {
    let server = NatsServer::start().await;
    let mut aggregator = fleet(&server).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    aggregator.pulse("main", &[0, 1], &[]).await;
    service.says("ready").await;
    let hour_ms = 3_600_000;
    aggregator.at_ms -= hour_ms;
    let mut row = online();
    row.since_ms = Some(SINCE_MS - hour_ms);
    row.last_heard_ms = Some(SINCE_MS + 1000 - hour_ms);
    aggregator.put("main", 0, vec![row; 2]).await;
    aggregator.pulse("main", &[], &[]).await;
    let table = glance_testing::eventually(LIMIT, async || {
        let table = service.get("/api/snapshot").await.json();
        let back = table["heard"].as_f64().unwrap() < 1_795_358_000.0;
        back.then_some(table)
    })
    .await;
    let now = table["now"].as_f64().unwrap();
    for column in ["since", "last_heard"] {
        let time = table["clusters"][0][column][1].as_f64().unwrap();
        assert!(
            (0.0..10.0).contains(&(now - time)),
            "{column} {time} at {now}"
        );
    }
}
