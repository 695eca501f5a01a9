//! How a cluster learns its size: small stories.

use glance_aggregator::table::{Disagreement, Marks, Refusal, Resize};
use glance_protocol::{SHARDS_MAX, ShardId, ShardRow, State};

use crate::scene::{Scene, main_cluster};

fn range<T>(shard: u32, total: u32) -> Result<T, Refusal> {
    Err(Refusal::Range {
        cluster: main_cluster(),
        shard: ShardId::new(shard).unwrap(),
        total,
    })
}

fn gone<T>(shard: u32, total: u32) -> Result<T, Refusal> {
    Err(Refusal::Gone {
        cluster: main_cluster(),
        shard: ShardId::new(shard).unwrap(),
        total,
    })
}

/// A bot of 360 shards, all of them Online, that tells its size with its reports.
fn bot_of_360() -> Scene {
    let mut scene = Scene::new("main:auto");
    scene.start(0..360, Some(360));
    scene
}

#[test]
fn a_size_is_unknown_until_somebody_tells_it() {
    let mut scene = Scene::new("main:auto");
    let unknown = Err(Refusal::SizeUnknown(main_cluster()));
    assert_eq!(scene.report(3, State::Online, None), unknown);
    assert_eq!(scene.health(3, None), unknown);
    assert_eq!(scene.report(5, State::Online, Some(5)), range(5, 5));
    for nonsense in [0, SHARDS_MAX + 1] {
        assert_eq!(scene.report(3, State::Online, Some(nonsense)), unknown);
    }
    assert_eq!((scene.total(), scene.table.take_resizes()), (0, vec![]));

    scene.report(3, State::Online, Some(5)).unwrap();
    assert_eq!((scene.total(), scene.state(3)), (5, State::Online));
    let resize = Resize {
        place: 0,
        name: main_cluster(),
        before: 0,
        after: 5,
    };
    assert_eq!(scene.table.take_resizes(), [resize]);
    assert_eq!(scene.table.take_resizes(), []);
    // Now that it is known, nobody has to repeat it.
    scene.report(4, State::Online, None).unwrap();
    assert_eq!(scene.report(5, State::Online, None), range(5, 5));
}

/// The shard never reported, so its health check is refused; but its bot knows its own size.
#[test]
fn a_refused_health_check_tells_the_size_as_well() {
    let mut scene = Scene::new("main:auto");
    let shard = ShardId::new(1).unwrap();
    let refusal = Refusal::NeverReported(shard, main_cluster());
    assert_eq!(scene.health(1, Some(4)), Err(refusal));
    assert_eq!(scene.total(), 4);
}

#[test]
fn the_largest_size_is_taken() {
    let mut scene = Scene::new("main:auto");
    let last = SHARDS_MAX - 1;
    scene.report(last, State::Online, Some(SHARDS_MAX)).unwrap();
    assert_eq!(scene.total(), SHARDS_MAX);
    assert_eq!(scene.table.rows(0, 255)[1023].state, State::Online);
    scene.pass(40);
    assert_eq!(scene.state(last), State::Unhealthy);
}

/// A rolling upgrade from 360 to 432 shards: for minutes, both run.
#[test]
fn a_higher_size_is_taken_at_once_and_kept_while_both_run() {
    let mut scene = bot_of_360();
    scene.start(0..144, Some(432));
    assert_eq!(scene.total(), 432);
    for _ in 0..12 {
        scene.live(10, 0..144, Some(432));
        for shard in 144..360 {
            scene.health(shard, Some(360)).unwrap();
        }
        assert_eq!(scene.total(), 432);
    }
    // The old one ends, the new one goes on.
    scene.start(144..432, Some(432));
    scene.live(120, 0..432, None);
    assert_eq!((scene.total(), scene.count(State::Online)), (432, 432));
}

/// The new processes tell the size only when they start; being alive speaks for it, too.
#[test]
fn the_last_words_of_an_old_process_do_not_make_a_bot_smaller() {
    let mut scene = bot_of_360();
    scene.start(0..432, Some(432));
    scene.pass(60);
    scene.live(10, 0..432, None);
    scene.report(7, State::Stopping, Some(360)).unwrap();
    scene.live(1800, 0..432, None);
    assert_eq!((scene.total(), scene.count(State::Online)), (432, 431));
    // Nothing of the claim is left: when the bot dies, its shards stay, and are red.
    scene.pass(300);
    assert_eq!((scene.total(), scene.count(State::Unhealthy)), (432, 432));
}

/// The old processes run on for minutes, and the new one told its size only when it started.
#[test]
fn a_bot_that_became_smaller_is_smaller_when_the_old_processes_end() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..20, Some(20));
    scene.start(0..5, Some(5));
    scene.live(600, 0..20, None);
    assert_eq!((scene.total(), scene.count(State::Online)), (20, 20));
    scene.live(20, 0..5, None);
    assert_eq!(scene.total(), 20);
    scene.live(10, 0..5, None);
    assert_eq!((scene.total(), scene.count(State::Online)), (5, 5));
}

/// A claim that comes again and again from an old process is no more than one that comes once.
#[test]
fn an_old_process_that_stays_does_not_make_a_bot_smaller() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..6, Some(6));
    for _ in 0..60 {
        scene.live(10, 5..6, None);
        scene.health(0, Some(4)).unwrap();
        assert_eq!(scene.total(), 6);
    }
}

/// From 432 to 360: the old process goes on for a while, then there are 360.
#[test]
fn a_bot_that_became_smaller_shows_no_red_shards_for_ever() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..432, Some(432));
    scene.table.take_resizes();
    scene.table.take_marks(0, 0);
    scene.live(10, 0..360, Some(360));
    scene.live(10, 360..432, Some(432));
    scene.changes.clear();
    // The last word for 432 was now; nobody says it for one timeout.
    scene.live(20, 0..360, Some(360));
    scene.pass(9);
    assert_eq!(scene.total(), 432);
    scene.pass(1);
    assert_eq!((scene.total(), scene.count(State::Online)), (360, 360));
    assert_eq!(scene.changes, [], "nobody is flagged on the way out");
    assert!(scene.table.take_marks(0, 0).changed);
    let (heard, _) = scene.table.take_heard(0, 0);
    assert_eq!(heard.iter().max(), Some(359));
    let resizes = scene.table.take_resizes();
    assert_eq!((resizes[0].before, resizes[0].after), (432, 360));
    assert_eq!(scene.health(400, None), range(400, 360));
    scene.live(100, 0..360, Some(360));
    assert_eq!(scene.changes, []);
}

/// Whoever died long ago speaks for nothing, but one timeout is waited for all the same.
#[test]
fn a_bot_that_comes_back_smaller_after_a_pause() {
    let mut scene = bot_of_360();
    scene.pass(600);
    assert_eq!(scene.count(State::Unhealthy), 360);
    scene.start(0..300, Some(300));
    scene.live(20, 0..300, None);
    assert_eq!(scene.total(), 360);
    scene.live(10, 0..300, None);
    assert_eq!((scene.total(), scene.count(State::Online)), (300, 300));
}

/// The whole bot dies while a lower claim waits: nothing speaks for the present size any more.
#[test]
fn a_bot_that_dies_with_a_pending_claim() {
    let mut scene = bot_of_360();
    scene.report(2, State::Online, Some(300)).unwrap();
    scene.pass(29);
    assert_eq!(scene.total(), 360);
    scene.pass(1);
    assert_eq!((scene.total(), scene.count(State::Unhealthy)), (300, 300));
}

/// Without one its shards stay, and are red.
#[test]
fn a_bot_that_dies_without_a_pending_claim() {
    let mut scene = bot_of_360();
    scene.pass(600);
    assert_eq!((scene.total(), scene.count(State::Unhealthy)), (360, 360));
}

#[test]
fn the_highest_of_two_lower_claims_wins() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..9, Some(9));
    scene.report(0, State::Online, Some(4)).unwrap();
    scene.pass(20);
    scene.report(0, State::Online, Some(6)).unwrap();
    scene.report(0, State::Online, Some(5)).unwrap();
    scene.pass(29);
    assert_eq!(scene.total(), 9, "it counts from its own time");
    scene.pass(1);
    assert_eq!(scene.total(), 6);
    scene.pass(100);
    assert_eq!(scene.total(), 6, "the others are forgotten");
}

/// While the aggregator cannot hear, nobody can speak for the present size.
#[test]
fn blind_time_makes_no_bot_smaller() {
    let mut scene = bot_of_360();
    scene.report(0, State::Online, Some(300)).unwrap();
    scene.pass(10);
    scene
        .apply(glance_aggregator::table::Input::SightLost)
        .unwrap();
    scene.pass(3_600);
    scene
        .apply(glance_aggregator::table::Input::SightRegained)
        .unwrap();
    assert_eq!(scene.total(), 360);
    // What was sent meanwhile may be lost, so one timeout is waited for anew.
    scene.pass(29);
    assert_eq!(scene.total(), 360);
    scene.pass(1);
    assert_eq!(scene.total(), 300);
}

#[test]
fn a_shard_that_goes_and_comes_back_is_unknown() {
    let mut scene = Scene::new("main:auto");
    scene.start(0..6, Some(6));
    scene.report(0, State::Online, Some(4)).unwrap();
    scene.pass(31);
    assert_eq!(scene.total(), 4);
    let before = scene.sequence();
    // The stream is read again, after a new connection: what it holds of shard 5 is past.
    let reread = scene.deliver(5, State::Online, Some(6), 6, None);
    assert_eq!((reread, scene.total()), (gone(5, 4), 4));

    scene.report(1, State::Online, Some(6)).unwrap();
    assert_eq!(scene.row(5), ShardRow::default());
    scene.deliver(5, State::Online, None, before, None).unwrap();
    assert_eq!(scene.row(5), ShardRow::default());
    scene.report(5, State::Online, None).unwrap();
    assert_eq!(scene.state(5), State::Online);
}

/// A restart: the size is the kept one, and older claims that the stream still holds are past.
#[test]
fn a_kept_size_is_taken_over() {
    let mut next = Scene::blind("main:auto");
    let mut info = bot_of_360().kept_info();
    info.total = 4;
    next.table.restore_total(&info, 50);
    assert_eq!(next.total(), 4);
    assert_eq!(
        next.deliver(5, State::Online, Some(6), 40, Some(0)),
        gone(5, 4)
    );
    next.deliver(3, State::Online, Some(6), 50, Some(0))
        .unwrap();
    assert_eq!((next.total(), next.state(3)), (4, State::Online));
    next.deliver(5, State::Online, Some(6), 51, Some(0))
        .unwrap();
    assert_eq!(next.total(), 6);
    // An older list than the claim; then one that has seen it.
    next.table.restore_total(&info, 50);
    assert_eq!(next.total(), 6);
    next.table.restore_total(&info, 51);
    assert_eq!(next.total(), 4);
}

#[test]
fn blocks_that_change_their_length_are_marked() {
    let changed = |scene: &mut Scene| [0, 1].map(|block| scene.table.take_marks(0, block).changed);
    let mut scene = Scene::new("main:auto");
    scene.report(0, State::Unknown, Some(1024)).unwrap();
    assert_eq!(changed(&mut scene), [true, false]);
    scene.report(0, State::Unknown, Some(1030)).unwrap();
    assert_eq!(changed(&mut scene), [false, true]);
    scene.report(0, State::Unknown, Some(1027)).unwrap();
    scene.live(30, 0..1, None);
    assert_eq!((scene.total(), changed(&mut scene)), (1027, [false, true]));
    scene.report(0, State::Unknown, Some(1024)).unwrap();
    scene.table.take_marks(0, 0);
    scene.pass(30);
    assert_eq!(scene.total(), 1024);
    assert_eq!(scene.table.take_marks(0, 1), Marks::default());
}

/// A configured size stays; the disagreement is told once for each number, and for a few only.
#[test]
fn a_configured_size_is_not_changed_by_a_claim() {
    let mut scene = Scene::new("main:3;demo:1");
    scene.report(0, State::Online, Some(3)).unwrap();
    assert_eq!(scene.table.take_disagreements(), []);
    scene.report(2, State::Online, Some(432)).unwrap();
    scene.report(1, State::Online, Some(432)).unwrap();
    assert_eq!(scene.report(3, State::Online, Some(432)), range(3, 3));
    let expected = Disagreement {
        cluster: main_cluster(),
        shard: ShardId::new(2).unwrap(),
        claimed: 432,
        total: 3,
    };
    assert_eq!(scene.table.take_disagreements(), [expected]);
    assert_eq!((scene.total(), scene.state(2)), (3, State::Online));
    for claim in 4..100 {
        scene.health(0, Some(claim)).unwrap();
    }
    assert_eq!(scene.table.take_disagreements().len(), 15);
    scene.pass(100);
    assert_eq!((scene.total(), scene.table.take_resizes()), (3, vec![]));
}
