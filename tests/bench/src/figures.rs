//! The figures: one module for each.

mod bridge;
mod fan_out;
mod growth;
mod idle;
mod ingest;
mod report_to_frame;
mod rush;
mod steady;
mod storm;

use serde::Serialize;

use crate::{options::Options, results::Figure};

/// The name of a figure, for `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Name {
    /// From a report to a viewer's frame.
    ReportToFrame,
    /// Messages that one aggregator takes.
    Ingest,
    /// The aggregator with a large fleet: processor time and memory.
    Steady,
    /// Posts to the bridge.
    Bridge,
    /// A change to a crowd of viewers, and the memory that they cost.
    FanOut,
    /// All shards change in front of a crowd.
    Storm,
    /// Many people open the page at once.
    Rush,
    /// The cost as everything grows.
    Growth,
    /// All programs while nothing happens.
    Idle,
}

/// Measures a figure, on a system of its own.
///
/// # Errors
///
/// When a program ends, or something is lost that never should be.
pub(crate) async fn measure(name: Name, options: &Options) -> anyhow::Result<Vec<Figure>> {
    match name {
        Name::ReportToFrame => report_to_frame::measure(options).await,
        Name::FanOut => fan_out::measure(options).await,
        Name::Storm => storm::measure(options).await,
        Name::Rush => rush::measure(options).await,
        Name::Growth => growth::measure().await,
        Name::Bridge => bridge::measure(options).await,
        Name::Ingest => ingest::measure(options).await,
        Name::Steady => steady::measure().await,
        Name::Idle => idle::measure().await,
    }
}
