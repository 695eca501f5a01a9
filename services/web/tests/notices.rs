//! Notices, as operators put them into their bucket.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use async_nats::jetstream::{self, kv};
use glance_protocol::bucket;
use glance_testing::{NatsServer, eventually};
use serde_json::json;
use support::{Aggregator, LIMIT, Service};

#[tokio::test]
async fn notices_reach_snapshot_feed_and_text() {
    let server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 1)]).await;
    let config = kv::Config {
        bucket: bucket::NOTICES.to_owned(),
        ..kv::Config::default()
    };
    let jetstream = jetstream::new(server.client().await);
    let store = jetstream.create_key_value(config).await.unwrap();
    store
        .put("maintenance.main.3", r#"{"text":"New disk"}"#.into())
        .await
        .unwrap();
    store
        .put("maintenance.main", "no notice".into())
        .await
        .unwrap();
    store
        .put("else", r#"{"text":"Not ours"}"#.into())
        .await
        .unwrap();
    let past = r#"{"text":"Over","until":1000}"#;
    store.put("maintenance.gone", past.into()).await.unwrap();
    let service = Service::start(&server).await;
    service.is_ready().await;
    let disk =
        json!([{"cluster":"main","group":"3","text":"New disk","severity":"info","until":null}]);
    eventually(LIMIT, async || {
        let snapshot = service.get("/api/snapshot").await.json();
        (snapshot["maintenance"] == disk).then_some(())
    })
    .await;

    let mut viewer = service.view("/api/feed?dialect=page").await;
    viewer.news().await;
    let notice = r#"{"text":"Sorry","severity":"critical","until":4000000000}"#;
    store.put("announcement", notice.into()).await.unwrap();
    let sorry = json!({"text":"Sorry","severity":"critical","until":4_000_000_000_u64});
    let news = viewer.news().await;
    assert_eq!(news["op"], "notices");
    assert_eq!(
        news["payload"],
        json!({"announcement": sorry, "maintenance": disk})
    );
    assert!(
        service
            .get("/plain")
            .await
            .text()
            .contains("Announcement (critical, until 2096-10-02 07:06 UTC): Sorry\n")
    );

    store.delete("announcement").await.unwrap();
    store.purge("maintenance.main.3").await.unwrap();
    loop {
        let news = viewer.news().await;
        if news["payload"] == json!({"announcement": null, "maintenance": []}) {
            break;
        }
    }
}
