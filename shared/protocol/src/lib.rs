//! The words that the services of Glance, the bots and the page exchange.
//!
//! Everything here is pure: no IO, no clock, no broker. Whatever is read from a
//! network is validated on the way in, so that the services hold only values
//! that make sense.
//!
//! # Layout
//!
//! * [`name`]: [`ClusterName`], the name of one bot user.
//! * [`shard`]: [`ShardId`] and the rule that maps a guild to its shard.
//! * [`state`]: [`State`] and [`Cause`].
//! * [`subject`]: the only place that builds or parses NATS subjects.
//! * [`bucket`]: names of streams, buckets and keys.
//! * [`body`]: bodies that bots publish.
//! * [`config`]: `GLANCE_BOTS` and `GLANCE_HEALTH_TIMEOUT`.
//! * [`clusters`], [`block`], [`pulse`], [`lease`]: what the aggregator publishes for the
//!   other services.
//! * [`change`]: what it publishes for everybody.
//! * [`notice`]: what operators tell the viewers.
//! * [`feed`], [`snapshot`]: what the web service sends to viewers.
//! * [`set`]: a compact set of the shards of one block.

pub mod block;
pub mod body;
pub mod bucket;
pub mod change;
pub mod clusters;
pub mod config;
pub mod feed;
mod json;
pub mod lease;
pub mod name;
pub mod notice;
pub mod pulse;
pub mod set;
pub mod shard;
pub mod snapshot;
pub mod state;
pub mod subject;

pub use block::{ShardRow, TableBlock};
pub use body::{Details, ReportBody};
pub use change::{Change, Rejection};
pub use clusters::{ClusterInfo, ClusterList};
pub use config::{Bot, ConfigError, Timeouts};
pub use lease::Lease;
pub use name::ClusterName;
pub use notice::{Notice, Severity};
pub use pulse::{Pulse, PulseBlock, PulseCluster};
pub use set::BlockSet;
pub use shard::{BLOCK_LEN, SHARDS_MAX, ShardId, shard_of_guild};
pub use state::{Cause, State};
pub use subject::Subject;

/// Why a message of the aggregator could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not the JSON that this message consists of.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The message has a version that this program does not know.
    #[error("format version {0} is not known to this program")]
    Version(u32),
    /// The parts of the message contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// Unix milliseconds as the seconds that the public formats use.
#[must_use]
#[allow(clippy::cast_precision_loss)] // Exact for the next 285,000 years.
pub fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
