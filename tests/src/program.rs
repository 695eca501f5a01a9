//! Single programs, each with an address for its metrics.

use std::time::Duration;

use glance_testing::{NatsServer, Process, ProcessBuilder, eventually, free_port};
use tokio::time::Instant;

use crate::{LIMIT, Scrape, get};

/// A program, and where it tells its metrics.
pub struct Program {
    /// The process.
    pub process: Process,
    /// The port where it tells metrics and health.
    pub metrics: u16,
    /// The port of the page or of the bridge.
    pub public: u16,
}

impl Program {
    /// Starts it with the clusters `main:4` and `demo:2`.
    #[must_use]
    pub fn start(name: &str, url: &str) -> Self {
        Self::start_with(name, url, |program| program)
    }

    /// The same with further settings.
    #[must_use]
    pub fn start_with(
        name: &str,
        url: &str,
        set: impl FnOnce(ProcessBuilder) -> ProcessBuilder,
    ) -> Self {
        let (metrics, public) = (free_port(), free_port());
        let program = Process::of(name)
            .env("GLANCE_NATS_URL", url)
            .env("GLANCE_BOTS", "main:4;demo:2")
            .env("GLANCE_HOST", "127.0.0.1")
            .env("GLANCE_PORT", public.to_string())
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", public.to_string())
            .env("GLANCE_METRICS_ADDRESS", format!("127.0.0.1:{metrics}"));
        Self {
            process: set(program).start(),
            metrics,
            public,
        }
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&self) {
        eventually(LIMIT, async || {
            (get(self.metrics, "/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until a series has a value, and gives all that is told then.
    ///
    /// # Panics
    ///
    /// When that does not happen in time.
    pub async fn wait_value(&self, series: &str, wanted: f64) -> Scrape {
        let mut last = None;
        let found = eventually_or(async || {
            let scrape = Scrape::of(self.metrics).await?;
            let value = scrape.value(series);
            last = Some(value);
            (value == Some(wanted)).then_some(scrape)
        });
        match found.await {
            Some(scrape) => scrape,
            None => panic!(
                "{series} is {last:?} and never {wanted}: {:?}",
                Scrape::of(self.metrics).await
            ),
        }
    }
}

/// Like `eventually`, but leaves it to the caller to say what is wrong.
async fn eventually_or<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// One of each service, and the broker.
pub struct Parts {
    /// The broker, without accounts.
    pub server: NatsServer,
    /// `glance-aggregator`.
    pub aggregator: Program,
    /// `glance-bridge`.
    pub bridge: Program,
    /// `glance-web`.
    pub web: Program,
}

impl Parts {
    /// Starts all of them, and waits until the page shows what the aggregator leads.
    pub async fn start() -> Self {
        let server = NatsServer::start().await;
        let url = server.url();
        let parts = Self {
            aggregator: Program::start("glance-aggregator", &url),
            bridge: Program::start("glance-bridge", &url),
            web: Program::start("glance-web", &url),
            server,
        };
        for program in [&parts.aggregator, &parts.bridge, &parts.web] {
            program.wait_ready().await;
        }
        parts
            .aggregator
            .wait_value("glance_aggregator_leader", 1.0)
            .await;
        parts.web.wait_value("glance_web_stale", 0.0).await;
        parts
    }
}
