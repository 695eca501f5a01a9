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

/// What a figure should be below.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) limit_ms: f64,
    pub(crate) measured_ms: f64,
}

impl Goal {
    fn is_met(&self) -> bool {
        self.measured_ms < self.limit_ms
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            limit_ms,
            measured_ms,
        } = self;
        let verdict = if self.is_met() { "met" } else { "missed" };
        write!(
            f,
            "goal {verdict}: {what} {measured_ms:.2} ms, under {limit_ms} ms"
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
