//! All of Glance in one command: aggregator, bridge and web in one process and on one port, with a nats-server of its own.
//!
//! # Layout
//!
//! - `service`: the start and the end of everything; `options`; `welcome`: what is printed.
//! - `services`: aggregator, bridge and web, side by side.
//! - `nats_child`: the nats-server, watched over. `server_program`: which one; `server_config`, `port`: its configuration
//!   and port; `server_log`: its log as part of ours; `data_dir`: its store, and the locks on it.
//! - `shim`, `spawner`: how it is tied to the life of this process.

mod data_dir;
mod nats_child;
mod options;
mod port;
mod server_config;
mod server_log;
mod server_program;
mod service;
mod services;
mod shim;
mod spawner;
mod welcome;

pub use options::Options;
pub use service::run;
pub use shim::run as run_shim;
