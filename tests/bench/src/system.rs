//! The programs under measurement, and their fleet.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use async_nats::{Client, jetstream};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glance_protocol::{ClusterName, ReportBody, ShardId, State, Subject};
use glance_testing::{NatsServer, Process, ProcessBuilder, Signal};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::sleep;

use crate::{http::Connection, pace::Report};

const CLUSTER: &str = "main";

/// How long a program may take to start, or to take in the whole fleet.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Reports on their way to the stream while the fleet is filled. Far below the 10,000 that the server queues.
const FILL_IN_FLIGHT: usize = 256;

/// What a measurement needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Of the one cluster.
    pub(crate) shards: u32,
    /// How many web replicas.
    pub(crate) webs: usize,
    /// Whether all shards have reported Online before the measurement begins.
    pub(crate) filled: bool,
    /// After how many seconds a shard is Unhealthy.
    pub(crate) health_timeout_s: u32,
}

impl Setup {
    /// A fleet whose shards are all Online, in front of one web replica. Nobody times out during a measurement.
    pub(crate) fn of(shards: u32) -> Self {
        Self {
            shards,
            webs: 1,
            filled: true,
            health_timeout_s: 86_400,
        }
    }
}

/// A nats-server and the services, each a process of its own, on loopback. The fleet is one cluster.
pub(crate) struct System {
    setup: Setup,
    cluster: ClusterName,
    broker: Client,
    aggregator: Process,
    bridge: Listening,
    webs: Vec<Listening>,
    server: NatsServer,
}

/// A program that serves HTTP.
pub(crate) struct Listening {
    pub(crate) address: SocketAddrV4,
    /// It ends when this is dropped.
    pub(crate) process: Process,
}

impl System {
    /// Starts everything and fills the fleet.
    ///
    /// # Errors
    ///
    /// When a program is not ready in time, or reports are refused.
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        let server = NatsServer::start().await;
        let url = server.url();
        let program = |name| Process::of(name).env("GLANCE_NATS_URL", &url);
        let aggregator = program("glance-aggregator")
            .env("GLANCE_BOTS", format!("{CLUSTER}:{}", setup.shards))
            .env("GLANCE_HEALTH_TIMEOUT", setup.health_timeout_s.to_string())
            .start();
        let bridge = program("glance-bridge")
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", "0");
        let bridge = start_listening(bridge).await?;
        let mut webs = Vec::new();
        for _ in 0..setup.webs {
            let web = program("glance-web")
                .env("GLANCE_HOST", "127.0.0.1")
                .env("GLANCE_PORT", "0");
            webs.push(start_listening(web).await?);
        }
        let system = Self {
            setup,
            cluster: CLUSTER.parse()?,
            broker: server.client().await,
            aggregator,
            bridge,
            webs,
            server,
        };
        wait_until_ready(system.bridge.address).await?;
        for web in &system.webs {
            wait_until_ready(web.address).await?;
        }
        if setup.filled {
            system.fill().await?;
        }
        Ok(system)
    }

    /// Where the broker listens.
    pub(crate) fn broker_url(&self) -> String {
        self.server.url()
    }

    /// The id of the broker's process.
    pub(crate) fn broker_id(&self) -> u32 {
        self.server.id()
    }

    /// Ends the aggregator. Bridge and web go on with what is kept.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub(crate) async fn stop_aggregator(&mut self) {
        self.aggregator.signal(Signal::TERM);
        self.aggregator.wait_exit(START_MAX).await;
    }

    /// The aggregator's process.
    pub(crate) fn aggregator(&self) -> &Process {
        &self.aggregator
    }

    /// The bridge's process, and where it listens.
    pub(crate) fn bridge_process(&self) -> (&Process, SocketAddrV4) {
        (&self.bridge.process, self.bridge.address)
    }

    /// The process of each web replica, and where it listens.
    pub(crate) fn webs(&self) -> impl Iterator<Item = (&Process, SocketAddrV4)> {
        self.webs.iter().map(|web| (&web.process, web.address))
    }

    /// The first web replica.
    pub(crate) fn web(&self) -> (&Process, SocketAddrV4) {
        let web = &self.webs[0];
        (&web.process, web.address)
    }

    /// A connection to the broker that the reports go over.
    pub(crate) fn broker(&self) -> &Client {
        &self.broker
    }

    /// Another connection to the broker.
    pub(crate) async fn another_client(&self) -> Client {
        self.server.client().await
    }

    /// A connection to the bridge.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub(crate) async fn bridge(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.bridge.address.to_string()).await
    }

    /// The address of the feed, in the default dialect.
    pub(crate) fn feed(&self) -> String {
        format!("ws://{}/api/feed", self.web().1)
    }

    /// The subject on which a shard reports.
    ///
    /// # Errors
    ///
    /// When there is no such shard.
    pub(crate) fn subject(&self, shard: u32) -> anyhow::Result<String> {
        let shard = ShardId::new(shard)?;
        Ok(Subject::State(self.cluster.clone(), shard).to_string())
    }

    /// The subjects of the health checks of all shards.
    pub(crate) fn health_subjects(&self) -> Vec<String> {
        let ids = (0..self.setup.shards).filter_map(|shard| ShardId::new(shard).ok());
        ids.map(|shard| Subject::Health(self.cluster.clone(), shard).to_string())
            .collect()
    }

    /// The path to which a report is posted.
    pub(crate) fn path(&self, (shard, state): Report) -> String {
        format!("/api/status/{}/{shard}/{}", self.cluster, state.number())
    }

    /// Everybody reports Online, and the web service shows it.
    async fn fill(&self) -> anyhow::Result<()> {
        let context = jetstream::new(self.broker.clone());
        stream::iter(0..self.setup.shards)
            .map(async |shard| {
                let body = body_of(State::Online).into();
                let stored = context.publish(self.subject(shard)?, body).await?;
                stored.await?;
                anyhow::Ok(())
            })
            .buffer_unordered(FILL_IN_FLIGHT)
            .try_collect::<()>()
            .await
            .context("a report of the fleet was not stored")?;
        let all_online = State::Online
            .to_char()
            .to_string()
            .repeat(self.setup.shards as usize);
        let start = Instant::now();
        while self.states_shown().await? != all_online {
            ensure!(
                start.elapsed() < START_MAX,
                "the web service does not show the fleet"
            );
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// One character a shard.
    async fn states_shown(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Snapshot {
            clusters: Vec<Shown>,
        }
        #[derive(Deserialize)]
        struct Shown {
            states: String,
        }
        let mut web = Connection::open(&self.web().1.to_string()).await?;
        let (status, body) = web.request(Method::GET, "/api/snapshot").await?;
        ensure!(
            status == StatusCode::OK,
            "the snapshot is answered {status}"
        );
        let snapshot: Snapshot =
            serde_json::from_slice(&body).context("the snapshot is not the expected JSON")?;
        Ok(snapshot.clusters.into_iter().map(|it| it.states).collect())
    }
}

/// The body of a report over NATS.
pub(crate) fn body_of(state: State) -> Vec<u8> {
    let report = ReportBody {
        state: Some(state),
        ..ReportBody::default()
    };
    report.to_bytes()
}

/// Starts a program on a port that the system chooses, and reads from its log which one that is.
///
/// # Errors
///
/// When it does not say so in time.
pub(crate) async fn start_listening(program: ProcessBuilder) -> anyhow::Result<Listening> {
    const BEFORE: &str = "listening on http://";
    let mut process = program.start();
    let line = process.wait_for_line(BEFORE, START_MAX).await;
    let address = line
        .split_once(BEFORE)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|address| address.trim_end_matches('/').parse().ok())
        .with_context(|| format!("there is no address in '{line}'"))?;
    ensure!(
        SocketAddrV4::ip(&address) == &Ipv4Addr::LOCALHOST,
        "only loopback is measured"
    );
    Ok(Listening { address, process })
}

async fn wait_until_ready(address: SocketAddrV4) -> anyhow::Result<()> {
    let mut connection = Connection::open(&address.to_string()).await?;
    let start = Instant::now();
    loop {
        let (status, body) = connection.request(Method::GET, "/readyz").await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        if start.elapsed() > START_MAX {
            let answer = String::from_utf8_lossy(&body);
            bail!("{address} is not ready: {answer}");
        }
        sleep(LOOK_INTERVAL).await;
    }
}
