//! What a listener counts.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::Metrics;

/// Why a connection or a request was refused, or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are too many connections in all.
    Connections,
    /// The client has too many connections.
    Client,
    /// It was no HTTP, or too large a head.
    Malformed,
    /// The client did not read what it was sent.
    Stalled,
}

impl Refused {
    const ALL: [Self; 4] = [
        Self::Connections,
        Self::Client,
        Self::Malformed,
        Self::Stalled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Client => "client",
            Self::Malformed => "malformed",
            Self::Stalled => "stalled",
        }
    }
}

type Labels = [(&'static str, &'static str); 1];

/// The counters of a listener. Clones share them.
#[derive(Debug, Clone)]
pub struct Counts {
    open: Gauge,
    refused: Family<Labels, Counter>,
}

impl Default for Counts {
    fn default() -> Self {
        let refused = Family::<Labels, Counter>::default();
        // Told from 0 on: of a series that begins with its first refusals, Prometheus sees no increase.
        for why in Refused::ALL {
            drop(refused.get_or_create(&labels(why)));
        }
        Self {
            open: Gauge::default(),
            refused,
        }
    }
}

impl Counts {
    /// Adds them to the metrics of the process.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| self.add_to(registry));
    }

    fn add_to(&self, registry: &mut Registry) {
        registry.register(
            "http_connections",
            "Open connections, also those that became WebSockets",
            self.open.clone(),
        );
        registry.register(
            "http_refused",
            "Connections and requests that were refused or cut off, by reason",
            self.refused.clone(),
        );
    }

    /// How many connections are open, also those that became WebSockets.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.open.get()
    }

    /// How many were refused for this reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get_or_create(&labels(why)).get()
    }

    pub(super) fn refuse(&self, why: Refused) {
        self.refused.get_or_create(&labels(why)).inc();
    }

    /// Counts a connection as open until it is dropped.
    pub(super) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }
}

fn labels(why: Refused) -> Labels {
    [("reason", why.name())]
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_names_are_those_that_are_documented() {
        let (counts, mut registry) = (Counts::default(), Registry::with_prefix("glance"));
        let open = counts.opened();
        counts.refuse(Refused::Client);
        counts.add_to(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("glance_http_connections 1\n"), "{text}");
        let refused = "glance_http_refused_total{reason=\"client\"} 1\n";
        assert!(text.contains(refused), "{text}");
        let none_yet = "glance_http_refused_total{reason=\"stalled\"} 0\n";
        assert!(text.contains(none_yet), "{text}");
        drop(open);
        assert_eq!(counts.open(), 0);
    }
}
