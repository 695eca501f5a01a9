//! The documented HTTP endpoints for bots: HTTP in, NATS out.
//!
//! The bridge keeps nothing of its own. It validates requests against the list
//! of clusters that the aggregator keeps at the broker, so bots are served
//! while no aggregator runs, and any number of bridges may run side by side.
//!
//! # Layout
//!
//! * [`options`]: the flags.
//! * [`service`]: [`Bridge`], its start and stop.
//! * `routes`: which request is answered by what, and in which order it is checked.
//! * `path`: paths to endpoints. `authorization`: passphrases, and what follows a wrong one. `intake`: request bodies.
//! * `clusters`: the followed list of clusters. `follow`: the task that follows it.
//! * `publish`: what a request may do with the broker, and its bounds. `outbox`: the task that hands its messages over.
//!   `look_up`: what the broker knows of a shard.
//! * `report`: `POST /api/report`. `notices`: announcements and maintenance.
//! * `metrics`: what is counted, and by which names it is told.
//! * `refusal`: every way in which a request is refused.

mod authorization;
mod clusters;
mod follow;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod intake;
mod look_up;
mod metrics;
mod notices;
pub mod options;
mod outbox;
mod path;
mod publish;
mod refusal;
mod report;
mod routes;
pub mod service;

pub use authorization::Authorization;
pub use options::{BridgeOptions, Options};
pub use service::{Bridge, run};
