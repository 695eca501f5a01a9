//! NATS subjects: the only place that builds or parses them.
//!
//! NATS lets anybody publish to a subject whose tokens are `*`, `>` or control
//! characters, so every subject is validated on the way in as well.

use std::fmt;

use crate::{ClusterName, ShardId};

/// All reports, kept by the stream of states.
pub const STATES_FILTER: &str = "glance.*.*.state";
/// All health checks.
pub const HEALTHS_FILTER: &str = "glance.*.*.health";
/// All transitions.
pub const CHANGES_FILTER: &str = "glance.*.*.changed";
/// Everything in the table's bucket and the lease, republished.
pub const TABLE_FILTER: &str = "glance.table.>";
/// The operators' notices, republished when they change.
pub const NOTICES_FILTER: &str = "glance.table.notices.>";
/// The prefix under which the table's bucket is republished.
pub const TABLE_PREFIX: &str = "glance.table";

const ROOT: &str = "glance";

/// A subject that Glance uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `glance.<cluster>.<shard>.state`: a bot reports a state.
    State(ClusterName, ShardId),
    /// `glance.<cluster>.<shard>.health`: a bot says that a shard is alive.
    Health(ClusterName, ShardId),
    /// `glance.<cluster>.<shard>.changed`: the aggregator tells a transition.
    Changed(ClusterName, ShardId),
    /// `glance.rejected`: the aggregator refused a message.
    Rejected,
    /// `glance.pulse`: the aggregator's sign of life, once a second.
    Pulse,
    /// `glance.table.clusters`: the ordered names and totals.
    Clusters,
    /// `glance.table.lease`: which aggregator leads.
    Lease,
    /// `glance.table.<cluster>.<block>`: a block of the table.
    Block(ClusterName, u32),
}

/// Why a subject is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Its shape is that of no subject of Glance.
    #[error("the subject is none that Glance knows")]
    Shape,
    /// The cluster's token is no cluster name.
    #[error(transparent)]
    Cluster(#[from] crate::name::NameError),
    /// The shard's token is no shard id.
    #[error(transparent)]
    Shard(#[from] crate::shard::ShardIdError),
}

impl Subject {
    /// Reads a subject.
    ///
    /// # Errors
    ///
    /// When it is none of ours, or a token is not valid.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let mut tokens = text.split('.');
        if tokens.next() != Some(ROOT) {
            return Err(SubjectError::Shape);
        }
        let rest = (tokens.next(), tokens.next(), tokens.next(), tokens.next());
        match rest {
            (Some("rejected"), None, ..) => Ok(Self::Rejected),
            (Some("pulse"), None, ..) => Ok(Self::Pulse),
            (Some("table"), Some("clusters"), None, _) => Ok(Self::Clusters),
            (Some("table"), Some("lease"), None, _) => Ok(Self::Lease),
            (Some(cluster), Some(shard), Some(verb), None) => match verb {
                "state" => Ok(Self::State(cluster.parse()?, ShardId::parse(shard)?)),
                "health" => Ok(Self::Health(cluster.parse()?, ShardId::parse(shard)?)),
                "changed" => Ok(Self::Changed(cluster.parse()?, ShardId::parse(shard)?)),
                // A bot may be called `table`; only a number makes it a block.
                number if cluster == "table" => Ok(Self::Block(shard.parse()?, block(number)?)),
                _ => Err(SubjectError::Shape),
            },
            _ => Err(SubjectError::Shape),
        }
    }
}

fn block(token: &str) -> Result<u32, SubjectError> {
    // A block number has fewer digits than a shard id, and the same shape.
    ShardId::parse(token)
        .map(ShardId::get)
        .map_err(|_| SubjectError::Shape)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(cluster, shard) => write!(f, "{ROOT}.{cluster}.{shard}.state"),
            Self::Health(cluster, shard) => write!(f, "{ROOT}.{cluster}.{shard}.health"),
            Self::Changed(cluster, shard) => write!(f, "{ROOT}.{cluster}.{shard}.changed"),
            Self::Rejected => write!(f, "{ROOT}.rejected"),
            Self::Pulse => write!(f, "{ROOT}.pulse"),
            Self::Clusters => write!(f, "{TABLE_PREFIX}.clusters"),
            Self::Lease => write!(f, "{TABLE_PREFIX}.lease"),
            Self::Block(cluster, block) => write!(f, "{TABLE_PREFIX}.{cluster}.{block}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn builds_and_parses() {
        let main: ClusterName = "main".parse().unwrap();
        let table: ClusterName = "table".parse().unwrap();
        let three = ShardId::new(3).unwrap();
        for (text, subject) in [
            ("glance.main.3.state", Subject::State(main.clone(), three)),
            ("glance.main.3.health", Subject::Health(main.clone(), three)),
            (
                "glance.main.3.changed",
                Subject::Changed(main.clone(), three),
            ),
            ("glance.rejected", Subject::Rejected),
            ("glance.pulse", Subject::Pulse),
            ("glance.table.clusters", Subject::Clusters),
            ("glance.table.lease", Subject::Lease),
            ("glance.table.main.0", Subject::Block(main, 0)),
            ("glance.table.3.state", Subject::State(table.clone(), three)),
            ("glance.table.table.3", Subject::Block(table, 3)),
        ] {
            assert_eq!(subject.to_string(), text);
            assert_eq!(Subject::parse(text), Ok(subject), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_ours() {
        let thirty_digits = format!("glance.main.{}.state", "9".repeat(30));
        for bad in [
            "",
            "glance",
            "glance.",
            "glance.*.3.state",
            "glance.main.*.state",
            "glance.main.>.state",
            "glance.main.-1.state",
            "glance.main.3.state.x",
            "glance.main.3.States",
            "glance.table.main.x",
            "glance.table.main",
            "other.main.3.state",
            "glance.ma in.3.state",
            "glance.main.262144.state",
            thirty_digits.as_str(),
        ] {
            assert!(Subject::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in "\\PC{0,80}") {
            if let Ok(subject) = Subject::parse(&text) {
                prop_assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
            }
        }

        #[test]
        fn tokens_near_ours(tokens in proptest::collection::vec("(glance|table|main|clusters|state|health|[0-9]{1,12}|[*>]|)", 0..6)) {
            let text = tokens.join(".");
            if let Ok(subject) = Subject::parse(&text) {
                prop_assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
            }
        }
    }
}
