//! The aggregator's sign of life, once a second.

use serde::{Deserialize, Serialize};

use crate::{BlockSet, ClusterName, DecodeError, shard::BLOCK_LEN};

const VERSION: u32 = 1;

/// The most blocks in one part of a pulse. A block takes at most some 600
/// bytes, so a part stays well below NATS's default limit of 1 MiB.
pub const BLOCKS_PER_PART: usize = 512;

/// The aggregator's sign of life, or one part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse {
    /// The epoch of the aggregator.
    pub epoch: u64,
    /// Counts the pulses of one epoch; all parts of a pulse have the same.
    pub number: u64,
    /// The aggregator's time in Unix milliseconds.
    pub at_ms: i64,
    /// Since when silence is judged, in Unix milliseconds; `None` while it is not.
    pub judging_since_ms: Option<i64>,
    /// Which part this is, from 0.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// All clusters, in configured order, each with all its blocks (of this part).
    pub clusters: Vec<PulseCluster>,
}

/// What a pulse says of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct PulseCluster {
    /// The cluster.
    pub name: ClusterName,
    /// Its blocks, in order.
    pub blocks: Vec<PulseBlock>,
}

/// What a pulse says of one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PulseBlock {
    /// Which block of the cluster.
    pub block: u32,
    /// The revision of its newest value in the table's bucket.
    pub revision: u64,
    /// The shards heard since the last pulse, by their place in the block.
    pub heard: BlockSet,
    /// The shards that a health check made Online since the last pulse.
    pub healed: BlockSet,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    epoch: u64,
    number: u64,
    at: i64,
    judging_since: Option<i64>,
    part: u32,
    parts: u32,
    clusters: Vec<WireCluster>,
}

#[derive(Serialize, Deserialize)]
struct WireCluster {
    name: ClusterName,
    blocks: Vec<WireBlock>,
}

#[derive(Serialize, Deserialize)]
struct WireBlock {
    block: u32,
    revision: u64,
    #[serde(default, skip_serializing_if = "WireSet::is_empty")]
    heard: WireSet,
    #[serde(default, skip_serializing_if = "WireSet::is_empty")]
    healed: WireSet,
}

/// Places as a list, or as a bitmap in hexadecimal digits where that is shorter.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WireSet {
    Places(Vec<u16>),
    Bitmap(String),
}

impl Default for WireSet {
    fn default() -> Self {
        Self::Places(Vec::new())
    }
}

impl WireSet {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Places(places) if places.is_empty())
    }
}

impl From<&BlockSet> for WireSet {
    fn from(set: &BlockSet) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bitmap = set.to_bitmap();
        // A place takes some four characters with its comma, a byte two.
        if set.len() * 4 <= bitmap.len() * 2 {
            return Self::Places(set.iter().filter_map(|o| u16::try_from(o).ok()).collect());
        }
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
        Self::Bitmap(
            bitmap
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
                .collect(),
        )
    }
}

impl TryFrom<&WireSet> for BlockSet {
    type Error = DecodeError;

    fn try_from(set: &WireSet) -> Result<Self, DecodeError> {
        let error = DecodeError::Inconsistent("a set of shards is wrong");
        match set {
            WireSet::Places(places) => {
                if places.iter().any(|place| u32::from(*place) >= BLOCK_LEN) {
                    return Err(error);
                }
                Ok(places.iter().map(|place| usize::from(*place)).collect())
            }
            WireSet::Bitmap(text) => {
                let nibbles: Option<Vec<u8>> = text
                    .chars()
                    .map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok()))
                    .collect();
                let bytes: Vec<u8> = nibbles
                    .filter(|nibbles| nibbles.len() % 2 == 0)
                    .ok_or(DecodeError::Inconsistent("a set of shards is wrong"))?
                    .chunks_exact(2)
                    .map(|pair| pair[0] << 4 | pair[1])
                    .collect();
                Self::from_bitmap(&bytes).ok_or(error)
            }
        }
    }
}

impl Pulse {
    /// The body of the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let cluster = |cluster: &PulseCluster| WireCluster {
            name: cluster.name.clone(),
            blocks: cluster
                .blocks
                .iter()
                .map(|block| WireBlock {
                    block: block.block,
                    revision: block.revision,
                    heard: (&block.heard).into(),
                    healed: (&block.healed).into(),
                })
                .collect(),
        };
        let wire = Wire {
            v: VERSION,
            epoch: self.epoch,
            number: self.number,
            at: self.at_ms,
            judging_since: self.judging_since_ms,
            part: self.part,
            parts: self.parts,
            clusters: self.clusters.iter().map(cluster).collect(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the body of the message.
    ///
    /// # Errors
    ///
    /// When it is not JSON of the known version, or a set holds what is in no block.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.v != VERSION {
            return Err(DecodeError::Version(wire.v));
        }
        if wire.part >= wire.parts {
            return Err(DecodeError::Inconsistent("a pulse has an impossible part"));
        }
        let clusters = wire
            .clusters
            .iter()
            .map(|cluster| {
                let blocks = cluster.blocks.iter().map(|block| {
                    Ok(PulseBlock {
                        block: block.block,
                        revision: block.revision,
                        heard: (&block.heard).try_into()?,
                        healed: (&block.healed).try_into()?,
                    })
                });
                Ok(PulseCluster {
                    name: cluster.name.clone(),
                    blocks: blocks.collect::<Result<_, DecodeError>>()?,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            epoch: wire.epoch,
            number: wire.number,
            at_ms: wire.at,
            judging_since_ms: wire.judging_since,
            part: wire.part,
            parts: wire.parts,
            clusters,
        })
    }

    /// Splits a whole pulse into parts of at most [`BLOCKS_PER_PART`] blocks.
    #[must_use]
    pub fn split(mut self) -> Vec<Self> {
        let mut parts: Vec<Vec<PulseCluster>> = vec![Vec::new()];
        let mut room = BLOCKS_PER_PART;
        for cluster in std::mem::take(&mut self.clusters) {
            let mut blocks = cluster.blocks;
            loop {
                let rest = blocks.split_off(room.min(blocks.len()));
                room -= blocks.len();
                if let Some(part) = parts.last_mut() {
                    part.push(PulseCluster {
                        name: cluster.name.clone(),
                        blocks,
                    });
                }
                if rest.is_empty() {
                    break;
                }
                blocks = rest;
                parts.push(Vec::new());
                room = BLOCKS_PER_PART;
            }
        }
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        (0..count)
            .zip(parts)
            .map(|(part, clusters)| Self {
                part,
                parts: count,
                clusters,
                ..self
            })
            .collect()
    }
}
