//! What a service counts, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

/// The metrics of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("glance"))))
    }
}

impl Metrics {
    /// Adds metrics. Each gets the prefix `glance_`; what is added twice is told twice.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
