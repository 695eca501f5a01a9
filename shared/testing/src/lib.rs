//! What the tests of Glance share: a real nats-server per test, the built programs as processes, a network that can be
//! broken, and waiting for a condition with a bound.
//!
//! # Layout
//!
//! - [`NatsServer`]: a nats-server on a free port with its store in a temporary directory.
//! - [`NatsCluster`]: several of them, which keep each other's streams.
//! - [`Proxy`] and its [`Flow`]: a TCP proxy that stalls, refuses and cuts connections.
//! - [`ServerVersion`] and [`nats_server_program`]: which nats-server the tests use.
//! - [`Secrets`]: keys, credentials and certificates with which one logs in at a broker.
//! - [`Process`] and [`binary`]: a program of this workspace, its output lines, signals to it and its end.
//! - [`eventually`] and [`free_port`].
//!
//! Everything here panics with a sentence when it cannot do its work, since a test could do nothing else. What was
//! started ends with the value that holds it, and also when the test process itself is killed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "only tests use this crate, and a test that cannot go on has failed"
)]

mod accounts;
mod child;
mod keys;
mod nats_cluster;
mod nats_server;
mod ports;
mod process;
mod proxy;
mod server_program;
mod waiting;
mod workspace;

pub use accounts::password;
pub use keys::{Account, Authority, Secrets};
pub use nats_cluster::NatsCluster;
pub use nats_server::NatsServer;
pub use ports::free_port;
pub use process::{Process, ProcessBuilder};
pub use proxy::{Flow, Proxy};
pub use rustix::process::Signal;
pub use server_program::{ServerVersion, nats_server_program};
pub use waiting::eventually;
pub use workspace::{binary, workspace_root};
