//! What the aggregator counts, and by which names it tells it.
//!
//! The owner of the table counts in plain numbers, since it takes hundreds of thousands of messages a second, and
//! publishes them once a second. Who asks reads what was published last.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use glance_protocol::State;
use glance_runner::metrics::{Counter, Encoder};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    blocks::Outcome,
    table::{Counts, Refusal},
};

/// How often the owner publishes its numbers.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What kind of message it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Report,
    HealthCheck,
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Neither subject nor body are what they have to be.
    Malformed,
    /// The broker does not store it.
    TooLarge,
    UnknownCluster,
    NoSuchShard,
    SizeUnknown,
    NeverReported,
}

const KINDS: [&str; 2] = ["report", "health_check"];
const REASONS: [&str; 6] = [
    "malformed",
    "too_large",
    "unknown_cluster",
    "no_such_shard",
    "size_unknown",
    "never_reported",
];

impl Reason {
    /// `None` when nobody did anything wrong.
    pub(crate) fn of(refusal: &Refusal) -> Option<Self> {
        Some(match refusal {
            Refusal::Cluster(_) => Self::UnknownCluster,
            Refusal::Range { .. } => Self::NoSuchShard,
            Refusal::Gone { .. } => return None,
            Refusal::SizeUnknown(_) => Self::SizeUnknown,
            Refusal::NeverReported(..) => Self::NeverReported,
            Refusal::NoState => Self::Malformed,
        })
    }
}

/// What the owner counts itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    refused: [[u64; REASONS.len()]; KINDS.len()],
    /// The same by cluster, for those that are configured.
    refused_by_cluster: Vec<[u64; KINDS.len()]>,
    /// Health checks that waited for the report before them.
    pub(crate) held: u64,
    /// Writes of the table by their end: written, overtaken, failed.
    writes: [u64; WRITES.len()],
    /// Transitions that nobody was told, since too many others waited.
    pub(crate) transitions_dropped: u64,
}

const WRITES: [&str; 3] = ["written", "overtaken", "failed"];

impl Tally {
    /// A message was refused. `place` is that of its cluster, if it is configured.
    pub(crate) fn refuse(&mut self, kind: Kind, place: Option<usize>, reason: Reason) {
        let by_reason = self.refused.get_mut(kind as usize);
        if let Some(count) = by_reason.and_then(|it| it.get_mut(reason as usize)) {
            *count += 1;
        }
        let Some(place) = place else {
            return;
        };
        if self.refused_by_cluster.len() <= place {
            self.refused_by_cluster
                .resize(place + 1, Default::default());
        }
        let cluster = self.refused_by_cluster.get_mut(place);
        if let Some(count) = cluster.and_then(|it| it.get_mut(kind as usize)) {
            *count += 1;
        }
    }

    /// A write of a key of the table ended.
    pub(crate) fn write(&mut self, outcome: &Outcome) {
        let place = match outcome {
            Outcome::Written(_) => 0,
            Outcome::Overtaken { .. } => 1,
            Outcome::Failed(_) => 2,
        };
        if let Some(count) = self.writes.get_mut(place) {
            *count += 1;
        }
    }

    fn refused_of(&self, place: usize, kind: Kind) -> u64 {
        let cluster = self.refused_by_cluster.get(place);
        cluster
            .and_then(|it| it.get(kind as usize))
            .copied()
            .unwrap_or(0)
    }
}

/// What other tasks than the owner count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    /// Plain messages, such as pulses, that were not sent.
    pub(crate) messages_dropped: Counter,
    /// Refused reports that were removed from the stream.
    pub(crate) reports_deleted: Counter,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) clusters: Vec<ClusterFigures>,
    pub(crate) tally: Tally,
    pub(crate) leads: bool,
    /// 0 while it does not lead.
    pub(crate) epoch: u64,
    /// Whether silence is judged: it leads, hears, and the grace is over.
    pub(crate) judges: bool,
    /// Whether it hears the bots.
    pub(crate) hears: bool,
    /// When it last heard its own pulse, while it leads.
    pub(crate) pulse_heard: Option<Instant>,
    pub(crate) caught_up: bool,
    /// Transitions that wait for the broker.
    pub(crate) transitions_waiting: u64,
}

/// The numbers of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterFigures {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) states: [u64; State::ALL.len()],
}

/// What was published last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    figures: Arc<Mutex<Arc<Figures>>>,
    pub(crate) tasks: Tasks,
}

impl Board {
    pub(crate) fn publish(&self, figures: Figures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(figures);
    }

    fn figures(&self) -> Arc<Figures> {
        self.figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The answer to who asks on `$SRV`.
    pub(crate) fn status(&self) -> Value {
        let figures = self.figures();
        let shards: u64 = figures.clusters.iter().flat_map(|it| it.states).sum();
        json!({
            "role": if figures.leads { "leader" } else { "follower" },
            "epoch": figures.epoch,
            "judging": figures.judges,
            "complete": figures.caught_up,
            "clusters": figures.clusters.len(),
            "shards": shards,
        })
    }

    /// All metrics of the aggregator.
    pub(crate) fn tell(&self, it: &mut Encoder<'_>) -> fmt::Result {
        let figures = self.figures();
        tell_role(&figures, it)?;
        tell_clusters(&figures, it)?;
        tell_messages(&figures, it)?;
        let tasks = &self.tasks;
        it.counter(
            "aggregator_reports_deleted_total",
            "Refused reports that were removed from their stream",
            tasks.reports_deleted.get(),
        )?;
        it.counter(
            "aggregator_messages_dropped_total",
            "Plain messages, such as pulses, that were not sent because the broker was away or slow",
            tasks.messages_dropped.get(),
        )
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn tell_role(figures: &Figures, it: &mut Encoder<'_>) -> fmt::Result {
    it.gauge(
        "aggregator_leader",
        "Whether this aggregator leads: it alone judges and writes",
        flag(figures.leads),
    )?;
    it.gauge(
        "aggregator_epoch",
        "The epoch with which it leads; 0 while it does not",
        figures.epoch as f64,
    )?;
    it.gauge(
        "aggregator_judging",
        "Whether silence is judged: it leads, hears the bots, and the grace is over",
        flag(figures.judges),
    )?;
    it.gauge(
        "aggregator_hearing",
        "Whether the leader hears the bots; 0 on a follower",
        flag(figures.hears),
    )?;
    it.gauge(
        "aggregator_complete",
        "Whether all stored reports were read since the start",
        flag(figures.caught_up),
    )?;
    // A follower sends none.
    if let Some(at) = figures.pulse_heard {
        it.gauge(
            "aggregator_pulse_age_seconds",
            "How long ago the leader heard its own pulse; more than 2 and it counts as deaf",
            at.elapsed().as_secs_f64(),
        )?;
    }
    Ok(())
}

fn tell_clusters(figures: &Figures, it: &mut Encoder<'_>) -> fmt::Result {
    let clusters = &figures.clusters;
    let states = clusters.iter().flat_map(|cluster| {
        State::ALL.iter().zip(cluster.states).map(|(state, count)| {
            let labels = [("cluster", cluster.name.as_str()), ("state", state.name())];
            (labels, count as f64)
        })
    });
    it.gauges(
        "aggregator_shards",
        "Shards by state, in this aggregator's table",
        states,
    )?;
    let transitions = clusters.iter().flat_map(|cluster| {
        let causes = Counts::CAUSES.iter().zip(cluster.counts.transitions);
        causes.map(|(cause, count)| {
            let labels = [
                ("cluster", cluster.name.as_str()),
                ("cause", cause.as_str()),
            ];
            (labels, count)
        })
    });
    it.counters(
        "aggregator_transitions_total",
        "Changes of state by cause; timeout means that the shard was flagged for its silence",
        transitions,
    )?;
    let by_result = |kind: Kind, applied: fn(&Counts) -> u64| {
        clusters
            .iter()
            .enumerate()
            .flat_map(move |(place, cluster)| {
                let refused = figures.tally.refused_of(place, kind);
                let label = move |result| [("cluster", cluster.name.as_str()), ("result", result)];
                [
                    (label("applied"), applied(&cluster.counts)),
                    (label("refused"), refused),
                ]
            })
    };
    let reports = by_result(Kind::Report, |counts| counts.reports);
    it.counters(
        "aggregator_reports_total",
        "Reports of clusters that are configured",
        reports,
    )?;
    let checks = by_result(Kind::HealthCheck, |counts| counts.health_checks);
    it.counters(
        "aggregator_health_checks_total",
        "Health checks of clusters that are configured",
        checks,
    )?;
    let disagreements = clusters.iter().map(|cluster| {
        (
            [("cluster", cluster.name.as_str())],
            cluster.counts.disagreements,
        )
    });
    it.counters(
        "aggregator_total_disagreements_total",
        "Messages that claim another number of shards than is configured; they were taken",
        disagreements,
    )
}

fn tell_messages(figures: &Figures, it: &mut Encoder<'_>) -> fmt::Result {
    let tally = &figures.tally;
    let refused = KINDS.iter().zip(tally.refused).flat_map(|(kind, counts)| {
        let reasons = REASONS.iter().zip(counts);
        reasons.map(move |(reason, count)| ([("kind", *kind), ("reason", *reason)], count))
    });
    it.counters(
        "aggregator_refused_messages_total",
        "Messages that were refused, also those of clusters that are not configured",
        refused,
    )?;
    it.counter(
        "aggregator_health_checks_held_total",
        "Health checks that waited for the report before them",
        tally.held,
    )?;
    let writes = WRITES
        .iter()
        .zip(tally.writes)
        .map(|(result, count)| ([("result", *result)], count));
    it.counters(
        "aggregator_table_writes_total",
        "Writes of keys of the table by their end",
        writes,
    )?;
    it.gauge(
        "aggregator_transitions_waiting",
        "Transitions that the broker has not acknowledged yet",
        figures.transitions_waiting as f64,
    )?;
    it.counter(
        "aggregator_transitions_dropped_total",
        "Transitions that were not told because too many others waited for the broker",
        tally.transitions_dropped,
    )
}
