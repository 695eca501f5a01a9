//! Which shard reports when.

use std::time::Duration;

use glance_protocol::{BLOCK_LEN, State};
use tokio::time::{Instant, sleep_until};

/// The fleet: enough blocks of the table that a round can go from block to block.
pub(crate) const BLOCKS: u32 = 16;
/// How many shards the fleet has.
pub(crate) const SHARDS: u32 = BLOCKS * BLOCK_LEN;

/// Reports before those that count, three for each block: first uses cost more.
const WARM_UP: u32 = 3 * BLOCKS;

/// In one round, no shard reports twice.
pub(crate) const REPORTS_MAX: u32 = SHARDS - WARM_UP;

/// The aggregator writes a block at once for a lone change, then at most every 100 ms. Two reports of a block have to
/// be further apart, or the wait for that is measured.
const BLOCK_PAUSE_MS_MIN: u32 = 160;

/// The shortest pause between reports that go round the blocks, in milliseconds.
pub(crate) const fn pause_ms_min() -> u32 {
    BLOCK_PAUSE_MS_MIN / BLOCKS
}

/// A shard and the state that it reports: enough to recognise it at the other end.
pub(crate) type Report = (u32, State);

/// A round of reports: each for another shard, from block to block.
pub(crate) fn reports(count: u32, state: State) -> impl Iterator<Item = Report> {
    (0..WARM_UP + count).map(move |number| {
        let (block, place) = (number % BLOCKS, number / BLOCKS);
        (block * BLOCK_LEN + place, state)
    })
}

/// How many of [`reports`] do not count.
pub(crate) const fn warm_up() -> usize {
    WARM_UP as usize
}

/// What a pass over the fleet reports, so that each changes the states that the one before left. All are Online before
/// pass 0.
pub(crate) fn state_of_pass(pass: u32) -> State {
    if pass.is_multiple_of(2) {
        State::Resuming
    } else {
        State::Online
    }
}

/// Pauses that never fall into step with a timer of the programs.
pub(crate) struct Pace {
    pause: Duration,
    next: Instant,
    number: u32,
}

impl Pace {
    /// Pauses of `pause` to one and a half of it.
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            next: Instant::now() + pause,
            number: 0,
        }
    }

    /// Waits until the next report is due. One that is late does not hurry those after it.
    pub(crate) async fn wait(&mut self) {
        sleep_until(self.next).await;
        // Steps of the golden ratio spread evenly, however many there are, and are the same in each run.
        self.number += 1;
        let fraction = (f64::from(self.number) * 0.618_034).fract();
        self.next = Instant::now() + self.pause.mul_f64(1.0 + fraction / 2.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_round_takes_each_shard_once_and_stays_in_the_fleet() {
        let shards: HashSet<u32> = reports(REPORTS_MAX, State::Online)
            .map(|(shard, _)| shard)
            .collect();
        assert_eq!(shards.len(), SHARDS as usize);
        assert!(shards.iter().all(|shard| *shard < SHARDS));
    }

    #[test]
    fn reports_go_round_the_blocks() {
        let blocks: Vec<u32> = reports(1, State::Online)
            .map(|(shard, _)| shard / BLOCK_LEN)
            .take(BLOCKS as usize + 1)
            .collect();
        assert!(
            blocks[1..]
                .iter()
                .eq((1..BLOCKS).chain([0]).collect::<Vec<_>>().iter())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_keep_a_block_a_lone_change() {
        let mut pace = Pace::new(Duration::from_millis(pause_ms_min().into()));
        pace.wait().await;
        for _ in 0..1000 {
            let start = Instant::now();
            pace.wait().await;
            let pause = start.elapsed();
            // The paused clock counts whole milliseconds.
            assert!((Duration::from_millis(10)..=Duration::from_millis(16)).contains(&pause));
        }
    }
}
