//! Names of the streams, buckets and keys that Glance keeps at the broker.

use std::fmt;

use crate::{ClusterName, name};

/// The stream of reports: the last one of each shard.
pub const STATES: &str = "GLANCE_STATES";
/// The stream of transitions.
pub const CHANGES: &str = "GLANCE_CHANGES";
/// The bucket of table blocks.
pub const TABLE: &str = "GLANCE_TABLE";
/// The bucket that says which aggregator leads.
pub const LEASE: &str = "GLANCE_LEASE";
/// The bucket of the operators' notices.
pub const NOTICES: &str = "GLANCE_NOTICES";

/// The key of [`TABLE`] with the ordered names and totals.
pub const CLUSTERS_KEY: &str = "clusters";
/// The key of [`LEASE`] that the leading aggregator holds.
pub const LEADER_KEY: &str = "leader";

/// The key of a block in [`TABLE`].
#[must_use]
pub fn block_key(cluster: &ClusterName, block: u32) -> String {
    format!("{cluster}.{block}")
}

/// A key of [`NOTICES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKey {
    /// A word to everybody.
    Announcement,
    /// Maintenance of a cluster.
    Cluster(ClusterName),
    /// Maintenance of a group of a cluster. The group has the same characters
    /// as a cluster's name, since it is a token of a key.
    Group(ClusterName, String),
}

impl NoticeKey {
    /// Reads a key; `None` when it is none of ours.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let mut tokens = key.split('.');
        match (tokens.next()?, tokens.next(), tokens.next(), tokens.next()) {
            ("announcement", None, ..) => Some(Self::Announcement),
            ("maintenance", Some(cluster), None, _) => Some(Self::Cluster(cluster.parse().ok()?)),
            ("maintenance", Some(cluster), Some(group), None) => {
                Self::group(cluster.parse().ok()?, group)
            }
            _ => None,
        }
    }

    /// The key of a group; `None` when the group's name cannot be in a key.
    #[must_use]
    pub fn group(cluster: ClusterName, group: &str) -> Option<Self> {
        name::check_token(group).ok()?;
        Some(Self::Group(cluster, group.to_owned()))
    }
}

impl fmt::Display for NoticeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announcement => f.write_str("announcement"),
            Self::Cluster(cluster) => write!(f, "maintenance.{cluster}"),
            Self::Group(cluster, group) => write!(f, "maintenance.{cluster}.{group}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_keys_round_trip() {
        for key in ["announcement", "maintenance.main", "maintenance.main.g-3"] {
            assert_eq!(NoticeKey::parse(key).unwrap().to_string(), key);
        }
        for bad in ["", "maintenance", "maintenance.", "maintenance.a.b.c", "x"] {
            assert_eq!(NoticeKey::parse(bad), None, "{bad:?}");
        }
    }
}
