//! Messages to the broker, with a bound on time and number.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use glance_protocol::Subject;
use glance_runner::{Broker, Link};
use tokio::{
    sync::{
        Semaphore, SemaphorePermit,
        mpsc::{self, error::TrySendError},
        watch,
    },
    time::{Instant, timeout_at},
};
use tracing::warn;

use crate::{
    metrics::Counts,
    options::BridgeOptions,
    outbox::{Parcel, Start},
    refusal::Unavailable,
};

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

/// What the log says of the broker, but not for each of many requests.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    pub(crate) fn complain(&self, complaint: &dyn Display) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            *last = Some(Instant::now());
            warn!("{complaint}");
        }
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
    in_flight: Arc<Semaphore>,
    in_flight_max: u32,
    counts: Arc<Counts>,
    outbox: mpsc::Sender<Parcel>,
    complaints: Arc<Complaints>,
}

impl Publisher {
    /// The way, and the task that has to run for it.
    pub(crate) fn new(broker: Broker, options: &BridgeOptions) -> (Self, Start) {
        let (outbox, parcels) = mpsc::channel(options.waiting_max as usize);
        let publisher = Self {
            link: broker.link(),
            broker,
            waiting: Semaphore::new(options.waiting_max as usize),
            waiting_max: options.waiting_max,
            in_flight: Arc::new(Semaphore::new(options.in_flight_max as usize)),
            in_flight_max: options.in_flight_max,
            counts: Arc::default(),
            outbox,
            complaints: Arc::default(),
        };
        let start = Start {
            client: publisher.broker.client.clone(),
            link: publisher.broker.link(),
            in_flight: publisher.in_flight.clone(),
            counts: publisher.counts.clone(),
            complaints: publisher.complaints.clone(),
            parcels,
        };
        (publisher, start)
    }

    pub(crate) fn connected(&self) -> bool {
        self.link.borrow().connected
    }

    /// What is counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is under way, and how much of it there may be.
    pub(crate) fn load(&self) -> Load {
        let used = |max: u32, semaphore: &Semaphore| {
            u64::from(max).saturating_sub(semaphore.available_permits() as u64)
        };
        Load {
            in_flight: used(self.in_flight_max, &self.in_flight),
            in_flight_max: self.in_flight_max.into(),
            waiting: used(self.waiting_max, &self.waiting),
            waiting_max: self.waiting_max.into(),
        }
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
}

/// What is under way between requests and the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Messages that the broker has not answered yet.
    pub(crate) in_flight: u64,
    pub(crate) in_flight_max: u64,
    /// Requests that wait for the broker.
    pub(crate) waiting: u64,
    pub(crate) waiting_max: u64,
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
        self.publisher.complaints.complain(complaint);
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
        if messages.is_empty() && self.publisher.connected() {
            return Ok(());
        }
        let (parcel, told) = Parcel::new(messages, self.deadline);
        let sent = self.publisher.outbox.try_send(parcel);
        sent.map_err(|cause| match cause {
            TrySendError::Full(_) => Unavailable::Busy,
            TrySendError::Closed(_) => Unavailable::Disconnected,
        })?;
        // The outbox keeps the deadline.
        told.await.unwrap_or(Err(Unavailable::Disconnected))
    }
}
