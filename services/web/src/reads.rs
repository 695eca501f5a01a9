//! One read of the bucket at a time, and what to read next. What a read that
//! failed was asked for is wanted still.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use tokio::task::JoinSet;

use crate::{
    gaps::Due,
    table::{self, Reading, Wanted},
};

/// How long to wait after a failed read.
const RETRY: Duration = Duration::from_secs(1);

/// What is being read, and what has to be.
#[derive(Debug)]
pub(crate) struct Reads {
    wanted: Wanted,
    /// What the read that runs was asked for.
    asked: Wanted,
    running: JoinSet<anyhow::Result<Reading>>,
    not_before: Instant,
}

impl Reads {
    /// Everything is to be read first.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            wanted: Wanted {
                everything: true,
                ..Wanted::default()
            },
            asked: Wanted::default(),
            running: JoinSet::new(),
            not_before: now,
        }
    }

    /// Wants the list, every block that it names, and the lease.
    pub(crate) fn want_everything(&mut self) {
        self.wanted.everything = true;
    }

    /// Wants to know who leads.
    pub(crate) fn want_lease(&mut self) {
        self.wanted.lease = true;
    }

    /// Wants what was missed.
    pub(crate) fn want(&mut self, due: Due) {
        self.wanted.add(Wanted {
            everything: due.everything || due.anew,
            anew: due.anew,
            lease: false,
            blocks: due.blocks.into_iter().collect(),
        });
    }

    /// This read was worth nothing: everything, and no less than it was asked for.
    pub(crate) fn repeat(&mut self, reading: &Reading) {
        self.wanted.everything = true;
        self.wanted.anew |= reading.anew;
    }

    /// The same, a little later, since nothing is there yet.
    pub(crate) fn repeat_later(&mut self, reading: &Reading) {
        self.repeat(reading);
        self.want_everything_later();
    }

    /// Wants everything, when whoever is at writing it has had time to end.
    pub(crate) fn want_everything_later(&mut self) {
        self.wanted.everything = true;
        self.not_before = Instant::now() + RETRY;
    }

    /// There is a new connection: a read that waits for an answer on the old one is begun again.
    pub(crate) fn restart(&mut self) {
        self.running = JoinSet::new();
        self.wanted.add(std::mem::take(&mut self.asked));
        self.not_before = Instant::now();
    }

    /// Starts a read when there is something to read and none runs. `epoch` is what is believed at this moment.
    pub(crate) fn start(&mut self, jetstream: &jetstream::Context, epoch: u64) {
        if self.wanted.is_empty() || !self.running.is_empty() || self.not_before > Instant::now() {
            return;
        }
        self.asked = std::mem::take(&mut self.wanted);
        self.running
            .spawn(table::read(jetstream.clone(), self.asked.clone(), epoch));
    }

    /// What was read; never while nothing is being read. May be cancelled without loss.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Reading> {
        let Some(ended) = self.running.join_next().await else {
            return std::future::pending().await;
        };
        let asked = std::mem::take(&mut self.asked);
        let read = ended.unwrap_or_else(|cause| Err(cause.into()));
        if read.is_err() {
            self.wanted.add(asked);
            self.not_before = Instant::now() + RETRY;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anew() -> Due {
        Due {
            blocks: vec![("main".parse().unwrap(), 1)],
            anew: true,
            everything: false,
        }
    }

    #[tokio::test]
    async fn what_a_failed_read_was_asked_for_is_wanted_still() {
        let mut reads = Reads::new(Instant::now());
        reads.want(anew());
        reads.want_lease();
        let wanted = reads.wanted.clone();
        reads.asked = std::mem::take(&mut reads.wanted);
        reads.running.spawn(async { anyhow::bail!("no answer") });
        assert!(reads.next().await.is_err());
        assert_eq!(reads.wanted, wanted);
        assert!(reads.not_before > Instant::now());
    }

    #[tokio::test]
    async fn a_new_connection_begins_the_read_again_at_once() {
        let mut reads = Reads::new(Instant::now());
        reads.want(anew());
        let wanted = reads.wanted.clone();
        reads.asked = std::mem::take(&mut reads.wanted);
        reads.running.spawn(std::future::pending());
        reads.restart();
        assert_eq!(reads.wanted, wanted);
        assert!(reads.running.is_empty() && reads.not_before <= Instant::now());
    }
}
