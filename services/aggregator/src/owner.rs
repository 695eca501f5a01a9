//! The task that owns the table. Everything that happens reaches it as one [`Event`].

mod incoming;
mod outgoing;

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::bail;
use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::ReadyChunks};
use glance_protocol::{ClusterName, Pulse, ReportBody, ShardId, Subject, subject};
use glance_runner::{Broker, Link, Shutdown, clock};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::unconstrained,
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    blocks::{Blocks, Outcome, Overtaken},
    changes::Changes,
    lead,
    order::Order,
    outbox::{Outbox, Refusals},
    recovery::RecoveredBlock,
    states::FromStates,
    store::Store,
    table::{Input, Moment, Refusal, Table, Transition},
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
    /// Reports as they are published, before they are stored.
    Published(Vec<async_nats::Message>),
    Echo(async_nats::Message),
    /// The epoch that the lease holds.
    Lease(Option<u64>),
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
    /// For each block of each cluster, what was kept of it at the start.
    pub(crate) known: Vec<Vec<RecoveredBlock>>,
    pub(crate) applied: u64,
    /// Whether the table was complete once.
    pub(crate) caught_up: bool,
    /// Whether stored reports are still to come that are older than what is published now.
    pub(crate) replaying: bool,
    /// The number of the connection on which the stream was last caught up with.
    pub(crate) caught_up_on: u64,
    /// Health checks that wait for the reports before them.
    pub(crate) order: Order<HealthCheck>,
    /// A look at the lease that is under way.
    pub(crate) lease: Option<BoxFuture<'static, Option<u64>>>,
    /// Asks the reader of the stream to open everything anew.
    pub(crate) reopen: Arc<Notify>,
    pub(crate) reopen_not_before: Duration,
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
    next_at: Duration,
    /// When the last pulse came back.
    echo_at: Duration,
    /// Only a pulse after this one proves that we hear.
    blind_since_number: u64,
}

/// What the owner listens to.
pub(crate) struct Inputs {
    pub(crate) states: mpsc::Receiver<FromStates>,
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) published: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
    pub(crate) link: watch::Receiver<Link>,
}

/// A health check that was read.
#[derive(Debug)]
pub(crate) struct HealthCheck {
    cluster: ClusterName,
    shard: ShardId,
    body: ReportBody,
}

/// How many messages are taken before anything else gets its turn.
const BATCH_LEN_MAX: usize = 512;
/// How long writes may fail before everything at the broker is opened anew, and made anew where it is gone.
const FAILING_MAX: Duration = Duration::from_secs(5);
/// A stop tries a failed write again after this.
const STOP_RETRY: Duration = Duration::from_millis(250);

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
                event => {
                    self.catch_up_with_published(&mut inputs);
                    self.handle(event)?;
                }
            }
            self.step();
        }
        self.finish().await
    }

    /// Notes the reports that were published before what is handled next, but
    /// came over another subscription.
    fn catch_up_with_published(&mut self, inputs: &mut Inputs) {
        // Without a budget: a task that has used its own up sees no message, though there are some.
        let mut next = || unconstrained(inputs.published.next()).now_or_never();
        while let Some(Some(published)) = next() {
            self.note_published(&published);
        }
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
            healths = inputs.healths.next(), if !self.replaying => {
                healths.map_or(Event::Deaf, Event::Healths)
            }
            published = inputs.published.next() => published.map_or(Event::Deaf, Event::Published),
            echo = inputs.echoes.next() => echo.map_or(Event::Deaf, Event::Echo),
            epoch = looked(&mut self.lease) => Event::Lease(epoch),
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
            Event::States(FromStates::CaughtUp(connects)) => self.catch_up(connects, now),
            Event::States(FromStates::Lost) => self.lose_states(now),
            Event::States(FromStates::Removed(subject, reason)) => {
                self.refusals.refuse(&subject, reason);
            }
            Event::States(FromStates::Opened(store)) => self.reopen(*store, now),
            Event::Healths(healths) => {
                for message in &healths {
                    self.take_health(message, now);
                }
            }
            Event::Echo(message) => self.take_echo(&message, now),
            Event::Published(published) => self.note_published(&published),
            Event::Lease(epoch) => self.take_lease(epoch)?,
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
        for check in self.order.expire(now.mono) {
            self.apply_health(&check, now);
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
        if now.mono >= self.pulse.next_at {
            self.send_pulse(now);
        }
        if self.blocks.failing_for(now.mono) > FAILING_MAX && now.mono >= self.reopen_not_before {
            self.reopen_not_before = now.mono + FAILING_MAX;
            self.reopen.notify_one();
        }
    }

    fn next_wake(&self) -> Duration {
        let mut wake = self.pulse.next_at;
        if !self.caught_up {
            wake = self.now().mono + PULSE_INTERVAL;
        } else if let Some(due) = self.blocks.next_due(self.changes.acked()) {
            wake = wake.min(due);
        }
        let others = [self.table.next_deadline(), self.order.next_end()];
        others.into_iter().flatten().fold(wake, Duration::min)
    }

    fn now(&self) -> Moment {
        Moment {
            mono: self.started.elapsed(),
            wall_ms: clock::unix_ms(),
        }
    }

    /// Applies an input; `false` when it was refused.
    fn apply(&mut self, input: Input<'_>, now: Moment, subject: &str) -> bool {
        match self.try_apply(input, now) {
            Ok(()) => true,
            Err(refusal) => {
                self.refusals.refuse(subject, &refusal.to_string());
                false
            }
        }
    }

    fn try_apply(&mut self, input: Input<'_>, now: Moment) -> Result<(), Refusal> {
        self.table.apply(input, now, &mut self.transitions)
    }

    fn take_echo(&mut self, message: &async_nats::Message, now: Moment) {
        // Others may publish there too; only our own pulse proves anything.
        let Ok(pulse) = Pulse::from_bytes(&message.payload) else {
            return;
        };
        if pulse.epoch > self.epoch && self.lease.is_none() {
            // Anybody can publish there. What is kept decides.
            let store = self.store.clone();
            self.lease = Some(Box::pin(async move { lead::kept_epoch(&store).await.ok() }));
        }
        if pulse.epoch == self.epoch && pulse.number > self.pulse.blind_since_number {
            self.pulse.echo_at = now.mono;
            if !self.table.is_clear() && !self.replaying {
                info!("hearing the bots; silence is judged after one timeout");
                self.apply(Input::SightRegained, now, "");
            }
        }
    }

    fn take_lease(&mut self, epoch: Option<u64>) -> anyhow::Result<()> {
        self.lease = None;
        match epoch {
            Some(epoch) if epoch > self.epoch => Err(Overtaken(epoch).into()),
            _ => Ok(()),
        }
    }

    fn take_link(&mut self, link: Link, now: Moment) {
        if link.dropped != self.link.dropped {
            self.lose_sight("messages were dropped", now);
        } else if !link.connected || link.connects != self.link.connects {
            self.lose_sight("the broker is away", now);
        }
        // What was stored meanwhile comes first, unless the reader of the stream was faster than this event.
        self.replaying |= link.connects > self.caught_up_on;
        self.link = link;
    }

    /// The stream of states is not read at present.
    fn lose_states(&mut self, now: Moment) {
        self.replaying = true;
        self.lose_sight("stored reports cannot be read", now);
    }

    fn lose_sight(&mut self, reason: &str, now: Moment) {
        self.pulse.blind_since_number = self.pulse.number;
        if self.table.is_clear() {
            warn!("cannot hear the bots ({reason}); nobody is flagged meanwhile");
            self.apply(Input::SightLost, now, "");
        }
    }

    /// All stored reports are in the table: it may be shown.
    fn catch_up(&mut self, connects: u64, now: Moment) {
        if !self.caught_up {
            info!(epoch = self.epoch, "the table is complete");
            self.caught_up = true;
            self.blocks.mark_all(now.mono);
            self.pulse.next_at = now.mono;
        }
        self.caught_up_on = connects;
        // There may have been another connection since.
        self.replaying = connects < self.link.connects;
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
            if matches!(outcome, Outcome::Failed(_)) {
                tokio::time::sleep_until(end.min(Instant::now() + STOP_RETRY)).await;
            }
            self.blocks.finish(index, outcome, self.epoch, now.mono)?;
        }
        self.changes.flush(end).await;
        Ok(())
    }
}

/// What the look at the lease found. Waits for ever when none is under way.
async fn looked(lease: &mut Option<BoxFuture<'static, Option<u64>>>) -> Option<u64> {
    match lease {
        Some(look) => look.await,
        None => pending().await,
    }
}

/// What was subscribed to before anything was read.
pub(crate) struct Subscriptions {
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) published: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
}

impl Subscriptions {
    /// Listens from now on.
    pub(crate) async fn open(broker: &Broker) -> anyhow::Result<Self> {
        let client = &broker.client;
        let published = client.subscribe(subject::STATES_FILTER).await?;
        let healths = client.subscribe(subject::HEALTHS_FILTER).await?;
        Ok(Self {
            healths: healths.ready_chunks(BATCH_LEN_MAX),
            published: published.ready_chunks(BATCH_LEN_MAX),
            echoes: client.subscribe(Subject::Pulse.to_string()).await?,
        })
    }
}
