//! The one task that owns the mirror. All that happens reaches it as an [`Event`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Message;
use futures::StreamExt as _;
use glance_protocol::{
    ClusterList, Lease, Pulse, Subject, TableBlock,
    feed::{Clock, Notices},
};
use glance_runner::{Broker, Link, Shutdown, broker::republished_revision, clock::unix_ms};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::{
    basis::Basis,
    fanout::Fanout,
    frames::Change,
    gaps::Gaps,
    history::History,
    mirror::{Lead, ListChange, Mirror, Source},
    picture::Picture,
    reads::Reads,
    table::Reading,
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
/// How often strange pulses make us look who leads.
const LEASE_AGAIN: Duration = Duration::from_secs(1);
/// How often the log says that there is no table yet.
const REMIND: Duration = Duration::from_secs(30);

mod inputs;

use inputs::Event;
pub(crate) use inputs::{Asked, Inputs};

/// Owns the mirror, and tells the viewers.
pub(crate) struct Keeper {
    broker: Broker,
    fanout: Arc<Fanout>,
    mirror: Mirror,
    gaps: Gaps,
    history: History,
    link: Link,
    notices: Arc<Notices>,
    reads: Reads,
    /// When a strange pulse last made us look who leads.
    doubted: Option<Instant>,
    /// Which bucket was read: when it was created.
    created_ns: Option<i128>,
    reminded: Option<Instant>,
    /// Whether the list and its blocks were read once.
    complete: bool,
    pending: Vec<Change>,
    dirty: bool,
    flushed: Instant,
    told: Instant,
    basis: Basis,
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
            history: History::default(),
            link: Link::default(),
            notices: Arc::default(),
            reads: Reads::new(now),
            doubted: None,
            created_ns: None,
            reminded: None,
            complete: false,
            pending: Vec::new(),
            dirty: false,
            flushed: now,
            told: now,
            basis: Basis::default(),
            number: 0,
        }
    }

    /// Runs until the shutdown. The inputs are subscribed already, so that nothing is missed while the keys are read.
    pub(crate) async fn run(mut self, mut inputs: Inputs, shutdown: Shutdown) {
        self.link = *inputs.link.borrow_and_update();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.link.connected {
                let epoch = self.mirror.epoch();
                self.reads.start(&self.broker.jetstream, epoch);
            }
            let fold = fold(self.fanout.viewers());
            let flush_at = self.flushed + fold;
            let event = tokio::select! {
                Some(message) = inputs.table.next() => Event::Table(message),
                Some(message) = inputs.pulses.next() => Event::Pulse(message),
                read = self.reads.next() => Event::Read(read),
                Ok(()) = inputs.link.changed() => Event::Link(*inputs.link.borrow_and_update()),
                Ok(()) = inputs.notices.changed() => {
                    Event::Notices(inputs.notices.borrow_and_update().clone())
                }
                Some(asked) = inputs.questions.recv() => Event::Asked(asked),
                _ = tick.tick() => Event::Tick,
                () = tokio::time::sleep_until(flush_at.into()), if self.dirty => Event::Flush,
                () = shutdown.requested() => return,
            };
            self.basis.turn(Instant::now());
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
            }
            Event::Link(link) => self.take_link(link),
            Event::Notices(notices) => {
                self.notices = notices;
                self.history.look_again();
                self.change(Change::Notices);
            }
            Event::Asked(Asked {
                cluster,
                id,
                answer,
            }) => {
                let now_ms = self.clock().now_ms;
                let transitions = self.history.answer(&cluster, id, &self.mirror, now_ms);
                // Who does not wait any more needs no answer.
                let _ = answer.send(transitions);
            }
            Event::Tick => self.tick(Instant::now()),
            Event::Flush => {}
        }
    }

    /// Messages may have been missed.
    fn take_link(&mut self, link: Link) {
        if link.connects != self.link.connects {
            self.reads.restart();
            self.reads.want_everything();
        }
        if link.dropped != self.link.dropped {
            self.reads.want_everything();
        }
        self.link = link;
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
            Ok(Subject::Lease) => match Lease::from_bytes(&message.payload) {
                Ok(lease) => self.take_lease(Lead::Epoch(lease.epoch)),
                Err(cause) => warn!("{}: {cause}", message.subject),
            },
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

    /// A lease was written. A lower one than expected may only be late: the key itself has to say so.
    fn take_lease(&mut self, lead: Lead) {
        if self.mirror.is_ahead_of(lead) {
            self.doubt(Instant::now());
        } else {
            self.mirror.follow(lead);
        }
    }

    /// Looks who leads, but not for each of many strange messages.
    fn doubt(&mut self, now: Instant) {
        let long_ago = |at| now.saturating_duration_since(at) >= LEASE_AGAIN;
        if self.doubted.is_none_or(long_ago) {
            self.doubted = Some(now);
            self.reads.want_lease();
        }
    }

    fn take_list(&mut self, source: Source, revision: u64, list: ClusterList) {
        match self.mirror.apply_clusters(source, revision, list) {
            ListChange::Old => {}
            ListChange::Same => self.dirty = true,
            ListChange::Changed => {
                self.history.resize(&self.mirror);
                self.change(Change::Clusters);
                // Blocks that came before their list were not believed.
                if source == Source::Live {
                    self.reads.want_everything();
                }
            }
        }
    }

    fn take_block(&mut self, source: Source, revision: u64, value: TableBlock) {
        if let Some(change) = self.mirror.apply_block(source, revision, value) {
            self.history.note(&change);
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
        let Some(heard) = self.mirror.apply_pulse(&pulse) else {
            // Late, forged, or the first of somebody whom we do not know yet.
            self.doubt(now);
            return;
        };
        self.gaps.note(&pulse, &self.mirror, now);
        self.basis.hear(now, pulse.at_ms);
        self.told = now;
        self.change(Change::Heard(heard));
    }

    fn take_reading(&mut self, reading: Reading) {
        let ahead = reading
            .lead
            .is_some_and(|lead| self.mirror.is_ahead_of(lead));
        if ahead && reading.epoch_before != self.mirror.epoch() {
            // Somebody took the lease while we read; who was first is not known.
            self.reads.repeat(&reading);
            return;
        }
        let other_bucket = self.created_ns.is_some()
            && reading
                .created_ns
                .is_some_and(|created| Some(created) != self.created_ns);
        if !reading.everything {
            if ahead || other_bucket || reading.lead == Some(Lead::Nobody) {
                self.reads.repeat(&reading);
                return;
            }
            if let Some(lead) = reading.lead {
                self.mirror.follow(lead);
            }
        } else if reading.list.is_none() {
            self.say_waiting("the aggregator has not written it yet");
            self.reads.repeat_later(&reading);
            return;
        } else {
            self.take_everything(&reading, ahead || other_bucket || reading.anew);
        }
        if let Some((revision, list)) = reading.list {
            self.take_list(Source::Key, revision, list);
        }
        for (revision, value) in reading.blocks {
            if !self.mirror.fits(&value) {
                // The cluster has another size by now, and its list was missed.
                self.reads.want_everything_later();
            }
            self.take_block(Source::Key, revision, value);
        }
    }

    /// What comes before the values of a read of everything.
    fn take_everything(&mut self, reading: &Reading, anew: bool) {
        self.created_ns = reading.created_ns;
        if anew {
            warn!("the table at the broker began anew, or was restored; starting over");
            self.mirror.forget_versions();
            self.gaps = Gaps::default();
            self.change(Change::Anew);
        }
        self.mirror.follow(reading.lead.unwrap_or_default());
        if !self.complete {
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

    fn clock(&self) -> Clock {
        self.basis.clock(Instant::now(), unix_ms(), &self.mirror)
    }

    fn tick(&mut self, now: Instant) {
        if self.complete && !self.history.has_begun() {
            self.history.begin(self.clock().now_ms);
        }
        let now_ms = self.clock().now_ms;
        self.history.look(&self.mirror, &self.notices, now_ms);
        let due = self.gaps.due(&self.mirror, now);
        if !due.blocks.is_empty() {
            debug!("reading {} blocks that were missed", due.blocks.len());
        }
        self.reads.want(due);
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
        let clock = self.clock();
        let heard = self.basis.heard();
        let notices = self.notices.clone();
        let lately = self.history.lately();
        let picture = Picture::take(&self.mirror, self.number, clock, heard, notices, lately);
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
