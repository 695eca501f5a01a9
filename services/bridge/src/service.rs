//! Start and stop of the bridge.

use std::{sync::Arc, time::Duration};

use glance_runner::{
    Broker, CommonOptions, Context, Environment, Metrics, Ready, Reload, Shutdown,
    early::connect_behind,
    health,
    http::{self, Routes, json_error},
    micro,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use warp::{Filter as _, http::StatusCode};

use crate::{
    BridgeOptions, Options,
    authorization::Authorization,
    follow::follow,
    metrics,
    publish::Publisher,
    routes::{self, Desk},
};

/// Longer than a request and the last words to the broker may take together.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

const IDENTITY: micro::Identity = micro::Identity {
    part: "bridge",
    description: "Takes reports and health checks of bots over HTTP and hands them to NATS",
};

/// A running bridge.
pub struct Bridge {
    desk: Arc<Desk>,
    tasks: TaskTracker,
    shutdown: Shutdown,
    /// Triggered when no request waits any more.
    finished: Shutdown,
}

impl Bridge {
    /// Starts to follow the list of clusters. It need not be there yet: until then, requests are answered with 503.
    ///
    /// # Errors
    ///
    /// When the passphrases are wrong: see [`Authorization::start`].
    #[allow(
        clippy::unused_async,
        reason = "all services start in the same way, and others have to wait"
    )]
    pub async fn start(
        broker: &Broker,
        options: &BridgeOptions,
        environment: &Environment,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let (reload, metrics) = (Reload::new(), Metrics::default());
        let authorization = Authorization::start(options, environment, &reload, &metrics)?;
        Ok(Self::guarded_by(authorization, broker, options, shutdown))
    }

    /// Like [`Self::start`], with passphrases that were read before and can be read again.
    #[must_use]
    pub fn guarded_by(
        authorization: Authorization,
        broker: &Broker,
        options: &BridgeOptions,
        shutdown: &Shutdown,
    ) -> Self {
        let (sender, clusters) = watch::channel(None);
        let shutdown = shutdown.child();
        let tasks = TaskTracker::new();
        tasks.spawn(follow(broker.clone(), sender, shutdown.clone()));
        tasks.spawn(authorization.clone().warn_of_useless(clusters.clone()));
        let (publisher, outbox) = Publisher::new(broker.clone(), options);
        // It goes on until the last request has its answer.
        let finished = Shutdown::new();
        tasks.spawn(outbox.run(finished.clone()));
        tasks.close();
        let desk = Arc::new(Desk::new(authorization, clusters, publisher));
        let asked = desk.clone();
        micro::announce(broker, IDENTITY, &shutdown, move || {
            metrics::status(asked.publisher(), knows_clusters(&asked))
        });
        Self {
            desk,
            tasks,
            shutdown,
            finished,
        }
    }

    /// The documented endpoints for bots. Other paths are rejected as not found, so that more routes may follow.
    #[must_use]
    pub fn routes(&self) -> Routes {
        routes::routes(self.desk.clone()).boxed()
    }

    /// Whether reports can be taken.
    #[must_use]
    pub fn ready(&self) -> Ready {
        ready(&self.desk)
    }

    /// Like [`Self::ready`], for as long as somebody asks.
    pub fn readiness(&self) -> impl Fn() -> Ready + Clone + Send + Sync + 'static {
        let desk = self.desk.clone();
        move || ready(&desk)
    }

    /// Adds what it counts.
    pub fn add_metrics(&self, metrics: &Metrics) {
        let desk = self.desk.clone();
        metrics.add(move |it| {
            let publisher = desk.publisher();
            publisher
                .counts()
                .tell(publisher, knows_clusters(&desk), it)
        });
    }

    /// Finishes the requests that were accepted, and stops. Bounded in time.
    ///
    /// The listener must have stopped to accept requests before.
    pub async fn stop(&self) {
        let finish = self.desk.publisher().finish();
        if timeout(STOP_TIMEOUT, finish).await.is_err() {
            warn!("some requests were not finished in time");
        }
        self.shutdown.trigger();
        self.finished.trigger();
        self.tasks.wait().await;
    }
}

fn knows_clusters(desk: &Desk) -> bool {
    desk.clusters().borrow().is_some()
}

fn ready(desk: &Desk) -> Ready {
    if !knows_clusters(desk) {
        Ready::No("the list of clusters is not known yet")
    } else if desk.publisher().connected() {
        Ready::Yes("ready")
    } else {
        Ready::No("the broker cannot be reached")
    }
}

/// Runs the bridge as a service of its own, until the shutdown.
///
/// # Errors
///
/// When a setting is wrong, or the broker is too old.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    let common: &CommonOptions = options.as_ref();
    let _metrics_listener = context.tell_metrics(common).await?;
    let Context {
        name,
        shutdown,
        reload,
        environment,
        metrics,
    } = context;
    metrics.connecting(name);
    // A wrong passphrase is told before the broker is waited for.
    let authorization = Authorization::start(&options.bridge, &environment, &reload, &metrics)?;
    let variables = "GLANCE_BRIDGE_HOST and GLANCE_BRIDGE_PORT";
    let listener = http::bind(&options.host, options.port, variables).await?;
    info!("listening on http://{}", listener.local_addr()?);
    let early = routes::unavailable(authorization.clone());
    let nothing_else = early.or(not_found()).unify().boxed();
    let limits = options.http.limits();
    limits.counts.register(&metrics);
    let waiting = connect_behind(
        listener,
        nothing_else,
        name,
        &common.broker,
        &limits,
        &shutdown,
    );
    let (broker, listener) = waiting.await?;
    metrics.connected(name, &broker);
    let bridge = Bridge::guarded_by(authorization, &broker, &options.bridge, &shutdown);
    bridge.add_metrics(&metrics);
    metrics.set_readiness(bridge.readiness());
    // The posts come first, and what is rarely asked for is one filter behind them.
    let others = health::routes(bridge.readiness()).or(not_found()).unify();
    let posts = routes::routes(bridge.desk.clone());
    let routes = posts.or(others.boxed()).unify().boxed();
    http::serve(listener, routes, limits, shutdown).await;
    bridge.stop().await;
    broker.close().await;
    Ok(())
}

fn not_found() -> Routes {
    let answer = || json_error(StatusCode::NOT_FOUND, "there is nothing here");
    warp::any().map(answer).boxed()
}
