//! The whole table as JSON, for `/api/snapshot` (section 5 of the public contract).

use std::fmt::Write as _;

use crate::{
    ClusterName, Details, State,
    block::ShardRow,
    feed::{Clock, Notices, Version, push_versions},
    json::{push_number, push_optional_seconds, push_separator, push_text},
};

/// The whole table at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The times.
    pub clock: Clock,
    /// The clusters in configured order.
    pub clusters: Vec<SnapshotCluster<'a>>,
    /// What the operators tell.
    pub notices: &'a Notices,
}

/// One cluster of a [`Snapshot`].
#[derive(Debug)]
pub struct SnapshotCluster<'a> {
    /// Its name.
    pub name: &'a ClusterName,
    /// How many shards it has.
    pub total: u32,
    /// Its health timeout in seconds.
    pub timeout_s: f64,
    /// Its blocks in order; together they hold `total` shards.
    pub blocks: Vec<SnapshotBlock<'a>>,
}

/// One block of a [`SnapshotCluster`].
#[derive(Debug)]
pub struct SnapshotBlock<'a> {
    /// Which value of the block this is.
    pub version: Version,
    /// Its shards.
    pub rows: &'a [ShardRow],
    /// When each of them was last heard, in Unix milliseconds. Newer than what the rows say.
    pub last_heard_ms: &'a [Option<i64>],
}

impl Snapshot<'_> {
    /// The body of the answer.
    #[must_use]
    pub fn to_text(&self) -> String {
        let shards: usize = self.clusters.iter().map(|c| c.total as usize).sum();
        let mut out = String::with_capacity(256 + shards * 48);
        out.push('{');
        self.clock.push(&mut out);
        out.push_str(",\"clusters\":[");
        for cluster in &self.clusters {
            push_separator(&mut out);
            cluster.push(&mut out);
        }
        out.push_str("],");
        self.notices.push(&mut out);
        out.push('}');
        out
    }
}

impl SnapshotCluster<'_> {
    fn rows(&self) -> impl Iterator<Item = &ShardRow> {
        self.blocks.iter().flat_map(|block| block.rows)
    }

    fn push(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{{\"name\":\"{}\",\"total\":{}", self.name, self.total);
        self.push_states(out, "states", |row| row.state);
        self.push_states(out, "previous", |row| row.previous);
        push_times(out, "since", self.rows().map(|row| row.since_ms));
        let heard = self.blocks.iter().flat_map(|block| block.last_heard_ms);
        push_times(out, "last_heard", heard.copied());
        out.push_str(",\"details\":{");
        for (id, row) in self.rows().enumerate() {
            push_details(out, id, &row.details);
        }
        out.push('}');
        let versions: Vec<Version> = self.blocks.iter().map(|block| block.version).collect();
        push_versions(out, &versions);
        out.push_str(",\"timeout\":");
        push_number(out, self.timeout_s);
        out.push('}');
    }

    fn push_states(&self, out: &mut String, name: &str, get: impl Fn(&ShardRow) -> State) {
        let _ = write!(out, ",\"{name}\":\"");
        out.extend(self.rows().map(|row| get(row).to_char()));
        out.push('"');
    }
}

fn push_times(out: &mut String, name: &str, times: impl Iterator<Item = Option<i64>>) {
    let _ = write!(out, ",\"{name}\":[");
    for time in times {
        push_separator(out);
        push_optional_seconds(out, time);
    }
    out.push(']');
}

/// `"1":{"group":"0","latency_ms":41}`, or nothing when nothing is known.
fn push_details(out: &mut String, id: usize, details: &Details) {
    let before = out.len();
    push_separator(out);
    let _ = write!(out, "\"{id}\":{{");
    let empty = out.len();
    for (name, text) in [("group", &details.group), ("version", &details.version)] {
        if let Some(text) = text {
            push_name(out, name);
            push_text(out, text);
        }
    }
    push_amount(out, "latency_ms", details.latency_ms);
    push_count(out, "guilds", details.guilds);
    push_count(out, "unavailable_guilds", details.unavailable_guilds);
    push_amount(out, "events_per_s", details.events_per_s);
    if out.len() == empty {
        out.truncate(before);
    } else {
        out.push('}');
    }
}

fn push_name(out: &mut String, name: &str) {
    push_separator(out);
    let _ = write!(out, "\"{name}\":");
}

fn push_amount(out: &mut String, name: &str, amount: Option<f64>) {
    if let Some(amount) = amount {
        push_name(out, name);
        push_number(out, amount);
    }
}

fn push_count(out: &mut String, name: &str, count: Option<u64>) {
    if let Some(count) = count {
        push_name(out, name);
        let _ = write!(out, "{count}");
    }
}
