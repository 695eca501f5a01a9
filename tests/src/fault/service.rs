//! One program behind a proxy of its own, with a wall clock that can be wrong.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use glance_testing::{Flow, Process, ProcessBuilder, Proxy, Signal};

use super::{
    complaint::{Complaints, Rule},
    within,
};
use crate::{LIMIT, http::ask};

/// How long an orderly end may take: the grace of the programs.
const END_MAX: Duration = Duration::from_secs(10);

/// A program, running or not.
#[derive(Debug)]
pub struct Service {
    /// What the report calls it.
    pub name: String,
    /// Where it listens; 0 when it does not.
    pub port: u16,
    /// Its way to the broker.
    pub link: Proxy,
    /// For those who look at it from outside.
    pub presence: Presence,
    builder: ProcessBuilder,
    process: Option<Process>,
    clock: PathBuf,
    complaints: Complaints,
    /// The last words of the processes that ended.
    epitaph: String,
}

/// Whether a program is meant to be there, and which start of it.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    up: Arc<AtomicBool>,
    starts: Arc<AtomicU64>,
}

impl Presence {
    /// The number of the start, while the program is meant to run.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        self.up.load(SeqCst).then(|| self.starts.load(SeqCst))
    }
}

impl Service {
    /// Starts it. The program reads how wrong its clock is from the file `clock`.
    #[must_use]
    pub fn start(
        name: String,
        port: u16,
        link: Proxy,
        builder: ProcessBuilder,
        clock: PathBuf,
        complaints: Complaints,
    ) -> Self {
        let mut service = Self {
            name,
            port,
            builder: builder
                .env("GLANCE_NATS_URL", link.url())
                .env("GLANCE_CLOCK_FILE", &clock),
            link,
            presence: Presence::default(),
            process: None,
            clock,
            complaints,
            epitaph: String::new(),
        };
        service.step_clock(0);
        service.begin();
        service
    }

    /// Starts the program, if it does not run.
    pub fn begin(&mut self) {
        if self.process.is_none() {
            self.process = Some(self.builder.clone().start());
            self.presence.starts.fetch_add(1, SeqCst);
            self.presence.up.store(true, SeqCst);
        }
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&self) {
        let ready = within(LIMIT, async || {
            let answer = ask(self.port, "GET", "/readyz", "", "", LIMIT).await;
            answer.filter(|answer| answer.status == 200)
        });
        if ready.await.is_none() {
            let text = format!("{} is not ready", self.name);
            self.complaints.raise(Rule::NotBack, text);
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// The id of the process; 0 when there is none.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// Kills it as a crash would.
    pub async fn kill(&mut self) {
        self.check();
        self.presence.up.store(false, SeqCst);
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.wait_exit(END_MAX).await;
            self.bury(&process);
        }
    }

    /// Stops it in an orderly way, and waits for its end.
    pub async fn stop(&mut self) {
        self.check();
        self.presence.up.store(false, SeqCst);
        let Some(mut process) = self.process.take() else {
            return;
        };
        process.signal(Signal::TERM);
        let ended = tokio::time::timeout(END_MAX, async {
            while process.exited().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if ended.await.is_err() {
            let text = format!("{} does not end within {END_MAX:?}", self.name);
            self.complaints.raise(Rule::Process, text);
        } else if let Some(status) = process.exited().filter(|status| status.code() != Some(0)) {
            let text = format!("{} was told to stop and ended with {status}", self.name);
            self.complaints.raise(Rule::Process, text);
        }
        self.bury(&process);
    }

    /// Lets it stand still.
    pub fn pause(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::STOP);
        }
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::CONT);
        }
    }

    /// Sets how wrong its wall clock is.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn step_clock(&self, offset_ms: i64) {
        let new = self.clock.with_extension("new");
        fs::write(&new, offset_ms.to_string()).expect("the clock's file can be written");
        fs::rename(new, &self.clock).expect("the clock's file can be replaced");
    }

    /// Changes what its link lets through.
    pub fn set_link(&self, flow: Flow) {
        self.link.set(flow);
    }

    /// Complains if it ended by itself or panicked.
    pub fn check(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        if let Some(status) = process.exited() {
            let text = format!("{} ended by itself: {status}", self.name);
            self.complaints.raise(Rule::Process, text);
        }
        if process.output().contains("panicked at") {
            let text = format!("{} panicked", self.name);
            self.complaints.raise(Rule::Process, text);
        }
    }

    /// How many of the lines that it printed since its start hold `text`.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        let output = self.process.as_ref().map(Process::output);
        output.map_or(0, |output| {
            output.lines().filter(|line| line.contains(text)).count()
        })
    }

    fn bury(&mut self, process: &Process) {
        self.epitaph = last_lines(&process.output(), 15);
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let now = self.process.as_ref().map(Process::output);
        let now = last_lines(&now.unwrap_or_default(), 25);
        format!("--- {} (before: {})\n{now}", self.name, self.epitaph)
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
