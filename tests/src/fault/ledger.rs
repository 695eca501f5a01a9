//! The truth: what each shard said and had acknowledged, and which are silent.
//!
//! Many tasks write into it, and what must never happen is judged at the moment at which it is seen; hence the lock,
//! which nobody holds across a wait.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use glance_protocol::State;

use super::complaint::{Complaints, Rule};

/// The states of each cluster, one digit a shard.
pub type Picture = BTreeMap<String, String>;

/// The health timeout of all clusters.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// The order to be silent may come this long after the last sign of life that was heard.
const LAST_SIGN_MAX: Duration = Duration::from_millis(1500);

/// A shard of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The cluster's name.
    pub cluster: &'static str,
    /// The shard's id.
    pub id: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It gives signs of life, since this round.
    Speaks { since_round: usize },
    /// It is silent since then.
    Silent { since: Instant },
    /// Its bot has fewer shards now.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Truth {
    /// What was acknowledged last, or what a health check made of it.
    said: State,
    /// What it says at present, not acknowledged yet.
    pending: Option<State>,
    /// A failed attempt of this round may still arrive. Whatever is said next could be overtaken by it.
    uncertain: bool,
    life: Life,
}

impl Truth {
    /// Whether it speaks, and nothing that it said is under way.
    fn is_free(&self) -> bool {
        matches!(self.life, Life::Speaks { .. }) && self.pending.is_none() && !self.uncertain
    }
}

#[derive(Debug, Default)]
struct Inner {
    shards: BTreeMap<Address, Truth>,
    round: usize,
}

/// The truth about the fleet.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
    complaints: Complaints,
}

impl Ledger {
    /// An empty one, which tells false flags to `complaints`.
    #[must_use]
    pub fn new(complaints: Complaints) -> Self {
        Self {
            inner: Arc::default(),
            complaints,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All attempts of the last round have arrived or are lost for good.
    pub fn begin_round(&self, number: usize) {
        let mut inner = self.lock();
        inner.round = number;
        for truth in inner.shards.values_mut() {
            truth.uncertain = false;
        }
    }

    /// A shard says a state now: it speaks, if it did not before.
    pub fn says(&self, address: Address, state: State) {
        let mut inner = self.lock();
        let since_round = inner.round;
        let truth = inner.shards.entry(address).or_insert(Truth {
            said: State::Unknown,
            pending: None,
            uncertain: false,
            life: Life::Gone,
        });
        truth.pending = Some(state);
        if !matches!(truth.life, Life::Speaks { .. }) {
            truth.life = Life::Speaks { since_round };
        }
    }

    /// Lets a shard say a state, unless something of it is under way; says whether it may.
    #[must_use]
    pub fn may_say(&self, address: Address, state: State) -> bool {
        let mut inner = self.lock();
        let truth = inner.shards.get_mut(&address);
        let Some(truth) = truth.filter(|truth| truth.is_free()) else {
            return false;
        };
        truth.pending = Some(state);
        true
    }

    /// An attempt to say it was not acknowledged.
    pub fn failed(&self, address: Address) {
        if let Some(truth) = self.lock().shards.get_mut(&address) {
            truth.uncertain = true;
        }
    }

    /// What the shard said is acknowledged.
    pub fn acknowledged(&self, address: Address) {
        if let Some(truth) = self.lock().shards.get_mut(&address) {
            truth.said = truth.pending.take().unwrap_or(truth.said);
        }
    }

    /// A shard that is shown as Unhealthy sends health checks again.
    pub fn heals(&self, address: Address) {
        let mut inner = self.lock();
        let since_round = inner.round;
        if let Some(truth) = inner.shards.get_mut(&address) {
            truth.said = State::Online;
            truth.life = Life::Speaks { since_round };
        }
    }

    /// A shard gives no more signs of life, unless something of it is under way; says whether it does not.
    #[must_use]
    pub fn falls_silent(&self, address: Address) -> bool {
        let mut inner = self.lock();
        let truth = inner.shards.get_mut(&address);
        let Some(truth) = truth.filter(|truth| truth.is_free()) else {
            return false;
        };
        truth.life = Life::Silent {
            since: Instant::now(),
        };
        true
    }

    /// The bot no longer has this shard.
    pub fn goes(&self, address: Address) {
        if let Some(truth) = self.lock().shards.get_mut(&address) {
            truth.life = Life::Gone;
            truth.pending = None;
        }
    }

    /// The shards that speak, say nothing at the moment, and of whom nothing is under way.
    #[must_use]
    pub fn free(&self) -> Vec<Address> {
        self.select(Truth::is_free)
    }

    /// Those of the free shards that spoke before this round, and so are not shown as Unhealthy any more.
    #[must_use]
    pub fn steady(&self) -> Vec<Address> {
        let round = self.lock().round;
        self.select(|truth| {
            truth.is_free()
                && matches!(truth.life, Life::Speaks { since_round } if since_round < round)
        })
    }

    /// The silent shards.
    #[must_use]
    pub fn silent(&self) -> Vec<Address> {
        self.select(|truth| matches!(truth.life, Life::Silent { .. }))
    }

    /// The shards whose statement is not acknowledged yet.
    #[must_use]
    pub fn pending(&self) -> Vec<Address> {
        self.select(|truth| truth.pending.is_some())
    }

    fn select(&self, wanted: impl Fn(&Truth) -> bool) -> Vec<Address> {
        let inner = self.lock();
        let shards = inner.shards.iter().filter(|(_, truth)| wanted(truth));
        shards.map(|(address, _)| *address).collect()
    }

    /// What every view must show in the end.
    #[must_use]
    pub fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        for (address, truth) in &self.lock().shards {
            let state = match truth.life {
                Life::Speaks { .. } => truth.said,
                Life::Silent { .. } => State::Unhealthy,
                Life::Gone => continue,
            };
            let states = picture.entry(address.cluster.to_owned()).or_default();
            states.push(state.to_char());
        }
        picture
    }

    /// Somebody was told that a shard is Unhealthy, at this moment.
    pub fn flagged(&self, cluster: &str, id: u32, by: &str) {
        let inner = self.lock();
        let found = inner
            .shards
            .iter()
            .find(|(address, _)| address.cluster == cluster && address.id == id);
        let Some((address, truth)) = found else {
            return;
        };
        let what = match truth.life {
            Life::Gone => return,
            // It was silent before this round, and what shows that may be on its way for as long.
            Life::Speaks { since_round } if since_round == inner.round => return,
            Life::Silent { since } if since.elapsed() + LAST_SIGN_MAX >= TIMEOUT => return,
            Life::Speaks { .. } => "was never silent".to_owned(),
            Life::Silent { since } => {
                format!("is silent for {} ms only", since.elapsed().as_millis())
            }
        };
        let text = format!("{by} calls {address} unhealthy, which {what}");
        self.complaints.raise(Rule::FalselyFlagged, text);
    }
}
