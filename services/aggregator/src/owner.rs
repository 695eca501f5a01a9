//! The task that owns the table. Everything that happens reaches it as one [`Event`].

mod figures;
mod hearing;
mod incoming;
mod outgoing;
mod role;

use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use anyhow::bail;
use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::ReadyChunks};
use glance_protocol::{ClusterName, ReportBody, ShardId, Subject, subject};
use glance_runner::{Broker, Link, Shutdown};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::unconstrained,
    time::Instant,
};
use tracing::warn;

pub(crate) use self::hearing::{PulseState, WallClock};
use crate::{
    blocks::{Blocks, Outcome},
    changes::Changes,
    lead::{Lead, Tenure},
    metrics::{Board, Kind, Reason, Tally},
    order::Order,
    outbox::{Outbox, Refusals},
    recovery::Kept,
    states::FromStates,
    store::Store,
    table::{Input, Moment, Refusal, Table, Transition},
};

const PULSE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop may take to write what changed.
const STOP_WRITES_MAX: Duration = Duration::from_secs(4);

/// What can happen to the owner.
enum Event {
    States(FromStates),
    Healths(Vec<async_nats::Message>),
    /// Reports as they are published, before they are stored.
    Published(Vec<async_nats::Message>),
    Echo(async_nats::Message),
    /// The right to lead came, was renewed, or went.
    Tenure(Option<Tenure>),
    /// What the last leader kept.
    Kept(anyhow::Result<Kept>),
    Written(usize, Outcome),
    ChangesAcked,
    Link(Link),
    Time,
    /// An input ended that never should.
    Deaf,
    Stop,
}

/// Whether this aggregator judges and speaks, or only listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Another leads, or nobody.
    Following,
    /// The lease is ours; what the last leader kept is being read.
    TakingOver,
    /// The table is ours to write.
    Leading,
}

/// The owner of the table.
pub(crate) struct Owner {
    pub(crate) broker: Broker,
    pub(crate) table: Table,
    pub(crate) role: Role,
    pub(crate) lead: Lead,
    pub(crate) tenure: Option<Tenure>,
    /// The epoch of the tenure; 0 while there is none.
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    pub(crate) clock: WallClock,
    pub(crate) store: Store,
    pub(crate) blocks: Blocks,
    pub(crate) changes: Changes,
    pub(crate) outbox: Outbox,
    pub(crate) refusals: Refusals,
    pub(crate) applied: u64,
    /// Whether the table was complete once.
    pub(crate) caught_up: bool,
    /// Whether stored reports are still to come that are older than what is published now.
    pub(crate) replaying: bool,
    /// The number of the connection on which the stream was last caught up with.
    pub(crate) caught_up_on: u64,
    /// Health checks that wait for the reports before them.
    pub(crate) order: Order<HealthCheck>,
    /// The reading of what the last leader kept, while it is under way.
    pub(crate) reading: Option<BoxFuture<'static, anyhow::Result<Kept>>>,
    /// What was read of it.
    pub(crate) kept: Option<Kept>,
    /// Refused reports that whoever leads has to tell and remove; nobody may lead at present.
    pub(crate) untold: VecDeque<Untold>,
    /// Clusters of the last leader that are not configured here. What they reported is not removed: another
    /// aggregator may know them.
    pub(crate) strangers: HashSet<ClusterName>,
    /// Asks the reader of the stream to open everything anew.
    pub(crate) reopen: Arc<Notify>,
    pub(crate) reopen_not_before: Duration,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) pulse: PulseState,
    pub(crate) link: Link,
    pub(crate) transitions: Vec<Transition>,
    /// What is counted here, and where it is published.
    pub(crate) tally: Tally,
    pub(crate) board: Board,
    /// When it is to be published again.
    pub(crate) figures_due: Duration,
    /// Whether this process led when it was published last.
    pub(crate) led: bool,
    /// Whether there was more than plain signs of life since the last step.
    pub(crate) stirred: bool,
}

/// What the owner listens to.
pub(crate) struct Inputs {
    pub(crate) states: mpsc::Receiver<FromStates>,
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) published: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
    pub(crate) tenure: watch::Receiver<Option<Tenure>>,
    pub(crate) link: watch::Receiver<Link>,
}

/// A refused report.
#[derive(Debug)]
pub(crate) struct Untold {
    at: Duration,
    sequence: u64,
    subject: String,
    /// `None` when nobody has to be told.
    reason: Option<String>,
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
    /// Runs until the shutdown.
    pub(crate) async fn run(
        mut self,
        mut inputs: Inputs,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut wake = self.started;
        loop {
            match self.next_event(&mut inputs, wake, shutdown).await {
                Event::Stop => break,
                // The readers stop as well.
                Event::Deaf if shutdown.is_requested() => break,
                event => {
                    self.stirred |= !matches!(event, Event::Healths(_));
                    self.watch_clock();
                    self.catch_up_with_published(&mut inputs);
                    self.handle(event)?;
                }
            }
            // Most messages by far only say that a shard lives. What they touch has seconds to go out.
            if self.stirred || !self.transitions.is_empty() || Instant::now() >= wake {
                self.step();
                self.stirred = false;
                wake = self.started + self.next_wake();
            }
        }
        self.finish().await;
        Ok(())
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
            Ok(()) = inputs.tenure.changed() => Event::Tenure(*inputs.tenure.borrow_and_update()),
            states = inputs.states.recv() => states.map_or(Event::Deaf, Event::States),
            // What is kept comes first: a health check may carry a state, which is newer. The subscription holds it.
            healths = inputs.healths.next(), if !self.replaying => {
                healths.map_or(Event::Deaf, Event::Healths)
            }
            published = inputs.published.next() => published.map_or(Event::Deaf, Event::Published),
            echo = inputs.echoes.next() => echo.map_or(Event::Deaf, Event::Echo),
            kept = read(&mut self.reading) => Event::Kept(kept),
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
            Event::States(FromStates::CaughtUp(connects)) => self.catch_up(connects),
            Event::States(FromStates::Lost) => self.lose_states(now),
            Event::States(FromStates::Removed(subject, reason)) => {
                self.tally.refuse(Kind::Report, None, Reason::Malformed);
                self.refuse(&subject, reason);
            }
            Event::States(FromStates::Opened(store)) => self.reopen(*store, now),
            Event::Healths(healths) => {
                for message in &healths {
                    self.take_health(message, now);
                }
            }
            Event::Echo(message) => self.take_echo(&message, now),
            Event::Published(published) => self.note_published(&published),
            Event::Tenure(tenure) => self.take_tenure(tenure, now),
            Event::Kept(kept) => self.take_kept(kept),
            Event::Written(index, outcome) => self.finish_write(index, outcome, now),
            Event::Link(link) => self.take_link(link, now),
            Event::Deaf => bail!("the connection to the broker ended"),
            Event::ChangesAcked | Event::Time | Event::Stop => {}
        }
        Ok(())
    }

    /// What is due after each event that is more than a plain sign of life, and in time for whatever waits.
    fn step(&mut self) {
        let now = self.now();
        self.watch_sight(now);
        for check in self.order.expire(now.mono) {
            self.apply_health(&check, now);
        }
        self.note(Input::Tick, now);
        self.tell_fitness();
        self.take_over(now);
        self.resize(now);
        self.tell_transitions();
        self.collect_marks(now.mono);
        self.publish_figures(now);
        if !self.leads() {
            return;
        }
        for index in self.blocks.due(now.mono, self.changes.acked()) {
            self.write(index, now);
        }
        if now.mono >= self.pulse.next_at {
            self.send_pulse(now);
        }
        if self.blocks.failing_for(now.mono) > FAILING_MAX {
            self.ask_to_reopen(now.mono);
        }
    }

    /// Asks for everything at the broker to be opened anew, but not all the time; says whether it asked.
    fn ask_to_reopen(&mut self, now: Duration) -> bool {
        let may = now >= self.reopen_not_before;
        if may {
            self.reopen_not_before = now + FAILING_MAX;
            self.reopen.notify_one();
        }
        may
    }

    fn next_wake(&self) -> Duration {
        let mut wake = self.pulse.next_at;
        if !self.leads() {
            wake = self.now().mono + PULSE_INTERVAL;
        } else if let Some(due) = self.blocks.next_due(self.changes.acked()) {
            wake = wake.min(due);
        }
        let others = [self.table.next_deadline(), self.order.next_end()];
        others.into_iter().flatten().fold(wake, Duration::min)
    }

    fn now(&self) -> Moment {
        self.clock.moment(self.started.elapsed())
    }

    /// Applies what cannot be refused.
    fn note(&mut self, input: Input<'_>, now: Moment) {
        // Only messages of bots are.
        let _ = self.try_apply(input, now);
    }

    fn try_apply(&mut self, input: Input<'_>, now: Moment) -> Result<(), Refusal> {
        self.table.apply(input, now, &mut self.transitions)
    }

    /// Writes what changed, waits for the acknowledgements, and gives the lease up; bounded in time.
    async fn finish(mut self) {
        let end = Instant::now() + STOP_WRITES_MAX;
        self.tell_transitions();
        self.collect_marks(self.now().mono);
        while self.still_leads() && self.link.connected && !self.blocks.is_settled() {
            // Everything goes out now, whatever its usual interval.
            let now = self.now();
            for index in self.blocks.due(Duration::MAX, u64::MAX) {
                self.write(index, now);
            }
            let Ok((index, outcome)) = tokio::time::timeout_at(end, self.blocks.ended()).await
            else {
                warn!(
                    "the last of the table is not written; the next leader reads it from the stream"
                );
                break;
            };
            if matches!(outcome, Outcome::Failed(_)) {
                tokio::time::sleep_until(end.min(Instant::now() + STOP_RETRY)).await;
            }
            self.finish_write(index, outcome, now);
        }
        if self.still_leads() {
            self.changes.flush(end).await;
        }
        self.lead.release().await;
    }
}

/// What was read of what the last leader kept. Waits for ever when nothing is read.
async fn read(
    reading: &mut Option<BoxFuture<'static, anyhow::Result<Kept>>>,
) -> anyhow::Result<Kept> {
    let Some(future) = reading else {
        return pending().await;
    };
    let kept = future.await;
    *reading = None;
    kept
}

/// What was subscribed to before anything was read.
pub(crate) struct Subscriptions {
    pub(crate) healths: ReadyChunks<Subscriber>,
    pub(crate) published: ReadyChunks<Subscriber>,
    pub(crate) echoes: Subscriber,
    pub(crate) lease: Subscriber,
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
            lease: client.subscribe(Subject::Lease.to_string()).await?,
        })
    }
}
