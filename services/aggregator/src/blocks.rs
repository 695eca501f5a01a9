//! Writes the table to its bucket, block by block.
//!
//! A block goes out whole when a state in it changed: at once for a lone change,
//! then at most every 100 ms. Other news ride along, or go out every 10 s at
//! most. A write is a compare-and-set on the key's revision, one under way for
//! each key, so that a late write of an earlier process cannot become the last.

mod write;

use std::time::Duration;

use async_nats::jetstream::kv;
use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tracing::warn;

pub(crate) use self::write::Outcome;
use self::write::write;
use crate::table::Marks;

const CHANGED_INTERVAL: Duration = Duration::from_millis(100);
const TOUCHED_INTERVAL: Duration = Duration::from_secs(10);
/// How long a block waits for the acknowledgement of the transitions in it.
const CHANGES_WAIT_MAX: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(250);

const ALL: Marks = Marks {
    changed: true,
    touched: true,
};

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The list of clusters.
    Clusters,
    /// A block of a cluster, by its place in the table.
    Block(usize, u32),
    /// A block that there is no more: its key is deleted.
    Gone,
}

/// A key of the table's bucket.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) content: Content,
    key: String,
    pub(crate) revision: u64,
    /// What was taken over is true up to this sequence.
    pub(crate) sequence: u64,
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
            sequence: 0,
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

/// All keys, and the writes under way.
pub(crate) struct Blocks {
    pub(crate) slots: Vec<Slot>,
    writes: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>,
    /// Since when every write has failed.
    failing_since: Option<Duration>,
}

/// The table holds what was not written with this epoch, or lost what was: from now on it has to be a greater one.
#[derive(Debug, thiserror::Error)]
#[error("the table is not as it was written; an epoch greater than {0} is needed to write it")]
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
        for slot in &mut self.slots {
            slot.mark(ALL, now, 0);
        }
    }

    /// The slots to write now.
    pub(crate) fn due(&self, now: Duration, changes_acked: u64) -> Vec<usize> {
        let due = self.all_due(changes_acked);
        due.filter(|(_, due)| *due <= now)
            .map(|(index, _)| index)
            .collect()
    }

    /// When the next slot is to be written.
    pub(crate) fn next_due(&self, changes_acked: u64) -> Option<Duration> {
        self.all_due(changes_acked).map(|(_, due)| due).min()
    }

    fn all_due(&self, changes_acked: u64) -> impl Iterator<Item = (usize, Duration)> {
        let mut lists = self
            .slots
            .iter()
            .filter(|it| it.content == Content::Clusters);
        let list_is_new = !lists.any(|slot| slot.writing || slot.is_dirty());
        let slots = self.slots.iter().enumerate();
        slots
            // Nobody may miss a block that the list still names.
            .filter(move |(_, slot)| list_is_new || slot.content != Content::Gone)
            .filter_map(move |(index, slot)| Some((index, slot.due(changes_acked)?)))
    }

    /// Says what a key holds from now on.
    pub(crate) fn set(&mut self, content: Content, key: String, now: Duration) {
        let place = self.slots.iter().position(|slot| slot.key == key);
        let index = place.unwrap_or_else(|| {
            self.slots.push(Slot::new(Content::Gone, key, 0));
            self.slots.len() - 1
        });
        if let Some(slot) = self.slots.get_mut(index) {
            slot.content = content;
            slot.mark(ALL, now, 0);
        }
    }

    /// The list of clusters is written again.
    pub(crate) fn touch_list(&mut self, now: Duration) {
        for slot in &mut self.slots {
            if slot.content == Content::Clusters {
                slot.mark(ALL, now, 0);
            }
        }
    }

    /// The sequences were those of another stream.
    pub(crate) fn forget_sequences(&mut self) {
        for slot in &mut self.slots {
            slot.sequence = 0;
        }
    }

    /// Begins to write a slot, or to delete its key.
    pub(crate) fn write(
        &mut self,
        index: usize,
        value: Option<Vec<u8>>,
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
            value.map(Bytes::from),
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
            Outcome::Overtaken { revision: 0, .. } if slot.content == Content::Gone => {
                slot.revision = 0;
            }
            // The key is gone, and revisions may begin anew: only a greater epoch tells what is newer.
            Outcome::Overtaken { revision: 0, .. } if slot.revision > 0 => {
                slot.revision = 0;
                slot.changed_at = Some(now);
                return Err(Overtaken(epoch));
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
