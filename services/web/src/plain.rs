//! The table as text, for people without JavaScript and for `curl`.

use std::{fmt::Write as _, time::Duration};

use glance_protocol::{ShardRow, State, feed::Notices};

use crate::{mirror::Cluster, picture::Picture};

/// How many lines a cluster takes at most.
const LINES_MAX: usize = 1000;
/// From this silence of the aggregator on the picture is called old.
pub(crate) const STALE: Duration = Duration::from_secs(5);

/// Renders the table.
#[must_use]
pub(crate) fn render(picture: &Picture) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Glance: {}\n", verdict(&picture.clusters));
    let _ = writeln!(out, "{}", staleness(picture));
    if picture.clock.judging_since_ms.is_none() {
        out.push_str("Silent shards are not judged at present.\n");
    }
    push_notices(&mut out, &picture.notices);
    for cluster in &picture.clusters {
        push_cluster(&mut out, cluster, picture.clock.now_ms);
    }
    out
}

fn online(cluster: &Cluster) -> usize {
    let shards = cluster.shards();
    shards
        .filter(|(_, row, _)| row.state == State::Online)
        .count()
}

fn verdict(clusters: &[Cluster]) -> String {
    let online: usize = clusters.iter().map(online).sum();
    let total: usize = clusters.iter().map(|c| c.info.total as usize).sum();
    match total - online {
        0 => format!("all {total} shards are online."),
        rest => format!("{online} of {total} shards are online, {rest} not."),
    }
}

fn staleness(picture: &Picture) -> String {
    let Some(heard) = picture.heard else {
        return "OLD: the aggregator was not heard yet; this is the last table that it kept."
            .into();
    };
    let silence = picture.taken.saturating_duration_since(heard);
    if silence > STALE {
        let age = age_of(silence.as_secs());
        return format!("OLD: the aggregator was last heard {age} ago; this is the last picture.");
    }
    "Up to date.".into()
}

fn push_notices(out: &mut String, notices: &Notices) {
    // Control characters could make a terminal do what the operators did not mean.
    let clean = |text: &str| text.replace(char::is_control, " ");
    if let Some(notice) = &notices.announcement {
        let _ = writeln!(out, "\nAnnouncement: {}", clean(&notice.text));
    }
    for entry in &notices.maintenance {
        let group = entry.group.as_ref().map(|group| format!(", group {group}"));
        let group = group.unwrap_or_default();
        let text = clean(&entry.notice.text);
        let _ = writeln!(out, "\nMaintenance of {}{group}: {text}", entry.cluster);
    }
}

fn push_cluster(out: &mut String, cluster: &Cluster, now_ms: i64) {
    let (name, total) = (&cluster.info.name, cluster.info.total);
    let _ = writeln!(out, "\n{name}  {}/{total} online", online(cluster));
    let mut lines = Vec::new();
    for (id, row, heard) in cluster
        .shards()
        .filter(|(_, row, _)| row.state != State::Online)
    {
        let words = words(row, heard, now_ms);
        match lines.last_mut() {
            Some((_, last, same)) if *last + 1 == id && *same == words => *last = id,
            _ => lines.push((id, id, words)),
        }
    }
    for (first, last, words) in lines.iter().take(LINES_MAX) {
        let ids = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        let _ = writeln!(out, "  {ids:>13}  {words}");
    }
    if lines.len() > LINES_MAX {
        let _ = writeln!(out, "  and {} lines more", lines.len() - LINES_MAX);
    }
}

/// "unhealthy, was online, for 12 s, last heard 44 s ago"
fn words(row: &ShardRow, heard_ms: Option<i64>, now_ms: i64) -> String {
    let Some(since_ms) = row.since_ms else {
        return "never reported".into();
    };
    let age = |ms: i64| age_of(u64::try_from((now_ms - ms) / 1000).unwrap_or(0));
    let mut out = row.state.name().to_owned();
    if row.previous != row.state {
        let _ = write!(out, ", was {}", row.previous);
    }
    let _ = write!(out, ", for {}", age(since_ms));
    if let Some(heard_ms) = heard_ms {
        let _ = write!(out, ", last heard {} ago", age(heard_ms));
    }
    out
}

/// A duration in words: `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
fn age_of(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_words() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7500, "2 h 5 min"),
            (356_400, "4 d 3 h"),
        ] {
            assert_eq!(age_of(seconds), words);
        }
    }

    #[test]
    fn a_shard_in_words() {
        let mut row = ShardRow::default();
        assert_eq!(words(&row, None, 0), "never reported");
        row.state = State::Unhealthy;
        row.previous = State::Stopping;
        row.since_ms = Some(1000);
        assert_eq!(
            words(&row, Some(500), 13_000),
            "unhealthy, was stopping, for 12 s, last heard 12 s ago"
        );
    }
}
