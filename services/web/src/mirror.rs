//! What this replica believes of the fleet: the aggregator's blocks and pulses,
//! applied in whatever order they arrive. No IO, no clock.

use std::sync::Arc;

use glance_protocol::{
    BLOCK_LEN, BlockSet, ClusterInfo, ClusterList, ClusterName, Pulse, ShardRow, State, TableBlock,
    feed::{PageShard, Version},
    shard::{block_count, block_len},
};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A republished message. One of an epoch that has passed is ignored.
    Live,
    /// The key itself: what the bucket holds is true, whoever wrote it.
    Key,
}

/// One block of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    /// Which value this is; the lowest one until the first has come.
    pub version: Version,
    /// Its shards.
    pub rows: Arc<Vec<ShardRow>>,
    /// When each of them was last heard, in Unix milliseconds. Pulses move it, so that it is newer than the rows.
    pub last_heard_ms: Vec<Option<i64>>,
}

/// One cluster with all its blocks.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Its name, size and timeout.
    pub info: ClusterInfo,
    /// Its blocks, in order.
    pub blocks: Vec<Arc<Block>>,
}

/// What a list of clusters changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListChange {
    /// Nothing: it is older than the list that is held.
    Old,
    /// At most timeouts: the clusters and their sizes are the same.
    Same,
    /// The clusters, their order or a size.
    Changed,
}

/// What a new value of a block changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlockChange {
    /// The cluster.
    pub cluster: ClusterName,
    /// Which block of it.
    pub block: u32,
    /// The version that it has now.
    pub version: Version,
    /// The shards that changed; may be none when only details did.
    pub shards: Vec<ShardChange>,
}

/// A shard that changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShardChange {
    /// What it is now.
    pub shard: PageShard,
    /// Whether its state changed, and not only since when or why.
    pub state_changed: bool,
}

/// The shards of one block that a pulse says were heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeardBlock {
    /// The cluster.
    pub cluster: ClusterName,
    /// Which block of it.
    pub block: u32,
    /// The places of the shards that were heard and have reported.
    pub heard: BlockSet,
    /// Those of them that a health check made Online and that still are.
    pub healed: BlockSet,
}

/// The replica's picture of all shards.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    epoch: u64,
    list: Version,
    clusters: Vec<Cluster>,
    judging_since_ms: Option<i64>,
    pulse: (u64, u64),
}

impl Mirror {
    /// The highest epoch seen.
    #[must_use]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The version of the list of clusters.
    #[must_use]
    pub(crate) fn list_version(&self) -> Version {
        self.list
    }

    /// Whether a list of clusters has come.
    #[must_use]
    pub(crate) fn has_list(&self) -> bool {
        self.list != Version::default()
    }

    /// The clusters in configured order.
    #[must_use]
    pub(crate) fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Since when silence is judged, in Unix milliseconds.
    #[must_use]
    pub(crate) fn judging_since_ms(&self) -> Option<i64> {
        self.judging_since_ms
    }

    /// Epoch and number of the newest pulse.
    #[must_use]
    pub(crate) fn pulse(&self) -> (u64, u64) {
        self.pulse
    }

    /// The version of a block; `None` when there is no such block.
    #[must_use]
    pub(crate) fn version(&self, cluster: &str, block: u32) -> Option<Version> {
        let cluster = self.cluster(cluster)?;
        Some(cluster.blocks.get(block as usize)?.version)
    }

    fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.info.name.as_str() == name)
    }

    fn block_mut(&mut self, cluster: &str, block: u32) -> Option<&mut Arc<Block>> {
        let mut clusters = self.clusters.iter_mut();
        let cluster = clusters.find(|c| c.info.name.as_str() == cluster)?;
        cluster.blocks.get_mut(block as usize)
    }

    /// Takes everything that comes next, however old: for a store that began
    /// anew. What is held stays until it is replaced.
    pub(crate) fn forget_versions(&mut self) {
        self.epoch = 0;
        self.list = Version::default();
        self.pulse = (0, 0);
        for block in self.clusters.iter_mut().flat_map(|c| &mut c.blocks) {
            Arc::make_mut(block).version = Version::default();
        }
    }

    /// Applies the list of clusters. Blocks of clusters that stay are kept.
    pub(crate) fn apply_clusters(
        &mut self,
        source: Source,
        revision: u64,
        list: ClusterList,
    ) -> ListChange {
        let epoch = list.epoch;
        let version = Version { epoch, revision };
        if version <= self.list || (source == Source::Live && epoch < self.epoch) {
            return ListChange::Old;
        }
        self.list = version;
        self.epoch = self.epoch.max(epoch);
        let size = |info: &ClusterInfo| (info.name.clone(), info.total);
        let held = self.clusters.iter().map(|cluster| size(&cluster.info));
        if held.eq(list.clusters.iter().map(size)) {
            for (cluster, info) in self.clusters.iter_mut().zip(list.clusters) {
                cluster.info = info;
            }
            return ListChange::Same;
        }
        let mut old = std::mem::take(&mut self.clusters);
        for info in list.clusters {
            let kept = old
                .iter_mut()
                .find(|cluster| cluster.info.name == info.name);
            let blocks = kept.map(|cluster| std::mem::take(&mut cluster.blocks));
            self.clusters
                .push(Cluster::new(info, blocks.unwrap_or_default()));
        }
        ListChange::Changed
    }

    /// Applies a value of a block; `None` when it is old, or nothing to believe.
    pub(crate) fn apply_block(
        &mut self,
        source: Source,
        revision: u64,
        value: TableBlock,
    ) -> Option<BlockChange> {
        let epoch = value.epoch;
        if source == Source::Live && epoch < self.epoch {
            return None;
        }
        let version = Version { epoch, revision };
        let held = self.block_mut(value.cluster.as_str(), value.block)?;
        if version <= held.version || value.rows.len() != held.rows.len() {
            return None;
        }
        let shards = changes(value.block * BLOCK_LEN, &held.rows, &value.rows);
        let heard = held.last_heard_ms.iter().zip(&value.rows);
        let last_heard_ms = heard
            .map(|(held, row)| row.since_ms.and(row.last_heard_ms.max(*held)))
            .collect();
        *held = Arc::new(Block {
            version,
            rows: Arc::new(value.rows),
            last_heard_ms,
        });
        self.epoch = self.epoch.max(epoch);
        Some(BlockChange {
            cluster: value.cluster,
            block: value.block,
            version,
            shards,
        })
    }

    /// Applies a pulse, or a part of one; `None` when its epoch has passed.
    pub(crate) fn apply_pulse(&mut self, pulse: &Pulse) -> Option<Vec<HeardBlock>> {
        if pulse.epoch < self.epoch {
            return None;
        }
        self.epoch = pulse.epoch;
        if (pulse.epoch, pulse.number) >= self.pulse {
            self.pulse = (pulse.epoch, pulse.number);
            self.judging_since_ms = pulse.judging_since_ms;
        }
        let mut heard = Vec::new();
        for cluster in &pulse.clusters {
            for entry in cluster.blocks.iter().filter(|b| !b.heard.is_empty()) {
                let Some(block) = self.block_mut(cluster.name.as_str(), entry.block) else {
                    continue;
                };
                let block = Arc::make_mut(block);
                let (ids, healed) = block.hear(&entry.heard, &entry.healed, pulse.at_ms);
                if !ids.is_empty() {
                    heard.push(HeardBlock {
                        cluster: cluster.name.clone(),
                        block: entry.block,
                        heard: ids,
                        healed,
                    });
                }
            }
        }
        Some(heard)
    }
}

impl Cluster {
    /// A cluster that keeps those of `blocks` that have the right size.
    fn new(info: ClusterInfo, blocks: Vec<Arc<Block>>) -> Self {
        let mut old = blocks.into_iter();
        let blocks = (0..block_count(info.total)).map(|block| {
            let len = block_len(info.total, block) as usize;
            let kept = old.next().filter(|block| block.rows.len() == len);
            kept.unwrap_or_else(|| Arc::new(Block::unknown(len)))
        });
        Self {
            blocks: blocks.collect(),
            info,
        }
    }

    /// All shards: id, row and last sign of life in Unix milliseconds.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (u32, &ShardRow, Option<i64>)> {
        let blocks = self.blocks.iter();
        let shards = blocks.flat_map(|block| block.rows.iter().zip(&block.last_heard_ms));
        (0..self.info.total)
            .zip(shards)
            .map(|(id, (row, heard))| (id, row, *heard))
    }
}

impl Block {
    fn unknown(len: usize) -> Self {
        Self {
            version: Version::default(),
            rows: Arc::new(vec![ShardRow::default(); len]),
            last_heard_ms: vec![None; len],
        }
    }

    /// Notes who was heard at `at_ms`. Only shards that have reported count.
    fn hear(&mut self, heard: &BlockSet, healed: &BlockSet, at_ms: i64) -> (BlockSet, BlockSet) {
        let mut counted = BlockSet::default();
        let mut online = BlockSet::default();
        for place in heard.iter() {
            let row = self.rows.get(place).filter(|row| row.reported());
            let (Some(row), Some(last)) = (row, self.last_heard_ms.get_mut(place)) else {
                continue;
            };
            *last = (*last).max(Some(at_ms));
            counted.insert(place);
            // It may have entered yet another state meanwhile.
            if healed.contains(place) && row.state == State::Online {
                online.insert(place);
            }
        }
        (counted, online)
    }
}

/// What differs between two values of a block whose first shard is `first`.
fn changes(first: u32, old: &[ShardRow], new: &[ShardRow]) -> Vec<ShardChange> {
    let entered = |row: &ShardRow| (row.state, row.previous, row.since_ms, row.cause);
    (first..)
        .zip(old.iter().zip(new))
        .filter(|(_, (old, new))| entered(old) != entered(new))
        .map(|(id, (old, new))| ShardChange {
            shard: PageShard {
                id,
                state: new.state,
                previous: new.previous,
                since_ms: new.since_ms,
                cause: new.cause,
            },
            state_changed: old.state != new.state || old.reported() != new.reported(),
        })
        .collect()
}
