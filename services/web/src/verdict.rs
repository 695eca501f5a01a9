//! One sentence and one colour for the whole fleet. Pure.
//!
//! The page judges in the same way. `golden/verdicts.json` of the protocol is
//! the specification, and both are tested with it.
//!
//! Order of precedence: the dashboard is blind, an announcement, down, silent,
//! under maintenance, restarting, unknown, online.

use glance_protocol::{Notice, feed::Notices, notice::Severity};

use crate::cluster::Cluster;

mod tally;
mod words;

pub(crate) use tally::{Maintained, Tally, is_silent, silence};
pub(crate) use words::{clean, count};

/// From this part of a cluster on, shards that are down are an outage, and shards that restart are a restart of it.
const PART: u32 = 10;

/// A verdict as a colour, from nothing known to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// Nothing is known.
    None,
    /// All is well.
    Good,
    /// Something is going on, on purpose.
    Calm,
    /// Few are affected.
    Warn,
    /// An outage.
    Bad,
}

impl Mood {
    /// As the page calls it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Good => "good",
            Self::Calm => "calm",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

impl From<Severity> for Mood {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Calm,
            Severity::Warning => Self::Warn,
            Severity::Critical => Self::Bad,
        }
    }
}

/// What is to be said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The sentence, without a full stop.
    pub sentence: String,
    /// What is true of the fleet, whatever was announced.
    pub facts: String,
    /// Its colour.
    pub mood: Mood,
    /// Whether all shards that are known of are online.
    pub is_well: bool,
    /// A line for each cluster and each maintenance.
    pub lines: Vec<String>,
}

impl Verdict {
    /// On a host that only serves files, nothing is known but the page's name.
    #[must_use]
    pub(crate) fn elsewhere(title: &str) -> Self {
        Self {
            sentence: title.to_owned(),
            ..Self::starting()
        }
    }

    /// Before there is a table.
    #[must_use]
    pub(crate) fn starting() -> Self {
        Self {
            sentence: "The dashboard is starting".to_owned(),
            facts: String::new(),
            mood: Mood::None,
            is_well: false,
            lines: Vec::new(),
        }
    }
}

/// Judges the fleet at `now_ms`. `blind`: the dashboard has not heard the bots lately.
#[must_use]
pub(crate) fn judge(clusters: &[Cluster], notices: &Notices, now_ms: i64, blind: bool) -> Verdict {
    let tally = |cluster| Tally::of(cluster, notices, now_ms);
    let tallies: Vec<Tally<'_>> = clusters.iter().map(tally).collect();
    let (facts, mood) = words::facts(&tallies);
    let is_well = mood == Mood::Good;
    let announcement = notices.announcement.as_ref();
    let (sentence, mood) = match announcement.filter(|notice| !notice.expired(now_ms)) {
        _ if blind => (facts.last_known(), Mood::None),
        Some(Notice { text, severity, .. }) => (clean(text), mood.max((*severity).into())),
        None => (facts.sentence(), mood),
    };
    let mut lines = words::lines(&tallies, notices, now_ms);
    if let Some(notice) = announcement.filter(|notice| blind && !notice.expired(now_ms)) {
        lines.insert(0, clean(&notice.text));
    }
    Verdict {
        sentence,
        facts: facts.sentence(),
        mood,
        is_well,
        lines,
    }
}

/// Whether this part of a cluster is too large to be an exception.
fn is_large(part: u32, total: u32) -> bool {
    part > 0 && u64::from(part) * u64::from(PART) >= u64::from(total)
}

#[cfg(test)]
mod tests;
