//! The one task that owns the mirror. All that happens reaches it as an [`Event`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use glance_protocol::{
    ClusterList, Pulse, Subject, TableBlock,
    feed::{Clock, Notices},
};
use glance_runner::{Broker, Link, Shutdown, broker::republished_revision, clock::unix_ms};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tracing::{debug, info, warn};

use crate::{
    fanout::Fanout,
    frames::Change,
    gaps::{Due, Gaps},
    mirror::{ListChange, Mirror, Source},
    picture::Picture,
    table::{self, Reading, Wanted},
};

/// A lone change goes out at once; the next one waits for as long as it takes to
/// write one frame to each viewer, so that a crowd is told less often than few.
const FOLD_PER_VIEWER: Duration = Duration::from_micros(10);
const FOLD_MIN: Duration = Duration::from_millis(5);
/// What the public contract allows to fold.
const FOLD_MAX: Duration = Duration::from_millis(100);
/// How often it is checked whether something was missed.
const TICK: Duration = Duration::from_millis(250);
/// `now` in a picture is never older than this and a tick.
const PICTURE_AGE_MAX: Duration = Duration::from_millis(700);
/// After this long without a pulse, viewers are told the time anyway.
const SILENCE_MAX: Duration = Duration::from_millis(1400);
/// How long to wait after a failed read.
const RETRY: Duration = Duration::from_secs(1);
/// How often the log says that there is no table yet.
const REMIND: Duration = Duration::from_secs(30);

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
}

/// Everything that can happen to the mirror.
enum Event {
    Table(Message),
    Pulse(Message),
    Read(Result<Reading, anyhow::Error>),
    Link(Link),
    Notices(Arc<Notices>),
    Tick,
    /// It is time to tell the viewers.
    Flush,
}

/// Owns the mirror, and tells the viewers.
pub(crate) struct Keeper {
    broker: Broker,
    fanout: Arc<Fanout>,
    mirror: Mirror,
    gaps: Gaps,
    link: Link,
    notices: Arc<Notices>,
    wanted: Wanted,
    reads: JoinSet<anyhow::Result<Reading>>,
    read_not_before: Instant,
    reminded: Option<Instant>,
    /// Whether the list and its blocks were read once.
    complete: bool,
    pending: Vec<Change>,
    dirty: bool,
    flushed: Instant,
    told: Instant,
    /// When the aggregator was last heard, by both clocks.
    heard: Option<(Instant, i64)>,
    number: u64,
}

impl Keeper {
    /// A keeper that will read everything first.
    #[must_use]
    pub(crate) fn new(broker: Broker, fanout: Arc<Fanout>) -> Self {
        let now = Instant::now();
        Self {
            broker,
            fanout,
            mirror: Mirror::default(),
            gaps: Gaps::default(),
            link: Link::default(),
            notices: Arc::default(),
            wanted: Wanted {
                everything: true,
                ..Wanted::default()
            },
            reads: JoinSet::new(),
            read_not_before: now,
            reminded: None,
            complete: false,
            pending: Vec::new(),
            dirty: false,
            flushed: now,
            told: now,
            heard: None,
            number: 0,
        }
    }

    /// Runs until the shutdown. The inputs are subscribed already, so that nothing is missed while the keys are read.
    pub(crate) async fn run(mut self, mut inputs: Inputs, shutdown: Shutdown) {
        self.link = *inputs.link.borrow_and_update();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_reading();
            let fold = fold(self.fanout.viewers());
            let flush_at = self.flushed + fold;
            let event = tokio::select! {
                Some(message) = inputs.table.next() => Event::Table(message),
                Some(message) = inputs.pulses.next() => Event::Pulse(message),
                Some(read) = self.reads.join_next() => {
                    Event::Read(read.unwrap_or_else(|cause| Err(cause.into())))
                }
                Ok(()) = inputs.link.changed() => Event::Link(*inputs.link.borrow_and_update()),
                Ok(()) = inputs.notices.changed() => {
                    Event::Notices(inputs.notices.borrow_and_update().clone())
                }
                _ = tick.tick() => Event::Tick,
                () = tokio::time::sleep_until(flush_at.into()), if self.dirty => Event::Flush,
                () = shutdown.requested() => return,
            };
            self.handle(event);
            if self.dirty && self.flushed.elapsed() >= fold {
                self.flush();
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Table(message) => self.take_table(&message),
            Event::Pulse(message) => self.take_pulse(&message),
            Event::Read(Ok(reading)) => self.take_reading(reading),
            Event::Read(Err(cause)) => {
                debug!("the table cannot be read: {cause:#}");
                self.say_waiting(&cause.to_string());
                self.read_later();
            }
            Event::Link(link) => {
                // Messages may have been missed.
                let missed =
                    link.connects != self.link.connects || link.dropped != self.link.dropped;
                self.wanted.everything |= missed;
                self.link = link;
            }
            Event::Notices(notices) => {
                self.notices = notices;
                self.change(Change::Notices);
            }
            Event::Tick => self.tick(Instant::now()),
            Event::Flush => {}
        }
    }

    fn change(&mut self, change: Change) {
        self.pending.push(change);
        self.dirty = true;
    }

    fn take_table(&mut self, message: &Message) {
        let subject = Subject::parse(&message.subject);
        let Ok(revision) = republished_revision(message) else {
            // Anybody may publish there, and a bot may be called `table`.
            debug!("{} is not from the table's bucket", message.subject);
            return;
        };
        match subject {
            // A deleted key has an empty value.
            Ok(_) if message.payload.is_empty() => {}
            Ok(Subject::Clusters) => match ClusterList::from_bytes(&message.payload) {
                Ok(list) => self.take_list(Source::Live, revision, list),
                Err(cause) => warn!("{}: {cause}", message.subject),
            },
            Ok(Subject::Block(cluster, block)) => match TableBlock::from_bytes(&message.payload) {
                Ok(value) if value.cluster == cluster && value.block == block => {
                    self.take_block(Source::Live, revision, value);
                }
                Ok(_) => warn!("{}: another block", message.subject),
                Err(cause) => warn!("{}: {cause}", message.subject),
            },
            _ => {}
        }
    }

    fn take_list(&mut self, source: Source, revision: u64, list: ClusterList) {
        match self.mirror.apply_clusters(source, revision, list) {
            ListChange::Old => {}
            ListChange::Same => self.dirty = true,
            ListChange::Changed => {
                self.change(Change::Clusters);
                // Blocks that came before their list were not believed.
                self.wanted.everything |= source == Source::Live;
            }
        }
    }

    fn take_block(&mut self, source: Source, revision: u64, value: TableBlock) {
        if let Some(change) = self.mirror.apply_block(source, revision, value) {
            self.change(Change::Block(change));
        }
    }

    fn take_pulse(&mut self, message: &Message) {
        let pulse = match Pulse::from_bytes(&message.payload) {
            Ok(pulse) => pulse,
            Err(cause) => {
                warn!("{}: {cause}", message.subject);
                return;
            }
        };
        let now = Instant::now();
        let heard = self.mirror.apply_pulse(&pulse);
        self.gaps.note(&pulse, &self.mirror, now);
        if let Some(heard) = heard {
            self.heard = Some((now, unix_ms()));
            self.told = now;
            self.change(Change::Heard(heard));
        }
    }

    fn take_reading(&mut self, reading: Reading) {
        if reading.everything && reading.list.is_none() && !self.mirror.has_list() {
            self.say_waiting("the aggregator has not written it yet");
            self.read_later();
            return;
        }
        if reading.anew {
            warn!("the table at the broker began anew, or another aggregator leads; starting over");
            self.mirror.forget_versions();
            self.change(Change::Anew);
        }
        if let Some((revision, list)) = reading.list {
            self.take_list(Source::Key, revision, list);
        }
        for (revision, value) in reading.blocks {
            self.take_block(Source::Key, revision, value);
        }
        if reading.everything && !self.complete {
            info!("the table was received");
            self.complete = true;
            self.dirty = true;
        }
    }

    fn say_waiting(&mut self, why: &str) {
        if self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            self.reminded = Some(Instant::now());
            info!("waiting for the table: {why}");
        }
    }

    /// After a read that brought nothing, everything is read again.
    fn read_later(&mut self) {
        self.wanted.everything = true;
        self.read_not_before = Instant::now() + RETRY;
    }

    fn start_reading(&mut self) {
        if self.wanted.is_empty()
            || !self.reads.is_empty()
            || !self.link.connected
            || self.read_not_before > Instant::now()
        {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        self.reads
            .spawn(table::read(self.broker.jetstream.clone(), wanted));
    }

    fn tick(&mut self, now: Instant) {
        let Due {
            blocks,
            everything,
            anew,
        } = self.gaps.due(&self.mirror, now);
        if !blocks.is_empty() {
            debug!("reading {} blocks that were missed", blocks.len());
        }
        self.wanted.add(Due {
            blocks,
            everything,
            anew,
        });
        if now.saturating_duration_since(self.told) >= SILENCE_MAX {
            self.told = now;
            self.change(Change::Heard(Vec::new()));
        }
        if now.saturating_duration_since(self.flushed) >= PICTURE_AGE_MAX {
            self.dirty = true;
        }
    }

    /// Takes a picture and tells the viewers what changed since the last one.
    fn flush(&mut self) {
        self.flushed = Instant::now();
        self.dirty = false;
        let changes = std::mem::take(&mut self.pending);
        if !self.complete {
            // Nobody was shown anything yet.
            return;
        }
        self.number += 1;
        let clock = Clock {
            now_ms: unix_ms(),
            heard_ms: self.heard.map(|(_, ms)| ms),
            judging_since_ms: self.mirror.judging_since_ms(),
        };
        let heard = self.heard.map(|(at, _)| at);
        let notices = self.notices.clone();
        let picture = Picture::take(&self.mirror, self.number, clock, heard, notices);
        self.fanout.publish(picture, &changes);
    }
}

/// How long changes are gathered for so many viewers.
fn fold(viewers: usize) -> Duration {
    let viewers = u32::try_from(viewers).unwrap_or(u32::MAX);
    FOLD_PER_VIEWER
        .saturating_mul(viewers)
        .clamp(FOLD_MIN, FOLD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_told_less_often_than_few() {
        assert_eq!(fold(0), FOLD_MIN);
        assert_eq!(fold(1000), Duration::from_millis(10));
        assert_eq!(fold(usize::MAX), FOLD_MAX);
    }
}
