//! What was measured, as it is printed and kept.

use std::{
    fmt, fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::{machine::Machine, options::Options, table::Table};

/// One figure: a question, its goals, and the rows that answer it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) goals: Vec<Goal>,
    /// Each round of each row, by the row's name.
    pub(crate) rows: serde_json::Value,
    /// The same for people.
    #[serde(skip)]
    pub(crate) tables: Vec<Table>,
}

/// What a figure should be.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) limit: Limit,
    pub(crate) measured: f64,
}

/// On which side of a number a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    Under(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(&self) -> bool {
        match self.limit {
            Limit::Under(limit) => self.measured < limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            unit,
            measured,
            ..
        } = self;
        let verdict = if self.is_met() { "met" } else { "missed" };
        let (side, limit) = match self.limit {
            Limit::Under(limit) => ("under", limit),
            Limit::AtLeast(limit) => ("at least", limit),
        };
        write!(
            f,
            "goal {verdict}: {what} {measured:.2}{unit}, {side} {limit}{unit}"
        )
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        for goal in &self.goals {
            writeln!(f, "{goal}")?;
        }
        Ok(())
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Results<'a> {
    /// When, in Unix seconds.
    at: u64,
    machine: Machine,
    options: &'a Options,
    figures: Vec<Figure>,
}

impl<'a> Results<'a> {
    pub(crate) fn new(machine: Machine, options: &'a Options, figures: Vec<Figure>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            at: now.map_or(0, |since| since.as_secs()),
            machine,
            options,
            figures,
        }
    }

    /// Writes them to a file, whose folder is made when missing.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let text = serde_json::to_string_pretty(self)?;
            fs::write(path, text + "\n")
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        println!("kept in {}", path.display());
        Ok(())
    }
}
