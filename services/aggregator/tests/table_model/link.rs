//! A link that breaks: who is flagged, and who never is.
//!
//! Here somebody else than the history decides what happens: bots with a habit,
//! and a link that breaks at its own times. Messages sent while it is broken are lost.

use std::time::Duration;

use glance_aggregator::table::{Input, Message, Moment, Stored, Table, Transition};
use glance_protocol::{
    ReportBody, ShardId, ShardRow, State, TableBlock, Timeouts, config::parse_bots,
};

use crate::{history::Random, seeds};

const TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// The owner of the table is woken up to this much after the deadline.
const WAKE_LATE_MS_MAX: u32 = 5;

const ALIVE: u32 = 0;
const DEAD: u32 = 1;
const NEVER_REPORTED: u32 = 2;

/// A table of three shards, and the time.
struct World {
    table: Table,
    now: Moment,
    next_health: Duration,
    random: Random,
    flagged: Vec<(u32, Duration)>,
    sequence: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut world = Self {
            table: Table::new(&parse_bots("main:3").unwrap(), &Timeouts::default()),
            now: Moment {
                mono: Duration::ZERO,
                wall_ms: 1_795_350_000_000,
            },
            next_health: millis(random.below(10_000)),
            random,
            flagged: Vec::new(),
            sequence: 0,
        };
        world.apply(Input::SightRegained);
        for shard in [ALIVE, DEAD] {
            world.say(shard, Some(State::Online));
        }
        world
    }

    fn apply(&mut self, input: Input<'_>) {
        let mut changes: Vec<Transition> = Vec::new();
        self.table.apply(input, self.now, &mut changes).unwrap();
        for change in changes {
            if change.state == State::Unhealthy {
                self.flagged.push((change.shard.get(), self.now.mono));
            }
        }
    }

    fn say(&mut self, shard: u32, state: Option<State>) {
        let cluster = "main".parse().unwrap();
        let body = ReportBody {
            state,
            ..ReportBody::default()
        };
        let message = Message {
            cluster: &cluster,
            shard: ShardId::new(shard).unwrap(),
            body: &body,
        };
        self.sequence += 1;
        let stored = Stored {
            sequence: self.sequence,
            at_ms: None,
        };
        self.apply(match state {
            Some(_) => Input::Report(message, stored),
            None => Input::Health(message),
        });
    }

    /// Lets time pass until `end`. Shard ALIVE sends its health checks, whether they are heard or not.
    fn run_until(&mut self, end: Duration) {
        let mut idle = 0;
        loop {
            let late = millis(self.random.below(WAKE_LATE_MS_MAX + 1));
            let tick = self.table.next_deadline().map(|deadline| deadline + late);
            let next = tick.unwrap_or(end).min(self.next_health);
            if next > end {
                break;
            }
            idle = if next > self.now.mono { 0 } else { idle + 1 };
            assert!(idle < 100, "a busy loop at {:?}", self.now);
            self.now.mono = self.now.mono.max(next);
            if self.next_health <= self.now.mono {
                self.next_health += HEALTH_INTERVAL;
                if self.table.is_clear() {
                    self.say(ALIVE, None);
                }
            }
            self.apply(Input::Tick);
            if next == end {
                break;
            }
        }
        self.now.mono = self.now.mono.max(end);
    }

    /// One turn of a link that breaks.
    fn flap(&mut self, clear: Duration, blind: Duration) {
        self.run_until(self.now.mono + clear);
        self.apply(Input::SightLost);
        self.run_until(self.now.mono + blind);
        self.apply(Input::SightRegained);
    }

    fn flagged(&self, shard: u32) -> Option<Duration> {
        let mut flags = self.flagged.iter().filter(|(other, _)| *other == shard);
        flags.next().map(|(_, at)| *at)
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

/// A flapping link cannot hide a dead shard for ever: six timeouts of the time
/// in which the aggregator could hear are enough, since a row of periods of
/// grace that is under way when the silence becomes long enough lasts at most five.
#[test]
fn a_dead_shard_is_flagged_in_the_end() {
    for seed in seeds(500) {
        let mut world = World::new(seed);
        let mut heard_for = Duration::ZERO;
        // Every 25 s to the millisecond in some worlds, less regularly in others. It holds
        // for 10 s at least, so that a living shard can be heard.
        let jitter_ms = world.random.pick(&[1, 2_000, 15_000]);
        while world.flagged(DEAD).is_none() {
            let clear = millis(25_000 - world.random.below(jitter_ms));
            let blind = millis(world.random.below(60_000));
            world.flap(clear, blind);
            assert!(heard_for <= 6 * TIMEOUT, "GLANCE_TEST_SEED={seed}");
            heard_for += clear;
        }
        assert_eq!(world.flagged(ALIVE), None, "GLANCE_TEST_SEED={seed}");
        assert_eq!(
            world.flagged(NEVER_REPORTED),
            None,
            "GLANCE_TEST_SEED={seed}"
        );
    }
}

/// A shard that sends health checks is never flagged, whenever and for however
/// long the link breaks: as long as one of its health checks can be heard in between.
#[test]
fn a_living_shard_is_never_flagged() {
    for seed in seeds(500) {
        let mut world = World::new(seed);
        for _ in 0..100 {
            let clear = HEALTH_INTERVAL + millis(world.random.pick(&[0, 1, 500, 20_000, 200_000]));
            let blind = millis(world.random.pick(&[0, 1, 2_000, 30_000, 3_600_000]));
            world.flap(clear, blind);
        }
        assert_eq!(world.flagged(ALIVE), None, "GLANCE_TEST_SEED={seed}");
    }
}

/// A link that breaks all the time hides a living shard, too; it is not flagged
/// for it before five timeouts of the time in which the aggregator could hear.
#[test]
fn a_shard_that_cannot_be_heard_is_not_flagged_early() {
    for seed in seeds(500) {
        let mut world = World::new(seed);
        world.next_health = Duration::MAX;
        let mut heard_for = Duration::ZERO;
        while heard_for < 5 * TIMEOUT - millis(100) {
            assert_eq!(world.flagged, [], "GLANCE_TEST_SEED={seed}");
            let rest = 5 * TIMEOUT - millis(100) - heard_for;
            let clear = millis(1 + world.random.below(29_000)).min(rest);
            let blind = millis(world.random.below(60_000));
            world.flap(clear, blind);
            heard_for += clear;
        }
        assert_eq!(world.flagged, [], "GLANCE_TEST_SEED={seed}");
    }
}

/// Without a fault a silent shard is flagged when its timeout is over, and not before.
#[test]
fn silence_is_flagged_within_a_second() {
    for seed in seeds(100) {
        let mut world = World::new(seed);
        world.run_until(Duration::from_secs(100));
        let died = world.now.mono;
        world.say(DEAD, Some(State::Stopping));
        world.flagged.clear();
        world.run_until(Duration::from_secs(1_000));
        let flagged = world.flagged(DEAD).unwrap() - died;
        let latest = TIMEOUT + millis(WAKE_LATE_MS_MAX);
        assert!(
            (TIMEOUT..=latest).contains(&flagged),
            "GLANCE_TEST_SEED={seed}"
        );
        assert_eq!(world.flagged.len(), 1, "GLANCE_TEST_SEED={seed}");
    }
}

/// What one aggregator kept is what the next one starts with: the same rows, and
/// all of them get one timeout to give a sign of life.
#[test]
fn a_restored_table_is_the_same_table() {
    let mut world = World::new(1);
    world.run_until(Duration::from_secs(100));
    world.say(DEAD, Some(State::Unhealthy));
    world.say(ALIVE, Some(State::Resuming));
    let kept = TableBlock {
        epoch: 7,
        cluster: "main".parse().unwrap(),
        block: 0,
        stream: "2026-11-22T12:00:00Z".to_owned(),
        sequence: 99,
        at_ms: world.now.wall_ms,
        rows: world.table.rows(0, 0),
    };
    let mut next = World::new(2);
    next.table = Table::new(&parse_bots("main:3").unwrap(), &Timeouts::default());
    let read = TableBlock::from_bytes(&kept.to_bytes()).unwrap();
    next.table.restore(&read, true, next.now);
    assert_eq!(next.table.rows(0, 0), world.table.rows(0, 0));
    assert_eq!(next.table.rows(0, 0)[2], ShardRow::default());

    next.next_health = Duration::MAX;
    next.apply(Input::SightRegained);
    next.run_until(Duration::from_secs(300));
    assert_eq!(next.flagged.len(), 1);
    let flagged = next.flagged(ALIVE).unwrap();
    assert!((TIMEOUT..=TIMEOUT + millis(WAKE_LATE_MS_MAX)).contains(&flagged));
    let row = &next.table.rows(0, 0)[ALIVE as usize];
    assert_eq!(
        (row.state, row.previous),
        (State::Unhealthy, State::Resuming)
    );
}
