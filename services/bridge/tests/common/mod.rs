//! A bridge on a real broker, and a client that shows the exact answers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several tests"
)]

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{kv, stream};
use glance_bridge::{Bridge, BridgeOptions};
use glance_protocol::{
    ClusterInfo, ClusterList, ShardRow, Subject, TableBlock, bucket,
    subject::{STATES_FILTER, TABLE_PREFIX},
};
use glance_runner::{
    Broker, BrokerOptions, Environment, Ready, Shutdown,
    http::{self, Limits},
};
use glance_testing::{NatsServer, eventually};
use tokio::{task::JoinHandle, time::timeout};

mod client;

pub(crate) use client::{Answer, Client};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Creates what the aggregator creates, and writes the list of clusters.
pub(crate) async fn set_up(server: &NatsServer, clusters: &[(&str, u32)]) {
    let jetstream = async_nats::jetstream::new(server.client().await);
    create_stream(&jetstream).await;
    create_table(&jetstream).await;
    let notices = kv::Config {
        bucket: bucket::NOTICES.into(),
        ..kv::Config::default()
    };
    jetstream.create_key_value(notices).await.unwrap();
    put_clusters(server, 1, clusters).await;
}

pub(crate) async fn create_stream(jetstream: &async_nats::jetstream::Context) {
    create_stream_with(jetstream, stream::Config::default()).await;
}

/// Creates the stream of states, with what is special about it.
pub(crate) async fn create_stream_with(
    jetstream: &async_nats::jetstream::Context,
    special: stream::Config,
) {
    let states = stream::Config {
        name: bucket::STATES.into(),
        subjects: vec![STATES_FILTER.into()],
        max_messages_per_subject: 1,
        allow_direct: true,
        max_message_size: 2048,
        ..special
    };
    eventually(LIMIT, async || {
        placed(jetstream.create_stream(states.clone()).await)
    })
    .await;
}

/// Whether something was created. A cluster that has just begun may not know yet that all its nodes are there.
fn placed<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<()> {
    match result {
        Ok(_) => Some(()),
        Err(cause) => {
            let cause = cause.to_string();
            assert!(cause.contains("no suitable peers"), "{cause}");
            None
        }
    }
}

pub(crate) async fn create_table(jetstream: &async_nats::jetstream::Context) {
    create_table_with(jetstream, 1).await;
}

/// Creates the table's bucket with so many replicas.
pub(crate) async fn create_table_with(
    jetstream: &async_nats::jetstream::Context,
    num_replicas: usize,
) {
    let table = kv::Config {
        bucket: bucket::TABLE.into(),
        history: 1,
        num_replicas,
        republish: Some(stream::Republish {
            source: format!("$KV.{}.>", bucket::TABLE),
            destination: format!("{TABLE_PREFIX}.>"),
            headers_only: false,
        }),
        ..kv::Config::default()
    };
    eventually(LIMIT, async || {
        placed(jetstream.create_key_value(table.clone()).await)
    })
    .await;
}

pub(crate) async fn put_clusters(server: &NatsServer, epoch: u64, clusters: &[(&str, u32)]) {
    let info = |(name, total): &(&str, u32)| ClusterInfo {
        name: name.parse().unwrap(),
        total: *total,
        timeout_s: 30.0,
        auto: false,
    };
    let list = ClusterList {
        epoch,
        clusters: clusters.iter().map(info).collect(),
        ..ClusterList::default()
    };
    put_table(server, bucket::CLUSTERS_KEY, list.to_bytes()).await;
}

/// Writes a list of one cluster whose size is learned: from what was stored up to `sequence`.
pub(crate) async fn put_auto(server: &NatsServer, name: &str, total: u32, sequence: u64) {
    let list = ClusterList {
        epoch: 1,
        stream: "test".into(),
        sequence,
        clusters: vec![ClusterInfo {
            name: name.parse().unwrap(),
            total,
            timeout_s: 30.0,
            auto: true,
        }],
    };
    put_table(server, bucket::CLUSTERS_KEY, list.to_bytes()).await;
}

/// Writes a block in which these shards have reported.
pub(crate) async fn put_block(
    server: &NatsServer,
    cluster: &str,
    block: u32,
    len: u32,
    reported: &[u32],
) {
    let row = |id: u32| ShardRow {
        since_ms: reported.contains(&id).then_some(1),
        ..ShardRow::default()
    };
    let value = TableBlock {
        epoch: 1,
        cluster: cluster.parse().unwrap(),
        block,
        stream: "test".into(),
        sequence: 0,
        at_ms: 1,
        rows: (block * 1024..block * 1024 + len).map(row).collect(),
    };
    put_table(server, &format!("{cluster}.{block}"), value.to_bytes()).await;
}

async fn put_table(server: &NatsServer, key: &str, value: Vec<u8>) {
    let jetstream = async_nats::jetstream::new(server.client().await);
    let table = jetstream.get_key_value(bucket::TABLE).await.unwrap();
    table.put(key, value.into()).await.unwrap();
}

/// The body of the last report of a shard in the stream.
pub(crate) async fn stored(server: &NatsServer, cluster: &str, shard: u32) -> Option<String> {
    let jetstream = async_nats::jetstream::new(server.client().await);
    let stream = jetstream.get_stream(bucket::STATES).await.unwrap();
    let shard = glance_protocol::ShardId::new(shard).unwrap();
    let subject = Subject::State(cluster.parse().unwrap(), shard).to_string();
    let message = stream.direct_get_last_for_subject(subject).await.ok()?;
    Some(String::from_utf8(message.payload.to_vec()).unwrap())
}

/// A bridge that listens on a free port.
pub(crate) struct TestBridge {
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) port: u16,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl TestBridge {
    pub(crate) async fn start(server: &NatsServer) -> Self {
        Self::start_with(server, "", &BridgeOptions::default()).await
    }

    /// Starts a bridge, and waits until it knows the clusters.
    pub(crate) async fn start_with(
        server: &NatsServer,
        passphrase: &str,
        options: &BridgeOptions,
    ) -> Self {
        let bridge = Self::start_early(server, passphrase, options).await;
        bridge.wait_ready().await;
        bridge
    }

    pub(crate) async fn start_early(
        server: &NatsServer,
        passphrase: &str,
        options: &BridgeOptions,
    ) -> Self {
        Self::start_at(&server.url(), passphrase, options).await
    }

    pub(crate) async fn start_at(url: &str, passphrase: &str, options: &BridgeOptions) -> Self {
        let shutdown = Shutdown::new();
        let broker = BrokerOptions {
            nats_url: Some(url.parse().unwrap()),
            ..BrokerOptions::default()
        };
        let broker = Broker::connect("test", &broker, &shutdown).await.unwrap();
        let environment = Environment::from_pairs([("GLANCE_PASSPHRASE", passphrase)]);
        let bridge = Bridge::start(&broker, options, &environment, &shutdown)
            .await
            .unwrap();
        let listener = http::bind("127.0.0.1", 0, "test").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = bridge.routes();
        let serving = tokio::spawn(http::serve(
            listener,
            routes,
            Limits::default(),
            shutdown.clone(),
        ));
        Self {
            bridge: Arc::new(bridge),
            port,
            shutdown,
            serving,
        }
    }

    pub(crate) async fn wait_ready(&self) {
        eventually(LIMIT, async || {
            matches!(self.bridge.ready(), Ready::Yes(_)).then_some(())
        })
        .await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.port).await
    }

    /// Sends one request without a body on a connection of its own.
    pub(crate) async fn send(&self, method: &str, path: &str) -> Answer {
        self.client().await.send(method, path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send("POST", path).await
    }

    /// Stops it as the service does: the listener first.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        timeout(LIMIT, self.serving).await.unwrap().unwrap();
        timeout(LIMIT, self.bridge.stop()).await.unwrap();
    }

    /// Tells the listener to stop, and returns what remains to be waited for.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.trigger();
    }
}
/// Waits until a bridge at this port can take reports.
pub(crate) async fn wait_ready(port: u16) {
    eventually(LIMIT, async || {
        let mut client = Client::try_connect(port).await?;
        let answer = client.send("GET", "/readyz", &[], b"").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
