//! What a program tells Prometheus.

use std::collections::BTreeSet;

use crate::{Answer, get};

/// One answer of `/metrics`.
#[derive(Debug, Clone)]
pub struct Scrape(pub String);

impl Scrape {
    /// Asks the program whose metrics are told at this port; `None` when it does not answer 200.
    pub async fn of(port: u16) -> Option<Self> {
        let answer = get(port, "/metrics").await;
        (answer.status == 200).then_some(Self(answer.body))
    }

    /// The same, with its head.
    pub async fn answer(port: u16) -> Answer {
        get(port, "/metrics").await
    }

    /// The value of a series, such as `glance_web_stale` or `glance_web_viewers{dialect="page"}`.
    #[must_use]
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The names of all series, as a query names them.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let names = lines.filter_map(|line| line.split(['{', ' ']).next());
        names.map(str::to_owned).collect()
    }

    /// The names that are told more than once, which Prometheus refuses.
    #[must_use]
    pub fn told_twice(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let types = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        names
            .filter(|name| !seen.insert(*name))
            .map(str::to_owned)
            .collect()
    }
}
