//! The built program: how it starts, serves and stops.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use glance_testing::{NatsServer, Process, Signal, eventually};
use support::{Aggregator, Answer, online};

const PROGRAM: &str = env!("CARGO_BIN_EXE_glance-web");
const LIMIT: Duration = Duration::from_secs(20);

async fn address(program: &mut Process) -> SocketAddr {
    let line = program.wait_for_line("listening on http://", LIMIT).await;
    let address = line.split("http://").nth(1).unwrap();
    address.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn serves_and_stops_on_a_signal() {
    let server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 3)]).await;
    let mut program = Process::at(PROGRAM)
        .args(["--host", "127.0.0.1", "--port", "0"])
        .env("GLANCE_NATS_URL", server.url())
        .start();
    let address = address(&mut program).await;
    let ready = "GET /readyz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    eventually(LIMIT, async || {
        (support::raw(address, ready).await.status == 200).then_some(())
    })
    .await;
    let url = format!("ws://{address}/api/feed");
    let mut viewer = support::Viewer(tokio_tungstenite::connect_async(url).await.unwrap().0);
    assert!(viewer.text().await.contains(r#""main":{"len":3}"#));
    program.signal(Signal::TERM);
    assert_eq!(viewer.close_code().await, 1001);
    assert_eq!(
        program.wait_exit(LIMIT).await.code(),
        Some(0),
        "{}",
        program.output()
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_one_sentence() {
    for (flags, variable) in [
        (["--page-dir", "/nowhere/at/all"], "GLANCE_PAGE_DIR"),
        (["--host", "no.such.host.invalid"], "GLANCE_HOST"),
        (["--port", "many"], "GLANCE_PORT"),
        (["--viewers-max", "0"], "GLANCE_VIEWERS_MAX"),
        (["--feed-origins", "example.org"], "GLANCE_FEED_ORIGINS"),
        (
            ["--frame-origins", "https://a.org/"],
            "GLANCE_FRAME_ORIGINS",
        ),
        (["--frame-origins", "http://[::1]"], "IPv6"),
        (["--page-origins", "http://a_b"], "GLANCE_PAGE_ORIGINS"),
        (
            ["--trusted-proxies", "10.0.0.0/33"],
            "GLANCE_TRUSTED_PROXIES",
        ),
        (
            ["--client-connections-max", "some"],
            "GLANCE_CLIENT_CONNECTIONS_MAX",
        ),
        (["--connections-max", "0"], "GLANCE_CONNECTIONS_MAX"),
    ] {
        let mut program = Process::at(PROGRAM).args(flags).start();
        assert_eq!(
            program.wait_exit(LIMIT).await.code(),
            Some(2),
            "{}",
            program.output()
        );
        program.wait_for_line(variable, LIMIT).await;
        let output = program.output();
        assert_eq!(output.trim().lines().count(), 1, "{output}");
    }
}

async fn start(server: &NatsServer) -> (Process, SocketAddr) {
    let mut program = Process::at(PROGRAM)
        .args(["--host", "127.0.0.1", "--port", "0"])
        .env("GLANCE_NATS_URL", server.url())
        .start();
    let address = address(&mut program).await;
    (program, address)
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    support::raw(address, &request).await
}

/// As on a stalled machine: it has missed ten seconds, and shows the present right after.
#[tokio::test]
async fn a_pause_is_caught_up_with_at_once() {
    const PAUSE: Duration = Duration::from_secs(10);
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 2)]).await;
    let (mut program, address) = start(&server).await;
    eventually(LIMIT, async || {
        aggregator.pulse("main", &[], &[]).await;
        (get(address, "/readyz").await.text() == "ready\n").then_some(())
    })
    .await;
    program.signal(Signal::STOP);
    let paused = Instant::now();
    while paused.elapsed() < PAUSE {
        aggregator.at_ms += 1000;
        aggregator.put("main", 0, vec![online(); 2]).await;
        aggregator.pulse("main", &[0, 1], &[]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    program.signal(Signal::CONT);
    let table = eventually(Duration::from_secs(2), async || {
        let table = get(address, "/api/snapshot").await.json();
        (table["clusters"][0]["states"] == "33").then_some(table)
    })
    .await;
    let age = table["now"].as_f64().unwrap() - table["heard"].as_f64().unwrap();
    assert!((0.0..2.0).contains(&age), "{table}");
    assert_eq!(get(address, "/readyz").await.text(), "ready\n");
}

/// The broker goes first, as when a whole machine is stopped.
#[tokio::test]
async fn a_stop_without_a_broker_takes_no_longer() {
    for kill in [true, false] {
        let mut server = NatsServer::start().await;
        Aggregator::start(&server, &[("main", 2)]).await;
        let (mut program, address) = start(&server).await;
        eventually(LIMIT, async || {
            (get(address, "/readyz").await.status == 200).then_some(())
        })
        .await;
        match kill {
            true => server.kill(),
            false => server.signal(Signal::STOP),
        }
        let asked = Instant::now();
        program.signal(Signal::TERM);
        let code = program.wait_exit(LIMIT).await.code();
        assert_eq!(code, Some(0), "{}", program.output());
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(1500), "{took:?}");
    }
}

/// Its head will never be complete.
#[tokio::test]
async fn a_client_with_half_a_request_does_not_hold_up_a_stop_for_long() {
    let server = NatsServer::start().await;
    Aggregator::start(&server, &[("main", 2)]).await;
    let (mut program, address) = start(&server).await;
    eventually(LIMIT, async || {
        (get(address, "/readyz").await.status == 200).then_some(())
    })
    .await;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HT")
        .await
        .unwrap();
    // It is served: who is accepted after it has an answer.
    assert_eq!(get(address, "/healthz").await.status, 200);
    let asked = Instant::now();
    program.signal(Signal::TERM);
    let code = program.wait_exit(LIMIT).await.code();
    assert_eq!(code, Some(0), "{}", program.output());
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
}
