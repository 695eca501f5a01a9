//! The rows, as they are printed and kept.

use serde::Serialize;

use super::{CONNECTIONS, DEPTH, IN_FLIGHT, REPORT_CONNECTIONS, REPORT_SHARDS};
use crate::{
    options::Options,
    results::{Figure, Goal, Limit},
    statistics::{Numbers, Rounds},
    table::Table,
};

/// What part of the limit the bridge should reach.
const RATIO_MIN: f64 = 0.6;
const REPORTED_MIN: f64 = 200_000.0;
const P99_MS_MAX: f64 = 20.0;

/// A number a round, each a rate per second where it is no delay.
#[derive(Debug, Default, Serialize)]
pub(super) struct Rows {
    pub(super) health: Numbers,
    pub(super) bare_health: Numbers,
    pub(super) deep_health: Numbers,
    pub(super) bare_deep_health: Numbers,
    pub(super) status: Numbers,
    pub(super) bare_stored: Numbers,
    pub(super) bare_told: Numbers,
    /// Shards, for each size of a report.
    pub(super) report_health: [Numbers; REPORT_SHARDS.len()],
    pub(super) report_status: [Numbers; REPORT_SHARDS.len()],
    /// While an aggregator runs.
    pub(super) heard_health: Numbers,
    pub(super) heard_status: Numbers,
    pub(super) health_delays: Rounds,
    pub(super) status_delays: Rounds,
}

/// A row of the table of rates.
struct Rate<'a> {
    what: String,
    ours: &'a Numbers,
    bare: Option<(&'static str, &'a Numbers)>,
    goal: Option<Goal>,
}

impl Rows {
    pub(super) fn figure(&self, options: &Options) -> Figure {
        let rates = self.rates();
        let mut table = Table::new(["a second", "bridge", "limit", "bare", "ratio"]);
        for Rate {
            what, ours, bare, ..
        } in &rates
        {
            let (name, bare, ratio) = match bare {
                Some((name, bare)) => (
                    (*name).to_owned(),
                    format!("{:.0}", bare.spread()),
                    ours.ratio_to(bare).to_string(),
                ),
                None => Default::default(),
            };
            table.push([
                what.clone(),
                format!("{:.0}", ours.spread()),
                name,
                bare,
                ratio,
            ]);
        }
        let delays = self.delays();
        let mut goals: Vec<_> = rates.into_iter().filter_map(|rate| rate.goal).collect();
        goals.extend(delays.iter().map(|(what, delays)| Goal {
            what: format!("{what}, p99"),
            unit: " ms",
            limit: Limit::Under(P99_MS_MAX),
            measured: delays.p99_ms().median,
        }));
        Figure {
            name: "bridge",
            title: format!("Posts to the bridge: {} rounds", options.rounds),
            goals,
            // Numbers always fit into JSON.
            rows: serde_json::to_value(self).unwrap_or_default(),
            tables: vec![table, table_of_delays(&delays)],
        }
    }

    fn rates(&self) -> Vec<Rate<'_>> {
        let beside = |what: String, ours, name, bare| Rate {
            goal: Some(goal_of_ratio(&what, ours, bare)),
            what,
            ours,
            bare: Some((name, bare)),
        };
        let heard = |what: &str, ours| Rate {
            what: format!("{what}, while an aggregator runs"),
            ours,
            bare: None,
            goal: None,
        };
        let mut rates = vec![
            beside(
                format!("health checks, {CONNECTIONS} connections"),
                &self.health,
                "answers of bare hyper",
                &self.bare_health,
            ),
            beside(
                format!("health checks, {CONNECTIONS} connections, {DEPTH} deep"),
                &self.deep_health,
                "answers of bare hyper",
                &self.bare_deep_health,
            ),
            beside(
                format!("status posts, {IN_FLIGHT} connections"),
                &self.status,
                "bare publishes, acknowledged",
                &self.bare_stored,
            ),
            heard("health checks", &self.heard_health),
            heard("status posts", &self.heard_status),
        ];
        rates.extend(self.reports(
            "health checks",
            &self.report_health,
            ("bare publishes", &self.bare_told),
        ));
        let stored = ("bare publishes, acknowledged", &self.bare_stored);
        rates.extend(self.reports("states", &self.report_status, stored));
        rates
    }

    fn reports<'a>(
        &'a self,
        kind: &str,
        all: &'a [Numbers],
        bare: (&'static str, &'a Numbers),
    ) -> impl Iterator<Item = Rate<'a>> {
        REPORT_SHARDS.iter().zip(all).map(move |(shards, ours)| {
            let what =
                format!("shards in reports of {shards} {kind}, {REPORT_CONNECTIONS} connections");
            Rate {
                goal: Some(Goal {
                    what: what.clone(),
                    unit: "/s",
                    limit: Limit::AtLeast(REPORTED_MIN),
                    measured: ours.spread().median,
                }),
                what,
                ours,
                bare: Some(bare),
            }
        })
    }

    fn delays(&self) -> [(String, &Rounds); 2] {
        let name = |what| format!("{what} at half of its rate, {IN_FLIGHT} connections");
        [
            (name("health check"), &self.health_delays),
            (name("status post"), &self.status_delays),
        ]
    }
}

fn goal_of_ratio(what: &str, ours: &Numbers, bare: &Numbers) -> Goal {
    Goal {
        what: format!("{what}, of the limit"),
        unit: "",
        limit: Limit::AtLeast(RATIO_MIN),
        measured: ours.ratio_to(bare).median,
    }
}

fn table_of_delays(delays: &[(String, &Rounds)]) -> Table {
    let mut table = Table::new(["delay in ms", "median", "p95", "p99", "max"]);
    for (what, delays) in delays {
        table.push([
            what.clone(),
            delays.median_ms().to_string(),
            delays.p95_ms().to_string(),
            delays.p99_ms().to_string(),
            format!("{:.2}", delays.max_ms()),
        ]);
    }
    table
}
