//! The listener's limits, over real sockets.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{net::SocketAddr, time::Duration};

use glance_runner::{
    Ready, Shutdown, health,
    http::{Limits, Peer, bind, json_error, serve},
};
use glance_testing::eventually;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use warp::{Filter as _, http::StatusCode};

const LIMIT: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = bind("127.0.0.1", 0, "GLANCE_HOST, GLANCE_PORT")
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let slow = warp::path!("slow").and_then(|| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok::<_, warp::Rejection>(json_error(StatusCode::OK, "slow"))
    });
    let peer = warp::path!("peer")
        .and(warp::ext::get::<Peer>())
        .map(|peer: Peer| warp::reply::Response::new(peer.0.ip().to_string().into()));
    let routes = health::routes(|| Ready::No("not yet"))
        .or(slow)
        .unify()
        .or(peer)
        .unify()
        .boxed();
    let task = tokio::spawn(serve(listener, routes, limits, shutdown.clone()));
    Server {
        address,
        shutdown,
        task,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Whatever comes until the server closes; a reset counts as the end.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn short() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

#[tokio::test]
async fn health_and_readiness() {
    let server = start(Limits::default()).await;
    let close = "Connection: close\r\n\r\n";
    let live = server
        .ask(&format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{close}"))
        .await;
    assert!(
        live.starts_with("HTTP/1.1 200") && live.ends_with("ok\n"),
        "{live}"
    );
    let head = server
        .ask(&format!("HEAD /healthz HTTP/1.1\r\nHost: x\r\n{close}"))
        .await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let ready = server
        .ask(&format!("GET /readyz HTTP/1.1\r\nHost: x\r\n{close}"))
        .await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.ends_with("not yet\n"),
        "{ready}"
    );
    let post = server
        .ask(&format!("POST /readyz HTTP/1.1\r\nHost: x\r\n{close}"))
        .await;
    assert!(
        post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
        "{post}"
    );
    let peer = server
        .ask(&format!("GET /peer HTTP/1.1\r\nHost: x\r\n{close}"))
        .await;
    assert!(peer.ends_with("127.0.0.1"), "{peer}");
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_is_closed() {
    let server = start(short()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(short()).await;
    // One that never says anything, and one that was served before.
    assert_eq!(read_to_end(&mut server.connect().await).await, "");
    let answer = server.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn large_heads_are_refused() {
    let server = start(Limits::default()).await;
    let long = "x".repeat(40_000);
    let answer = server
        .ask(&format!(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"
        ))
        .await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let many = "A: 1\r\n".repeat(200);
    let answer = server
        .ask(&format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_at_once() {
    let server = start(Limits {
        connections_max: 1,
        ..Limits::default()
    })
    .await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let refused = read_to_end(&mut server.connect().await).await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after"),
        "{refused}"
    );
    // There is room again as soon as the first has left.
    drop(first);
    let again = eventually(LIMIT, || async {
        let answer = server
            .ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    });
    again.await;
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    let server = start(Limits::default()).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut begin = [0; 12];
    idle.read_exact(&mut begin).await.unwrap();
    server.shutdown.trigger();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    read_to_end(&mut idle).await;
    timeout(LIMIT, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_the_variables() {
    let server = start(Limits::default()).await;
    let error = bind(
        "127.0.0.1",
        server.address.port(),
        "GLANCE_HOST, GLANCE_PORT",
    )
    .await;
    let error = error.unwrap_err();
    assert_eq!(error.variable, "GLANCE_HOST, GLANCE_PORT");
    assert!(error.entry.starts_with("127.0.0.1:"));
    assert!(
        bind("no.such.host.invalid", 0, "GLANCE_HOST")
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_just_come_is_answered() {
    // Without care for them, about half are closed.
    for _ in 0..20 {
        let limits = Limits::default();
        let counts = limits.counts.clone();
        let server = start(limits).await;
        let mut stream = server.connect().await;
        eventually(LIMIT, async || (counts.open() == 1).then_some(())).await;
        server.shutdown.trigger();
        let refused = async || TcpStream::connect(server.address).await.err();
        eventually(LIMIT, refused).await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
