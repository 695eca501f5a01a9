//! The order in which shards of one cluster fall silent.
//!
//! All shards of a cluster have the same timeout, so the order of their
//! deadlines is the order of their last signs of life. A linked list in two
//! arrays keeps it: arming, disarming and finding the next are O(1), and a
//! health check costs no memory.

use std::time::Duration;

const NONE: u32 = u32::MAX;

/// Armed shards of one cluster, the longest silent first.
#[derive(Debug)]
pub(crate) struct Deadlines {
    nodes: Vec<Node>,
    head: u32,
    tail: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    before: u32,
    after: u32,
    /// Nanoseconds; [`UNHEARD`] while the shard is not armed.
    heard_ns: u64,
}

const UNHEARD: u64 = u64::MAX;

impl Node {
    const UNARMED: Self = Self {
        before: NONE,
        after: NONE,
        heard_ns: UNHEARD,
    };

    fn armed(before: u32, now: Duration) -> Self {
        // A process runs for less than five hundred years.
        let now = u64::try_from(now.as_nanos()).unwrap_or(UNHEARD);
        Self {
            before,
            after: NONE,
            heard_ns: now.min(UNHEARD - 1),
        }
    }

    fn heard(&self) -> Option<Duration> {
        (self.heard_ns != UNHEARD).then(|| Duration::from_nanos(self.heard_ns))
    }
}

impl Deadlines {
    /// Nobody is armed.
    pub(crate) fn new(total: u32) -> Self {
        Self {
            nodes: vec![Node::UNARMED; total as usize],
            head: NONE,
            tail: NONE,
        }
    }

    /// There are `total` shards from now on. Those that go are not waited for, those that come neither.
    pub(crate) fn resize(&mut self, total: u32) {
        let gone = (total..).take(self.nodes.len().saturating_sub(total as usize));
        gone.for_each(|shard| self.disarm(shard));
        self.nodes.resize(total as usize, Node::UNARMED);
    }

    /// The shard gave a sign of life at `now`, which never goes back.
    pub(crate) fn arm(&mut self, shard: u32, now: Duration) {
        self.disarm(shard);
        let before = self.tail;
        let Some(node) = self.nodes.get_mut(shard as usize) else {
            return;
        };
        *node = Node::armed(before, now);
        match self.nodes.get_mut(before as usize) {
            Some(last) => last.after = shard,
            None => self.head = shard,
        }
        self.tail = shard;
    }

    /// The shard is not waited for any more.
    pub(crate) fn disarm(&mut self, shard: u32) {
        let Some(node) = self.nodes.get_mut(shard as usize) else {
            return;
        };
        if std::mem::replace(&mut node.heard_ns, UNHEARD) == UNHEARD {
            return;
        }
        let Node { before, after, .. } = *node;
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.after = after,
            None => self.head = after,
        }
        match self.nodes.get_mut(after as usize) {
            Some(node) => node.before = before,
            None => self.tail = before,
        }
    }

    /// The shard that has been silent for longest, and when it was last heard.
    pub(crate) fn first(&self) -> Option<(u32, Duration)> {
        let node = self.nodes.get(self.head as usize)?;
        Some((self.head, node.heard()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain list that is searched.
        #[test]
        fn behaves_as_a_list(
            steps in proptest::collection::vec((0_u32..8, 0_u32..8, 0..20), 0..200),
        ) {
            let mut deadlines = Deadlines::new(8);
            let mut list: Vec<(u32, Duration)> = Vec::new();
            let mut total = 8;
            for (index, (shard, other_total, act)) in steps.into_iter().enumerate() {
                let now = Duration::from_millis(index as u64);
                list.retain(|(other, _)| *other != shard);
                match act {
                    0 => {
                        deadlines.disarm(shard);
                        deadlines.resize(other_total);
                        total = other_total;
                        list.retain(|(other, _)| *other < total);
                    }
                    1..10 => deadlines.disarm(shard),
                    _ => {
                        deadlines.arm(shard, now);
                        list.extend((shard < total).then_some((shard, now)));
                    }
                }
                prop_assert_eq!(deadlines.first(), list.first().copied());
            }
            for (shard, heard) in list {
                prop_assert_eq!(deadlines.first(), Some((shard, heard)));
                deadlines.disarm(shard);
            }
            prop_assert_eq!(deadlines.first(), None);
        }
    }

    #[test]
    fn a_shard_that_does_not_exist_is_ignored() {
        let mut deadlines = Deadlines::new(1);
        deadlines.arm(1, Duration::ZERO);
        deadlines.disarm(NONE);
        assert_eq!(deadlines.first(), None);
    }
}
