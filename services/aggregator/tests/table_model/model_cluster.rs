//! The model of one cluster: its shards, and how it learns its size.

use std::{collections::BTreeSet, time::Duration};

use glance_protocol::{Cause, Details, ShardRow, State};

use crate::model::{Expected, Kept, Kind, Place};

#[derive(Debug, Clone, Default)]
pub(crate) struct Shard {
    pub(crate) row: ShardRow,
    /// Reports of the stream up to this one are known.
    pub(crate) sequence: u64,
    /// The last sign of life on the clock that stands still while blind.
    pub(crate) heard: Duration,
    /// What happened since somebody asked for the marks of its block: a change, a sign of life.
    pub(crate) changed: bool,
    pub(crate) touched: bool,
    /// What happened since somebody asked who was heard in its block.
    pub(crate) beat: bool,
    pub(crate) healed: bool,
}

/// Something that was said of the size, or may count as such.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// A claim, and the size at that time.
    Claim(u32, u32),
    /// This shard was heard.
    Heard(u32),
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) timeout: Duration,
    pub(crate) shards: Vec<Shard>,
    auto: bool,
    /// All that was said since the size last became lower, and when.
    words: Vec<(Duration, Word)>,
    pub(crate) known_to: u64,
    pub(crate) newest: u64,
    pub(crate) claimed_in: u64,
    /// The size when somebody last asked.
    pub(crate) told: usize,
    /// Sizes that were claimed and are not the configured one.
    disagreed: BTreeSet<u32>,
    /// Which shard claimed them; until somebody asks.
    pub(crate) untold: Vec<(u32, u32)>,
}

impl Cluster {
    pub(crate) fn new(total: Option<u32>, timeout: Duration) -> Self {
        let total_now = total.unwrap_or(0) as usize;
        Self {
            timeout,
            shards: vec![Shard::default(); total_now],
            auto: total.is_none(),
            words: Vec::new(),
            known_to: 0,
            newest: 0,
            claimed_in: 0,
            told: total_now,
            disagreed: BTreeSet::new(),
            untold: Vec::new(),
        }
    }

    pub(crate) fn total(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap()
    }

    /// `Ok(false)` when the report is known.
    pub(crate) fn admit(
        &mut self,
        shard: u32,
        claim: Option<u32>,
        sequence: Option<u64>,
        clock: Duration,
    ) -> Result<bool, Kind> {
        self.newest = self.newest.max(sequence.unwrap_or(0));
        let present = self.shards.get(shard as usize);
        let news = match (sequence, present) {
            (Some(sequence), Some(present)) => sequence > present.sequence,
            _ => true,
        };
        let total = self.total();
        let past = self.auto && sequence.is_some_and(|sequence| sequence <= self.known_to);
        let Some(claim) = claim.filter(|_| !past) else {
            return match (total, shard < total) {
                (_, true) => Ok(news),
                (0, _) => Err(Kind::SizeUnknown),
                (_, false) if past => Err(Kind::Gone),
                (_, false) => Err(Kind::Range(total)),
            };
        };
        if !self.auto {
            let other = news && claim != total && self.disagreed.len() < 16;
            if other && self.disagreed.insert(claim) {
                self.untold.push((shard, claim));
            }
            return (shard < total).then_some(news).ok_or(Kind::Range(total));
        }
        if shard >= claim {
            return Err(Kind::Range(claim));
        }
        self.words.push((clock, Word::Claim(claim, total)));
        if claim >= total {
            self.claimed_in = self.claimed_in.max(sequence.unwrap_or(0));
            self.grow(claim, self.known_to);
        }
        Ok(news)
    }

    pub(crate) fn hear(&mut self, shard: u32, clock: Duration) -> &mut Shard {
        self.words.push((clock, Word::Heard(shard)));
        &mut self.shards[shard as usize]
    }

    /// The lower size that waits, and when its time has come.
    pub(crate) fn pending(&self) -> Option<(u32, Duration)> {
        let mut lower: Option<(u32, Duration, Duration)> = None;
        for (at, word) in &self.words {
            let (size, since) = lower.map_or((u32::MAX, *at), |(size, since, _)| (size, since));
            let against = match word {
                Word::Claim(claim, total) => claim >= total,
                Word::Heard(shard) => *shard >= size,
            };
            match word {
                Word::Claim(..) if against && *at - since >= self.timeout => lower = None,
                // An old process may be heard for long, but it does not claim anything anew.
                Word::Heard(_) if against && *at - since >= 60 * self.timeout => lower = None,
                _ if against => lower = lower.map(|(size, since, _)| (size, since, *at)),
                Word::Claim(claim, _) if lower.is_none() || *claim > size => {
                    lower = Some((*claim, *at, *at));
                }
                _ => {}
            }
        }
        lower.map(|(size, _, against)| (size, against + self.timeout))
    }

    pub(crate) fn shrink(&mut self, clock: Duration) {
        if let Some((size, due)) = self.pending()
            && clock >= due
        {
            self.known_to = self.newest;
            self.cut(size);
        }
    }

    pub(crate) fn restore_total(&mut self, total: u32, known_to: u64) {
        let present = self.total();
        let own_is_newer = (total < present && self.claimed_in > known_to)
            || (total > present && self.known_to > known_to);
        if !self.auto || total == 0 || own_is_newer {
            return;
        }
        self.known_to = self.known_to.max(known_to);
        if total < present {
            self.cut(total);
        } else if total > present {
            self.words.clear();
            self.grow(total, 0);
        }
    }

    /// Reports of the new shards are known up to this sequence.
    fn grow(&mut self, total: u32, sequence: u64) {
        let new = Shard {
            sequence,
            changed: true,
            ..Shard::default()
        };
        self.shards.resize(total as usize, new);
    }

    fn cut(&mut self, total: u32) {
        self.words.clear();
        let gone = self.shards.split_off(total as usize);
        // A block that is cut is another one now; marks are of blocks, so those of its gone shards stay.
        let rest = (1024 - total as usize % 1024) % 1024;
        if rest > 0 {
            let last = self.shards.last_mut().unwrap();
            last.changed = true;
            last.touched |= gone.iter().take(rest).any(|shard| shard.touched);
        }
    }
}

impl Shard {
    /// Whether silence makes it Unhealthy.
    pub(crate) fn waited_for(&self) -> bool {
        self.row.since_ms.is_some() && self.row.state != State::Unhealthy
    }

    pub(crate) fn sign_of_life(&mut self, clock: Duration, wall_ms: i64, details: &Details) {
        self.heard = clock;
        self.row.last_heard_ms = Some(wall_ms);
        if details.group.is_some() {
            self.row.details.group.clone_from(&details.group);
        }
        if details.latency_ms.is_some() {
            self.row.details.latency_ms = details.latency_ms;
        }
        self.touched = true;
    }

    /// `since`, `previous` and `cause` speak of the moment when the state was
    /// entered, so the same state again changes none of them.
    pub(crate) fn enter(
        &mut self,
        place: Place,
        state: State,
        cause: Cause,
        at_ms: i64,
    ) -> Option<Expected> {
        let first = self.row.since_ms.is_none();
        let previous = self.row.state;
        if previous == state && !first {
            return None;
        }
        self.changed = true;
        self.row.state = state;
        self.row.previous = previous;
        self.row.cause = Some(cause);
        self.row.since_ms = Some(at_ms);
        // A first report of Unknown changes nothing that anybody sees.
        (previous != state).then_some(Expected {
            place,
            state,
            previous,
            cause,
            at_ms,
        })
    }

    /// Merges with the row of the last leader, and says what that one may not have told.
    pub(crate) fn merge(
        &mut self,
        place: Place,
        theirs: &ShardRow,
        kept: &Kept,
    ) -> Option<Expected> {
        let mine = self.row.clone();
        let last_heard_ms = mine.last_heard_ms.max(theirs.last_heard_ms);
        let mine_wins = match (mine.reported(), theirs.reported()) {
            (false, _) => false,
            (true, false) => true,
            (true, true) if self.sequence > kept.sequence => true,
            // Said after the last leader wrote, perhaps by a health check, which has no sequence.
            (true, true)
                if mine.cause == Some(Cause::Report)
                    && mine.since_ms > Some(kept.written_ms.max(kept.now_ms - 30_000)) =>
            {
                true
            }
            // Healed after the last leader flagged it.
            (true, true) => {
                theirs.state == State::Unhealthy
                    && theirs.cause == Some(Cause::Timeout)
                    && mine.cause == Some(Cause::Health)
                    && mine.state == State::Online
                    && mine.previous == State::Unhealthy
                    && mine.since_ms >= theirs.since_ms
            }
        };
        self.row = match mine_wins {
            true if mine.state != theirs.state => ShardRow {
                previous: theirs.state,
                since_ms: mine.since_ms.max(theirs.since_ms),
                ..mine
            },
            true => mine,
            false => theirs.clone(),
        };
        self.row.last_heard_ms = last_heard_ms;
        (self.row.state != theirs.state).then(|| Expected {
            place,
            state: self.row.state,
            previous: theirs.state,
            cause: self.row.cause.unwrap(),
            at_ms: self.row.since_ms.unwrap(),
        })
    }
}
