//! What operators tell the viewers: announcements and maintenance.

use async_nats::jetstream::kv::Store;
use glance_protocol::{ClusterName, Notice, bucket, bucket::NoticeKey};
use tracing::{info, warn};

use crate::{
    publish::Turn,
    refusal::{Refusal, Unavailable},
};

/// The largest body of a notice, in bytes: its text may be written with escapes.
pub(crate) const BYTES_MAX: usize = 8 * 1024;

/// What to do with a notice.
pub(crate) enum Action {
    Put(Notice),
    Delete,
}

/// The key of a cluster's or a group's maintenance.
///
/// # Errors
///
/// When a name cannot be part of a key.
pub(crate) fn maintenance_key(cluster: &str, group: Option<&str>) -> Result<NoticeKey, Refusal> {
    let name: ClusterName = cluster
        .parse()
        .map_err(|_| Refusal::NoSuchCluster(cluster.to_owned()))?;
    match group {
        None => Ok(NoticeKey::Cluster(name)),
        Some(group) => {
            NoticeKey::group(name, group).ok_or_else(|| Refusal::NoSuchGroup(group.to_owned()))
        }
    }
}

/// Reads the body of a `PUT`.
///
/// # Errors
///
/// When it is no notice.
pub(crate) fn parse(body: &[u8]) -> Result<Notice, Refusal> {
    Notice::from_bytes(body).map_err(|cause| Refusal::Malformed(cause.to_string()))
}

/// Puts or deletes a notice. Deleting what is not there is fine.
///
/// # Errors
///
/// When the broker did not take it in time.
pub(crate) async fn apply(
    turn: &Turn<'_>,
    key: &NoticeKey,
    action: &Action,
) -> Result<(), Unavailable> {
    let key = key.to_string();
    let work = async {
        let bucket = turn.broker().jetstream.get_key_value(bucket::NOTICES).await;
        let done = match bucket {
            Ok(bucket) => write(&bucket, &key, action).await,
            Err(cause) => Err(cause.into()),
        };
        done.map_err(|cause| {
            warn!("the notice '{key}' cannot be changed: {cause:#}");
            Unavailable::Refused
        })
    };
    turn.bounded(work).await?;
    match action {
        Action::Put(_) => info!("the notice '{key}' was set"),
        Action::Delete => info!("the notice '{key}' was deleted"),
    }
    Ok(())
}

async fn write(bucket: &Store, key: &str, action: &Action) -> anyhow::Result<()> {
    match action {
        Action::Put(notice) => {
            bucket.put(key, notice.to_bytes().into()).await?;
        }
        Action::Delete => bucket.delete(key).await?,
    }
    Ok(())
}
