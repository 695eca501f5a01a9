//! What the tests on a real broker share.

// Each test uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use async_nats::{Client, jetstream};
use clap::Parser as _;
use glance_aggregator::{Aggregator, Options};
use glance_protocol::{ShardRow, TableBlock, bucket};
use glance_runner::{Broker, Ready, Shutdown};
use glance_testing::{NatsServer, eventually};

/// How long anything may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(15);

/// An aggregator in this process, and a client of the broker that is not its own.
pub struct Running {
    pub aggregator: Aggregator,
    pub broker: Broker,
    pub client: Client,
}

pub async fn start(server: &NatsServer, flags: &[&str]) -> Running {
    let url = server.url();
    let arguments = ["glance-aggregator", "--nats-url", &url];
    let options = Options::parse_from(arguments.iter().chain(flags));
    let shutdown = Shutdown::new();
    let broker = Broker::connect("test", &options.common.broker, &shutdown)
        .await
        .unwrap();
    let aggregator = Aggregator::start(&broker, &options.aggregator, &shutdown).unwrap();
    Running {
        aggregator,
        broker,
        client: server.client().await,
    }
}

impl Running {
    pub async fn report(&self, subject: &str, body: &str) {
        let jetstream = jetstream::new(self.client.clone());
        let ack = jetstream.publish(subject.to_owned(), body.to_owned().into());
        ack.await.unwrap().await.unwrap();
    }

    pub async fn health(&self, subject: &str) {
        let body = bytes::Bytes::new();
        self.client.publish(subject.to_owned(), body).await.unwrap();
        self.client.flush().await.unwrap();
    }

    pub async fn block(&self, cluster: &str, number: u32) -> Option<TableBlock> {
        block(&self.client, cluster, number).await
    }

    pub async fn row_when(&self, shard: usize, wanted: impl Fn(&ShardRow) -> bool) -> ShardRow {
        eventually(LIMIT, || async {
            let row = self.block("main", 0).await?.rows.get(shard)?.clone();
            wanted(&row).then_some(row)
        })
        .await
    }

    /// Waits until the table is complete, whether it leads or not.
    pub async fn wait_ready(&self) {
        eventually(LIMIT, || async {
            matches!(self.aggregator.ready(), Ready::Yes(_)).then_some(())
        })
        .await;
    }

    pub async fn stop(self) {
        self.aggregator.stop().await.unwrap();
        self.broker.close().await;
    }
}

pub async fn block(client: &Client, cluster: &str, number: u32) -> Option<TableBlock> {
    let table = jetstream::new(client.clone())
        .get_key_value(bucket::TABLE)
        .await
        .ok()?;
    let key = bucket::block_key(&cluster.parse().unwrap(), number);
    let value = table.get(key).await.ok()??;
    Some(TableBlock::from_bytes(&value).unwrap())
}
