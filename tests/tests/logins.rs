//! Programs that log in with keys, credentials and certificates, as their settings say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use glance_testing::{Account, NatsServer, ProcessBuilder, Secrets};
use glance_tests::{LIMIT, Program, Scrape, get, post};

/// Settings, and the files that they name.
type Files<'a> = &'a [(&'a str, &'a Path)];

fn with(files: Files<'_>) -> impl Fn(ProcessBuilder) -> ProcessBuilder + '_ {
    move |program| {
        let set = |program: ProcessBuilder, (name, file): &(&str, &Path)| program.env(name, file);
        files.iter().fold(program, set)
    }
}

/// All programs log in, and a report of a bot reaches the page.
async fn all_work(url: &str, files: Files<'_>) {
    let start = |name: &str| Program::start_with(name, url, with(files));
    let programs = ["glance-aggregator", "glance-bridge", "glance-web"].map(start);
    for program in &programs {
        program.wait_ready().await;
    }
    let [aggregator, bridge, web] = &programs;
    aggregator.wait_value("glance_aggregator_leader", 1.0).await;
    assert_eq!(
        post(bridge.public, "/api/status/main/1/3").await.status,
        204
    );
    let online = "glance_aggregator_shards{cluster=\"main\",state=\"online\"}";
    aggregator.wait_value(online, 1.0).await;
    web.wait_value("glance_web_stale", 0.0).await;
    assert_eq!(get(web.public, "/api/snapshot").await.status, 200);
}

/// A program says what is wrong, waits, and is not ready meanwhile.
async fn is_refused(name: &str, url: &str, files: Files<'_>, line: &str) {
    let mut program = Program::start_with(name, url, with(files));
    program.process.wait_for_line(line, LIMIT).await;
    assert_eq!(get(program.metrics, "/readyz").await.status, 503, "{name}");
    let connected = format!("glance_broker_connected{{connection={name:?}}}");
    let scrape = Scrape::of(program.metrics).await.unwrap();
    assert_ne!(scrape.value(&connected), Some(1.0), "{name}");
    assert!(program.process.exited().is_none(), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_nkey() {
    let secrets = Secrets::new();
    let (public, right) = secrets.nkey("right");
    let (_, wrong) = secrets.nkey("wrong");
    let users = format!("authorization {{ users: [ {{nkey: {public}}} ] }}");
    let server = NatsServer::start_with(&users).await;
    let url = server.url();
    all_work(&url, &[("GLANCE_NATS_NKEY", &right)]).await;
    let line = "it refuses the login; check the file in GLANCE_NATS_NKEY";
    for name in ["glance-aggregator", "glance-bridge", "glance-web"] {
        is_refused(name, &url, &[("GLANCE_NATS_NKEY", &wrong)], line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_credentials_file() {
    let (secrets, account) = (Secrets::new(), Account::new());
    let server = NatsServer::start_with(&account.configuration).await;
    let url = server.url();
    let right = secrets.credentials("right", &account, false);
    all_work(&url, &[("GLANCE_NATS_CREDS", &right)]).await;
    let wrong = secrets.credentials("wrong", &account, true);
    let line = "it refuses the login; check the file in GLANCE_NATS_CREDS";
    for name in ["glance-aggregator", "glance-bridge", "glance-web"] {
        is_refused(name, &url, &[("GLANCE_NATS_CREDS", &wrong)], line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_of_both_sides() {
    let secrets = Secrets::new();
    let (ours, other) = (secrets.authority("ca.pem"), secrets.authority("other.pem"));
    let server = NatsServer::start_with(&secrets.tls_of_both_sides(&ours)).await;
    let url = server.url().replace("nats://", "tls://");
    let (certificate, key) = secrets.certificate(&ours, "client", "glance");
    let (by_other, key_by_other) = secrets.certificate(&other, "stranger", "glance");
    let right = [
        ("GLANCE_NATS_CA", &*ours.file),
        ("GLANCE_NATS_CERT", &certificate),
        ("GLANCE_NATS_KEY", &key),
    ];
    all_work(&url, &right).await;
    let no_certificate = [right[0]];
    let foreign_broker = [("GLANCE_NATS_CA", &*other.file), right[1], right[2]];
    let foreign_client = [
        right[0],
        ("GLANCE_NATS_CERT", &by_other),
        ("GLANCE_NATS_KEY", &key_by_other),
    ];
    let waits = "waiting for the broker at tls://";
    is_refused("glance-aggregator", &url, &no_certificate, waits).await;
    is_refused("glance-bridge", &url, &foreign_broker, waits).await;
    is_refused("glance-web", &url, &foreign_client, waits).await;
}
