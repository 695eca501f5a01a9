//! Which aggregator leads: the lease.
//!
//! The key `leader` of a bucket says who leads, and with which epoch. The leader
//! renews it twice a second by compare-and-set. Whoever sees it stand still for
//! two seconds takes it over, with a greater epoch. No clock is compared with
//! another: the leader counts its two seconds from before a renewal is sent, the
//! others from when they see it. So nobody takes over from one who still believes
//! to lead. (A process that was paused may be late to notice, which is why all
//! that it writes is compare-and-set, and all that it says carries its epoch.)
//!
//! The key is never deleted and does not expire, so that no epoch is given twice.

mod candidate;

use std::{sync::Arc, time::Duration};

use async_nats::{Subscriber, jetstream::kv};
use glance_runner::Link;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::warn;

use self::candidate::{Candidate, Surroundings};

/// How long a request to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The right to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure {
    /// Greater than that of everybody before.
    pub(crate) epoch: u64,
    /// When it ends, unless it is renewed.
    pub(crate) until: Instant,
}

impl Tenure {
    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < self.until
    }
}

/// What the task that holds the lease has to know of the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fitness {
    /// Whether the table is complete, so that it could be shown.
    pub(crate) fit: bool,
    /// The greatest epoch that is kept with the table.
    pub(crate) epoch_seen: u64,
}

/// A candidate for the lease, or its holder.
pub(crate) struct Lead {
    fitness: watch::Sender<Fitness>,
    tenure: watch::Receiver<Option<Tenure>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Lead {
    /// Begins to follow the lease in `bucket`. `hints` says when to look at it. `fresh`: the
    /// bucket did not exist before, so nobody can be leading. `reopen` is asked when the bucket cannot be had for long.
    pub(crate) fn spawn(
        bucket: kv::Store,
        hints: Subscriber,
        link: watch::Receiver<Link>,
        fresh: bool,
        reopen: Arc<Notify>,
    ) -> Self {
        let (fitness, fitness_receiver) = watch::channel(Fitness::default());
        let (tenure_sender, tenure) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let candidate = Candidate::new(Surroundings {
            bucket,
            link,
            fresh,
            reopen,
            fitness: fitness_receiver,
            tenure: tenure_sender,
        });
        Self {
            fitness,
            tenure,
            stop,
            task: tokio::spawn(candidate.run(hints, stopped)),
        }
    }

    /// Tells how fit this process is to lead. `change` says whether it changed anything.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Fitness) -> bool) {
        self.fitness.send_if_modified(change);
    }

    /// The right to lead, while there is one.
    pub(crate) fn tenure(&self) -> watch::Receiver<Option<Tenure>> {
        self.tenure.clone()
    }

    /// Gives the lease up, so that another can take it at once. Bounded in time.
    pub(crate) async fn release(self) {
        // Without a receiver, the task has ended already.
        let _ = self.stop.send(());
        if timeout(3 * REQUEST_TIMEOUT, self.task).await.is_err() {
            warn!("the lease was not given up in time; it runs out by itself");
        }
    }
}
