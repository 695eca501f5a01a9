//! From a bot's report to a viewer's frame, on a system that has nothing else to do.
//!
//! Beside it stands a bare hop: the same client publishes a message of the same size, at the same pace, through the
//! same nats-server to a subscriber. A last pass shows at which time a report passes each stage.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::Client;
use glance_protocol::{
    BLOCK_LEN, State, TableBlock,
    subject::{CHANGES_FILTER, STATES_FILTER, TABLE_FILTER},
};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    arrivals::{Arrival, Arrivals, time_reports},
    options::Options,
    pace::{Report, SHARDS, reports, state_of_pass},
    results::{Figure, Goal, Limit},
    statistics::Rounds,
    system::{Setup, System, body_of},
    table::Table,
    viewer,
};

const MEDIAN_MS_MAX: f64 = 5.0;
const P99_MS_MAX: f64 = 20.0;

/// Nobody of ours listens below this.
const HOP: &str = "bench.hop";

/// How a report goes in, and how it comes out.
struct Route {
    name: &'static str,
    over_http: bool,
    /// What follows the feed's address.
    dialect: &'static str,
}

const ROUTES: [Route; 3] = [
    Route {
        name: "NATS publish to frame",
        over_http: false,
        dialect: "",
    },
    Route {
        name: "NATS publish to frame of the page",
        over_http: false,
        dialect: "?dialect=page",
    },
    Route {
        name: "POST to frame",
        over_http: true,
        dialect: "",
    },
];

/// The names of the stages, in the order in which a report passes them.
const STAGES: [&str; 4] = [
    "a plain subscriber sees the report",
    "a subscriber sees the transition (`.changed`)",
    "a subscriber sees the block of the table",
    "the viewer sees the frame",
];

struct Measurement<'a> {
    system: &'a System,
    options: &'a Options,
    pause: Duration,
    /// How often all shards of a round have reported.
    passes: u32,
}

/// Measures the figure.
///
/// # Errors
///
/// When a report gets lost, or a program ends.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let system = System::start(Setup::of(SHARDS)).await?;
    let mut measurement = Measurement {
        system: &system,
        options,
        pause: Duration::from_millis(options.pause_ms.into()),
        passes: 0,
    };
    let mut hop = Rounds::default();
    let mut routes = ROUTES.map(|route| (route, Rounds::default()));
    for round in 1..=options.rounds {
        eprintln!("report to frame: round {round} of {} ...", options.rounds);
        measurement.hop(&mut hop).await?;
        for (route, rounds) in &mut routes {
            let measured = measurement.route(route, rounds).await;
            measured.with_context(|| format!("cannot measure '{}'", route.name))?;
        }
    }
    eprintln!("report to frame: stages ...");
    let mut stages = STAGES.map(|_| Rounds::default());
    measurement.stages(&mut stages).await?;
    Ok(vec![figure(options, &hop, &routes, &stages)])
}

impl Measurement<'_> {
    fn reports(&mut self) -> impl Iterator<Item = Report> + use<> {
        let state = state_of_pass(self.passes);
        self.passes += 1;
        reports(self.options.reports, state)
    }

    /// Publish to subscriber, through the same server, while nothing else happens.
    async fn hop(&self, rounds: &mut Rounds) -> anyhow::Result<()> {
        let subscriber = self.system.another_client().await;
        let mut arrivals = subscribe(&subscriber, &format!("{HOP}.*.state"), report_in).await?;
        let publisher = self.system.broker();
        let send = async |(shard, state)| {
            let subject = format!("{HOP}.{shard}.state");
            publisher.publish(subject, body_of(state).into()).await?;
            anyhow::Ok(())
        };
        let reports = reports(self.options.reports, State::Online);
        let [samples] = time_reports(self.pause, reports, send, [&mut arrivals]).await?;
        rounds.push(samples);
        Ok(())
    }

    /// A report to a viewer's frame.
    async fn route(&mut self, route: &Route, rounds: &mut Rounds) -> anyhow::Result<()> {
        let reports = self.reports();
        let system = self.system;
        let feed = system.feed() + route.dialect;
        let mut frames = viewer::watch(&feed).await?;
        let [samples] = if route.over_http {
            let mut bridge = system.bridge().await?;
            let send = async |report| {
                let path = system.path(report);
                let (status, _) = bridge.request(Method::POST, &path).await?;
                ensure!(
                    status == StatusCode::NO_CONTENT,
                    "the bridge answers {status}"
                );
                Ok(())
            };
            time_reports(self.pause, reports, send, [&mut frames]).await?
        } else {
            let send = async |report| publish(system, report).await;
            time_reports(self.pause, reports, send, [&mut frames]).await?
        };
        rounds.push(samples);
        Ok(())
    }

    /// When a report passes each stage. The subscribers cost some time of their own, so this is a pass of its own.
    async fn stages(&mut self, rounds: &mut [Rounds; STAGES.len()]) -> anyhow::Result<()> {
        let reports = self.reports();
        let client = self.system.another_client().await;
        let mut states = subscribe(&client, STATES_FILTER, report_in).await?;
        let mut changes = subscribe(&client, CHANGES_FILTER, change_in).await?;
        let mut blocks = subscribe(&client, TABLE_FILTER, rows_in).await?;
        let mut frames = viewer::watch(&self.system.feed()).await?;
        let places = [&mut states, &mut changes, &mut blocks, &mut frames];
        let send = async |report| publish(self.system, report).await;
        let all = time_reports(self.pause, reports, send, places).await?;
        for (rounds, samples) in rounds.iter_mut().zip(all) {
            rounds.push(samples);
        }
        Ok(())
    }
}

/// A plain publish, as a bot does it.
async fn publish(system: &System, (shard, state): Report) -> anyhow::Result<()> {
    let subject = system.subject(shard)?;
    system
        .broker()
        .publish(subject, body_of(state).into())
        .await?;
    Ok(())
}

async fn subscribe(
    client: &Client,
    subject: &str,
    read: fn(&Arrival) -> Vec<Report>,
) -> anyhow::Result<Arrivals> {
    let messages = client.subscribe(subject.to_owned()).await?;
    // The server has it before anything is sent.
    client.flush().await?;
    Ok(Arrivals::collect(messages, read))
}

/// A report, or a message of the bare hop: the shard is the last but one token of the subject.
fn report_in(arrival: &Arrival) -> Vec<Report> {
    let shard = arrival.subject.rsplit('.').nth(1);
    let shard = shard.and_then(|token| token.parse().ok());
    let digit = arrival.body.first().copied().map(char::from);
    shard
        .zip(digit.and_then(State::from_char))
        .into_iter()
        .collect()
}

fn change_in(arrival: &Arrival) -> Vec<Report> {
    #[derive(Deserialize)]
    struct Change {
        shard: u32,
        state: i64,
    }
    let change = serde_json::from_slice(&arrival.body).ok();
    let report = change.and_then(|it: Change| Some((it.shard, State::from_number(it.state).ok()?)));
    report.into_iter().collect()
}

/// All rows of a block of the table.
fn rows_in(arrival: &Arrival) -> Vec<Report> {
    let Ok(block) = TableBlock::from_bytes(&arrival.body) else {
        return Vec::new();
    };
    let first = block.block * BLOCK_LEN;
    (first..)
        .zip(block.rows.iter().map(|row| row.state))
        .collect()
}

fn figure(
    options: &Options,
    hop: &Rounds,
    routes: &[(Route, Rounds)],
    stages: &[Rounds],
) -> Figure {
    let title = format!(
        "Report to a viewer's frame, in ms: {} rounds of {} reports, one every {} to {} ms",
        options.rounds,
        options.reports,
        options.pause_ms,
        options.pause_ms + options.pause_ms / 2
    );
    let goals = routes.iter().flat_map(|(route, rounds)| {
        let goal = |percentile, limit, measured| Goal {
            what: format!("{}, {percentile}", route.name),
            unit: " ms",
            limit: Limit::Under(limit),
            measured,
        };
        [
            goal("median", MEDIAN_MS_MAX, rounds.median_ms().median),
            goal("p99", P99_MS_MAX, rounds.p99_ms().median),
        ]
    });
    let rounds: Vec<_> = routes
        .iter()
        .map(|(route, rounds)| json!({ "name": route.name, "rounds": rounds }))
        .collect();
    let stage_rounds: Vec<_> = STAGES
        .iter()
        .zip(stages)
        .map(|(name, rounds)| json!({ "name": name, "rounds": rounds }))
        .collect();
    Figure {
        name: "report_to_frame",
        title,
        goals: goals.collect(),
        rows: json!({ "routes": rounds, "bare_hop": hop, "stages": stage_rounds }),
        tables: vec![table_of_routes(hop, routes), table_of_stages(stages)],
    }
}

/// The numbers of a row: the median of the rounds, and between which values they are.
fn table_of_routes(hop: &Rounds, routes: &[(Route, Rounds)]) -> Table {
    let mut table = Table::new([
        "figure",
        "median",
        "p95",
        "p99",
        "max",
        "bare hop, median",
        "bare hop, p99",
        "ratio of medians",
    ]);
    let (hop_median, hop_p99) = (hop.median_ms(), hop.p99_ms());
    for (route, rounds) in routes {
        let median = rounds.median_ms();
        table.push([
            route.name.to_owned(),
            median.to_string(),
            rounds.p95_ms().to_string(),
            rounds.p99_ms().to_string(),
            format!("{:.2}", rounds.max_ms()),
            hop_median.to_string(),
            hop_p99.to_string(),
            format!("{:.1}", median.median / hop_median.median),
        ]);
    }
    table
}

fn table_of_stages(stages: &[Rounds]) -> Table {
    let mut table = Table::new(["time since the report when", "median", "p95", "p99", "max"]);
    for (name, rounds) in STAGES.iter().zip(stages) {
        table.push([
            (*name).to_owned(),
            rounds.median_ms().to_string(),
            rounds.p95_ms().to_string(),
            rounds.p99_ms().to_string(),
            format!("{:.2}", rounds.max_ms()),
        ]);
    }
    table
}
