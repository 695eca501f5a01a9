//! Viewers that are slow, gone or many must not hurt the others.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::time::{Duration, Instant};

use glance_protocol::{ShardRow, State};
use glance_testing::{NatsServer, eventually};
use support::{Aggregator, Service, online};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

const REQUEST: &str = "GET /api/feed HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Asks for the feed and reads nothing.
async fn stalled(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(service.address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_viewers_are_dropped_and_slow_nobody() {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 1024)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewer = service.view("/api/feed").await;
    viewer.text().await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(stalled(&service).await);
    }
    eventually(support::LIMIT, async || {
        (service.web.viewers() == 21).then_some(())
    })
    .await;

    let start = Instant::now();
    let mut round = 0;
    while service.web.viewers() > 1 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "they stay for ever"
        );
        round += 1;
        let state = if round % 2 == 0 {
            State::Resuming
        } else {
            State::Online
        };
        let row = ShardRow { state, ..online() };
        aggregator.put("main", 0, vec![row; 1024]).await;
        // The one that reads gets every one of them at once.
        let sent = Instant::now();
        let wanted = format!(r#""shard":1023,"state":{}"#, state.number());
        while !viewer.text().await.contains(&wanted) {}
        assert!(sent.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn who_leaves_is_forgotten() {
    let server = NatsServer::start().await;
    let _aggregator = Aggregator::start(&server, &[("main", 4)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    for round in 0..20 {
        let mut viewer = service.view("/api/feed?dialect=page").await;
        viewer.frame().await;
        if round % 2 == 0 {
            viewer.0.close(None).await.unwrap();
        }
    }
    eventually(support::LIMIT, async || {
        (service.web.viewers() == 0).then_some(())
    })
    .await;
}
