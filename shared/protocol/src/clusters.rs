//! The ordered list of clusters, kept under the key `clusters` of the table's bucket.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, DecodeError, config::CLUSTERS_MAX, shard::SHARDS_MAX};

const VERSION: u32 = 1;

/// Which clusters there are. Receivers believe only what it names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterList {
    /// The epoch of the aggregator that wrote it.
    pub epoch: u64,
    /// The stream of states that `sequence` counts in: its time of creation.
    pub stream: String,
    /// The sizes that were learned are true up to this sequence of that stream:
    /// what older reports say of them has been taken into account.
    pub sequence: u64,
    /// In configured order, without duplicates.
    pub clusters: Vec<ClusterInfo>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// Its name.
    pub name: ClusterName,
    /// How many shards it has: 1 to 262,144. 0 while the size of an `auto` cluster is not known yet.
    pub total: u32,
    /// Its health timeout in seconds.
    pub timeout_s: f64,
    /// Whether the size is learned from reports, and not configured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    epoch: u64,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    sequence: u64,
    clusters: Vec<ClusterInfo>,
}

impl ClusterList {
    /// The cluster of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ClusterInfo> {
        self.clusters.iter().find(|info| info.name.as_str() == name)
    }

    /// The value of the key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            epoch: self.epoch,
            stream: self.stream.clone(),
            sequence: self.sequence,
            clusters: self.clusters.clone(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the value of the key.
    ///
    /// # Errors
    ///
    /// When it is not JSON of the known version, names a cluster twice, or one with an impossible size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.v != VERSION {
            return Err(DecodeError::Version(wire.v));
        }
        if wire.clusters.len() > CLUSTERS_MAX {
            return Err(DecodeError::Inconsistent("too many clusters"));
        }
        let mut names = std::collections::BTreeSet::new();
        for info in &wire.clusters {
            let possible = match info.total {
                0 => info.auto,
                total => total <= SHARDS_MAX,
            };
            if !possible {
                return Err(DecodeError::Inconsistent(
                    "a cluster has an impossible size",
                ));
            }
            if !names.insert(&info.name) {
                return Err(DecodeError::Inconsistent("a cluster is named twice"));
            }
        }
        Ok(Self {
            epoch: wire.epoch,
            stream: wire.stream,
            sequence: wire.sequence,
            clusters: wire.clusters,
        })
    }
}
