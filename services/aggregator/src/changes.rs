//! Publishes transitions, each at least once.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use glance_runner::Broker;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{error, warn};

use crate::lead::Tenure;

/// How many transitions may wait for the broker: all shards of a very large bot, twice.
const WAITING_MAX: usize = 524_288;
/// A burst of publishes to a captured subject that is not acknowledged can be
/// dropped by the broker, so each is, and few are under way at once.
const IN_FLIGHT_MAX: usize = 256;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);
/// How long the stream may refuse before it is looked for anew.
const FAILING_MAX: Duration = Duration::from_secs(5);

/// A transition on its way.
struct Outgoing {
    subject: String,
    body: Bytes,
}

/// Hands transitions to the task that publishes them.
pub(crate) struct Changes {
    sender: mpsc::Sender<Outgoing>,
    acked: watch::Receiver<u64>,
    queued: u64,
    full: bool,
    /// The epoch of the tenure in which they may be published.
    epoch: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Drop for Changes {
    /// Who leads no more tells nothing more.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    /// They are published only while this process leads: see [`Self::lead`].
    /// `reopen` is asked when the stream cannot be written for long.
    pub(crate) fn spawn(
        broker: Broker,
        tenure: watch::Receiver<Option<Tenure>>,
        reopen: Arc<Notify>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (acked_sender, acked) = watch::channel(0);
        let (epoch, epoch_receiver) = watch::channel(0);
        let publisher = Publisher {
            broker,
            epoch: epoch_receiver,
            tenure,
            acked: acked_sender,
            reopen,
        };
        Self {
            sender,
            acked,
            queued: 0,
            full: false,
            epoch,
            task: tokio::spawn(publisher.publish_all(receiver)),
        }
    }

    /// This process leads with this epoch. What waits still is published by it as well.
    pub(crate) fn lead(&self, epoch: u64) {
        self.epoch.send_replace(epoch);
    }

    /// Queues a transition. Its number is [`Self::queued`] afterwards. `false`: there was no room, and it is dropped.
    pub(crate) fn push(&mut self, subject: String, body: Bytes) -> bool {
        match self.sender.try_send(Outgoing { subject, body }) {
            Ok(()) => {
                self.queued += 1;
                self.full = false;
                return true;
            }
            Err(_) if std::mem::replace(&mut self.full, true) => {}
            Err(_) => error!("transitions are not told: {WAITING_MAX} others wait for the broker"),
        }
        false
    }

    /// How many have been queued.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// How many have been acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        *self.acked.borrow()
    }

    /// Waits until more have been acknowledged.
    pub(crate) async fn progress(&mut self) {
        if self.acked.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the acknowledgement of all, until `end`.
    pub(crate) async fn flush(&mut self, end: Instant) {
        let queued = self.queued;
        let all = self.acked.wait_for(|acked| *acked >= queued);
        if tokio::time::timeout_at(end, all).await.is_err() {
            warn!("some transitions were not acknowledged before the end");
        }
    }
}

struct Publisher {
    broker: Broker,
    epoch: watch::Receiver<u64>,
    tenure: watch::Receiver<Option<Tenure>>,
    acked: watch::Sender<u64>,
    reopen: Arc<Notify>,
}

impl Publisher {
    /// Publishes in rounds: all of one are acknowledged before the next begins, and
    /// a round has at most one transition of a shard. So their order is kept, also
    /// when some have to be published again.
    async fn publish_all(mut self, mut receiver: mpsc::Receiver<Outgoing>) {
        let mut waiting = VecDeque::with_capacity(IN_FLIGHT_MAX);
        let mut received = Vec::with_capacity(IN_FLIGHT_MAX);
        loop {
            if waiting.is_empty() && receiver.recv_many(&mut received, IN_FLIGHT_MAX).await == 0 {
                return;
            }
            waiting.extend(received.drain(..));
            let round = take_round(&mut waiting);
            let count = round.len() as u64;
            self.publish_at_last(round).await;
            self.acked.send_modify(|acked| *acked += count);
        }
    }

    async fn publish_at_last(&mut self, mut round: Vec<Outgoing>) {
        let mut failing_since = None;
        loop {
            self.wait_for_tenure().await;
            round = publish_round(&self.broker, round).await;
            if round.is_empty() {
                return;
            }
            let since = *failing_since.get_or_insert_with(|| {
                warn!("{} transitions wait for the broker", round.len());
                Instant::now()
            });
            tokio::time::sleep(RETRY).await;
            if since.elapsed() > FAILING_MAX {
                failing_since = Some(Instant::now());
                self.reopen.notify_one();
            }
        }
    }

    /// While the lease has run out, it is not known whether another leads. When
    /// another does, this task is aborted.
    async fn wait_for_tenure(&mut self) {
        loop {
            let epoch = *self.epoch.borrow_and_update();
            let tenure = *self.tenure.borrow_and_update();
            if tenure.is_some_and(|tenure| tenure.epoch == epoch && tenure.is_valid()) {
                return;
            }
            let ended = tokio::select! {
                changed = self.epoch.changed() => changed.is_err(),
                changed = self.tenure.changed() => changed.is_err(),
            };
            if ended {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The first transitions, up to the second one of the same shard.
fn take_round(waiting: &mut VecDeque<Outgoing>) -> Vec<Outgoing> {
    let mut subjects = HashSet::new();
    let is_new = |outgoing: &&Outgoing| subjects.insert(outgoing.subject.clone());
    let len = waiting.iter().take_while(is_new).count();
    waiting.drain(..len).collect()
}

/// The ones that were not acknowledged.
async fn publish_round(broker: &Broker, round: Vec<Outgoing>) -> Vec<Outgoing> {
    let publishes: FuturesUnordered<_> = round
        .into_iter()
        .enumerate()
        .map(|(index, outgoing)| async move {
            let result = timeout(ACK_TIMEOUT, publish(broker, &outgoing)).await;
            match result.context("no acknowledgement in time").flatten() {
                Ok(()) => None,
                Err(cause) => {
                    tracing::debug!("{}: {cause:#}", outgoing.subject);
                    Some((index, outgoing))
                }
            }
        })
        .collect();
    let mut left: Vec<_> = publishes.filter_map(std::future::ready).collect().await;
    left.sort_by_key(|(index, _)| *index);
    left.into_iter().map(|(_, outgoing)| outgoing).collect()
}

async fn publish(broker: &Broker, outgoing: &Outgoing) -> anyhow::Result<()> {
    broker
        .jetstream
        .publish(outgoing.subject.clone(), outgoing.body.clone())
        .await?
        .await?;
    Ok(())
}
