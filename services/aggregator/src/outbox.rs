//! Plain messages and deletions that the table's owner must not wait for.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use glance_protocol::{Rejection, Subject};
use glance_runner::{Broker, clock, metrics::Counter};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{debug, warn};

use crate::store::Store;

const WAITING_MAX: usize = 1024;
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);
const DELETIONS_WAITING_MAX: usize = 16_384;
const DELETIONS_IN_FLIGHT_MAX: usize = 16;
const DELETE_TIMEOUT: Duration = Duration::from_secs(3);

/// Rejections told in one second at most, after a burst.
const REJECTIONS_PER_S: f64 = 10.0;
const REJECTIONS_BURST: f64 = 50.0;
/// How often the log tells of refused messages.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Publishes plain messages in order, and drops them when the broker is away.
#[derive(Clone)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<(String, Bytes)>,
    /// How many were dropped.
    dropped: Counter,
}

impl Outbox {
    pub(crate) fn spawn(broker: Broker, dropped: Counter) -> Self {
        let lost = dropped.clone();
        let (sender, mut receiver) = mpsc::channel::<(String, Bytes)>(WAITING_MAX);
        tokio::spawn(async move {
            while let Some((subject, body)) = receiver.recv().await {
                let publish = broker.client.publish(subject, body);
                if !matches!(timeout(PUBLISH_TIMEOUT, publish).await, Ok(Ok(()))) {
                    lost.inc();
                    debug!("a plain message was dropped: the broker is away");
                }
            }
        });
        Self { sender, dropped }
    }

    /// Queues a message. When there is no room, it is dropped.
    pub(crate) fn publish(&self, subject: &Subject, body: Vec<u8>) {
        if self
            .sender
            .try_send((subject.to_string(), body.into()))
            .is_err()
        {
            self.dropped.inc();
            debug!("a plain message was dropped: too many wait");
        }
    }
}

/// What is removed from the stream of states.
enum Deletion {
    /// The message with this sequence.
    Sequence(u64),
    /// What is older than the sequence on this subject, which was checked to have no wildcard in it.
    Subject(String, u64),
}

/// Counts refused messages, tells them on `glance.rejected`, and removes them from the stream of states.
pub(crate) struct Refusals {
    outbox: Outbox,
    deletions: mpsc::Sender<(Store, Deletion)>,
    count: u64,
    count_logged: u64,
    logged_at: Option<Instant>,
    tokens: f64,
    refilled_at: Instant,
}

impl Refusals {
    /// `deleted` counts the refused reports that were removed.
    pub(crate) fn spawn(outbox: Outbox, deleted: Counter) -> Self {
        let (deletions, receiver) = mpsc::channel(DELETIONS_WAITING_MAX);
        tokio::spawn(delete_all(receiver, deleted));
        Self {
            outbox,
            deletions,
            count: 0,
            count_logged: 0,
            logged_at: None,
            tokens: REJECTIONS_BURST,
            refilled_at: Instant::now(),
        }
    }

    /// A message was refused.
    pub(crate) fn refuse(&mut self, subject: &str, reason: &str) {
        self.count += 1;
        let now = Instant::now();
        if self.logged_at.is_none_or(|at| now - at >= LOG_INTERVAL) {
            let new = self.count - self.count_logged;
            let subject: String = subject.escape_debug().take(200).collect();
            warn!(
                new,
                total = self.count,
                "refused a message on '{subject}': {reason}"
            );
            self.count_logged = self.count;
            self.logged_at = Some(now);
        }
        self.tell(subject, reason);
    }

    /// A message was taken, but it says something that cannot be right.
    pub(crate) fn disagree(&mut self, subject: &str, reason: &str) {
        warn!("a message on '{subject}': {reason}");
        self.tell(subject, reason);
    }

    fn tell(&mut self, subject: &str, reason: &str) {
        let now = Instant::now();
        let elapsed = (now - self.refilled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * REJECTIONS_PER_S).min(REJECTIONS_BURST);
        self.refilled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            let body = Rejection::new(subject, reason, clock::unix_ms()).to_bytes();
            self.outbox.publish(&Subject::Rejected, body);
        }
    }

    /// Removes a refused message by its sequence. Never by its subject: a token
    /// of it may be a wildcard, and would remove the messages of others.
    pub(crate) fn delete(&self, store: &Store, sequence: u64) {
        self.remove(store, Deletion::Sequence(sequence));
    }

    /// Removes the report of a shard that there is no more, unless it is at or after `sequence`.
    pub(crate) fn purge(&self, store: &Store, subject: &Subject, sequence: u64) {
        self.remove(store, Deletion::Subject(subject.to_string(), sequence));
    }

    fn remove(&self, store: &Store, deletion: Deletion) {
        if self.deletions.try_send((store.clone(), deletion)).is_err() {
            debug!("a message stays in the stream until the next start");
        }
    }
}

async fn delete_all(receiver: mpsc::Receiver<(Store, Deletion)>, count: Counter) {
    let count = &count;
    let next = |mut receiver: mpsc::Receiver<(Store, Deletion)>| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    };
    stream::unfold(receiver, next)
        .for_each_concurrent(DELETIONS_IN_FLIGHT_MAX, |(store, deletion)| async move {
            let is_refused = matches!(deletion, Deletion::Sequence(_));
            // A newer report may have replaced it already.
            let deleted = timeout(DELETE_TIMEOUT, delete(&store, deletion)).await;
            if is_refused && matches!(deleted, Ok(Ok(()))) {
                count.inc();
            }
            debug!("removing a report: {deleted:?}");
        })
        .await;
}

async fn delete(store: &Store, deletion: Deletion) -> anyhow::Result<()> {
    match deletion {
        Deletion::Sequence(sequence) => {
            store.states.delete_message(sequence).await?;
        }
        Deletion::Subject(subject, sequence) => {
            store
                .states
                .purge()
                .sequence(sequence)
                .filter(subject)
                .await?;
        }
    }
    Ok(())
}
