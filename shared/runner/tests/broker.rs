//! The connection to a real nats-server.

// A test that cannot go on should say so at once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use glance_runner::{Broker, BrokerOptions, Shutdown, broker::Stopped};
use glance_testing::{NatsServer, free_port};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(15);

fn options(url: &str) -> BrokerOptions {
    BrokerOptions {
        nats_url: Some(url.parse().unwrap()),
        ..BrokerOptions::default()
    }
}

async fn connects(url: &str) -> bool {
    let shutdown = Shutdown::new();
    let options = options(url);
    let broker = timeout(LIMIT, Broker::connect("test", &options, &shutdown)).await;
    broker.is_ok_and(|broker| broker.unwrap().link().borrow().connected)
}

#[tokio::test]
async fn the_user_of_an_address_is_the_user_at_the_broker() {
    let server = NatsServer::start_with("authorization { user: bob, password: \"p@ss\" }").await;
    let port = server.port();
    assert!(connects(&format!("nats://bob:p%40ss@127.0.0.1:{port}")).await);
    let nobody = free_port();
    let several = format!("nats://127.0.0.1:{nobody},nats://bob:p%40ss@127.0.0.1:{port}");
    assert!(connects(&several).await);
}

#[tokio::test]
async fn a_token_is_a_user_without_a_password() {
    let server = NatsServer::start_with("authorization { token: \"s3cret\" }").await;
    assert!(connects(&format!("nats://s3cret@127.0.0.1:{}", server.port())).await);
}

#[tokio::test]
async fn who_is_told_to_stop_does_not_wait_for_the_broker() {
    let shutdown = Shutdown::new();
    let options = options(&format!("nats://127.0.0.1:{}", free_port()));
    let waiting = Broker::connect("test", &options, &shutdown);
    let (connected, ()) = tokio::join!(timeout(LIMIT, waiting), async { shutdown.trigger() });
    assert!(connected.unwrap().err().unwrap().is::<Stopped>());
}
