//! The feed, over real sockets and a real broker.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use flate2::{Decompress, FlushDecompress};
use glance_protocol::{Cause, ShardRow, State};
use glance_testing::NatsServer;
use support::{Aggregator, SINCE_MS, Service, create_bucket, online};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn silent() -> ShardRow {
    ShardRow {
        state: State::Unhealthy,
        previous: State::Online,
        cause: Some(Cause::Timeout),
        since_ms: Some(SINCE_MS + 30_000),
        ..online()
    }
}

#[tokio::test]
async fn the_default_dialect_to_the_letter() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("zebra", 5), ("ant", 1)]).await;
    let mut rows = vec![ShardRow::default(); 5];
    rows[3] = online();
    aggregator.put("zebra", 0, rows.clone()).await;
    let service = Service::start(&server).await;
    service.is_ready().await;

    let mut viewer = service.view("/api/feed").await;
    assert_eq!(
        viewer.text().await,
        r#"{"op":"hello","payload":{"zebra":{"len":5,"3":{"state":3,"last_healthy":1795358092.349}},"ant":{"len":1}}}"#
    );
    rows[4] = silent();
    aggregator.put("zebra", 0, rows.clone()).await;
    assert_eq!(
        viewer.text().await,
        r#"{"op":"state_update","payload":{"cluster":"zebra","shard":4,"state":1}}"#
    );
    // A pulse does not name shards that never reported, but if it did, no viewer would hear of it.
    aggregator.pulse("zebra", &[0, 3, 4], &[]).await;
    for shard in [3, 4] {
        let ping =
            format!(r#"{{"op":"health_ping","payload":{{"cluster":"zebra","shard":{shard}}}}}"#);
        assert_eq!(viewer.text().await, ping);
    }
    rows[4] = ShardRow {
        cause: Some(Cause::Health),
        previous: State::Unhealthy,
        ..online()
    };
    aggregator.put("zebra", 0, rows).await;
    assert_eq!(
        viewer.text().await,
        r#"{"op":"state_update","payload":{"cluster":"zebra","shard":4,"state":3}}"#
    );
    aggregator.pulse("zebra", &[4], &[4]).await;
    assert_eq!(
        viewer.text().await,
        r#"{"op":"health_ping","payload":{"cluster":"zebra","shard":4,"state":3}}"#
    );

    // Who comes later gets the same table.
    let mut later = service.view("/api/feed?whatever=1").await;
    assert_eq!(
        later.text().await,
        r#"{"op":"hello","payload":{"zebra":{"len":5,"3":{"state":3,"last_healthy":1795358093.349},"4":{"state":3,"last_healthy":1795358093.349}},"ant":{"len":1}}}"#
    );
}

#[tokio::test]
async fn the_page_dialect() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 1030)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed?dialect=page").await;
    let hello = viewer.news().await;
    assert_eq!(hello["op"], "hello");
    let main = &hello["payload"]["clusters"][0];
    assert_eq!(
        (&main["name"], &main["total"]),
        (&"main".into(), &1030.into())
    );
    assert_eq!(main["blocks"], serde_json::json!([[7, 2], [7, 3]]));

    let revision = aggregator.put("main", 1, vec![silent(); 6]).await;
    let changes = viewer.news().await;
    assert_eq!(changes["op"], "changes");
    let payload = &changes["payload"];
    assert_eq!(payload["version"], serde_json::json!([7, revision]));
    assert_eq!(payload["shards"].as_array().unwrap().len(), 6);
    assert_eq!(
        payload["shards"][5],
        serde_json::json!([1029, 1, 3, 1_795_358_122.349, "timeout"])
    );

    aggregator.put("main", 0, vec![online(); 1024]).await;
    assert_eq!(viewer.news().await["payload"]["block"], 0);
    aggregator.pulse("main", &[0, 9], &[]).await;
    loop {
        let frame = viewer.text().await;
        if frame.contains(r#""clusters":{"main":"AQI="}"#) {
            assert!(
                frame.contains(r#""judging_since":1795358092.349"#),
                "{frame}"
            );
            break;
        }
        // Pulses without anybody heard may come before.
        assert!(frame.contains(r#""clusters":{}"#), "{frame}");
    }
}

/// Browsers offer it. Who does not gets the same texts as they are.
#[tokio::test]
async fn the_page_dialect_is_compressed_for_who_offers_it() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 1024)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut plain = service.view("/api/feed?dialect=page").await;
    plain.news().await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = "GET /api/feed?dialect=page HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let answer = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains(answer),
        "{head}"
    );
    let (first, hello) = raw_frame(&mut stream).await;
    assert_eq!(first, 0x81, "the hello is short");
    assert!(hello.starts_with(br#"{"op":"hello""#));

    aggregator.put("main", 0, vec![silent(); 1024]).await;
    let compressed = loop {
        let (first, payload) = raw_frame(&mut stream).await;
        // Pulses are short.
        if first == 0xc1 {
            break payload;
        }
    };
    let mut text = Vec::with_capacity(1024 * 1024);
    let bytes = [&compressed[..], &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false)
        .decompress_vec(&bytes, &mut text, FlushDecompress::Sync)
        .unwrap();
    let changes: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(changes["payload"]["shards"].as_array().unwrap().len(), 1024);
    assert_eq!(changes, plain.news().await);
    assert!(compressed.len() < text.len() / 5);
}

/// The first byte of a frame, and its payload.
async fn raw_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let len = match stream.read_u8().await.unwrap() {
        126 => stream.read_u16().await.unwrap().into(),
        127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
        len => len.into(),
    };
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await.unwrap();
    (first, payload)
}

/// `heard` then gets old, which tells the viewers what is wrong.
#[tokio::test]
async fn the_page_is_told_the_time_without_an_aggregator() {
    let server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed?dialect=page").await;
    viewer.news().await;
    let mut times = Vec::new();
    for _ in 0..2 {
        let pulse: serde_json::Value = serde_json::from_str(&viewer.text().await).unwrap();
        assert_eq!(pulse["op"], "pulse");
        assert!(pulse["payload"]["heard"].is_null());
        times.push(pulse["payload"]["now"].as_f64().unwrap());
    }
    assert!(times[0] < times[1]);
}

/// A bucket that republishes nothing loses every block on the way.
#[tokio::test]
async fn a_lost_block_is_noticed_by_the_pulse() {
    let server = NatsServer::start().await;
    let store = create_bucket(&server, false).await;
    let mut aggregator = Aggregator::with_store(&server, store, 7, &[("main", 2)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed").await;
    viewer.text().await;
    aggregator.put("main", 0, vec![online(), silent()]).await;
    aggregator.pulse("main", &[], &[]).await;
    for state in [r#""shard":0,"state":3"#, r#""shard":1,"state":1"#] {
        assert!(viewer.text().await.contains(state));
    }
}

#[tokio::test]
async fn waits_for_the_table_and_follows_its_list() {
    let server = NatsServer::start().await;
    let service = Service::start(&server).await;
    for path in ["/readyz", "/plain", "/api/snapshot"] {
        assert_eq!(service.get(path).await.status, 503, "{path}");
    }
    assert_eq!(service.get("/healthz").await.status, 200);
    assert_eq!(service.get("/api/feed").await.status, 426);
    let mut aggregator = Aggregator::start(&server, &[("main", 2)]).await;
    service.is_ready().await;
    assert_eq!(service.get("/readyz").await.text(), "stale\n");

    let mut everybody = service.view("/api/feed").await;
    let mut page = service.view("/api/feed?dialect=page").await;
    everybody.text().await;
    page.news().await;
    let clusters = [("main", 2), ("table", 3)];
    aggregator.put_list(&clusters).await;
    assert_eq!(everybody.close_code().await, 1012);
    assert_eq!(page.news().await["op"], "clusters");
    aggregator.put("table", 0, vec![online(); 3]).await;
    assert_eq!(page.news().await["payload"]["cluster"], "table");
    aggregator.pulse("main", &[], &[]).await;
    glance_testing::eventually(support::LIMIT, async || {
        (service.get("/readyz").await.text() == "ready\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_epoch_that_has_passed_is_ignored() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 1), ("demo", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed").await;
    viewer.text().await;
    aggregator.epoch = 8;
    aggregator.put("main", 0, vec![online()]).await;
    assert!(viewer.text().await.contains(r#""shard":0,"state":3"#));
    aggregator.epoch = 7;
    aggregator.put("main", 0, vec![silent()]).await;
    aggregator.epoch = 8;
    aggregator.put("demo", 0, vec![online()]).await;
    assert!(viewer.text().await.contains(r#""cluster":"demo""#));
}

#[tokio::test]
async fn a_broker_that_comes_back_is_read_again() {
    let mut server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed?dialect=page").await;
    viewer.news().await;
    server.kill();
    assert!(
        service
            .get("/plain")
            .await
            .text()
            .contains("No shard has reported yet")
    );
    server.restart().await;
    let store = create_bucket(&server, true).await;
    Aggregator::with_store(&server, store, 8, &[("main", 1)])
        .await
        .put("main", 0, vec![online()])
        .await;
    let news = viewer.news().await;
    assert_eq!(news["op"], "changes");
    assert_eq!(news["payload"]["shards"][0][1], 3);
}

/// Revisions and epochs begin at 1 again; who only looks for higher ones would stay with the old table for ever.
#[tokio::test]
async fn a_store_that_began_anew_is_believed_in_the_end() {
    let mut server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed?dialect=page").await;
    viewer.news().await;
    server.kill();
    server.delete_store();
    server.restart().await;
    let store = create_bucket(&server, true).await;
    let mut aggregator = Aggregator::with_store(&server, store, 1, &[("main", 1)]).await;
    aggregator.put("main", 0, vec![online()]).await;
    let seen = async {
        loop {
            let news = viewer.news().await;
            if news["op"] == "changes" {
                assert_eq!(news["payload"]["shards"][0][1], 3);
                return;
            }
            assert_eq!(news["op"], "resync");
        }
    };
    tokio::pin!(seen);
    loop {
        tokio::select! {
            () = &mut seen => break,
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {
                aggregator.pulse("main", &[], &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn viewers_are_closed_when_the_service_stops() {
    let server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 1)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewers = [
        service.view("/api/feed").await,
        service.view("/api/feed?dialect=page").await,
    ];
    for viewer in &mut viewers {
        viewer.frame().await;
    }
    assert_eq!(service.web.viewers(), 2);
    let (first, second) = viewers.split_at_mut(1);
    let codes = async { tokio::join!(first[0].close_code(), second[0].close_code()) };
    let ((), codes) = tokio::join!(service.web.stop(), codes);
    assert_eq!(codes, (1001, 1001));
}
