//! Flags of the benchmark.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    bare::Bare,
    figures::Name,
    pace::{REPORTS_MAX, pause_ms_min},
};

/// Measures the built programs of Glance on a real nats-server, over real sockets.
///
/// It prints a table and writes JSON. It never fails because something is slow.
#[derive(Debug, Clone, clap::Parser, Serialize)]
#[command(name = "glance-bench", version)]
pub(crate) struct Options {
    /// How often each row is measured. The median of the rounds counts.
    #[arg(long, value_name = "ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// How many reports a round consists of.
    #[arg(long, value_name = "REPORTS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(REPORTS_MAX)))]
    pub(crate) reports: u32,

    /// The shortest pause between two reports, in milliseconds; the longest is half as long again. The default keeps
    /// two reports of one block 160 ms apart, so that each is a lone change.
    #[arg(long, value_name = "MS", default_value_t = pause_ms_min(), value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) pause_ms: u32,

    /// Measures only these figures.
    #[arg(long, value_name = "FIGURE", value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Name>,

    /// Where the results go, as JSON.
    #[arg(long, value_name = "PATH", default_value = "target/bench/latest.json")]
    #[serde(skip)]
    pub(crate) json: PathBuf,

    /// Plays a limit that ours is measured beside; the benchmark starts itself so.
    #[command(subcommand)]
    #[serde(skip)]
    pub(crate) bare: Option<Bare>,
}
