//! What must never happen, and the list of what did.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// More than these tell nothing new.
const KEPT_MAX: usize = 50;

/// A rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A shard that was not silent is never called Unhealthy.
    FalselyFlagged,
    /// What was acknowledged is in the table in the end.
    Lost,
    /// In the end all views show what is true.
    Disagreement,
    /// A shard whose status was acknowledged is known, and requests get the answers of the contract.
    WrongAnswer,
    /// A period of judging that ended does not come back.
    JudgingCameBack,
    /// Within a connection a block's version only grows.
    VersionWentBack,
    /// The writer of a key in the table's bucket is never followed by an earlier one.
    EpochWentBack,
    /// A viewer that is sent away is served again within 2 s.
    SlowReconnect,
    /// Nobody sees an age below zero or beyond the age of the system.
    WrongAge,
    /// A web replica that was ready stays so.
    NotReady,
    /// A program ends when it is told to, and only then.
    Process,
    /// Once the faults are over, statements are taken again.
    NotTaken,
    /// An aggregator leads soon after the one before is gone, and services that start become ready.
    NotBack,
    /// A fault that was ordered really happened.
    NoFault,
}

/// A rule that was broken.
#[derive(Debug, Clone)]
pub struct Complaint {
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}

/// Where everybody who watches puts what must not be.
#[derive(Debug, Clone, Default)]
pub struct Complaints(Arc<Mutex<Vec<Complaint>>>);

impl Complaints {
    /// Notes a broken rule.
    pub fn raise(&self, rule: Rule, text: impl Into<String>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() < KEPT_MAX {
            list.push(Complaint {
                rule,
                text: text.into(),
            });
        }
    }

    /// All that were noted.
    #[must_use]
    pub fn all(&self) -> Vec<Complaint> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}
