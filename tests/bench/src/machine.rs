//! What the figures were measured on.

use std::{fmt, fs, process::Command, thread};

use glance_testing::nats_server_program;
use serde::Serialize;

/// A machine, and what runs on it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    nats_server: String,
    /// How many processes wanted a core, on average over the minute before: other work than ours.
    load: f64,
}

impl Machine {
    /// Looks at this machine, before anything is measured. What it does not tell is called unknown.
    pub(crate) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split(':').nth(1));
        Self {
            cores: thread::available_parallelism().map_or(0, Into::into),
            processor: known(model.unwrap_or_default()),
            kernel: known(&read("/proc/sys/kernel/osrelease")),
            nats_server: known(&nats_server_version()),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// What the program says of itself, as in `nats-server: v2.15.1`, without the words.
fn nats_server_version() -> String {
    let output = Command::new(nats_server_program())
        .arg("--version")
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .rsplit('v')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn known(text: &str) -> String {
    match text.trim() {
        "" => "unknown".to_owned(),
        text => text.to_owned(),
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores ({}), kernel {}, nats-server {}, load before {}",
            self.cores, self.processor, self.kernel, self.nats_server, self.load
        )
    }
}
