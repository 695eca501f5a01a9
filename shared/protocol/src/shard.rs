//! Shard ids, and which shard serves a guild.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most shards that a cluster may have.
pub const SHARDS_MAX: u32 = 262_144;

/// How many shards one block of the table holds.
pub const BLOCK_LEN: u32 = 1024;

/// A shard of a cluster: a zero-based number below [`SHARDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ShardId(u32);

/// The number is not below [`SHARDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard id is a number from 0 to {}", SHARDS_MAX - 1)]
pub struct ShardIdError;

impl ShardId {
    /// The shard with this number.
    ///
    /// # Errors
    ///
    /// When the number is not below [`SHARDS_MAX`].
    pub fn new(id: u32) -> Result<Self, ShardIdError> {
        if id < SHARDS_MAX {
            Ok(Self(id))
        } else {
            Err(ShardIdError)
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The block that holds this shard.
    #[must_use]
    pub fn block(self) -> u32 {
        self.0 / BLOCK_LEN
    }

    /// The place of this shard in its block.
    #[must_use]
    pub fn offset(self) -> usize {
        (self.0 % BLOCK_LEN) as usize
    }

    /// Reads a decimal number, at most 10 digits, without sign or blanks.
    ///
    /// # Errors
    ///
    /// When it is none, or not below [`SHARDS_MAX`].
    pub fn parse(text: &str) -> Result<Self, ShardIdError> {
        if text.is_empty() || text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ShardIdError);
        }
        text.parse().map_err(|_| ShardIdError).and_then(Self::new)
    }
}

impl TryFrom<u32> for ShardId {
    type Error = ShardIdError;

    fn try_from(id: u32) -> Result<Self, ShardIdError> {
        Self::new(id)
    }
}

impl From<ShardId> for u32 {
    fn from(id: ShardId) -> Self {
        id.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of blocks that hold `total` shards.
#[must_use]
pub fn block_count(total: u32) -> u32 {
    total.div_ceil(BLOCK_LEN)
}

/// The number of shards in block `block` of a cluster of `total` shards.
#[must_use]
pub fn block_len(total: u32, block: u32) -> u32 {
    total
        .saturating_sub(block.saturating_mul(BLOCK_LEN))
        .min(BLOCK_LEN)
}

/// The shard that serves a guild, or `None` when there are no shards.
///
/// Discord routes a guild by `(guild_id >> 22) % num_shards`; the 22 low bits of
/// an id are not its time of creation. Direct messages have no guild and
/// go to shard 0. See "Sharding" in Discord's gateway documentation.
#[must_use]
pub fn shard_of_guild(guild_id: u64, total: u32) -> Option<u32> {
    let shard = (guild_id >> 22).checked_rem(u64::from(total))?;
    u32::try_from(shard).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_plain_decimals() {
        assert_eq!(ShardId::parse("0").map(ShardId::get), Ok(0));
        assert_eq!(ShardId::parse("007").map(ShardId::get), Ok(7));
        assert_eq!(ShardId::parse("262143").map(ShardId::get), Ok(262_143));
        for bad in [
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "262144",
            "99999999999",
            "*",
            "x",
        ] {
            assert!(ShardId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_blocks() {
        assert_eq!((block_count(1), block_len(1, 0)), (1, 1));
        assert_eq!((block_count(1024), block_len(1024, 0)), (1, 1024));
        assert_eq!((block_count(1056), block_len(1056, 1)), (2, 32));
        assert_eq!(block_len(1056, 2), 0);
        assert_eq!(block_len(1056, u32::MAX), 0);
    }
}
