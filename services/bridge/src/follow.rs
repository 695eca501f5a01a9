//! The task that follows the table's bucket.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use async_nats::Subscriber;
use futures::{StreamExt as _, stream};
use glance_protocol::{
    ClusterList, Subject, TableBlock, bucket, shard::block_count, subject::TABLE_FILTER,
};
use glance_runner::{
    Broker, Link, Shutdown,
    broker::{last_of, pause, republished_revision},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use crate::clusters::{Cluster, Clusters};

/// How long to wait after a failed read.
const RETRY: Duration = Duration::from_millis(500);
/// After how long, and then how often, the log says that the list cannot be read.
const REMIND_FIRST: Duration = Duration::from_secs(2);
const REMIND: Duration = Duration::from_secs(30);
/// Everything is read again this often, in case that messages were lost without a trace.
const REREAD: Duration = Duration::from_secs(60);
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A block that was there is missing when the store was lost. For so long, the aggregator may fill it again from
/// memory; then what is known of its shards is forgotten.
const MISSING_MAX: Duration = Duration::from_secs(10);
/// How many blocks are read at the same time.
const READS_MAX: usize = 16;

/// Follows the bucket until the shutdown. It need not exist yet, and only reading it has to be allowed.
pub(crate) async fn follow(
    broker: Broker,
    clusters: watch::Sender<Option<Arc<Clusters>>>,
    shutdown: Shutdown,
) {
    let link = broker.link();
    let mut follower = Follower {
        broker,
        clusters,
        link,
        remind_at: Instant::now() + REMIND_FIRST,
        read_at: Instant::now(),
        last_read_at: None,
        revision: 0,
        missing_since: None,
    };
    // First subscribe, then read: what changes in between is in the subscription.
    let Some(subscription) = follower.subscribe(&shutdown).await else {
        return;
    };
    tokio::select! {
        () = follower.run(subscription) => warn!("the subscription to the table ended"),
        () = shutdown.requested() => {}
    }
}

struct Follower {
    broker: Broker,
    clusters: watch::Sender<Option<Arc<Clusters>>>,
    link: watch::Receiver<Link>,
    remind_at: Instant,
    /// When everything is read next.
    read_at: Instant,
    last_read_at: Option<Instant>,
    /// The revision of the latest value that the bucket republished.
    revision: u64,
    /// Since when a block is missing although some of its shards are known to have reported.
    missing_since: Option<Instant>,
}

impl Follower {
    async fn subscribe(&self, shutdown: &Shutdown) -> Option<Subscriber> {
        loop {
            let subscribe = self.broker.client.subscribe(TABLE_FILTER);
            match timeout(SUBSCRIBE_TIMEOUT, subscribe).await {
                Ok(Ok(subscription)) => return Some(subscription),
                Ok(Err(cause)) => warn!("cannot subscribe to the table: {cause}"),
                Err(_) => debug!("the subscription to the table waits for the broker"),
            }
            if !pause(RETRY, shutdown).await {
                return None;
            }
        }
    }

    async fn run(&mut self, mut subscription: Subscriber) {
        let mut seen = *self.link.borrow_and_update();
        loop {
            tokio::select! {
                message = subscription.next() => match message {
                    Some(message) => self.apply(&message),
                    None => return,
                },
                () = tokio::time::sleep_until(self.read_at) => {
                    let done = self.read_all().await;
                    let now = Instant::now();
                    self.last_read_at = Some(now);
                    self.read_at = now + if done { REREAD } else { RETRY };
                }
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *self.link.borrow_and_update();
                    if now.connects != seen.connects || now.dropped != seen.dropped {
                        self.read_at = Instant::now();
                    }
                    seen = now;
                }
            }
        }
    }

    /// Takes over a value that the bucket republished.
    fn apply(&mut self, message: &async_nats::Message) {
        let applied = match Subject::parse(&message.subject) {
            Ok(subject @ (Subject::Clusters | Subject::Block(..))) => {
                self.apply_value(&subject, message)
            }
            // A bot may be called `table`: its messages arrive here too.
            _ => Ok(()),
        };
        if let Err(cause) = applied {
            debug!("a message on {} is ignored: {cause:#}", message.subject);
        }
    }

    fn apply_value(
        &mut self,
        subject: &Subject,
        message: &async_nats::Message,
    ) -> anyhow::Result<()> {
        let revision = republished_revision(message)?;
        if revision <= self.revision {
            // The bucket began anew, perhaps: what is known may be of the one before.
            let pause_end = self.last_read_at.map(|at| at + RETRY);
            self.read_at = self.read_at.min(pause_end.unwrap_or(self.read_at));
        }
        self.revision = revision;
        let Subject::Block(name, block) = subject else {
            return self.apply_list(revision, message);
        };
        let current = self.current();
        let cluster = current.as_ref().and_then(|it| it.get(name.as_str()));
        match cluster {
            // Most blocks say nothing new here, and need not be parsed.
            Some(cluster) if !cluster.block_complete(*block) => {
                apply_block(cluster, *block, &message.payload)
            }
            _ => Ok(()),
        }
    }

    fn apply_list(&self, revision: u64, message: &async_nats::Message) -> anyhow::Result<()> {
        // Before the first read there is no bucket at hand, and the read gives a list at least as new.
        let Some(current) = self.current() else {
            return Ok(());
        };
        if revision <= current.revision {
            return Ok(());
        }
        let list = ClusterList::from_bytes(&message.payload)?;
        self.set(Clusters::new(
            &list,
            revision,
            current.bucket.clone(),
            Some(&current),
        ));
        Ok(())
    }

    /// Reads the list and all blocks; says whether that worked.
    async fn read_all(&mut self) -> bool {
        if !self.link.borrow().connected {
            return false;
        }
        let result = match timeout(READ_TIMEOUT, self.try_read_all()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the broker does not answer in time")),
        };
        match result {
            Ok(missing) => {
                self.remind_at = Instant::now() + REMIND_FIRST;
                self.forget_missing(&missing)
            }
            Err(cause) => {
                self.remind(&cause);
                false
            }
        }
    }

    /// Forgets what was known of blocks that are missing for long; says whether that is settled.
    fn forget_missing(&mut self, missing: &[(Arc<Cluster>, u32)]) -> bool {
        if missing.is_empty() {
            self.missing_since = None;
            return true;
        }
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < MISSING_MAX {
            return false;
        }
        self.missing_since = None;
        for (cluster, block) in missing {
            cluster.forget_block(*block);
        }
        true
    }

    /// Reads everything, and returns the blocks that are missing although some of their shards are known.
    async fn try_read_all(&mut self) -> anyhow::Result<Vec<(Arc<Cluster>, u32)>> {
        let bucket = self.broker.jetstream.get_key_value(bucket::TABLE).await;
        let bucket = bucket.context("the table cannot be opened")?;
        let key = format!("{}{}", bucket.prefix, bucket::CLUSTERS_KEY);
        // From the stream's leader: a replica that lags would bring back an earlier list.
        let entry = last_of(&bucket.stream, &key).await;
        let entry = entry.context("the list of clusters cannot be read")?;
        let Some(entry) = entry.filter(|entry| !entry.payload.is_empty()) else {
            bail!("no aggregator has written the list of clusters yet");
        };
        let list = ClusterList::from_bytes(&entry.payload).context("the list of clusters")?;
        let current = self.current();
        // Whatever its revision: it is the present one, also after the bucket was made anew.
        let clusters = Clusters::new(&list, entry.sequence, bucket, current.as_deref());
        self.revision = entry.sequence;
        let clusters = self.set(clusters);
        read_blocks(&clusters).await
    }

    fn current(&self) -> Option<Arc<Clusters>> {
        self.clusters.borrow().clone()
    }

    fn set(&self, clusters: Clusters) -> Arc<Clusters> {
        let clusters = Arc::new(clusters);
        let before = self.clusters.send_replace(Some(clusters.clone()));
        let names = names(&clusters);
        if before.is_none_or(|before| self::names(&before) != names) {
            info!("the clusters are {names}");
        }
        clusters
    }

    fn remind(&mut self, cause: &anyhow::Error) {
        if Instant::now() < self.remind_at {
            return;
        }
        self.remind_at = Instant::now() + REMIND;
        match self.current() {
            None => warn!("waiting for the list of clusters: {cause:#}"),
            Some(_) => {
                warn!("cannot read the table, and keep the last list of clusters: {cause:#}");
            }
        }
    }
}

async fn read_blocks(clusters: &Clusters) -> anyhow::Result<Vec<(Arc<Cluster>, u32)>> {
    let mut keys = Vec::new();
    for cluster in clusters.iter() {
        for block in 0..block_count(cluster.total) {
            keys.push((cluster.clone(), block));
        }
    }
    let mut reads = stream::iter(keys)
        .map(|(cluster, block)| async move {
            let key = bucket::block_key(&cluster.name, block);
            let value = clusters.bucket.get(key).await;
            (cluster, block, value)
        })
        .buffer_unordered(READS_MAX);
    let mut missing = Vec::new();
    while let Some((cluster, block, value)) = reads.next().await {
        let value = value.context("a block of the table cannot be read")?;
        let Some(value) = value else {
            if cluster.block_known(block) {
                missing.push((cluster, block));
            }
            continue;
        };
        if let Err(cause) = apply_block(&cluster, block, &value) {
            debug!("block {block} of {} is ignored: {cause:#}", cluster.name);
        }
    }
    Ok(missing)
}

fn apply_block(cluster: &Cluster, block: u32, value: &[u8]) -> anyhow::Result<()> {
    let value = TableBlock::from_bytes(value)?;
    if value.cluster != cluster.name || value.block != block {
        bail!("it says that it is another block");
    }
    cluster.note_block(&value);
    Ok(())
}

fn names(clusters: &Clusters) -> String {
    let name = |cluster: &Arc<Cluster>| match cluster.total {
        0 => format!("{}:auto", cluster.name),
        total => format!("{}:{total}", cluster.name),
    };
    let names: Vec<_> = clusters.iter().map(name).collect();
    names.join(";")
}
