//! What a service counts, for Prometheus.
//!
//! Parts keep plain numbers or relaxed atomics, and add a function that writes them down when somebody asks
//! ([`Metrics::add`]). So counting costs next to nothing, and each service says all its names in one place.
//!
//! * `encoder`: how a part writes them down. `requests`: counts and durations of requests.
//! * `broker`, `process`: what every service tells.
//! * `listener`: where it is told, on an address of its own.

mod broker;
mod encoder;
mod listener;
mod process;
mod requests;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{encoding::text, registry::Registry};

pub(crate) use self::listener::VARIABLE;
use self::{broker::Connections, encoder::Part, process::Process};
pub use prometheus_client::metrics::counter::Counter;

pub use self::{
    encoder::Encoder,
    listener::{MetricsAddress, MetricsListener},
    requests::Requests,
};
use crate::{Broker, Ready};

/// The metrics of one process, and whether it is ready. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

type Readiness = Arc<dyn Fn() -> Ready + Send + Sync>;

struct Inner {
    /// What every process tells, by names that are the same everywhere.
    process: Registry,
    registry: Mutex<Registry>,
    connections: Connections,
    readiness: Mutex<Readiness>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut process = Registry::default();
        let collector = Process::default();
        process.register_collector(Box::new(Part::new(move |it| collector.tell(it))));
        let connections = Connections::default();
        let metrics = Self(Arc::new(Inner {
            process,
            registry: Mutex::new(Registry::with_prefix("glance")),
            connections: connections.clone(),
            readiness: Mutex::new(Arc::new(|| Ready::No("waiting for the broker"))),
        }));
        metrics.add(move |it| connections.tell(it));
        metrics
    }
}

impl Metrics {
    /// Adds a part. `tell` is called when somebody asks; it must not block. Each name gets the prefix `glance_`; what is
    /// added twice is told twice, which Prometheus refuses.
    pub fn add(&self, tell: impl Fn(&mut Encoder<'_>) -> fmt::Result + Send + Sync + 'static) {
        self.register(|registry| registry.register_collector(Box::new(Part::new(tell))));
    }

    /// Adds metrics. Each gets the prefix `glance_`; what is added twice is told twice.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self
            .0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells which program this is.
    pub fn name(&self, program: &'static str) {
        let version = env!("CARGO_PKG_VERSION");
        self.add(move |it| {
            let help = "The program and its version; always 1";
            let labels = [("program", program), ("version", version)];
            it.gauges("build_info", help, [(labels, 1.0)])
        });
    }

    /// A connection to the broker will be made under this name. Until it is, it is told as not connected.
    pub fn connecting(&self, name: &'static str) {
        self.0.connections.expect(name);
    }

    /// The connection of this name was made.
    pub fn connected(&self, name: &'static str, broker: &Broker) {
        self.0.connections.follow(name, broker);
    }

    /// From now on this says whether the process is ready; before, it waits for the broker.
    pub fn set_readiness(&self, ready: impl Fn() -> Ready + Send + Sync + 'static) {
        *self
            .0
            .readiness
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(ready);
    }

    /// Whether the process is ready.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let readiness = self
            .0
            .readiness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        readiness()
    }

    /// Everything, in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    ///
    /// When a part tells what the format cannot hold.
    pub fn to_text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.0.process)?;
        let registry = self
            .0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_and_ends_as_the_format_wants() {
        let metrics = Metrics::default();
        metrics.name("test");
        metrics.connecting("test");
        metrics.add(|it| it.counter("things_total", "Things", 3));
        let text = metrics.to_text().unwrap();
        for line in [
            "# TYPE glance_things counter",
            "glance_things_total 3",
            "glance_broker_connected{connection=\"test\"} 0.0",
            "glance_broker_connects_total{connection=\"test\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        assert!(
            text.contains("glance_build_info{program=\"test\",version=\""),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut names: Vec<_> = text
            .lines()
            .filter(|it| it.starts_with("# TYPE "))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{text}");
    }
}
