//! What the keeper listens to, and what can come of it.

use std::sync::Arc;

use async_nats::{Message, Subscriber};
use glance_protocol::{ClusterName, feed::Notices};
use glance_runner::Link;
use tokio::sync::{mpsc, oneshot, watch};

use crate::table::Reading;

/// What the keeper listens to.
pub(crate) struct Inputs {
    /// Everything that the table's bucket republishes.
    pub table: Subscriber,
    /// The aggregator's pulses.
    pub pulses: Subscriber,
    /// How the connection to the broker is.
    pub link: watch::Receiver<Link>,
    /// The operators' notices.
    pub notices: watch::Receiver<Arc<Notices>>,
    /// What viewers want to know of the past.
    pub questions: mpsc::Receiver<Asked>,
}

/// Somebody asks for the last transitions of a shard. The answer is JSON, `None` when there is no such shard.
pub(crate) struct Asked {
    /// The shard's cluster.
    pub cluster: ClusterName,
    /// The shard.
    pub id: u32,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Option<String>>,
}

/// Everything that can happen to the mirror.
pub(super) enum Event {
    Table(Message),
    Pulse(Message),
    Read(Result<Reading, anyhow::Error>),
    Link(Link),
    Notices(Arc<Notices>),
    Asked(Asked),
    Tick,
    /// It is time to tell the viewers.
    Flush,
}
