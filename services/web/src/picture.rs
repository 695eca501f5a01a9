//! The fleet at one moment, with everything that is rendered from it. A picture
//! never changes, so each rendering is made at most once and shared.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use glance_protocol::{
    Notice,
    feed::{self, Clock, Hello, Notices, PageCluster, PageHello, Version},
    snapshot::{Snapshot, SnapshotBlock, SnapshotCluster},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::{
    basis::STALE,
    cluster::Cluster,
    frames::message,
    history::Lately,
    mirror::Mirror,
    plain,
    representation::{Representation, etag_of},
    verdict::{self, Verdict},
};

/// The fleet at one moment.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Counts the pictures of this process.
    pub number: u64,
    /// The times at that moment.
    pub clock: Clock,
    /// When it was taken.
    pub taken: Instant,
    /// When the aggregator was last heard.
    pub heard: Option<Instant>,
    /// The clusters in configured order.
    pub clusters: Vec<Cluster>,
    /// What the operators tell.
    pub notices: Arc<Notices>,
    /// When the newest of the blocks was written, in Unix milliseconds.
    pub kept_at_ms: Option<i64>,
    /// What this process remembers of outages.
    pub lately: Lately,
    list: Version,
    pulse: (u64, u64),
    hello: OnceLock<Bytes>,
    verdict: OnceLock<Verdict>,
    plain: OnceLock<Bytes>,
    etag: OnceLock<String>,
    snapshot: OnceCell<(Arc<Representation>, Duration)>,
}

impl Picture {
    /// Takes a picture of the mirror.
    #[must_use]
    pub(crate) fn take(
        mirror: &Mirror,
        number: u64,
        clock: Clock,
        heard: Option<Instant>,
        notices: Arc<Notices>,
        lately: Lately,
    ) -> Self {
        Self {
            number,
            clock,
            taken: Instant::now(),
            heard,
            clusters: mirror.clusters().to_vec(),
            notices,
            kept_at_ms: mirror.kept_at_ms(),
            lately,
            list: mirror.list_version(),
            pulse: mirror.pulse(),
            hello: OnceLock::new(),
            verdict: OnceLock::new(),
            plain: OnceLock::new(),
            etag: OnceLock::new(),
            snapshot: OnceCell::new(),
        }
    }

    /// The first frame of the default dialect, ready for the socket.
    #[must_use]
    pub(crate) fn hello(&self) -> Bytes {
        let hello = self.hello.get_or_init(|| {
            let mut hello = Hello::default();
            for cluster in &self.clusters {
                let reported = cluster.shards().filter_map(|(id, row, heard)| {
                    let since_ms = row.since_ms?;
                    Some((id, row.state, heard.unwrap_or(since_ms)))
                });
                hello.push_cluster(&cluster.info.name, cluster.info.total, reported);
            }
            message(&hello.into_text())
        });
        hello.clone()
    }

    /// The first frame of the page's dialect, ready for the socket.
    #[must_use]
    pub(crate) fn page_hello(&self, build: &str) -> Bytes {
        let hello = PageHello {
            build,
            clock: self.clock,
            clusters: self.page_clusters(),
        };
        message(&hello.to_text())
    }

    /// Tells a viewer of the page that it missed something, ready for the socket.
    #[must_use]
    pub(crate) fn page_resync(&self) -> Bytes {
        message(&feed::page_resync(&self.page_clusters()))
    }

    /// The versions of all blocks.
    pub(crate) fn page_clusters(&self) -> Vec<PageCluster<'_>> {
        let clusters = self.clusters.iter().map(|cluster| PageCluster {
            name: &cluster.info.name,
            total: cluster.info.total,
            blocks: cluster.blocks.iter().map(|block| block.version).collect(),
        });
        clusters.collect()
    }

    /// What is to be said first.
    #[must_use]
    pub(crate) fn verdict(&self) -> &Verdict {
        self.verdict.get_or_init(|| {
            let (now_ms, blind) = (self.clock.now_ms, !self.is_fresh());
            verdict::judge(&self.clusters, &self.notices, now_ms, blind)
        })
    }

    /// Whether the aggregator was heard lately.
    #[must_use]
    pub(crate) fn is_fresh(&self) -> bool {
        self.heard.is_some() && self.age() <= STALE
    }

    /// The table for people.
    #[must_use]
    pub(crate) fn plain(&self, title: &str) -> Bytes {
        let plain = self.plain.get_or_init(|| plain::render(self, title).into());
        plain.clone()
    }

    /// How old it was when it was taken: since when the aggregator is silent or, when it was
    /// never heard, how long ago it wrote the newest block.
    #[must_use]
    pub(crate) fn age(&self) -> Duration {
        if let Some(heard) = self.heard {
            return self.taken.saturating_duration_since(heard);
        }
        let kept_at_ms = self.kept_at_ms.unwrap_or(self.clock.now_ms);
        let age_ms = self.clock.now_ms.saturating_sub(kept_at_ms);
        // `now` is never before what was kept.
        Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
    }

    /// The entity tag of the snapshot: the same on every replica that holds the same.
    ///
    /// It is weak, since `now` and `heard` are each replica's own. While the aggregator is silent
    /// it changes from time to time, so that who asks again is told how old the table is by now.
    #[must_use]
    pub(crate) fn etag(&self) -> &str {
        self.etag.get_or_init(|| {
            let mut hash = Sha256::new();
            let mut add = |number: u64| hash.update(number.to_le_bytes());
            for number in [
                self.list.epoch,
                self.list.revision,
                self.pulse.0,
                self.pulse.1,
            ] {
                add(number);
            }
            for block in self.clusters.iter().flat_map(|cluster| &cluster.blocks) {
                add(block.version.epoch);
                add(block.version.revision);
            }
            add(self.age().as_secs() / STALE.as_secs());
            hash.update(feed::page_notices(&self.lasting_notices()));
            etag_of(&hash.finalize())
        })
    }

    /// The notices without those that have ended since they were read; the broker may be away by then.
    fn lasting_notices(&self) -> Notices {
        let lasts = |notice: &Notice| !notice.expired(self.clock.now_ms);
        let mut notices = (*self.notices).clone();
        notices.announcement = notices.announcement.filter(lasts);
        notices.maintenance.retain(|entry| lasts(&entry.notice));
        notices
    }

    /// The whole table as JSON, and how long it took to make.
    pub(crate) async fn snapshot(self: Arc<Self>) -> Option<(Arc<Representation>, Duration)> {
        let picture = self.clone();
        let render = async || {
            // For a large fleet this takes long enough to hold up other tasks.
            tokio::task::spawn_blocking(move || picture.render_snapshot()).await
        };
        self.snapshot.get_or_try_init(render).await.ok().cloned()
    }

    fn render_snapshot(&self) -> (Arc<Representation>, Duration) {
        let start = Instant::now();
        let clusters = self.clusters.iter().map(|cluster| SnapshotCluster {
            name: &cluster.info.name,
            total: cluster.info.total,
            timeout_s: cluster.info.timeout_s,
            blocks: cluster
                .blocks
                .iter()
                .map(|block| SnapshotBlock {
                    version: block.version,
                    rows: &block.rows,
                    last_heard_ms: &block.last_heard_ms,
                })
                .collect(),
        });
        let snapshot = Snapshot {
            clock: self.clock,
            clusters: clusters.collect(),
            notices: &self.lasting_notices(),
        };
        let body = snapshot.to_text();
        let etag = self.etag().to_owned();
        let representation = Representation::new("application/json", body.into(), etag);
        (Arc::new(representation), start.elapsed())
    }
}
