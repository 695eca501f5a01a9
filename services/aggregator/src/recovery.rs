//! What the last leader kept of the table.

use std::collections::HashSet;

use anyhow::Context as _;
use async_nats::jetstream::kv;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glance_protocol::{
    ClusterInfo, ClusterList, ClusterName, TableBlock, bucket, lease::epoch_of, shard::block_count,
};
use tracing::warn;

use crate::store::{self, Entry, Store};

/// How many keys are asked for at once.
const READS_AT_ONCE: usize = 16;

/// Everything that is kept, with the revisions of its keys.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The list of clusters; `None` when there is none that can be read.
    pub(crate) list: Option<ClusterList>,
    pub(crate) list_revision: u64,
    pub(crate) blocks: Vec<KeptBlock>,
    /// The greatest epoch that any value carries.
    pub(crate) epoch: u64,
    /// The stream of states, and the last sequence in it after all of this was written.
    states_id: String,
    last_sequence: u64,
}

/// One key of a block.
#[derive(Debug)]
pub(crate) struct KeptBlock {
    pub(crate) cluster: ClusterName,
    pub(crate) number: u32,
    /// 0 when there is no such key.
    pub(crate) revision: u64,
    /// `None` when there is none that can be read.
    pub(crate) block: Option<TableBlock>,
}

/// Reads the list of clusters, and the blocks of those that it names and of those that are configured.
pub(crate) async fn read(store: &Store, configured: &[ClusterInfo]) -> anyhow::Result<Kept> {
    let (list, list_revision, list_epoch) = read_list(&store.table).await?;
    let kept = list.iter().flat_map(|list| &list.clusters);
    let mut places: Vec<_> = configured.iter().chain(kept).flat_map(places).collect();
    places.sort();
    places.dedup();
    let blocks: Vec<(KeptBlock, u64)> = stream::iter(places)
        .map(|(cluster, number)| read_block(&store.table, cluster, number))
        .buffer_unordered(READS_AT_ONCE)
        .try_collect()
        .await?;
    let states = store.states.get_info().await;
    let states = states.context("cannot ask for the stream of states")?;
    let epochs = blocks.iter().map(|(_, epoch)| *epoch);
    Ok(Kept {
        epoch: epochs.fold(list_epoch, u64::max),
        list,
        list_revision,
        states_id: store::id_of(&states),
        last_sequence: states.state.last_sequence,
        blocks: blocks.into_iter().map(|(block, _)| block).collect(),
    })
}

/// A cluster as it is configured, with its timeout.
fn words(info: &ClusterInfo) -> String {
    let ClusterInfo {
        name,
        total,
        timeout_s,
        auto,
    } = info;
    match auto {
        true => format!("{name}:auto({timeout_s}s)"),
        false => format!("{name}:{total}({timeout_s}s)"),
    }
}

fn places(info: &ClusterInfo) -> impl Iterator<Item = (ClusterName, u32)> {
    (0..block_count(info.total)).map(|number| (info.name.clone(), number))
}

impl Kept {
    /// A cluster as the list names it, and up to which sequence of the present stream its size is true.
    pub(crate) fn info(&self, name: &ClusterName) -> Option<(&ClusterInfo, u64)> {
        let list = self.list.as_ref()?;
        let same_stream = self.counts(&list.stream, list.sequence);
        let known_to = if same_stream { list.sequence } else { 0 };
        Some((list.get(name.as_str())?, known_to))
    }

    /// Says in the log that the last leader was configured with other clusters, and returns those that are not here.
    pub(crate) fn compare(&self, configured: &[ClusterInfo]) -> HashSet<ClusterName> {
        let kept = self.list.as_ref().map_or(&[][..], |list| &list.clusters);
        let words = |infos: &[ClusterInfo]| -> Vec<String> { infos.iter().map(words).collect() };
        if !kept.is_empty() && words(kept) != words(configured) {
            warn!(
                "the last leader had the clusters {}, and here are {}; GLANCE_BOTS and GLANCE_HEALTH_TIMEOUT should be the same for all aggregators",
                words(kept).join(";"),
                words(configured).join(";")
            );
        }
        let names = kept.iter().map(|info| info.name.clone());
        names
            .filter(|name| !configured.iter().any(|info| info.name == *name))
            .collect()
    }

    /// Whether a block counts in the present stream of states.
    pub(crate) fn same_stream(&self, block: &TableBlock) -> bool {
        self.counts(&block.stream, block.sequence)
    }

    /// Not what speaks of another stream, or of more than this one holds.
    fn counts(&self, stream: &str, sequence: u64) -> bool {
        stream == self.states_id && sequence <= self.last_sequence
    }
}

async fn read_list(table: &kv::Store) -> anyhow::Result<(Option<ClusterList>, u64, u64)> {
    let Some(Entry { value, revision }) = store::entry(table, bucket::CLUSTERS_KEY).await? else {
        return Ok((None, 0, 0));
    };
    let list = ClusterList::from_bytes(&value)
        .inspect_err(|cause| warn!("the kept list of clusters is not used: {cause}"));
    Ok((list.ok(), revision, epoch_of(&value)))
}

async fn read_block(
    table: &kv::Store,
    cluster: ClusterName,
    number: u32,
) -> anyhow::Result<(KeptBlock, u64)> {
    let key = bucket::block_key(&cluster, number);
    let entry = store::entry(table, &key).await.context("the kept table")?;
    let (value, revision) = entry.map_or_else(Default::default, |it| (it.value, it.revision));
    let epoch = epoch_of(&value);
    let block = match TableBlock::from_bytes(&value) {
        _ if value.is_empty() => None,
        Ok(block) if block.cluster == cluster && block.block == number => Some(block),
        Ok(_) => {
            warn!("the kept block {key} speaks of another one and is not used");
            None
        }
        Err(cause) => {
            warn!("the kept block {key} is not used: {cause}");
            None
        }
    };
    let kept = KeptBlock {
        cluster,
        number,
        revision,
        block,
    };
    Ok((kept, epoch))
}
