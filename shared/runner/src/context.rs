//! What a service gets from its start.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Environment, Metrics};

/// What a service gets besides its options.
#[derive(Debug, Clone)]
pub struct Context {
    /// The name of the service.
    pub name: &'static str,
    /// Says when to stop.
    pub shutdown: Shutdown,
    /// Says when to read files again that hold settings.
    pub reload: Reload,
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

/// Says to read again what can change while the process runs: files, since its variables cannot. Clones share it.
#[derive(Debug, Clone)]
pub struct Reload(watch::Sender<()>);

impl Default for Reload {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Reload {
    /// One that nobody has triggered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody who follows it. Whether there is anybody.
    pub fn trigger(&self) -> bool {
        self.0.send(()).is_ok()
    }

    /// Follows it from now on: who reads a file after this misses no later change of it.
    #[must_use]
    pub fn follow(&self) -> Reloads {
        Reloads(self.0.subscribe())
    }
}

/// Someone who follows a [`Reload`].
#[derive(Debug)]
pub struct Reloads(watch::Receiver<()>);

impl Reloads {
    /// Waits until it is triggered again. Several triggers that came meanwhile are one. `None` when none can come any more.
    pub async fn requested(&mut self) -> Option<()> {
        self.0.changed().await.ok()
    }
}
