//! What happens when: a queue ordered by time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// Future events. Events of the same moment come out in the order in which they went in, so that a history
/// depends on the seed alone.
#[derive(Debug)]
pub(super) struct Schedule<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    added: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Schedule<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, at: Duration, event: E) {
        self.added += 1;
        self.heap.push(Reverse(Entry {
            at,
            number: self.added,
            event,
        }));
    }

    /// The next event that is due at `now`, and when it was due.
    pub(super) fn next_due(&mut self, now: Duration) -> Option<(Duration, E)> {
        if self.heap.peek()?.0.at > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.at, entry.event))
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order_of_arrival() {
        let at = Duration::from_secs;
        let mut schedule = Schedule::new();
        for (second, event) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b'), (3, 'e')] {
            schedule.add(at(second), event);
        }
        let mut due = Vec::new();
        while let Some((_, event)) = schedule.next_due(at(2)) {
            due.push(event);
        }
        assert_eq!(due, ['a', 'b', 'c', 'd']);
    }
}
