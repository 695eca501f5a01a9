//! A broker that refuses the login for a while, as in the middle of a change of a password.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, time::Duration};

use glance_runner::{Broker, BrokerOptions, Shutdown};
use glance_testing::{NatsServer, eventually};
use tempfile::NamedTempFile;

const LIMIT: Duration = Duration::from_secs(30);

fn authorization(password: &str) -> String {
    format!("authorization {{ user: bob, password: {password} }}")
}

async fn connected(server: &NatsServer, file: &NamedTempFile) -> Broker {
    let options = BrokerOptions {
        nats_url: Some(server.url().parse().unwrap()),
        nats_user: Some("bob".to_owned()),
        nats_password_file: Some(file.path().to_owned()),
        ..BrokerOptions::default()
    };
    Broker::connect("test", &options, &Shutdown::new())
        .await
        .unwrap()
}

async fn is_back(broker: &Broker) {
    eventually(LIMIT, async || {
        broker.link().borrow().connected.then_some(())
    })
    .await;
    broker.client.flush().await.unwrap();
}

#[tokio::test]
async fn who_was_refused_comes_back_with_the_new_password() {
    let mut server = NatsServer::start_with(&authorization("first")).await;
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "first\n").unwrap();
    let broker = connected(&server, &file).await;

    server.restart_with(&authorization("second")).await;
    // Refused again and again.
    eventually(LIMIT, async || {
        let refusals = server.log().matches("authentication error").count();
        (refusals >= 3).then_some(())
    })
    .await;
    assert!(!broker.link().borrow().connected);

    fs::write(file.path(), "second\n").unwrap();
    is_back(&broker).await;
}

#[tokio::test]
async fn who_could_not_read_the_password_comes_back_with_it() {
    let mut server = NatsServer::start_with(&authorization("first")).await;
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "first\n").unwrap();
    let broker = connected(&server, &file).await;

    fs::write(file.path(), "").unwrap();
    server.restart_with("debug: true").await;
    // Attempts that end without a login.
    eventually(LIMIT, async || {
        let attempts = server.log().matches("Client connection created").count();
        (attempts >= 3).then_some(())
    })
    .await;
    assert!(!broker.link().borrow().connected);

    fs::write(file.path(), "first\n").unwrap();
    is_back(&broker).await;
}
