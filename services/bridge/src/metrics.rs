//! What the bridge counts, and by which names it tells it. All of it is atomics, without a lock.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use glance_runner::metrics::{Encoder, Requests};
use serde_json::{Value, json};

use crate::{path::Endpoint, publish::Publisher, refusal::Unavailable};

/// The routes by which requests are counted.
const ROUTES: [&str; 5] = [
    "/api/status",
    "/api/health",
    "/api/report",
    "/api/announcement",
    "/api/maintenance",
];

/// The words for [`Unavailable`].
const REASONS: [&str; 7] = [
    "no_clusters",
    "disconnected",
    "timed_out",
    "refused",
    "busy",
    "no_room",
    "undecided",
];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) requests: Requests,
    unavailable: [AtomicU64; REASONS.len()],
    reports: AtomicU64,
    health_checks: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: Requests::new(&ROUTES),
            unavailable: Default::default(),
            reports: AtomicU64::new(0),
            health_checks: AtomicU64::new(0),
        }
    }
}

impl Counts {
    /// The place of an endpoint among the routes.
    pub(crate) fn route(endpoint: &Endpoint) -> usize {
        match endpoint {
            Endpoint::Status { .. } => 0,
            Endpoint::Health { .. } => 1,
            Endpoint::Report => 2,
            Endpoint::Announcement => 3,
            Endpoint::Maintenance { .. } => 4,
        }
    }

    /// A request could not be served now.
    pub(crate) fn unavailable(&self, cause: Unavailable) {
        let place = match cause {
            Unavailable::NoClusters => 0,
            Unavailable::Disconnected => 1,
            Unavailable::TimedOut => 2,
            Unavailable::Refused => 3,
            Unavailable::Busy => 4,
            Unavailable::NoRoom => 5,
            Unavailable::Undecided(_) => 6,
        };
        if let Some(count) = self.unavailable.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The broker acknowledged a report.
    pub(crate) fn report(&self) {
        self.reports.fetch_add(1, Ordering::Relaxed);
    }

    /// Health checks were written to the broker.
    pub(crate) fn health_checks(&self, count: usize) {
        self.health_checks
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    /// All metrics of the bridge. `known`: whether it knows the clusters.
    pub(crate) fn tell(
        &self,
        publisher: &Publisher,
        known: bool,
        it: &mut Encoder<'_>,
    ) -> fmt::Result {
        self.requests.tell(
            it,
            "bridge_requests_total",
            "bridge_request_duration_seconds",
        )?;
        let unavailable = REASONS.iter().zip(&self.unavailable);
        let unavailable = unavailable.map(|(reason, count)| ([("reason", *reason)], get(count)));
        it.counters(
            "bridge_unavailable_total",
            "Requests that were answered with 503, by what was in the way",
            unavailable,
        )?;
        it.counter(
            "bridge_reports_stored_total",
            "Reports that the broker acknowledged",
            get(&self.reports),
        )?;
        it.counter(
            "bridge_health_checks_sent_total",
            "Health checks that were written to the broker",
            get(&self.health_checks),
        )?;
        let load = publisher.load();
        let gauges: [(&str, &str, u64); 4] = [
            (
                "bridge_in_flight",
                "Messages that the broker has not acknowledged yet",
                load.in_flight,
            ),
            (
                "bridge_in_flight_max",
                "How many those may be",
                load.in_flight_max,
            ),
            (
                "bridge_waiting",
                "Requests that wait for the broker",
                load.waiting,
            ),
            (
                "bridge_waiting_max",
                "How many those may be; further ones get 503",
                load.waiting_max,
            ),
        ];
        for (name, help, value) in gauges {
            it.gauge(name, help, value as f64)?;
        }
        let help = "Whether the list of clusters is known; before, bots get 503";
        it.gauge("bridge_clusters_known", help, f64::from(u8::from(known)))
    }
}

/// The answer to who asks on `$SRV`.
pub(crate) fn status(publisher: &Publisher, known: bool) -> Value {
    let load = publisher.load();
    json!({
        "ready": known && publisher.connected(),
        "in_flight": load.in_flight,
        "waiting": load.waiting,
    })
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
