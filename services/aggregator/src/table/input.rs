//! What can happen to the table, and what comes of it.

use std::time::Duration;

use glance_protocol::{Cause, ClusterName, ReportBody, ShardId, State};

/// A moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, since the start of the process. Deadlines use only this one.
    pub mono: Duration,
    /// Unix milliseconds, for people.
    pub wall_ms: i64,
}

/// What a bot says of one shard.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Which cluster.
    pub cluster: &'a ClusterName,
    /// Which shard.
    pub shard: ShardId,
    /// What it says.
    pub body: &'a ReportBody,
}

/// Where a report is in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the present stream.
    pub sequence: u64,
    /// When the broker stored it, in Unix milliseconds, if nobody listened then: it
    /// is heard only now. `None` when it came as it was published.
    pub at_ms: Option<i64>,
}

/// What can happen to the table.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A message on `.state`, as its stream delivers it. Its body must hold a state.
    Report(Message<'a>, Stored),
    /// A message on `.state`, as it is published. Only what it says of the cluster's size counts: the stream may
    /// never deliver it, since it keeps the last one of each shard.
    Claim(Message<'a>),
    /// A message on `.health`. With a state it is a report and a health check in one.
    Health(Message<'a>),
    /// Time passes.
    Tick,
    /// The aggregator cannot hear the bots.
    SightLost,
    /// The aggregator hears the bots (again).
    SightRegained,
    /// The wall clock was set by this many milliseconds. Ages stay what they are.
    ClockStepped(i64),
}

/// A shard changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Which shard.
    pub shard: ShardId,
    /// The new state.
    pub state: State,
    /// The old one.
    pub previous: State,
    /// What made it change.
    pub cause: Cause,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
}

/// Why a message was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such cluster.
    #[error("cluster '{0}' does not exist")]
    Cluster(ClusterName),
    /// The cluster has fewer shards.
    #[error("shard {shard} is outside of cluster '{cluster}', which has {total} shards")]
    Range {
        /// Which cluster.
        cluster: ClusterName,
        /// Which shard.
        shard: ShardId,
        /// How many it has.
        total: u32,
    },
    /// The shard went away when the cluster became smaller, and this is an old word of
    /// it that the stream still holds. Nobody did anything wrong.
    #[error("shard {shard} went away when cluster '{cluster}' came to have {total} shards")]
    Gone {
        /// Which cluster.
        cluster: ClusterName,
        /// Which shard.
        shard: ShardId,
        /// How many it has.
        total: u32,
    },
    /// The cluster's size is learned, and nobody has told it so far.
    #[error("the size of cluster '{0}' is not known yet; send 'total' with a report")]
    SizeUnknown(ClusterName),
    /// A health check of a shard that never reported.
    #[error("shard {0} of cluster '{1}' has not reported a state yet")]
    NeverReported(ShardId, ClusterName),
    /// A report without a state.
    #[error("the report holds no state")]
    NoState,
}

/// What happened to a block since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// A state changed, or a shard reported for the first time.
    pub changed: bool,
    /// Something else changed: last heard, or details.
    pub touched: bool,
}

/// A cluster that learns its size came to have another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// Its place in the configured order.
    pub place: usize,
    /// Its name.
    pub name: ClusterName,
    /// How many shards it had when this was last asked.
    pub before: u32,
    /// How many it has.
    pub after: u32,
}

/// A bot told another number of shards than is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Which shard said so.
    pub shard: ShardId,
    /// How many shards it says there are.
    pub claimed: u32,
    /// How many are configured.
    pub total: u32,
}
