//! The real program with a table, one who watches it as everybody does, and connections of those who mean harm.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;

use glance_protocol::{ShardRow, State};
use glance_testing::{NatsServer, Process, ProcessBuilder, eventually};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Aggregator, LIMIT, Viewer, online, raw};

/// The opening of a WebSocket.
pub(crate) const UPGRADE: &str = "GET /api/feed HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Memory that a thousand connections may take in a program that is built for tests.
const SLACK_KIB: u64 = 40 * 1024;
/// Where those come from who mean harm.
pub(crate) const ATTACKER: &str = "127.0.0.2";

/// The program, with one who watches it as everybody does.
pub(crate) struct Scene {
    _server: NatsServer,
    pub(crate) aggregator: Aggregator,
    pub(crate) program: Process,
    pub(crate) address: SocketAddr,
    rss_kib: u64,
    round: usize,
}

impl Scene {
    pub(crate) async fn start(set: impl Fn(ProcessBuilder) -> ProcessBuilder) -> Self {
        let server = NatsServer::start().await;
        let aggregator = Aggregator::start(&server, &[("main", 64)]).await;
        let program = Process::at(env!("CARGO_BIN_EXE_glance-web"))
            .args(["--host", "127.0.0.1", "--port", "0"])
            .env("GLANCE_NATS_URL", server.url());
        let mut program = set(program).start();
        let line = program.wait_for_line("listening on http://", LIMIT).await;
        let address = line.rsplit("http://").next().unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        let mut scene = Self {
            _server: server,
            aggregator,
            program,
            address,
            rss_kib: 0,
            round: 0,
        };
        eventually(LIMIT, async || {
            (get(address, "/readyz").await == 200).then_some(())
        })
        .await;
        scene.others_are_served().await;
        scene.rss_kib = scene.program.resident_kib();
        scene
    }

    /// A viewer like any other comes and is told of the next change; the program has not panicked, nor grown.
    pub(crate) async fn others_are_served(&mut self) {
        self.round += 1;
        let state = [State::Online, State::Resuming][self.round % 2];
        let url = format!("ws://{}/api/feed", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut viewer = Viewer(socket);
        assert!(viewer.text().await.contains("hello"));
        let row = ShardRow { state, ..online() };
        self.aggregator.put("main", 0, vec![row; 64]).await;
        let wanted = format!(r#""shard":63,"state":{}"#, state.number());
        while !viewer.text().await.contains(&wanted) {}
        assert_eq!(get(self.address, "/readyz").await, 200);
        assert!(self.program.exited().is_none());
        let output = self.program.output();
        assert!(!output.contains("panicked"), "{output}");
        if self.rss_kib > 0 {
            let grown = self.grown_kib();
            println!("round {}: {grown} KiB more", self.round);
            assert!(grown < SLACK_KIB, "{grown} KiB more");
        }
    }

    /// How much memory the program has more than at the start.
    pub(crate) fn grown_kib(&self) -> u64 {
        self.program.resident_kib().saturating_sub(self.rss_kib)
    }

    pub(crate) async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket
            .bind(SocketAddr::new(from.parse().unwrap(), 0))
            .unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends bytes, which may be refused before the last of them.
    pub(crate) async fn send(&self, from: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect(from).await;
        let _ = timeout(LIMIT, stream.write_all(bytes)).await;
        stream
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    raw(address, &request).await.status
}
