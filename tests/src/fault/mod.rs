//! The fault suite: a whole installation, a fleet that reports to it, viewers that watch it, and faults.
//!
//! The proof that Glance tells the truth is that four things agree after each fault: what the fleet said and was
//! acknowledged, the aggregator's table, each web replica's snapshot, and what each viewer's frames add up to. Beside
//! that, some things must never be seen at any time.
//!
//! # Layout
//!
//! * [`plan`]: which faults, in which order; all of it follows from a seed.
//! * [`faults`]: what each kind of fault does.
//! * [`system`], [`service`]: the broker and the programs, each behind a proxy of its own.
//! * [`fleet`], [`voice`]: the bots and how they speak. [`ledger`]: what is true of them.
//! * [`viewer`], `sum`: viewers of both dialects, and what their frames add up to.
//! * [`views`]: the table as the broker and the web replicas show it. [`watch`]: what is watched all the time.
//! * [`complaint`]: what must never be.
//! * [`lane`]: the rounds of one installation. [`run`]: several side by side. [`report`]: the table at the end.

use std::time::Duration;

use tokio::time::{sleep, timeout};

pub mod complaint;
pub mod faults;
pub mod fleet;
pub mod lane;
pub mod ledger;
pub mod plan;
pub mod report;
pub mod run;
pub mod service;
mod sum;
pub mod system;
pub mod viewer;
pub mod views;
pub mod voice;
pub mod watch;

/// Asks again and again until there is a value; `None` when there is none within `limit`.
pub async fn within<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(limit, asking).await.ok()
}
