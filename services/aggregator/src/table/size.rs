//! How many shards a cluster has, when nobody configured it.
//!
//! A message with `total` claims a size. A higher one is taken at once. A lower
//! one may be the last word of an old process that overlaps with the new one,
//! so it waits: it is taken when for one timeout nobody claimed the present size
//! and none of the shards beyond the lower one was heard. But a bot that really
//! became smaller does not keep red shards for ever.

use std::time::Duration;

use glance_protocol::{
    BlockSet, SHARDS_MAX,
    shard::{BLOCK_LEN, block_count, block_len},
};

use super::{Disagreement, Marks, Message, Refusal, cluster::Cluster, row::Row};

/// How many timeouts an old process may run beside the new one: half an hour, usually. Shards that are heard for
/// longer are there to stay.
const OVERLAP_TIMEOUTS_MAX: u32 = 60;
/// How many wrong sizes of a configured cluster are told.
const DISAGREEMENTS_MAX: usize = 16;

/// What is known of a size that is learned.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pending: Option<Pending>,
    /// Claims of reports up to this sequence are past: the present size is newer.
    known_to: u64,
    /// The newest report of this cluster that the stream delivered.
    newest: u64,
    /// The newest report that claimed the present size.
    claimed_in: u64,
}

/// A lower size that somebody claimed. Times are on the clock of sight.
#[derive(Debug, Clone, Copy)]
struct Pending {
    total: u32,
    since: Duration,
    /// The same on the clock that never stands still.
    since_mono: Duration,
    /// The report that claimed it; `None` when it was a health check.
    sequence: Option<u64>,
    /// When something last spoke for the present size; `since` if nothing did after.
    contested: Duration,
}

impl Learned {
    /// When the lower size is taken.
    pub(super) fn due(&self, timeout: Duration) -> Option<Duration> {
        Some(self.pending?.contested + timeout)
    }

    /// A shard was heard.
    pub(super) fn hear(&mut self, shard: u32, time: Duration, timeout: Duration) {
        if self.pending.is_some_and(|pending| shard >= pending.total) {
            // It may be the old process, which has not ended yet: the lower size waits meanwhile.
            self.contest(time, timeout * OVERLAP_TIMEOUTS_MAX);
        }
    }

    /// Something speaks for the present size. When it still does `overlap_max` after the lower claim, it is no old
    /// process, and the claim was the last word of one.
    fn contest(&mut self, time: Duration, overlap_max: Duration) {
        self.pending = self.pending.and_then(|pending| {
            let overlaps = time.saturating_sub(pending.since) < overlap_max;
            overlaps.then_some(Pending {
                contested: time,
                ..pending
            })
        });
    }

    fn claim_lower(&mut self, total: u32, sequence: Option<u64>, time: Duration, mono: Duration) {
        if let Some(same) = self.pending.as_mut().filter(|it| it.total == total) {
            // It was heard as it was published, and is delivered by the stream now.
            same.sequence = same.sequence.or(sequence);
        } else if self.pending.is_none_or(|pending| total > pending.total) {
            self.pending = Some(Pending {
                total,
                since: time,
                since_mono: mono,
                sequence,
                contested: time,
            });
        }
    }

    /// Up to which sequence claims are settled, at most `applied`. Who starts anew has to read one that waits again.
    pub(super) fn settled_to(&self, applied: u64) -> u64 {
        let waiting = self.pending.and_then(|pending| pending.sequence);
        waiting.map_or(applied, |sequence| applied.min(sequence.saturating_sub(1)))
    }

    pub(super) fn forget_claims_before(&mut self, mono: Duration) {
        self.pending = self.pending.filter(|pending| pending.since_mono >= mono);
    }

    /// What a message claims, and whether it is still news.
    fn claim_of(&self, message: Message<'_>, sequence: Option<u64>) -> Option<u32> {
        let claim = message.body.details.total?;
        let past = sequence.is_some_and(|sequence| sequence <= self.known_to);
        (!past && (1..=SHARDS_MAX).contains(&claim)).then_some(claim)
    }

    /// The stream is another one.
    pub(super) fn forget_sequences(&mut self) {
        (self.known_to, self.newest, self.claimed_in) = (0, 0, 0);
    }

    /// All reports up to this sequence are known.
    pub(super) fn know(&mut self, sequence: u64) {
        self.newest = self.newest.max(sequence);
    }
}

/// What bots said of a configured size that is another.
#[derive(Debug, Default)]
pub(super) struct Disagreements {
    /// Each claimed number once.
    claimed: Vec<u32>,
    /// The ones that were not asked for so far.
    pub(super) untold: Vec<Disagreement>,
}

impl Disagreements {
    fn note(&mut self, message: Message<'_>, total: u32) {
        let Some(claimed) = message.body.details.total else {
            return;
        };
        let is_new = claimed != total && !self.claimed.contains(&claimed);
        if is_new && self.claimed.len() < DISAGREEMENTS_MAX {
            self.claimed.push(claimed);
            self.untold.push(Disagreement {
                cluster: message.cluster.clone(),
                shard: message.shard,
                claimed,
                total,
            });
        }
    }
}

impl Cluster {
    /// Checks that a message speaks of a shard that there is, and takes what it says of the
    /// size. `false`: it is a report that is known already.
    pub(super) fn admit(
        &mut self,
        message: Message<'_>,
        sequence: Option<u64>,
        time: Duration,
        mono: Duration,
    ) -> Result<bool, Refusal> {
        let shard = message.shard.get() as usize;
        let known = self.sequences.get(shard).copied();
        let known = sequence.is_some_and(|it| known.is_some_and(|known| it <= known));
        let Some(learned) = &mut self.learned else {
            if !known
                && message
                    .body
                    .details
                    .total
                    .is_some_and(|it| it != self.info.total)
            {
                self.counts.disagreements += 1;
                self.disagreements.note(message, self.info.total);
            }
            in_range(message, self.info.total)?;
            return Ok(!known);
        };
        learned.know(sequence.unwrap_or(0));
        match learned.claim_of(message, sequence) {
            Some(claim) => {
                in_range(message, claim)?;
                // Also of a known report: who starts anew reads the claims since the kept size again.
                self.take_claim(claim, sequence, time, mono);
            }
            None => self.in_present_range(message, sequence)?,
        }
        Ok(!known)
    }

    fn in_present_range(&self, message: Message<'_>, sequence: Option<u64>) -> Result<(), Refusal> {
        let total = self.info.total;
        if total == 0 {
            return Err(Refusal::SizeUnknown(message.cluster.clone()));
        }
        let known_to = self.learned.as_ref().map_or(0, |learned| learned.known_to);
        let is_past = sequence.is_some_and(|sequence| sequence <= known_to);
        if is_past && message.shard.get() >= total {
            return Err(Refusal::Gone {
                cluster: message.cluster.clone(),
                shard: message.shard,
                total,
            });
        }
        in_range(message, total)
    }

    fn take_claim(&mut self, claim: u32, sequence: Option<u64>, time: Duration, mono: Duration) {
        let (total, timeout) = (self.info.total, self.timeout);
        let Some(learned) = &mut self.learned else {
            return;
        };
        if claim < total {
            return learned.claim_lower(claim, sequence, time, mono);
        }
        learned.contest(time, timeout);
        learned.claimed_in = learned.claimed_in.max(sequence.unwrap_or(0));
        // What the stream still holds of shards that went away is past.
        let known_to = learned.known_to;
        if claim > total {
            self.resize(claim, known_to);
        }
    }

    /// Takes the lower size if its time has come.
    pub(super) fn shrink(&mut self, time: Duration) {
        let Some(learned) = &mut self.learned else {
            return;
        };
        if learned.due(self.timeout).is_some_and(|due| time >= due)
            && let Some(pending) = learned.pending.take()
        {
            // Whoever reads the stream again must not make it grow again.
            learned.known_to = learned.newest;
            self.resize(pending.total, 0);
        }
    }

    /// The size as somebody kept it, who had seen the reports up to this sequence.
    pub(super) fn restore_total(&mut self, total: u32, known_to: u64) {
        let (total, present) = (total.min(SHARDS_MAX), self.info.total);
        let Some(learned) = self.learned.as_mut().filter(|_| total > 0) else {
            return;
        };
        let larger_since = total < present && learned.claimed_in > known_to;
        let smaller_since = total > present && learned.known_to > known_to;
        if larger_since || smaller_since {
            return;
        }
        learned.known_to = learned.known_to.max(known_to);
        if present != total {
            learned.pending = None;
            self.resize(total, 0);
        }
    }

    /// Lets shards come or go. Of those that come, reports up to `sequence` are known.
    fn resize(&mut self, total: u32, sequence: u64) {
        let before = self.info.total;
        self.info.total = total;
        let (len, blocks) = (total as usize, block_count(total) as usize);
        self.rows.resize(len, Row::default());
        self.sequences.resize(len, sequence);
        self.deadlines.resize(total);
        self.marks.resize(blocks, Marks::default());
        self.heard.resize(blocks, BlockSet::default());
        self.healed.resize(blocks, BlockSet::default());
        // The block that is cut, or every block in which a shard is new.
        let first = (total.min(before) / BLOCK_LEN) as usize;
        for marks in self.marks.iter_mut().skip(first) {
            marks.changed = true;
        }
        let last = block_count(total).saturating_sub(1);
        let last_len = block_len(total, last) as usize;
        for sets in [&mut self.heard, &mut self.healed] {
            if let Some(set) = sets.get_mut(last as usize) {
                *set = set.iter().filter(|offset| *offset < last_len).collect();
            }
        }
    }
}

fn in_range(message: Message<'_>, total: u32) -> Result<(), Refusal> {
    if message.shard.get() < total {
        return Ok(());
    }
    Err(Refusal::Range {
        cluster: message.cluster.clone(),
        shard: message.shard,
        total,
    })
}
