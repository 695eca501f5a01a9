//! What the frames of a feed add up to, in both dialects.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ledger::{Ledger, Picture};

/// A block's version: epoch and revision.
type Version = (u64, u64);
/// The versions of all blocks.
type Versions = BTreeMap<(String, u64), Version>;

/// A picture that frames change.
#[derive(Debug, Default)]
pub(super) struct Sum {
    clusters: BTreeMap<String, Vec<char>>,
}

impl Sum {
    /// From the `hello` of the default dialect: shards that never reported have no entry.
    pub(super) fn of_hello(payload: &Value) -> Self {
        let mut sum = Self::default();
        for (name, cluster) in payload.as_object().into_iter().flatten() {
            let len = usize::try_from(cluster["len"].as_u64().unwrap_or(0)).unwrap_or(0);
            sum.clusters.insert(name.clone(), vec!['0'; len]);
            for (id, entry) in cluster.as_object().into_iter().flatten() {
                if let (Ok(id), Some(state)) = (id.parse(), entry["state"].as_u64()) {
                    sum.set(name, id, state);
                }
            }
        }
        sum
    }

    /// From a snapshot.
    pub(super) fn of_snapshot(snapshot: &Value) -> Self {
        let picture = super::views::picture(snapshot);
        let clusters = picture.into_iter();
        Self {
            clusters: clusters
                .map(|(name, states)| (name, states.chars().collect()))
                .collect(),
        }
    }

    pub(super) fn set(&mut self, cluster: &str, id: u64, state: u64) {
        let shards = self.clusters.get_mut(cluster);
        let place = usize::try_from(id).ok();
        let shard = shards.and_then(|shards| shards.get_mut(place?));
        if let (Some(shard), Ok(state)) = (shard, u32::try_from(state)) {
            *shard = char::from_digit(state, 10).unwrap_or('?');
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let clusters = self.clusters.iter();
        clusters
            .map(|(name, shards)| (name.clone(), shards.iter().collect()))
            .collect()
    }

    /// Asks the truth about each shard that is shown as Unhealthy.
    pub(super) fn check_flags(&self, ledger: &Ledger, by: &str) {
        for (name, shards) in &self.clusters {
            for (id, state) in (0..).zip(shards) {
                if *state == '1' {
                    ledger.flagged(name, id, by);
                }
            }
        }
    }
}

/// Follows the page's dialect: a snapshot, and the changes after it by version.
#[derive(Debug, Default)]
pub(super) struct PageSum {
    /// The picture, once a snapshot was new enough.
    pub(super) sum: Option<Sum>,
    versions: Versions,
    /// What the next snapshot must have at least; `None` when none is needed.
    demanded: Option<Versions>,
    totals: BTreeMap<String, u64>,
    kept: Vec<Value>,
    /// The parts of a version that is not complete yet.
    parts: BTreeMap<(String, u64), Vec<Value>>,
    /// The versions that this connection told, to see that none goes back.
    told: Versions,
}

impl PageSum {
    /// A snapshot with these versions is needed: the payload of `hello`, `resync` and `clusters`.
    pub(super) fn demand(&mut self, payload: &Value) {
        let (versions, totals) = versions(payload);
        self.demanded = Some(versions);
        self.totals = totals;
        self.told.clear();
        self.kept.clear();
        self.parts.clear();
        self.sum = None;
    }

    pub(super) fn needs_snapshot(&self) -> bool {
        self.demanded.is_some()
    }

    /// Takes a snapshot, if it is new enough.
    pub(super) fn offer(&mut self, snapshot: &Value) -> bool {
        let (held, totals) = versions(snapshot);
        let Some(demanded) = &self.demanded else {
            return true;
        };
        let newer = |(key, version): (&_, &_)| held.get(key).is_some_and(|mine| mine >= version);
        if totals != self.totals || !demanded.iter().all(newer) {
            return false;
        }
        self.demanded = None;
        self.versions = held;
        self.sum = Some(Sum::of_snapshot(snapshot));
        for changes in std::mem::take(&mut self.kept) {
            self.apply(&changes);
        }
        true
    }

    /// Applies a `changes` frame. An error says which version went back.
    pub(super) fn follow(&mut self, changes: &Value) -> Result<(), String> {
        let key = block_of(changes);
        let result = match version_of(&changes["version"]) {
            Some(version) => match self.told.insert(key.clone(), version) {
                Some(before) if before > version => {
                    Err(format!("{key:?} went from {before:?} back to {version:?}"))
                }
                _ => Ok(()),
            },
            None => Ok(()),
        };
        if self.needs_snapshot() {
            self.kept.push(changes.clone());
        } else {
            self.apply(changes);
        }
        result
    }

    fn apply(&mut self, changes: &Value) {
        let key = block_of(changes);
        let mut shards = self.parts.remove(&key).unwrap_or_default();
        shards.extend(changes["shards"].as_array().into_iter().flatten().cloned());
        let Some(version) = version_of(&changes["version"]) else {
            self.parts.insert(key, shards);
            return;
        };
        if self.versions.get(&key).is_some_and(|held| version <= *held) {
            return;
        }
        self.versions.insert(key.clone(), version);
        if let Some(sum) = &mut self.sum {
            for shard in shards {
                if let (Some(id), Some(state)) = (shard[0].as_u64(), shard[1].as_u64()) {
                    sum.set(&key.0, id, state);
                }
            }
        }
    }
}

fn block_of(changes: &Value) -> (String, u64) {
    let cluster = changes["cluster"].as_str().unwrap_or_default();
    (cluster.to_owned(), changes["block"].as_u64().unwrap_or(0))
}

fn version_of(value: &Value) -> Option<Version> {
    Some((value[0].as_u64()?, value[1].as_u64()?))
}

fn versions(payload: &Value) -> (Versions, BTreeMap<String, u64>) {
    let (mut versions, mut totals) = (Versions::new(), BTreeMap::new());
    for cluster in payload["clusters"].as_array().into_iter().flatten() {
        let name = cluster["name"].as_str().unwrap_or_default().to_owned();
        totals.insert(name.clone(), cluster["total"].as_u64().unwrap_or(0));
        let blocks = cluster["blocks"].as_array().into_iter().flatten();
        for (block, version) in (0..).zip(blocks) {
            versions.insert(
                (name.clone(), block),
                version_of(version).unwrap_or_default(),
            );
        }
    }
    (versions, totals)
}
