//! One cluster and its blocks, as the mirror holds them. No IO, no clock.

use std::sync::Arc;

use glance_protocol::{
    BLOCK_LEN, BlockSet, ClusterInfo, ShardRow, State,
    feed::{PageShard, Version},
    shard::{block_count, block_len},
};

use crate::mirror::ShardChange;

/// Times that differ by less came in another order than they were made in; by
/// more, the aggregator's clock was set back. In milliseconds.
pub(crate) const JITTER_MS: i64 = 2000;

/// One block of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    /// Which value this is; the lowest one until the first has come.
    pub version: Version,
    /// Its shards.
    pub rows: Arc<Vec<ShardRow>>,
    /// When each of them was last heard, in Unix milliseconds. Pulses move it, so that it is newer than the rows.
    pub last_heard_ms: Vec<Option<i64>>,
    /// When it was written, by the aggregator's clock; `None` until the first value has come.
    pub at_ms: Option<i64>,
}

/// One cluster with all its blocks.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Its name, size and timeout.
    pub info: ClusterInfo,
    /// Its blocks, in order.
    pub blocks: Vec<Arc<Block>>,
}

impl Cluster {
    /// A cluster that keeps of `blocks` what fits its size.
    #[must_use]
    pub(crate) fn new(info: ClusterInfo, blocks: Vec<Arc<Block>>) -> Self {
        let mut old = blocks.into_iter();
        let blocks = (0..block_count(info.total)).map(|block| {
            let len = block_len(info.total, block) as usize;
            match old.next() {
                Some(kept) if kept.rows.len() == len => kept,
                Some(kept) => Arc::new(kept.resized(len)),
                None => Arc::new(Block::unknown(len)),
            }
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

    /// What is known of one shard; `None` when there is no such shard.
    #[must_use]
    pub(crate) fn row(&self, id: u32) -> Option<&ShardRow> {
        let block = self.blocks.get(usize::try_from(id / BLOCK_LEN).ok()?)?;
        let place = usize::try_from(id % BLOCK_LEN).ok()?;
        block.rows.get(place).filter(|_| id < self.info.total)
    }
}

impl Block {
    fn unknown(len: usize) -> Self {
        Self {
            version: Version::default(),
            rows: Arc::new(vec![ShardRow::default(); len]),
            last_heard_ms: vec![None; len],
            at_ms: None,
        }
    }

    /// The shards that stay, as they were, until the value of the new size comes: nobody need see them go and come.
    fn resized(&self, len: usize) -> Self {
        let mut rows = self.rows.to_vec();
        rows.resize(len, ShardRow::default());
        let mut last_heard_ms = self.last_heard_ms.clone();
        last_heard_ms.resize(len, None);
        Self {
            version: Version::default(),
            rows: Arc::new(rows),
            last_heard_ms,
            at_ms: self.at_ms,
        }
    }

    /// Notes who was heard at `at_ms`. Only shards that have reported count.
    pub(crate) fn hear(
        &mut self,
        heard: &BlockSet,
        healed: &BlockSet,
        at_ms: i64,
    ) -> (BlockSet, BlockSet) {
        let mut counted = BlockSet::default();
        let mut online = BlockSet::default();
        for place in heard.iter() {
            let row = self.rows.get(place).filter(|row| row.reported());
            let (Some(row), Some(last)) = (row, self.last_heard_ms.get_mut(place)) else {
                continue;
            };
            // Lower by much means that the clock was set back, and then this is the time.
            if last.is_none_or(|last| at_ms > last || last.saturating_sub(at_ms) > JITTER_MS) {
                *last = Some(at_ms);
            }
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
#[must_use]
pub(crate) fn changes(first: u32, old: &[ShardRow], new: &[ShardRow]) -> Vec<ShardChange> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_dated_as_the_aggregator_says() {
        let mut block = Block::unknown(1);
        Arc::make_mut(&mut block.rows)[0].since_ms = Some(0);
        let (heard, nobody) = ([0].into_iter().collect(), BlockSet::default());
        for (at_ms, held_ms, why) in [
            (3_600_000, 3_600_000, "the first one"),
            (3_599_000, 3_600_000, "it came late"),
            (3_601_000, 3_601_000, "the next one"),
            (1000, 1000, "the clock was set back"),
        ] {
            block.hear(&heard, &nobody, at_ms);
            assert_eq!(block.last_heard_ms, [Some(held_ms)], "{why}");
        }
    }
}
