//! The built program: how it starts, serves and stops.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::{net::SocketAddr, time::Duration};

use glance_testing::{NatsServer, Process, Signal, eventually};
use support::Aggregator;

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
