//! What holds in every history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    State::{Offline, Online, Starting, Stopping},
    *,
};

const SECOND: Duration = Duration::from_secs(1);

fn bots(text: &str) -> Vec<Bot> {
    glance_protocol::config::parse_bots(text).expect("the test names bots correctly")
}

fn fleet(text: &str, scenario: Scenario, seed: u64) -> Fleet {
    Fleet::new(Plan {
        bots: bots(text),
        group_size: 16,
        scenario,
        seed,
    })
}

fn history(mut fleet: Fleet, seconds: u64, step: Duration) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(seconds) {
        now += step;
        actions.extend(fleet.advance(now.min(Duration::from_secs(seconds))));
    }
    actions
}

fn reports(actions: &[Action]) -> impl Iterator<Item = &Message> {
    actions.iter().filter_map(|action| match action {
        Action::Report(message) => Some(message),
        _ => None,
    })
}

fn messages(actions: &[Action]) -> impl Iterator<Item = &Message> {
    actions.iter().filter_map(|action| match action {
        Action::Report(message) | Action::Health(message) => Some(message),
        _ => None,
    })
}

fn stories(actions: &[Action]) -> Vec<(Duration, &str)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Told(at, text) => Some((*at, text.as_str())),
            _ => None,
        })
        .collect()
}

/// When the story said something that contains `text`.
fn told(actions: &[Action], text: &str) -> Duration {
    stories(actions)
        .into_iter()
        .find(|(_, told)| told.contains(text))
        .unwrap_or_else(|| panic!("nobody told '{text}'"))
        .0
}

/// At most 16 identifies in any window of five seconds, for each bot.
fn assert_identify_limit(actions: &[Action]) {
    let mut times: BTreeMap<&ClusterName, Vec<Duration>> = BTreeMap::new();
    for action in actions {
        if let Action::Identify(identify) = action {
            let times = times.entry(&identify.cluster).or_default();
            times.push(identify.at);
            let limit = MAX_CONCURRENCY as usize;
            if let Some(earlier) = times.len().checked_sub(limit + 1) {
                let took = identify.at - times[earlier];
                assert!(took >= WINDOW, "17 identifies within {took:?}");
            }
        }
    }
}

/// Follows a fleet second by second: who lives is heard in time, and who is dead is silent.
#[derive(Default)]
struct Watch {
    /// When each shard of a living process was last heard of, by bot and shard.
    heard: BTreeMap<(String, u32), Duration>,
}

impl Watch {
    fn look(&mut self, fleet: &Fleet, actions: &[Action], now: Duration, lives: &[u32]) {
        for (group, life) in fleet.all_groups().into_iter().zip(lives) {
            let process = fleet.process(group);
            let undisturbed = process.life == *life;
            let name = fleet.bots[group.bot].name.to_string();
            for at in fleet.shards_of(group) {
                let key = (name.clone(), at.shard);
                let said = messages(actions)
                    .filter(|it| it.cluster.as_str() == name && it.shard.get() == at.shard);
                let last = said.map(|message| message.at).last();
                if !process.alive {
                    assert!(!undisturbed || last.is_none(), "a dead process speaks");
                    self.heard.remove(&key);
                    continue;
                }
                let since = *self.heard.entry(key.clone()).or_insert(now);
                assert!(now - since <= CHECK_INTERVAL + SECOND, "{key:?} is silent");
                if let Some(last) = last {
                    self.heard.insert(key, last);
                }
            }
        }
    }
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    use Scenario::*;
    prop::sample::select(vec![
        Steady,
        ColdStart,
        RollingDeploy,
        Zombie,
        DeadGroup,
        Outage,
        Mixed,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn identifies_keep_to_the_limit(scenario in any_scenario(), seed: u64, total in 1u32..150) {
        let fleet = fleet(&format!("main:{total};canary:5"), scenario, seed);
        assert_identify_limit(&history(fleet, 900, SECOND));
    }

    #[test]
    fn the_living_are_heard_and_the_dead_are_silent(scenario in any_scenario(), seed: u64) {
        let mut fleet = fleet("main:40;canary:3", scenario, seed);
        let mut watch = Watch::default();
        for second in 1..500 {
            let lives: Vec<u32> = fleet.all_groups().into_iter().map(|it| fleet.process(it).life).collect();
            let now = SECOND * second;
            let actions = fleet.advance(now);
            watch.look(&fleet, &actions, now, &lives);
        }
    }

    #[test]
    fn the_seed_alone_decides(scenario in any_scenario(), seed: u64, step_ms in 7u64..30_000) {
        let run = |step| history(fleet("main:33;canary:2", scenario, seed), 300, step);
        let history = run(SECOND);
        prop_assert!(history == run(Duration::from_millis(step_ms)));
        prop_assert!(scenario == Scenario::Steady || history != self::history(fleet("main:33;canary:2", scenario, seed ^ 1), 300, SECOND));
    }

    #[test]
    fn counts_follow_the_reports(scenario in any_scenario(), seed: u64) {
        let mut fleet = fleet("main:40", scenario, seed);
        let mut states = [State::Unknown; 40];
        for second in 0..600 {
            for message in reports(&fleet.advance(SECOND * second)) {
                states[message.shard.get() as usize] = message.state;
            }
            let counts = fleet.counts();
            prop_assert_eq!(State::ALL.iter().map(|state| counts.of(*state)).sum::<usize>(), 40);
            if counts.of(State::Unhealthy) == 0 {
                let online = states.iter().filter(|state| **state == Online).count();
                prop_assert_eq!(counts.of(Online), online);
            }
        }
    }
}

#[test]
fn a_steady_fleet_is_online_at_once_and_says_so() {
    let mut fleet = fleet("main:32", Scenario::Steady, 1);
    let first = fleet.advance(Duration::ZERO);
    assert_eq!(reports(&first).count(), 32);
    assert_eq!(fleet.counts().to_string(), "32 online");
    let checks = fleet
        .advance(CHECK_INTERVAL)
        .into_iter()
        .filter(|action| matches!(action, Action::Health(_)));
    assert_eq!(checks.count(), 32);
}

#[test]
fn a_steady_fleet_loses_a_connection_now_and_then() {
    let actions = history(fleet("main:320", Scenario::Steady, 1), 3600, SECOND);
    let resumes = reports(&actions)
        .filter(|it| it.state == State::Resuming)
        .count();
    assert!((80..320).contains(&resumes), "{resumes} in an hour");
}

#[test]
fn who_waits_to_identify_is_checked_too() {
    let mut fleet = fleet("main:320", Scenario::ColdStart, 1);
    let actions = history_of(&mut fleet, 60);
    let waiting: BTreeSet<u32> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Health(message) if message.state == Starting => Some(message.shard.get()),
            _ => None,
        })
        .collect();
    assert!(waiting.contains(&319));
    let online = fleet.counts().of(Online);
    assert!((96..=208).contains(&online), "{online} after a minute");
    history_of_from(&mut fleet, 60, 125);
    assert_eq!(fleet.counts().to_string(), "320 online");
}

fn history_of(fleet: &mut Fleet, seconds: u64) -> Vec<Action> {
    history_of_from(fleet, 0, seconds)
}

fn history_of_from(fleet: &mut Fleet, from: u64, to: u64) -> Vec<Action> {
    (from..=to)
        .flat_map(|second| fleet.advance(Duration::from_secs(second)))
        .collect()
}

#[test]
fn a_killed_group_is_silent_until_it_comes_back() {
    let actions = history(fleet("main:64", Scenario::DeadGroup, 7), 200, SECOND);
    let killed = told(&actions, "is killed");
    let back = told(&actions, "is started again");
    assert!(back - killed > Duration::from_secs(60));
    let heard: BTreeSet<u32> = messages(&actions)
        .filter(|message| message.at > killed && message.at < back)
        .map(|message| message.shard.get())
        .collect();
    assert_eq!(heard.len(), 48, "one group of 16 says nothing");
    let back_online: BTreeSet<u32> = reports(&actions)
        .filter(|message| message.at > back && message.state == Online)
        .map(|message| message.shard.get())
        .collect();
    assert!(back_online.is_superset(&(0..64).filter(|id| !heard.contains(id)).collect()));
}

#[test]
fn a_deploy_replaces_the_version_group_by_group() {
    let actions = history(
        fleet("main:48;canary:4", Scenario::RollingDeploy, 3),
        120,
        SECOND,
    );
    let end = told(&actions, "is everywhere");
    let mut stopping = Vec::new();
    for message in reports(&actions).filter(|it| it.state == Stopping && it.at <= end) {
        let key = (message.cluster.to_string(), message.details.group.clone());
        if stopping.last() != Some(&key) {
            stopping.push(key);
        }
    }
    let group = |bot: &str, group: &str| (bot.to_owned(), Some(Arc::from(group)));
    assert_eq!(
        stopping,
        [
            group("canary", "0"),
            group("main", "0"),
            group("main", "1"),
            group("main", "2")
        ]
    );
    let after: BTreeSet<_> = messages(&actions)
        .filter(|it| it.at > end && it.at < end + SECOND * 20)
        .map(|message| message.details.version.clone())
        .collect();
    assert_eq!(after, BTreeSet::from([Some(version_of(1))]));
    let one = |message: &&Message| message.cluster.as_str() == "main" && message.shard.get() == 0;
    let states: Vec<State> = reports(&actions)
        .filter(one)
        .map(|it| it.state)
        .skip_while(|state| *state != Stopping)
        .collect();
    assert_eq!(states[..4], [Stopping, Offline, Starting, Online]);
}

fn version_of(release: u32) -> Arc<str> {
    story::version(release)
}

#[test]
fn a_zombie_is_online_but_receives_nothing() {
    let actions = history(fleet("main:32", Scenario::Zombie, 5), 160, SECOND);
    let from = told(&actions, "becomes a zombie");
    let to = told(&actions, "starts a new session");
    let zombies: BTreeSet<u32> = messages(&actions)
        .filter(|it| it.at > from && it.at < to && it.state == Online)
        .filter(|it| it.details.events_per_s == Some(0.0))
        .map(|it| it.shard.get())
        .collect();
    assert_eq!(zombies.len(), 1);
}

#[test]
fn an_outage_takes_everything_down_and_all_comes_back() {
    let mut fleet = fleet("main:64;canary:8", Scenario::Outage, 2);
    let actions = history_of(&mut fleet, 30);
    let down = told(&actions, "drops all connections");
    assert_eq!(fleet.counts().of(Online), 0);
    let later = history_of_from(&mut fleet, 31, 85);
    let back = told(&later, "the gateway is back");
    let online = |actions: &[Action], from, to| {
        reports(actions).any(|it| it.state == Online && it.at > from && it.at < to)
    };
    let gap = down + Duration::from_secs(4);
    assert!(!online(&actions, gap, back) && !online(&later, gap, back));
    assert!(reports(&later).any(|it| it.state == Offline));
    assert!(fleet.counts().of(Online) >= 71, "{}", fleet.counts());
}

#[test]
fn an_outage_in_the_middle_of_a_cold_start_loses_nobody() {
    let mut fleet = fleet("main:160", Scenario::ColdStart, 4);
    let mut actions = history_of(&mut fleet, 20);
    // It comes while somebody waits for the answer to an Identify.
    let identifies = |action: &Action| matches!(action, Action::Identify(_));
    let begin = (200..300).find(|tenths| {
        let some = fleet.advance(SECOND * *tenths / 10);
        actions.extend_from_slice(&some);
        some.iter().any(identifies)
    });
    assert!(begin.is_some());
    fleet.lose_gateway();
    actions.extend(history_of_from(&mut fleet, 30, 50));
    assert_eq!(fleet.counts().of(Online), 0);
    fleet.regain_gateway();
    actions.extend(history_of_from(&mut fleet, 51, 51));
    let waiting = fleet.counts().of(Starting);
    assert!(waiting > 80, "{waiting} still wait");
    let up = (52..200).find(|second| {
        actions.extend(fleet.advance(SECOND * *second));
        fleet.counts().of(Online) == 160
    });
    assert!(up.is_some(), "{}", fleet.counts());
    assert_identify_limit(&actions);
}

#[test]
fn a_mixed_story_reaches_every_state() {
    let mut fleet = fleet("main:48;canary:4", Scenario::Mixed, 1);
    let mut reached = BTreeSet::new();
    let mut told = BTreeSet::new();
    for second in 0..1200 {
        for action in fleet.advance(SECOND * second) {
            if let Action::Told(_, text) = action {
                told.insert(text);
            }
        }
        reached.extend(
            State::ALL
                .iter()
                .filter(|it| fleet.counts().of(**it) > 0)
                .map(|it| it.name()),
        );
    }
    // Unknown is what Glance shows of a shard before its first report.
    let all = State::ALL.map(State::name);
    assert_eq!(
        reached,
        all.into_iter().filter(|name| *name != "unknown").collect()
    );
    for chapter in ["killed", "zombie", "deployed", "drops all", "start at once"] {
        assert!(told.iter().any(|text| text.contains(chapter)), "{chapter}");
    }
}
