//! The aggregator: the table of all shards, and the only judge of their health.
//!
//! # Layout
//!
//! * [`table`]: every rule of a shard's life, pure; with `deadlines` (who falls
//!   silent next) and `sight` (when silence may be judged).
//! * `owner`: the one task that owns the table; all inputs reach it as events.
//! * `order`: health checks wait for the reports before them.
//! * `states`: reads the stream of reports, first what was stored, then live.
//! * `raw`: looks at stored messages that the client cannot take.
//! * `blocks`, `changes`, `outbox`: what goes out.
//! * `store`, `recovery`: what is kept, and read again.
//! * `lead`: who leads, by a lease.
//! * `metrics`: what is counted, and by which names it is told.
//! * `service`: starts and stops all of it.

mod blocks;
mod changes;
mod deadlines;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod lead;
mod metrics;
mod options;
mod order;
mod outbox;
mod owner;
mod raw;
mod recovery;
mod service;
mod sight;
mod states;
mod store;
pub mod table;

pub use options::{AggregatorOptions, Bots, HealthTimeout, Options};
pub use service::{Aggregator, run};
