//! What the end-to-end tests share: a deployment of real processes, a client
//! for HTTP, and a viewer of the feed.

// Only tests use this crate, and a test that cannot go on should say so at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deployment;
pub mod fault;
mod http;
mod metrics;
mod program;
mod viewer;

pub use deployment::{Deployment, LIMIT, exit_code};
pub use http::{Answer, ask, get, post, request};
pub use metrics::Scrape;
pub use program::{Parts, Program};
pub use viewer::Viewer;
