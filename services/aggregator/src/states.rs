//! Reads the stream of states: first what was stored while nobody listened, then live.
//!
//! A consumer may stall for many seconds after the broker restarted, so it is
//! made anew on each connection. Reports that come twice change nothing.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, push},
};
use futures::StreamExt as _;
use glance_protocol::subject;
use glance_runner::{Broker, Link, Shutdown, broker::pause};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::warn;

use crate::store::Store;

/// How many batches may wait for the table.
const BATCHES_MAX: usize = 64;
const BATCH_LEN_MAX: usize = 256;
const RETRY: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What the reader tells the owner of the table.
pub(crate) enum FromStates {
    /// A connection was made, and with it perhaps a stream that is not the one before.
    Opened(Box<Store>),
    /// Messages, in order.
    Batch(Vec<StoredReport>),
    /// Everything that was stored before has been handed over.
    CaughtUp,
}

/// A message of the stream.
pub(crate) struct StoredReport {
    pub(crate) message: Message,
    pub(crate) sequence: u64,
    /// When it was stored, if that was before the consumer caught up; Unix milliseconds.
    pub(crate) stored_ms: Option<i64>,
}

/// Reads the stream from `first_sequence` until the shutdown.
pub(crate) struct Reader {
    pub(crate) broker: Broker,
    pub(crate) replicas: usize,
    pub(crate) shutdown: Shutdown,
    pub(crate) store: Store,
    pub(crate) next_sequence: u64,
}

impl Reader {
    pub(crate) fn spawn(self) -> mpsc::Receiver<FromStates> {
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        tokio::spawn(self.run(sender));
        receiver
    }

    async fn run(mut self, sender: mpsc::Sender<FromStates>) {
        let mut first = true;
        while !self.shutdown.is_requested() && !sender.is_closed() {
            let mut link = self.broker.link();
            let connects = link.borrow_and_update().connects;
            if let Err(cause) = self.read(&sender, &mut link, connects, first).await {
                warn!("the stream of states is read anew: {cause:#}");
                if !pause(RETRY, &self.shutdown).await {
                    return;
                }
            }
            first = false;
        }
    }

    /// Reads with one consumer, until there is a reason for another.
    async fn read(
        &mut self,
        sender: &mpsc::Sender<FromStates>,
        link: &mut watch::Receiver<Link>,
        connects: u64,
        first: bool,
    ) -> anyhow::Result<()> {
        if !first {
            self.reopen(sender).await?;
        }
        let (target, consumer) = timeout(REQUEST_TIMEOUT, self.consume())
            .await
            .context("no answer from the broker")??;
        let mut backlog = target >= self.next_sequence;
        if !backlog {
            tell(sender, FromStates::CaughtUp).await?;
        }
        let mut batches = consumer.ready_chunks(BATCH_LEN_MAX);
        loop {
            let batch = tokio::select! {
                batch = batches.next() => batch.context("the consumer ended")?,
                changed = link.wait_for(|link| link.connects != connects || link.closed) => {
                    changed.context("the connection ended")?;
                    return Ok(());
                }
                () = self.shutdown.requested() => return Ok(()),
            };
            let mut reports = Vec::with_capacity(batch.len());
            let was_backlog = backlog;
            for message in batch {
                let report = stored(message?, &mut backlog, target)?;
                self.next_sequence = report.sequence + 1;
                reports.push(report);
            }
            tell(sender, FromStates::Batch(reports)).await?;
            if was_backlog && !backlog {
                tell(sender, FromStates::CaughtUp).await?;
            }
        }
    }

    /// After a new connection: is it still the same stream?
    async fn reopen(&mut self, sender: &mpsc::Sender<FromStates>) -> anyhow::Result<()> {
        let open = Store::open(&self.broker.jetstream, self.replicas);
        let store = timeout(REQUEST_TIMEOUT, open)
            .await
            .context("no answer from the broker")??;
        let same = store.states_id == self.store.states_id;
        if !same || store.last_sequence + 1 < self.next_sequence {
            warn!("the stream of states is not the one before; reading all of it");
            self.next_sequence = 1;
        }
        self.store = store.clone();
        tell(sender, FromStates::Opened(Box::new(store))).await
    }

    /// A consumer, and the sequence of the last message that was stored before it.
    async fn consume(&self) -> anyhow::Result<(u64, push::Ordered)> {
        let last = self
            .store
            .states
            .direct_get_last_for_subject(subject::STATES_FILTER)
            .await;
        let target = match last {
            Ok(message) => message.sequence,
            Err(cause) if is_empty(&cause) => 0,
            Err(cause) => return Err(cause).context("cannot read the last stored report"),
        };
        let config = push::OrderedConfig {
            deliver_subject: self.broker.client.new_inbox(),
            filter_subject: subject::STATES_FILTER.into(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next_sequence,
            },
            ..push::OrderedConfig::default()
        };
        let consumer = self
            .store
            .states
            .create_consumer(config)
            .await
            .context("cannot read the stream of states")?;
        Ok((target, consumer.messages().await?))
    }
}

fn is_empty(cause: &async_nats::jetstream::stream::DirectGetError) -> bool {
    use async_nats::jetstream::stream::DirectGetErrorKind;
    matches!(cause.kind(), DirectGetErrorKind::NotFound)
}

async fn tell(sender: &mpsc::Sender<FromStates>, event: FromStates) -> anyhow::Result<()> {
    if sender.send(event).await.is_err() {
        bail!("nobody reads the reports any more");
    }
    Ok(())
}

fn stored(message: Message, backlog: &mut bool, target: u64) -> anyhow::Result<StoredReport> {
    let (sequence, stored_ms, pending) = {
        let info = message
            .info()
            .map_err(|cause| anyhow::anyhow!("a message without its sequence: {cause}"))?;
        let ms = info.published.unix_timestamp_nanos() / 1_000_000;
        (info.stream_sequence, i64::try_from(ms).ok(), info.pending)
    };
    let report = StoredReport {
        message,
        sequence,
        stored_ms: stored_ms.filter(|_| *backlog),
    };
    // The target may be gone, replaced by a newer report; nothing is pending then.
    if sequence >= target || pending == 0 {
        *backlog = false;
    }
    Ok(report)
}
