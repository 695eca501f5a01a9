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
    /// The sizes that were learned account for all reports up to this sequence of the stream.
    pub(crate) sequence: u64,
    in_order: Vec<Arc<Cluster>>,
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
            match old {
                Some(old) if old.total == info.total && old.auto == info.auto => old.clone(),
                _ => Arc::new(Cluster::new(info, old.map(Arc::as_ref))),
            }
        };
        let in_order: Vec<_> = list.clusters.iter().map(carry).collect();
        let named = |cluster: &Arc<Cluster>| (cluster.name.clone(), cluster.clone());
        Self {
            revision,
            bucket,
            sequence: list.sequence,
            by_name: in_order.iter().map(named).collect(),
            in_order,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.by_name.get(name)
    }

    /// All of them, in configured order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.in_order.iter()
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
    /// How many shards it has; 0 while that is not known yet.
    pub(crate) total: u32,
    /// Whether the size is learned from reports.
    pub(crate) auto: bool,
    /// One bit a shard: whether it is known to have reported. A bit that is not set means only that it has to be looked up.
    reported: Box<[AtomicU64]>,
}

impl Cluster {
    /// A cluster of this size. What `before` knows of the shards that both have is kept.
    pub(crate) fn new(info: &ClusterInfo, before: Option<&Self>) -> Self {
        let shared = before.map_or(0, |before| before.total.min(info.total));
        let word = |index: u32| {
            let first = index * u64::BITS;
            let old = before.and_then(|before| before.reported.get(index as usize));
            let old = old.map_or(0, |word| word.load(Ordering::Relaxed));
            AtomicU64::new(old & lowest_bits(shared.saturating_sub(first)))
        };
        Self {
            name: info.name.clone(),
            total: info.total,
            auto: info.auto,
            reported: (0..info.total.div_ceil(u64::BITS)).map(word).collect(),
        }
    }

    /// The shard of this number. `claim` is how many shards the cluster has by the word of who
    /// asks; it counts only where the size is learned.
    ///
    /// # Errors
    ///
    /// When the cluster has no such shard, or its size is not known yet.
    pub(crate) fn shard(&self, number: &Number, claim: Option<u32>) -> Result<ShardId, Refusal> {
        let claim = claim.filter(|_| self.auto);
        let total = claim.unwrap_or(self.total);
        if total == 0 {
            return Err(Refusal::SizeUnknown);
        }
        let id = number.value().filter(|id| *id < total);
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
        if shard.get() >= self.total {
            // A shard that was only claimed so far.
            return;
        }
        let (word, bit) = place(shard.get());
        if let Some(word) = self.reported.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether all shards of a block are known to have reported.
    pub(crate) fn block_complete(&self, block: u32) -> bool {
        self.shards_of(block).all(|shard| self.reported(shard))
    }

    /// Whether any shard of a block is known to have reported.
    pub(crate) fn block_known(&self, block: u32) -> bool {
        self.shards_of(block).any(|shard| self.reported(shard))
    }

    fn shards_of(&self, block: u32) -> impl Iterator<Item = ShardId> {
        let first = block.saturating_mul(BLOCK_LEN);
        let end = first.saturating_add(BLOCK_LEN).min(self.total);
        (first..end).filter_map(|id| ShardId::new(id).ok())
    }

    /// Forgets what is known of a block's shards, so that they are looked up.
    pub(crate) fn forget_block(&self, block: u32) {
        for shard in self.shards_of(block) {
            let (word, bit) = place(shard.get());
            if let Some(word) = self.reported.get(word) {
                word.fetch_and(!bit, Ordering::Relaxed);
            }
        }
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

fn lowest_bits(count: u32) -> u64 {
    1_u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use glance_protocol::ShardRow;

    use super::*;

    fn info(total: u32, auto: bool) -> ClusterInfo {
        ClusterInfo {
            name: "main".parse().unwrap(),
            total,
            timeout_s: 30.0,
            auto,
        }
    }

    fn cluster(total: u32) -> Cluster {
        Cluster::new(&info(total, false), None)
    }

    fn known(cluster: &Cluster) -> Vec<u32> {
        let reported = |id: &u32| cluster.reported(shard(*id));
        (0..2000).filter(reported).collect()
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
        let find = |text: &str| cluster.shard(&Number::parse(text).unwrap(), Some(2000));
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
        cluster.note_report(shard(65)); // None of this cluster's.
        cluster.note_report(shard(200));
        assert_eq!(known(&cluster), [64]);
    }

    #[test]
    fn a_claim_counts_where_the_size_is_learned() {
        let find = |total: u32, number: &str, claim: Option<u32>| {
            let cluster = Cluster::new(&info(total, true), None);
            let shard = cluster.shard(&Number::parse(number).unwrap(), claim);
            shard.map(ShardId::get).map_err(|cause| cause.to_string())
        };
        let unknown = Refusal::SizeUnknown.to_string();
        assert_eq!(find(0, "0", None), Err(unknown.clone()));
        assert_eq!(find(0, "-1", None), Err(unknown));
        assert_eq!(find(0, "3", Some(4)), Ok(3));
        assert!(find(0, "4", Some(4)).unwrap_err().contains("outside"));
        // By its own word there is no such shard; the aggregator refuses it as well.
        assert!(find(8, "7", Some(4)).unwrap_err().contains("outside"));
        assert_eq!(find(8, "8", Some(9)), Ok(8));
        assert!(find(8, "8", None).unwrap_err().contains("outside"));
    }

    #[test]
    fn what_is_known_survives_a_change_of_size() {
        let ids = [0, 63, 64, 127, 128, 200];
        let before = Cluster::new(&info(201, true), None);
        for id in ids {
            before.note_report(shard(id));
        }
        let resized = |total: u32| known(&Cluster::new(&info(total, true), Some(&before)));
        assert_eq!(resized(1000), ids);
        assert_eq!(resized(201), ids);
        assert_eq!(resized(200), [0, 63, 64, 127, 128]);
        assert_eq!(resized(128), [0, 63, 64, 127]);
        assert_eq!(resized(64), [0, 63]);
        assert_eq!(resized(63), [0]);
        assert_eq!(resized(0), [] as [u32; 0]);
    }

    #[test]
    fn a_block_can_be_forgotten() {
        let cluster = cluster(1030);
        for id in [5, 1023, 1024, 1029] {
            cluster.note_report(shard(id));
        }
        cluster.forget_block(1);
        assert_eq!(known(&cluster), [5, 1023]);
        assert!(cluster.block_known(0) && !cluster.block_known(1));
    }

    #[test]
    fn a_block_replaces_what_was_known_of_its_shards() {
        let cluster = cluster(1026);
        cluster.note_report(shard(0));
        cluster.note_report(shard(1024));
        assert!(!cluster.block_complete(1));
        cluster.note_block(&block(1, &[false, true, true]));
        assert_eq!(known(&cluster), [0, 1025]);
        cluster.note_block(&block(1, &[true, true]));
        assert!(cluster.block_complete(1));
        assert!(!cluster.block_complete(0));
    }
}
