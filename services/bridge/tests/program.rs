//! The built program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{Client, LIMIT, set_up, stored, wait_ready};
use glance_testing::{NatsServer, Process, ProcessBuilder, Signal, eventually, free_port};
use tokio::{net::TcpListener, time::timeout};

fn program(port: u16, nats_url: &str) -> ProcessBuilder {
    Process::at(env!("CARGO_BIN_EXE_glance-bridge"))
        .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
        .env("GLANCE_BRIDGE_PORT", port.to_string())
        .env("GLANCE_NATS_URL", nats_url)
}

#[tokio::test]
async fn serves_and_ends_on_sigterm() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let port = free_port();
    let mut process = program(port, &server.url()).start();
    process.wait_for_line("listening on", LIMIT).await;
    process
        .wait_for_line("GLANCE_PASSPHRASE is not set", LIMIT)
        .await;
    wait_ready(port).await;
    let mut client = Client::connect(port).await;
    client
        .send("POST", "/api/status/main/1/3", &[], b"")
        .await
        .assert_accepted();
    assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
    client
        .send("GET", "/nope", &[], b"")
        .await
        .assert_error(404, "there is nothing here");
    client
        .send("POST", "/api/status/main/x/3", &[], b"")
        .await
        .assert_error(404, "there is nothing here");
    process.signal(Signal::TERM);
    assert_eq!(
        process.wait_exit(LIMIT).await.code(),
        Some(0),
        "{}",
        process.output()
    );
    assert_eq!(stored(&server, "main", 1).await.as_deref(), Some("3"));
}

/// The fault that the fault tests have to notice, and what makes it one.
#[cfg(feature = "faults")]
#[tokio::test]
async fn a_mutation_answers_before_the_acknowledgement() {
    for (mutation, status) in [("early-answer", 204), ("", 503)] {
        let mut server = NatsServer::start().await;
        set_up(&server, &[("main", 4)]).await;
        let port = free_port();
        let mut process = program(port, &server.url())
            .env("GLANCE_MUTATION", mutation)
            .start();
        process.wait_for_line("listening on", LIMIT).await;
        wait_ready(port).await;
        server.signal(Signal::STOP);
        let mut client = Client::connect(port).await;
        let answer = client.send("POST", "/api/status/main/1/3", &[], b"").await;
        assert_eq!(answer.status, status, "{mutation}");
    }
}

#[tokio::test]
async fn answers_while_it_waits_for_the_broker() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    server.kill();
    let port = free_port();
    let mut process = program(port, &server.url())
        .env("GLANCE_PASSPHRASE", "hunter2")
        .start();
    process.wait_for_line("listening on", LIMIT).await;
    let mut client = Client::connect(port).await;
    let path = "/api/status/main/1/3";
    let headers = [("authorization", "hunter2")];
    assert_eq!(client.send("GET", path, &[], b"").await.status, 405);
    assert_eq!(client.send("POST", path, &[], b"").await.status, 401);
    let answer = client.send("POST", path, &headers, b"ignored").await;
    answer.assert_error(503, "the broker cannot be reached, please try again");
    assert_eq!(client.send("GET", "/healthz", &[], b"").await.status, 200);
    assert_eq!(client.send("GET", "/readyz", &[], b"").await.status, 503);
    server.restart().await;
    wait_ready(port).await;
    let mut client = Client::connect(port).await;
    let answer = client.send("POST", path, &headers, b"").await;
    answer.assert_accepted();
    process.signal(Signal::INT);
    assert_eq!(process.wait_exit(LIMIT).await.code(), Some(0));
    assert!(
        !process.output().contains("hunter2"),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn can_be_stopped_while_it_waits_for_the_broker() {
    let url = format!("nats://127.0.0.1:{}", free_port());
    let mut process = program(free_port(), &url).start();
    process.wait_for_line("waiting for the broker", LIMIT).await;
    process.signal(Signal::TERM);
    let limit = Duration::from_secs(5);
    assert_eq!(
        process.wait_exit(limit).await.code(),
        Some(0),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn a_taken_port_and_an_odd_passphrase_are_configuration_errors() {
    let server = NatsServer::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut process = program(port, &server.url()).start();
    assert_eq!(process.wait_exit(LIMIT).await.code(), Some(2));
    assert!(
        process.output().contains("GLANCE_BRIDGE_PORT"),
        "{}",
        process.output()
    );
    let mut process = program(free_port(), &server.url())
        .env("GLANCE_PASSPHRASE", "  ")
        .start();
    assert_eq!(process.wait_exit(LIMIT).await.code(), Some(2));
    assert!(
        process.output().contains("GLANCE_PASSPHRASE"),
        "{}",
        process.output()
    );
}

/// The client tries twice a second; the log says it once in ten.
#[tokio::test]
async fn the_log_stays_short_while_the_broker_is_away() {
    let mut server = NatsServer::start().await;
    set_up(&server, &[("main", 4)]).await;
    let port = free_port();
    let mut process = program(port, &server.url()).start();
    process.wait_for_line("the clusters are", LIMIT).await;
    let before = process.lines_printed();
    server.kill();
    let place = TcpListener::bind(("127.0.0.1", server.port()))
        .await
        .unwrap();
    for _ in 0..6 {
        // Each attempt ends at once.
        timeout(LIMIT, place.accept()).await.unwrap().unwrap();
    }
    drop(place);
    let while_away = process.lines_printed() - before;
    assert!(while_away <= 2, "{}", process.output());

    let refusing = "authorization { user: somebody, password: else }";
    server.restart_with(refusing).await;
    eventually(LIMIT, async || {
        let refusals = server.log().matches("authentication error").count();
        (refusals >= 4).then_some(())
    })
    .await;
    let output = process.output();
    let refused = "the broker refuses the login; trying again, check GLANCE_NATS_USER";
    assert_eq!(output.matches(refused).count(), 1, "{output}");
    assert!(process.lines_printed() - before <= 5, "{output}");
}
