//! The messages of a fleet, as they go over a socket to the broker.

use glance_protocol::{ShardId, State, Subject};

/// The one cluster.
pub(crate) const CLUSTER: &str = "main";

/// How many shards of a flooded fleet are there for marks alone: as many as may be unanswered.
pub(crate) const MARKS: u32 = 8;

/// What a shard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    State,
    Health,
}

impl Verb {
    /// The subject on which a shard says it.
    fn subject(self, shard: ShardId) -> anyhow::Result<Subject> {
        let cluster = CLUSTER.parse()?;
        Ok(match self {
            Self::State => Subject::State(cluster, shard),
            Self::Health => Subject::Health(cluster, shard),
        })
    }

    /// How many messages go between two marks. [`MARKS`] times as many are on their way at most: below the 10,000 that
    /// the server queues for a stream, and the 65,536 that a subscription holds.
    pub(crate) fn run_len(self) -> u32 {
        match self {
            Self::State => 512,
            Self::Health => 4096,
        }
    }
}

/// The subject on which an aggregator tells of a shard.
///
/// # Errors
///
/// When there can be no such shard.
pub(crate) fn changed(shard: u32) -> anyhow::Result<String> {
    let subject = Subject::Changed(CLUSTER.parse()?, ShardId::new(shard)?);
    Ok(subject.to_string())
}

/// Appends a message to what goes over the socket.
///
/// # Errors
///
/// When there can be no such shard.
pub(crate) fn publish(
    bytes: &mut Vec<u8>,
    verb: Verb,
    shard: u32,
    body: &[u8],
) -> anyhow::Result<()> {
    let subject = verb.subject(ShardId::new(shard)?)?;
    bytes.extend(format!("PUB {subject} {}\r\n", body.len()).as_bytes());
    bytes.extend(body);
    bytes.extend(b"\r\n");
    Ok(())
}

/// A body with a state, and nothing else.
pub(crate) fn mark_body(verb: Verb, state: State) -> Vec<u8> {
    match verb {
        Verb::State => state.number().to_string(),
        Verb::Health => format!("{{\"state\":{}}}", state.number()),
    }
    .into_bytes()
}

/// What bots tell that tell all that can be told of a shard's health.
pub(crate) const TALKATIVE: &[u8] =
    br#"{"state":3,"latency_ms":41,"group":"7","version":"4.12.0","guilds":1250,"unavailable_guilds":0,"events_per_s":87.5}"#;
