//! Fleets that behave like real Discord bots, for demos, tests and sizing.
//!
//! # Layout
//!
//! * [`fleet`]: the bots themselves, without IO and without a clock.
//! * [`options`]: its flags.
//! * `service`: [`run`] lets a fleet live, and has what it says delivered.
//! * `delivery`: what both ways to Glance have in common: order, retries, limits. `outbox`: what waits for it.
//! * `nats`, `http`: the two ways.
//! * `tally`: how many messages went out, for the log.

mod delivery;
pub mod fleet;
mod http;
mod nats;
pub mod options;
mod outbox;
mod service;
mod tally;

pub use options::Options;
pub use service::run;
