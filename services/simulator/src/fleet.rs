//! Bots as Discord lets them live, without IO and without a clock.
//!
//! A [`Fleet`] is asked what happens up to a moment, and answers with [`Action`]s. The same [`Plan`] always gives
//! the same history, however large the steps are in which it is asked.

mod identify;
mod life;
mod schedule;
mod story;
#[cfg(test)]
mod tests;
mod vitals;

use std::{fmt, sync::Arc, time::Duration};

use glance_protocol::{Bot, ClusterName, Details, ReportBody, ShardId, State};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use identify::IdentifyQueues;
pub use identify::{MAX_CONCURRENCY, WINDOW};
use schedule::Schedule;
pub use story::Scenario;
use story::Story;
use vitals::Vitals;

/// How often a process sends a health check for each of its shards.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What fleet to simulate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The bots and their numbers of shards.
    pub bots: Vec<Bot>,
    /// How many shards one process hosts; at least 1.
    pub group_size: u32,
    /// What happens to them.
    pub scenario: Scenario,
    /// Chooses one of the possible histories.
    pub seed: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A shard's state changed, and its process says so.
    Report(Message),
    /// A process says that a shard is alive.
    Health(Message),
    /// A shard starts a session at the gateway. Glance does not hear of it.
    Identify(Identify),
    /// A turn of the story, in words.
    Told(Duration, String),
}

/// What a process says of one of its shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// When, since the start of the simulation.
    pub at: Duration,
    /// The bot.
    pub cluster: ClusterName,
    /// The shard.
    pub shard: ShardId,
    /// Its state.
    pub state: State,
    /// Everything else.
    pub details: Details,
}

impl Message {
    /// The body that says this.
    #[must_use]
    pub fn body(self) -> ReportBody {
        ReportBody {
            state: Some(self.state),
            details: self.details,
            ignored: 0,
        }
    }
}

/// The start of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// When, since the start of the simulation.
    pub at: Duration,
    /// The bot.
    pub cluster: ClusterName,
    /// The shard.
    pub shard: u32,
}

/// How many shards are in each state. Those of a killed process count as Unhealthy, which Glance finds out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([usize; State::ALL.len()]);

impl Counts {
    /// The number of shards in a state.
    #[must_use]
    pub fn of(&self, state: State) -> usize {
        self.0[usize::from(state.number())]
    }

    fn add(&mut self, state: State) {
        self.0[usize::from(state.number())] += 1;
    }

    fn remove(&mut self, state: State) {
        self.0[usize::from(state.number())] -= 1;
    }
}

impl fmt::Display for Counts {
    /// The states that occur: `1040 online, 16 starting`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for state in State::ALL {
            if self.of(state) > 0 {
                write!(f, "{separator}{} {state}", self.of(state))?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// Simulated bots. See the module's documentation.
#[derive(Debug)]
pub struct Fleet {
    bots: Vec<SimulatedBot>,
    schedule: Schedule<Event>,
    story: Story,
    rng: StdRng,
    now: Duration,
    /// Whether Discord's gateway takes and keeps connections.
    gateway_up: bool,
    /// The version with which processes start.
    release: Arc<str>,
    counts: Counts,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct SimulatedBot {
    name: ClusterName,
    total: u32,
    group_size: u32,
    queues: IdentifyQueues,
    processes: Vec<Process>,
    shards: Vec<Shard>,
}

/// What hosts the shards of one group.
#[derive(Debug)]
struct Process {
    group: Arc<str>,
    version: Arc<str>,
    alive: bool,
    /// Counts starts and ends. Events that were arranged in an earlier life are void.
    life: u32,
}

#[derive(Debug)]
struct Shard {
    state: State,
    /// Changes with the state. What was arranged with an earlier ticket is void.
    ticket: u32,
    vitals: Vitals,
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A process starts.
    Boot(Group),
    /// A process sends its health checks.
    Check(Group, u32),
    /// A process has shut down.
    Gone(Group, u32),
    /// A rate limit key of a bot may identify.
    Turn { bot: usize, key: usize },
    /// A shard makes its next step.
    Step(At, u32, Step),
    /// Some connection of a bot is lost.
    Reconnect { bot: usize },
    /// The story looks whether it can go on.
    Story,
}

/// A group of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    bot: usize,
    group: usize,
}

/// A shard of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    bot: usize,
    shard: u32,
}

/// A shard's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The connection is lost.
    Drop,
    /// The gateway answered to a Resume, if it is up.
    Resumed,
    /// A new session is to be started.
    Start,
    /// The gateway answered to an Identify, if it is up.
    Ready,
}

impl Fleet {
    /// A fleet at the beginning of its story.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let group_size = plan.group_size.max(1);
        let bots: Vec<SimulatedBot> = plan
            .bots
            .into_iter()
            .map(|bot| SimulatedBot::new(bot, group_size, &mut rng))
            .collect();
        let mut fleet = Self {
            bots,
            schedule: Schedule::new(),
            story: Story::new(plan.scenario),
            rng,
            now: Duration::ZERO,
            gateway_up: true,
            release: story::version(0),
            counts: Counts::default(),
            actions: Vec::new(),
        };
        fleet.begin();
        fleet
    }

    /// What happens up to `now`, in order. A `now` before an earlier one changes nothing.
    pub fn advance(&mut self, now: Duration) -> Vec<Action> {
        while let Some((at, event)) = self.schedule.next_due(now) {
            self.now = at;
            self.handle(event);
        }
        std::mem::take(&mut self.actions)
    }

    /// How many shards are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The number of shards of all bots.
    #[must_use]
    pub fn total(&self) -> usize {
        self.bots.iter().map(|bot| bot.shards.len()).sum()
    }

    fn begin(&mut self) {
        for _ in 0..self.total() {
            self.counts.add(State::Unknown);
        }
        self.schedule.add(Duration::ZERO, Event::Story);
        if !self.story.begins_cold() {
            for group in self.all_groups() {
                self.boot_running(group);
            }
        }
        for bot in 0..self.bots.len() {
            self.plan_reconnect(bot);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Boot(group) => self.boot(group),
            Event::Check(group, life) if self.process(group).life == life => self.check(group),
            Event::Gone(group, life) if self.process(group).life == life => self.gone(group),
            Event::Turn { bot, key } => self.turn(bot, key),
            Event::Step(at, ticket, step) if self.shard(at).ticket == ticket => self.step(at, step),
            Event::Reconnect { bot } => self.reconnect(bot),
            Event::Story => self.tell_on(),
            Event::Check(..) | Event::Gone(..) | Event::Step(..) => {}
        }
    }

    /// Arranges an event after a delay of `from` to `to` seconds.
    fn after(&mut self, from: f64, to: f64, event: Event) {
        let delay = Duration::from_secs_f64(self.rng.random_range(from..to));
        self.schedule.add(self.now + delay, event);
    }

    fn all_groups(&self) -> Vec<Group> {
        self.bots
            .iter()
            .enumerate()
            .flat_map(|(bot, it)| (0..it.processes.len()).map(move |group| Group { bot, group }))
            .collect()
    }

    fn process(&self, Group { bot, group }: Group) -> &Process {
        &self.bots[bot].processes[group]
    }

    fn process_mut(&mut self, Group { bot, group }: Group) -> &mut Process {
        &mut self.bots[bot].processes[group]
    }

    fn shard(&self, At { bot, shard }: At) -> &Shard {
        &self.bots[bot].shards[shard as usize]
    }

    fn shard_mut(&mut self, At { bot, shard }: At) -> &mut Shard {
        &mut self.bots[bot].shards[shard as usize]
    }
}

impl SimulatedBot {
    fn new(bot: Bot, group_size: u32, rng: &mut StdRng) -> Self {
        let total = bot.total.unwrap_or(0);
        let process = |group: u32| Process {
            group: group.to_string().into(),
            version: story::version(0),
            alive: false,
            life: 0,
        };
        let shards = (0..total)
            .map(|_| Shard {
                state: State::Unknown,
                ticket: 0,
                vitals: Vitals::new(rng),
            })
            .collect();
        Self {
            name: bot.name,
            total,
            group_size,
            queues: IdentifyQueues::new(),
            processes: (0..total.div_ceil(group_size)).map(process).collect(),
            shards,
        }
    }

    fn group_of(&self, shard: u32) -> usize {
        (shard / self.group_size) as usize
    }

    /// The shards of a group; the last group may have fewer than the others.
    #[allow(clippy::cast_possible_truncation)] // A group's number is below the number of shards, a u32.
    fn shards_of(&self, group: usize) -> std::ops::Range<u32> {
        let first = group as u32 * self.group_size;
        first..(first.saturating_add(self.group_size)).min(self.total)
    }
}
