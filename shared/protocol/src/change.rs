//! What the aggregator tells everybody: transitions and refused messages.

use serde::{Deserialize, Serialize, Serializer};

use crate::{Cause, ClusterName, ShardId, State};

/// A transition of a shard, on `glance.<cluster>.<shard>.changed`. Each is published at least once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The cluster.
    pub cluster: ClusterName,
    /// The shard.
    pub shard: ShardId,
    /// The state that it entered.
    #[serde(serialize_with = "number")]
    pub state: State,
    /// The state that it left.
    #[serde(serialize_with = "number")]
    pub previous: State,
    /// What made it change.
    #[serde(serialize_with = "word")]
    pub cause: Cause,
    /// When, in Unix seconds.
    pub at: f64,
    /// The epoch of the aggregator.
    pub epoch: u64,
}

// serde hands a reference to these functions.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn number<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(state.number())
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn word<S: Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.as_str())
}

impl Change {
    /// The body of the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A refused message, on `glance.rejected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// The subject of the message, cut off when it is very long.
    pub subject: String,
    /// Why it was refused.
    pub reason: String,
    /// When, in Unix seconds.
    pub at: f64,
}

/// The longest subject that a rejection repeats, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

impl Rejection {
    /// A rejection at `at_ms` Unix milliseconds.
    #[must_use]
    pub fn new(subject: &str, reason: &str, at_ms: i64) -> Self {
        Self {
            subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(),
            reason: reason.to_owned(),
            at: crate::seconds(at_ms),
        }
    }

    /// The body of the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
