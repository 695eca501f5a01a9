//! Follows the operators' notices.
//!
//! Their bucket republishes what is put into it, and one that an earlier version made does not, but there the put itself
//! is heard. Either says that something changed; what, the keys say.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::kv::Operation;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use glance_protocol::{
    Notice,
    bucket::{self, NoticeKey},
    feed::{Maintenance, Notices},
    subject,
};
use glance_runner::{Broker, Link, Shutdown, clock::unix_ms};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, warn};

/// How often the keys are read although nothing was heard.
const PERIOD: Duration = Duration::from_secs(15);
/// Bound on one round of reading.
const LIMIT: Duration = Duration::from_secs(10);
/// How long to wait after a read that failed.
const RETRY: Duration = Duration::from_secs(2);
/// More notices than this are not shown.
const NOTICES_MAX: usize = 1000;
/// Puts come before they are stored, and often several at once.
const SETTLE: Duration = Duration::from_millis(100);

/// Keeps `sender` up to date until the shutdown. A broker that does not answer cannot delay that.
pub(crate) async fn follow(
    broker: Broker,
    sender: watch::Sender<Arc<Notices>>,
    shutdown: Shutdown,
) {
    tokio::select! {
        () = shutdown.requested() => {}
        () = follow_for_ever(broker, sender) => {}
    }
}

async fn follow_for_ever(broker: Broker, sender: watch::Sender<Arc<Notices>>) {
    let mut link = broker.link();
    let prefix = format!("$KV.{}.", bucket::NOTICES);
    let client = &broker.client;
    let puts = tokio::try_join!(
        client.subscribe(format!("{prefix}>")),
        client.subscribe(subject::NOTICES_FILTER),
    );
    let mut puts = match puts {
        Ok((put, republished)) => stream::select(put, republished),
        Err(cause) => {
            warn!("notices are not followed: {cause}");
            return;
        }
    };
    loop {
        let mut wait = RETRY;
        let connects = link.borrow_and_update().connects;
        match timeout(LIMIT, read(&broker, &prefix)).await {
            Ok(Ok(notices)) => {
                wait = next_end(&notices).unwrap_or(PERIOD).min(PERIOD);
                sender.send_if_modified(|held| {
                    let changed = **held != notices;
                    if changed {
                        *held = Arc::new(notices);
                    }
                    changed
                });
            }
            // The aggregator creates the bucket; until then there are no notices.
            Ok(Err(cause)) => debug!("notices cannot be read now: {cause:#}"),
            Err(_) => debug!("notices cannot be read now: no answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = hear(&mut puts) => {}
            // What was put while the connection was away was not heard.
            () = connected_again(&mut link, connects) => {}
        }
    }
}

/// How long it is until the first notice ends.
fn next_end(notices: &Notices) -> Option<Duration> {
    let maintenance = notices.maintenance.iter().map(|entry| &entry.notice);
    let all = notices.announcement.iter().chain(maintenance);
    let end = all
        .filter_map(|notice| notice.until)
        .min_by(f64::total_cmp)?;
    let left = end - glance_protocol::seconds(unix_ms());
    // A little later, so that it has ended by then.
    Some(Duration::try_from_secs_f64(left).unwrap_or_default() + SETTLE)
}

/// Waits for a put, and for those that come right after it.
async fn hear(puts: &mut (impl Stream + Unpin)) {
    if puts.next().await.is_none() {
        // Closed for good; the period is left.
        std::future::pending::<()>().await;
    }
    while let Ok(Some(_)) = timeout(SETTLE, puts.next()).await {}
}

async fn connected_again(link: &mut watch::Receiver<Link>, connects: u64) {
    let again = link.wait_for(|link| link.connects != connects);
    if again.await.is_err() {
        // Closed for good; the period is left.
        std::future::pending::<()>().await;
    }
}

async fn read(broker: &Broker, prefix: &str) -> anyhow::Result<Notices> {
    let store = broker.jetstream.get_key_value(bucket::NOTICES).await?;
    let subjects = store
        .stream
        .info_with_subjects(format!("{prefix}>"))
        .await?;
    let mut keys: Vec<NoticeKey> = subjects
        .try_filter_map(async |(subject, _)| {
            Ok(subject.strip_prefix(prefix).and_then(NoticeKey::parse))
        })
        .take(NOTICES_MAX)
        .try_collect()
        .await?;
    keys.sort();
    let mut notices = Notices::default();
    for key in keys {
        let entry = store.entry(key.to_string()).await?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            continue;
        };
        match Notice::from_bytes(&entry.value) {
            Ok(notice) if notice.expired(unix_ms()) => {}
            Ok(notice) => put(&mut notices, key, notice),
            Err(cause) => warn!("the notice {key} is not shown: {cause}"),
        }
    }
    Ok(notices)
}

fn put(notices: &mut Notices, key: NoticeKey, notice: Notice) {
    let (cluster, group) = match key {
        NoticeKey::Announcement => {
            notices.announcement = Some(notice);
            return;
        }
        NoticeKey::Cluster(cluster) => (cluster, None),
        NoticeKey::Group(cluster, group) => (cluster, Some(group)),
    };
    notices.maintenance.push(Maintenance {
        cluster,
        group,
        notice,
    });
}
