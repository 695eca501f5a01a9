//! The nats-server that `glance` starts, watches over and ends.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::data_dir::DataDir;
use crate::port::Port;
use crate::spawner::Spawner;
use crate::{server_config, server_log, shim};

/// How long a server may take to read its store and listen.
const START_WAIT: Duration = Duration::from_secs(60);

/// How long a server may take to end after SIGTERM; then it is killed.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// How long the rest of a log is waited for once its writer has ended.
const LOG_WAIT: Duration = Duration::from_secs(1);

/// How many ports are tried when others take them between the choice and the start.
const PORTS_TRIED_MAX: usize = 5;

/// The pauses before a server that died is started again: doubled from the first to the last.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);

/// A server that ran this long had no trouble starting: the next pause is the shortest again.
const STEADY: Duration = Duration::from_secs(10);

/// A nats-server on loopback that is started again whenever it dies, on the same port and with the same store.
///
/// It ends with [`stop`](Self::stop), and otherwise at the latest with this process, however that ends.
#[derive(Debug)]
pub(crate) struct NatsChild {
    /// Reserved as long as the server may be started again.
    port: Port,
    keeper: JoinHandle<anyhow::Result<()>>,
    stop: DropGuard,
}

impl NatsChild {
    /// Starts `program` and returns when it takes clients.
    pub(crate) async fn start(program: &Path, data: DataDir) -> anyhow::Result<Self> {
        let launcher = Launcher {
            glance: shim::this_program().context("this program does not find itself")?,
            program: program.to_owned(),
            data,
            spawner: Spawner::start().context("no thread can be started")?,
        };
        let (port, server) = launcher.launch_first().await?;
        let stop = CancellationToken::new();
        Ok(Self {
            port,
            keeper: tokio::spawn(keep_running(launcher, server, stop.clone())),
            stop: stop.drop_guard(),
        })
    }

    /// The address for clients on this machine.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number())
    }

    /// Waits until the server is lost for good, and says why.
    pub(crate) async fn lost(&mut self) -> anyhow::Error {
        match (&mut self.keeper).await {
            Ok(Err(cause)) => cause,
            Ok(Ok(())) => anyhow!("the broker was stopped"),
            Err(cause) => anyhow!(cause).context("the broker's keeper broke down"),
        }
    }

    /// Ends the server: SIGTERM, and SIGKILL if it is not gone in time.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // How it was lost was reported by who waited for that.
        if !self.keeper.is_finished() {
            let _ = self.keeper.await;
        }
    }
}

/// Watches over the server until it shall end. Fails when it cannot come back.
async fn keep_running(
    launcher: Launcher,
    first: Server,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut server = first;
    let mut delay = RESTART_DELAY_MIN;
    loop {
        let ended = tokio::select! {
            ended = server.child.wait() => ended,
            () = stop.cancelled() => {
                server.end().await;
                return Ok(());
            }
        };
        warn!("the broker ended ({}); starting it again", describe(ended));
        if server.started.elapsed() > STEADY {
            delay = RESTART_DELAY_MIN;
        }
        let restarted = tokio::select! {
            // Dropped half-way, it kills what it has started.
            restarted = launcher.launch_again(&mut delay) => restarted?,
            () = stop.cancelled() => return Ok(()),
        };
        info!("the broker runs again");
        server = restarted;
    }
}

/// Everything that a start needs.
#[derive(Debug)]
struct Launcher {
    glance: PathBuf,
    program: PathBuf,
    data: DataDir,
    spawner: Spawner,
}

impl Launcher {
    /// The first start, which chooses the port.
    async fn launch_first(&self) -> anyhow::Result<(Port, Server)> {
        // An earlier server may still have the port that would be the best.
        drop(self.data.lock_store().await?);
        let mut taken = Vec::new();
        loop {
            let port = Port::reserve(&taken)?;
            let text = server_config::configuration(port.number(), &self.data.store())?;
            self.data.write_configuration(&text)?;
            match self.launch().await {
                Ok(server) => return Ok((port, server)),
                // Somebody was faster.
                Err(cause) if is_port_taken(&cause) && taken.len() < PORTS_TRIED_MAX => {
                    taken.push(port.number());
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Starts the server again, after `delay` and then longer ones, until it runs.
    async fn launch_again(&self, delay: &mut Duration) -> anyhow::Result<Server> {
        loop {
            sleep(*delay).await;
            *delay = (*delay * 2).min(RESTART_DELAY_MAX);
            match self.launch().await {
                Ok(server) => return Ok(server),
                // The services have reconnected to whatever listens there by now: nothing good comes of going on.
                Err(cause) if is_port_taken(&cause) => {
                    return Err(cause.context(
                        "another program took the broker's port while it was down; start glance again",
                    ));
                }
                Err(cause) => warn!("{cause:#}"),
            }
        }
    }

    /// Starts the server with the configuration that has been written, and waits until it takes clients.
    async fn launch(&self) -> anyhow::Result<Server> {
        let lock = self.data.lock_store().await?;
        let mut command = shim::command(&self.glance, &self.program);
        command
            .arg("--config")
            .arg(self.data.configuration())
            // The server reads nothing, but it holds the lock as long as it runs.
            .stdin(Stdio::from(lock))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl+C in a terminal goes to all of a group; the server must outlive those who use it.
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            // Secrets among them, and nothing that the server would read.
            if name.to_string_lossy().starts_with("GLANCE_") {
                command.env_remove(name);
            }
        }
        let spawned = self.spawner.spawn(command).await;
        let child = spawned.context("the broker cannot be started")?;
        Server::follow(child)?.ready().await
    }
}

/// A running nats-server.
#[derive(Debug)]
struct Server {
    child: Child,
    started: Instant,
    ready: watch::Receiver<bool>,
    log: JoinHandle<Vec<String>>,
}

impl Server {
    fn follow(mut child: Child) -> anyhow::Result<Self> {
        let Some(log) = child.stderr.take() else {
            bail!("the broker's log is missing");
        };
        let (is_ready, ready) = watch::channel(false);
        Ok(Self {
            child,
            started: Instant::now(),
            ready,
            log: tokio::spawn(server_log::follow(log, is_ready)),
        })
    }

    /// Waits until the server takes clients.
    async fn ready(mut self) -> anyhow::Result<Self> {
        let ready = timeout(START_WAIT, self.ready.wait_for(|ready| *ready)).await;
        match ready.map(|closed| closed.is_ok()) {
            Ok(true) => Ok(self),
            // It closed its log: it ends, or has ended.
            Ok(false) => Err(self.failure().await),
            Err(_) => bail!(
                "the broker does not take clients after {} s",
                START_WAIT.as_secs()
            ),
        }
    }

    /// Why the server ended.
    async fn failure(mut self) -> anyhow::Error {
        let ended = match timeout(STOP_WAIT, self.child.wait()).await {
            Ok(ended) => describe(ended),
            Err(_) => "closed its log".to_owned(),
        };
        let mut sentence = format!("the broker did not start ({ended})");
        if let Ok(Ok(warnings)) = timeout(LOG_WAIT, &mut self.log).await {
            for (place, line) in warnings.iter().enumerate() {
                let _ = write!(sentence, "{} {line}", if place == 0 { ":" } else { ";" });
            }
        }
        anyhow!(sentence)
    }

    /// Ends the server in an orderly way if it ends in time.
    async fn end(mut self) {
        self.signal(Signal::TERM);
        match timeout(STOP_WAIT, self.child.wait()).await {
            Ok(ended) => debug!("the broker ended ({})", describe(ended)),
            Err(_) => {
                warn!(
                    "the broker did not end in {} s: killing it",
                    STOP_WAIT.as_secs()
                );
                // Fails only for a child that is gone.
                let _ = self.child.kill().await;
            }
        }
        let _ = timeout(LOG_WAIT, self.log).await;
    }

    fn signal(&self, signal: Signal) {
        // The id is there, and still this child's, until its end has been waited for.
        let id = self.child.id().and_then(|id| id.try_into().ok());
        if let Some(id) = id.and_then(Pid::from_raw)
            && let Err(error) = kill_process(id, signal)
        {
            warn!("the broker cannot be signalled: {error}");
        }
    }
}

/// Whether a start failed because somebody else listens on the port.
fn is_port_taken(cause: &anyhow::Error) -> bool {
    format!("{cause:#}").contains("address already in use")
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
