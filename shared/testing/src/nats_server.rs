//! A nats-server of a test's own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::child::{OwnedChild, command};
use crate::waiting::POLL_INTERVAL;
use crate::{accounts, accounts::password, free_port, nats_server_program};

/// Bound on a start and on an orderly end.
const LIMIT: Duration = Duration::from_secs(20);

/// How many ports are tried when another process takes the chosen one first.
pub(crate) const PORTS_TRIED_MAX: usize = 5;

/// A real nats-server with JetStream, on a free port of 127.0.0.1, with its store in a temporary directory. It runs
/// with the `nats.conf` of this workspace. Dropping it kills the server and deletes the store.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    folder: TempDir,
    /// `nats.conf`, with or without its accounts.
    base: String,
    /// The bots that have accounts.
    bots: Vec<String>,
    /// What the configuration has beside `nats.conf`, at every start.
    extra: String,
    /// Nothing while the server is stopped.
    child: Option<OwnedChild>,
}

impl NatsServer {
    /// Starts a server and waits until it takes clients.
    ///
    /// # Panics
    ///
    /// When there is no nats-server or it does not start; the message holds the end of its log.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Like [`start`](Self::start), with `extra` lines at the end of the configuration (`accounts`, say).
    ///
    /// # Panics
    ///
    /// As `start` does.
    pub async fn start_with(extra: &str) -> Self {
        Self::prepare(extra).start_at_last().await
    }

    /// Like [`start`](Self::start), with the accounts of `nats.conf` and one for each of these bots. The password of
    /// each user is [`password`](crate::password).
    ///
    /// # Panics
    ///
    /// As `start` does.
    pub async fn start_with_accounts(bots: &[&str]) -> Self {
        Self::start_with_edited_accounts(bots, |text| text).await
    }

    /// The same after a change of the text, such as operators make.
    ///
    /// # Panics
    ///
    /// As `start` does.
    pub async fn start_with_edited_accounts(
        bots: &[&str],
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let mut server = Self::prepare("");
        server.base = edit(accounts::closed(bots));
        server.bots = bots.iter().map(ToString::to_string).collect();
        server.configure("");
        server.start_at_last().await
    }

    async fn start_at_last(mut self) -> Self {
        let server = &mut self;
        for _ in 1..PORTS_TRIED_MAX {
            match server.try_start(true).await {
                Err(log) if log.contains("address already in use") => server.port = free_port(),
                started => {
                    return started.map(|()| self).unwrap_or_else(|log| panic!("{log}"));
                }
            }
        }
        server.restart().await;
        self
    }

    /// A server that is not started yet.
    pub(crate) fn prepare(extra: &str) -> Self {
        let server = Self {
            port: free_port(),
            folder: TempDir::with_prefix("glance-nats-").expect("a temporary directory"),
            base: accounts::open(),
            bots: Vec::new(),
            extra: extra.to_owned(),
            child: None,
        };
        server.configure("");
        server
    }

    /// The address for clients: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients; the same after each [`restart`](Self::restart).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the server's process.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    #[must_use]
    pub fn id(&self) -> u32 {
        let child = self.child.as_ref();
        child.expect("only a running server is a process").id()
    }

    /// A connected client of the default account.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url())
            .await
            .expect("a client connects to the test's nats-server")
    }

    /// A connected client of one of the users in `nats.conf`, or of a bot.
    ///
    /// # Panics
    ///
    /// When the server cannot be reached, or does not know the user.
    pub async fn client_of(&self, user: &str) -> async_nats::Client {
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password(user))
            .connect(self.url())
            .await
            .expect("a user connects to the test's nats-server")
    }

    /// Kills the server as a crash would (SIGKILL), and waits for its end. The store stays.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Stops the server in an orderly way (SIGTERM), and waits for its end. The store stays.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.signal(Signal::TERM);
            let status = child.wait_exit(LIMIT).await;
            assert!(
                status.is_some(),
                "nats-server ignored SIGTERM: {}",
                self.log()
            );
        }
    }

    /// Starts the server again on the same port and store, and waits until it takes clients. One that still runs is
    /// killed first.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.restart_with("").await;
    }

    /// Like [`restart`](Self::restart), with `more` lines at the end of the configuration, until the next restart.
    ///
    /// # Panics
    ///
    /// As `restart` does; also when `more` turns JetStream off, which
    /// [`restart_without_jetstream`](Self::restart_without_jetstream) is for.
    pub async fn restart_with(&mut self, more: &str) {
        self.kill();
        self.configure(more);
        let started = self.try_start(true).await;
        started.unwrap_or_else(|log| panic!("{log}"));
    }

    /// Like [`restart`](Self::restart), but JetStream is off until the next restart. The store stays.
    ///
    /// # Panics
    ///
    /// As `restart` does.
    pub async fn restart_without_jetstream(&mut self) {
        self.kill();
        // Of a setting that stands twice, the last one counts.
        self.configure("jetstream: false");
        let started = self.try_start(false).await;
        started.unwrap_or_else(|log| panic!("{log}"));
    }

    /// Loses everything that was stored. The server has to be stopped or killed before.
    ///
    /// # Panics
    ///
    /// When the server runs.
    pub fn delete_store(&mut self) {
        assert!(self.child.is_none(), "the server still uses its store");
        // There is none if the server never ran.
        let _ = fs::remove_dir_all(self.folder.path().join("store"));
    }

    /// Sends a signal to the server: SIGSTOP and SIGCONT pause it as a stalled machine would.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    pub fn signal(&mut self, signal: Signal) {
        self.child
            .as_mut()
            .expect("only a running server takes signals")
            .signal(signal);
    }

    /// The server's log since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Writes the configuration of the next start.
    fn configure(&self, more: &str) {
        fs::write(
            self.folder.path().join("nats.conf"),
            format!("{}\n{}\n{more}\n", self.base, self.extra),
        )
        .expect("the configuration can be written");
    }

    /// Starts the server and waits until it takes clients; otherwise says why it did not start.
    async fn try_start(&mut self, jetstream: bool) -> Result<(), String> {
        self.spawn()?;
        self.ready(jetstream).await
    }

    /// Starts the server, and waits for nothing.
    pub(crate) fn spawn(&mut self) -> Result<(), String> {
        let log = File::create(self.log_path()).expect("the log can be created");
        let mut command = command(nats_server_program());
        command
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .env("GLANCE_NATS_STORE", self.folder.path().join("store"))
            .envs(accounts::variables(&self.bots))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = OwnedChild::spawn(command).map_err(|error| error.to_string())?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until a spawned server takes clients, with JetStream or without. One that does not is killed, and the
    /// error says why.
    pub(crate) async fn ready(&mut self, jetstream: bool) -> Result<(), String> {
        let start = Instant::now();
        while !self.takes_clients(jetstream).await {
            let ended = self.child.as_mut().and_then(OwnedChild::exited);
            if ended.is_none() && start.elapsed() <= LIMIT {
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            self.child = None;
            let how = ended.map_or("did not start".to_owned(), |it| format!("ended ({it})"));
            return Err(format!("nats-server {how}: {}", self.log()));
        }
        Ok(())
    }

    /// Whether the server greets, and with JetStream if it is to have it. A foreign server on the port is found out by
    /// `exited`, as ours then ends; so the greeting must be that of our process, which the log knows by "Server is
    /// ready".
    async fn takes_clients(&self, jetstream: bool) -> bool {
        self.log().contains("Server is ready")
            && self
                .greeting()
                .await
                .is_some_and(|line| line.contains(r#""jetstream":true"#) == jetstream)
    }

    /// The first line that the server sends to a client, `INFO {...}`.
    async fn greeting(&self) -> Option<String> {
        let greeting = async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.ok()?;
            line.starts_with("INFO ").then_some(line)
        };
        tokio::time::timeout(LIMIT, greeting).await.ok().flatten()
    }
}
