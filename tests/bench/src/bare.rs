//! The limits: programs that do nothing but what the broker or the kernel make them do. Each runs as a process of its
//! own, as ours do, so the benchmark starts itself with the name of one.

mod answers;
mod files;
mod publishes;
pub(crate) mod receivers;
pub(crate) mod writer;

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use glance_testing::{Process, ProcessBuilder};

pub(crate) use publishes::RATE;

/// How long our listener waits for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// An HTTP server that answers 204 to everything.
    Answers,
    /// A client that publishes as fast as the broker takes it, and says how many a second that were.
    Publishes(publishes::Publishes),
    /// Subscribes to health checks, and counts them.
    #[command(name = "bare-subscriber")]
    Subscriber(receivers::Receiver),
    /// Consumes the stream of states, and counts them.
    #[command(name = "bare-consumer")]
    Consumer(receivers::Receiver),
}

impl Bare {
    /// Plays the limit, until it has told its number or the process is killed.
    ///
    /// # Errors
    ///
    /// When it cannot reach what it needs.
    pub(crate) async fn play(self) -> anyhow::Result<()> {
        match self {
            Self::Writer { broker } => writer::play(&broker).await,
            Self::Files => files::play().await,
            Self::Answers => answers::play().await,
            Self::Publishes(publishes) => publishes.play().await,
            Self::Subscriber(receiver) => receiver.subscribe().await,
            Self::Consumer(receiver) => receiver.consume().await,
        }
    }
}

/// A stream with the settings of the one that keeps the reports.
fn stream_of_reports(name: &str, subjects: &str) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        max_messages_per_subject: 1,
        max_message_size: 2048,
        max_bytes: 256 * 1024 * 1024,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        allow_direct: true,
        ..Config::default()
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
