//! Reads the stream of states: first what was stored while nobody listened, then live.
//!
//! A consumer may stall for many seconds after the broker restarted, so it is
//! made anew on each connection.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use async_nats::jetstream::{
    Message,
    consumer::{
        DeliverPolicy,
        push::{self, OrderedError},
    },
};
use futures::StreamExt as _;
use glance_protocol::subject;
use glance_runner::{
    Broker, Link, Shutdown,
    broker::pause,
    fault::{self, Mutation},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tracing::warn;

use crate::{raw, store::Store};

/// How many batches may wait for the table.
const BATCHES_MAX: usize = 64;
const BATCH_LEN_MAX: usize = 256;
const RETRY: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An opening asks six times or more, and each request has its own limit.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// After so many connections without a single report, the stream may hold one that ends each of them.
const STALLS_MAX: u32 = 2;
/// How many stored reports are looked at then.
const LOOKS_MAX: u32 = 2000;
/// How long nothing may come of what was stored before it is checked whether there is anything left.
const BACKLOG_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the reader tells the owner of the table.
pub(crate) enum FromStates {
    /// A connection was made, and with it perhaps a stream that is not the one before.
    Opened(Box<Store>),
    /// Messages, in order.
    Batch(Vec<StoredReport>),
    /// Everything that was stored before has been handed over, on the connection with this number.
    CaughtUp(u64),
    /// The stream is not read any more, until it is caught up with again.
    Lost,
    /// A message that the client could not take was removed: its subject, and why.
    Removed(String, &'static str),
}

/// A message of the stream.
pub(crate) struct StoredReport {
    pub(crate) message: Message,
    pub(crate) sequence: u64,
    /// When it was stored, if that was before the consumer caught up; Unix milliseconds.
    pub(crate) stored_ms: Option<i64>,
}

/// Reads the stream from `next_sequence` until the shutdown.
pub(crate) struct Reader {
    pub(crate) broker: Broker,
    pub(crate) replicas: usize,
    pub(crate) shutdown: Shutdown,
    pub(crate) store: Store,
    pub(crate) next_sequence: u64,
    /// Somebody cannot write, so that everything is to be opened anew.
    pub(crate) reopen: Arc<Notify>,
}

impl Reader {
    pub(crate) fn spawn(self) -> mpsc::Receiver<FromStates> {
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        tokio::spawn(self.run(sender));
        receiver
    }

    async fn run(mut self, sender: mpsc::Sender<FromStates>) {
        let mut first = true;
        let mut stalls = 0;
        while !self.shutdown.is_requested() && !sender.is_closed() {
            let mut link = self.broker.link();
            let connects = link.borrow_and_update().connects;
            let before = self.next_sequence;
            let end = self.read(&sender, &mut link, connects, first).await;
            if self.shutdown.is_requested() {
                return;
            }
            stalls = if self.next_sequence == before {
                stalls + 1
            } else {
                0
            };
            if stalls >= STALLS_MAX
                && let Err(cause) = self.remove_unreadable(&sender).await
            {
                warn!("cannot look for reports that cannot be read: {cause:#}");
            }
            if let Err(cause) = end {
                warn!("the stream of states is read anew: {cause:#}");
                if !pause(RETRY, &self.shutdown).await {
                    return;
                }
            }
            first = false;
            if tell(&sender, FromStates::Lost).await.is_err() {
                return;
            }
        }
    }

    /// Removes the stored messages that the client cannot take, since they would end each connection anew.
    async fn remove_unreadable(&self, sender: &mpsc::Sender<FromStates>) -> anyhow::Result<()> {
        let mut sequence = self.next_sequence;
        for _ in 0..LOOKS_MAX {
            let Some(message) = raw::next(&self.broker.client, sequence).await? else {
                break;
            };
            sequence = message.sequence + 1;
            if let Some(problem) = message.problem() {
                let delete = self.store.states.delete_message(message.sequence);
                timeout(REQUEST_TIMEOUT, delete)
                    .await
                    .context("no answer from the broker")??;
                tell(sender, FromStates::Removed(message.subject, problem)).await?;
            }
        }
        Ok(())
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
        let consumer = timeout(REQUEST_TIMEOUT, self.consume())
            .await
            .context("no answer from the broker")??;
        let mut backlog = !self.is_caught_up().await?;
        if !backlog {
            tell(sender, FromStates::CaughtUp(connects)).await?;
        }
        let mut batches = consumer.ready_chunks(BATCH_LEN_MAX);
        loop {
            let was_backlog = backlog;
            tokio::select! {
                batch = batches.next() => {
                    let batch = batch.context("the consumer ended")?;
                    self.hand_over(sender, batch, &mut backlog).await?;
                }
                // What was pending may have been deleted, and then nothing comes.
                () = tokio::time::sleep(BACKLOG_PAUSE_MAX), if backlog => {
                    backlog = !self.is_caught_up().await?;
                }
                changed = renewed(link, connects) => {
                    changed.context("the connection ended")?;
                    return Ok(());
                }
                () = self.reopen.notified() => return Ok(()),
                () = self.shutdown.requested() => return Ok(()),
            }
            if was_backlog && !backlog {
                tell(sender, FromStates::CaughtUp(connects)).await?;
            }
        }
    }

    async fn hand_over(
        &mut self,
        sender: &mpsc::Sender<FromStates>,
        batch: Vec<Result<Message, OrderedError>>,
        backlog: &mut bool,
    ) -> anyhow::Result<()> {
        let mut reports = Vec::with_capacity(batch.len());
        let mut end = Ok(());
        for message in batch {
            match message.map_err(Into::into).and_then(|m| stored(m, backlog)) {
                Ok(report) => reports.push(report),
                Err(cause) => {
                    end = Err(cause);
                    break;
                }
            }
        }
        let last = reports.last().map(|report| report.sequence);
        tell(sender, FromStates::Batch(reports)).await?;
        self.next_sequence = last.map_or(self.next_sequence, |last| last + 1);
        end
    }

    /// Whether the last report that is stored has been handed over.
    async fn is_caught_up(&self) -> anyhow::Result<bool> {
        let last = raw::last(&self.broker.client).await?;
        Ok(last.is_none_or(|last| last.sequence < self.next_sequence))
    }

    /// After a new connection: is it still the same stream?
    async fn reopen(&mut self, sender: &mpsc::Sender<FromStates>) -> anyhow::Result<()> {
        let open = Store::open(&self.broker.jetstream, self.replicas);
        let store = timeout(OPEN_TIMEOUT, open)
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

    async fn consume(&mut self) -> anyhow::Result<push::Ordered> {
        if fault::is(Mutation::ReplaySkipped) {
            let last = raw::last(&self.broker.client).await?;
            self.next_sequence = last.map_or(self.next_sequence, |last| last.sequence + 1);
        }
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
        Ok(consumer.messages().await?)
    }
}

/// Waits until the connection is another one, or was closed for good.
async fn renewed(
    link: &mut watch::Receiver<Link>,
    connects: u64,
) -> Result<(), watch::error::RecvError> {
    link.wait_for(|link| link.connects != connects || link.closed)
        .await
        .map(drop)
}

async fn tell(sender: &mpsc::Sender<FromStates>, event: FromStates) -> anyhow::Result<()> {
    if sender.send(event).await.is_err() {
        bail!("nobody reads the reports any more");
    }
    Ok(())
}

fn stored(message: Message, backlog: &mut bool) -> anyhow::Result<StoredReport> {
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
    if pending == 0 {
        *backlog = false;
    }
    Ok(report)
}
