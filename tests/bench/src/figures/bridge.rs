//! What the bridge takes over HTTP, beside what hyper and the broker take without it.
//!
//! The aggregator is stopped once the fleet has reported, as its work is another figure: then whoever publishes has the
//! same broker, without anybody who listens. Two rows show the rates while it runs.

mod rows;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use glance_testing::Process;

use self::rows::Rows;
use crate::{
    bare::{self, RATE},
    load::{Load, Requests},
    options::Options,
    pace::SHARDS,
    results::Figure,
    statistics::Samples,
    system::{Listening, Setup, System, start_listening},
};

/// Of health checks: far fewer than a large fleet has, enough for two cores.
const CONNECTIONS: usize = 64;
/// How many requests a client that pipelines has under way on each of them.
const DEPTH: usize = 16;
/// How many messages the bridge has under way to the broker: one connection each fills that.
const IN_FLIGHT: usize = 512;
/// Of those that report many shards at once.
const REPORT_CONNECTIONS: usize = 16;
/// How many shards a report has: a large process, and the most that are allowed.
const REPORT_SHARDS: [u32; 2] = [1056, 4096];

const WARM_UP: Duration = Duration::from_millis(300);
const PERIOD: Duration = Duration::from_millis(1200);
/// Longer, as a percentile needs.
const DELAYS_PERIOD: Duration = Duration::from_millis(2500);
/// How long a bare client may take to start and to end.
const BARE_MAX: Duration = Duration::from_secs(20);

/// Measures the figure.
///
/// # Errors
///
/// When a request is refused, or a program ends.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(Setup::of(SHARDS)).await?;
    let bare = start_listening(bare::process(&["answers"])?).await?;
    let mut rows = Rows::default();
    for round in 1..=options.rounds {
        eprintln!(
            "bridge: round {round} of {} with an aggregator ...",
            options.rounds
        );
        let measurement = Measurement {
            system: &system,
            bare: &bare,
        };
        rows.heard_health.push(measurement.health(1).await?);
        rows.heard_status.push(measurement.status().await?);
    }
    system.stop_aggregator().await;
    let measurement = Measurement {
        system: &system,
        bare: &bare,
    };
    for round in 1..=options.rounds {
        eprintln!("bridge: round {round} of {} ...", options.rounds);
        measurement.round(&mut rows).await?;
    }
    Ok(vec![rows.figure(options)])
}

struct Measurement<'a> {
    system: &'a System,
    bare: &'a Listening,
}

impl Measurement<'_> {
    async fn round(&self, rows: &mut Rows) -> anyhow::Result<()> {
        let health = self.health(1).await?;
        rows.health.push(health);
        rows.bare_health.push(self.bare_answers(1).await?);
        rows.deep_health.push(self.health(DEPTH).await?);
        rows.bare_deep_health.push(self.bare_answers(DEPTH).await?);
        let status = self.status().await?;
        rows.status.push(status);
        let stored = self.bare_publishes(IN_FLIGHT).await?;
        rows.bare_stored.push(stored);
        rows.bare_told.push(self.bare_publishes(0).await?);
        for (place, shards) in REPORT_SHARDS.into_iter().enumerate() {
            rows.report_health[place].push(self.report(shards, "").await?);
            rows.report_status[place].push(self.report(shards, r#","state":3"#).await?);
        }
        rows.health_delays
            .push(self.health_delays(health / 2.0).await?);
        rows.status_delays
            .push(self.status_delays(status / 2.0).await?);
        Ok(())
    }

    async fn health(&self, depth: usize) -> anyhow::Result<f64> {
        let load = Load {
            depth,
            ..self.health_load()
        };
        load.rate(WARM_UP, PERIOD).await.context("health checks")
    }

    async fn health_delays(&self, rate: f64) -> anyhow::Result<Samples> {
        // As many as for reports: on few connections, a request would wait for the answer before it.
        let load = Load {
            connections: IN_FLIGHT,
            ..self.health_load()
        };
        let delays = load.delays(rate, WARM_UP, DELAYS_PERIOD).await;
        delays.context("health checks at half of the load")
    }

    /// The same requests, to a server that does nothing.
    async fn bare_answers(&self, depth: usize) -> anyhow::Result<f64> {
        let address = self.bare.address;
        let load = Load {
            depth,
            address,
            ..self.health_load()
        };
        load.rate(WARM_UP, PERIOD).await.context("bare answers")
    }

    async fn status(&self) -> anyhow::Result<f64> {
        let load = self.status_load();
        load.rate(WARM_UP, PERIOD).await.context("status posts")
    }

    async fn status_delays(&self, rate: f64) -> anyhow::Result<Samples> {
        let load = self.status_load();
        let delays = load.delays(rate, WARM_UP, DELAYS_PERIOD).await;
        delays.context("status posts at half of the load")
    }

    fn health_load(&self) -> Load {
        let paths = (0..SHARDS).map(|shard| format!("/api/health/main/{shard}"));
        self.load(CONNECTIONS, 204, paths.map(|path| (path, Vec::new())))
    }

    fn status_load(&self) -> Load {
        let paths = (0..SHARDS).map(|shard| format!("/api/status/main/{shard}/3"));
        self.load(IN_FLIGHT, 204, paths.map(|path| (path, Vec::new())))
    }

    /// Shards a second.
    async fn report(&self, shards: u32, state: &str) -> anyhow::Result<f64> {
        let body = |first: u32| {
            let entry = |id: u32| format!(r#"{{"id":{id}{state}}}"#);
            let entries: Vec<_> = (first..first + shards).map(entry).collect();
            format!(r#"{{"cluster":"main","shards":[{}]}}"#, entries.join(","))
        };
        let firsts = (0..SHARDS / shards).map(|number| number * shards);
        let posts = firsts.map(|first| ("/api/report".to_owned(), body(first).into_bytes()));
        let load = self.load(REPORT_CONNECTIONS, 200, posts);
        let rate = load.rate(WARM_UP, PERIOD).await;
        let rate = rate.with_context(|| format!("reports of {shards} shards"))?;
        Ok(rate * f64::from(shards))
    }

    fn load(
        &self,
        connections: usize,
        status: u16,
        posts: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Load {
        let (_, address) = self.system.bridge_process();
        Load {
            address,
            requests: Arc::new(Requests::posts(address, posts)),
            status,
            connections,
            depth: 1,
        }
    }

    /// Messages a second of a client in Rust, with the client's library of the bridge, on subjects that nobody hears.
    async fn bare_publishes(&self, in_flight: usize) -> anyhow::Result<f64> {
        let arguments = [
            self.system.broker_url(),
            SHARDS.to_string(),
            in_flight.to_string(),
            WARM_UP.as_millis().to_string(),
            PERIOD.as_millis().to_string(),
        ];
        let process = bare::process(&["publishes"])?.args(arguments);
        let mut process: Process = process.start();
        let line = process.wait_for_line(RATE, BARE_MAX).await;
        let rate = line.rsplit(' ').next().and_then(|it| it.parse().ok());
        rate.with_context(|| format!("there is no rate in '{line}'"))
    }
}
