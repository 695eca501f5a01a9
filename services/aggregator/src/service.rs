//! Starts and stops the aggregator.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use glance_protocol::{bucket, shard::block_len};
use glance_runner::{Broker, Context, Ready, Shutdown, broker::pause};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    AggregatorOptions, Options,
    blocks::{Blocks, Content, Slot},
    changes::Changes,
    lead,
    order::Order,
    outbox::{Outbox, Refusals},
    owner::{Inputs, Owner, PulseState, Subscriptions},
    recovery::{self, Recovered},
    states::Reader,
    store::Store,
    table::{Moment, Table},
};

const RETRY: Duration = Duration::from_millis(500);
const REMIND: Duration = Duration::from_secs(10);
/// The start reads one key for each 1,024 shards.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running aggregator.
#[derive(Debug)]
pub struct Aggregator {
    shutdown: Shutdown,
    ready: watch::Receiver<bool>,
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
        let task = run_until(
            broker.clone(),
            options.clone(),
            shutdown.clone(),
            ready_sender,
        );
        Ok(Self {
            shutdown,
            ready,
            task: tokio::spawn(task),
        })
    }

    /// Whether the table is complete.
    #[must_use]
    pub fn ready(&self) -> Ready {
        match *self.ready.borrow() {
            true => Ready::Yes("ready"),
            false => Ready::No("the table is not complete yet"),
        }
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

/// `glance-aggregator`, from its start to its end.
///
/// # Errors
///
/// What made it end.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    options.aggregator.check()?;
    let broker = Broker::connect(context.name, &options.common.broker, &context.shutdown).await?;
    let mut aggregator = Aggregator::start(&broker, &options.aggregator, &context.shutdown)?;
    let result = aggregator.ended().await;
    broker.close().await;
    result
}

async fn run_until(
    broker: Broker,
    options: AggregatorOptions,
    shutdown: Shutdown,
    ready: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let Some((owner, inputs)) = prepare(&broker, &options, &shutdown, ready).await else {
        return Ok(());
    };
    Box::pin(owner.run(inputs, &shutdown)).await
}

/// Tries until the broker has given everything; `None` when told to stop before.
async fn prepare(
    broker: &Broker,
    options: &AggregatorOptions,
    shutdown: &Shutdown,
    ready: watch::Sender<bool>,
) -> Option<(Owner, Inputs)> {
    let mut reminded: Option<Instant> = None;
    loop {
        let attempt = timeout(RECOVERY_TIMEOUT, open(broker, options));
        let opened = tokio::select! {
            opened = attempt => opened.context("no answer from the broker in time").flatten(),
            () = shutdown.requested() => return None,
        };
        match opened {
            Ok(opened) => return Some(opened.into_owner(broker, options, shutdown, ready)),
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
    recovered: Recovered,
    epoch: u64,
}

async fn open(broker: &Broker, options: &AggregatorOptions) -> anyhow::Result<Opened> {
    let started = Instant::now();
    // Listen first: what comes while the kept table is read is not missed.
    let subscriptions = Subscriptions::open(broker).await?;
    let store = Store::open(&broker.jetstream, usize::from(options.replicas)).await?;
    let mut table = Table::new(&options.bots.0, &options.health_timeout.0);
    let now = Moment {
        mono: Duration::ZERO,
        wall_ms: glance_runner::clock::unix_ms(),
    };
    let recovered = recovery::recover(&store, &mut table, now).await?;
    let epoch = lead::take_epoch(&store, recovered.epoch_seen).await?;
    for key in &recovered.gone {
        info!("deleting {key}, which is configured no more");
        store.table.delete(key).await?;
    }
    Ok(Opened {
        started,
        subscriptions,
        store,
        table,
        recovered,
        epoch,
    })
}

impl Opened {
    fn into_owner(
        self,
        broker: &Broker,
        options: &AggregatorOptions,
        shutdown: &Shutdown,
        ready: watch::Sender<bool>,
    ) -> (Owner, Inputs) {
        let mut link = broker.link();
        let first = first_unknown(&self.table, &self.recovered);
        let reopen = Arc::new(Notify::new());
        let reader = Reader {
            broker: broker.clone(),
            replicas: usize::from(options.replicas),
            shutdown: shutdown.clone(),
            store: self.store.clone(),
            next_sequence: first + 1,
            reopen: reopen.clone(),
        };
        let outbox = Outbox::spawn(broker.clone());
        let owner = Owner {
            blocks: Blocks::new(slots(&self.table, &self.recovered)),
            table: self.table,
            epoch: self.epoch,
            started: self.started,
            store: self.store,
            changes: Changes::spawn(broker.clone(), reopen.clone()),
            refusals: Refusals::spawn(outbox.clone()),
            outbox,
            applied: first,
            known: self.recovered.blocks,
            caught_up: false,
            replaying: true,
            caught_up_on: 0,
            order: Order::default(),
            lease: None,
            reopen,
            reopen_not_before: Duration::ZERO,
            ready,
            pulse: PulseState::default(),
            link: *link.borrow_and_update(),
            transitions: Vec::new(),
        };
        let inputs = Inputs {
            states: reader.spawn(),
            healths: self.subscriptions.healths,
            echoes: self.subscriptions.echoes,
            published: self.subscriptions.published,
            link,
        };
        (owner, inputs)
    }
}

/// The sequence up to which everything is in the kept blocks. A block that has
/// grown since says nothing of its new shards.
fn first_unknown(table: &Table, recovered: &Recovered) -> u64 {
    let infos = table.clusters().zip(&recovered.blocks);
    let sequences = infos.flat_map(|(info, blocks)| {
        (0..).zip(blocks).map(|(number, block)| {
            let has_all = block.len >= block_len(info.total, number) as usize;
            if has_all { block.sequence } else { 0 }
        })
    });
    sequences.min().unwrap_or(0)
}

/// The keys of the table: the list of clusters first.
fn slots(table: &Table, recovered: &Recovered) -> Vec<Slot> {
    let clusters = Slot::new(
        Content::Clusters,
        bucket::CLUSTERS_KEY.into(),
        recovered.clusters_revision,
    );
    let infos = table.clusters().zip(&recovered.blocks).enumerate();
    let blocks = infos.flat_map(|(place, (info, blocks))| {
        (0..).zip(blocks).map(move |(number, block)| {
            let key = bucket::block_key(&info.name, number);
            Slot::new(Content::Block(place, number), key, block.revision)
        })
    });
    std::iter::once(clusters).chain(blocks).collect()
}
