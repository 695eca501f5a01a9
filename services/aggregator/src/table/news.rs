//! What happened since somebody last asked.

use glance_protocol::BlockSet;

use super::{Disagreement, Marks, Resize, Table};

impl Table {
    /// What happened to a block since this was last asked.
    pub fn take_marks(&mut self, cluster: usize, block: u32) -> Marks {
        self.clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.marks.get_mut(block as usize))
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Who was heard and who was healed since this was last asked. Replayed reports are not heard now.
    pub fn take_heard(&mut self, cluster: usize, block: u32) -> (BlockSet, BlockSet) {
        let Some(cluster) = self.clusters.get_mut(cluster) else {
            return Default::default();
        };
        let take = |sets: &mut Vec<BlockSet>| {
            let set = sets.get_mut(block as usize);
            set.map(std::mem::take).unwrap_or_default()
        };
        (take(&mut cluster.heard), take(&mut cluster.healed))
    }

    /// Up to which sequence of the stream the sizes are true, when reports up to `applied` were applied.
    #[must_use]
    pub fn sizes_true_to(&self, applied: u64) -> u64 {
        let learned = self.clusters.iter().filter_map(|it| it.learned.as_ref());
        learned
            .map(|learned| learned.settled_to(applied))
            .fold(applied, u64::min)
    }

    /// Which sizes were learned since this was last asked.
    pub fn take_resizes(&mut self) -> Vec<Resize> {
        let mut resizes = Vec::new();
        for (place, cluster) in self.clusters.iter_mut().enumerate() {
            let after = cluster.info.total;
            let before = std::mem::replace(&mut cluster.total_told, after);
            if before != after {
                resizes.push(Resize {
                    place,
                    name: cluster.info.name.clone(),
                    before,
                    after,
                });
            }
        }
        resizes
    }

    /// Which bots said another size than is configured; each number of each cluster
    /// once, and only the first few.
    pub fn take_disagreements(&mut self) -> Vec<Disagreement> {
        let clusters = self.clusters.iter_mut();
        clusters
            .flat_map(|cluster| std::mem::take(&mut cluster.disagreements.untold))
            .collect()
    }
}
