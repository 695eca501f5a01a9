//! The viewer formats, byte for byte. The page's tests read the same files.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use glance_protocol::{
    Cause, ClusterName, Details, Notice, Severity, ShardRow, State,
    feed::{self, Clock, Hello, Maintenance, Notices, PageCluster, PageHello, PageShard, Version},
    shard_of_guild,
    snapshot::{Snapshot, SnapshotBlock, SnapshotCluster},
};

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../golden/", $name, ".json"))
    };
}

const CLOCK: Clock = Clock {
    now_ms: 1_795_358_099_100,
    heard_ms: Some(1_795_358_098_900),
    judging_since_ms: Some(1_795_350_000_000),
};

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn built(push: impl Fn(&mut String)) -> String {
    let mut out = String::new();
    push(&mut out);
    out
}

#[test]
fn hello() {
    let mut hello = Hello::default();
    let reported = [(3, State::Online, 1_795_358_092_349)];
    hello.push_cluster(&name("main"), 1000, reported.into_iter());
    hello.push_cluster(&name("demo"), 1, std::iter::empty());
    assert_eq!(hello.into_text(), golden!("feed_hello"));
}

#[test]
fn frames_after_the_hello() {
    let main = name("main");
    let update = built(|out| feed::push_state_update(out, &main, 3, State::Online));
    assert_eq!(update, golden!("feed_state_update"));
    let ping = built(|out| feed::push_health_ping(out, &main, 3, false));
    assert_eq!(ping, golden!("feed_health_ping"));
    let healed = built(|out| feed::push_health_ping(out, &main, 4, true));
    assert_eq!(healed, golden!("feed_health_ping_healed"));
}

fn version(revision: u64) -> Version {
    Version { epoch: 7, revision }
}

#[test]
fn page_hello() {
    let main = name("main");
    let hello = PageHello {
        build: "0f3c5a7be1d24968",
        clock: CLOCK,
        clusters: vec![PageCluster {
            name: &main,
            total: 1056,
            blocks: vec![version(55), version(12)],
        }],
    };
    assert_eq!(hello.to_text(), golden!("page_hello"));
}

#[test]
fn page_changes() {
    let shard = |id, state, previous, since_ms, cause| PageShard {
        id,
        state,
        previous,
        since_ms,
        cause,
    };
    let shards = [
        shard(
            12,
            State::Online,
            State::Unhealthy,
            Some(1_795_358_092_349),
            Some(Cause::Health),
        ),
        shard(
            13,
            State::Unhealthy,
            State::Stopping,
            Some(1_795_358_092_350),
            Some(Cause::Timeout),
        ),
        shard(14, State::Unknown, State::Unknown, None, None),
    ];
    let frame = feed::page_changes(&name("main"), 0, version(56), &shards);
    assert_eq!(frame, golden!("page_changes"));
}

#[test]
fn page_pulse() {
    let mut bitmap = [0; 132];
    for id in [0, 3, 12, 1055] {
        bitmap[id / 8] |= 1 << (id % 8);
    }
    let clock = Clock {
        judging_since_ms: None,
        ..CLOCK
    };
    let (main, demo) = (name("main"), name("demo"));
    let heard = [(&main, &bitmap[..]), (&demo, &[1][..])];
    let frame = feed::page_pulse(clock, heard.into_iter());
    assert_eq!(frame, golden!("page_pulse"));
}

#[test]
fn page_signals() {
    let main = name("main");
    let clusters = [PageCluster {
        name: &main,
        total: 1056,
        blocks: vec![version(55), version(12)],
    }];
    assert_eq!(feed::page_resync(&clusters), golden!("page_resync"));
    assert_eq!(feed::page_clusters(&clusters), golden!("page_clusters"));
    let notice = |text: &str, severity, until| Notice {
        text: text.to_owned(),
        severity,
        until,
    };
    let notices = Notices {
        announcement: Some(notice(
            "We move \"house\" tonight",
            Severity::Warning,
            Some(1_795_361_692.0),
        )),
        maintenance: vec![
            Maintenance {
                cluster: name("main"),
                group: None,
                notice: notice("New shards", Severity::Info, None),
            },
            Maintenance {
                cluster: name("main"),
                group: Some("3".to_owned()),
                notice: notice("Broken disk", Severity::Critical, Some(1_795_358_100.5)),
            },
        ],
    };
    assert_eq!(feed::page_notices(&notices), golden!("page_notices"));
}

#[test]
fn snapshot() {
    let row = |state, previous, since_s: Option<i64>| ShardRow {
        state,
        previous,
        since_ms: since_s.map(|s| s * 1000),
        ..ShardRow::default()
    };
    let mut rows = vec![
        row(State::Online, State::Starting, Some(1_795_350_000)),
        row(State::Online, State::Starting, Some(1_795_350_000)),
        row(State::Unhealthy, State::Online, Some(1_795_358_000)),
        row(State::Unknown, State::Unknown, None),
    ];
    rows[1].details = Details {
        group: Some("0".into()),
        latency_ms: Some(41.0),
        ..Details::default()
    };
    let heard = [
        Some(1_795_358_090_000),
        Some(1_795_358_091_000),
        Some(1_795_357_960_000),
        None,
    ];
    let main = name("main");
    let snapshot = Snapshot {
        clock: CLOCK,
        clusters: vec![SnapshotCluster {
            name: &main,
            total: 4,
            timeout_s: 30.0,
            blocks: vec![SnapshotBlock {
                version: version(55),
                rows: &rows,
                last_heard_ms: &heard,
            }],
        }],
        notices: &Notices::default(),
    };
    assert_eq!(snapshot.to_text(), golden!("snapshot"));
}

#[test]
fn what_bots_choose_is_escaped() {
    let rows = [ShardRow {
        details: Details {
            group: Some("a\"b</script>".into()),
            version: Some("\u{1}\\".into()),
            ..Details::default()
        },
        ..ShardRow::default()
    }];
    let main = name("main");
    let snapshot = Snapshot {
        clock: Clock::default(),
        clusters: vec![SnapshotCluster {
            name: &main,
            total: 1,
            timeout_s: 0.5,
            blocks: vec![SnapshotBlock {
                version: Version::default(),
                rows: &rows,
                last_heard_ms: &[None],
            }],
        }],
        notices: &Notices::default(),
    };
    let read: serde_json::Value = serde_json::from_str(&snapshot.to_text()).unwrap();
    let details = &read["clusters"][0]["details"]["0"];
    assert_eq!(details["group"], "a\"b</script>");
    assert_eq!(details["version"], "\u{1}\\");
    assert!(read["heard"].is_null());
}

#[test]
fn guilds() {
    #[derive(serde::Deserialize)]
    struct Row {
        guild: String,
        total: u32,
        shard: u32,
    }
    let rows: Vec<Row> = serde_json::from_str(golden!("guild_to_shard")).unwrap();
    assert!(rows.len() >= 40);
    for row in rows {
        let guild: u64 = row.guild.parse().unwrap();
        assert_eq!(
            shard_of_guild(guild, row.total),
            Some(row.shard),
            "{}",
            row.guild
        );
    }
}
