//! Percentiles, and the spread between rounds.

use std::{fmt, time::Duration};

use serde::Serialize;

/// Delays of one round.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, delay: Duration) {
        self.0.push(delay.as_secs_f64() * 1000.0);
    }

    /// Takes in those of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What these delays are, in a few numbers.
    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_by(f64::total_cmp);
        Summary {
            count: self.0.len(),
            median_ms: self.percentile(50),
            p95_ms: self.percentile(95),
            p99_ms: self.percentile(99),
            max_ms: self.percentile(100),
        }
    }

    /// The nearest rank of sorted samples: the smallest one that at least so many percent do not exceed. 0 for none.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

/// A round in a few numbers, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    count: usize,
    median_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Summary {
    pub(crate) fn median_ms(&self) -> f64 {
        self.median_ms
    }

    pub(crate) fn p95_ms(&self) -> f64 {
        self.p95_ms
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.max_ms
    }
}

/// A number of each round: their median, and between which values they are.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    /// The median; for an even number of rounds, the lower of the two in the middle.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Self {
            median: at(last / 2),
            min: at(0),
            max: at(last),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = *self;
        // `{:.0}` says how many digits are wanted.
        let digits = f.precision().unwrap_or(2);
        write!(f, "{median:.digits$}")?;
        if min < max {
            write!(f, " ({min:.digits$}–{max:.digits$})")?;
        }
        Ok(())
    }
}

/// One number a round, of whatever unit.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Numbers(Vec<f64>);

impl Numbers {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, number: f64) {
        self.0.push(number);
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread::of(self.0.clone())
    }

    /// What part of `limit` this is, round by round: both were measured close to each other.
    pub(crate) fn ratio_to(&self, limit: &Self) -> Spread {
        let pairs = self.0.iter().zip(&limit.0);
        Spread::of(pairs.map(|(ours, limit)| ours / limit).collect())
    }
}

/// The rounds of one row, in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Rounds(Vec<Summary>);

impl Rounds {
    pub(crate) fn push(&mut self, samples: Samples) {
        self.0.push(samples.summary());
    }

    pub(crate) fn median_ms(&self) -> Spread {
        self.spread(|round| round.median_ms)
    }

    pub(crate) fn p95_ms(&self) -> Spread {
        self.spread(|round| round.p95_ms)
    }

    pub(crate) fn p99_ms(&self) -> Spread {
        self.spread(|round| round.p99_ms)
    }

    /// The longest of all rounds.
    pub(crate) fn max_ms(&self) -> f64 {
        self.0.iter().map(|round| round.max_ms).fold(0.0, f64::max)
    }

    fn spread(&self, number: fn(&Summary) -> f64) -> Spread {
        Spread::of(self.0.iter().map(number).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(ms: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::new();
        for ms in ms {
            samples.push(Duration::from_millis(ms));
        }
        samples
    }

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let summary = samples((1..=1000).rev()).summary();
        assert_eq!(summary.count, 1000);
        let all = [
            summary.median_ms,
            summary.p95_ms,
            summary.p99_ms,
            summary.max_ms,
        ];
        assert_eq!(all, [500.0, 950.0, 990.0, 1000.0]);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let summary = samples([7]).summary();
        assert_eq!([summary.median_ms, summary.p99_ms], [7.0, 7.0]);
    }

    #[test]
    fn rounds_show_their_median_and_spread() {
        let mut rounds = Rounds::default();
        for ms in [3, 1, 2] {
            rounds.push(samples([ms]));
        }
        assert_eq!(rounds.median_ms().to_string(), "2.00 (1.00–3.00)");
        assert_eq!(rounds.max_ms(), 3.0);
        let spread = Spread::of(vec![4.0]);
        assert_eq!(spread.to_string(), "4.00");
        assert_eq!(format!("{spread:.0}"), "4");
    }
}
