//! A cluster of nats-servers that loses nodes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use glance_testing::{NatsCluster, NatsServer, Proxy, Signal, eventually};

/// An election takes nats-server up to ten seconds, and the loss of a node may need two, one after the other.
const LIMIT: Duration = Duration::from_secs(60);

/// Creates a stream with three replicas and stores one message in it.
async fn store_one(cluster: &NatsCluster) {
    let jetstream = jetstream::new(cluster.client().await);
    jetstream
        .create_stream(stream::Config {
            name: "KEPT".to_owned(),
            subjects: vec!["kept".to_owned()],
            num_replicas: 3,
            ..Default::default()
        })
        .await
        .unwrap();
    let acknowledgement = jetstream.publish("kept", "it".into()).await.unwrap();
    acknowledgement.await.unwrap();
}

/// How many messages the stream has, as a client of one node is told.
async fn messages(server: &NatsServer) -> Option<u64> {
    let client = async_nats::connect(server.url()).await.ok()?;
    let mut stream = jetstream::new(client).get_stream("KEPT").await.ok()?;
    Some(stream.info().await.ok()?.state.messages)
}

async fn leader(cluster: &NatsCluster) -> usize {
    eventually(LIMIT, async || cluster.leader_of("KEPT").await).await
}

#[tokio::test]
async fn a_stream_outlives_its_leader_killed_and_paused() {
    let mut cluster = NatsCluster::start(3).await;
    store_one(&cluster).await;

    let killed = leader(&cluster).await;
    cluster.kill(killed);
    let next = eventually(LIMIT, async || {
        let leader = cluster.leader_of("KEPT").await;
        leader.filter(|it| *it != killed)
    })
    .await;
    assert_eq!(messages(cluster.node(next)).await, Some(1));

    cluster.restart(killed).await;
    cluster.settled(LIMIT).await;

    let paused = leader(&cluster).await;
    cluster.signal(paused, Signal::STOP);
    eventually(LIMIT, async || {
        let leader = cluster.leader_of("KEPT").await;
        leader.filter(|it| *it != paused)
    })
    .await;
    cluster.signal(paused, Signal::CONT);
    cluster.settled(LIMIT).await;
    for index in 0..3 {
        let server = cluster.node(index);
        eventually(LIMIT, async || messages(server).await.filter(|it| *it == 1)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_loss_of_all_nodes() {
    let mut cluster = NatsCluster::start(3).await;
    store_one(&cluster).await;
    for index in 0..3 {
        cluster.kill(index);
    }
    assert_eq!(cluster.leader_of("KEPT").await, None);
    for index in 0..3 {
        cluster.restart(index).await;
    }
    cluster.settled(LIMIT).await;
    let server = cluster.node(leader(&cluster).await);
    assert_eq!(messages(server).await, Some(1));
}

#[tokio::test]
async fn clients_are_not_led_around_a_proxy() {
    let cluster = NatsCluster::start(3).await;
    assert_eq!(cluster.url().split(',').count(), 3);
    assert_eq!(cluster.leader_of("NOBODY").await, None);
    for index in 0..3 {
        let proxy = Proxy::start(cluster.node(index).port()).await;
        let client = async_nats::connect(proxy.url()).await.unwrap();
        let info = client.server_info();
        assert_eq!(info.server_name, format!("node-{index}"));
        assert_eq!(info.connect_urls, Vec::<String>::new());
    }
}
