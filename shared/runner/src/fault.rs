//! Faults that only tests make, inside of a program.
//!
//! Without the feature `faults`, which no released program is built with, there
//! are none. With it, the variable `GLANCE_MUTATION` chooses a rule to break, to
//! prove that the fault tests notice; and `GLANCE_CLOCK_FILE` names a file with a
//! number of milliseconds by which the wall clock is wrong, read again and again.

/// A rule to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Time in which the aggregator could not hear counts as silence.
    BlindTimeCounts,
    /// Receivers believe an aggregator whose epoch has passed.
    EpochIgnored,
    /// Keys of the table are put whatever their revision is.
    PutWithoutCas,
    /// Reports that were stored while nobody listened are not read.
    ReplaySkipped,
    /// The bridge answers 204 before the broker has acknowledged.
    EarlyAnswer,
    /// Silence is judged at once after a start.
    NoGrace,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BlindTimeCounts,
        Self::EpochIgnored,
        Self::PutWithoutCas,
        Self::ReplaySkipped,
        Self::EarlyAnswer,
        Self::NoGrace,
    ];

    /// The value of `GLANCE_MUTATION` that chooses it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlindTimeCounts => "blind-time-counts",
            Self::EpochIgnored => "epoch-ignored",
            Self::PutWithoutCas => "put-without-cas",
            Self::ReplaySkipped => "replay-skipped",
            Self::EarlyAnswer => "early-answer",
            Self::NoGrace => "no-grace",
        }
    }
}

/// Whether this rule is broken in this process.
#[cfg(not(feature = "faults"))]
#[inline]
#[must_use]
pub const fn is(_mutation: Mutation) -> bool {
    false
}

/// Whether this rule is broken in this process.
#[cfg(feature = "faults")]
#[must_use]
pub fn is(mutation: Mutation) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutation>> = std::sync::OnceLock::new();
    let choose = || {
        let name = std::env::var("GLANCE_MUTATION").ok()?;
        Mutation::ALL.into_iter().find(|it| it.name() == name)
    };
    *CHOSEN.get_or_init(choose) == Some(mutation)
}

/// By how many milliseconds the wall clock is wrong.
#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) const fn clock_offset_ms() -> i64 {
    0
}

/// By how many milliseconds the wall clock is wrong.
#[cfg(feature = "faults")]
pub(crate) fn clock_offset_ms() -> i64 {
    use std::{
        sync::{Mutex, PoisonError},
        time::{Duration, Instant},
    };
    /// The clock is asked for each message; the file is not.
    const READ_AGAIN: Duration = Duration::from_millis(20);
    static LAST: Mutex<Option<(Instant, i64)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, offset)) = last.filter(|(read_at, _)| read_at.elapsed() < READ_AGAIN) {
        return offset;
    }
    let text =
        std::env::var_os("GLANCE_CLOCK_FILE").and_then(|path| std::fs::read_to_string(path).ok());
    let offset = text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    *last = Some((Instant::now(), offset));
    offset
}
