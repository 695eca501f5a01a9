//! The one way in which every service starts and stops.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use glance_protocol::ConfigError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::{
    CommonOptions, Context, Environment, Metrics, Shutdown,
    broker::Stopped,
    logging,
    options::{self, OptionsError},
};

const FAILURE: u8 = 1;
const BAD_CONFIGURATION: u8 = 2;

/// The `main` of a service: reads its options, runs it, and stops it on SIGINT or SIGTERM.
///
/// The exit code is 0 after a clean stop, 1 after a failure, and 2 when the
/// configuration is wrong. An error is reported once.
#[must_use]
pub fn run<O>(
    name: &'static str,
    service: impl AsyncFnOnce(O, Context) -> anyhow::Result<()>,
) -> ExitCode
where
    O: Parser + AsRef<CommonOptions>,
{
    let (options, environment) = match prepare::<O>() {
        Ok(prepared) => prepared,
        Err(OptionsError::Shown(shown)) => {
            return match shown.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(FAILURE),
            };
        }
        Err(OptionsError::Config(config)) => return refuse(name, &config),
    };
    allow_many_files();
    let context = Context {
        name,
        shutdown: Shutdown::new(),
        environment,
        metrics: Metrics::default(),
    };
    let grace = Duration::from_secs(options.as_ref().grace);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!("the runtime does not start: {cause}");
            return ExitCode::from(FAILURE);
        }
    };
    let shutdown = context.shutdown.clone();
    let result = runtime.block_on(supervise(service(options, context), &shutdown, grace));
    // What still runs now was given its chance.
    runtime.shutdown_timeout(Duration::from_millis(500));
    report(name, result)
}

fn prepare<O: Parser + AsRef<CommonOptions>>() -> Result<(O, Environment), OptionsError> {
    let environment = Environment::load().map_err(OptionsError::Config)?;
    let options: O = options::parse(std::env::args_os(), &environment)?;
    logging::start(options.as_ref()).map_err(OptionsError::Config)?;
    Ok((options, environment))
}

/// Lets the process open as many files as the system allows it: each connection is one, and the usual soft limit is 1,024.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(cause) = setrlimit(Resource::Nofile, raised) {
        warn!("at most {:?} files can be open: {cause}", limit.current);
    }
}

/// Runs the service until it ends, or until a signal and then for the grace at most.
async fn supervise(
    service: impl Future<Output = anyhow::Result<()>>,
    shutdown: &Shutdown,
    grace: Duration,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::pin!(service);
    let name = tokio::select! {
        result = &mut service => return result,
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    info!("stopping on {name}");
    shutdown.trigger();
    tokio::select! {
        result = &mut service => result,
        () = tokio::time::sleep(grace) => anyhow::bail!("still busy {} s after {name}; ending anyway", grace.as_secs()),
        // A person who presses Ctrl-C again means it. Supervisors repeat SIGTERM for no reason.
        _ = interrupt.recv() => anyhow::bail!("told to stop again; ending at once"),
    }
}

fn report(name: &str, result: anyhow::Result<()>) -> ExitCode {
    let failure = match result {
        Err(failure) if !failure.is::<Stopped>() => failure,
        _ => {
            info!("stopped");
            return ExitCode::SUCCESS;
        }
    };
    match failure.downcast_ref::<ConfigError>() {
        Some(config) => refuse(name, config),
        None => {
            error!("{failure:#}");
            ExitCode::from(FAILURE)
        }
    }
}

fn refuse(name: &str, config: &ConfigError) -> ExitCode {
    use std::io::Write as _;
    // Not a log line: it may come before logging is set up, and is for the person who types.
    if writeln!(std::io::stderr(), "{name}: {config}").is_err() {
        warn!("{config}");
    }
    ExitCode::from(BAD_CONFIGURATION)
}
