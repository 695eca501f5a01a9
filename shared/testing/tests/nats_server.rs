//! The nats-server that the other tests build on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use glance_testing::{NatsServer, Signal, eventually};

const LIMIT: Duration = Duration::from_secs(10);

async fn stream(server: &NatsServer) -> stream::Stream {
    jetstream::new(server.client().await)
        .get_or_create_stream(stream::Config {
            name: "KEPT".to_owned(),
            subjects: vec!["kept".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap()
}

async fn store_one(server: &NatsServer) {
    stream(server).await;
    let jetstream = jetstream::new(server.client().await);
    jetstream
        .publish("kept", "it".into())
        .await
        .unwrap()
        .await
        .unwrap();
}

async fn messages(server: &NatsServer) -> u64 {
    stream(server).await.info().await.unwrap().state.messages
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_a_stop() {
    let mut server = NatsServer::start().await;
    let (port, url) = (server.port(), server.url());
    store_one(&server).await;

    server.kill();
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;
    assert_eq!((server.port(), messages(&server).await), (port, 1));

    server.stop().await;
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;
    assert_eq!(messages(&server).await, 1);
}

#[tokio::test]
async fn a_deleted_store_is_empty() {
    let mut server = NatsServer::start().await;
    store_one(&server).await;
    server.kill();
    server.delete_store();
    server.restart().await;
    assert_eq!(messages(&server).await, 0);
}

#[tokio::test]
async fn jetstream_can_be_away_and_come_back() {
    let mut server = NatsServer::start().await;
    let port = server.port();
    store_one(&server).await;

    server.restart_without_jetstream().await;
    let client = server.client().await;
    client.publish("x", "core NATS works".into()).await.unwrap();
    client.flush().await.unwrap();
    let jetstream = jetstream::new(client);
    assert!(jetstream.query_account().await.is_err());

    server.restart().await;
    assert_eq!((server.port(), messages(&server).await), (port, 1));
}

#[tokio::test]
async fn a_restart_can_change_the_configuration_once() {
    let mut server = NatsServer::start_with("max_payload: 100KB").await;
    let max_payload = async |server: &NatsServer| server.client().await.server_info().max_payload;
    assert_eq!(max_payload(&server).await, 100 * 1024);
    server.restart_with("max_payload: 10KB").await;
    assert_eq!(max_payload(&server).await, 10 * 1024);
    server.restart().await;
    assert_eq!(max_payload(&server).await, 100 * 1024);
}

#[tokio::test]
async fn servers_do_not_see_each_other() {
    let (first, second) = tokio::join!(NatsServer::start(), NatsServer::start());
    assert_ne!(first.port(), second.port());
    store_one(&first).await;
    assert_eq!(messages(&second).await, 0);
}

#[tokio::test]
async fn a_paused_server_answers_again_when_it_goes_on() {
    let mut server = NatsServer::start().await;
    let client = server.client().await;
    server.signal(Signal::STOP);
    let flushed = tokio::time::timeout(Duration::from_millis(100), async {
        client.publish("x", "".into()).await.unwrap();
        jetstream::new(client.clone()).query_account().await
    });
    assert!(flushed.await.is_err());
    server.signal(Signal::CONT);
    eventually(LIMIT, async || {
        jetstream::new(client.clone()).query_account().await.ok()
    })
    .await;
}

#[tokio::test]
async fn dropping_the_server_ends_it_and_removes_its_store() {
    let server = NatsServer::start().await;
    let url = server.url();
    drop(server);
    assert!(async_nats::connect(url).await.is_err());
}

#[tokio::test]
async fn extra_configuration_counts() {
    let server = NatsServer::start_with("max_connections: 1").await;
    // The server may still hold the connection that saw it ready.
    let connect = async || async_nats::connect(server.url()).await.ok();
    let _first = eventually(LIMIT, connect).await;
    assert!(async_nats::connect(server.url()).await.is_err());
}

#[tokio::test]
#[should_panic(expected = "no_such_option")]
async fn a_bad_configuration_is_shown() {
    NatsServer::start_with("no_such_option: 1").await;
}
