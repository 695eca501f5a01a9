//! What a run tells at its end.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::plan::Kind;

/// What was done and seen. A rule that was broken ends a run, so nothing was lost and nobody falsely flagged in it.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The faults of each kind, and how long the slowest recovery took.
    pub kinds: BTreeMap<Kind, (usize, Duration)>,
    /// Statements that were acknowledged.
    pub reports: u64,
    /// Health checks that were taken.
    pub healths: u64,
    /// Frames that viewers got.
    pub frames: u64,
    /// How often all views were compared.
    pub comparisons: u64,
}

impl Tally {
    /// Notes a fault and how long it took until all views agreed.
    pub fn note(&mut self, kind: Kind, recovery: Duration) {
        let (count, slowest) = self.kinds.entry(kind).or_default();
        *count += 1;
        *slowest = recovery.max(*slowest);
    }

    /// Adds what another installation did.
    pub fn add(&mut self, other: &Self) {
        for (kind, (count, slowest)) in &other.kinds {
            let entry = self.kinds.entry(*kind).or_default();
            entry.0 += count;
            entry.1 = entry.1.max(*slowest);
        }
        self.reports += other.reports;
        self.healths += other.healths;
        self.frames += other.frames;
        self.comparisons += other.comparisons;
    }

    /// How many rounds there were.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.kinds.values().map(|(count, _)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:>7} {:>18}",
            "fault", "times", "slowest recovery"
        )?;
        for (kind, (count, slowest)) in &self.kinds {
            let slowest = slowest.as_secs_f64();
            writeln!(f, "{:<18} {count:>7} {slowest:>16.1} s", kind.name())?;
        }
        for (name, count) in [
            ("rounds", self.rounds() as u64),
            ("reports acknowledged", self.reports),
            ("health checks taken", self.healths),
            ("viewers' frames", self.frames),
            ("comparisons of all views", self.comparisons),
            ("lost", 0),
            ("falsely flagged", 0),
        ] {
            writeln!(f, "{name:<26} {count:>9}")?;
        }
        Ok(())
    }
}

/// The first ones tell the cause.
const COMPLAINTS_MAX: usize = 10;

/// Why a run failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The rules that were broken, the first one first.
    pub complaints: Vec<super::complaint::Complaint>,
    /// In which round, and of what kind it was.
    pub round: Option<super::plan::Round>,
    /// What the programs printed last.
    pub last_words: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(round) = self.round {
            writeln!(
                f,
                "failed in round {} ({})",
                round.number,
                round.kind.name()
            )?;
        }
        for complaint in self.complaints.iter().take(COMPLAINTS_MAX) {
            writeln!(f, "  {complaint}")?;
        }
        f.write_str(&self.last_words)
    }
}
