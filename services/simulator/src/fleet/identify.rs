//! Discord's limit on new sessions.
//!
//! A bot may start `max_concurrency` sessions at once: shard `i` belongs to the rate limit key
//! `i % max_concurrency`, and each key takes one Identify every 5 seconds. See "Sharding", "Max Concurrency" in
//! Discord's gateway documentation. Large bots have 16.

use std::{collections::VecDeque, time::Duration};

/// How many shards of a bot may identify within [`WINDOW`].
pub const MAX_CONCURRENCY: u32 = 16;
/// How long a rate limit key is taken by one Identify.
pub const WINDOW: Duration = Duration::from_secs(5);

/// A shard that waits for its turn. The ticket tells whether it still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) shard: u32,
    pub(super) ticket: u32,
}

/// The queues of one bot, one for each rate limit key.
#[derive(Debug)]
pub(super) struct IdentifyQueues {
    keys: Vec<Key>,
}

#[derive(Debug, Default)]
struct Key {
    queue: VecDeque<Waiting>,
    free_at: Duration,
    /// Whether somebody will call [`IdentifyQueues::turn`].
    called: bool,
}

impl IdentifyQueues {
    pub(super) fn new() -> Self {
        Self {
            keys: (0..MAX_CONCURRENCY).map(|_| Key::default()).collect(),
        }
    }

    /// Puts a shard into the queue of its key. The answer is the key, and when to call [`turn`](Self::turn) for
    /// it, unless that is arranged already.
    pub(super) fn join(&mut self, waiting: Waiting, now: Duration) -> Option<(usize, Duration)> {
        let index = (waiting.shard % MAX_CONCURRENCY) as usize;
        self.keys[index].queue.push_back(waiting);
        self.call(index, now)
    }

    /// Arranges the next turn of a key, if one is needed and not arranged.
    pub(super) fn call(&mut self, index: usize, now: Duration) -> Option<(usize, Duration)> {
        let key = &mut self.keys[index];
        if key.called || key.queue.is_empty() {
            return None;
        }
        key.called = true;
        Some((index, key.free_at.max(now)))
    }

    /// The turn of a key: its first shard that still waits may identify now.
    pub(super) fn turn(
        &mut self,
        index: usize,
        now: Duration,
        still_waits: impl Fn(Waiting) -> bool,
    ) -> Option<Waiting> {
        let key = &mut self.keys[index];
        key.called = false;
        if now < key.free_at {
            return None;
        }
        while let Some(waiting) = key.queue.pop_front() {
            if still_waits(waiting) {
                key.free_at = now + WINDOW;
                return Some(waiting);
            }
        }
        None
    }

    /// A turn that came while nobody can identify: it has to be arranged again later.
    pub(super) fn skip(&mut self, index: usize) {
        self.keys[index].called = false;
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn waiting(shard: u32) -> Waiting {
        Waiting { shard, ticket: 1 }
    }

    #[test]
    fn a_key_serves_one_shard_each_five_seconds() {
        let mut queues = IdentifyQueues::new();
        assert_eq!(queues.join(waiting(3), ZERO), Some((3, ZERO)));
        assert_eq!(queues.join(waiting(19), ZERO), None, "arranged already");
        assert_eq!(queues.turn(3, ZERO, |_| true), Some(waiting(3)));
        assert_eq!(queues.call(3, ZERO), Some((3, WINDOW)));
        assert_eq!(queues.turn(3, WINDOW, |_| true), Some(waiting(19)));
        assert_eq!(queues.call(3, WINDOW), None, "nobody waits");
    }

    #[test]
    fn keys_do_not_wait_for_each_other() {
        let mut queues = IdentifyQueues::new();
        assert_eq!(queues.join(waiting(0), ZERO), Some((0, ZERO)));
        assert_eq!(queues.join(waiting(1), ZERO), Some((1, ZERO)));
    }

    #[test]
    fn who_left_the_queue_takes_no_turn() {
        let mut queues = IdentifyQueues::new();
        queues.join(waiting(0), ZERO);
        queues.join(waiting(16), ZERO);
        let next = queues.turn(0, ZERO, |waiting| waiting.shard != 0);
        assert_eq!(next, Some(waiting(16)));
    }

    #[test]
    fn a_turn_that_comes_early_grants_nothing() {
        let mut queues = IdentifyQueues::new();
        queues.join(waiting(0), ZERO);
        queues.join(waiting(16), ZERO);
        queues.turn(0, ZERO, |_| true);
        assert_eq!(queues.turn(0, WINDOW / 2, |_| true), None);
    }
}
