//! `glance` from its start to its end, with a broker of its own.

mod support;

use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use glance_testing::{NatsServer, Process, Signal, eventually};
use hyper::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use support::{Glance, LIMIT, children, glance, kill, runs, wait_for_end};

/// A shard that has reported is seen in the snapshot on the same port, and an orderly stop ends everything.
#[tokio::test(flavor = "multi_thread")]
async fn one_port_serves_page_and_bots() {
    let data = tempfile::tempdir().unwrap();
    let mut glance = Glance::start(glance(data.path())).await;

    let (status, page) = glance.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&page).contains("<html"));
    assert_eq!(glance.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(glance.get("/readyz").await.0, StatusCode::OK);
    assert_eq!(glance.get("/nowhere").await.0, StatusCode::NOT_FOUND);
    glance.wait_for_states("main", "0000").await;

    glance
        .post_until_accepted("/api/status/main/2/3", LIMIT)
        .await;
    glance.wait_for_states("main", "0030").await;

    let server = glance.server(None).await;
    glance.process.signal(Signal::TERM);
    assert_eq!(glance.process.wait_exit(LIMIT).await.code(), Some(0));
    assert!(!runs(server), "the broker outlived an orderly stop");
}

/// The command that is printed works as it is, in a shell, with the passphrase kept out of sight.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_curl_turns_a_shard_green() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: there is no curl on this machine");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let glance = Glance::start(glance(data.path()).env("GLANCE_PASSPHRASE", "open sesame")).await;
    assert!(!glance.process.output().contains("open sesame"));

    let mut shell = Process::at("/bin/sh")
        .args([
            "-c",
            &format!("{} --fail --silent --show-error", glance.curl),
        ])
        .env("GLANCE_PASSPHRASE", "open sesame")
        .start();
    assert!(shell.wait_exit(LIMIT).await.success(), "{}", shell.output());
    glance.wait_for_states("main", "3000").await;
}

/// A viewer is told that the server goes away (close code 1001), so that it comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_told_goodbye() {
    let data = tempfile::tempdir().unwrap();
    let mut glance = Glance::start(glance(data.path())).await;
    let address = glance.site.trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(&address).await.unwrap();
    let url = format!("ws://{address}/api/feed");
    let (mut feed, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let hello = feed.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(
        hello.starts_with(r#"{"op":"hello","payload":{"main":{"len":4}"#),
        "{hello}"
    );

    glance.process.signal(Signal::TERM);
    let goodbye = async {
        loop {
            match feed.next().await.unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code,
                _ => continue,
            }
        }
    };
    let code = tokio::time::timeout(LIMIT, goodbye).await.unwrap();
    assert_eq!(code, CloseCode::Away);
    // As browsers do: reading on sends the answer to the goodbye, which the server waits for.
    while let Some(Ok(_)) = feed.next().await {}
    assert_eq!(glance.process.wait_exit(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_is_an_orderly_stop() {
    let data = tempfile::tempdir().unwrap();
    let mut glance = Glance::start(glance(data.path())).await;
    glance.process.signal(Signal::INT);
    assert_eq!(glance.process.wait_exit(LIMIT).await.code(), Some(0));
}

/// The broker does not outlive a `glance` that was killed, and the next one shows the same table.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_forgets_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Glance::start(glance(data.path())).await;
    first
        .post_until_accepted("/api/status/main/0/3", LIMIT)
        .await;
    first
        .post_until_accepted("/api/status/main/3/4", LIMIT)
        .await;
    first
        .post_until_accepted("/api/status/demo/0/6", LIMIT)
        .await;
    first.wait_for_states("main", "3004").await;
    first.wait_for_states("demo", "6").await;
    let before = first.cluster("main").await.unwrap();
    let server = first.server(None).await;

    first.process.signal(Signal::KILL);
    // At once: the old broker may still be dying.
    let second = Glance::start(glance(data.path())).await;
    wait_for_end(server).await;

    let after = second.cluster("main").await.unwrap();
    for column in ["total", "states", "previous", "since"] {
        assert_eq!(before[column], after[column], "{column}");
    }
    second.wait_for_states("demo", "6").await;
}

/// A broker that dies is started again on the same port, and the services go on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let mut glance = Glance::start(glance(data.path())).await;
    glance
        .post_until_accepted("/api/status/main/0/3", LIMIT)
        .await;
    glance.wait_for_states("main", "3000").await;

    let server = glance.server(None).await;
    kill(server);
    let lines = glance.process.lines_printed();
    glance
        .process
        .wait_for_line_after(lines, "the broker runs again", LIMIT)
        .await;
    assert_ne!(glance.server(Some(server)).await, server);

    let limit = Duration::from_secs(10);
    glance
        .post_until_accepted("/api/status/main/1/3", limit)
        .await;
    glance.wait_for_states("main", "3300").await;
    async_nats::connect(&glance.broker).await.unwrap();
}

/// A program that takes the port while the broker is down might be another broker: nothing is written there.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_lost_ends_it() {
    let data = tempfile::tempdir().unwrap();
    let mut glance = Glance::start(glance(data.path())).await;
    let address = glance.broker.trim_start_matches("nats://").to_owned();
    kill(glance.server(None).await);
    // Far faster than the shortest pause before a restart.
    let _thief = eventually(LIMIT, async || TcpListener::bind(&address).await.ok()).await;

    let status = glance.process.wait_exit(LIMIT).await;
    assert_eq!(status.code(), Some(1), "{}", glance.process.output());
    let line = glance
        .process
        .wait_for_line("took the broker's port", LIMIT)
        .await;
    assert!(line.contains("address already in use"), "{line}");
}

/// With a broker given it starts none, and makes no data directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_given_is_used() {
    let server = NatsServer::start().await;
    let data = tempfile::tempdir().unwrap();
    let unused = data.path().join("unused");
    let mut glance = Glance::start(glance(&unused).env("GLANCE_NATS_URL", server.url())).await;
    assert_eq!(glance.broker, server.url());
    glance
        .post_until_accepted("/api/status/main/1/3", LIMIT)
        .await;
    glance.wait_for_states("main", "0300").await;
    assert!(children(glance.process.id()).is_empty());
    assert!(!unused.exists());

    glance.process.signal(Signal::TERM);
    assert_eq!(glance.process.wait_exit(LIMIT).await.code(), Some(0));
}
