//! What a service gets from its start.

use tokio_util::sync::CancellationToken;

use crate::{Environment, Metrics};

/// What a service gets besides its options.
#[derive(Debug, Clone)]
pub struct Context {
    /// The name of the service.
    pub name: &'static str,
    /// Says when to stop.
    pub shutdown: Shutdown,
    /// The variables, for secrets.
    pub environment: Environment,
    /// Where the service adds what it counts.
    pub metrics: Metrics,
}

/// Says to many tasks at once that it is time to stop.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that nobody has triggered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody who holds a clone or a child to stop.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is time to stop.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// One that is triggered with this one, and can be triggered alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}
