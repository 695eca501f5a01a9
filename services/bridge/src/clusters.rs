//! The clusters that exist, and which of their shards have reported.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::jetstream::kv;
use glance_protocol::{
    ClusterInfo, ClusterList, ClusterName, ShardId, TableBlock, shard::BLOCK_LEN,
};
use tokio::sync::watch;

use crate::{
    path::Number,
    refusal::{Refusal, Unavailable},
};

/// What the requests see: the latest list, or nothing as long as none has been read.
pub(crate) type ClustersView = watch::Receiver<Option<Arc<Clusters>>>;

/// The clusters of one list.
pub(crate) struct Clusters {
    /// The revision of the list in its bucket.
    pub(crate) revision: u64,
    /// The bucket that it was read from.
    pub(crate) bucket: kv::Store,
    by_name: HashMap<ClusterName, Arc<Cluster>>,
}

impl Clusters {
    /// The clusters of `list`. What `before` knows of their shards is kept.
    pub(crate) fn new(
        list: &ClusterList,
        revision: u64,
        bucket: kv::Store,
        before: Option<&Self>,
    ) -> Self {
        let carry = |info: &ClusterInfo| {
            let old = before.and_then(|before| before.get(info.name.as_str()));
            let cluster = match old {
                Some(old) if old.total == info.total => old.clone(),
                // Its bits come back with its blocks, and are looked up until then.
                _ => Arc::new(Cluster::new(info.name.clone(), info.total)),
            };
            (info.name.clone(), cluster)
        };
        Self {
            revision,
            bucket,
            by_name: list.clusters.iter().map(carry).collect(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.by_name.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.by_name.values()
    }
}

/// The latest list.
///
/// # Errors
///
/// When none has been read yet.
pub(crate) fn latest(view: &ClustersView) -> Result<Arc<Clusters>, Unavailable> {
    view.borrow().clone().ok_or(Unavailable::NoClusters)
}

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) name: ClusterName,
    pub(crate) total: u32,
    /// One bit a shard: whether it is known to have reported. A bit that is not set means only that it has to be looked up.
    reported: Box<[AtomicU64]>,
}

impl Cluster {
    pub(crate) fn new(name: ClusterName, total: u32) -> Self {
        let words = total.div_ceil(u64::BITS);
        Self {
            name,
            total,
            reported: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The shard of this number.
    ///
    /// # Errors
    ///
    /// When the cluster has no such shard.
    pub(crate) fn shard(&self, number: &Number) -> Result<ShardId, Refusal> {
        let id = number.value().filter(|id| *id < self.total);
        id.and_then(|id| ShardId::new(id).ok())
            .ok_or_else(|| Refusal::NoSuchShard {
                cluster: self.name.clone(),
                shard: number.to_string(),
            })
    }

    /// Whether the shard is known to have reported.
    pub(crate) fn reported(&self, shard: ShardId) -> bool {
        let (word, bit) = place(shard.get());
        let word = self.reported.get(word);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Notes that the shard has reported.
    pub(crate) fn note_report(&self, shard: ShardId) {
        let (word, bit) = place(shard.get());
        if let Some(word) = self.reported.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether all shards of a block are known to have reported.
    pub(crate) fn block_complete(&self, block: u32) -> bool {
        let first = block.saturating_mul(BLOCK_LEN);
        let end = first.saturating_add(BLOCK_LEN).min(self.total);
        (first..end).all(|id| ShardId::new(id).is_ok_and(|shard| self.reported(shard)))
    }

    /// Takes over what a block says. It may be older than a report that has just been stored: then that
    /// shard is looked up once more, which is why a bit may be cleared here.
    pub(crate) fn note_block(&self, block: &TableBlock) {
        let first = block.block.saturating_mul(BLOCK_LEN);
        for (id, row) in (first..self.total).zip(&block.rows) {
            let (word, bit) = place(id);
            let Some(word) = self.reported.get(word) else {
                return;
            };
            if row.reported() {
                word.fetch_or(bit, Ordering::Relaxed);
            } else {
                word.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }
}

fn place(id: u32) -> (usize, u64) {
    ((id / u64::BITS) as usize, 1 << (id % u64::BITS))
}

#[cfg(test)]
mod tests {
    use glance_protocol::ShardRow;

    use super::*;

    fn cluster(total: u32) -> Cluster {
        Cluster::new("main".parse().unwrap(), total)
    }

    fn shard(id: u32) -> ShardId {
        ShardId::new(id).unwrap()
    }

    fn block(block: u32, reported: &[bool]) -> TableBlock {
        let row = |reported: &bool| ShardRow {
            since_ms: reported.then_some(1),
            ..ShardRow::default()
        };
        TableBlock {
            epoch: 1,
            cluster: "main".parse().unwrap(),
            block,
            stream: String::new(),
            sequence: 0,
            at_ms: 0,
            rows: reported.iter().map(row).collect(),
        }
    }

    #[test]
    fn a_shard_has_to_be_in_range() {
        let cluster = cluster(1000);
        let find = |text: &str| cluster.shard(&Number::parse(text).unwrap());
        assert_eq!(find("0999").unwrap().get(), 999);
        for text in ["1000", "-1", "4294967296", "123456789012345678901234567890"] {
            let error = find(text).unwrap_err().to_string();
            let wanted =
                format!("shard '{text}' falls outside the range of valid shards on cluster 'main'");
            assert_eq!(error, wanted);
        }
    }

    #[test]
    fn notes_single_reports() {
        let cluster = cluster(65);
        cluster.note_report(shard(64));
        cluster.note_report(shard(200)); // None of this cluster's.
        let reported: Vec<u32> = (0..200).filter(|id| cluster.reported(shard(*id))).collect();
        assert_eq!(reported, [64]);
    }

    #[test]
    fn a_block_replaces_what_was_known_of_its_shards() {
        let cluster = cluster(1026);
        cluster.note_report(shard(0));
        cluster.note_report(shard(1024));
        assert!(!cluster.block_complete(1));
        cluster.note_block(&block(1, &[false, true, true]));
        let reported: Vec<u32> = (0..1026)
            .filter(|id| cluster.reported(shard(*id)))
            .collect();
        assert_eq!(reported, [0, 1025]);
        cluster.note_block(&block(1, &[true, true]));
        assert!(cluster.block_complete(1));
        assert!(!cluster.block_complete(0));
    }
}
