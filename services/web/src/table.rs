//! Reads keys of the table's bucket, and the lease. The keys are known from the list of
//! clusters, so neither a consumer nor a listing is needed.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream::{
    self, ErrorCode,
    kv::{Entry, Operation, Store},
    stream::LastRawMessageErrorKind,
};
use futures::{StreamExt as _, TryStreamExt as _};
use glance_protocol::{ClusterList, ClusterName, Lease, TableBlock, bucket, shard::block_count};
use glance_runner::broker::last_of;
use tracing::warn;

use crate::{gaps::Place, mirror::Lead};

/// How many keys are asked for at once.
const READS_AT_ONCE: usize = 16;
/// Bound on one round of reading.
const LIMIT: Duration = Duration::from_secs(30);

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// The lease, the list and every block that it names.
    pub everything: bool,
    /// Everything, and what is held before counts for nothing.
    pub anew: bool,
    /// The lease.
    pub lease: bool,
    /// These blocks.
    pub blocks: BTreeSet<Place>,
}

impl Wanted {
    /// Whether there is nothing to read.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Wants this too.
    pub(crate) fn add(&mut self, more: Self) {
        self.everything |= more.everything;
        self.anew |= more.anew;
        self.lease |= more.lease;
        self.blocks.extend(more.blocks);
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Whether it is the lease, the list and every block.
    pub everything: bool,
    /// Whether what was held before counts for nothing.
    pub anew: bool,
    /// The epoch that was believed before anything of this was read.
    pub epoch_before: u64,
    /// Who leads, when that was asked for.
    pub lead: Option<Lead>,
    /// When the bucket was created, in Unix nanoseconds: another time means another bucket.
    pub created_ns: Option<i128>,
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
pub(crate) async fn read(
    jetstream: jetstream::Context,
    wanted: Wanted,
    epoch_before: u64,
) -> anyhow::Result<Reading> {
    let reading = tokio::time::timeout(LIMIT, read_unbounded(jetstream, wanted)).await;
    Ok(Reading {
        epoch_before,
        ..reading.context("the broker took too long to answer")??
    })
}

async fn read_unbounded(jetstream: jetstream::Context, wanted: Wanted) -> anyhow::Result<Reading> {
    let mut reading = Reading {
        everything: wanted.everything,
        anew: wanted.anew,
        ..Reading::default()
    };
    if wanted.everything || wanted.lease {
        reading.lead = Some(read_lead(&jetstream).await?);
    }
    let mut places = wanted.blocks;
    if !wanted.everything && places.is_empty() {
        return Ok(reading);
    }
    let store = jetstream.get_key_value(bucket::TABLE).await;
    let store =
        store.context("the aggregator has not created its bucket, or the broker is away")?;
    reading.created_ns = Some(store.stream.cached_info().created.unix_timestamp_nanos());
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

/// Asks the server that leads the lease's stream: any other one may lag behind, and name a leader that was deposed.
async fn read_lead(jetstream: &jetstream::Context) -> anyhow::Result<Lead> {
    let stream = format!("KV_{}", bucket::LEASE);
    let key = format!("$KV.{}.{}", bucket::LEASE, bucket::LEADER_KEY);
    let stream = jetstream.get_stream_no_info(stream).await?;
    let missing = |code| {
        matches!(
            code,
            ErrorCode::STREAM_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND
        )
    };
    match stream.get_last_raw_message_by_subject(&key).await {
        // A deleted key has an empty value.
        Ok(message) if message.payload.is_empty() => Ok(Lead::Nobody),
        Ok(message) => match Lease::from_bytes(&message.payload) {
            Ok(lease) => Ok(Lead::Epoch(lease.epoch)),
            Err(cause) => {
                warn!("the lease cannot be read and is left out: {cause}");
                Ok(Lead::Nobody)
            }
        },
        Err(cause) => match cause.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(Lead::Nobody),
            LastRawMessageErrorKind::JetStream(error) if missing(error.error_code()) => {
                Ok(Lead::Nobody)
            }
            _ => Err(cause).context("the lease cannot be read"),
        },
    }
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

/// Asks the stream's leader: nothing would tell later that a replica which lags gave an earlier list.
async fn read_list(store: &Store) -> anyhow::Result<Option<(u64, ClusterList)>> {
    let key = format!("{}{}", store.prefix, bucket::CLUSTERS_KEY);
    let message = last_of(&store.stream, &key).await?;
    // A deleted key has an empty value.
    let Some(message) = message.filter(|message| !message.payload.is_empty()) else {
        return Ok(None);
    };
    let list = ClusterList::from_bytes(&message.payload).context("the list of clusters")?;
    Ok(Some((message.sequence, list)))
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
