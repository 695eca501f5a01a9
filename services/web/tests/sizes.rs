//! Clusters whose size is learned while the service runs.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use glance_testing::{NatsServer, eventually};
use support::{Aggregator, LIMIT, Service, create_bucket, online};

#[tokio::test]
async fn a_size_that_is_not_known_yet() {
    let server = NatsServer::start().await;
    let _aggregator = Aggregator::start(&server, &[("auto", 0), ("main", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let hello = r#"{"op":"hello","payload":{"auto":{"len":0},"main":{"len":1}}}"#;
    assert_eq!(service.view("/api/feed").await.text().await, hello);
    let table = service.get("/api/snapshot").await;
    let auto = r#"{"name":"auto","total":0,"states":"","previous":"","since":[],"last_heard":[],"details":{},"blocks":[],"timeout":30}"#;
    assert!(table.text().contains(auto), "{}", table.text());
    let plain = service.get("/plain").await;
    let sentence =
        "Glance: The dashboard cannot hear the bots. Last known: no shard has reported yet\n";
    assert!(plain.text().starts_with(sentence), "{}", plain.text());
    assert!(plain.text().contains("\nauto  size not known yet\n"));
}

async fn states(service: &Service) -> String {
    let table = service.get("/api/snapshot").await.json();
    table["clusters"][0]["states"].as_str().unwrap().to_owned()
}

/// The list and the block come one after the other, in either order, and
/// viewers of both dialects are told. Shards that stay are never shown as Unknown in between.
#[tokio::test]
async fn a_size_that_changes() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 360)]).await;
    aggregator.put("main", 0, vec![online(); 360]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    for (total, block_first) in [
        (432, false),
        (360, false),
        (432, true),
        (360, true),
        (2000, false),
        (360, true),
    ] {
        let mut everybody = service.view("/api/feed").await;
        let before = states(&service).await.len();
        let hello = everybody.text().await;
        assert!(hello.contains(&format!(r#""len":{before},"#)), "{hello}");
        let mut page = service.view("/api/feed?dialect=page").await;
        page.news().await;

        let first = if total > 1024 { 1024 } else { total };
        let rows = vec![online(); first as usize];
        if block_first {
            aggregator.put("main", 0, rows.clone()).await;
        }
        aggregator.put_list(&[("main", total)]).await;
        assert_eq!(everybody.close_code().await, 1012);
        // What everybody sees who connects in between.
        let kept = before.min(first as usize);
        assert_eq!(&states(&service).await[..kept], "3".repeat(kept));
        if !block_first {
            aggregator.put("main", 0, rows).await;
        }
        loop {
            let news = page.news().await;
            if news["op"] == "clusters" {
                assert_eq!(news["payload"]["clusters"][0]["total"], total);
                break;
            }
        }
        let wanted = "3".repeat(first as usize) + &"0".repeat((total - first) as usize);
        eventually(LIMIT, async || {
            (states(&service).await == wanted).then_some(())
        })
        .await;
    }
}

/// The bucket republishes nothing, so that the list is lost on the way; the number of blocks stays the same.
#[tokio::test]
async fn a_list_that_was_missed_is_noticed_by_its_blocks() {
    let server = NatsServer::start().await;
    let store = create_bucket(&server, false).await;
    let mut aggregator = Aggregator::with_store(&server, store, 7, &[("main", 2)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    aggregator.put_list(&[("main", 3)]).await;
    aggregator.put("main", 0, vec![online(); 3]).await;
    aggregator.pulse("main", &[], &[]).await;
    eventually(LIMIT, async || {
        (states(&service).await == "333").then_some(())
    })
    .await;
}
