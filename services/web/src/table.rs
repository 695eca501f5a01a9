//! Reads keys of the table's bucket. The keys are known from the list of
//! clusters, so neither a consumer nor a listing is needed.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    kv::{Entry, Operation, Store},
};
use futures::{StreamExt as _, TryStreamExt as _};
use glance_protocol::{ClusterList, ClusterName, TableBlock, bucket, shard::block_count};
use tracing::warn;

use crate::gaps::{Due, Place};

/// How many keys are asked for at once.
const READS_AT_ONCE: usize = 16;
/// Bound on one round of reading.
const LIMIT: Duration = Duration::from_secs(30);

/// What is to be read.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The list and every block that it names.
    pub everything: bool,
    /// Everything, and what is held before counts for nothing.
    pub anew: bool,
    /// These blocks.
    pub blocks: BTreeSet<Place>,
}

impl Wanted {
    /// Whether there is nothing to read.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        !self.everything && self.blocks.is_empty()
    }

    /// Wants this too.
    pub(crate) fn add(&mut self, due: Due) {
        self.everything |= due.everything || due.anew;
        self.anew |= due.anew;
        self.blocks.extend(due.blocks);
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Whether it is the list and every block.
    pub everything: bool,
    /// Whether what was held before counts for nothing.
    pub anew: bool,
    /// The list of clusters with its revision, when it was asked for and is there.
    pub list: Option<(u64, ClusterList)>,
    /// The blocks with their revisions; those that are not there are left out.
    pub blocks: Vec<(u64, TableBlock)>,
}

/// Reads what is wanted.
///
/// # Errors
///
/// When the bucket does not exist yet, or the broker does not answer in time.
pub(crate) async fn read(jetstream: jetstream::Context, wanted: Wanted) -> anyhow::Result<Reading> {
    tokio::time::timeout(LIMIT, read_unbounded(jetstream, wanted))
        .await
        .context("the broker took too long to answer")?
}

async fn read_unbounded(jetstream: jetstream::Context, wanted: Wanted) -> anyhow::Result<Reading> {
    let store = jetstream.get_key_value(bucket::TABLE).await;
    let store =
        store.context("the aggregator has not created its bucket, or the broker is away")?;
    let mut reading = Reading {
        everything: wanted.everything,
        anew: wanted.anew,
        ..Reading::default()
    };
    let mut places = wanted.blocks;
    if wanted.everything {
        reading.list = read_list(&store).await?;
        if let Some((_, list)) = &reading.list {
            places = all_places(list);
        }
    }
    reading.blocks = futures::stream::iter(places)
        .map(|place| read_block(&store, place))
        .buffer_unordered(READS_AT_ONCE)
        .try_filter_map(async |block| Ok(block))
        .try_collect()
        .await?;
    Ok(reading)
}

fn all_places(list: &ClusterList) -> BTreeSet<Place> {
    let clusters = list.clusters.iter();
    let places = clusters
        .flat_map(|info| (0..block_count(info.total)).map(|block| (info.name.clone(), block)));
    places.collect()
}

async fn value(store: &Store, key: &str) -> anyhow::Result<Option<Entry>> {
    let entry = store.entry(key).await?;
    Ok(entry.filter(|entry| entry.operation == Operation::Put))
}

async fn read_list(store: &Store) -> anyhow::Result<Option<(u64, ClusterList)>> {
    let Some(entry) = value(store, bucket::CLUSTERS_KEY).await? else {
        return Ok(None);
    };
    let list = ClusterList::from_bytes(&entry.value).context("the list of clusters")?;
    Ok(Some((entry.revision, list)))
}

async fn read_block(
    store: &Store,
    (cluster, block): (ClusterName, u32),
) -> anyhow::Result<Option<(u64, TableBlock)>> {
    let key = bucket::block_key(&cluster, block);
    let Some(entry) = value(store, &key).await? else {
        return Ok(None);
    };
    match TableBlock::from_bytes(&entry.value) {
        Ok(value) if value.cluster == cluster && value.block == block => {
            Ok(Some((entry.revision, value)))
        }
        Ok(_) => {
            warn!("the key {key} holds another block; it is left out");
            Ok(None)
        }
        Err(cause) => {
            warn!("the key {key} cannot be read and is left out: {cause}");
            Ok(None)
        }
    }
}
