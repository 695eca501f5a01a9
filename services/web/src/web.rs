//! The service as a whole: starts and stops its tasks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use glance_protocol::subject::{self, Subject};
use glance_runner::{
    Broker, ConfigError, Context, Environment, Metrics, Ready, Shutdown,
    early::connect_behind,
    health,
    http::{self, Routes},
    micro,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use warp::Filter as _;

use crate::{
    Options, WebOptions,
    basis::STALE,
    fanout::Fanout,
    keeper::{Inputs, Keeper},
    metrics::{self, Counts},
    notices,
    page::Page,
    protection::Protection,
    routes::{self, State},
    session::Session,
};

/// How many questions about the past may wait.
const QUESTIONS_MAX: usize = 256;
/// How long a stop waits for viewers to take their leave.
const STOP_MAX: Duration = Duration::from_secs(5);

const IDENTITY: micro::Identity = micro::Identity {
    part: "web",
    description: "Serves the page, the feed and the JSON to viewers",
};

/// The running service.
pub struct Web {
    state: Arc<State>,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

impl Web {
    /// Starts the service. Until the aggregator's table is there, it waits for it and is not ready.
    ///
    /// # Errors
    ///
    /// When the page's folder cannot be read, or the connection to the broker was closed for good.
    pub async fn start(
        broker: &Broker,
        options: &WebOptions,
        _environment: &Environment,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let page = Page::load(options)?;
        Self::with_page(broker, options, page, shutdown).await
    }

    async fn with_page(
        broker: &Broker,
        options: &WebOptions,
        page: Page,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let shutdown = shutdown.child();
        let fanout = Arc::new(Fanout::default());
        let (sender, receiver) = watch::channel(Arc::default());
        let (history, questions) = mpsc::channel(QUESTIONS_MAX);
        // Subscribed before anything is read, so that nothing is missed in between.
        let inputs = Inputs {
            table: broker.client.subscribe(subject::TABLE_FILTER).await?,
            pulses: broker.client.subscribe(Subject::Pulse.to_string()).await?,
            link: broker.link(),
            notices: receiver,
            questions,
        };
        let mut tasks = JoinSet::new();
        let keeper = Keeper::new(broker.clone(), fanout.clone());
        tasks.spawn(keeper.run(inputs, shutdown.clone()));
        tasks.spawn(notices::follow(broker.clone(), sender, shutdown.clone()));
        let told = fanout.clone();
        micro::announce(broker, IDENTITY, &shutdown, move || metrics::status(&told));
        let session = Session {
            fanout,
            counts: Arc::new(Counts::new(options.viewers_max)),
            build: page.build(),
            shutdown: shutdown.clone(),
        };
        let state = State {
            protection: Protection::new(page.policy(), &options.frame_origins),
            feed_origins: options.feed_origins.clone(),
            page,
            history,
            origins: options.cors_origins.clone(),
            session,
            viewers: Arc::new(Semaphore::new(options.viewers_max as usize)),
            sessions: TaskTracker::new(),
            rendered: Mutex::new(None),
        };
        Ok(Self {
            state: Arc::new(state),
            shutdown,
            tasks,
        })
    }

    /// What it answers; paths that are not its own are rejected as not found.
    #[must_use]
    pub fn routes(&self) -> Routes {
        routes::routes(self.state.clone())
    }

    /// Whether a table has been received. An old one is ready too: a load
    /// balancer must not remove the last picture.
    #[must_use]
    pub fn ready(&self) -> Ready {
        ready(&self.state)
    }

    /// The same as [`Self::ready`], to ask at any time.
    pub fn readiness(&self) -> impl Fn() -> Ready + Clone + Send + Sync + 'static {
        let state = self.state.clone();
        move || ready(&state)
    }

    /// Adds what it counts.
    pub fn add_metrics(&self, metrics: &Metrics) {
        let session = self.state.session.clone();
        metrics.add(move |it| session.counts.tell(&session.fanout, it));
    }

    /// How many viewers there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.state.sessions.len()
    }

    /// Closes every viewer with 1001 and ends the tasks. Bounded in time.
    pub async fn stop(mut self) {
        self.shutdown.trigger();
        let sessions = &self.state.sessions;
        sessions.close();
        let all = async {
            while self.tasks.join_next().await.is_some() {}
            sessions.wait().await;
        };
        if timeout(STOP_MAX, all).await.is_err() {
            warn!("{} viewers did not leave in time", sessions.len());
        }
    }
}

fn ready(state: &State) -> Ready {
    match state.session.fanout.picture() {
        None => Ready::No("no table was received yet"),
        Some(picture) if picture.heard.is_some_and(|at| at.elapsed() <= STALE) => {
            Ready::Yes("ready")
        }
        Some(_) => Ready::Yes("stale"),
    }
}

/// Runs the program `glance-web` until the shutdown.
///
/// # Errors
///
/// When the configuration is wrong, or the broker is too old.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    // What can be wrong in the configuration is looked at first.
    let page = Page::load(&options.web)?;
    if let Some(folder) = &options.export_page {
        let page = Page::load_for_export(&options.web)?;
        page.export(folder).map_err(|cause| {
            let problem = format!("cannot be written ({cause}); name another folder");
            ConfigError::new("--export-page", &folder.display().to_string(), problem)
        })?;
        info!("the page was written to {}", folder.display());
        return Ok(());
    }
    let metrics = &context.metrics;
    metrics.connecting(context.name);
    let _metrics_listener = context.tell_metrics(&options.common).await?;
    let listener = http::bind(&options.host, options.port, "GLANCE_HOST, GLANCE_PORT").await?;
    let shutdown = &context.shutdown;
    let broker = &options.common.broker;
    let limits = options.http.limits();
    limits.counts.register(&context.metrics);
    let early = routes::starting();
    let (broker, listener) =
        connect_behind(listener, early, context.name, broker, &limits, shutdown).await?;
    metrics.connected(context.name, &broker);
    let web = Web::with_page(&broker, &options.web, page, shutdown).await?;
    web.add_metrics(metrics);
    metrics.set_readiness(web.readiness());
    info!("listening on http://{}", listener.local_addr()?);
    let routes = web
        .routes()
        .or(health::routes(web.readiness()))
        .unify()
        .or(routes::not_found())
        .unify()
        .boxed();
    let serving = tokio::spawn(http::serve(listener, routes, limits, shutdown.clone()));
    shutdown.requested().await;
    web.stop().await;
    serving.await?;
    // Nothing that was sent still has to arrive, so that the connection is not
    // drained: a broker that does not answer would hold that up.
    drop(broker);
    Ok(())
}
