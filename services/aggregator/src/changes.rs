//! Publishes transitions, each at least once.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use glance_runner::Broker;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tracing::{error, warn};

/// How many transitions may wait for the broker: all shards of a very large bot, twice.
const WAITING_MAX: usize = 524_288;
/// A burst of publishes to a captured subject that is not acknowledged can be
/// dropped by the broker, so each is, and few are under way at once.
const IN_FLIGHT_MAX: usize = 256;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);

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
}

impl Changes {
    pub(crate) fn spawn(broker: Broker) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (acked_sender, acked) = watch::channel(0);
        tokio::spawn(publish_all(broker, receiver, acked_sender));
        Self {
            sender,
            acked,
            queued: 0,
        }
    }

    /// Queues a transition. Its number is [`Self::queued`] afterwards.
    pub(crate) fn push(&mut self, subject: String, body: Bytes) {
        match self.sender.try_send(Outgoing { subject, body }) {
            Ok(()) => self.queued += 1,
            Err(_) => error!("a transition is not told: {WAITING_MAX} others wait for the broker"),
        }
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
    pub(crate) async fn flush(mut self, end: Instant) {
        let queued = self.queued;
        let all = self.acked.wait_for(|acked| *acked >= queued);
        if tokio::time::timeout_at(end, all).await.is_err() {
            warn!("some transitions were not acknowledged before the end");
        }
    }
}

/// Publishes in rounds: all of one are acknowledged before the next begins, so
/// that the order of a shard's transitions is kept also when one is repeated.
async fn publish_all(
    broker: Broker,
    mut receiver: mpsc::Receiver<Outgoing>,
    acked: watch::Sender<u64>,
) {
    let mut round = Vec::with_capacity(IN_FLIGHT_MAX);
    while receiver.recv_many(&mut round, IN_FLIGHT_MAX).await > 0 {
        let count = round.len() as u64;
        let mut warned = false;
        while !round.is_empty() {
            round = publish_round(&broker, round).await;
            if round.is_empty() || receiver.is_closed() {
                break;
            }
            if !std::mem::replace(&mut warned, true) {
                warn!("{} transitions wait for the broker", round.len());
            }
            tokio::time::sleep(RETRY).await;
        }
        acked.send_modify(|acked| *acked += count);
    }
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
