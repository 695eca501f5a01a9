//! Random histories of a table, as plain data: they can be printed, repeated and shortened.

use std::time::Duration;

use glance_protocol::{Bot, Details, ReportBody, ShardRow, State, Timeouts};

/// One past the last place of a list of clusters: a cluster that does not exist.
pub(crate) const NOBODY: &str = "nobody";

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to pick steps.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end.max(1))).unwrap_or_default()
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(u32::try_from(from.len()).unwrap()) as usize].clone()
    }
}

/// One step: time passes, then something happens.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// By how much the monotonic clock, and with it the wall clock, goes on.
    pub(crate) pause: Duration,
    /// By how much somebody sets the wall clock besides, in milliseconds.
    pub(crate) wall_step_ms: i64,
    pub(crate) act: Act,
}

/// What happens. A cluster is a place in the configured order.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Report(usize, u32, ReportBody),
    Health(usize, u32, ReportBody),
    /// A report that is this many milliseconds old; negative when the broker's clock is ahead.
    Replay(usize, u32, ReportBody, i64),
    Tick,
    /// Wait until the table has something to do, and tick.
    TickAtDeadline,
    SightLost,
    SightRegained,
    /// Keep what the block holds now.
    Keep(usize, u32),
    /// Take over what was kept last of that block, or these rows when nothing was.
    Restore(usize, u32, Vec<ShardRow>),
    TakeMarks(usize, u32),
    TakeHeard(usize, u32),
    JudgingSince,
}

/// A configuration, and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) bots: Vec<Bot>,
    pub(crate) timeouts: Timeouts,
    pub(crate) steps: Vec<Step>,
}

impl History {
    pub(crate) fn random(seed: u64, steps: usize) -> Self {
        let random = &mut Random::new(seed);
        // Now and then a cluster of two blocks, of which only the border is used.
        let large = random.chance(1);
        let clusters = 1 + random.below(3) as usize;
        let bots: Vec<Bot> = ["main", "demo", "patron_1"][..clusters]
            .iter()
            .enumerate()
            .map(|(index, name)| Bot {
                name: name.parse().unwrap(),
                total: Some(match large && index == 0 {
                    true => 1022 + random.below(6),
                    false => 1 + random.below(5),
                }),
            })
            .collect();
        let timeouts = random.pick(&["30", "30;demo:120", "2;demo:7.5;patron_1:30", "60;main:1"]);
        let steps = if large { steps / 4 } else { steps };
        // In some histories the link hardly ever breaks, in others it flaps all the time.
        let flaps = random.pick(&[1, 5, 30]);
        let steps = (0..steps).map(|_| step(random, &bots, flaps)).collect();
        Self {
            timeouts: Timeouts::parse(timeouts).unwrap(),
            bots,
            steps,
        }
    }
}

fn step(random: &mut Random, bots: &[Bot], flaps: u32) -> Step {
    let pause_ms = match random.below(20) {
        0..5 => 0,
        5..14 => u64::from(random.below(3_000)),
        14..18 => u64::from(random.below(20_000)),
        18 => random.pick(&[1_000, 7_500, 10_000, 25_000, 30_000, 120_000, 150_000]),
        // The machine slept.
        _ => u64::from(random.below(4 * 3_600_000)),
    };
    let wall_step_ms = match random.chance(4) {
        true => (i64::from(random.below(7_200)) - 3_600) * 5_000,
        false => 0,
    };
    Step {
        pause: Duration::from_millis(pause_ms),
        wall_step_ms,
        act: act(random, bots, flaps),
    }
}

fn act(random: &mut Random, bots: &[Bot], flaps: u32) -> Act {
    let cluster = match random.chance(2) {
        true => bots.len(),
        false => random.below(u32::try_from(bots.len()).unwrap_or(1)) as usize,
    };
    let total = bots.get(cluster).map_or(3, |bot| bot.total.unwrap_or(0));
    let shard = match random.chance(3) {
        true => random.pick(&[total, total + 1, 4_711, 262_143]),
        // The last few shards: in a large cluster these are the ones around the border of a block.
        false => total - 1 - random.below(total.min(6)),
    };
    let block = random.pick(&[0, 0, 0, 1, 2]);
    if random.chance(flaps) {
        return random.pick(&[Act::SightLost, Act::SightRegained, Act::SightRegained]);
    }
    match random.below(100) {
        0..25 => Act::Report(cluster, shard, report(random)),
        25..50 => Act::Health(cluster, shard, health(random)),
        50..56 => {
            let age_ms = i64::from(random.below(7_200_000)) - 60_000;
            Act::Replay(cluster, shard, report(random), age_ms)
        }
        56..70 => Act::Tick,
        70..80 => Act::TickAtDeadline,
        80..83 => Act::Keep(cluster, block),
        83 => Act::Restore(cluster, block, Vec::new()),
        84 => Act::Restore(cluster, block, rows(random)),
        85..91 => Act::TakeMarks(cluster, block),
        91..96 => Act::TakeHeard(cluster, block),
        _ => Act::JudgingSince,
    }
}

fn report(random: &mut Random) -> ReportBody {
    // Most shards are fine; and there may be no state, which is refused.
    let state = match random.below(40) {
        0 => None,
        1..20 => Some(State::Online),
        _ => Some(random.pick(&State::ALL)),
    };
    ReportBody {
        state,
        ..details(random)
    }
}

fn health(random: &mut Random) -> ReportBody {
    match random.chance(15) {
        true => report(random),
        false => details(random),
    }
}

fn details(random: &mut Random) -> ReportBody {
    let mut details = Details::default();
    if random.chance(10) {
        details.total = Some(1 + random.below(9));
    }
    if random.chance(10) {
        details.group = Some(random.pick(&["0", "1", "europe"]).into());
    }
    if random.chance(20) {
        details.latency_ms = Some(f64::from(random.below(200)));
    }
    ReportBody {
        details,
        ..ReportBody::default()
    }
}

/// What another aggregator may have kept: for fewer or more shards than there are.
fn rows(random: &mut Random) -> Vec<ShardRow> {
    (0..random.below(8))
        .map(|_| match random.chance(40) {
            true => ShardRow::default(),
            false => ShardRow {
                state: random.pick(&State::ALL),
                previous: random.pick(&State::ALL),
                cause: Some(glance_protocol::Cause::Report),
                since_ms: Some(i64::from(random.below(1_000_000))),
                last_heard_ms: Some(i64::from(random.below(1_000_000))),
                details: Details::default(),
            },
        })
        .collect()
}
