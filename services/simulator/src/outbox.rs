//! What waits to be delivered: at most one parcel for each address, so it never grows beyond the fleet.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// Something to deliver, which a newer one for the same address can go into.
pub(crate) trait Parcel {
    /// Takes in what `newer` says.
    fn update(&mut self, newer: Self);
}

/// Parcels by address. One address is served by one delivery at a time, so that an old parcel never arrives after a
/// newer one.
#[derive(Debug)]
pub(crate) struct Outbox<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Addresses with a parcel that may go now.
    ready: VecDeque<K>,
    /// Addresses that are not tried again before a time.
    later: BinaryHeap<Reverse<(Duration, K)>>,
}

#[derive(Debug)]
struct Slot<V> {
    parcel: Option<V>,
    /// A delivery is under way, or is to be tried again later.
    busy: bool,
}

impl<K: Clone + Eq + Hash + Ord, V: Parcel> Outbox<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            slots: HashMap::new(),
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Leaves a parcel. It replaces or joins the one that waits for the same address.
    pub(crate) fn put(&mut self, key: K, parcel: V) {
        let slot = self.slots.entry(key.clone()).or_insert(Slot {
            parcel: None,
            busy: false,
        });
        match &mut slot.parcel {
            Some(waiting) => waiting.update(parcel),
            None => {
                slot.parcel = Some(parcel);
                if !slot.busy {
                    self.ready.push_back(key);
                }
            }
        }
    }

    /// The next parcel to deliver. Its address is busy until [`done`](Self::done) or [`retry`](Self::retry).
    pub(crate) fn take(&mut self, now: Duration) -> Option<(K, V)> {
        while let Some(Reverse((at, _))) = self.later.peek()
            && *at <= now
            && let Some(Reverse((_, key))) = self.later.pop()
        {
            self.done(&key);
        }
        let key = self.ready.pop_front()?;
        let slot = self.slots.get_mut(&key)?;
        slot.busy = true;
        let parcel = slot.parcel.take()?;
        Some((key, parcel))
    }

    /// A delivery has ended, well or not.
    pub(crate) fn done(&mut self, key: &K) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.busy = false;
        if slot.parcel.is_some() {
            self.ready.push_back(key.clone());
        } else {
            self.slots.remove(key);
        }
    }

    /// A delivery has failed, and is to be tried again at `at`, with what came in meanwhile.
    pub(crate) fn retry(&mut self, key: K, mut parcel: V, at: Duration) {
        if let Some(slot) = self.slots.get_mut(&key) {
            if let Some(newer) = slot.parcel.take() {
                parcel.update(newer);
            }
            slot.parcel = Some(parcel);
            self.later.push(Reverse((at, key)));
        }
    }

    /// When a parcel that failed may be tried again.
    pub(crate) fn next_retry(&self) -> Option<Duration> {
        self.later.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_secs(1);

    impl Parcel for &'static str {
        fn update(&mut self, newer: Self) {
            *self = newer;
        }
    }

    #[test]
    fn a_newer_parcel_replaces_one_that_waits() {
        let mut outbox = Outbox::new();
        outbox.put(1, "old");
        outbox.put(2, "other");
        outbox.put(1, "new");
        assert_eq!(outbox.take(NOW), Some((1, "new")));
        assert_eq!(outbox.take(NOW), Some((2, "other")));
        assert_eq!(outbox.take(NOW), None);
        outbox.done(&1);
        outbox.done(&2);
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_address_is_served_by_one_delivery_at_a_time() {
        let mut outbox = Outbox::new();
        outbox.put(1, "first");
        assert_eq!(outbox.take(NOW), Some((1, "first")));
        outbox.put(1, "second");
        assert_eq!(outbox.take(NOW), None);
        outbox.done(&1);
        assert_eq!(outbox.take(NOW), Some((1, "second")));
    }

    #[test]
    fn what_failed_is_tried_again_later_unless_something_newer_came() {
        let mut outbox = Outbox::new();
        outbox.put(1, "first");
        outbox.take(NOW);
        outbox.retry(1, "first", LATER);
        assert_eq!(outbox.next_retry(), Some(LATER));
        assert_eq!(outbox.take(NOW), None);
        assert_eq!(outbox.take(LATER), Some((1, "first")));
        outbox.put(1, "second");
        outbox.retry(1, "first", LATER);
        outbox.put(1, "third");
        assert_eq!(outbox.take(LATER), Some((1, "third")));
        assert_eq!(outbox.take(LATER), None);
        outbox.done(&1);
        assert!(outbox.is_empty());
    }
}
