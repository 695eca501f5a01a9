//! Health checks in their order among reports.
//!
//! A report is applied when the stream delivers it, a health check as it comes.
//! So a health check could overtake the report that was published before it,
//! and one that carries a state could be undone by it. The reports' subjects
//! are therefore listened to directly as well: what was published is known at
//! once, and a health check of the same shard waits until the stream has
//! delivered it. The wait is bounded, since a report may never be stored.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

/// How long a health check waits for a report.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Shards whose reports are on their way, at most; more are not waited for.
const SHARDS_MAX: usize = 65_536;
const REPORTS_PER_SHARD_MAX: usize = 32;
const HELD_PER_SHARD_MAX: usize = 32;
/// Room for so many is kept while nothing waits.
const KEPT_LEN: usize = 256;

/// A shard: the place of its cluster, and its number.
pub(crate) type Key = (usize, u32);

/// What waits for what. `M` is a health check.
#[derive(Debug)]
pub(crate) struct Order<M> {
    shards: HashMap<Key, Waiting<M>>,
    /// Each shard once for each time that it began to wait, in that order.
    ends: VecDeque<(Duration, Key)>,
}

#[derive(Debug)]
struct Waiting<M> {
    until: Duration,
    /// The bodies of reports that were published, and not delivered by the stream yet.
    published: VecDeque<Bytes>,
    /// How many were taken from the front of `published` so far.
    delivered: u64,
    /// Health checks, each with the number of reports before it.
    held: VecDeque<(u64, M)>,
}

/// What may go now, around the report that was delivered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released<M> {
    pub(crate) before: Vec<M>,
    pub(crate) after: Vec<M>,
}

impl<M> Default for Order<M> {
    fn default() -> Self {
        Self {
            shards: HashMap::new(),
            ends: VecDeque::new(),
        }
    }
}

impl<M> Order<M> {
    /// A report was published.
    pub(crate) fn publish(&mut self, key: Key, body: Bytes, now: Duration) {
        if self.shards.len() >= SHARDS_MAX && !self.shards.contains_key(&key) {
            return;
        }
        let waiting = self.shards.entry(key).or_insert_with(|| {
            let until = now + WAIT_MAX;
            self.ends.push_back((until, key));
            Waiting {
                until,
                published: VecDeque::new(),
                delivered: 0,
                held: VecDeque::new(),
            }
        });
        if waiting.published.len() < REPORTS_PER_SHARD_MAX {
            waiting.published.push_back(body);
        }
    }

    /// Holds a health check back; gives it back when nothing is on its way before it.
    pub(crate) fn hold(&mut self, key: Key, message: M) -> Option<M> {
        let Some(waiting) = self.shards.get_mut(&key) else {
            return Some(message);
        };
        if waiting.held.len() >= HELD_PER_SHARD_MAX {
            return Some(message);
        }
        let after = waiting.delivered + waiting.published.len() as u64;
        waiting.held.push_back((after, message));
        None
    }

    /// The stream delivered a report. It keeps the last one of a shard, so it may have left out others before it.
    pub(crate) fn deliver(&mut self, key: Key, body: &[u8]) -> Released<M> {
        let mut released = Released {
            before: Vec::new(),
            after: Vec::new(),
        };
        let Some(waiting) = self.shards.get_mut(&key) else {
            return released;
        };
        let Some(index) = waiting.published.iter().position(|other| other == body) else {
            return released;
        };
        waiting.published.drain(..=index);
        waiting.delivered += index as u64 + 1;
        while let Some((after, message)) = waiting.held.pop_front() {
            if after < waiting.delivered {
                released.before.push(message);
            } else if after == waiting.delivered {
                released.after.push(message);
            } else {
                waiting.held.push_front((after, message));
                break;
            }
        }
        if waiting.published.is_empty() {
            self.shards.remove(&key);
        }
        released
    }

    /// What has waited for long enough.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<M> {
        let mut released = Vec::new();
        while let Some((until, key)) = self
            .ends
            .front()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.ends.pop_front();
            let is_it = self.shards.get(&key).is_some_and(|w| w.until == until);
            if let Some(waiting) = is_it.then(|| self.shards.remove(&key)).flatten() {
                released.extend(waiting.held.into_iter().map(|(_, message)| message));
            }
        }
        if self.ends.is_empty() {
            // After a flood of reports this would be megabytes for ever.
            self.ends.shrink_to(KEPT_LEN);
            self.shards.shrink_to(KEPT_LEN);
        }
        released
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        self.ends.front().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (0, 7);

    fn body(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_health_check_waits_for_the_report_before_it() {
        let mut order = Order::default();
        assert_eq!(order.hold(KEY, 'a'), Some('a'));
        order.publish(KEY, body("4"), Duration::ZERO);
        assert_eq!(order.hold(KEY, 'b'), None);
        order.publish(KEY, body("2"), Duration::ZERO);
        assert_eq!(order.hold((0, 8), 'c'), Some('c'));
        let released = order.deliver(KEY, b"4");
        assert_eq!((released.before, released.after), (vec![], vec!['b']));
        assert_eq!(order.hold(KEY, 'd'), None);
        assert_eq!(order.deliver(KEY, b"2").after, vec!['d']);
        assert_eq!(order.hold(KEY, 'e'), Some('e'));
    }

    #[test]
    fn a_report_that_the_stream_left_out_is_not_waited_for() {
        let mut order = Order::default();
        order.publish(KEY, body("4"), Duration::ZERO);
        assert_eq!(order.hold(KEY, 'a'), None);
        order.publish(KEY, body("2"), Duration::ZERO);
        assert_eq!(order.hold(KEY, 'b'), None);
        let released = order.deliver(KEY, b"2");
        assert_eq!((released.before, released.after), (vec!['a'], vec!['b']));
        assert_eq!(order.deliver(KEY, b"2").after, Vec::<char>::new());
    }

    #[test]
    fn a_report_that_is_never_stored_is_waited_for_a_second() {
        let mut order = Order::default();
        order.publish(KEY, body("4"), Duration::ZERO);
        assert_eq!(order.hold(KEY, 'a'), None);
        assert_eq!(order.next_end(), Some(WAIT_MAX));
        assert!(order.expire(WAIT_MAX / 2).is_empty());
        assert_eq!(order.expire(WAIT_MAX), vec!['a']);
        assert_eq!(order.hold(KEY, 'b'), Some('b'));
        assert_eq!(order.next_end(), None);
    }
}
