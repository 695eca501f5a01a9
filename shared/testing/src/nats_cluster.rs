//! Several nats-servers that keep each other's streams.

use std::fmt::Write;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;
use rustix::process::Signal;

use crate::nats_server::PORTS_TRIED_MAX;
use crate::{NatsServer, eventually, free_port};

/// Bound on the election of a leader after a start.
const LIMIT: Duration = Duration::from_secs(30);

/// Bound on a connection to one node, and on an answer of JetStream: a paused node gives neither.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// A cluster of real nats-servers with JetStream on 127.0.0.1, each with its own store and the `nats.conf` of this
/// workspace. No node tells clients the addresses of the others, so that a test can put a [`Proxy`](crate::Proxy)
/// before each. Dropping it kills the servers and deletes the stores.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts `size` servers, and waits until streams with `size` replicas can be created.
    ///
    /// # Panics
    ///
    /// When that does not succeed; the message holds the end of a log, if a server ended.
    pub async fn start(size: usize) -> Self {
        let mut cluster = Self::try_start(size).await;
        for _ in 1..PORTS_TRIED_MAX {
            match cluster {
                Err(log) if log.contains("address already in use") => {
                    cluster = Self::try_start(size).await;
                }
                _ => break,
            }
        }
        let cluster = cluster.unwrap_or_else(|log| panic!("{log}"));
        cluster.elect().await;
        cluster
    }

    async fn try_start(size: usize) -> Result<Self, String> {
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let mut nodes: Vec<_> = (0..size)
            .map(|index| NatsServer::prepare(&configuration(&ports, index)))
            .collect();
        for node in &mut nodes {
            node.spawn()?;
        }
        for node in &mut nodes {
            node.ready(true).await?;
        }
        Ok(Self { nodes })
    }

    /// Waits until the nodes have found each other and chosen a leader: only then can such a stream be created.
    async fn elect(&self) {
        let probe = stream::Config {
            name: "PROBE".to_owned(),
            subjects: vec!["probe".to_owned()],
            storage: stream::StorageType::Memory,
            num_replicas: self.nodes.len(),
            ..Default::default()
        };
        let jetstream = eventually(LIMIT, async || self.jetstream().await).await;
        eventually(LIMIT, async || {
            jetstream.get_or_create_stream(probe.clone()).await.ok()
        })
        .await;
        eventually(LIMIT, async || jetstream.delete_stream("PROBE").await.ok()).await;
    }

    /// The addresses of all nodes for clients, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.urls().join(",")
    }

    /// The node with this index, from 0 on.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn node(&self, index: usize) -> &NatsServer {
        self.nodes.get(index).expect("the cluster has this node")
    }

    /// Kills a node as a crash would (SIGKILL), and waits for its end. Its store stays.
    pub fn kill(&mut self, index: usize) {
        self.node_mut(index).kill();
    }

    /// Starts a node again on the same ports and store, and waits until it takes clients. Its streams may still be
    /// behind: see [`settled`](Self::settled).
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn restart(&mut self, index: usize) {
        self.node_mut(index).restart().await;
    }

    /// Sends a signal to a node: SIGSTOP and SIGCONT pause it as a stalled machine would.
    ///
    /// # Panics
    ///
    /// When the node is killed.
    pub fn signal(&mut self, index: usize, signal: Signal) {
        self.node_mut(index).signal(signal);
    }

    /// A client that is connected to any node.
    ///
    /// # Panics
    ///
    /// When no node can be reached.
    pub async fn client(&self) -> async_nats::Client {
        self.connect()
            .await
            .expect("a client connects to the test's cluster")
    }

    /// The index of the node that leads `stream`; nothing while nobody does, or there is no such stream.
    pub async fn leader_of(&self, stream: &str) -> Option<usize> {
        let stream = self.jetstream().await?.get_stream(stream).await.ok()?;
        let leader = stream.cached_info().cluster.as_ref()?.leader.as_ref()?;
        (0..self.nodes.len()).find(|index| *leader == name(*index))
    }

    /// Waits until all streams have a leader, and as many replicas as they were created with, all up to date. Before,
    /// the loss of another node can stop a stream.
    ///
    /// # Panics
    ///
    /// When that has not happened after `timeout`.
    pub async fn settled(&self, timeout: Duration) {
        eventually(timeout, async || {
            let streams = self.jetstream().await?.streams();
            let streams: Vec<stream::Info> = streams.try_collect().await.ok()?;
            streams.iter().all(is_whole).then_some(())
        })
        .await;
    }

    fn node_mut(&mut self, index: usize) -> &mut NatsServer {
        self.nodes
            .get_mut(index)
            .expect("the cluster has this node")
    }

    async fn jetstream(&self) -> Option<jetstream::Context> {
        let mut jetstream = jetstream::new(self.connect().await.ok()?);
        jetstream.set_timeout(ANSWER_WAIT_MAX);
        Some(jetstream)
    }

    async fn connect(&self) -> Result<async_nats::Client, async_nats::ConnectError> {
        async_nats::ConnectOptions::new()
            .connection_timeout(ANSWER_WAIT_MAX)
            .connect(self.urls())
            .await
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }
}

/// Whether a stream has its leader and all its other replicas, with all messages.
fn is_whole(stream: &stream::Info) -> bool {
    stream.cluster.as_ref().is_some_and(|cluster| {
        cluster.leader.is_some()
            && cluster.replicas.len() + 1 == stream.config.num_replicas
            && cluster
                .replicas
                .iter()
                .all(|replica| replica.current && !replica.offline)
    })
}

fn name(index: usize) -> String {
    format!("node-{index}")
}

/// What a node's configuration has beside that of a single server. The route to itself does no harm.
fn configuration(ports: &[u16], index: usize) -> String {
    let mut text = format!("server_name: {}\ncluster {{\n  name: glance\n", name(index));
    let routes: Vec<_> = ports
        .iter()
        .map(|port| format!("\"nats://127.0.0.1:{port}\""))
        .collect();
    let _ = writeln!(text, "  listen: \"127.0.0.1:{}\"", ports[index]);
    let _ = writeln!(text, "  routes: [{}]", routes.join(", "));
    text + "  # Otherwise clients learn all addresses, and go around a test's proxy.\n  no_advertise: true\n}"
}
