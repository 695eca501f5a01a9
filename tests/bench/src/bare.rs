//! The limits: programs that do nothing but what the broker or the kernel make them do. Each runs as a process of its
//! own, as ours do, so the benchmark starts itself with the name of one.

mod files;
pub(crate) mod writer;

use anyhow::Context as _;
use glance_testing::{Process, ProcessBuilder};

/// Which limit is played.
#[derive(Debug, Clone, clap::Subcommand)]
#[command(hide = true)]
pub(crate) enum Bare {
    /// Writes what is published to all who are connected.
    Writer {
        /// The broker's address.
        broker: String,
    },
    /// Answers each request with as many bytes as its path says.
    Files,
}

impl Bare {
    /// Plays the limit until the process is killed.
    ///
    /// # Errors
    ///
    /// When it cannot reach what it needs.
    pub(crate) async fn play(self) -> anyhow::Result<()> {
        match self {
            Self::Writer { broker } => writer::play(&broker).await,
            Self::Files => files::play().await,
        }
    }
}

/// A process that plays a limit, to be started.
///
/// # Errors
///
/// When this program cannot find itself.
pub(crate) fn process(arguments: &[&str]) -> anyhow::Result<ProcessBuilder> {
    let own = std::env::current_exe().context("cannot find this program")?;
    Ok(arguments.iter().fold(Process::at(own), ProcessBuilder::arg))
}
