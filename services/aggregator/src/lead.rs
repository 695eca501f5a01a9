//! Which aggregator speaks: the epoch.
//!
//! Everything that an aggregator publishes carries its epoch. Each start takes
//! a greater one than any that is kept, so that what an earlier process still
//! had under way is recognised as old.

use anyhow::Context as _;
use async_nats::jetstream::kv::Operation;
use glance_protocol::bucket;
use serde_json::{Value, json};

use crate::store::Store;

/// How often to try again when another process takes an epoch at the same time.
const ATTEMPTS_MAX: u32 = 20;

/// Takes an epoch greater than `seen` and than the one that is kept, and keeps it.
pub(crate) async fn take_epoch(store: &Store, seen: u64) -> anyhow::Result<u64> {
    for _ in 0..ATTEMPTS_MAX {
        let entry = store
            .lease
            .entry(bucket::LEADER_KEY)
            .await
            .context("cannot read the last epoch")?;
        let (kept, revision) = match &entry {
            Some(entry) if entry.operation == Operation::Put => {
                (epoch_of(&entry.value), entry.revision)
            }
            Some(entry) => (0, entry.revision),
            None => (0, 0),
        };
        let epoch = kept.max(seen) + 1;
        let value = json!({ "v": 1, "epoch": epoch }).to_string();
        let taken = store
            .lease
            .update(bucket::LEADER_KEY, value.into(), revision)
            .await;
        match taken {
            Ok(_) => return Ok(epoch),
            Err(cause) => tracing::debug!("epoch {epoch} was not taken: {cause}"),
        }
    }
    anyhow::bail!("cannot keep an epoch in bucket {}", bucket::LEASE)
}

/// 0 when the value is not ours to read; every epoch is greater.
fn epoch_of(value: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(value)
        .ok()
        .and_then(|value| value.get("epoch")?.as_u64())
        .unwrap_or(0)
}
