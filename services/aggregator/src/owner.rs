//! The task that owns the table. Everything that happens reaches it as one [`Event`].

mod outgoing;

use std::time::Duration;

use anyhow::bail;
use async_nats::Subscriber;
use futures::{StreamExt as _, stream::ReadyChunks};
use glance_protocol::{Pulse, ReportBody, Subject, body::BodyError, subject};
use glance_runner::{Broker, Link, Shutdown, clock};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    blocks::{Blocks, Outcome},
    changes::Changes,
    outbox::{Outbox, Refusals},
    oversized::{self, Oversized},
    states::{FromStates, StoredReport},
    store::Store,
    table::{Input, Message, Moment, Table, Transition},
};

const PULSE_INTERVAL: Duration = Duration::from_secs(1);
/// Who does not hear its own pulse for this long is blind.
const ECHO_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a stop may take to write what changed.
const STOP_WRITES_MAX: Duration = Duration::from_secs(4);

/// What can happen to the owner.
enum Event {
    States(FromStates),
    Healths(Vec<async_nats::Message>),
    Echo(async_nats::Message),
    Oversized(Oversized),
    Written(usize, Outcome),
    ChangesAcked,
    Link(Link),
    Time,
    /// An input ended that never should.
    Deaf,
    Stop,
}

/// The owner of the table.
pub(crate) struct Owner {
    pub(crate) table: Table,
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    pub(crate) store: Store,
    pub(crate) blocks: Blocks,
    pub(crate) changes: Changes,
    pub(crate) outbox: Outbox,
    pub(crate) refusals: Refusals,
    /// For each block of each cluster, the sequence up to which it was true at the start.
    pub(crate) known: Vec<Vec<u64>>,
    pub(crate) applied: u64,
    pub(crate) caught_up: bool,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) pulse: PulseState,
    pub(crate) link: Link,
    pub(crate) transitions: Vec<Transition>,
}

/// Where the pulse is.
#[derive(Debug, Default)]
pub(crate) struct PulseState {
    /// The number of the last pulse that was sent.
    number: u64,
    next: Duration,
    /// When the last pulse came back.
    echo_at: Duration,
    /// Only a pulse after this one proves that we hear.
    blind_since_number: u64,
}

/// What the owner listens to.
pub(crate) struct Inputs {
    pub(crate) states: mpsc::Receiver<FromStates>,
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
    pub(crate) oversized: mpsc::Receiver<Oversized>,
    pub(crate) link: watch::Receiver<Link>,
}

/// How many health checks are applied before anything else gets its turn.
const HEALTHS_BATCH_MAX: usize = 512;

impl Owner {
    /// Runs until the shutdown, or until another aggregator takes over.
    pub(crate) async fn run(
        mut self,
        mut inputs: Inputs,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        loop {
            let wake = self.started + self.next_wake();
            match self.next_event(&mut inputs, wake, shutdown).await {
                Event::Stop => break,
                // The readers stop as well.
                Event::Deaf if shutdown.is_requested() => break,
                event => self.handle(event)?,
            }
            self.step();
        }
        self.finish().await
    }

    async fn next_event(
        &mut self,
        inputs: &mut Inputs,
        wake: Instant,
        shutdown: &Shutdown,
    ) -> Event {
        tokio::select! {
            () = shutdown.requested() => Event::Stop,
            states = inputs.states.recv() => states.map_or(Event::Deaf, Event::States),
            // What is kept comes first: a health check may carry a state, which is newer. The subscription holds it.
            healths = inputs.healths.next(), if self.caught_up => {
                healths.map_or(Event::Deaf, Event::Healths)
            }
            echo = inputs.echoes.next() => echo.map_or(Event::Deaf, Event::Echo),
            Some(oversized) = inputs.oversized.recv() => Event::Oversized(oversized),
            (index, outcome) = self.blocks.ended() => Event::Written(index, outcome),
            () = self.changes.progress() => Event::ChangesAcked,
            Ok(()) = inputs.link.changed() => Event::Link(*inputs.link.borrow_and_update()),
            () = tokio::time::sleep_until(wake) => Event::Time,
        }
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        let now = self.now();
        match event {
            Event::States(FromStates::Batch(reports)) => {
                for report in &reports {
                    self.take_report(report, now);
                }
            }
            Event::States(FromStates::CaughtUp) => self.catch_up(now),
            Event::States(FromStates::Opened(store)) => self.reopen(*store, now),
            Event::Healths(healths) => {
                for message in &healths {
                    self.take_health(message, now);
                }
            }
            Event::Echo(message) => self.take_echo(&message, now)?,
            Event::Oversized(Oversized { subject, body_len }) => {
                let reason = BodyError::TooLarge(body_len).to_string();
                self.refusals.refuse(&subject, &reason);
            }
            Event::Written(index, outcome) => {
                self.blocks.finish(index, outcome, self.epoch, now.mono)?;
            }
            Event::Link(link) => self.take_link(link, now),
            Event::Deaf => bail!("the connection to the broker ended"),
            Event::ChangesAcked | Event::Time | Event::Stop => {}
        }
        Ok(())
    }

    /// What is due after each event.
    fn step(&mut self) {
        let now = self.now();
        if self.table.is_clear() && now.mono.saturating_sub(self.pulse.echo_at) > ECHO_WAIT_MAX {
            self.lose_sight("its own pulse does not come back", now);
        }
        self.apply(Input::Tick, now, "");
        self.tell_transitions();
        self.collect_marks(now.mono);
        if !self.caught_up {
            return;
        }
        for index in self.blocks.due(now.mono, self.changes.acked()) {
            self.write(index, now);
        }
        if now.mono >= self.pulse.next {
            self.send_pulse(now);
        }
    }

    fn next_wake(&self) -> Duration {
        let mut wake = self.pulse.next;
        if !self.caught_up {
            wake = self.now().mono + PULSE_INTERVAL;
        } else if let Some(due) = self.blocks.next_due(self.changes.acked()) {
            wake = wake.min(due);
        }
        wake.min(self.table.next_deadline().unwrap_or(Duration::MAX))
    }

    fn now(&self) -> Moment {
        Moment {
            mono: self.started.elapsed(),
            wall_ms: clock::unix_ms(),
        }
    }

    /// Applies an input; `false` when it was refused.
    fn apply(&mut self, input: Input<'_>, now: Moment, subject: &str) -> bool {
        match self.table.apply(input, now, &mut self.transitions) {
            Ok(()) => true,
            Err(refusal) => {
                self.refusals.refuse(subject, &refusal.to_string());
                false
            }
        }
    }

    fn take_report(&mut self, report: &StoredReport, now: Moment) {
        self.applied = self.applied.max(report.sequence);
        let subject = report.message.subject.as_str();
        let parsed = Subject::parse(subject).map_err(|cause| cause.to_string());
        let parsed = parsed.and_then(|parsed| match parsed {
            Subject::State(cluster, shard) => {
                let body = ReportBody::parse_state(&report.message.payload);
                body.map(|body| (cluster, shard, body))
                    .map_err(|cause| cause.to_string())
            }
            _ => Err("the subject is none of a report".into()),
        });
        let accepted = match &parsed {
            Ok((cluster, shard, body)) => {
                let message = Message {
                    cluster,
                    shard: *shard,
                    body,
                };
                if self.is_known(message, report.sequence) {
                    return;
                }
                match report.stored_ms {
                    Some(ms) => self.apply(Input::Replay(message, ms), now, subject),
                    None => self.apply(Input::Report(message), now, subject),
                }
            }
            Err(reason) => {
                self.refusals.refuse(subject, reason);
                false
            }
        };
        if !accepted {
            self.refusals.delete(&self.store, report.sequence);
        }
    }

    /// Whether the kept block has this report in it already.
    fn is_known(&self, message: Message<'_>, sequence: u64) -> bool {
        let place = self.table.place(message.cluster);
        place
            .and_then(|place| self.known.get(place)?.get(message.shard.block() as usize))
            .is_some_and(|known| sequence <= *known)
    }

    fn take_health(&mut self, message: &async_nats::Message, now: Moment) {
        let subject = message.subject.as_str();
        let (cluster, shard) = match Subject::parse(subject) {
            Ok(Subject::Health(cluster, shard)) => (cluster, shard),
            Ok(_) => {
                return self
                    .refusals
                    .refuse(subject, "the subject is none of a health check");
            }
            Err(cause) => return self.refusals.refuse(subject, &cause.to_string()),
        };
        match ReportBody::parse_health(&message.payload) {
            Ok(body) => {
                let message = Message {
                    cluster: &cluster,
                    shard,
                    body: &body,
                };
                self.apply(Input::Health(message), now, subject);
            }
            Err(cause) => self.refusals.refuse(subject, &cause.to_string()),
        }
    }

    fn take_echo(&mut self, message: &async_nats::Message, now: Moment) -> anyhow::Result<()> {
        // Others may publish there too; only our own pulse proves anything.
        let Ok(pulse) = Pulse::from_bytes(&message.payload) else {
            return Ok(());
        };
        if pulse.epoch > self.epoch {
            bail!(
                "another aggregator with epoch {} leads now; only one may run on a broker, so this one ends",
                pulse.epoch
            );
        }
        if pulse.epoch == self.epoch && pulse.number > self.pulse.blind_since_number {
            self.pulse.echo_at = now.mono;
            if !self.table.is_clear() {
                info!("hearing the bots; silence is judged after one timeout");
                self.apply(Input::SightRegained, now, "");
            }
        }
        Ok(())
    }

    fn take_link(&mut self, link: Link, now: Moment) {
        if link.dropped != self.link.dropped {
            self.lose_sight("messages were dropped", now);
        } else if !link.connected || link.connects != self.link.connects {
            self.lose_sight("the broker is away", now);
        }
        self.link = link;
    }

    fn lose_sight(&mut self, reason: &str, now: Moment) {
        self.pulse.blind_since_number = self.pulse.number;
        if self.table.is_clear() {
            warn!("cannot hear the bots ({reason}); nobody is flagged meanwhile");
            self.apply(Input::SightLost, now, "");
        }
    }

    /// All stored reports are in the table: it may be shown.
    fn catch_up(&mut self, now: Moment) {
        if !self.caught_up {
            info!(epoch = self.epoch, "the table is complete");
            self.caught_up = true;
            self.blocks.mark_all(now.mono);
            self.pulse.next = now.mono;
        }
        self.ready.send_replace(true);
    }

    /// The connection is a new one: the broker may have lost anything.
    fn reopen(&mut self, store: Store, now: Moment) {
        if store.states_id != self.store.states_id || store.last_sequence < self.applied {
            self.known.clear();
            self.applied = 0;
        }
        self.store = store;
        self.blocks.mark_all(now.mono);
    }

    /// Writes what changed, and waits for the acknowledgements; bounded in time.
    async fn finish(mut self) -> anyhow::Result<()> {
        let end = Instant::now() + STOP_WRITES_MAX;
        self.tell_transitions();
        self.collect_marks(self.now().mono);
        while self.caught_up && self.link.connected && !self.blocks.is_settled() {
            // Everything goes out now, whatever its usual interval.
            let now = self.now();
            for index in self.blocks.due(Duration::MAX, u64::MAX) {
                self.write(index, now);
            }
            let Ok((index, outcome)) = tokio::time::timeout_at(end, self.blocks.ended()).await
            else {
                warn!(
                    "the last of the table is not written; the next start reads it from the stream"
                );
                break;
            };
            self.blocks.finish(index, outcome, self.epoch, now.mono)?;
        }
        self.changes.flush(end).await;
        Ok(())
    }
}

/// What was subscribed to before anything was read.
pub(crate) struct Subscriptions {
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
    pub(crate) oversized: mpsc::Receiver<Oversized>,
}

impl Subscriptions {
    /// Listens from now on.
    pub(crate) async fn open(broker: &Broker) -> anyhow::Result<Self> {
        let client = &broker.client;
        let healths = client.subscribe(subject::HEALTHS_FILTER).await?;
        let reports = client.subscribe(subject::STATES_FILTER).await?;
        Ok(Self {
            healths: healths.ready_chunks(HEALTHS_BATCH_MAX),
            echoes: client.subscribe(Subject::Pulse.to_string()).await?,
            oversized: oversized::watch(reports),
        })
    }
}
