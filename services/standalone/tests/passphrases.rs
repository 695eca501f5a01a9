//! The passphrases of `glance`, which are read again while it runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use futures::StreamExt;
use glance_testing::Signal;
use hyper::{Method, StatusCode};
use support::{Glance, LIMIT, glance};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Exchanges the file as an editor does, with a new one in its place.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
}

/// What a report of shard 1 of `main` is answered with this passphrase.
async fn report(glance: &Glance, passphrase: &str, state: u8) -> StatusCode {
    let path = format!("/api/status/main/1/{state}");
    let answer = glance.ask_as(passphrase, Method::POST, &path).await;
    answer.unwrap().0
}

/// Changes the file and says so; waits for a line of the log with this text.
async fn reload(glance: &mut Glance, file: &Path, text: &str, line: &str) {
    write(file, text);
    let lines = glance.process.lines_printed();
    glance.process.signal(Signal::HUP);
    let told = glance.process.wait_for_line_after(lines, line, LIMIT);
    told.await;
}

/// Viewers and the broker notice nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn sighup_exchanges_the_passphrases() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("passphrases");
    write(&file, "* the old one\n");
    let builder = glance(&data.path().join("broker")).env("GLANCE_PASSPHRASES_FILE", &file);
    let mut glance = Glance::start(builder).await;
    glance.wait_for_states("main", "0000").await;
    let feed = glance.site.replace("http://", "ws://") + "/api/feed";
    let (mut viewer, _) = tokio_tungstenite::connect_async(feed).await.unwrap();
    let broker = glance.server(None).await;
    assert_eq!(
        report(&glance, "the old one", 3).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        report(&glance, "the new one", 4).await,
        StatusCode::UNAUTHORIZED
    );
    glance.wait_for_states("main", "0300").await;

    reload(&mut glance, &file, "main the new one\n", "passphrases: 1").await;
    assert_eq!(
        report(&glance, "the old one", 2).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        report(&glance, "the new one", 4).await,
        StatusCode::NO_CONTENT
    );
    let demo = "/api/status/demo/0/3";
    let elsewhere = glance.ask_as("the new one", Method::POST, demo).await;
    assert_eq!(elsewhere.unwrap().0, StatusCode::UNAUTHORIZED);
    glance.wait_for_states("main", "0400").await;

    // What is wrong changes nothing.
    let line = "line 1 has no scope";
    reload(&mut glance, &file, "hunter2hunter2\n", line).await;
    assert_eq!(
        report(&glance, "the new one", 5).await,
        StatusCode::NO_CONTENT
    );
    glance.wait_for_states("main", "0500").await;

    // The same viewer was told of all that was taken, and of nothing else.
    let mut told = Vec::new();
    while told.len() < 3 {
        let next = timeout(LIMIT, viewer.next()).await.unwrap();
        if let Message::Text(text) = next.unwrap().unwrap() {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            if frame["op"] == "state_update" {
                told.push(frame["payload"]["state"].as_u64().unwrap());
            }
        }
    }
    assert_eq!(told, [3, 4, 5]);
    assert_eq!(glance.server(None).await, broker);

    glance.process.signal(Signal::TERM);
    assert_eq!(glance.process.wait_exit(LIMIT).await.code(), Some(0));
    let output = glance.process.output();
    for secret in ["the old one", "the new one", "hunter2"] {
        assert!(!output.contains(secret), "{output}");
    }
}
