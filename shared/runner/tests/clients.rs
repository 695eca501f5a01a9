//! What one client can take from the others: connections, time, memory. Over real sockets.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use glance_runner::{
    Ready, Shutdown, health,
    http::{ClientLimit, Counts, Forwarded, Limits, Peer, Refused, bind, serve},
};
use glance_testing::eventually;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::Notify,
    time::timeout,
};
use warp::{Filter as _, reply::Response};

const LIMIT: Duration = Duration::from_secs(10);
const CLOSE: &str = "Host: x\r\nConnection: close\r\n";
/// More than the buffers of both ends hold.
const LARGE_BYTES: usize = 64 * 1024 * 1024;

struct Server {
    address: SocketAddr,
    counts: Counts,
    /// Lets one request to `/wait` go on.
    go_on: Arc<Notify>,
    shutdown: Shutdown,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn start(limits: Limits) -> Server {
    let listener = bind("127.0.0.1", 0, "test").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (go_on, shutdown, counts) = (
        Arc::new(Notify::new()),
        Shutdown::new(),
        limits.counts.clone(),
    );
    let waiting = go_on.clone();
    let wait = warp::path!("wait").and_then(move || {
        let waiting = waiting.clone();
        async move {
            waiting.notified().await;
            Ok::<_, warp::Rejection>(Response::new("done".into()))
        }
    });
    let peer = warp::path!("peer")
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::optional::<Forwarded>())
        .map(|peer: Peer, forwarded: Option<Forwarded>| {
            let text = format!("{} {}", peer.0.ip(), forwarded.is_some());
            Response::new(text.into())
        });
    let large = warp::path!("large").map(|| Response::new(vec![b'x'; LARGE_BYTES].into()));
    let routes = health::routes(|| Ready::Yes("ready"))
        .or(wait.or(peer).unify().or(large).unify())
        .unify()
        .boxed();
    tokio::spawn(serve(listener, routes, limits, shutdown.clone()));
    Server {
        address,
        counts,
        go_on,
        shutdown,
    }
}

impl Server {
    /// A connection from another address of this machine.
    async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(from.parse().unwrap(), 0))
            .unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn send(&self, from: &str, request: &str) -> TcpStream {
        let mut stream = self.connect(from).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, from: &str, request: &str) -> String {
        read_to_end(self.send(from, request).await).await
    }
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the server keeps the connection open");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn get(path: &str, head: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{CLOSE}{head}\r\n")
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let server = start(Limits {
        clients: ClientLimit::Each(2),
        ..Limits::default()
    })
    .await;
    let held = [
        server.connect("127.0.0.2").await,
        server.connect("127.0.0.2").await,
    ];
    // Each is told why, also when it has asked already.
    for request in [String::new(), get("/healthz", "")] {
        let refused = server.ask("127.0.0.2", &request).await;
        assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        assert!(refused.contains("retry-after: 10"), "{refused}");
    }
    assert_eq!(server.counts.refused(Refused::Client), 2);
    // Others have their own, and programs of the same machine any number.
    let mut others = Vec::new();
    for from in ["127.0.0.3", "127.0.0.1", "127.0.0.1", "127.0.0.1"] {
        others.push(server.connect(from).await);
    }
    assert!(
        server
            .ask("127.0.0.3", &get("/healthz", ""))
            .await
            .starts_with("HTTP/1.1 200")
    );
    drop(held);
    eventually(LIMIT, async || {
        let answer = server.ask("127.0.0.2", &get("/healthz", "")).await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_request_has_its_own_client() {
    let server = start(Limits {
        clients: ClientLimit::Each(1),
        trusted_proxies: "127.0.0.1".parse().unwrap(),
        ..Limits::default()
    })
    .await;
    let of =
        |path: &str, client: &str| get(path, &format!("X-Forwarded-For: 6.6.6.6, {client}\r\n"));
    let peer = server.ask("127.0.0.1", &of("/peer", "203.0.113.5")).await;
    assert!(peer.ends_with("203.0.113.5 true"), "{peer}");
    let waiting = server.send("127.0.0.1", &of("/wait", "203.0.113.5")).await;
    // It came in a moment before; a request that is not there yet would let the next one through.
    let refused = eventually(LIMIT, async || {
        let answer = server.ask("127.0.0.1", &of("/peer", "203.0.113.5")).await;
        answer.starts_with("HTTP/1.1 429").then_some(answer)
    })
    .await;
    assert!(refused.contains("retry-after: 10"), "{refused}");
    assert!(
        refused.ends_with(
            "{\"error\":\"there are too many connections from 203.0.113.5, please try again soon\"}"
        ),
        "{refused}"
    );
    let other = server.ask("127.0.0.1", &of("/peer", "203.0.113.6")).await;
    assert!(other.ends_with("203.0.113.6 true"), "{other}");
    server.go_on.notify_one();
    assert!(read_to_end(waiting).await.ends_with("done"));
    let again = server.ask("127.0.0.1", &of("/peer", "203.0.113.5")).await;
    assert!(again.ends_with("203.0.113.5 true"), "{again}");
    // The proxy itself, and its connections, are not limited.
    let _idle = [
        server.connect("127.0.0.1").await,
        server.connect("127.0.0.1").await,
    ];
    for _ in 0..3 {
        let own = server.ask("127.0.0.1", &get("/peer", "")).await;
        assert!(own.ends_with("127.0.0.1 true"), "{own}");
    }
}

#[tokio::test]
async fn who_does_not_read_an_answer_has_a_connection_behind_a_proxy_too() {
    let server = start(Limits {
        clients: ClientLimit::Each(1),
        trusted_proxies: "127.0.0.1".parse().unwrap(),
        ..Limits::default()
    })
    .await;
    let of = |path: &str, client: &str| get(path, &format!("X-Forwarded-For: {client}\r\n"));
    let large = of("/large", "203.0.113.5");
    let mut reading = server.send("127.0.0.1", &large).await;
    // It has begun.
    reading.read_exact(&mut [0; 1024]).await.unwrap();
    let refused = server.ask("127.0.0.1", &of("/peer", "203.0.113.5")).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    let other = server.ask("127.0.0.1", &of("/peer", "203.0.113.6")).await;
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    read_to_end(reading).await;
    let again = server.ask("127.0.0.1", &of("/peer", "203.0.113.5")).await;
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
}

/// As at a start, when the service's own listener follows the one that answers while the broker is waited for.
#[tokio::test]
async fn who_is_still_with_the_listener_before_is_counted() {
    let limits = Limits {
        clients: ClientLimit::Each(1),
        connections_max: 2,
        ..Limits::default()
    };
    let (first, second) = (start(limits.clone()).await, start(limits).await);
    let held = first.send("127.0.0.2", &get("/wait", "")).await;
    let refused = eventually(LIMIT, async || {
        let answer = second.ask("127.0.0.2", &get("/peer", "")).await;
        (!answer.starts_with("HTTP/1.1 200")).then_some(answer)
    });
    assert!(refused.await.starts_with("HTTP/1.1 429"));
    let _also = first.send("127.0.0.3", &get("/wait", "")).await;
    let refused = eventually(LIMIT, async || {
        let answer = second.ask("127.0.0.4", &get("/peer", "")).await;
        (!answer.starts_with("HTTP/1.1 200")).then_some(answer)
    });
    assert!(refused.await.starts_with("HTTP/1.1 503"));
    first.go_on.notify_one();
    read_to_end(held).await;
    let again = second.ask("127.0.0.2", &get("/peer", "")).await;
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
}

#[tokio::test]
async fn others_are_not_believed() {
    let server = start(Limits {
        trusted_proxies: "127.0.0.1".parse().unwrap(),
        ..Limits::default()
    })
    .await;
    let peer = server
        .ask(
            "127.0.0.2",
            &get("/peer", "X-Forwarded-For: 203.0.113.5\r\n"),
        )
        .await;
    assert!(peer.ends_with("127.0.0.2 false"), "{peer}");
}

#[tokio::test]
async fn who_reads_nothing_is_cut_off() {
    let server = start(Limits {
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let _held = server.send("127.0.0.1", &get("/large", "")).await;
    eventually(LIMIT, async || (server.counts.open() == 1).then_some(())).await;
    eventually(LIMIT, async || (server.counts.open() == 0).then_some(())).await;
    assert_eq!(server.counts.refused(Refused::Stalled), 1);
}

/// What is no request has a clean answer or none, and says nothing about the server.
#[tokio::test]
async fn what_is_no_request() {
    let server = start(Limits::default()).await;
    let long = "x".repeat(70_000);
    let many = "A: 1\r\n".repeat(65);
    let hello = "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}";
    for (request, answer) in [
        ("\r\n\r\n\0\0\0\0\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (hello.to_owned(), "HTTP/1.1 400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        (get(&format!("/{long}"), ""), "HTTP/1.1 431"),
        (get("/healthz", &format!("A: {long}\r\n")), "HTTP/1.1 431"),
        (get("/healthz", &many), "HTTP/1.1 431"),
        (
            get("/healthz", "Content-Length: 1\r\nContent-Length: 2\r\n"),
            "HTTP/1.1 400",
        ),
        (get("/healthz", "Content-Length: -1\r\n"), "HTTP/1.1 400"),
        (get("/healthz", "A\u{0}: 1\r\n"), "HTTP/1.1 400"),
        // Odd, and allowed.
        (
            "GET http://elsewhere/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 200",
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 200"),
        (get("/healthz", "Expect: 100-continue\r\n"), "HTTP/1.1 200"),
    ] {
        let mut stream = server.connect("127.0.0.1").await;
        // It may be closed before all is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let got = read_to_end(stream).await;
        let is_long = request.len() > 20_000;
        let request = &request[..request.len().min(60)];
        // What was not read when it closed resets the connection, which may take the answer with it.
        let is_lost = is_long && got.is_empty();
        let is_right = !answer.is_empty() && got.starts_with(answer) || got == answer;
        assert!(is_right || is_lost, "{request:?}: {got}");
        assert!(!got.to_lowercase().contains("server:"), "{got}");
    }
    assert!(server.counts.refused(Refused::Malformed) >= 8);
    eventually(LIMIT, async || (server.counts.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_flood_of_requests_on_one_connection_is_served_one_by_one() {
    let server = start(Limits::default()).await;
    let one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let all = one.repeat(2000) + &get("/healthz", "");
    let answers = server.ask("127.0.0.1", &all).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2001);
}

/// Who is gone without a word is noticed by the system: it asks, and gives up what is not acknowledged.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_whose_client_is_gone_does_not_stay() {
    let listener = bind("127.0.0.1", 0, "test").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, _client) = tokio::join!(listener.accept(), TcpStream::connect(address));
    let (stream, _) = accepted.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    let silence = socket.tcp_keepalive_time().unwrap();
    let questions =
        socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
    assert!(
        silence + questions < Duration::from_secs(120),
        "{silence:?} {questions:?}"
    );
    let unacknowledged = socket.tcp_user_timeout().unwrap().unwrap();
    assert!(
        unacknowledged <= Duration::from_secs(60),
        "{unacknowledged:?}"
    );
}
