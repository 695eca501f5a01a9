//! The task behind the lease: a candidate follows it, takes it, renews it, and gives it up.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use async_nats::{
    Subscriber,
    jetstream::kv::{self, UpdateErrorKind},
};
use futures::StreamExt as _;
use glance_protocol::{Lease, bucket, lease::epoch_of};
use glance_runner::Link;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{Fitness, REQUEST_TIMEOUT, Tenure};
use crate::store::{self, Entry};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(2);
const RENEW: Duration = Duration::from_millis(500);
/// How soon something is tried again that failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long nothing may succeed before everything at the broker is opened anew, and made anew where it is gone.
const FAILING_MAX: Duration = Duration::from_secs(5);
/// How long the lease is kept by somebody who cannot lead.
const UNFIT_MAX: Duration = Duration::from_secs(15);

/// Unique for each start: two containers may have the same host name and process id.
fn name() -> String {
    let host = rustix::system::uname();
    let random = RandomState::new().build_hasher().finish();
    let host = host.nodename().to_string_lossy().into_owned();
    format!("{host}/{}/{random:016x}", std::process::id())
}

/// A revision of the key, and since when it has stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    revision: u64,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Another may lead. `None` while the key cannot be watched.
    Following(Option<Seen>),
    Leading {
        revision: u64,
        epoch: u64,
    },
}

/// What a candidate works with.
pub(super) struct Surroundings {
    pub(super) bucket: kv::Store,
    pub(super) link: watch::Receiver<Link>,
    /// The bucket did not exist before, so nobody can be leading.
    pub(super) fresh: bool,
    /// Is asked when the bucket cannot be had for long.
    pub(super) reopen: Arc<Notify>,
    pub(super) fitness: watch::Receiver<Fitness>,
    pub(super) tenure: watch::Sender<Option<Tenure>>,
}

/// Somebody who wants the lease, or has it.
pub(super) struct Candidate {
    with: Surroundings,
    me: String,
    /// The greatest epoch that was seen in the lease; the lease may be lost.
    epoch_max: u64,
    failing_since: Option<Instant>,
    /// Since when this process holds the lease and cannot lead.
    unfit_since: Option<Instant>,
    standing: Standing,
}

impl Candidate {
    pub(super) fn new(with: Surroundings) -> Self {
        Self {
            with,
            me: name(),
            epoch_max: 0,
            failing_since: None,
            unfit_since: None,
            standing: Standing::Following(None),
        }
    }

    pub(super) async fn run(mut self, mut hints: Subscriber, mut stopped: oneshot::Receiver<()>) {
        // Kept here, so that a change during a step is not missed.
        let mut fitness = self.with.fitness.clone();
        loop {
            fitness.borrow_and_update();
            let pause = match self.step().await {
                Ok(pause) => {
                    self.failing_since = None;
                    pause
                }
                Err(cause) => {
                    self.fail(&cause);
                    RETRY
                }
            };
            let again_at = Instant::now() + pause;
            tokio::select! {
                () = wait(again_at, &mut hints, &mut fitness, self.follows()) => {}
                _ = &mut stopped => break,
            }
        }
        if let Err(cause) = self.give_up().await {
            debug!("the lease was not given up: {cause:#}");
        }
    }

    fn fail(&mut self, cause: &anyhow::Error) {
        debug!("the lease: {cause:#}");
        if let Standing::Following(seen) = &mut self.standing {
            *seen = None;
        }
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if self.with.link.borrow().connected && since.elapsed() > FAILING_MAX {
            warn!("the lease cannot be had: {cause:#}");
            self.failing_since = Some(Instant::now());
            self.with.reopen.notify_one();
        }
    }

    fn follows(&self) -> bool {
        matches!(self.standing, Standing::Following(_))
    }

    /// Looks at the key or renews it, and says when to do so again.
    async fn step(&mut self) -> anyhow::Result<Duration> {
        match self.standing {
            Standing::Following(seen) => self.follow(seen).await,
            Standing::Leading { revision, epoch } => self.renew(revision, epoch).await,
        }
    }

    async fn follow(&mut self, seen: Option<Seen>) -> anyhow::Result<Duration> {
        // Time without a connection says nothing of the leader.
        anyhow::ensure!(self.with.link.borrow().connected, "the broker is away");
        let entry = self.look().await?;
        let (revision, lease) = match &entry {
            Some(entry) => (entry.revision, Lease::from_bytes(&entry.value).ok()),
            None => (0, None),
        };
        let epoch = entry.as_ref().map_or(0, |entry| epoch_of(&entry.value));
        self.epoch_max = self.epoch_max.max(epoch);
        // Somebody led: whoever did has the better memory when the store is lost.
        self.with.fresh &= revision == 0;
        let mine = lease
            .as_ref()
            .is_some_and(|it| it.holder.as_ref() == Some(&self.me));
        if mine {
            // It was taken by a request whose answer was lost.
            self.standing = Standing::Leading { revision, epoch };
            return self.renew(revision, epoch).await;
        }
        let seen = seen
            .filter(|seen| seen.revision == revision)
            .unwrap_or(Seen {
                revision,
                since: Instant::now(),
            });
        self.standing = Standing::Following(Some(seen));
        let given_up = lease.is_some_and(|it| it.holder.is_none());
        // When the whole store was lost, who led has the best memory of it, and two seconds to be first.
        let never_held = revision == 0 && self.with.fresh;
        let left = LEASE.saturating_sub(seen.since.elapsed());
        if !(given_up || never_held || left.is_zero()) {
            return Ok(left.min(RENEW));
        }
        if !self.with.fitness.borrow().fit {
            return Ok(RENEW);
        }
        self.take(revision, epoch).await
    }

    /// Takes the lease from whoever had it.
    async fn take(&mut self, revision: u64, epoch: u64) -> anyhow::Result<Duration> {
        let epoch = self.next_epoch(epoch)?;
        let sent = Instant::now();
        let Ok(revision) = self.put(epoch, true, revision).await? else {
            anyhow::bail!("another aggregator was faster");
        };
        self.with.fresh = false;
        info!(epoch, "leading");
        self.hold(revision, epoch, sent);
        Ok(RENEW)
    }

    async fn renew(&mut self, revision: u64, epoch: u64) -> anyhow::Result<Duration> {
        if self.is_unfit_for_long() {
            warn!(
                epoch,
                "giving up the lease: the reports cannot be read here"
            );
            self.give_up().await?;
            self.follow_from(revision);
            return Ok(RENEW);
        }
        let seen = self.with.fitness.borrow().epoch_seen;
        // When the lease was lost, but not the table, that has to be written with a greater epoch.
        let next = if seen >= epoch {
            self.next_epoch(epoch)?
        } else {
            epoch
        };
        let sent = Instant::now();
        let Ok(revision) = self.put(next, true, revision).await? else {
            return self.find_out(epoch).await;
        };
        self.hold(revision, next, sent);
        Ok(RENEW.saturating_sub(sent.elapsed()))
    }

    /// Another may be able to do what this process cannot.
    fn is_unfit_for_long(&mut self) -> bool {
        if self.with.fitness.borrow().fit || !self.with.link.borrow().connected {
            self.unfit_since = None;
            return false;
        }
        let since = *self.unfit_since.get_or_insert_with(Instant::now);
        since.elapsed() > UNFIT_MAX
    }

    fn follow_from(&mut self, revision: u64) {
        self.unfit_since = None;
        self.with.tenure.send_replace(None);
        let since = Instant::now();
        self.standing = Standing::Following(Some(Seen { revision, since }));
    }

    fn hold(&mut self, revision: u64, epoch: u64, sent: Instant) {
        self.epoch_max = self.epoch_max.max(epoch);
        self.standing = Standing::Leading { revision, epoch };
        let until = sent + LEASE;
        self.with.tenure.send_replace(Some(Tenure { epoch, until }));
    }

    fn next_epoch(&self, epoch: u64) -> anyhow::Result<u64> {
        let seen = self.with.fitness.borrow().epoch_seen;
        epoch.max(seen).max(self.epoch_max).checked_add(1).context(
            "a kept epoch is the greatest number there is; remove the buckets GLANCE_LEASE and GLANCE_TABLE",
        )
    }

    /// The key is not what it was: a renewal whose answer was lost, a store that was lost, or another leader?
    async fn find_out(&mut self, epoch: u64) -> anyhow::Result<Duration> {
        let entry = self.look().await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let value = entry.map(|entry| entry.value).unwrap_or_default();
        match Lease::from_bytes(&value) {
            Ok(lease) if lease.holder.as_ref() == Some(&self.me) => {
                self.standing = Standing::Leading { revision, epoch };
            }
            // Lost, and taken by nobody. Revisions may begin anew, so what is written from now on has a greater
            // epoch: who compares two values sees which is newer.
            _ if value.is_empty() => {
                let next = self.next_epoch(epoch)?;
                let sent = Instant::now();
                if let Ok(revision) = self.put(next, true, revision).await? {
                    warn!(epoch = next, "the lease was lost, and is taken again");
                    self.hold(revision, next, sent);
                    return Ok(RENEW);
                }
            }
            _ => {
                let other = epoch_of(&value);
                warn!(epoch, other, "another aggregator leads now; following it");
                self.epoch_max = self.epoch_max.max(other);
                self.follow_from(revision);
            }
        }
        Ok(Duration::ZERO)
    }

    async fn give_up(&mut self) -> anyhow::Result<()> {
        let Standing::Leading { revision, epoch } = self.standing else {
            return Ok(());
        };
        if self.put(epoch, false, revision).await?.is_ok() {
            return Ok(());
        }
        // The answer to a renewal may have been lost.
        let entry = self.look().await?.context("the key is gone")?;
        let lease = Lease::from_bytes(&entry.value)?;
        if lease.holder.as_ref() == Some(&self.me) {
            let given_up = self.put(epoch, false, entry.revision).await?;
            anyhow::ensure!(given_up.is_ok(), "somebody else has taken it");
        }
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<Option<Entry>> {
        let entry = store::entry(&self.with.bucket, bucket::LEADER_KEY);
        timeout(REQUEST_TIMEOUT, entry)
            .await
            .context("no answer in time")?
    }

    /// Writes the key if it still has this revision. The inner error says that it has not.
    async fn put(
        &self,
        epoch: u64,
        held: bool,
        revision: u64,
    ) -> anyhow::Result<Result<u64, Overtaken>> {
        let lease = Lease {
            epoch,
            holder: held.then(|| self.me.clone()),
        };
        let value = lease.to_bytes().into();
        let update = self.with.bucket.update(bucket::LEADER_KEY, value, revision);
        let updated = timeout(REQUEST_TIMEOUT, update)
            .await
            .context("no answer in time")?;
        match updated {
            Ok(revision) => Ok(Ok(revision)),
            Err(cause) if cause.kind() == UpdateErrorKind::WrongLastRevision => Ok(Err(Overtaken)),
            Err(cause) => Err(cause.into()),
        }
    }
}

/// Somebody else wrote the key.
struct Overtaken;

/// Waits for the time, or for news. The leader's own renewals are none to itself.
async fn wait(
    until: Instant,
    hints: &mut Subscriber,
    fitness: &mut watch::Receiver<Fitness>,
    follows: bool,
) {
    let sleep = tokio::time::sleep_until(until);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            () = &mut sleep => return,
            Some(_) = hints.next() => {
                if follows {
                    return;
                }
            }
            Ok(()) = fitness.changed() => return,
        }
    }
}
