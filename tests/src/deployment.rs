//! The services as processes of their own, around a real broker.

use std::{process::ExitStatus, time::Duration};

use glance_testing::{NatsServer, Process, eventually, free_port};

use crate::get;

/// How long anything may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A broker with the accounts of nats.conf, an aggregator, a bridge and a web replica.
#[derive(Debug)]
pub struct Deployment {
    /// The broker.
    pub server: NatsServer,
    /// The judge.
    pub aggregator: Process,
    /// For bots.
    pub bridge: Process,
    /// For viewers.
    pub web: Process,
    /// Where the bridge listens.
    pub bridge_port: u16,
    /// Where web listens.
    pub web_port: u16,
    bots: String,
}

impl Deployment {
    /// Starts everything, and waits until web and bridge are ready.
    pub async fn start(bots: &str) -> Self {
        let names: Vec<&str> = bots
            .split(';')
            .filter_map(|bot| Some(bot.split_once(':')?.0))
            .collect();
        let server = NatsServer::start_with_accounts(&names).await;
        let url = server.url();
        let (bridge_port, web_port) = (free_port(), free_port());
        let deployment = Self {
            aggregator: aggregator(&url, bots),
            bridge: bridge(&url, bridge_port),
            web: web(&url, web_port),
            server,
            bridge_port,
            web_port,
            bots: bots.to_owned(),
        };
        deployment.wait_ready().await;
        deployment
    }

    /// Waits until web and bridge say that they are ready.
    pub async fn wait_ready(&self) {
        for port in [self.bridge_port, self.web_port] {
            eventually(LIMIT, async || {
                (get(port, "/readyz").await.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Starts another aggregator in place of one that ended.
    pub fn restart_aggregator(&mut self) {
        self.aggregator = aggregator(&self.server.url(), &self.bots);
    }

    /// The state of a shard as web shows it; `None` when it is not there.
    pub async fn state(&self, cluster: &str, shard: usize) -> Option<char> {
        state(self.web_port, cluster, shard).await
    }

    /// Waits until web shows a state.
    pub async fn wait_state(&self, cluster: &str, shard: usize, wanted: char) {
        eventually(LIMIT, async || {
            (self.state(cluster, shard).await == Some(wanted)).then_some(())
        })
        .await;
    }
}

async fn state(port: u16, cluster: &str, shard: usize) -> Option<char> {
    let answer = get(port, "/api/snapshot").await;
    if answer.status != 200 {
        return None;
    }
    let snapshot = answer.json();
    let clusters = snapshot["clusters"].as_array()?.clone();
    let found = clusters.iter().find(|entry| entry["name"] == cluster)?;
    found["states"].as_str()?.chars().nth(shard)
}

fn aggregator(url: &str, bots: &str) -> Process {
    Process::of("glance-aggregator")
        .user("aggregator")
        .env("GLANCE_NATS_URL", url)
        .env("GLANCE_BOTS", bots)
        .start()
}

fn bridge(url: &str, port: u16) -> Process {
    Process::of("glance-bridge")
        .user("bridge")
        .env("GLANCE_NATS_URL", url)
        .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
        .env("GLANCE_BRIDGE_PORT", port.to_string())
        .start()
}

fn web(url: &str, port: u16) -> Process {
    Process::of("glance-web")
        .user("web")
        .env("GLANCE_NATS_URL", url)
        .env("GLANCE_HOST", "127.0.0.1")
        .env("GLANCE_PORT", port.to_string())
        .start()
}

/// The exit code of a program that ended by itself.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}
