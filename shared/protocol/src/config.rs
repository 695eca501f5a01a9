//! `GLANCE_BOTS` and `GLANCE_HEALTH_TIMEOUT`.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{ClusterName, shard::SHARDS_MAX};

/// The variable that names the clusters.
pub const BOTS: &str = "GLANCE_BOTS";
/// The variable that sets the health timeout.
pub const HEALTH_TIMEOUT: &str = "GLANCE_HEALTH_TIMEOUT";
/// The most clusters of one installation.
pub const CLUSTERS_MAX: usize = 1024;

const TIMEOUT_S_DEFAULT: f64 = 30.0;
const TIMEOUT_S_MIN: f64 = 1.0;
const TIMEOUT_S_MAX: f64 = 86_400.0;

/// A setting that makes no sense: which one, which part of it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The environment variable, or the flag.
    pub variable: String,
    /// The part of its value that is wrong; empty when it is all of it, or a secret.
    pub entry: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl ConfigError {
    /// An error about one entry of a variable.
    #[must_use]
    pub fn new(variable: &str, entry: &str, problem: impl Into<String>) -> Self {
        Self {
            variable: variable.to_owned(),
            entry: entry.to_owned(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        if !self.entry.is_empty() {
            // One line, whatever was typed.
            write!(f, ": entry '{}'", self.entry.escape_debug())?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// One cluster of `GLANCE_BOTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// Its name.
    pub name: ClusterName,
    /// How many shards it has; `None` (`auto`) when that is learned from its reports.
    pub total: Option<u32>,
}

/// Reads `main:360;demo:1;patron_1:auto`. The order is kept.
///
/// # Errors
///
/// When there is no entry, or one is wrong, a duplicate, or out of range.
pub fn parse_bots(value: &str) -> Result<Vec<Bot>, ConfigError> {
    let error = |entry: &str, problem: String| ConfigError::new(BOTS, entry, problem);
    let mut bots: Vec<Bot> = Vec::new();
    for entry in entries(value, BOTS, "main:360")? {
        let (name, total) = entry.split_once(':').ok_or_else(|| {
            error(
                entry,
                "write '<name>:<number of shards>', as in 'main:360', or 'main:auto'".into(),
            )
        })?;
        let name: ClusterName = name
            .trim()
            .parse()
            .map_err(|e| error(entry, format!("{e}; rename the cluster, as in 'main:360'")))?;
        let total = parse_total(total.trim()).ok_or_else(|| {
            error(
                entry,
                format!(
                    "the number of shards must be from 1 to {SHARDS_MAX}, as in '{name}:360', or 'auto'"
                ),
            )
        })?;
        if bots.iter().any(|bot| bot.name == name) {
            return Err(error(
                entry,
                format!("cluster '{name}' is named twice; remove one of the two"),
            ));
        }
        bots.push(Bot { name, total });
    }
    if bots.is_empty() {
        return Err(error(
            "",
            "names no cluster; write for example 'main:360;demo:1'".into(),
        ));
    }
    if bots.len() > CLUSTERS_MAX {
        return Err(error(
            "",
            format!("names more than {CLUSTERS_MAX} clusters; remove some"),
        ));
    }
    Ok(bots)
}

/// A number of shards, or `auto`; `None` when it is neither.
fn parse_total(text: &str) -> Option<Option<u32>> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(None);
    }
    let total = text.parse().ok();
    total
        .filter(|total| (1..=SHARDS_MAX).contains(total))
        .map(Some)
}

/// The entries between `;`, without the blanks around them. One `;` may stand at the end.
fn entries<'a>(value: &'a str, variable: &str, example: &str) -> Result<Vec<&'a str>, ConfigError> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let value = value.strip_suffix(';').unwrap_or(value);
    let entries: Vec<&str> = value.split(';').map(str::trim).collect();
    match entries.iter().position(|entry| entry.is_empty()) {
        Some(index) => Err(ConfigError::new(
            variable,
            "",
            format!(
                "entry {} is empty; remove the ';' before it, or write one such as '{example}'",
                index + 1
            ),
        )),
        None => Ok(entries),
    }
}

/// How long a shard may be silent, for each cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    default: Duration,
    own: BTreeMap<ClusterName, Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            default: Duration::from_secs_f64(TIMEOUT_S_DEFAULT),
            own: BTreeMap::new(),
        }
    }
}

impl Timeouts {
    /// Reads `30`, or `30;demo:120`. Seconds, from 1 to 86,400, with a fraction if wanted.
    ///
    /// # Errors
    ///
    /// When an entry is wrong, a duplicate, or out of range.
    pub fn parse(value: &str) -> Result<Self, ConfigError> {
        let error = |entry: &str, problem: String| ConfigError::new(HEALTH_TIMEOUT, entry, problem);
        let mut timeouts = Self::default();
        let mut default_seen = false;
        for entry in entries(value, HEALTH_TIMEOUT, "30")? {
            let Some((name, timeout)) = entry.split_once(':') else {
                if std::mem::replace(&mut default_seen, true) {
                    return Err(error(
                        entry,
                        "a second timeout for all clusters; name the cluster, as in 'demo:120'"
                            .into(),
                    ));
                }
                timeouts.default = parse_seconds(entry).map_err(|e| error(entry, e))?;
                continue;
            };
            let name: ClusterName = name.trim().parse().map_err(|e| {
                error(
                    entry,
                    format!("{e}; write '<name>:<seconds>', as in 'demo:120'"),
                )
            })?;
            let timeout = parse_seconds(timeout.trim()).map_err(|e| error(entry, e))?;
            if timeouts.own.insert(name.clone(), timeout).is_some() {
                return Err(error(
                    entry,
                    format!("cluster '{name}' is named twice; remove one of the two"),
                ));
            }
        }
        Ok(timeouts)
    }

    /// The timeout of a cluster.
    #[must_use]
    pub fn of(&self, cluster: &ClusterName) -> Duration {
        self.own.get(cluster).copied().unwrap_or(self.default)
    }

    /// Refuses an own timeout of a cluster that does not exist: it is a slip of the pen.
    ///
    /// # Errors
    ///
    /// Names the first such cluster.
    pub fn check_names(&self, bots: &[Bot]) -> Result<(), ConfigError> {
        match self
            .own
            .keys()
            .find(|name| !bots.iter().any(|bot| bot.name == **name))
        {
            Some(name) => Err(ConfigError::new(
                HEALTH_TIMEOUT,
                name.as_str(),
                format!("{BOTS} names no such cluster; correct the name or remove the entry"),
            )),
            None => Ok(()),
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (TIMEOUT_S_MIN..=TIMEOUT_S_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            format!("the timeout must be {TIMEOUT_S_MIN} to {TIMEOUT_S_MAX} seconds, as in '30'")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bots(value: &str) -> Vec<(String, u32)> {
        parse_bots(value)
            .unwrap()
            .into_iter()
            .map(|bot| (bot.name.to_string(), bot.total.unwrap_or(0)))
            .collect()
    }

    #[test]
    fn reads_bots_in_order() {
        let expected = vec![
            ("main".to_owned(), 360),
            ("demo".to_owned(), 1),
            ("patron_1".to_owned(), 6),
        ];
        assert_eq!(bots("main:360;demo:1;patron_1:6"), expected);
        assert_eq!(bots("  main : 360 ; demo:1; patron_1:6 ;"), expected);
        assert_eq!(parse_bots("main:auto").unwrap()[0].total, None);
    }

    #[test]
    fn bot_errors_name_the_entry() {
        for (value, entry) in [
            ("main:360;main:1", "main:1"),
            ("main:360;:1", ":1"),
            ("main:0", "main:0"),
            ("main:-1", "main:-1"),
            ("demo:1;main:x", "main:x"),
            ("main", "main"),
            ("ma.in:3", "ma.in:3"),
            ("main:262145", "main:262145"),
            ("main:3:4", "main:3:4"),
            ("", ""),
            (" ", ""),
            (";", ""),
            ("main:1;;demo:1", ""),
        ] {
            let error = parse_bots(value).unwrap_err();
            assert_eq!(error.variable, BOTS, "{value:?}");
            assert_eq!(error.entry, entry, "{value:?}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn reads_timeouts() {
        let name = |text: &str| text.parse::<ClusterName>().unwrap();
        let timeouts = Timeouts::parse("30;demo:120").unwrap();
        assert_eq!(timeouts.of(&name("main")), Duration::from_secs(30));
        assert_eq!(timeouts.of(&name("demo")), Duration::from_secs(120));
        assert_eq!(Timeouts::parse("").unwrap(), Timeouts::default());
        assert_eq!(
            Timeouts::parse("2.5").unwrap().of(&name("x")),
            Duration::from_millis(2500)
        );
        assert!(timeouts.check_names(&parse_bots("demo:1").unwrap()).is_ok());
        assert_eq!(
            timeouts
                .check_names(&parse_bots("main:1").unwrap())
                .unwrap_err()
                .entry,
            "demo"
        );
    }

    #[test]
    fn timeout_errors_name_the_entry() {
        for (value, entry) in [
            ("x", "x"),
            ("0", "0"),
            ("-3", "-3"),
            ("NaN", "NaN"),
            ("inf", "inf"),
            ("1e300", "1e300"),
            ("30;40", "40"),
            ("30;demo:x", "demo:x"),
            ("30;demo:1;demo:2", "demo:2"),
        ] {
            assert_eq!(
                Timeouts::parse(value).unwrap_err().entry,
                entry,
                "{value:?}"
            );
        }
    }
}
