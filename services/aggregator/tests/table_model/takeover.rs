//! What a table knows, what another aggregator kept, and what comes of both: small stories.

use glance_aggregator::table::Input;
use glance_protocol::{Cause, State};

use crate::scene::{BEGIN_MS, Scene};

/// A leader and a follower that heard the same reports. Only the leader judges.
fn replicas() -> (Scene, Scene) {
    let (mut leader, mut follower) = (Scene::new("main:4"), Scene::blind("main:4"));
    follower.now = leader.now;
    for scene in [&mut leader, &mut follower] {
        scene.start(0..2, None);
        scene.changes.clear();
    }
    (leader, follower)
}

/// Time passes for both; nobody sends anything.
fn pass(leader: &mut Scene, follower: &mut Scene, seconds: u32) {
    leader.pass(seconds);
    follower.pass(seconds);
}

fn told(scene: &Scene) -> Vec<(u32, State, State, Cause)> {
    let changes = scene.changes.iter();
    changes
        .map(|it| (it.shard.get(), it.state, it.previous, it.cause))
        .collect()
}

#[test]
fn what_the_last_leader_flagged_stays_flagged() {
    let (mut leader, mut follower) = replicas();
    pass(&mut leader, &mut follower, 40);
    leader.health(1, None).unwrap();
    follower.health(1, None).unwrap();
    assert_eq!(follower.state(0), State::Online);
    follower.table.take_marks(0, 0);
    follower.adopt(&leader.kept(), true);
    assert_eq!(
        (follower.row(0), follower.changes.len()),
        (leader.row(0), 0)
    );
    assert_eq!(follower.row(1), leader.row(1));
    assert!(!follower.table.take_marks(0, 0).changed);

    // From now on the follower judges: shard 1 has one timeout, shard 0 is red already.
    follower.apply(Input::SightRegained).unwrap();
    follower.pass(29);
    assert_eq!(follower.changes, []);
    follower.pass(1);
    let flagged = (1, State::Unhealthy, State::Online, Cause::Timeout);
    assert_eq!(told(&follower), [flagged]);
}

#[test]
fn a_report_that_the_last_leader_did_not_see_is_told() {
    let (leader, mut follower) = replicas();
    let kept = leader.kept();
    follower.pass(1);
    follower.report(0, State::Stopping, None).unwrap();
    follower.report(3, State::Starting, None).unwrap();
    follower.changes.clear();
    follower.adopt(&kept, true);
    let first = (0, State::Stopping, State::Online, Cause::Report);
    let second = (3, State::Starting, State::Unknown, Cause::Report);
    assert_eq!(told(&follower), [first, second]);
    assert!(follower.table.take_marks(0, 0).changed);
    follower.adopt(&follower.kept(), true);
    assert_eq!(follower.changes.len(), 2, "it is told once");
}

/// The follower flagged nobody, so for it the shard was Online all the time.
#[test]
fn a_report_after_a_flag_that_only_the_leader_knows_is_told() {
    let (mut leader, mut follower) = replicas();
    pass(&mut leader, &mut follower, 40);
    let kept = leader.kept();
    follower.report(0, State::Online, None).unwrap();
    follower.changes.clear();
    follower.adopt(&kept, true);
    let change = (0, State::Online, State::Unhealthy, Cause::Report);
    assert_eq!(told(&follower), [change]);
    let row = follower.row(0);
    assert_eq!(row.previous, State::Unhealthy);
    assert_eq!(row.since_ms, kept.rows[0].since_ms);
    // Shard 1 was flagged too, and said nothing since.
    assert_eq!(follower.state(1), State::Unhealthy);
}

#[test]
fn a_shard_that_was_healed_after_the_flag_stays_healed() {
    let (mut leader, mut follower) = replicas();
    pass(&mut leader, &mut follower, 40);
    let kept = leader.kept();
    follower.adopt(&kept, true);
    follower.pass(5);
    follower.health(0, None).unwrap();
    assert_eq!(follower.state(0), State::Online);
    follower.changes.clear();
    follower.adopt(&kept, true);
    let change = (0, State::Online, State::Unhealthy, Cause::Health);
    assert_eq!(told(&follower), [change]);

    // Flagged again after it was healed: the flag is newer.
    let mut later = kept.clone();
    follower.pass(1);
    later.rows[0].since_ms = Some(follower.now.wall_ms);
    follower.adopt(&later, true);
    assert_eq!(follower.state(0), State::Unhealthy);
}

/// A health check may carry a state. It has no sequence, but a time.
#[test]
fn a_state_that_a_health_check_told_after_the_block_is_kept() {
    let (mut leader, mut follower) = replicas();
    let kept = leader.kept();
    pass(&mut leader, &mut follower, 1);
    follower.health_with(0, State::Stopping);
    follower.changes.clear();
    follower.adopt(&kept, true);
    let change = (0, State::Stopping, State::Online, Cause::Report);
    assert_eq!(told(&follower), [change]);
    // One that the block holds already is told by it.
    leader.health_with(1, State::Stopping);
    leader.pass(1);
    follower.health_with(1, State::Starting);
    follower.adopt(&leader.kept(), true);
    assert_eq!(follower.state(1), State::Stopping);
}

/// A clock that is behind by an hour makes a block seem old. What was said long ago is in it all the same.
#[test]
fn a_block_with_a_wrong_time_is_not_undone() {
    let (mut leader, mut follower) = replicas();
    pass(&mut leader, &mut follower, 40);
    let mut kept = leader.kept();
    kept.shift_times(-3_600_000);
    follower.adopt(&kept, true);
    assert_eq!(follower.state(0), State::Unhealthy);
}

/// A block that counts in another stream is older than every report of the present one.
#[test]
fn sequences_of_another_stream_mean_nothing() {
    let (mut leader, mut follower) = replicas();
    leader.report(0, State::Resuming, None).unwrap();
    let kept = leader.kept();
    follower.adopt(&kept, false);
    assert_eq!(follower.state(0), State::Online);
    // The stream is new to the follower as well: nothing speaks for its own row.
    follower.table.forget_sequences();
    follower.adopt(&kept, false);
    assert_eq!(follower.state(0), State::Resuming);
    follower.deliver(0, State::Offline, None, 1, None).unwrap();
    assert_eq!(follower.state(0), State::Offline);
}

#[test]
fn the_later_of_two_signs_of_life_counts() {
    let (mut leader, mut follower) = replicas();
    pass(&mut leader, &mut follower, 5);
    follower.health(0, None).unwrap();
    leader.health(1, None).unwrap();
    follower.adopt(&leader.kept(), true);
    let heard_ms = Some(leader.now.wall_ms);
    assert_eq!(follower.row(0).last_heard_ms, heard_ms);
    assert_eq!(follower.row(1).last_heard_ms, heard_ms);
    assert!(follower.table.take_marks(0, 0).changed);
}

/// A bot that grew after the last leader wrote: what the block does not hold is not told either.
#[test]
fn a_block_that_is_shorter_than_the_cluster() {
    let (leader, mut follower) = replicas();
    let mut kept = leader.kept();
    kept.rows.truncate(1);
    follower.adopt(&kept, true);
    let change = (1, State::Online, State::Unknown, Cause::Report);
    assert_eq!(told(&follower), [change]);
}

/// A bot that became smaller after the last leader wrote.
#[test]
fn a_block_that_is_longer_than_the_cluster() {
    let (leader, mut follower) = replicas();
    let mut kept = leader.kept();
    kept.rows.push(leader.row(0));
    follower.table.take_marks(0, 0);
    follower.adopt(&kept, true);
    assert_eq!(
        (follower.table.rows(0, 0).len(), told(&follower)),
        (4, vec![])
    );
    assert!(
        follower.table.take_marks(0, 0).changed,
        "what is kept is wrong"
    );
}

/// The broker delivers a report again after a new connection.
#[test]
fn a_report_that_is_known_changes_nothing() {
    let mut scene = Scene::new("main:2");
    scene.report(0, State::Starting, None).unwrap();
    scene.report(0, State::Online, None).unwrap();
    let row = scene.row(0);
    scene.pass(20);
    for sequence in [1, 2] {
        scene
            .deliver(0, State::Starting, None, sequence, None)
            .unwrap();
    }
    assert_eq!(scene.row(0), row);
    scene.pass(10);
    assert_eq!(scene.state(0), State::Unhealthy, "it was no sign of life");
    // A health check with a state is no report of the stream: it has no place in it.
    scene.deliver(1, State::Online, None, 3, None).unwrap();
    scene.health(1, None).unwrap();
    scene.deliver(1, State::Offline, None, 4, None).unwrap();
    assert_eq!(scene.state(1), State::Offline);
}

/// What the broker stored after the block was written is newer than the flag in it.
#[test]
fn a_stored_report_heals_what_a_block_says() {
    let mut leader = Scene::new("main:2");
    leader.start(0..2, None);
    leader.pass(40);
    let kept = leader.kept();
    let mut next = Scene::blind("main:2");
    next.now.wall_ms = leader.now.wall_ms + 60_000;
    next.table.restore(&kept, true, next.now);
    let stored_ms = leader.now.wall_ms + 10_000;
    next.deliver(0, State::Online, None, 1, Some(stored_ms))
        .unwrap();
    next.deliver(1, State::Online, None, 3, Some(stored_ms))
        .unwrap();
    assert_eq!(next.state(0), State::Unhealthy);
    assert_eq!(
        (next.state(1), next.row(1).since_ms),
        (State::Online, Some(stored_ms))
    );
}

/// The broker's clock may be an hour off, in either direction.
#[test]
fn a_stored_time_is_neither_before_what_is_known_nor_in_the_future() {
    let mut scene = Scene::new("main:1");
    scene.report(0, State::Starting, None).unwrap();
    let known_ms = scene.now.wall_ms;
    scene.pass(10);
    scene
        .deliver(0, State::Online, None, 2, Some(known_ms - 3_600_000))
        .unwrap();
    assert_eq!(scene.row(0).since_ms, Some(known_ms));
    scene
        .deliver(0, State::Offline, None, 3, Some(known_ms + 3_600_000))
        .unwrap();
    assert_eq!(scene.row(0).since_ms, Some(scene.now.wall_ms));
}

/// Another aggregator's clock was ahead of ours.
#[test]
fn no_kept_time_is_in_the_future() {
    let (mut leader, mut follower) = replicas();
    leader.now.wall_ms += 3_600_000;
    leader.report(0, State::Offline, None).unwrap();
    let now_ms = Some(follower.now.wall_ms);
    let mut next = Scene::blind("main:4");
    next.now = follower.now;
    next.table.restore(&leader.kept(), true, next.now);
    follower.adopt(&leader.kept(), true);
    for row in [next.row(0), follower.row(0)] {
        assert_eq!((row.since_ms, row.last_heard_ms), (now_ms, now_ms));
    }
}

#[test]
fn a_step_of_the_clock_leaves_ages_as_they_are() {
    let mut scene = Scene::new("main:2");
    scene.report(0, State::Online, None).unwrap();
    scene.pass(10);
    let judging_ms = scene.table.judging_since_ms(scene.now).unwrap();
    scene.table.take_marks(0, 0);
    for step_ms in [3_600_000, -7_200_000] {
        let before = scene.row(0);
        scene.now.wall_ms += step_ms;
        scene.apply(Input::ClockStepped(step_ms)).unwrap();
        let row = scene.row(0);
        assert_eq!(row.since_ms, before.since_ms.map(|ms| ms + step_ms));
        assert_eq!(
            row.last_heard_ms,
            before.last_heard_ms.map(|ms| ms + step_ms)
        );
        assert_eq!(scene.row(1).since_ms, None);
        assert!(scene.table.take_marks(0, 0).changed);
    }
    let since_ms = scene.table.judging_since_ms(scene.now);
    assert_eq!(since_ms, Some(judging_ms - 3_600_000));
    assert!(judging_ms > BEGIN_MS);
    scene.pass(19);
    assert_eq!(scene.state(0), State::Online);
    scene.pass(1);
    assert_eq!(scene.state(0), State::Unhealthy);
}

/// The last leader judged the claim while we followed: it is not judged once more.
#[test]
fn a_lower_size_that_was_claimed_long_ago_is_not_taken_after_a_take_over() {
    for (seconds, expected) in [(10, 2), (40, 4)] {
        let mut follower = Scene::blind("main:auto");
        follower.start(0..4, Some(4));
        follower.report(0, State::Online, Some(2)).unwrap();
        follower.pass(seconds);
        follower.table.forget_old_claims(follower.now);
        follower.apply(Input::SightRegained).unwrap();
        follower.pass(60);
        assert_eq!(follower.total(), expected, "claimed {seconds} s before");
    }
}

/// The list says up to where the sizes are settled, so that a claim which waits is read again after a restart.
#[test]
fn a_claim_that_waits_is_not_settled() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..4, Some(4));
    assert_eq!(scene.table.sizes_true_to(4), 4);
    scene.report(0, State::Online, Some(2)).unwrap();
    let claimed = scene.sequence();
    scene.report(1, State::Online, Some(2)).unwrap();
    let applied = scene.sequence();
    assert_eq!(scene.table.sizes_true_to(applied), claimed - 1);
    scene.pass(60);
    assert_eq!(
        (scene.total(), scene.table.sizes_true_to(applied)),
        (2, applied)
    );
}

/// Who led before and leads again, and finds nothing kept, gives everybody a timeout.
#[test]
fn all_shards_have_a_timeout_after_a_take_over() {
    let mut scene = Scene::new("main:4");
    scene.start(0..4, None);
    scene.pass(100);
    scene.start(0..4, None);
    scene.pass(20);
    scene.changes.clear();
    // Five times in a row: then a period of grace is over at once.
    for _ in 0..10 {
        scene.apply(Input::SightLost).unwrap();
        scene.apply(Input::SightRegained).unwrap();
        scene.table.wait_for_all(scene.now);
        scene.pass(29);
    }
    assert_eq!(scene.changes, []);
    scene.pass(1);
    assert_eq!(scene.changes.len(), 4);
}
