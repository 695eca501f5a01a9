//! What was sent and is not answered yet, by its number.

use std::collections::VecDeque;

/// Numbered in the order of sending. Answers come in much the same order, so a queue is enough.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// The number of the first place.
    first: u64,
    /// Nothing where the answer has come. The first place is never so.
    places: VecDeque<Option<T>>,
}

impl<T> Window<T> {
    pub(super) const fn new() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The number of what is pushed next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub(super) fn push(&mut self, item: T) {
        self.places.push_back(Some(item));
    }

    /// Takes what has this number, once.
    pub(super) fn take(&mut self, number: u64) -> Option<T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let item = self.places.get_mut(place)?.take();
        self.shrink();
        item
    }

    /// Drops what is not to be kept, and says how much that was.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> usize {
        let mut dropped = 0;
        for place in &mut self.places {
            if place.as_ref().is_some_and(|item| !keep(item)) {
                *place = None;
                dropped += 1;
            }
        }
        self.shrink();
        dropped
    }

    fn shrink(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once() {
        let mut window = Window::new();
        for item in ["a", "b", "c"] {
            window.push(item);
        }
        assert_eq!((window.next(), window.take(3)), (3, None));
        assert_eq!(window.take(1), Some("b"));
        assert_eq!(window.take(1), None);
        assert_eq!(window.take(0), Some("a"));
        assert_eq!((window.take(0), window.take(u64::MAX)), (None, None));
        window.push("d");
        assert_eq!((window.take(3), window.take(2)), (Some("d"), Some("c")));
        assert!(window.is_empty() && window.next() == 4);
    }

    #[test]
    fn what_is_dropped_leaves_its_number() {
        let mut window = Window::new();
        for item in 0..5 {
            window.push(item);
        }
        window.take(1);
        assert_eq!(window.retain(|item| item % 2 == 1), 3);
        assert_eq!((window.take(2), window.take(3)), (None, Some(3)));
        assert!(window.is_empty() && window.next() == 5);
    }
}
