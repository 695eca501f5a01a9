//! A nats-server with one aggregator, or with a bare receiver, and nobody else.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::ensure;
use glance_testing::{NatsServer, Process};

use crate::{
    bare::{self, receivers},
    fleet::{CLUSTER, MARKS, Verb},
    flood::{Length, Target, Traffic, flood},
};

const START_MAX: Duration = Duration::from_secs(60);

/// What an aggregator says in its log when it did not take everything.
const LOSSES: [&str; 3] = [
    "were dropped",
    "refused a message",
    "cannot hear the bots (",
];

/// An aggregator that leads, and its broker.
pub(crate) struct Aggregator {
    process: Process,
    server: NatsServer,
    /// Besides those for marks.
    shards: u32,
    /// The lines of its log that are known.
    lines: usize,
}

impl Aggregator {
    /// Starts both. The cluster has so many shards, and those for marks.
    pub(crate) async fn start(shards: u32, health_timeout_s: u32) -> Self {
        let server = NatsServer::start().await;
        let mut process = Process::of("glance-aggregator")
            .env("GLANCE_NATS_URL", server.url())
            .env("GLANCE_BOTS", format!("{CLUSTER}:{}", shards + MARKS))
            .env("GLANCE_HEALTH_TIMEOUT", health_timeout_s.to_string())
            .start();
        process
            .wait_for_line("the table is taken over", START_MAX)
            .await;
        let lines = process.lines_printed();
        Self {
            process,
            server,
            shards,
            lines,
        }
    }

    /// All shards report, and the aggregator has taken it.
    ///
    /// # Errors
    ///
    /// When something is lost.
    pub(crate) fn fill(&self, body: &[u8]) -> anyhow::Result<Target> {
        let mut target = Target::aggregator(self.broker(), self.shards)?;
        let traffic = Traffic::new(Verb::State, self.shards, &[body])?;
        flood(&mut target, &traffic, Length::Once)?;
        Ok(target)
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where the broker listens.
    pub(crate) fn broker(&self) -> SocketAddrV4 {
        loopback(&self.server)
    }

    /// Checks that it took everything since this was last asked.
    ///
    /// # Errors
    ///
    /// When it dropped or refused a message.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let output = self.process.output();
        let new = output.lines().skip(self.lines);
        let losses: Vec<&str> = new
            .filter(|line| LOSSES.iter().any(|loss| line.contains(loss)))
            .collect();
        self.lines = self.process.lines_printed();
        ensure!(
            losses.is_empty(),
            "the aggregator did not take everything: {losses:?}"
        );
        Ok(())
    }
}

/// A bare receiver, and its broker.
pub(crate) struct Receiver {
    process: Process,
    server: NatsServer,
}

impl Receiver {
    /// Starts both, and says where to send.
    ///
    /// # Errors
    ///
    /// When this program cannot find itself.
    pub(crate) async fn start(verb: Verb, shards: u32) -> anyhow::Result<(Self, Target)> {
        let server = NatsServer::start().await;
        let name = match verb {
            Verb::State => "bare-consumer",
            Verb::Health => "bare-subscriber",
        };
        let (url, first_mark) = (server.url(), shards.to_string());
        let arguments = [name, "--url", &url, "--first-mark", &first_mark];
        let mut process = bare::process(&arguments)?.start();
        process.wait_for_line(receivers::READY, START_MAX).await;
        let target = Target::bare(loopback(&server), shards);
        let receiver = Self { process, server };
        Ok((receiver, target))
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where the broker listens.
    pub(crate) fn broker(&self) -> SocketAddrV4 {
        loopback(&self.server)
    }
}

fn loopback(server: &NatsServer) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, server.port())
}
