//! The table as text, for people without JavaScript and for `curl`.

use std::fmt::Write as _;

use glance_protocol::{Notice, ShardRow, State, feed::Notices, notice::Severity};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    cluster::Cluster,
    history::LastOutage,
    picture::Picture,
    verdict::{Maintained, clean, count, is_silent, silence},
};

/// How many lines a cluster takes at most.
const LINES_MAX: usize = 1000;
/// An outage that ended longer ago is no news.
const LATELY_MS: i64 = 24 * 3_600_000;

/// Renders the table.
#[must_use]
pub(crate) fn render(picture: &Picture, title: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let verdict = picture.verdict();
    let _ = writeln!(out, "{title}: {}\n", verdict.sentence);
    if verdict.sentence != verdict.facts {
        let _ = writeln!(out, "{}", verdict.facts);
    }
    let _ = writeln!(out, "{}", staleness(picture));
    if picture.clock.judging_since_ms.is_none() {
        out.push_str("Silent shards are not judged at present.\n");
    }
    let now_ms = picture.clock.now_ms;
    let outage = picture.lately.last.as_ref().filter(|_| verdict.is_well);
    if let Some(outage) = outage.filter(|outage| now_ms - outage.ended_ms < LATELY_MS) {
        push_outage(&mut out, outage, now_ms);
    }
    push_notices(&mut out, &picture.notices, now_ms);
    for cluster in &picture.clusters {
        let maintained = Maintained::of(cluster, &picture.notices, now_ms);
        push_cluster(&mut out, cluster, maintained.as_ref(), now_ms);
    }
    out
}

fn online(cluster: &Cluster) -> usize {
    let shards = cluster.shards();
    shards
        .filter(|(_, row, _)| row.state == State::Online)
        .count()
}

/// A silent shard is one thing, and a silent aggregator another: then nothing is known of any shard.
fn staleness(picture: &Picture) -> String {
    let silence = age_of(picture.age().as_secs());
    let why = match picture.heard {
        Some(_) if picture.is_fresh() => return "Up to date.".into(),
        Some(_) => {
            format!("the aggregator was last heard {silence} ago; this is the last picture.")
        }
        None if picture.kept_at_ms.is_some() => format!(
            "the aggregator was not heard yet; this is the table as it was kept {silence} ago."
        ),
        None => "the aggregator was not heard yet, and has kept nothing.".into(),
    };
    format!("OLD: the dashboard cannot hear the bots: {why}")
}

/// "12 min ago 128 shards of main were down, for 4 min"
fn push_outage(out: &mut String, outage: &LastOutage, now_ms: i64) {
    let were = match outage.shards {
        1 => "1 shard of {} was".to_owned(),
        some => format!("{} shards of {{}} were", count(some)),
    };
    let were = were.replace("{}", outage.cluster.as_str());
    let ended = age_since(outage.ended_ms, now_ms);
    let lasted = age_since(outage.began_ms, outage.ended_ms);
    let _ = writeln!(out, "{ended} ago {were} down, for {lasted}.");
}

fn push_notices(out: &mut String, notices: &Notices, now_ms: i64) {
    let lasting = |notice: &&Notice| !notice.expired(now_ms);
    if let Some(notice) = notices.announcement.as_ref().filter(lasting) {
        let _ = writeln!(out, "\nAnnouncement{}", in_words(notice));
    }
    let maintenance = notices.maintenance.iter();
    for entry in maintenance.filter(|entry| lasting(&&entry.notice)) {
        let group = entry.group.as_ref().map(|group| format!(", group {group}"));
        let (group, notice) = (group.unwrap_or_default(), in_words(&entry.notice));
        let _ = writeln!(out, "\nMaintenance of {}{group}{notice}", entry.cluster);
    }
}

/// " (critical, until 2026-11-23 04:05 UTC): We know"
fn in_words(notice: &Notice) -> String {
    let severity = match notice.severity {
        Severity::Info => None,
        Severity::Warning => Some("warning".to_owned()),
        Severity::Critical => Some("critical".to_owned()),
    };
    let until = notice.until.and_then(utc);
    let about: Vec<String> = [severity, until.map(|time| format!("until {time}"))]
        .into_iter()
        .flatten()
        .collect();
    let text = clean(&notice.text);
    match about.is_empty() {
        true => format!(": {text}"),
        false => format!(" ({}): {text}", about.join(", ")),
    }
}

/// A time in Unix seconds as `2026-11-23 04:05 UTC`.
fn utc(seconds: f64) -> Option<String> {
    // Within the range that notices may have.
    #[allow(clippy::cast_possible_truncation, reason = "seconds are whole enough")]
    let time = OffsetDateTime::from_unix_timestamp(seconds as i64).ok()?;
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    time.format(format).ok()
}

fn push_cluster(
    out: &mut String,
    cluster: &Cluster,
    maintained: Option<&Maintained<'_>>,
    now_ms: i64,
) {
    let (name, total) = (&cluster.info.name, cluster.info.total);
    if total == 0 {
        let _ = writeln!(out, "\n{name}  size not known yet");
        return;
    }
    let _ = writeln!(out, "\n{name}  {}/{total} online", online(cluster));
    let silence = silence(cluster, maintained, now_ms);
    match silence.map(|silence| silence.last_ms) {
        Some(Some(last_ms)) => {
            let _ = writeln!(out, "  not heard since {} ago", age_since(last_ms, now_ms));
        }
        Some(None) => out.push_str("  not heard for a time that is not known\n"),
        None => {}
    }
    let mut lines = Vec::new();
    for (id, row, heard) in cluster
        .shards()
        .filter(|(_, row, _)| row.state != State::Online)
        .filter(|(_, row, _)| silence.is_none() || row.state != State::Unhealthy)
    {
        let mut words = words(row, heard, now_ms);
        if maintained.is_some_and(|it| it.covers(row)) {
            words.push_str(", under maintenance");
        }
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

/// "unhealthy, was online, for 12 s, this shard is silent, last heard 44 s ago"
fn words(row: &ShardRow, heard_ms: Option<i64>, now_ms: i64) -> String {
    let Some(since_ms) = row.since_ms else {
        return "never reported".into();
    };
    let age = |ms| age_since(ms, now_ms);
    let mut out = row.state.name().to_owned();
    if row.previous != row.state {
        let _ = write!(out, ", was {}", row.previous);
    }
    let _ = write!(out, ", for {}", age(since_ms));
    if is_silent(row) {
        out.push_str(", this shard is silent");
    }
    if let Some(heard_ms) = heard_ms {
        let _ = write!(out, ", last heard {} ago", age(heard_ms));
    }
    if let Some(group) = &row.details.group {
        let _ = write!(out, ", group {}", clean(group));
    }
    out
}

/// How long ago that was; never negative, whatever the clocks say.
fn age_since(ms: i64, now_ms: i64) -> String {
    age_of(u64::try_from(now_ms.saturating_sub(ms) / 1000).unwrap_or(0))
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
