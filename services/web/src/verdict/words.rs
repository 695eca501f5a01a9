//! The sentences of the verdict. The page says the same in `web/js/language/en.js`.

use glance_protocol::{State, feed::Notices};

use super::{Mood, Tally, is_large};

/// Of more clusters than this, one sum is said.
const CLAUSES_MAX: usize = 3;
/// Longer lists are cut after three names.
const NAMES_MAX: usize = 4;

/// Parts of a sentence.
#[derive(Debug, Default)]
pub(super) struct Clauses(Vec<Clause>);

#[derive(Debug)]
struct Clause {
    text: String,
    /// Begins with a cluster's name, whose case is not ours to change.
    is_named: bool,
}

impl Clauses {
    fn one(text: impl Into<String>) -> Self {
        let mut clauses = Self::default();
        clauses.push(text);
        clauses
    }

    fn push(&mut self, text: impl Into<String>) {
        self.0.push(Clause {
            text: text.into(),
            is_named: false,
        });
    }

    fn push_named(&mut self, text: String) {
        self.0.push(Clause {
            text,
            is_named: true,
        });
    }

    fn join(&self) -> String {
        let texts: Vec<&str> = self.0.iter().map(|clause| clause.text.as_str()).collect();
        texts.join("; ")
    }

    /// As a sentence of its own.
    pub(super) fn sentence(&self) -> String {
        let text = self.join();
        match self.0.first() {
            Some(clause) if !clause.is_named => capitalised(&text),
            _ => text,
        }
    }

    /// As the last thing that was known.
    pub(super) fn last_known(&self) -> String {
        format!(
            "The dashboard cannot hear the bots. Last known: {}",
            self.join()
        )
    }
}

/// What is true of the fleet.
pub(super) fn facts(tallies: &[Tally<'_>]) -> (Clauses, Mood) {
    if tallies.is_empty() {
        return (Clauses::one("no bots are configured yet"), Mood::None);
    }
    let total: u32 = tallies.iter().map(|tally| tally.total).sum();
    let unknown: u32 = sum(tallies, |tally| tally.count(&[State::Unknown]));
    let broken = say_broken(tallies);
    if !broken.0.is_empty() {
        let outage = |tally: &Tally<'_>| tally.is_silent || is_large(tally.down(), tally.total);
        let is_bad = tallies.iter().any(outage);
        return (broken, if is_bad { Mood::Bad } else { Mood::Warn });
    }
    if tallies.iter().any(|tally| tally.maintained.is_some()) {
        return (say_maintained(tallies), Mood::Calm);
    }
    if unknown == total {
        return (Clauses::one("no shard has reported yet"), Mood::None);
    }
    if tallies.iter().any(|tally| tally.moving() > 0) {
        return (say_moving(tallies), Mood::Calm);
    }
    if unknown > 0 {
        let online = part(total - unknown, total, "online");
        let text = format!("{online}; nothing is known of {} yet", count(unknown));
        // A few that answer say nothing of the rest.
        let mood = if is_large(unknown, total) {
            Mood::None
        } else {
            Mood::Good
        };
        return (Clauses::one(text), mood);
    }
    (Clauses::one(part(total, total, "online")), Mood::Good)
}

fn sum(tallies: &[Tally<'_>], of: impl Fn(&Tally<'_>) -> u32) -> u32 {
    tallies.iter().map(of).sum()
}

fn say_broken(tallies: &[Tally<'_>]) -> Clauses {
    let mut clauses = Clauses::default();
    let down: Vec<_> = tallies.iter().filter(|tally| tally.down() > 0).collect();
    if down.len() > CLAUSES_MAX {
        let (some, all) = (down.iter().map(|tally| tally.down()), down.iter());
        let all = all.map(|tally| tally.total).sum();
        clauses.push(part_of_many(some.sum(), all, down.len(), "down"));
    } else {
        for tally in down {
            let text = part(tally.down(), tally.total, "down");
            match tallies.len() {
                1 => clauses.push(text),
                _ => clauses.push_named(format!("{}: {text}", tally.name)),
            }
        }
    }
    let silent = tallies.iter().filter(|tally| tally.is_silent);
    let silent: Vec<&str> = silent.map(|tally| tally.name).collect();
    if !silent.is_empty() {
        clauses.push(format!("nothing is heard from {}", list(&silent)));
    }
    clauses
}

fn say_maintained(tallies: &[Tally<'_>]) -> Clauses {
    let mut clauses = Clauses::default();
    let maintained = tallies.iter().filter_map(|tally| {
        let maintained = tally.maintained.as_ref()?;
        Some((tally.name, maintained))
    });
    let maintained: Vec<_> = maintained.collect();
    if maintained.len() > CLAUSES_MAX {
        let online = maintained.iter().map(|(_, it)| it.online).sum();
        let total = maintained.iter().map(|(_, it)| it.total).sum();
        let shards = part(online, total, "online");
        let clusters = maintained.len();
        clauses.push(format!(
            "{clusters} clusters are under maintenance: {shards}"
        ));
        return clauses;
    }
    for (name, it) in maintained {
        let shards = match it.total {
            0 => String::new(),
            total => format!(": {}", part(it.online, total, "online")),
        };
        match &it.groups[..] {
            [] => clauses.push_named(format!("{name} is under maintenance{shards}")),
            [group] => clauses.push(format!(
                "group {group} of {name} is under maintenance{shards}"
            )),
            groups => clauses.push(format!(
                "groups {} of {name} are under maintenance{shards}",
                list(groups)
            )),
        }
    }
    clauses
}

fn say_moving(tallies: &[Tally<'_>]) -> Clauses {
    let mut clauses = Clauses::default();
    let moving: Vec<_> = tallies.iter().filter(|tally| tally.moving() > 0).collect();
    let verb = |tally: &Tally<'_>| match tally.count(&[State::Resuming]) == tally.moving() {
        true => "reconnecting",
        false => "restarting",
    };
    if moving.len() > CLAUSES_MAX {
        let some = moving.iter().map(|tally| tally.moving()).sum();
        let all = moving.iter().map(|tally| tally.total).sum();
        clauses.push(part_of_many(some, all, moving.len(), "restarting"));
        return clauses;
    }
    for tally in moving {
        let (name, verb) = (tally.name, verb(tally));
        if is_large(tally.moving(), tally.total) && tally.total > 1 {
            let done = match tally.groups() {
                Some((all, done)) => {
                    format!("{} of {} groups done", count(done), count(all))
                }
                None => format!(
                    "{} of {} shards done",
                    count(tally.online),
                    count(tally.total)
                ),
            };
            clauses.push_named(format!("{name} is {verb}: {done}"));
            continue;
        }
        let text = part(tally.moving(), tally.total, verb);
        match tallies.len() {
            1 => clauses.push(text),
            _ => clauses.push_named(format!("{name}: {text}")),
        }
    }
    clauses
}

/// A line for each cluster and each maintenance.
pub(super) fn lines(tallies: &[Tally<'_>], notices: &Notices, now_ms: i64) -> Vec<String> {
    let clusters = tallies.iter().map(|tally| match tally.total {
        0 => format!("{}: size not known yet", tally.name),
        total => format!("{}: {}", tally.name, part(tally.online, total, "online")),
    });
    let maintenance = notices.maintenance.iter();
    let maintenance = maintenance.filter(|entry| !entry.notice.expired(now_ms));
    let maintenance = maintenance.map(|entry| {
        let group = entry.group.as_ref().map(|group| format!(", group {group}"));
        let (group, text) = (group.unwrap_or_default(), clean(&entry.notice.text));
        format!("Maintenance of {}{group}: {text}", entry.cluster)
    });
    clusters.chain(maintenance).collect()
}

/// "128 of 1,056 shards are down"
fn part(some: u32, total: u32, what: &str) -> String {
    match (some, total) {
        (1, 1) => format!("the only shard is {what}"),
        _ if some == total => format!("all {} shards are {what}", count(total)),
        (1, _) => format!("1 of {} shards is {what}", count(total)),
        _ => format!("{} of {} shards are {what}", count(some), count(total)),
    }
}

fn part_of_many(some: u32, total: u32, clusters: usize, what: &str) -> String {
    let (some, total) = (count(some), count(total));
    format!("{some} of {total} shards of {clusters} clusters are {what}")
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first @ .., last] if names.len() <= NAMES_MAX => {
            format!("{} and {last}", first.join(", "))
        }
        _ => {
            let (first, rest) = names.split_at(NAMES_MAX - 1);
            format!("{} and {} more", first.join(", "), rest.len())
        }
    }
}

/// A number with a comma before each three digits.
#[must_use]
pub(crate) fn count(number: u32) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Text of the operators in one line. Control characters could make a terminal do what they did not mean.
#[must_use]
pub(crate) fn clean(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
