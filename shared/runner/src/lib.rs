//! How every service of Glance starts, runs and stops.
//!
//! A service's `main` is one call of [`run`]: it reads flags, environment and
//! `.env`, sets up logging, starts the runtime, turns signals into a
//! [`Shutdown`], bounds the stop, and reports an error once.
//!
//! # Layout
//!
//! * [`options`]: flags that all services share, and how they are read.
//! * [`environment`]: variables and the `.env` file; secrets.
//! * [`broker`]: the connection to NATS.
//! * [`http`]: the listener, with a limit on everything, also for each client.
//! * [`early`]: answers while the broker is waited for.
//! * [`health`]: `/healthz` and `/readyz`.
//! * [`metrics`]: what a service counts, and where it tells it. `health_check`: the flag `--check-health`.
//! * [`micro`]: answers on `$SRV`.
//! * [`fault`]: faults that only tests make.
//! * `logging`, `context`, `start`: the rest.

pub mod broker;
pub mod clock;
mod context;
pub mod early;
pub mod environment;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
mod health_check;
pub mod http;
mod logging;
pub mod metrics;
pub mod micro;
pub mod options;
mod start;

pub use broker::{Broker, Link};
pub use context::{Context, Reload, Reloads, Shutdown};
pub use environment::{Environment, Secret};
pub use glance_protocol::ConfigError;
pub use health::Ready;
pub use metrics::Metrics;
pub use options::{BrokerOptions, CommonOptions};
pub use start::{allow_many_files, run};

/// The memory of every service. It gives back to the system what a crowd or a flood took, some seconds after they are
/// gone; the system's own allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
