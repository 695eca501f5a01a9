//! What `glance` refuses to start with: exit code 2 and one sentence that names the setting, the entry and the fix.

mod support;

use std::net::TcpListener;
use std::path::Path;

use glance_testing::ProcessBuilder;
use support::{Glance, LIMIT, glance};

/// Runs it to its end and returns the sentence.
async fn refusal(builder: ProcessBuilder) -> String {
    let mut process = builder.start();
    let status = process.wait_exit(LIMIT).await;
    let line = process.wait_for_line("glance: ", LIMIT).await;
    assert_eq!(status.code(), Some(2), "{}", process.output());
    line
}

fn holds(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no '{part}' in: {sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named() {
    let data = tempfile::tempdir().unwrap();
    for (variable, value, entry) in [
        ("GLANCE_BOTS", "main:4;main:5", "main"),
        ("GLANCE_BOTS", "main:4;:5", ":5"),
        ("GLANCE_BOTS", "main:0", "main:0"),
        ("GLANCE_BOTS", "main:x", "main:x"),
        ("GLANCE_BOTS", "main", "main"),
        ("GLANCE_BOTS", "ma.in:4", "ma.in"),
        ("GLANCE_BOTS", ";", ""),
        ("GLANCE_HEALTH_TIMEOUT", "soon", "soon"),
        ("GLANCE_HEALTH_TIMEOUT", "30;nope:9", "nope"),
        ("GLANCE_PORT", "70000", "70000"),
        ("GLANCE_PORT", "http", "http"),
        ("GLANCE_LOG_FORMAT", "xml", "xml"),
    ] {
        let sentence = refusal(glance(data.path()).env(variable, value)).await;
        holds(&sentence, &[variable, entry]);
    }
    assert_eq!(
        data.path().read_dir().unwrap().count(),
        0,
        "something was started before the settings were checked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bots_are_required() {
    let data = tempfile::tempdir().unwrap();
    let sentence = refusal(glance(data.path()).env("GLANCE_BOTS", "")).await;
    holds(&sentence, &["GLANCE_BOTS", "required"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_broker_address_keeps_its_password() {
    let data = tempfile::tempdir().unwrap();
    let builder = glance(data.path()).env("GLANCE_NATS_URL", "nats://me:hunter2@");
    let sentence = refusal(builder).await;
    holds(&sentence, &["GLANCE_NATS_URL"]);
    assert!(!sentence.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_owner() {
    let data = tempfile::tempdir().unwrap();
    let first = Glance::start(glance(data.path())).await;
    let sentence = refusal(glance(data.path())).await;
    holds(
        &sentence,
        &[
            "GLANCE_DATA_DIR",
            data.path().to_str().unwrap(),
            "another glance",
        ],
    );
    first.wait_for_states("main", "0000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let sentence = refusal(glance(file.path())).await;
    holds(
        &sentence,
        &["GLANCE_DATA_DIR", file.path().to_str().unwrap()],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let sentence = refusal(glance(data.path()).env("GLANCE_PORT", &port)).await;
    holds(&sentence, &["GLANCE_PORT", &port]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_to_start() {
    let data = tempfile::tempdir().unwrap();
    let empty = data.path().to_str().unwrap();
    let builder = glance(&data.path().join("data"));
    let sentence = refusal(builder.env("GLANCE_NATS_SERVER", "").env("PATH", empty)).await;
    holds(
        &sentence,
        &["GLANCE_NATS_SERVER", "install nats-server 2.10.8 or newer"],
    );

    let builder = glance(&data.path().join("data"));
    let sentence = refusal(builder.env("GLANCE_NATS_SERVER", Path::new("/no/such"))).await;
    holds(&sentence, &["GLANCE_NATS_SERVER", "/no/such", "2.10.8"]);
}
