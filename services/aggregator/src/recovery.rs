//! The start: what was kept becomes the table again.

use std::collections::HashSet;

use anyhow::Context as _;
use async_nats::jetstream::kv::{self, Operation};
use glance_protocol::{
    ClusterInfo, ClusterList, ClusterName, TableBlock, bucket, shard::block_count,
};
use tracing::{info, warn};

use crate::{
    store::Store,
    table::{Moment, Table},
};

/// What was found.
pub(crate) struct Recovered {
    /// The greatest epoch that any value carries.
    pub(crate) epoch_seen: u64,
    /// For each block of the table: the revision of its key, and the sequence up to which it is true.
    pub(crate) blocks: Vec<Vec<RecoveredBlock>>,
    pub(crate) clusters_revision: u64,
    /// Keys of blocks that there are no more.
    pub(crate) gone: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RecoveredBlock {
    pub(crate) revision: u64,
    pub(crate) sequence: u64,
    /// How many shards it held; it knows nothing of those that came since.
    pub(crate) len: usize,
}

/// Reads the blocks into the table.
pub(crate) async fn recover(
    store: &Store,
    table: &mut Table,
    now: Moment,
) -> anyhow::Result<Recovered> {
    let (kept, clusters_revision) = read_clusters(&store.table).await?;
    let mut epoch_seen = kept.as_ref().map_or(0, |list| list.epoch);
    let configured: Vec<_> = table.clusters().cloned().collect();
    let mut blocks = Vec::with_capacity(configured.len());
    let mut restored: u64 = 0;
    for info in &configured {
        let mut found = Vec::new();
        for number in 0..block_count(info.total) {
            let (block, revision) = read_block(&store.table, &info.name, number).await?;
            let mut recovered = RecoveredBlock {
                revision,
                ..RecoveredBlock::default()
            };
            if let Some(block) = block {
                epoch_seen = epoch_seen.max(block.epoch);
                restored += block.rows.iter().filter(|row| row.reported()).count() as u64;
                recovered.sequence = true_until(&block, store);
                recovered.len = block.rows.len();
                table.restore(&block, now);
            }
            found.push(recovered);
        }
        blocks.push(found);
    }
    info!(shards = restored, "read the kept table");
    let names = configured.iter().flat_map(block_keys);
    let present: HashSet<String> = names.collect();
    let kept = kept.map(|list| list.clusters).unwrap_or_default();
    let gone = kept
        .iter()
        .flat_map(block_keys)
        .filter(|key| !present.contains(key))
        .collect();
    Ok(Recovered {
        epoch_seen,
        blocks,
        clusters_revision,
        gone,
    })
}

fn block_keys(info: &ClusterInfo) -> impl Iterator<Item = String> {
    (0..block_count(info.total)).map(|number| bucket::block_key(&info.name, number))
}

/// Up to which sequence of the present stream a block is true. 0 when the block
/// speaks of another stream, or of more than this one holds.
fn true_until(block: &TableBlock, store: &Store) -> u64 {
    if block.stream == store.states_id && block.sequence <= store.last_sequence {
        block.sequence
    } else {
        0
    }
}

async fn read_clusters(table: &kv::Store) -> anyhow::Result<(Option<ClusterList>, u64)> {
    let Some((value, revision)) = read(table, bucket::CLUSTERS_KEY).await? else {
        return Ok((None, 0));
    };
    match ClusterList::from_bytes(&value) {
        Ok(list) => Ok((Some(list), revision)),
        Err(cause) => {
            warn!("the kept list of clusters is not used: {cause}");
            Ok((None, revision))
        }
    }
}

async fn read_block(
    table: &kv::Store,
    cluster: &ClusterName,
    number: u32,
) -> anyhow::Result<(Option<TableBlock>, u64)> {
    let key = bucket::block_key(cluster, number);
    let Some((value, revision)) = read(table, &key).await? else {
        return Ok((None, 0));
    };
    if value.is_empty() {
        return Ok((None, revision));
    }
    match TableBlock::from_bytes(&value) {
        Ok(block) if block.cluster == *cluster && block.block == number => {
            Ok((Some(block), revision))
        }
        Ok(_) => {
            warn!("the kept block {key} speaks of another one and is not used");
            Ok((None, revision))
        }
        Err(cause) => {
            warn!("the kept block {key} is not used: {cause}");
            Ok((None, revision))
        }
    }
}

/// The value and revision of a key; an empty value when it was deleted.
pub(crate) async fn read(
    table: &kv::Store,
    key: &str,
) -> anyhow::Result<Option<(bytes::Bytes, u64)>> {
    let entry = table
        .entry(key)
        .await
        .with_context(|| format!("cannot read key {key}"))?;
    Ok(entry.map(|entry| match entry.operation {
        Operation::Put => (entry.value, entry.revision),
        Operation::Delete | Operation::Purge => (bytes::Bytes::new(), entry.revision),
    }))
}
