//! Several installations side by side, since a round is mostly waiting.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use tokio::runtime::Runtime;

use super::{
    lane::Lane,
    plan::{Round, deal},
    report::{Failure, Tally},
    system::Shape,
};

/// Plays the rounds on so many installations, each on a runtime of its own, and waits for the end.
///
/// # Errors
///
/// When a rule was broken: the first failure. The other installations finish their round.
pub fn run(shape: Shape, seed: u64, rounds: &[Round], lanes: usize) -> Result<Tally, Box<Failure>> {
    let failed = AtomicBool::new(false);
    let play = |rounds: Vec<Round>| {
        let runtime = Runtime::new().expect("a runtime can be started");
        let played = runtime.block_on(async {
            let lane = Lane::start(shape, seed).await?;
            lane.play(&rounds, &failed).await
        });
        failed.fetch_or(played.is_err(), SeqCst);
        played
    };
    thread::scope(|scope| {
        let running: Vec<_> = deal(rounds, lanes)
            .into_iter()
            .map(|rounds| scope.spawn(|| play(rounds)))
            .collect();
        let mut tally = Tally::default();
        let mut failure = None;
        for lane in running {
            match lane.join().expect("a lane does not panic") {
                Ok(played) => tally.add(&played),
                Err(why) => failure = failure.or(Some(why)),
            }
        }
        failure.map_or(Ok(tally), Err)
    })
}
