//! Which aggregator speaks: the epoch.
//!
//! Everything that an aggregator publishes carries its epoch. Each start takes
//! a greater one than any that is kept, so that what an earlier process still
//! had under way is recognised as old.

use anyhow::Context as _;
use async_nats::jetstream::kv::{Entry, Operation};
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
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let kept = entry.as_ref().map_or(0, epoch_in);
        let epoch = kept
            .max(seen)
            .checked_add(1)
            .context("a kept epoch is the greatest number there is; remove bucket GLANCE_LEASE")?;
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

/// The epoch that is kept; 0 when there is none.
pub(crate) async fn kept_epoch(store: &Store) -> anyhow::Result<u64> {
    let entry = store.lease.entry(bucket::LEADER_KEY).await?;
    Ok(entry.as_ref().map_or(0, epoch_in))
}

fn epoch_in(entry: &Entry) -> u64 {
    match entry.operation {
        Operation::Put => epoch_of(&entry.value),
        Operation::Delete | Operation::Purge => 0,
    }
}

/// 0 when the value is not ours to read; every epoch is greater.
fn epoch_of(value: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(value)
        .ok()
        .and_then(|value| value.get("epoch")?.as_u64())
        .unwrap_or(0)
}
