//! The bots: shards that say their states once, give signs of life, fall silent and come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use glance_protocol::State;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    complaint::Rule,
    ledger::{Address, Ledger},
    voice::{Voice, Ways},
    within,
};

/// What the aggregators are configured with.
pub const BOTS: &str = "main:48;demo:3;grows:auto";
/// The names in it. Each bot has an account at the broker.
pub const NAMES: [&str; 3] = ["main", "demo", GROWS];
/// The bot whose size is learned.
pub const GROWS: &str = "grows";
const CONFIGURED: [(&str, u32); 2] = [("main", 48), ("demo", 3)];
const GROWS_AT_FIRST: u32 = 6;
const GROWS_MAX: u32 = 12;

/// Pause between two signs of life; six fit into the timeout.
const BEAT: Duration = Duration::from_millis(500);
/// Pause before a statement that was not acknowledged is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// Pause between two statements of the restless fleet.
const RESTLESS: Duration = Duration::from_millis(60);
/// Health checks of one shard that wait for their answers.
const BEATS_MAX: usize = 8;
/// How long everything that was said may take to be acknowledged, once the faults are over.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// What a bot may say. Not Unhealthy, which only silence should bring here.
const SAYINGS: [State; 6] = [
    State::Unknown,
    State::Offline,
    State::Online,
    State::Starting,
    State::Stopping,
    State::Resuming,
];

#[derive(Debug, Clone, Copy)]
enum Order {
    Say(State),
    Speak,
    FallSilent,
}

/// All bots of one system.
#[derive(Debug)]
pub struct Fleet {
    /// How they speak.
    pub ways: Arc<Ways>,
    ledger: Ledger,
    shards: Mutex<BTreeMap<Address, mpsc::Sender<Order>>>,
    rng: Mutex<StdRng>,
    restless: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

impl Fleet {
    /// Starts all bots, and waits until each shard has reported.
    pub async fn start(ways: Ways, ledger: Ledger, seed: u64) -> Arc<Self> {
        let fleet = Arc::new(Self {
            ways: Arc::new(ways),
            ledger,
            shards: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            restless: false.into(),
            tasks: Mutex::default(),
        });
        for (cluster, total) in CONFIGURED {
            (0..total).for_each(|id| fleet.say(Address { cluster, id }, State::Online));
        }
        fleet.resize_to(GROWS_AT_FIRST);
        fleet.settle().await;
        fleet
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, address: Address, order: Order) {
        let mut shards = Self::lock(&self.shards);
        let sender = shards.entry(address).or_insert_with(|| {
            let (sender, orders) = mpsc::channel(64);
            let shard = Shard {
                address,
                voice: voice_of(address),
                ways: self.ways.clone(),
                ledger: self.ledger.clone(),
                speaks: false.into(),
                turn: AtomicUsize::new(0),
            };
            Self::lock(&self.tasks).spawn(shard.run(orders));
            sender
        });
        sender.try_send(order).expect("a shard takes its orders");
    }

    fn say(&self, address: Address, state: State) {
        self.ledger.says(address, state);
        self.order(address, Order::Say(state));
    }

    /// Some shards say another state.
    pub fn stir(&self, count: usize) {
        let free = self.ledger.free();
        let mut rng = Self::lock(&self.rng);
        let chosen: Vec<Address> = free.sample(&mut *rng, count).copied().collect();
        let sayings: Vec<State> = chosen
            .iter()
            .filter_map(|_| SAYINGS.choose(&mut *rng).copied())
            .collect();
        drop(rng);
        for (address, state) in chosen.into_iter().zip(sayings) {
            // Another task may have chosen it meanwhile.
            if self.ledger.may_say(address, state) {
                self.order(address, Order::Say(state));
            }
        }
    }

    /// From now on states change all the time, until [`settle`](Self::settle).
    pub fn be_restless(self: &Arc<Self>) -> JoinHandle<()> {
        self.restless.store(true, SeqCst);
        let fleet = self.clone();
        tokio::spawn(async move {
            while fleet.restless.load(SeqCst) {
                fleet.stir(1);
                sleep(RESTLESS).await;
            }
        })
    }

    /// No shard says anything new; waits until all that was said is acknowledged, or complains.
    pub async fn settle(&self) {
        self.restless.store(false, SeqCst);
        let settled = within(SETTLE_MAX, async || {
            self.ledger.pending().is_empty().then_some(())
        });
        if settled.await.is_none() {
            let pending = self.ledger.pending();
            let text = format!(
                "{} statements are not taken: {}, ...",
                pending.len(),
                pending[0]
            );
            self.ways.complaints.raise(Rule::NotTaken, text);
        }
    }

    /// Some shards give no more signs of life.
    pub fn silence(&self, count: usize) {
        let free = self.ledger.steady();
        let mut rng = Self::lock(&self.rng);
        let chosen: Vec<Address> = free.sample(&mut *rng, count).copied().collect();
        drop(rng);
        for address in chosen {
            if self.ledger.falls_silent(address) {
                self.order(address, Order::FallSilent);
            }
        }
    }

    /// The silent shards come back, by a report or by a health check.
    pub fn revive(&self) {
        for address in self.ledger.silent() {
            if Self::lock(&self.rng).random_bool(0.5) {
                self.say(address, State::Resuming);
            } else {
                self.ledger.heals(address);
                self.order(address, Order::Speak);
            }
        }
    }

    /// The names in it. Each bot has an account at the broker.
    pub const NAMES: [&str; 3] = ["main", "demo", GROWS];
    /// The bot whose size is learned gets another one.
    pub fn resize(&self) {
        let before = self.ways.claimed.load(Relaxed).max(1);
        let step = Self::lock(&self.rng).random_range(1..GROWS_MAX);
        self.resize_to((before - 1 + step) % GROWS_MAX + 1);
    }

    fn resize_to(&self, total: u32) {
        let before = self.ways.claimed.swap(total, Relaxed);
        let address = |id| Address { cluster: GROWS, id };
        for id in before..total {
            self.say(address(id), State::Starting);
        }
        for id in total..before {
            self.ledger.goes(address(id));
            self.order(address(id), Order::FallSilent);
        }
    }
}

/// Half of the shards speak NATS, and the bot without a configured size never uses the addresses that ask for one.
fn voice_of(address: Address) -> Voice {
    match (address.id % 2, address.cluster) {
        (0, _) => Voice::Nats,
        (_, GROWS) => Voice::Report,
        _ => Voice::Http,
    }
}

struct Shard {
    address: Address,
    voice: Voice,
    ways: Arc<Ways>,
    ledger: Ledger,
    /// Whether it sends health checks: not before its first report is acknowledged.
    speaks: AtomicBool,
    /// Counts what it sent.
    turn: AtomicUsize,
}

impl Shard {
    async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let shard = Arc::new(self);
        let beats = Arc::new(Semaphore::new(BEATS_MAX));
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saying: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Say(state)) => {
                        saying = Some(tokio::spawn(shard.clone().say(state)));
                    }
                    Some(Order::Speak) => shard.speaks.store(true, SeqCst),
                    Some(Order::FallSilent) => {
                        if let Some(saying) = saying.take() {
                            saying.abort();
                        }
                        shard.speaks.store(false, SeqCst);
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    if !shard.speaks.load(SeqCst) {
                        continue;
                    }
                    // A health check that hangs does not hold up the next one.
                    if let Ok(permit) = beats.clone().try_acquire_owned() {
                        let shard = shard.clone();
                        tokio::spawn(async move {
                            let turn = shard.turn.fetch_add(1, Relaxed);
                            shard.ways.beat(shard.voice, shard.address, turn).await;
                            drop(permit);
                        });
                    }
                }
            }
        }
    }

    /// Says a state until it is acknowledged.
    async fn say(self: Arc<Self>, state: State) {
        loop {
            let turn = self.turn.fetch_add(1, Relaxed);
            let taken = self.ways.say(self.voice, self.address, turn, state).await;
            if taken.uncertain {
                self.ledger.failed(self.address);
            }
            if taken.acknowledged {
                break;
            }
            sleep(AGAIN).await;
        }
        self.ledger.acknowledged(self.address);
        self.speaks.store(true, SeqCst);
    }
}
