//! A program under test, as a process of its own.

use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{OwnedChild, command};
use crate::waiting::POLL_INTERVAL;
use crate::{accounts::password, binary};

/// How many lines of output are kept; older ones are dropped.
const LINES_MAX: usize = 20_000;

/// How long the output of a program that has ended may take to arrive.
const PIPES_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a killed program may take to end.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A longer line is cut into several.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A running (or ended) program with what it has printed on stdout and stderr. Dropping it kills the program.
///
/// It runs with a clean environment (only PATH, and HOME pointing to its own empty working directory), so that neither
/// the developer's variables nor a `.env` file change a test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: OwnedChild,
    output: Arc<Mutex<Output>>,
    /// How many lines had been printed before the last start.
    lines_before: usize,
    builder: ProcessBuilder,
    /// The working directory, deleted at the end.
    folder: TempDir,
}

/// What a process will be started with.
#[derive(Clone, Debug)]
pub struct ProcessBuilder {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    dot_env: Option<String>,
}

impl Process {
    /// The program `name` of this workspace, as [`binary`] finds it.
    ///
    /// # Panics
    ///
    /// When it is not built.
    #[must_use]
    pub fn of(name: &str) -> ProcessBuilder {
        Self::at(binary(name))
    }

    /// Any program, by its path.
    #[must_use]
    pub fn at(program: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            dot_env: None,
        }
    }

    /// The memory that the process holds, in KiB (Linux).
    ///
    /// # Panics
    ///
    /// When the process has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kib.expect("a status tells the memory")
    }

    /// The id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: TERM, KILL, STOP, CONT, ... A program that has ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Makes the program stand still (SIGSTOP), as on a stalled machine, until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused program go on (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Starts the program again with the same arguments and environment, in the same working directory. One that
    /// still runs is killed first (SIGKILL). What it printed before stays in the [`output`](Self::output).
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn restart(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(KILL_WAIT_MAX).await;
        self.lines_before = self.lines_printed();
        self.child = self.builder.spawn(self.folder.path(), &self.output);
    }

    /// How the program ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.exited()
    }

    /// Waits for the program to end by itself (or by a signal sent before).
    ///
    /// # Panics
    ///
    /// When it still runs after `timeout`; the message holds its output.
    pub async fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        match self.child.wait_exit(timeout).await {
            Some(status) => {
                self.wait_for_pipes().await;
                status
            }
            None => self.give_up(&format!("did not end within {timeout:?}")),
        }
    }

    /// Waits until all that an ended program printed has been read. A program that it left behind may hold its
    /// pipes open, so not for ever.
    async fn wait_for_pipes(&self) {
        let read = async {
            while self.lock().open_pipes > 0 {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let _ = tokio::time::timeout(PIPES_WAIT_MAX, read).await;
    }

    /// Waits until a line with `text` in it has been printed since the last start, and returns that line.
    ///
    /// # Panics
    ///
    /// When there is none after `timeout`, or the program ended without it; the message holds its output.
    pub async fn wait_for_line(&mut self, text: &str, timeout: Duration) -> String {
        self.wait_for_line_after(self.lines_before, text, timeout)
            .await
    }

    /// Like [`wait_for_line`](Self::wait_for_line), but skips the first `lines` lines: what
    /// [`lines_printed`](Self::lines_printed) said before, to wait for the next line of a kind.
    ///
    /// # Panics
    ///
    /// As `wait_for_line` does.
    pub async fn wait_for_line_after(
        &mut self,
        lines: usize,
        text: &str,
        timeout: Duration,
    ) -> String {
        let waiting = tokio::time::timeout(timeout, async {
            loop {
                // Asked before the look: what an ended program printed is complete only then.
                let complete = self.exited().is_some() && self.lock().open_pipes == 0;
                if let Some(line) = self.lock().find(lines, text) {
                    return Some(line);
                }
                if complete {
                    return None;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        match waiting.await {
            Ok(Some(line)) => line,
            Ok(None) => self.give_up(&format!("ended without printing '{text}'")),
            Err(_) => self.give_up(&format!("did not print '{text}' within {timeout:?}")),
        }
    }

    /// How many lines have been printed so far, by all starts.
    #[must_use]
    pub fn lines_printed(&self) -> usize {
        self.lock().printed()
    }

    /// What has been printed so far on stdout and stderr, the last 20,000 lines of it.
    #[must_use]
    pub fn output(&self) -> String {
        Vec::from(self.lock().lines.clone()).join("\n")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Output> {
        self.output.lock().expect("the reader does not panic")
    }

    fn give_up(&self, what: &str) -> ! {
        panic!("{} {what}; it printed:\n{}", self.name, self.output())
    }
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets a program of ours log in at a broker that has the accounts of `nats.conf`, as `aggregator`, `bridge` or `web`.
    #[must_use]
    pub fn user(self, role: &str) -> Self {
        let program = self
            .env("GLANCE_NATS_USER", role)
            .env("GLANCE_NATS_PASSWORD", password(role));
        match role {
            "aggregator" => program,
            _ => program.env("GLANCE_NATS_API_PREFIX", "GLANCE.API"),
        }
    }

    /// Puts a `.env` file with this text into the working directory.
    #[must_use]
    pub fn dot_env(mut self, text: impl Into<String>) -> Self {
        self.dot_env = Some(text.into());
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(self) -> Process {
        let folder = TempDir::with_prefix("glance-process-").expect("a temporary directory");
        if let Some(text) = &self.dot_env {
            std::fs::write(folder.path().join(".env"), text).expect(".env can be written");
        }
        let output = Arc::new(Mutex::new(Output::default()));
        Process {
            name: name_of(&self.program),
            child: self.spawn(folder.path(), &output),
            output,
            lines_before: 0,
            builder: self,
            folder,
        }
    }

    /// Runs the program in `folder`, and adds what it prints to `output`.
    fn spawn(&self, folder: &Path, output: &Arc<Mutex<Output>>) -> OwnedChild {
        let mut command = command(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .envs(self.environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = OwnedChild::spawn(command).unwrap_or_else(|error| {
            panic!("{} cannot be started: {error}", name_of(&self.program))
        });
        collect(
            child.inner().stdout.take().expect("stdout is piped"),
            output,
        );
        collect(
            child.inner().stderr.take().expect("stderr is piped"),
            output,
        );
        child
    }
}

fn name_of(program: &Path) -> String {
    program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The lines printed, in the order in which they were read.
#[derive(Debug, Default)]
struct Output {
    lines: VecDeque<String>,
    dropped: usize,
    open_pipes: usize,
}

impl Output {
    fn push(&mut self, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }

    fn printed(&self) -> usize {
        self.dropped + self.lines.len()
    }

    fn find(&self, skipped: usize, text: &str) -> Option<String> {
        self.lines
            .iter()
            .skip(skipped.saturating_sub(self.dropped))
            .find(|line| line.contains(text))
            .cloned()
    }
}

/// Reads lines from `pipe` in a thread of its own, until the program closes it.
fn collect(pipe: impl Read + Send + 'static, output: &Arc<Mutex<Output>>) {
    let output = Arc::clone(output);
    output.lock().expect("nobody panicked yet").open_pipes += 1;
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.lock().expect("nobody panics with it").push(text);
            line.clear();
        }
        output.lock().expect("nobody panics with it").open_pipes -= 1;
    });
}
