//! The three services in one process.
//!
//! They know nothing of each other: each has its own connection to the broker and works as it does in a process of its
//! own. Only the listener is shared, and the end has an order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use glance_aggregator::Aggregator;
use glance_bridge::{Authorization, Bridge};
use glance_runner::http::Routes;
use glance_runner::{Broker, BrokerOptions, Context as RunContext, Ready, Shutdown, health};
use glance_web::Web;
use warp::Filter as _;

use crate::Options;

/// The running services.
pub(crate) struct Services {
    aggregator: Aggregator,
    bridge: Bridge,
    web: Web,
    connections: [Broker; 3],
    /// Whether all three were ready once.
    complete: Arc<AtomicBool>,
}

impl Services {
    /// Connects and starts all three. The shutdown ends the wait for the broker, and later the viewers' connections.
    pub(crate) async fn start(
        options: &Options,
        broker: &BrokerOptions,
        authorization: Authorization,
        context: &RunContext,
    ) -> anyhow::Result<Self> {
        let RunContext {
            environment,
            shutdown,
            metrics,
            ..
        } = context;
        let connect = async |name| {
            metrics.connecting(name);
            let broker = Broker::connect(name, broker, shutdown).await?;
            metrics.connected(name, &broker);
            anyhow::Ok(broker)
        };
        let connections: [Broker; 3] = tokio::try_join!(
            connect("glance-aggregator"),
            connect("glance-bridge"),
            connect("glance-web"),
        )?
        .into();
        let [for_aggregator, for_bridge, for_web] = &connections;
        // These two learn of the end from `stop`: what the bridge has accepted still goes through the aggregator.
        let later = Shutdown::new();
        let services = Self {
            aggregator: Aggregator::start(for_aggregator, &options.aggregator, &later)?,
            bridge: Bridge::guarded_by(authorization, for_bridge, &options.bridge, &later),
            web: Web::start(for_web, &options.web, environment, shutdown).await?,
            connections,
            complete: Arc::default(),
        };
        services.aggregator.add_metrics(metrics);
        services.bridge.add_metrics(metrics);
        services.web.add_metrics(metrics);
        metrics.set_readiness(services.readiness());
        Ok(services)
    }

    /// What `/readyz` says. Once all was ready, it is the web service's: viewers are served from its last picture also
    /// when the broker is away, and bots are told so one by one.
    fn readiness(&self) -> impl Fn() -> Ready + Clone + Send + Sync + 'static {
        let (complete, web) = (self.complete.clone(), self.web.readiness());
        move || match complete.load(Ordering::Relaxed) {
            true => web(),
            false => Ready::No("starting"),
        }
    }

    /// Everything that is answered on the one port.
    pub(crate) fn routes(&self) -> Routes {
        let readiness = self.readiness();
        self.bridge
            .routes()
            .or(self.web.routes())
            .unify()
            .or(health::routes(readiness))
            .unify()
            .or(glance_web::not_found())
            .unify()
            .boxed()
    }

    /// Whether a report would be seen on the page now; if not, why.
    pub(crate) fn ready(&self) -> Ready {
        let all = [
            self.aggregator.ready(),
            self.bridge.ready(),
            self.web.ready(),
        ];
        let not_yet = all.into_iter().find(|ready| matches!(ready, Ready::No(_)));
        // After a crash, the lease of the process before has to run out first.
        let unheard = matches!(self.web.ready(), Ready::Yes("stale"));
        let not_yet = not_yet.or(unheard.then_some(Ready::No("no aggregator leads yet")));
        if not_yet.is_none() {
            self.complete.store(true, Ordering::Relaxed);
        }
        not_yet.unwrap_or(Ready::Yes("ready"))
    }

    /// Waits until one of them ends by itself, and says why.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        match self.aggregator.ended().await {
            Ok(()) => anyhow::anyhow!("the aggregator ended by itself"),
            Err(cause) => cause,
        }
    }

    /// Ends them one after the other, while `listening` finishes the requests that it has accepted.
    pub(crate) async fn stop(self, listening: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::join!(listening, self.web.stop());
        self.bridge.stop().await;
        let stopped = self.aggregator.stop().await;
        let [first, second, third] = self.connections;
        tokio::join!(first.close(), second.close(), third.close());
        stopped.context("while stopping")
    }
}
