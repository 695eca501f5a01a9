//! The task that hands the messages of all requests to the broker.
//!
//! One task does it, and not each request for itself, so that what many requests need is done once: a write of health
//! checks, a look at the connection, a timer. It waits for nothing but the next event, so no request holds up another.

pub(crate) mod acknowledgement;
mod parcel;
mod receipt;
mod window;

use std::{
    collections::VecDeque,
    fmt::{Display, Write as _},
    mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, Subscriber};
use futures::{
    FutureExt as _, StreamExt as _,
    stream::{Fuse, ReadyChunks},
};
use glance_protocol::Subject;
use glance_runner::{
    Link, Shutdown,
    fault::{self, Mutation},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{unconstrained, yield_now},
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tracing::error;

pub(crate) use self::parcel::Parcel;
use self::{
    parcel::{Batch, Sent},
    receipt::Receipt,
    window::Window,
};
use crate::{
    metrics::Counts,
    publish::{Complaints, Message},
    refusal::Unavailable,
};

/// How many acknowledgements are taken at once.
const CHUNK: usize = 128;
/// Longer than most subjects.
const SUBJECT_BYTES: usize = 48;
/// How many health checks may wait for the write to the broker.
const UNWRITTEN_MAX: usize = 1024;
/// How often deadlines are looked at, and whether the client has room again.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is needed to start the task.
pub(crate) struct Start {
    pub(crate) client: Client,
    pub(crate) link: watch::Receiver<Link>,
    /// One permit for each message that the broker has not answered yet.
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) complaints: Arc<Complaints>,
    pub(crate) parcels: mpsc::Receiver<Parcel>,
}

impl Start {
    /// Hands over parcels until it is told that nobody waits any more, or nobody can send one.
    pub(crate) async fn run(self, finished: Shutdown) {
        tokio::select! {
            biased;
            () = self.hand_over() => {}
            () = finished.requested() => {}
        }
    }

    async fn hand_over(self) {
        let inbox = self.client.new_inbox();
        let acknowledgements = match self.client.subscribe(format!("{inbox}.*")).await {
            Ok(subscription) => subscription.fuse().ready_chunks(CHUNK),
            // The name is right, so the client is at its end.
            Err(cause) => return error!("cannot hear acknowledgements: {cause}"),
        };
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = self.link;
        let seen = *link.borrow_and_update();
        let outbox = Outbox {
            seen,
            link,
            client: Arc::new(self.client),
            in_flight: self.in_flight,
            room: 0,
            counts: self.counts,
            complaints: self.complaints,
            parcels: self.parcels,
            queue: VecDeque::new(),
            blocked: Blocked::No,
            inbox,
            acknowledgements,
            window: Window::new(),
            unwritten: Batch::default(),
            writing: Batch::default(),
            flush: None,
            looks,
        };
        outbox.run().await;
    }
}

type Flush = Pin<Box<dyn Future<Output = bool> + Send>>;

struct Outbox {
    client: Arc<Client>,
    link: watch::Receiver<Link>,
    /// How the connection was when everything that is held here began.
    seen: Link,
    in_flight: Arc<Semaphore>,
    /// Permits that were waited for and are not used yet.
    room: usize,
    counts: Arc<Counts>,
    complaints: Arc<Complaints>,
    parcels: mpsc::Receiver<Parcel>,
    /// One message of each in turn, so that a large report does not hold up the small ones.
    queue: VecDeque<Parcel>,
    blocked: Blocked,
    /// What the names of all replies begin with.
    inbox: String,
    acknowledgements: ReadyChunks<Fuse<Subscriber>>,
    /// Reports that were sent and are not acknowledged yet.
    window: Window<Sent>,
    /// Health checks that the client has, and that no flush under way covers.
    unwritten: Batch,
    /// Health checks that the flush under way covers.
    writing: Batch,
    flush: Option<Flush>,
    looks: Interval,
}

/// Why the queue stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    No,
    /// Too many messages are in flight.
    Room,
    /// Too many health checks wait for the write.
    Writes,
    /// The client's own queue is full.
    Client,
}

impl Outbox {
    async fn run(mut self) {
        let in_flight = self.in_flight.clone();
        loop {
            self.send_what_may_go();
            self.flush_what_was_told();
            let take_more = self.queue.len() < self.parcels.max_capacity();
            tokio::select! {
                // What happened to the connection comes first: what seems to be done although it is gone was
                // done for nothing.
                biased;
                changed = self.link.changed() => match changed {
                    Ok(()) => self.note_link(),
                    Err(_) => return,
                },
                _ = self.looks.tick(), if self.is_busy() => self.drop_what_is_late(),
                Some(messages) = self.acknowledgements.next() => {
                    for message in &messages {
                        self.note_acknowledgement(message);
                    }
                }
                written = end_of(&mut self.flush) => self.note_flush(written),
                parcel = self.parcels.recv(), if take_more => match parcel {
                    Some(parcel) => {
                        // The scheduler runs this task right after the request that woke it. The other requests
                        // that are ready come first, so that one write takes the messages of all.
                        yield_now().await;
                        self.take_in(parcel);
                    }
                    None => return,
                },
                Ok(permit) = in_flight.acquire(), if self.blocked == Blocked::Room => {
                    permit.forget();
                    self.room += 1;
                }
            }
        }
    }

    fn is_busy(&self) -> bool {
        !(self.queue.is_empty()
            && self.window.is_empty()
            && self.unwritten.sent.is_empty()
            && self.writing.sent.is_empty())
    }

    /// Takes this one, and those that came with it.
    fn take_in(&mut self, first: Parcel) {
        let mut next = Some(first);
        while let Some(parcel) = next {
            if self.seen.connected {
                self.queue.push_back(parcel);
            } else {
                parcel.receipt.fail(Unavailable::Disconnected);
            }
            let room = self.queue.len() < self.parcels.max_capacity();
            next = room.then(|| self.parcels.try_recv().ok()).flatten();
        }
    }

    fn send_what_may_go(&mut self) {
        self.blocked = self.send_until_blocked();
        // Others wait for it as well.
        self.in_flight.add_permits(mem::take(&mut self.room));
    }

    fn send_until_blocked(&mut self) -> Blocked {
        while let Some(mut parcel) = self.queue.pop_front() {
            if parcel.receipt.is_moot() {
                continue;
            }
            let Some(message) = parcel.messages.front() else {
                continue;
            };
            let blocked = match message.subject {
                Subject::State(..) => self.store(&parcel, message),
                _ => self.tell(&parcel, message),
            };
            if blocked != Blocked::No {
                self.queue.push_front(parcel);
                return blocked;
            }
            parcel.messages.pop_front();
            if !parcel.messages.is_empty() {
                self.queue.push_back(parcel);
            }
        }
        Blocked::No
    }

    /// Sends a report, which the broker acknowledges.
    fn store(&mut self, parcel: &Parcel, message: &Message) -> Blocked {
        if self.room > 0 {
            self.room -= 1;
        } else {
            match self.in_flight.try_acquire() {
                Ok(permit) => permit.forget(),
                Err(_) => return Blocked::Room,
            }
        }
        let reply = text(&format_args!("{}.{}", self.inbox, self.window.next()));
        let (subject, body) = (text(&message.subject), message.body.clone());
        let publish = self.client.publish_with_reply(subject, reply, body);
        match unconstrained(publish).now_or_never() {
            Some(Ok(())) if fault::is(Mutation::EarlyAnswer) => parcel.receipt.done(),
            Some(Ok(())) => {
                self.window.push(parcel.sent());
                return Blocked::No;
            }
            Some(Err(cause)) => {
                self.complaints
                    .complain(&format_args!("a report cannot be published: {cause}"));
                parcel.receipt.fail(Unavailable::Refused);
            }
            None => {
                self.room += 1;
                return Blocked::Client;
            }
        }
        self.room += 1;
        Blocked::No
    }

    /// Hands a health check to the client.
    fn tell(&mut self, parcel: &Parcel, message: &Message) -> Blocked {
        if self.unwritten.sent.len() + self.writing.sent.len() >= UNWRITTEN_MAX {
            return Blocked::Writes;
        }
        if self.unwritten.sent.is_empty() {
            self.unwritten.connects = self.connects();
        }
        let (subject, body) = (text(&message.subject), message.body.clone());
        match unconstrained(self.client.publish(subject, body)).now_or_never() {
            Some(Ok(())) => self.unwritten.sent.push(parcel.sent()),
            Some(Err(_)) => parcel.receipt.fail(Unavailable::Disconnected),
            None => return Blocked::Client,
        }
        Blocked::No
    }

    /// One flush at a time covers all health checks that came during the one before.
    fn flush_what_was_told(&mut self) {
        if self.flush.is_some() || self.unwritten.sent.is_empty() {
            return;
        }
        mem::swap(&mut self.writing, &mut self.unwritten);
        let client = self.client.clone();
        self.flush = Some(Box::pin(async move { client.flush().await.is_ok() }));
    }

    fn note_flush(&mut self, written: bool) {
        self.flush = None;
        // After a change, what was still in the buffer of the connection before is lost, and the flush was another's.
        let written = written && self.connects() == self.writing.connects;
        if written {
            self.counts.health_checks(self.writing.sent.len());
        }
        for sent in self.writing.sent.drain(..) {
            if written {
                sent.receipt.done();
            } else {
                sent.receipt.fail(Unavailable::Disconnected);
            }
        }
    }

    /// How often the client has connected, without the delay with which its events come.
    fn connects(&self) -> u64 {
        let statistics = self.client.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    fn note_acknowledgement(&mut self, message: &async_nats::Message) {
        let number = message.subject.rsplit('.').next();
        let number = number.and_then(|number| number.parse().ok());
        // One that is late is nobody's any more.
        let Some(sent) = number.and_then(|number| self.window.take(number)) else {
            return;
        };
        self.in_flight.add_permits(1);
        match acknowledgement::check(message.status, &message.payload) {
            Ok(()) => {
                self.counts.report();
                sent.receipt.done();
            }
            Err(cause) => {
                self.complaints
                    .complain(&format_args!("the broker did not store a report: {cause}"));
                sent.receipt.fail(Unavailable::Refused);
            }
        }
    }

    fn note_link(&mut self) {
        let now = *self.link.borrow_and_update();
        if !now.connected || now.connects != self.seen.connects {
            self.drop_all(Unavailable::Disconnected, |_| true);
        }
        self.seen = now;
    }

    fn drop_what_is_late(&mut self) {
        let now = Instant::now();
        self.drop_all(Unavailable::TimedOut, |deadline| deadline <= now);
    }

    /// Gives up whatever has such a deadline.
    fn drop_all(&mut self, cause: Unavailable, which: impl Fn(Instant) -> bool) {
        let keep = |receipt: &Receipt, deadline: Instant| {
            let keep = !which(deadline);
            if !keep {
                receipt.fail(cause);
            }
            keep
        };
        self.queue
            .retain(|parcel| keep(&parcel.receipt, parcel.deadline));
        for batch in [&mut self.unwritten, &mut self.writing] {
            batch.sent.retain(|sent| keep(&sent.receipt, sent.deadline));
        }
        let dropped = self
            .window
            .retain(|sent| keep(&sent.receipt, sent.deadline));
        self.in_flight.add_permits(dropped);
    }
}

/// A subject as text, without growing on the way.
fn text(subject: &dyn Display) -> String {
    let mut text = String::with_capacity(SUBJECT_BYTES);
    // Writing into a text cannot fail.
    let _ = write!(text, "{subject}");
    text
}

/// The end of a flush; never, when there is none.
async fn end_of(flush: &mut Option<Flush>) -> bool {
    match flush {
        Some(flush) => flush.await,
        None => std::future::pending().await,
    }
}
