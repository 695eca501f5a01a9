//! Random histories of a table, as plain data: they can be printed, repeated and shortened.

use std::time::Duration;

use glance_protocol::{Bot, Cause, Details, ReportBody, ShardRow, State, Timeouts};

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
    Report(usize, u32, ReportBody, Delivery),
    Health(usize, u32, ReportBody),
    Tick,
    /// Wait until the table has something to do, and tick.
    TickAtDeadline,
    SightLost,
    SightRegained,
    /// Somebody sets the wall clock, and the table is told.
    ClockStepped(i64),
    /// Keep what the block holds now.
    Keep(usize, u32),
    /// Take over what was kept last of that block, or these rows when nothing was.
    Restore(usize, u32, Vec<ShardRow>),
    /// Merge the same with what is in the table.
    Adopt(usize, u32, Vec<ShardRow>),
    /// Take over a size that was kept when the stream had this many reports less.
    RestoreTotal(usize, u32, u64),
    /// The broker lost its store.
    OtherStream,
    TakeMarks(usize, u32),
    TakeHeard(usize, u32),
    TakeResizes,
    TakeDisagreements,
    JudgingSince,
}

/// How a report comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    /// How many reports before the newest one it is, when it comes once more.
    pub(crate) again: Option<u64>,
    /// When it was stored while nobody listened: how many milliseconds ago; negative when
    /// the broker's clock is ahead.
    pub(crate) age_ms: Option<i64>,
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
                total: match (random.chance(35), large && index == 0) {
                    (true, _) => None,
                    (_, true) => Some(1022 + random.below(6)),
                    (_, false) => Some(1 + random.below(5)),
                },
            })
            .collect();
        let timeouts = random.pick(&["30", "30;demo:120", "2;demo:7.5;patron_1:30", "60;main:1"]);
        let steps = if large { steps / 4 } else { steps };
        // In some histories the link hardly ever breaks, in others it flaps all the time.
        let flaps = random.pick(&[1, 5, 30]);
        let steps = (0..steps)
            .map(|_| step(random, &bots, (flaps, large)))
            .collect();
        Self {
            timeouts: Timeouts::parse(timeouts).unwrap(),
            bots,
            steps,
        }
    }
}

fn step(random: &mut Random, bots: &[Bot], (flaps, large): (u32, bool)) -> Step {
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
        act: act(random, bots, (flaps, large)),
    }
}

fn act(random: &mut Random, bots: &[Bot], (flaps, large): (u32, bool)) -> Act {
    if random.chance(flaps) {
        return random.pick(&[Act::SightLost, Act::SightRegained, Act::SightRegained]);
    }
    let cluster = match random.chance(2) {
        true => bots.len(),
        false => random.below(u32::try_from(bots.len()).unwrap_or(1)) as usize,
    };
    let bot = bots.get(cluster);
    let is_auto = bot.is_some_and(|bot| bot.total.is_none());
    let usual = if large && cluster == 0 { 1027 } else { 5 };
    let total = bot.and_then(|bot| bot.total).unwrap_or(usual);
    let shard = match random.chance(3) {
        true => random.pick(&[total, total + 1, 4_711, 262_143]),
        // The last few shards: in a large cluster these are the ones around the border of a block.
        false => total - 1 - random.below(total.min(6)),
    };
    // Most bots of a cluster that learns its size tell it, and not always the same.
    let claim = random.chance(if is_auto { 50 } else { 10 });
    let claim = claim.then(|| total + 2 - random.below(total.min(7)));
    let block = random.pick(&[0, 0, 0, 1, 2]);
    match random.below(100) {
        0..27 => Act::Report(cluster, shard, report(random, claim), delivery(random)),
        27..50 => Act::Health(cluster, shard, health(random, claim)),
        50..61 => Act::Tick,
        61..71 => Act::TickAtDeadline,
        71..76 => Act::Keep(cluster, block),
        76 => Act::Restore(cluster, block, Vec::new()),
        77 => Act::Restore(cluster, block, rows(random)),
        78..81 => Act::Adopt(cluster, block, Vec::new()),
        81 => Act::Adopt(cluster, block, rows(random)),
        82 => {
            let kept = random.pick(&[0, 1, total, total + 1, total.saturating_sub(2)]);
            Act::RestoreTotal(cluster, kept, u64::from(random.below(20)))
        }
        83 => match random.chance(30) {
            true => Act::OtherStream,
            false => Act::ClockStepped((i64::from(random.below(7_200)) - 3_600) * 1_000),
        },
        84..89 => Act::TakeMarks(cluster, block),
        89..94 => Act::TakeHeard(cluster, block),
        94..96 => Act::TakeResizes,
        96 => Act::TakeDisagreements,
        _ => Act::JudgingSince,
    }
}

fn delivery(random: &mut Random) -> Delivery {
    let again = random.chance(10).then(|| u64::from(random.below(10)));
    let age_ms = random
        .chance(20)
        .then(|| i64::from(random.below(7_200_000)) - 60_000);
    Delivery { again, age_ms }
}

fn report(random: &mut Random, total: Option<u32>) -> ReportBody {
    // Most shards are fine; and there may be no state, which is refused.
    let state = match random.below(40) {
        0 => None,
        1..20 => Some(State::Online),
        _ => Some(random.pick(&State::ALL)),
    };
    ReportBody {
        state,
        ..details(random, total)
    }
}

fn health(random: &mut Random, total: Option<u32>) -> ReportBody {
    match random.chance(15) {
        true => report(random, total),
        false => details(random, total),
    }
}

fn details(random: &mut Random, total: Option<u32>) -> ReportBody {
    let mut details = Details {
        total,
        ..Details::default()
    };
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
                cause: Some(random.pick(&[Cause::Report, Cause::Health, Cause::Timeout])),
                // Another clock may be far ahead.
                since_ms: Some(random.pick(&[1_000_000, 1_795_350_000_000, 1_900_000_000_000])),
                last_heard_ms: Some(i64::from(random.below(1_000_000))),
                details: Details::default(),
            },
        })
        .collect()
}
