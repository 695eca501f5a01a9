//! One write to the table's bucket.

use std::time::Duration;

use async_nats::jetstream::kv::{self, UpdateError, UpdateErrorKind};
use bytes::Bytes;
use glance_protocol::lease::epoch_of;
use glance_runner::fault::{self, Mutation};
use tokio::time::timeout;

use crate::store;

const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// How a write ended.
pub(crate) enum Outcome {
    /// The key has this revision now.
    Written(u64),
    /// Somebody else wrote the key: its revision, and the epoch of its value.
    Overtaken {
        /// The revision of the key.
        revision: u64,
        /// The epoch of its value.
        epoch: u64,
    },
    /// It is not known whether it was written.
    Failed(String),
}

/// Writes a key if it still has this revision, or deletes it when there is no value.
pub(super) async fn write(
    bucket: kv::Store,
    key: String,
    value: Option<Bytes>,
    revision: u64,
) -> Outcome {
    let written = async {
        match value {
            Some(value) if fault::is(Mutation::PutWithoutCas) => {
                bucket.put(&key, value).await.map_err(Failure::other)
            }
            Some(value) => bucket
                .update(&key, value, revision)
                .await
                .map_err(Failure::of),
            None => delete(&bucket, &key, revision).await,
        }
    };
    match timeout(WRITE_TIMEOUT, written).await {
        Ok(Ok(revision)) => Outcome::Written(revision),
        Ok(Err(Failure::WrongRevision)) => look(&bucket, &key).await,
        Ok(Err(Failure::Other(cause))) => Outcome::Failed(cause),
        Err(_) => Outcome::Failed("no acknowledgement in time".into()),
    }
}

enum Failure {
    WrongRevision,
    Other(String),
}

impl Failure {
    fn of(cause: UpdateError) -> Self {
        match cause.kind() {
            UpdateErrorKind::WrongLastRevision => Self::WrongRevision,
            _ => Self::other(cause),
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    fn other(cause: impl ToString) -> Self {
        Self::Other(cause.to_string())
    }
}

/// Deletes a key. The revision that it has then is not told, and asked for when it is written again.
async fn delete(bucket: &kv::Store, key: &str, revision: u64) -> Result<u64, Failure> {
    if revision == 0 {
        return Ok(0);
    }
    let deleted = bucket.delete_expect_revision(key, Some(revision)).await;
    // Whatever the reason: looking at the key tells.
    deleted
        .map(|()| revision)
        .map_err(|_| Failure::WrongRevision)
}

/// Who wrote the key?
async fn look(bucket: &kv::Store, key: &str) -> Outcome {
    match timeout(WRITE_TIMEOUT, store::entry(bucket, key)).await {
        Ok(Ok(entry)) => Outcome::Overtaken {
            revision: entry.as_ref().map_or(0, |entry| entry.revision),
            epoch: entry.map_or(0, |entry| epoch_of(&entry.value)),
        },
        Ok(Err(cause)) => Outcome::Failed(format!("{cause:#}")),
        Err(_) => Outcome::Failed("no answer in time".into()),
    }
}
