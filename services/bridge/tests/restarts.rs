//! Bridges that are restarted one after another while bots report: what a deploy does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Client, LIMIT, set_up, stored, wait_ready};
use glance_protocol::bucket;
use glance_testing::{NatsServer, Process, Signal, eventually, free_port};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

const CLIENTS: u32 = 16;
const ROUNDS: u32 = 3;

fn start(port: u16, server: &NatsServer) -> Process {
    Process::at(env!("CARGO_BIN_EXE_glance-bridge"))
        .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
        .env("GLANCE_BRIDGE_PORT", port.to_string())
        .env("GLANCE_NATS_URL", server.url())
        .start()
}

async fn stop(process: &mut Process) {
    process.signal(Signal::TERM);
    let status = process.wait_exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", process.output());
}

/// What a bot's HTTP client does: it keeps a connection, and makes another when that one ends.
struct Bot {
    shard: u32,
    ports: [u16; 2],
    /// Which of the ports it uses.
    turn: usize,
    connection: Option<BufReader<TcpStream>>,
}

impl Bot {
    /// Sends a request until a bridge answers it. An end in the middle of an answer is a failure.
    async fn post(&mut self, path: &str) -> u16 {
        loop {
            match timeout(LIMIT, self.try_post(path)).await.unwrap() {
                Ok(status) => return status,
                Err(_) => {
                    self.connection = None;
                    self.turn += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Fails when the connection ends before the first byte of the answer.
    async fn try_post(&mut self, path: &str) -> io::Result<u16> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let port = self.ports[self.turn % 2];
                BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?)
            }
        };
        let request = format!("POST {path} HTTP/1.1\r\nhost: bot\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        if connection.fill_buf().await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // From here on, the answer has to be whole.
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        let mut closes = false;
        loop {
            let mut line = String::new();
            let bytes = connection.read_line(&mut line).await.unwrap();
            assert!(bytes > 0, "the answer broke off");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            closes |= line == "connection: close";
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        tokio::io::AsyncReadExt::read_exact(&mut connection, &mut body)
            .await
            .unwrap();
        if !closes {
            self.connection = Some(connection);
        }
        Ok(status)
    }

    /// Reports one state after another, and checks each with a health check, until told to stop.
    /// Returns the last state that was acknowledged.
    async fn run(mut self, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> (u32, String) {
        let mut state = 2;
        loop {
            let path = format!("/api/status/main/{}/{state}", self.shard);
            match self.post(&path).await {
                204 => acknowledged.fetch_add(1, Ordering::Relaxed),
                // A bridge that has just been started may not know the clusters yet.
                503 => continue,
                other => panic!("{path}: {other}"),
            };
            // The answer may come from the other bridge.
            self.turn += 1;
            let path = format!("/api/health/main/{}", self.shard);
            let status = self.post(&path).await;
            assert!(matches!(status, 204 | 503), "{path}: {status}");
            if stop.load(Ordering::Relaxed) {
                return (self.shard, state.to_string());
            }
            state = 2 + (state - 1) % 5;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", CLIENTS)]).await;
    let ports = [free_port(), free_port()];
    let mut bridges = ports.map(|port| start(port, &server));
    for port in ports {
        wait_ready(port).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut bots = JoinSet::new();
    for shard in 0..CLIENTS {
        let bot = Bot {
            shard,
            ports,
            turn: shard as usize,
            connection: None,
        };
        bots.spawn(bot.run(over.clone(), acknowledged.clone()));
    }
    for _ in 0..ROUNDS {
        for (bridge, port) in bridges.iter_mut().zip(ports) {
            let before = acknowledged.load(Ordering::Relaxed);
            eventually(LIMIT, async || {
                let now = acknowledged.load(Ordering::Relaxed);
                (now > before + 50).then_some(())
            })
            .await;
            stop(bridge).await;
            *bridge = start(port, &server);
            wait_ready(port).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(bot) = bots.join_next().await {
        let (shard, state) = bot.unwrap();
        assert_eq!(stored(&server, "main", shard).await, Some(state));
    }
    let context = async_nats::jetstream::new(server.client().await);
    let stream = context.get_stream(bucket::STATES).await.unwrap();
    let stored = stream.cached_info().state.last_sequence;
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert!(
        stored >= acknowledged,
        "{acknowledged} acknowledged, {stored} stored"
    );
    for bridge in &mut bridges {
        stop(bridge).await;
    }
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_stop() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let port = free_port();
    let mut bridge = start(port, &server);
    wait_ready(port).await;
    let mut head = Client::connect(port).await;
    head.write(b"POST /api/status/main/0/3 HTTP/1.1\r\nho")
        .await;
    let mut body = Client::connect(port).await;
    let expect = [("expect", "100-continue")];
    body.send_head("POST", "/api/report", &expect, 100).await;
    assert_eq!(body.answer("POST").await.status, 100);
    bridge.signal(Signal::TERM);
    let status = bridge.wait_exit(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(0), "{}", bridge.output());
}
