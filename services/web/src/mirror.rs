//! What this replica believes of the fleet: the aggregator's blocks and pulses,
//! applied in whatever order they arrive. No IO, no clock.

use std::{ops::Range, sync::Arc};

use glance_protocol::{
    BLOCK_LEN, BlockSet, ClusterInfo, ClusterList, ClusterName, Pulse, TableBlock,
    feed::{PageShard, Version},
};
use glance_runner::fault::{Mutation, is};

use crate::cluster::{Block, Cluster, JITTER_MS, changes};

/// Who leads, as far as is known. The lease decides whose pulses are believed:
/// those of an aggregator that was deposed may come late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lead {
    /// The lease was not read yet: nobody's pulses are believed.
    #[default]
    Unread,
    /// There is no lease. Who has the highest epoch is believed.
    Nobody,
    /// Who has this epoch, or one that values in the bucket show to be newer.
    Epoch(u64),
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A republished message. One of an epoch that has passed is ignored.
    Live,
    /// The key itself: what the bucket holds is true, whoever wrote it.
    Key,
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
    lead: Lead,
    epoch: u64,
    list: Version,
    clusters: Vec<Cluster>,
    judging_since_ms: Option<i64>,
    pulse: (u64, u64),
    /// The time of that pulse; `None` before the first.
    pulse_at_ms: Option<i64>,
}

impl Mirror {
    /// The epoch that is believed.
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

    /// As if a pulse had said so.
    #[cfg(test)]
    pub(crate) fn judge_since(&mut self, since_ms: i64) {
        self.judging_since_ms = Some(since_ms);
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

    /// When the newest of the blocks was written, in Unix milliseconds.
    #[must_use]
    pub(crate) fn kept_at_ms(&self) -> Option<i64> {
        let blocks = self.clusters.iter().flat_map(|cluster| &cluster.blocks);
        blocks.filter_map(|block| block.at_ms).max()
    }

    /// The version of a block; `None` when there is no such block.
    #[must_use]
    pub(crate) fn version(&self, cluster: &str, block: u32) -> Option<Version> {
        let cluster = self.cluster(cluster)?;
        Some(cluster.blocks.get(block as usize)?.version)
    }

    /// How many blocks a cluster has; `None` when there is no such cluster.
    #[must_use]
    pub(crate) fn blocks(&self, cluster: &str) -> Option<usize> {
        Some(self.cluster(cluster)?.blocks.len())
    }

    fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.info.name.as_str() == name)
    }

    fn block_mut(&mut self, cluster: &str, block: u32) -> Option<&mut Arc<Block>> {
        let mut clusters = self.clusters.iter_mut();
        let cluster = clusters.find(|c| c.info.name.as_str() == cluster)?;
        cluster.blocks.get_mut(block as usize)
    }

    /// Takes in who leads. An epoch that is lower than the one believed changes nothing.
    pub(crate) fn follow(&mut self, lead: Lead) {
        self.lead = lead;
        if let Lead::Epoch(epoch) = lead {
            self.epoch = self.epoch.max(rank(epoch));
        }
    }

    /// Whether this lease says that we believe somebody who has not led yet: the store began anew, or was restored.
    #[must_use]
    pub(crate) fn is_ahead_of(&self, lead: Lead) -> bool {
        matches!(lead, Lead::Epoch(epoch) if rank(epoch) < self.epoch)
    }

    /// Takes everything that comes next, however old: for a store that began
    /// anew. What is held stays until it is replaced.
    pub(crate) fn forget_versions(&mut self) {
        self.epoch = 0;
        self.list = Version::default();
        self.pulse = (0, 0);
        self.pulse_at_ms = None;
        for block in self.clusters.iter_mut().flat_map(|c| &mut c.blocks) {
            Arc::make_mut(block).version = Version::default();
        }
    }

    /// Whether a value of this epoch is from an aggregator whose time has passed.
    fn has_passed(&self, source: Source, epoch: u64) -> bool {
        source == Source::Live && epoch < self.epoch
    }

    /// The epoch that a value counts as. The lease was read together with the
    /// keys: one that says more than the lease is from before the store was restored.
    fn epoch_of(&self, source: Source, epoch: u64) -> u64 {
        match (source, self.lead) {
            (Source::Key, Lead::Epoch(_)) => rank(epoch).min(self.epoch),
            _ => rank(epoch),
        }
    }

    /// Applies the list of clusters. Blocks of clusters that stay are kept.
    pub(crate) fn apply_clusters(
        &mut self,
        source: Source,
        revision: u64,
        list: ClusterList,
    ) -> ListChange {
        let epoch = self.epoch_of(source, list.epoch);
        let version = Version { epoch, revision };
        if version <= self.list || self.has_passed(source, epoch) {
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

    /// Whether the block has the size that the list gives it, if it names it at all.
    #[must_use]
    pub(crate) fn fits(&self, value: &TableBlock) -> bool {
        let cluster = self.cluster(value.cluster.as_str());
        let held = cluster.and_then(|cluster| cluster.blocks.get(value.block as usize));
        held.is_none_or(|held| held.rows.len() == value.rows.len())
    }

    /// Applies a value of a block; `None` when it is old, or nothing to believe.
    pub(crate) fn apply_block(
        &mut self,
        source: Source,
        revision: u64,
        value: TableBlock,
    ) -> Option<BlockChange> {
        let epoch = self.epoch_of(source, value.epoch);
        if self.has_passed(source, epoch) {
            return None;
        }
        let version = Version { epoch, revision };
        let newer = self.heard_after(source, epoch, value.at_ms);
        let held = self.block_mut(value.cluster.as_str(), value.block)?;
        if version <= held.version || value.rows.len() != held.rows.len() {
            return None;
        }
        let shards = changes(value.block * BLOCK_LEN, &held.rows, &value.rows);
        let heard = held.last_heard_ms.iter().zip(&value.rows);
        let last_heard_ms = heard
            .map(|(held, row)| {
                let by_pulse = held.filter(|at| newer.contains(at));
                row.since_ms.and(by_pulse.or(row.last_heard_ms))
            })
            .collect();
        *held = Arc::new(Block {
            version,
            rows: Arc::new(value.rows),
            last_heard_ms,
            at_ms: Some(value.at_ms),
        });
        self.epoch = self.epoch.max(epoch);
        Some(BlockChange {
            cluster: value.cluster,
            block: value.block,
            version,
            shards,
        })
    }

    /// The times at which pulses heard shards after a block with this epoch
    /// and time was written; its own times are newer than all others.
    fn heard_after(&self, source: Source, epoch: u64, at_ms: i64) -> Range<i64> {
        match self.pulse_at_ms {
            // A block comes as soon as it is written. One that seems to be much older than the
            // pulse before it was written after the clock was set back, and corrects all times.
            Some(pulse_ms)
                if source == Source::Live && pulse_ms.saturating_sub(at_ms) > JITTER_MS =>
            {
                0..0
            }
            Some(pulse_ms) if self.pulse.0 == epoch => {
                at_ms.saturating_add(1)..pulse_ms.saturating_add(1)
            }
            _ => 0..0,
        }
    }

    /// Applies a pulse, or a part of one; `None` when it is not from the
    /// aggregator that leads. What a pulse says of its epoch is not believed.
    pub(crate) fn apply_pulse(&mut self, pulse: &Pulse) -> Option<Vec<HeardBlock>> {
        let epoch = rank(pulse.epoch);
        let believed = match self.lead {
            Lead::Unread => false,
            Lead::Nobody => epoch >= self.epoch,
            Lead::Epoch(_) => epoch == self.epoch,
        };
        if !believed {
            return None;
        }
        self.epoch = epoch;
        if (epoch, pulse.number) >= self.pulse {
            self.pulse = (epoch, pulse.number);
            self.pulse_at_ms = Some(pulse.at_ms);
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

/// What an epoch counts: all of them the same when a test wants them ignored.
fn rank(epoch: u64) -> u64 {
    if is(Mutation::EpochIgnored) { 0 } else { epoch }
}
