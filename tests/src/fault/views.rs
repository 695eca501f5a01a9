//! What can be seen of the table: at the broker, and at each web replica.

use std::time::Duration;

use async_nats::Client;
use glance_protocol::{ClusterList, TableBlock, bucket, shard::block_count};
use serde_json::Value;
use tokio::time::timeout;

use super::ledger::Picture;
use crate::http::ask;

/// How long a question may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The aggregator's snapshot: the keys of the table's bucket, which are its own checkpoint.
pub async fn table(client: &Client) -> Option<Picture> {
    let reading = async {
        let context = async_nats::jetstream::new(client.clone());
        let bucket = context.get_key_value(bucket::TABLE).await.ok()?;
        let list = bucket.get(bucket::CLUSTERS_KEY).await.ok()??;
        let list = ClusterList::from_bytes(&list).ok()?;
        let mut picture = Picture::new();
        for cluster in &list.clusters {
            let states = picture.entry(cluster.name.to_string()).or_default();
            for block in 0..block_count(cluster.total) {
                let key = bucket::block_key(&cluster.name, block);
                let value = bucket.get(key).await.ok()??;
                let block = TableBlock::from_bytes(&value).ok()?;
                states.extend(block.rows.iter().map(|row| row.state.to_char()));
            }
        }
        Some(picture)
    };
    timeout(ANSWER_MAX, reading).await.ok().flatten()
}

/// What a web replica answers to `/api/snapshot`.
pub async fn snapshot(port: u16) -> Option<Value> {
    let answer = ask(port, "GET", "/api/snapshot", "", "", ANSWER_MAX).await?;
    if answer.status != 200 {
        return None;
    }
    serde_json::from_str(&answer.body).ok()
}

/// The states in a snapshot.
#[must_use]
pub fn picture(snapshot: &Value) -> Picture {
    let clusters = snapshot["clusters"].as_array();
    let states = clusters.into_iter().flatten().filter_map(|cluster| {
        let name = cluster["name"].as_str()?;
        Some((name.to_owned(), cluster["states"].as_str()?.to_owned()))
    });
    states.collect()
}

/// Whether silence is judged, by a snapshot.
#[must_use]
pub fn is_judging(snapshot: &Value) -> bool {
    !snapshot["judging_since"].is_null()
}

/// The least and the greatest age in a snapshot, in seconds: of states and of last signs of life.
#[must_use]
pub fn ages(snapshot: &Value) -> Option<(f64, f64)> {
    let now = snapshot["now"].as_f64()?;
    let times = snapshot["clusters"].as_array()?.iter().flat_map(|cluster| {
        let columns = [&cluster["since"], &cluster["last_heard"]];
        columns.into_iter().filter_map(Value::as_array).flatten()
    });
    let ages: Vec<f64> = times
        .filter_map(|time| Some(now - time.as_f64()?))
        .collect();
    let least = ages.iter().copied().reduce(f64::min)?;
    let greatest = ages.iter().copied().reduce(f64::max)?;
    Some((least, greatest))
}

/// A shard that shows another state than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The cluster.
    pub cluster: String,
    /// The shard.
    pub id: usize,
    /// What is true.
    pub wanted: char,
    /// What is shown.
    pub seen: char,
}

/// Which shards of those that both have differ from what is true.
#[must_use]
pub fn wrong(truth: &Picture, seen: &Picture) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (cluster, wanted) in truth {
        let states = seen.get(cluster).map_or("", String::as_str);
        let pairs = wanted.chars().zip(states.chars()).enumerate();
        let differing = pairs.filter(|(_, (wanted, seen))| wanted != seen);
        wrong.extend(differing.map(|(id, (wanted, seen))| Wrong {
            cluster: cluster.clone(),
            id,
            wanted,
            seen,
        }));
    }
    wrong
}

/// Where `seen` differs from what is true, in words; `None` when it does not.
#[must_use]
pub fn difference(truth: &Picture, seen: &Picture) -> Option<String> {
    let mut words = Vec::new();
    for (cluster, wanted) in truth {
        match seen.get(cluster) {
            None => words.push(format!("{cluster} is missing")),
            Some(states) if states.len() != wanted.len() => {
                let (has, should) = (states.len(), wanted.len());
                words.push(format!("{cluster} has {has} shards, not {should}"));
            }
            Some(_) => {}
        }
    }
    let wrong = wrong(truth, seen).into_iter();
    words.extend(
        wrong.map(|it| format!("{}/{} is {}, not {}", it.cluster, it.id, it.seen, it.wanted)),
    );
    words.truncate(12);
    (!words.is_empty()).then(|| words.join(", "))
}

/// Whether a shard shows another state than the one that it said, other than that its silence is not noticed yet.
#[must_use]
pub fn is_lost(truth: &Picture, seen: &Picture) -> bool {
    wrong(truth, seen).iter().any(|it| it.wanted != '1')
}

/// What the broker keeps of a shard: its last report, and its row in the table.
pub async fn kept(client: &Client, cluster: &str, id: usize) -> String {
    let context = async_nats::jetstream::new(client.clone());
    let reading = async {
        let stream = context.get_stream(bucket::STATES).await.ok()?;
        let created = stream.cached_info().created;
        let subject = format!("glance.{cluster}.{id}.state");
        let last = stream.get_last_raw_message_by_subject(&subject).await;
        let report = last.map_or("none".to_owned(), |message| {
            let body = String::from_utf8_lossy(&message.payload).into_owned();
            format!("{body} at sequence {}, {}", message.sequence, message.time)
        });
        let table = context.get_key_value(bucket::TABLE).await.ok()?;
        let block = table.get(format!("{cluster}.{}", id / 1024)).await.ok()??;
        let block = TableBlock::from_bytes(&block).ok()?;
        let (epoch, sequence, of) = (block.epoch, block.sequence, block.stream);
        let row = block.rows.get(id % 1024)?;
        Some(format!(
            "last report: {report}, in the stream of {created}; block of epoch {epoch}, up to sequence {sequence} of {of}: {row:?}"
        ))
    };
    let read = timeout(ANSWER_MAX, reading).await.ok().flatten();
    read.unwrap_or_else(|| "nothing can be read".to_owned())
}
