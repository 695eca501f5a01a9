//! A compact set of shards of one block.

use crate::shard::BLOCK_LEN;

const WORDS: usize = (BLOCK_LEN / 64) as usize;

/// A set of places (0 to 1,023) in one block of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockSet([u64; WORDS]);

impl BlockSet {
    /// Adds a place; one outside of a block is ignored.
    pub fn insert(&mut self, offset: usize) {
        if let Some(word) = self.0.get_mut(offset / 64) {
            *word |= 1 << (offset % 64);
        }
    }

    /// Whether the place is in the set.
    #[must_use]
    pub fn contains(&self, offset: usize) -> bool {
        self.0
            .get(offset / 64)
            .is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many places are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }

    /// The set as bytes: place `i` is bit `i % 8` of byte `i / 8`, without the
    /// empty bytes at the end.
    #[must_use]
    pub fn to_bitmap(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
    }

    /// Reads what [`Self::to_bitmap`] wrote; `None` when it is too long.
    #[must_use]
    pub fn from_bitmap(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > WORDS * 8 {
            return None;
        }
        let mut set = Self::default();
        for (word, chunk) in set.0.iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(chunk) {
                *to = *from;
            }
            *word = u64::from_le_bytes(padded);
        }
        Some(set)
    }
}

impl FromIterator<usize> for BlockSet {
    fn from_iter<I: IntoIterator<Item = usize>>(offsets: I) -> Self {
        let mut set = Self::default();
        for offset in offsets {
            set.insert(offset);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(offsets in proptest::collection::btree_set(0_usize..1100, 0..60)) {
            let set: BlockSet = offsets.iter().copied().collect();
            let expected: BTreeSet<usize> = offsets.into_iter().filter(|o| *o < 1024).collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), expected.clone());
            prop_assert_eq!(set.len(), expected.len());
            prop_assert_eq!(set.is_empty(), expected.is_empty());
            prop_assert!(expected.iter().all(|o| set.contains(*o)));
            prop_assert_eq!(BlockSet::from_bitmap(&set.to_bitmap()), Some(set));
        }
    }

    #[test]
    fn refuses_a_bitmap_that_is_too_long() {
        assert_eq!(BlockSet::from_bitmap(&[0; 129]), None);
    }
}
