//! What there is of each in a cluster.

use std::collections::HashMap;

use glance_protocol::{Cause, ShardRow, State, feed::Notices};

use crate::cluster::Cluster;

/// The shards of a cluster, counted.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    /// The cluster.
    pub name: &'a str,
    /// All its shards; 0 while nobody has said how many there are.
    pub total: u32,
    /// How many are online.
    pub online: u32,
    /// By the number of the state; without those under maintenance.
    counts: [u32; 7],
    /// All that ever reported fell silent.
    pub is_silent: bool,
    /// How many are down, whatever the reason; without those under maintenance.
    pub broken: u32,
    /// Since when the first of them is, in Unix milliseconds.
    pub broken_since_ms: Option<i64>,
    /// What is under maintenance.
    pub maintained: Option<Maintained<'a>>,
    cluster: &'a Cluster,
}

/// What is under maintenance in a cluster.
#[derive(Debug, Default)]
pub(crate) struct Maintained<'a> {
    /// Which groups; empty when it is all of the cluster.
    pub groups: Vec<&'a str>,
    /// How many shards that are.
    pub total: u32,
    /// How many of them are online.
    pub online: u32,
}

impl<'a> Tally<'a> {
    /// Counts a cluster at `now_ms`.
    #[must_use]
    pub(crate) fn of(cluster: &'a Cluster, notices: &'a Notices, now_ms: i64) -> Self {
        let mut tally = Self {
            name: cluster.info.name.as_str(),
            total: cluster.info.total,
            online: 0,
            counts: [0; 7],
            is_silent: false,
            broken: 0,
            broken_since_ms: None,
            maintained: Maintained::of(cluster, notices, now_ms),
            cluster,
        };
        for (_, row, _) in cluster.shards() {
            let is_online = row.state == State::Online;
            tally.online += u32::from(is_online);
            if let Some(maintained) = tally.maintained.as_mut().filter(|it| it.covers(row)) {
                maintained.total += 1;
                maintained.online += u32::from(is_online);
                continue;
            }
            tally.counts[usize::from(row.state.number())] += 1;
            if matches!(row.state, State::Unhealthy | State::Offline) {
                tally.broken += 1;
                let first = [tally.broken_since_ms, row.since_ms];
                tally.broken_since_ms = first.into_iter().flatten().min();
            }
        }
        tally.is_silent = silence(cluster, tally.maintained.as_ref(), now_ms).is_some();
        tally
    }

    /// How many are in one of these states, without those under maintenance.
    #[must_use]
    pub(crate) fn count(&self, states: &[State]) -> u32 {
        let counts = states.iter().map(|state| usize::from(state.number()));
        counts.map(|number| self.counts[number]).sum()
    }

    /// How many are down, while the cluster is heard at all.
    #[must_use]
    pub(crate) fn down(&self) -> u32 {
        match self.is_silent {
            true => 0,
            false => self.broken,
        }
    }

    /// How many are on their way from one state to another.
    #[must_use]
    pub(crate) fn moving(&self) -> u32 {
        self.count(&[State::Starting, State::Stopping, State::Resuming])
    }

    /// The groups, and those of which all shards are online; only when each shard has a group.
    #[must_use]
    pub(crate) fn groups(&self) -> Option<(u32, u32)> {
        let mut done: HashMap<&str, bool> = HashMap::new();
        for (_, row, _) in self.cluster.shards() {
            let group = row.details.group.as_deref()?;
            *done.entry(group).or_insert(true) &= row.state == State::Online;
        }
        let all = u32::try_from(done.len()).ok()?;
        let done = u32::try_from(done.values().filter(|done| **done).count()).ok()?;
        Some((all, done))
    }
}

impl<'a> Maintained<'a> {
    /// What is under maintenance at `now_ms`.
    pub(crate) fn of(cluster: &Cluster, notices: &'a Notices, now_ms: i64) -> Option<Self> {
        let ours = notices.maintenance.iter();
        let ours = ours
            .filter(|entry| entry.cluster == cluster.info.name && !entry.notice.expired(now_ms));
        let groups: Option<Vec<&str>> = ours.map(|entry| entry.group.as_deref()).collect();
        match groups {
            None => Some(Self::default()),
            Some(groups) if groups.is_empty() => None,
            Some(groups) => Some(Self {
                groups,
                ..Self::default()
            }),
        }
    }

    /// Whether this shard is meant.
    #[must_use]
    pub(crate) fn covers(&self, row: &ShardRow) -> bool {
        let group = row.details.group.as_deref();
        self.groups.is_empty() || group.is_some_and(|group| self.groups.contains(&group))
    }
}

/// When a cluster as a whole fell silent. Shards that are called unhealthy by the bot itself are heard; shards under
/// maintenance do not count. `None` while the cluster is heard.
#[must_use]
pub(crate) fn silence(
    cluster: &Cluster,
    maintained: Option<&Maintained<'_>>,
    now_ms: i64,
) -> Option<Silence> {
    let mut last_ms = None;
    let mut unhealthy = 0_u32;
    for (_, row, heard_ms) in cluster.shards() {
        if !row.reported() || maintained.is_some_and(|it| it.covers(row)) {
            continue;
        }
        if row.state != State::Unhealthy {
            return None;
        }
        unhealthy += 1;
        last_ms = last_ms.max(heard_ms);
    }
    #[allow(clippy::cast_possible_truncation, reason = "a timeout in milliseconds")]
    let timeout_ms = (cluster.info.timeout_s * 1000.0) as i64;
    let is_heard = last_ms.is_some_and(|last_ms| now_ms - last_ms <= timeout_ms);
    (unhealthy > 0 && !is_heard).then_some(Silence { last_ms })
}

/// A cluster of which nothing is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    /// When the last sign of life of any shard came, in Unix milliseconds; `None` when that is not known.
    pub last_ms: Option<i64>,
}

/// Whether it was flagged because nothing was heard of it.
#[must_use]
pub(crate) fn is_silent(row: &ShardRow) -> bool {
    row.state == State::Unhealthy && row.cause == Some(Cause::Timeout)
}
