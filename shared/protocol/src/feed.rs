//! Frames of the feed, in the dialect for everybody (section 5 of the public
//! contract) and in the denser one of our own page.
//!
//! Frames are built as text, since their order and their numbers are pinned:
//! clients in the field depend on them.

use std::fmt::Write as _;

use crate::{
    Cause, ClusterName, State,
    json::{
        push_base64, push_clock, push_number, push_optional_clock, push_optional_seconds,
        push_seconds, push_separator, push_text,
    },
    notice::{Notice, Severity},
};

/// Which value of a block this is. A higher one is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// The epoch of the aggregator that wrote it.
    pub epoch: u64,
    /// The revision of its key in the table's bucket.
    pub revision: u64,
}

/// The times that viewers measure ages by, all in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// The server's present time.
    pub now_ms: i64,
    /// When this replica last heard the aggregator; `None` when it never did.
    pub heard_ms: Option<i64>,
    /// Since when silence is judged; `None` while nobody is flagged for silence.
    pub judging_since_ms: Option<i64>,
}

impl Clock {
    /// `"now":...,"heard":...,"judging_since":...`
    pub(crate) fn push(&self, out: &mut String) {
        out.push_str("\"now\":");
        push_clock(out, self.now_ms);
        out.push_str(",\"heard\":");
        push_optional_clock(out, self.heard_ms);
        out.push_str(",\"judging_since\":");
        push_optional_clock(out, self.judging_since_ms);
    }
}

/// The first frame of the default dialect, written cluster by cluster in
/// configured order.
#[derive(Debug)]
pub struct Hello(String);

impl Default for Hello {
    fn default() -> Self {
        Self("{\"op\":\"hello\",\"payload\":{".into())
    }
}

impl Hello {
    /// Adds a cluster of `total` shards, and of those the ones that have
    /// reported: id, state, and the last sign of life in Unix milliseconds.
    pub fn push_cluster(
        &mut self,
        cluster: &ClusterName,
        total: u32,
        reported: impl Iterator<Item = (u32, State, i64)>,
    ) {
        let out = &mut self.0;
        push_separator(out);
        // Writing to a String cannot fail.
        let _ = write!(out, "\"{cluster}\":{{\"len\":{total}");
        for (id, state, healthy_ms) in reported {
            let state = state.number();
            let _ = write!(out, ",\"{id}\":{{\"state\":{state},\"last_healthy\":");
            push_seconds(out, healthy_ms);
            out.push('}');
        }
        out.push('}');
    }

    /// The frame.
    #[must_use]
    pub fn into_text(mut self) -> String {
        self.0.push_str("}}");
        self.0
    }
}

/// A shard's state changed, by report or by timeout.
pub fn push_state_update(out: &mut String, cluster: &ClusterName, shard: u32, state: State) {
    let state = state.number();
    let _ = write!(
        out,
        "{{\"op\":\"state_update\",\"payload\":{{\"cluster\":\"{cluster}\",\"shard\":{shard},\"state\":{state}}}}}"
    );
}

/// A shard gave a sign of life. `healed` when a health check made it Online.
pub fn push_health_ping(out: &mut String, cluster: &ClusterName, shard: u32, healed: bool) {
    let _ = write!(
        out,
        "{{\"op\":\"health_ping\",\"payload\":{{\"cluster\":\"{cluster}\",\"shard\":{shard}"
    );
    if healed {
        let _ = write!(out, ",\"state\":{}", State::Online.number());
    }
    out.push_str("}}");
}

/// The first frame of the page's dialect: what this replica holds.
#[derive(Debug)]
pub struct PageHello<'a> {
    /// Which page this replica serves: another one means that the viewer's is old.
    pub build: &'a str,
    /// The times.
    pub clock: Clock,
    /// The clusters in configured order.
    pub clusters: Vec<PageCluster<'a>>,
}

/// A cluster in [`PageHello`].
#[derive(Debug)]
pub struct PageCluster<'a> {
    /// Its name.
    pub name: &'a ClusterName,
    /// How many shards it has.
    pub total: u32,
    /// The version of each of its blocks; `[0,0]` for one that has not come yet.
    pub blocks: Vec<Version>,
}

impl PageHello<'_> {
    /// The frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from("{\"op\":\"hello\",\"payload\":{\"build\":");
        push_text(&mut out, self.build);
        out.push(',');
        self.clock.push(&mut out);
        out.push(',');
        push_clusters(&mut out, &self.clusters);
        out.push_str("}}");
        out
    }
}

/// `"clusters":[{"name":"main","total":1056,"blocks":[[7,55],[7,12]]}]`
fn push_clusters(out: &mut String, clusters: &[PageCluster<'_>]) {
    out.push_str("\"clusters\":[");
    for cluster in clusters {
        push_separator(out);
        let (name, total) = (cluster.name, cluster.total);
        let _ = write!(out, "{{\"name\":\"{name}\",\"total\":{total}");
        push_versions(out, &cluster.blocks);
        out.push('}');
    }
    out.push(']');
}

/// `,"blocks":[[7,55],[7,12]]`
pub(crate) fn push_versions(out: &mut String, versions: &[Version]) {
    out.push_str(",\"blocks\":[");
    for version in versions {
        push_separator(out);
        push_version(out, *version);
    }
    out.push(']');
}

fn push_version(out: &mut String, version: Version) {
    let _ = write!(out, "[{},{}]", version.epoch, version.revision);
}

/// What the page is told of a shard that changed. The values are absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageShard {
    /// The shard's id in its cluster.
    pub id: u32,
    /// Its present state.
    pub state: State,
    /// The state before that.
    pub previous: State,
    /// When it entered its present state, in Unix milliseconds.
    pub since_ms: Option<i64>,
    /// What made it do so.
    pub cause: Option<Cause>,
}

/// Shards of one block that changed, and the version that the block has by that.
#[must_use]
pub fn page_changes(
    cluster: &ClusterName,
    block: u32,
    version: Version,
    shards: &[PageShard],
) -> String {
    let mut out = String::with_capacity(100 + shards.len() * 44);
    let _ = write!(
        out,
        "{{\"op\":\"changes\",\"payload\":{{\"cluster\":\"{cluster}\",\"block\":{block},\"version\":"
    );
    push_version(&mut out, version);
    out.push_str(",\"shards\":[");
    for shard in shards {
        push_separator(&mut out);
        let (state, previous) = (shard.state.number(), shard.previous.number());
        let _ = write!(out, "[{},{state},{previous},", shard.id);
        push_optional_seconds(&mut out, shard.since_ms);
        match shard.cause {
            Some(cause) => {
                let _ = write!(out, ",\"{}\"]", cause.as_str());
            }
            None => out.push_str(",null]"),
        }
    }
    out.push_str("]}}");
    out
}

/// Once a second: the times, and for each cluster of which a shard was heard
/// since the last pulse a bitmap (bit `i % 8` of byte `i / 8`).
#[must_use]
pub fn page_pulse<'a>(
    clock: Clock,
    heard: impl Iterator<Item = (&'a ClusterName, &'a [u8])>,
) -> String {
    let mut out = String::from("{\"op\":\"pulse\",\"payload\":{");
    clock.push(&mut out);
    out.push_str(",\"clusters\":{");
    for (cluster, bitmap) in heard {
        push_separator(&mut out);
        let _ = write!(out, "\"{cluster}\":\"");
        push_base64(&mut out, bitmap);
        out.push('"');
    }
    out.push_str("}}}");
    out
}

/// The viewer missed something: fetch the snapshot again, one that has these versions at least.
#[must_use]
pub fn page_resync(clusters: &[PageCluster<'_>]) -> String {
    let mut out = String::from("{\"op\":\"resync\",\"payload\":{");
    push_clusters(&mut out, clusters);
    out.push_str("}}");
    out
}

/// The clusters or their totals changed to these: fetch the snapshot again.
#[must_use]
pub fn page_clusters(clusters: &[PageCluster<'_>]) -> String {
    let mut out = String::from("{\"op\":\"clusters\",\"payload\":{");
    push_clusters(&mut out, clusters);
    out.push_str("}}");
    out
}

/// Maintenance of a cluster, or of one of its groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// The cluster.
    pub cluster: ClusterName,
    /// The group; `None` when it is the whole cluster.
    pub group: Option<String>,
    /// What to tell.
    pub notice: Notice,
}

/// What the operators tell the viewers at present.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Notices {
    /// A word to everybody.
    pub announcement: Option<Notice>,
    /// What is being worked on.
    pub maintenance: Vec<Maintenance>,
}

impl Notices {
    /// `"announcement":...,"maintenance":[...]`
    pub(crate) fn push(&self, out: &mut String) {
        out.push_str("\"announcement\":");
        match &self.announcement {
            Some(notice) => {
                out.push('{');
                push_notice(out, notice);
            }
            None => out.push_str("null"),
        }
        out.push_str(",\"maintenance\":[");
        for entry in &self.maintenance {
            push_separator(out);
            let _ = write!(out, "{{\"cluster\":\"{}\",\"group\":", entry.cluster);
            match &entry.group {
                Some(group) => push_text(out, group),
                None => out.push_str("null"),
            }
            out.push(',');
            push_notice(out, &entry.notice);
        }
        out.push(']');
    }
}

/// The fields of a notice, and the end of the object that holds them.
fn push_notice(out: &mut String, notice: &Notice) {
    out.push_str("\"text\":");
    push_text(out, &notice.text);
    let severity = match notice.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let _ = write!(out, ",\"severity\":\"{severity}\",\"until\":");
    match notice.until {
        Some(until) => push_number(out, until),
        None => out.push_str("null"),
    }
    out.push('}');
}

/// The operators' notices changed.
#[must_use]
pub fn page_notices(notices: &Notices) -> String {
    let mut out = String::from("{\"op\":\"notices\",\"payload\":{");
    notices.push(&mut out);
    out.push_str("}}");
    out
}
