//! Starts and stops the aggregator.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use glance_protocol::{
    ClusterInfo, ClusterName,
    shard::{block_count, block_len},
};
use glance_runner::{Broker, Context, Metrics, Ready, Shutdown, broker::pause, clock, micro};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    AggregatorOptions, Options,
    blocks::Blocks,
    changes::Changes,
    lead::Lead,
    metrics::{Board, Tally},
    order::Order,
    outbox::{Outbox, Refusals},
    owner::{Inputs, Owner, PulseState, Role, Subscriptions, WallClock},
    recovery::{self, Kept},
    states::Reader,
    store::Store,
    table::{Moment, Table},
};

const RETRY: Duration = Duration::from_millis(500);
const REMIND: Duration = Duration::from_secs(10);
/// The start reads one key for each 1,024 shards.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

const IDENTITY: micro::Identity = micro::Identity {
    part: "aggregator",
    description: "Keeps the table of shards, and judges their health",
};

/// A running aggregator.
#[derive(Debug)]
pub struct Aggregator {
    shutdown: Shutdown,
    ready: watch::Receiver<bool>,
    board: Board,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Aggregator {
    /// Starts. Streams and buckets are created in the background, as soon as the broker lets them be.
    ///
    /// # Errors
    ///
    /// When two options contradict each other.
    pub fn start(
        broker: &Broker,
        options: &AggregatorOptions,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        options.check()?;
        if options.health_timer_interval.is_some() {
            info!("GLANCE_HEALTH_TIMER_INTERVAL has no effect: deadlines are exact");
        }
        let shutdown = shutdown.child();
        let (ready_sender, ready) = watch::channel(false);
        let board = Board::default();
        let status = board.clone();
        micro::announce(broker, IDENTITY, &shutdown, move || status.status());
        let task = run_until(
            broker.clone(),
            options.clone(),
            shutdown.clone(),
            Told {
                ready: ready_sender,
                board: board.clone(),
            },
        );
        Ok(Self {
            shutdown,
            ready,
            board,
            task: tokio::spawn(task),
        })
    }

    /// Whether the table is complete.
    #[must_use]
    pub fn ready(&self) -> Ready {
        readiness(&self.ready)
    }

    /// The same as [`Self::ready`], to ask at any time.
    pub fn readiness(&self) -> impl Fn() -> Ready + Clone + Send + Sync + 'static {
        let ready = self.ready.clone();
        move || readiness(&ready)
    }

    /// Adds what it counts.
    pub fn add_metrics(&self, metrics: &Metrics) {
        let board = self.board.clone();
        metrics.add(move |it| board.tell(it));
    }

    /// Waits for the end, which is an error unless it was told to stop.
    ///
    /// # Errors
    ///
    /// What made it end.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        let result = (&mut self.task)
            .await
            .context("the aggregator broke down")?;
        result?;
        anyhow::ensure!(
            self.shutdown.is_requested(),
            "the aggregator ended by itself"
        );
        Ok(())
    }

    /// Writes what changed, and ends. Bounded in time.
    ///
    /// # Errors
    ///
    /// What went wrong on the way.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.ended().await
    }
}

fn readiness(ready: &watch::Receiver<bool>) -> Ready {
    match *ready.borrow() {
        true => Ready::Yes("ready"),
        false => Ready::No("the table is not complete yet"),
    }
}

/// What the owner tells others in this process.
struct Told {
    ready: watch::Sender<bool>,
    board: Board,
}

/// `glance-aggregator`, from its start to its end.
///
/// # Errors
///
/// What made it end.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    options.aggregator.check()?;
    let metrics = &context.metrics;
    metrics.connecting(context.name);
    let _listener = context.tell_metrics(&options.common).await?;
    let broker = Broker::connect(context.name, &options.common.broker, &context.shutdown).await?;
    metrics.connected(context.name, &broker);
    let mut aggregator = Aggregator::start(&broker, &options.aggregator, &context.shutdown)?;
    aggregator.add_metrics(metrics);
    metrics.set_readiness(aggregator.readiness());
    let result = aggregator.ended().await;
    broker.close().await;
    result
}

async fn run_until(
    broker: Broker,
    options: AggregatorOptions,
    shutdown: Shutdown,
    told: Told,
) -> anyhow::Result<()> {
    let Some((owner, inputs)) = prepare(&broker, &options, &shutdown, told).await else {
        return Ok(());
    };
    Box::pin(owner.run(inputs, &shutdown)).await
}

/// Tries until the broker has given everything; `None` when told to stop before.
async fn prepare(
    broker: &Broker,
    options: &AggregatorOptions,
    shutdown: &Shutdown,
    told: Told,
) -> Option<(Owner, Inputs)> {
    let mut reminded: Option<Instant> = None;
    loop {
        let attempt = timeout(RECOVERY_TIMEOUT, open(broker, options));
        let opened = tokio::select! {
            opened = attempt => opened.context("no answer from the broker in time").flatten(),
            () = shutdown.requested() => return None,
        };
        match opened {
            Ok(opened) => return Some(opened.into_owner(broker, options, shutdown, told)),
            Err(cause) => {
                if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                    warn!("waiting for the broker's streams: {cause:#}");
                    reminded = Some(Instant::now());
                }
            }
        }
        if !pause(RETRY, shutdown).await {
            return None;
        }
    }
}

/// What a start finds.
struct Opened {
    started: Instant,
    subscriptions: Subscriptions,
    store: Store,
    table: Table,
    kept: Kept,
    strangers: HashSet<ClusterName>,
}

async fn open(broker: &Broker, options: &AggregatorOptions) -> anyhow::Result<Opened> {
    let started = Instant::now();
    // Listen first: what comes while the kept table is read is not missed.
    let subscriptions = Subscriptions::open(broker).await?;
    let store = Store::open(&broker.jetstream, usize::from(options.replicas)).await?;
    let mut table = Table::new(&options.bots.0, &options.health_timeout.0);
    let configured: Vec<_> = table.clusters().cloned().collect();
    let kept = recovery::read(&store, &configured).await?;
    let strangers = kept.compare(&configured);
    restore(&mut table, &kept);
    Ok(Opened {
        strangers,
        started,
        subscriptions,
        store,
        table,
        kept,
    })
}

/// What was kept becomes the table again.
fn restore(table: &mut Table, kept: &Kept) {
    let now = Moment {
        mono: Duration::ZERO,
        wall_ms: clock::unix_ms(),
    };
    let configured: Vec<_> = table.clusters().cloned().collect();
    for info in configured.iter().filter(|info| info.auto) {
        if let Some((kept, known_to)) = kept.info(&info.name) {
            table.restore_total(kept, known_to);
        }
    }
    let mut shards: u64 = 0;
    for block in kept.blocks.iter().filter_map(|it| it.block.as_ref()) {
        shards += block.rows.iter().filter(|row| row.reported()).count() as u64;
        table.restore(block, kept.same_stream(block), now);
    }
    info!(shards, "read the kept table");
}

impl Opened {
    fn into_owner(
        self,
        broker: &Broker,
        options: &AggregatorOptions,
        shutdown: &Shutdown,
        told: Told,
    ) -> (Owner, Inputs) {
        let Told { ready, board } = told;
        let mut link = broker.link();
        let applied = first_unknown(&self.table, &self.kept);
        let reopen = Arc::new(Notify::new());
        let reader = Reader {
            broker: broker.clone(),
            replicas: usize::from(options.replicas),
            shutdown: shutdown.clone(),
            store: self.store.clone(),
            next_sequence: applied + 1,
            reopen: reopen.clone(),
        };
        let lead = Lead::spawn(
            self.store.lease.clone(),
            self.subscriptions.lease,
            broker.link(),
            self.store.lease_created,
            reopen.clone(),
        );
        lead.tell(|fitness| std::mem::replace(&mut fitness.epoch_seen, self.kept.epoch) != 0);
        let outbox = Outbox::spawn(broker.clone(), board.tasks.messages_dropped.clone());
        let tenure = lead.tenure();
        let owner = Owner {
            broker: broker.clone(),
            table: self.table,
            role: Role::Following,
            tenure: None,
            epoch: 0,
            started: self.started,
            clock: WallClock::new(self.started.elapsed()),
            store: self.store,
            blocks: Blocks::new(Vec::new()),
            changes: Changes::spawn(broker.clone(), tenure.clone(), reopen.clone()),
            lead,
            refusals: Refusals::spawn(outbox.clone(), board.tasks.reports_deleted.clone()),
            outbox,
            applied,
            caught_up: false,
            replaying: true,
            caught_up_on: 0,
            order: Order::default(),
            reading: None,
            kept: None,
            untold: VecDeque::new(),
            strangers: self.strangers,
            reopen,
            reopen_not_before: Duration::ZERO,
            ready,
            pulse: PulseState::default(),
            link: *link.borrow_and_update(),
            transitions: Vec::new(),
            tally: Tally::default(),
            board,
            figures_due: Duration::ZERO,
            led: false,
            stirred: true,
        };
        let inputs = Inputs {
            states: reader.spawn(),
            healths: self.subscriptions.healths,
            echoes: self.subscriptions.echoes,
            published: self.subscriptions.published,
            tenure,
            link,
        };
        (owner, inputs)
    }
}

/// The sequence up to which everything is in what was kept. A block that has
/// grown since says nothing of its new shards.
fn first_unknown(table: &Table, kept: &Kept) -> u64 {
    let sequence_of = |info: &ClusterInfo, number: u32| {
        let mut blocks = kept.blocks.iter();
        let found = blocks.find(|it| it.cluster == info.name && it.number == number);
        found
            .and_then(|it| it.block.as_ref())
            .filter(|block| kept.same_stream(block))
            .filter(|block| block.rows.len() >= block_len(info.total, number) as usize)
            .map_or(0, |block| block.sequence)
    };
    let sequences = table.clusters().flat_map(|info| {
        // What was learned of the size is true up to a sequence of its own.
        let size = info
            .auto
            .then(|| kept.info(&info.name).map_or(0, |(_, known_to)| known_to));
        let blocks = (0..block_count(info.total)).map(move |number| sequence_of(info, number));
        blocks.chain(size)
    });
    sequences.min().unwrap_or(0)
}
