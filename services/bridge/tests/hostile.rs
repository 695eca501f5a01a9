//! Clients that mean harm, against the real program. After each, it runs, its memory is bounded, and bots are served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant};

use common::{Client, LIMIT, set_up, wait_ready};
use glance_testing::{NatsServer, Process, free_port};

/// More than a program that is built for tests takes for the few megabytes of bodies that are held here.
const SLACK_KIB: u64 = 60 * 1024;
/// How long a body may take, and what is left unread of it.
const BODY_MAX: Duration = Duration::from_secs(17);

struct Scene {
    _server: NatsServer,
    program: Process,
    port: u16,
    rss_kib: u64,
}

impl Scene {
    async fn start() -> Self {
        let server = NatsServer::start().await;
        set_up(&server, &[("main", 4)]).await;
        let port = free_port();
        let program = Process::at(env!("CARGO_BIN_EXE_glance-bridge"))
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", port.to_string())
            .env("GLANCE_NATS_URL", server.url())
            .start();
        let mut scene = Self {
            _server: server,
            program,
            port,
            rss_kib: 0,
        };
        scene.program.wait_for_line("listening on", LIMIT).await;
        wait_ready(port).await;
        scene.bots_are_served().await;
        scene.rss_kib = scene.program.resident_kib();
        scene
    }

    async fn bots_are_served(&mut self) {
        let mut bot = Client::connect(self.port).await;
        let status = bot.send("POST", "/api/status/main/1/3", &[], b"").await;
        status.assert_accepted();
        let health = bot.send("POST", "/api/health/main/1", &[], b"").await;
        health.assert_accepted();
        let report = br#"{"cluster":"main","shards":[{"id":1,"state":3}]}"#;
        let report = bot.send("POST", "/api/report", &[], report).await;
        assert_eq!(report.status, 200, "{report:?}");
        assert!(self.program.exited().is_none());
        let output = self.program.output();
        assert!(!output.contains("panicked"), "{output}");
        if self.rss_kib > 0 {
            let grown = self.program.resident_kib().saturating_sub(self.rss_kib);
            println!("{grown} KiB more");
            assert!(grown < SLACK_KIB, "{grown} KiB more");
        }
    }
}

/// One byte a second for ever is cut by a bound on the whole.
#[tokio::test]
async fn bodies_that_come_slowly() {
    let mut scene = Scene::start().await;
    let mut slow = Vec::new();
    for path in ["/api/report", "/api/status/main/1/3"] {
        let mut client = Client::connect(scene.port).await;
        client.send_head("POST", path, &[], 1000).await;
        slow.push(client);
    }
    // Many that say they have much to send, and do not.
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(scene.port).await;
        client
            .send_head("POST", "/api/report", &[], 512 * 1024)
            .await;
        silent.push(client);
    }
    scene.bots_are_served().await;
    // What ignores its body has an answer at once.
    let [report, status] = &mut slow[..] else {
        unreachable!("there are two");
    };
    status.answer("POST").await.assert_accepted();
    let start = Instant::now();
    let drip = async |client: &mut Client| {
        while start.elapsed() < BODY_MAX && client.try_write(b"1").await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        start.elapsed()
    };
    let ignored = drip(status).await;
    let answer = report.answer("POST").await;
    assert_eq!(answer.status, 408, "{answer:?}");
    let read = drip(report).await;
    println!("ignored and closed after {ignored:?}; 408, and closed after {read:?}");
    assert!(
        ignored < BODY_MAX && read < BODY_MAX,
        "{ignored:?} {read:?}"
    );
    scene.bots_are_served().await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_none() {
    let mut scene = Scene::start().await;
    let chunked = [("transfer-encoding", "chunked")];
    let length = |length: &'static str| [("content-length", length)];
    let chunk = [b"8000\r\n".to_vec(), vec![b'x'; 0x8000], b"\r\n".to_vec()].concat();
    for (what, headers, body, status) in [
        ("a length of 1 TB", length("1000000000000"), vec![], 413),
        (
            "a length beyond any number",
            length("99999999999999999999999"),
            vec![],
            400,
        ),
        // Not much more, as who still sends when the connection is closed may not see the answer.
        ("too much in chunks", chunked, chunk.repeat(17), 413),
        ("chunks that are none", chunked, b"xyz\r\n".to_vec(), 400),
        ("deep JSON", length("200000"), b"[".repeat(200_000), 400),
    ] {
        let mut client = Client::connect(scene.port).await;
        client.send_head("POST", "/api/report", &headers, 0).await;
        client.try_write(&body).await;
        let answer = client.answer("POST").await;
        println!("{what}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        scene.bots_are_served().await;
    }
}
