//! Messages to the broker, with a bound on time and number.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::{
    context::{PublishAckFuture, PublishError},
    message::PublishMessage,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use glance_protocol::Subject;
use glance_runner::{
    Broker, Link,
    fault::{self, Mutation},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout_at},
};
use tracing::warn;

use crate::{options::BridgeOptions, refusal::Unavailable};

/// Everything that the broker does for one request is done by then, or the request is answered with 503.
const DEADLINE: Duration = Duration::from_millis(1500);
/// How often the log says that the broker refuses something.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// A message to publish.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) subject: Subject,
    pub(crate) body: Bytes,
}

impl Message {
    /// A report is stored, which the broker acknowledges; a health check is not.
    fn is_stored(&self) -> bool {
        matches!(self.subject, Subject::State(..))
    }
}

/// The way to the broker, which all requests share.
pub(crate) struct Publisher {
    broker: Broker,
    link: watch::Receiver<Link>,
    /// One permit for each request that waits for the broker.
    waiting: Semaphore,
    waiting_max: u32,
    /// One permit for each message that the broker has not answered yet.
    in_flight: Semaphore,
    complained: Mutex<Option<Instant>>,
}

impl Publisher {
    pub(crate) fn new(broker: Broker, options: &BridgeOptions) -> Self {
        Self {
            link: broker.link(),
            broker,
            waiting: Semaphore::new(options.waiting_max as usize),
            waiting_max: options.waiting_max,
            in_flight: Semaphore::new(options.in_flight_max as usize),
            complained: Mutex::new(None),
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.link.borrow().connected
    }

    /// Lets a request talk to the broker, from now until the deadline.
    ///
    /// # Errors
    ///
    /// When too many others do.
    pub(crate) fn admit(&self) -> Result<Turn<'_>, Unavailable> {
        let permit = self.waiting.try_acquire();
        Ok(Turn {
            publisher: self,
            deadline: Instant::now() + DEADLINE,
            _permit: permit.map_err(|_| Unavailable::Busy)?,
        })
    }

    /// Waits until the broker has done its part for all requests that were
    /// admitted, and what they published is written. Every turn has a deadline, so this ends.
    pub(crate) async fn finish(&self) {
        // Nobody closes the semaphore, so this is an end of the waiting and no error.
        drop(self.waiting.acquire_many(self.waiting_max).await);
        if self.connected() {
            let flush = self.broker.client.flush();
            // It is the last thing that is done; there is nobody to tell.
            let _ = timeout_at(Instant::now() + DEADLINE, flush).await;
        }
    }

    /// Says something in the log, but not for each of many requests.
    fn complain(&self, complaint: &dyn Display) {
        let mut last = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            *last = Some(Instant::now());
            warn!("{complaint}");
        }
    }
}

/// What one request may do with the broker.
pub(crate) struct Turn<'a> {
    publisher: &'a Publisher,
    deadline: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    pub(crate) fn broker(&self) -> &Broker {
        &self.publisher.broker
    }

    /// Says in the log why the broker did not do something.
    pub(crate) fn complain(&self, complaint: &dyn Display) {
        self.publisher.complain(complaint);
    }

    /// Waits for room for one more message.
    pub(crate) async fn room(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        let permit = self.publisher.in_flight.acquire().await;
        permit.map_err(|_| Unavailable::Busy)
    }

    /// Does something with the broker until the deadline, and while the connection stands.
    ///
    /// Without this, a request would block as long as the broker is away, and
    /// an acknowledgement that was lost with a connection would be waited for.
    ///
    /// # Errors
    ///
    /// When the broker is away, goes away meanwhile, or takes too long.
    pub(crate) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let mut link = self.publisher.link.clone();
        let start = *link.borrow_and_update();
        if !start.connected {
            return Err(Unavailable::Disconnected);
        }
        let lost = link.wait_for(|now| !now.connected || now.connects != start.connects);
        tokio::select! {
            // Work that seems to be done although its connection is gone was done for nothing.
            biased;
            _ = lost => Err(Unavailable::Disconnected),
            result = timeout_at(self.deadline, work) => result.unwrap_or(Err(Unavailable::TimedOut)),
        }
    }

    /// Publishes messages in their order. When this returns without an error,
    /// the reports among them are stored, and the health checks are on their way.
    ///
    /// # Errors
    ///
    /// When the broker did not take all of them in time. Some may have been taken.
    pub(crate) async fn deliver(&self, messages: Vec<Message>) -> Result<(), Unavailable> {
        self.bounded(self.publish(messages)).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), Unavailable> {
        let mut acknowledgements = FuturesUnordered::new();
        let mut unwritten = false;
        let connects = self.connects();
        for message in messages {
            // While this request waits for room, its own acknowledgements have to come in.
            let permit = loop {
                tokio::select! {
                    permit = self.room() => break permit?,
                    Some(stored) = acknowledgements.next() => stored?,
                }
            };
            if message.is_stored() {
                let acknowledgement = self.send(message).await?;
                if fault::is(Mutation::EarlyAnswer) {
                    continue;
                }
                acknowledgements.push(async move {
                    let stored = acknowledgement.await;
                    drop(permit);
                    stored.map(drop).map_err(|cause| self.refused(&cause))
                });
            } else {
                self.tell(message).await?;
                unwritten = true;
            }
        }
        if unwritten {
            let flushed = self.broker().client.flush().await;
            flushed.map_err(|_| Unavailable::Disconnected)?;
            if self.connects() != connects {
                // What was still in the buffer of the connection before is lost, and the flush was another's.
                return Err(Unavailable::Disconnected);
            }
        }
        while let Some(stored) = acknowledgements.next().await {
            stored?;
        }
        Ok(())
    }

    /// How often the client has connected, without the delay with which its events come.
    fn connects(&self) -> u64 {
        let statistics = self.broker().client.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    async fn send(&self, message: Message) -> Result<PublishAckFuture, Unavailable> {
        let subject = message.subject.to_string();
        let publish = PublishMessage::build().payload(message.body);
        let sent = self.broker().jetstream.send_publish(subject, publish).await;
        sent.map_err(|cause| self.refused(&cause))
    }

    async fn tell(&self, message: Message) -> Result<(), Unavailable> {
        let subject = message.subject.to_string();
        let sent = self.broker().client.publish(subject, message.body).await;
        sent.map_err(|_| Unavailable::Disconnected)
    }

    fn refused(&self, cause: &PublishError) -> Unavailable {
        self.complain(&format_args!("the broker did not store a report: {cause}"));
        Unavailable::Refused
    }
}
