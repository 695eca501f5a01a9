//! Viewers that are slow, gone or many must not hurt the others.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::time::{Duration, Instant};

use glance_protocol::{ShardRow, State};
use glance_runner::{Broker, BrokerOptions, Environment, Shutdown};
use glance_testing::{NatsServer, Signal, eventually};
use glance_web::{Web, WebOptions};
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

/// Each is told to come again elsewhere, and a few who do not answer hold up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_sent_away_in_time() {
    const VIEWERS: usize = 2000;
    let server = NatsServer::start().await;
    let _aggregator = Aggregator::start(&server, &[("main", 4)]).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(service.view("/api/feed").await);
    }
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(stalled(&service).await);
    }
    eventually(support::LIMIT, async || {
        (service.web.viewers() == VIEWERS + 20).then_some(())
    })
    .await;
    let leave = viewers.iter_mut().map(support::Viewer::close_code);
    let start = Instant::now();
    let stop = async {
        service.shutdown.trigger();
        service.web.stop().await;
        start.elapsed()
    };
    let (codes, took) = tokio::join!(futures::future::join_all(leave), stop);
    assert!(codes.iter().all(|code| *code == 1001));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// A broker that does not answer has nothing to say to it.
#[tokio::test]
async fn a_stop_does_not_wait_for_the_broker() {
    let mut server = NatsServer::start().await;
    let shutdown = Shutdown::new();
    let options = BrokerOptions {
        nats_url: Some(server.url().parse().unwrap()),
        ..BrokerOptions::default()
    };
    let broker = Broker::connect("test", &options, &shutdown).await.unwrap();
    server.signal(Signal::STOP);
    let (options, environment) = (WebOptions::default(), Environment::default());
    let web = Web::start(&broker, &options, &environment, &shutdown);
    let web = web.await.unwrap();
    // It reads the table and the notices now; requests are given up after seconds only.
    let start = Instant::now();
    web.stop().await;
    assert!(start.elapsed() < Duration::from_secs(1));
}
