//! The start and the end of `glance`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use glance_bridge::Authorization;
use glance_protocol::ConfigError;
use glance_runner::http;
use glance_runner::{BrokerOptions, Context, Ready, Shutdown};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::Options;
use crate::data_dir::DataDir;
use crate::nats_child::NatsChild;
use crate::server_program;
use crate::services::Services;
use crate::welcome::Welcome;

/// Pause between two looks at whether the table is there.
const READY_LOOK: Duration = Duration::from_millis(20);

/// How often the log says that it is not.
const REMIND: Duration = Duration::from_secs(10);

/// `glance`, from its start to its end.
///
/// # Errors
///
/// When a setting is wrong, the broker cannot be had, or a service does not start or breaks down.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    options.aggregator.check()?;
    let authorization = Authorization::start(
        &options.bridge,
        &context.environment,
        &context.reload,
        &context.metrics,
    )?;
    // Locked before anything else happens: who starts a second one by mistake learns that first.
    let data = match options.common.broker.nats_url {
        Some(_) => None,
        None => Some(DataDir::open(&options.own_broker.data_dir).await?),
    };
    let _metrics_listener = context.tell_metrics(&options.common).await?;
    let listener = listen(&options).await?;
    let Some(data) = data else {
        let broker = &options.common.broker;
        return serve(&options, broker, authorization, &context, listener).await;
    };
    let shutdown = &context.shutdown;
    let Some(started) = unless(shutdown, start_broker(&options, data)).await else {
        return Ok(());
    };
    let mut child = started?;
    let broker = BrokerOptions {
        nats_url: Some(child.url().parse()?),
        ..BrokerOptions::default()
    };
    let result = tokio::select! {
        result = serve(&options, &broker, authorization, &context, listener) => result,
        // What answers at its address now may be anything: the services are dropped, not asked to write there.
        cause = child.lost() => Err(cause),
    };
    // Last of all, since everything else needs it to the end.
    child.stop().await;
    result
}

async fn listen(options: &Options) -> Result<TcpListener, ConfigError> {
    http::bind(&options.host, options.port, "GLANCE_HOST and GLANCE_PORT").await
}

async fn start_broker(options: &Options, data: DataDir) -> anyhow::Result<NatsChild> {
    let asked_for = options.own_broker.nats_server.as_deref();
    let search_path = std::env::var_os("PATH");
    let program = server_program::find(asked_for, search_path.as_deref(), Path::new(".")).await?;
    NatsChild::start(&program, data).await
}

/// Runs the services with a broker until the shutdown, or until one of them breaks down.
async fn serve(
    options: &Options,
    broker: &BrokerOptions,
    authorization: Authorization,
    context: &Context,
    listener: TcpListener,
) -> anyhow::Result<()> {
    // On the heap: three connections at once take many bytes.
    let (shutdown, guard) = (&context.shutdown, authorization.clone());
    let starting = Box::pin(Services::start(options, broker, guard, context));
    let Some(started) = unless(shutdown, starting).await else {
        return Ok(());
    };
    let mut services = started?;
    let port = listener
        .local_addr()
        .context("the listener is gone")?
        .port();
    let limits = options.http.limits();
    limits.counts.register(&context.metrics);
    let stop_listening = shutdown.child();
    let listening = http::serve(listener, services.routes(), limits, stop_listening.clone());
    let listening = tokio::spawn(listening);

    let greet = || welcome(options, broker, &authorization, port);
    let broken = attend(&mut services, shutdown, greet).await;
    stop_listening.trigger();
    let requests = async {
        if let Err(cause) = listening.await {
            warn!("the listener broke down: {cause}");
        }
    };
    let stopped = services.stop(requests).await;
    broken.and(stopped)
}

/// Greets once the services are ready; then waits for the shutdown, or for one of them to break down.
async fn attend(
    services: &mut Services,
    shutdown: &Shutdown,
    greet: impl Fn(),
) -> anyhow::Result<()> {
    let mut greeted = false;
    let mut reminded = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            cause = services.broken() => return Err(cause),
            () = sleep(READY_LOOK), if !greeted => {}
        }
        match services.ready() {
            Ready::Yes(_) => {
                greet();
                greeted = true;
            }
            Ready::No(why) if reminded.elapsed() >= REMIND => {
                warn!("not ready yet: {why}");
                reminded = Instant::now();
            }
            Ready::No(_) => {}
        }
    }
}

fn welcome(options: &Options, broker: &BrokerOptions, authorization: &Authorization, port: u16) {
    let Some(broker) = &broker.nats_url else {
        return;
    };
    // A shard of a cluster whose size is not known yet cannot be told apart from a mistake.
    let mut bots = options.aggregator.bots.0.iter();
    let bot = bots.find(|bot| bot.total.is_some());
    let welcome = Welcome {
        host: &options.host,
        port,
        cluster: bot.map(|bot| &bot.name),
        passphrase: authorization.is_required(),
        broker: &broker.to_string(),
    };
    welcome.print();
}

/// The outcome, or nothing if the shutdown comes first.
async fn unless<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = shutdown.requested() => None,
        outcome = work => Some(outcome),
    }
}
