//! The one way in which every service starts and stops.

use std::{
    io::{IsTerminal as _, stderr, stdin, stdout},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use glance_protocol::ConfigError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::{
    CommonOptions, Context, Environment, Metrics, Reload, Shutdown,
    broker::Stopped,
    health_check, logging,
    metrics::MetricsAddress,
    options::{self, OptionsError},
};

const FAILURE: u8 = 1;
const BAD_CONFIGURATION: u8 = 2;

/// The `main` of a service: reads its options, runs it, and stops it on SIGINT or SIGTERM, or when its terminal is closed.
/// On SIGHUP it reads again what can change while it runs.
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
        Ok(Asked::ToRun(options, environment)) => (options, environment),
        Ok(Asked::ForHealth(address)) => return tell_health(name, &address),
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
        reload: Reload::new(),
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
    let (shutdown, reload) = (context.shutdown.clone(), context.reload.clone());
    let service = service(options, context);
    let result = runtime.block_on(supervise(service, &shutdown, &reload, grace));
    // What still runs now was given its chance.
    runtime.shutdown_timeout(Duration::from_millis(500));
    report(name, result)
}

/// What the flags ask for.
enum Asked<O> {
    /// The service.
    ToRun(O, Environment),
    /// How the one that runs already is.
    ForHealth(MetricsAddress),
}

fn prepare<O: Parser + AsRef<CommonOptions>>() -> Result<Asked<O>, OptionsError> {
    let environment = Environment::load().map_err(OptionsError::Config)?;
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(address) = options::health_to_check::<O>(&arguments, &environment)? {
        return Ok(Asked::ForHealth(address));
    }
    let options: O = options::parse(arguments, &environment)?;
    logging::start(options.as_ref()).map_err(OptionsError::Config)?;
    Ok(Asked::ToRun(options, environment))
}

/// Asks the one that runs whether it is ready. Nothing of the service itself is started.
fn tell_health(name: &str, address: &MetricsAddress) -> ExitCode {
    use std::io::Write as _;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => {
            let answer = runtime.block_on(health_check::ask(address));
            // A name that is still looked up is not waited for.
            runtime.shutdown_background();
            answer
        }
        Err(cause) => Err(format!("the runtime does not start: {cause}")),
    };
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Whoever reads this reads the exit code as well.
            let _ = writeln!(stderr(), "{name}: {sentence}");
            ExitCode::from(FAILURE)
        }
    }
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
    reload: &Reload,
    grace: Duration,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    // Looked at now, before anybody can be told that the service runs.
    let terminal_closed = reload_until_hangup(hangup, reload, Terminals::now());
    tokio::pin!(service);
    let name = tokio::select! {
        result = &mut service => return result,
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        () = terminal_closed => "the end of its terminal",
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

/// Which of standard input, output and error are a terminal. One that is gone is none.
#[derive(Debug, Clone, Copy)]
struct Terminals([bool; 3]);

impl Terminals {
    fn now() -> Self {
        Self([
            stdin().is_terminal(),
            stdout().is_terminal(),
            stderr().is_terminal(),
        ])
    }

    /// Whether one that is here is not there.
    fn are_more_than(self, others: Self) -> bool {
        self.0
            .iter()
            .zip(others.0)
            .any(|(here, there)| *here && !there)
    }
}

/// Passes on each SIGHUP, until one comes because the terminal is gone that the process was started in.
///
/// The signal means both. Any of the three may lead elsewhere, and then says nothing.
async fn reload_until_hangup(mut hangup: Signal, reload: &Reload, before: Terminals) {
    while hangup.recv().await.is_some() {
        if before.are_more_than(Terminals::now()) {
            return;
        }
        if !reload.trigger() {
            info!(
                "SIGHUP: there is no file to read again; a change of the settings needs a restart"
            );
        }
    }
    // The runtime ends.
    std::future::pending::<()>().await;
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
    if writeln!(stderr(), "{name}: {config}").is_err() {
        warn!("{config}");
    }
    ExitCode::from(BAD_CONFIGURATION)
}
