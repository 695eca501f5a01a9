//! Writes the table to its bucket, block by block.
//!
//! A block goes out whole when a state in it changed: at once for a lone change,
//! then at most every 100 ms. Other news ride along, or go out every 10 s at
//! most. A write is a compare-and-set on the key's revision, one under way for
//! each key, so that a late write of an earlier process cannot become the last.

use std::time::Duration;

use async_nats::jetstream::kv::{self, UpdateErrorKind};
use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use glance_protocol::{ClusterList, TableBlock};
use tokio::time::timeout;
use tracing::warn;

use crate::{recovery, table::Marks};

const CHANGED_INTERVAL: Duration = Duration::from_millis(100);
const TOUCHED_INTERVAL: Duration = Duration::from_secs(10);
/// How long a block waits for the acknowledgement of the transitions in it.
const CHANGES_WAIT_MAX: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(250);
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The list of clusters.
    Clusters,
    /// A block of a cluster, by its place in the table.
    Block(usize, u32),
}

/// A key of the table's bucket.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) content: Content,
    key: String,
    pub(crate) revision: u64,
    writing: bool,
    /// When the first change came that is not written yet.
    changed_at: Option<Duration>,
    touched: bool,
    /// The transitions up to this number are told before the block is written.
    after_change: u64,
    not_before: Duration,
    written_at: Option<Duration>,
}

impl Slot {
    pub(crate) fn new(content: Content, key: String, revision: u64) -> Self {
        Self {
            content,
            key,
            revision,
            writing: false,
            changed_at: None,
            touched: false,
            after_change: 0,
            not_before: Duration::ZERO,
            written_at: None,
        }
    }

    /// Notes what happened to the content.
    pub(crate) fn mark(&mut self, marks: Marks, now: Duration, changes_queued: u64) {
        if marks.changed {
            self.changed_at.get_or_insert(now);
            self.after_change = self.after_change.max(changes_queued);
        }
        self.touched |= marks.touched;
    }

    /// When it is to be written; `None` when there is nothing to write or a write is under way.
    pub(crate) fn due(&self, changes_acked: u64) -> Option<Duration> {
        if self.writing {
            return None;
        }
        let spaced = |interval| self.written_at.map_or(Duration::ZERO, |at| at + interval);
        let due = match self.changed_at {
            Some(at) if self.after_change > changes_acked => {
                (at + CHANGES_WAIT_MAX).max(spaced(CHANGED_INTERVAL))
            }
            Some(_) => spaced(CHANGED_INTERVAL),
            None if self.touched => spaced(TOUCHED_INTERVAL),
            None => return None,
        };
        Some(due.max(self.not_before))
    }

    fn is_dirty(&self) -> bool {
        self.changed_at.is_some() || self.touched
    }
}

/// How a write ended.
pub(crate) enum Outcome {
    /// The key has this revision now.
    Written(u64),
    /// Somebody else wrote the key: its revision, and the epoch of its value.
    Overtaken {
        /// The revision of the key.
        revision: u64,
        /// The epoch of its value.
        epoch: u64,
    },
    /// It is not known whether it was written.
    Failed(String),
}

/// All keys, and the writes under way.
pub(crate) struct Blocks {
    pub(crate) slots: Vec<Slot>,
    writes: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>,
    /// Since when every write has failed.
    failing_since: Option<Duration>,
}

/// Another aggregator, with a higher epoch, writes the table.
#[derive(Debug, thiserror::Error)]
#[error(
    "another aggregator with epoch {0} writes the table now; only one may run on a broker, so this one ends"
)]
pub(crate) struct Overtaken(pub(crate) u64);

impl Blocks {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self {
            slots,
            writes: FuturesUnordered::new(),
            failing_since: None,
        }
    }

    /// Everything is written again, for instance because the broker may have lost it.
    pub(crate) fn mark_all(&mut self, now: Duration) {
        let all = Marks {
            changed: true,
            touched: true,
        };
        for slot in &mut self.slots {
            slot.mark(all, now, 0);
        }
    }

    /// The slots to write now.
    pub(crate) fn due(&self, now: Duration, changes_acked: u64) -> Vec<usize> {
        let is_due = |slot: &Slot| slot.due(changes_acked).is_some_and(|due| due <= now);
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| is_due(slot))
            .map(|(index, _)| index)
            .collect()
    }

    /// When the next slot is to be written.
    pub(crate) fn next_due(&self, changes_acked: u64) -> Option<Duration> {
        self.slots
            .iter()
            .filter_map(|slot| slot.due(changes_acked))
            .min()
    }

    /// Begins to write a slot.
    pub(crate) fn write(
        &mut self,
        index: usize,
        value: Vec<u8>,
        bucket: &kv::Store,
        now: Duration,
    ) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.writing = true;
        slot.changed_at = None;
        slot.touched = false;
        slot.written_at = Some(now);
        let write = write(
            bucket.clone(),
            slot.key.clone(),
            value.into(),
            slot.revision,
        );
        self.writes
            .push(Box::pin(async move { (index, write.await) }));
    }

    /// The next write that ends. Waits for ever when none is under way.
    pub(crate) async fn ended(&mut self) -> (usize, Outcome) {
        match self.writes.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Takes note of the end of a write.
    pub(crate) fn finish(
        &mut self,
        index: usize,
        outcome: Outcome,
        epoch: u64,
        now: Duration,
    ) -> Result<(), Overtaken> {
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        slot.writing = false;
        match outcome {
            Outcome::Written(revision) => {
                slot.revision = revision;
                self.failing_since = None;
            }
            Outcome::Overtaken { epoch: other, .. } if other > epoch => {
                return Err(Overtaken(other));
            }
            // An earlier process, or a write of ours whose acknowledgement was lost.
            Outcome::Overtaken { revision, .. } => {
                slot.revision = revision;
                slot.changed_at = Some(now);
            }
            Outcome::Failed(cause) => {
                slot.changed_at = Some(now);
                slot.not_before = now + RETRY;
                if self.failing_since.is_none() {
                    warn!("key {} is not written yet: {cause}", slot.key);
                    self.failing_since = Some(now);
                }
            }
        }
        Ok(())
    }

    /// For how long every write has failed; zero when the last one did not.
    pub(crate) fn failing_for(&self, now: Duration) -> Duration {
        self.failing_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether everything is written.
    pub(crate) fn is_settled(&self) -> bool {
        self.writes.is_empty() && !self.slots.iter().any(Slot::is_dirty)
    }
}

async fn write(bucket: kv::Store, key: String, value: Bytes, revision: u64) -> Outcome {
    match timeout(WRITE_TIMEOUT, bucket.update(&key, value, revision)).await {
        Ok(Ok(revision)) => Outcome::Written(revision),
        Ok(Err(cause)) if cause.kind() == UpdateErrorKind::WrongLastRevision => {
            look(&bucket, &key).await
        }
        Ok(Err(cause)) => Outcome::Failed(cause.to_string()),
        Err(_) => Outcome::Failed("no acknowledgement in time".into()),
    }
}

/// Who wrote the key?
async fn look(bucket: &kv::Store, key: &str) -> Outcome {
    match timeout(WRITE_TIMEOUT, recovery::read(bucket, key)).await {
        Ok(Ok(Some((value, revision)))) => Outcome::Overtaken {
            revision,
            epoch: epoch_of(&value),
        },
        Ok(Ok(None)) => Outcome::Overtaken {
            revision: 0,
            epoch: 0,
        },
        Ok(Err(cause)) => Outcome::Failed(format!("{cause:#}")),
        Err(_) => Outcome::Failed("no answer in time".into()),
    }
}

/// 0 when the value is not ours to read; every epoch is greater.
fn epoch_of(value: &[u8]) -> u64 {
    let block = TableBlock::from_bytes(value).map(|block| block.epoch);
    let list = || ClusterList::from_bytes(value).map(|list| list.epoch);
    block.or_else(|_| list()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn slot() -> Slot {
        Slot::new(Content::Clusters, "k".into(), 0)
    }

    const CHANGED: Marks = Marks {
        changed: true,
        touched: true,
    };

    #[test]
    fn a_lone_change_goes_out_at_once_and_the_next_a_little_later() {
        let mut slot = slot();
        assert_eq!(slot.due(0), None);
        slot.mark(CHANGED, ms(5000), 0);
        assert!(slot.due(0).unwrap() <= ms(5000));
        slot.changed_at = None;
        slot.written_at = Some(ms(5000));
        slot.mark(CHANGED, ms(5010), 0);
        assert_eq!(slot.due(0), Some(ms(5100)));
    }

    #[test]
    fn other_news_go_out_every_ten_seconds() {
        let mut slot = slot();
        slot.written_at = Some(ms(5000));
        slot.mark(
            Marks {
                changed: false,
                touched: true,
            },
            ms(5001),
            0,
        );
        assert_eq!(slot.due(0), Some(ms(15_000)));
    }

    #[test]
    fn a_transition_is_told_first_but_not_waited_for_for_ever() {
        let mut slot = slot();
        slot.mark(CHANGED, ms(5000), 3);
        assert_eq!(slot.due(2), Some(ms(6000)));
        assert!(slot.due(3).unwrap() <= ms(5000));
    }
}
