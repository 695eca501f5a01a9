//! The formats that bots and our own services speak, byte for byte and in both
//! directions. The formats for viewers are in `viewer_golden.rs`.
//!
//! Bots in the field depend on these files: a change of one of them breaks somebody.
#![allow(clippy::unwrap_used)] // It is a test, its helpers too.

use glance_protocol::{
    BlockSet, Cause, Change, ClusterInfo, ClusterList, ClusterName, Details, Lease, Notice, Pulse,
    PulseBlock, PulseCluster, Rejection, ReportBody, Severity, ShardId, ShardRow, State, Subject,
    TableBlock, config, seconds,
};
use serde::Deserialize;

/// The text of a golden file, without the line feed at its end.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../golden/", $name, ".json"))
            .strip_suffix('\n')
            .unwrap()
    };
}

const NOW_MS: i64 = 1_795_358_099_100;

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// One body of a list, and what it means.
#[derive(Deserialize)]
struct Body {
    body: String,
    state: Option<String>,
    error: bool,
    #[serde(default)]
    details: Details,
    #[serde(default)]
    ignored: u32,
}

impl Body {
    fn expected(&self) -> Option<ReportBody> {
        let state = |name: &String| State::ALL.into_iter().find(|state| state.name() == name);
        (!self.error).then(|| ReportBody {
            state: self.state.as_ref().map(|name| state(name).unwrap()),
            details: self.details.clone(),
            ignored: self.ignored,
        })
    }
}

#[test]
fn bodies_of_reports() {
    let list: Vec<Body> = serde_json::from_str(golden!("state_bodies")).unwrap();
    for entry in list {
        let read = ReportBody::parse_state(entry.body.as_bytes()).ok();
        assert_eq!(read, entry.expected(), "{:?}", entry.body);
        let Some(read) = read else { continue };
        let again = ReportBody::parse_state(&read.to_bytes()).unwrap();
        assert_eq!((again.state, again.details), (read.state, read.details));
    }
}

#[test]
fn bodies_of_health_checks() {
    let list: Vec<Body> = serde_json::from_str(golden!("health_bodies")).unwrap();
    for entry in list {
        let read = ReportBody::parse_health(entry.body.as_bytes()).ok();
        assert_eq!(read, entry.expected(), "{:?}", entry.body);
        let Some(read) = read else { continue };
        let again = ReportBody::parse_health(&read.to_health_bytes()).unwrap();
        assert_eq!((again.state, again.details), (read.state, read.details));
    }
}

/// What our own services send is the shortest form.
#[test]
fn bodies_that_we_send() {
    let details = Details {
        total: Some(1056),
        group: Some("3".into()),
        version: Some("1.4.0".into()),
        latency_ms: Some(41.5),
        guilds: Some(1200),
        unavailable_guilds: Some(2),
        events_per_s: Some(0.25),
    };
    let bytes = |state, details: &Details| {
        let body = ReportBody {
            state,
            details: details.clone(),
            ignored: 0,
        };
        (text(body.to_bytes()), text(body.to_health_bytes()))
    };
    let none = Details::default();
    assert_eq!(bytes(None, &none), (String::new(), String::new()));
    assert_eq!(
        bytes(Some(State::Online), &none),
        ("3".to_owned(), "{\"state\":3}".to_owned())
    );
    let full = "\"total\":1056,\"group\":\"3\",\"version\":\"1.4.0\",\"latency_ms\":41.5,\
                \"guilds\":1200,\"unavailable_guilds\":2,\"events_per_s\":0.25}";
    let health = format!("{{{full}");
    assert_eq!(bytes(None, &details), (health.clone(), health));
    let report = format!("{{\"state\":6,{full}");
    assert_eq!(
        bytes(Some(State::Resuming), &details),
        (report.clone(), report)
    );
}

#[derive(Deserialize)]
struct SubjectEntry {
    subject: String,
    kind: Option<String>,
    cluster: Option<ClusterName>,
    shard: Option<ShardId>,
    block: Option<u32>,
}

impl SubjectEntry {
    fn expected(&self) -> Option<Subject> {
        let cluster = self.cluster.clone();
        let shard = || (cluster.clone().unwrap(), self.shard.unwrap());
        Some(match self.kind.as_deref()? {
            "state" => Subject::State(shard().0, shard().1),
            "health" => Subject::Health(shard().0, shard().1),
            "changed" => Subject::Changed(shard().0, shard().1),
            "block" => Subject::Block(cluster.unwrap(), self.block.unwrap()),
            "clusters" => Subject::Clusters,
            "lease" => Subject::Lease,
            "rejected" => Subject::Rejected,
            "pulse" => Subject::Pulse,
            other => unreachable!("no such kind: {other}"),
        })
    }
}

#[test]
fn subjects() {
    let list: Vec<SubjectEntry> = serde_json::from_str(golden!("subjects")).unwrap();
    for entry in list {
        let read = Subject::parse(&entry.subject).ok();
        assert_eq!(read, entry.expected(), "{:?}", entry.subject);
        if let Some(read) = read {
            assert_eq!(read.to_string(), entry.subject);
        }
    }
}

#[test]
fn table_block() {
    let row = |state, previous, cause, since_ms, last_heard_ms, details| ShardRow {
        state,
        previous,
        cause: Some(cause),
        since_ms: Some(since_ms),
        last_heard_ms: Some(last_heard_ms),
        details,
    };
    let details = |group: Option<&str>, latency_ms, guilds, unavailable_guilds| Details {
        group: group.map(Into::into),
        version: Some("1.4.0".into()),
        latency_ms,
        guilds,
        unavailable_guilds,
        ..Details::default()
    };
    let started_ms = 1_795_350_000_000;
    let mut first = details(Some("3"), Some(41.5), Some(1200), Some(0));
    first.events_per_s = Some(12.25);
    let second = details(Some("3"), Some(43.0), Some(1180), Some(2));
    let (online, starting) = (State::Online, State::Starting);
    let block = TableBlock {
        epoch: 7,
        cluster: name("main"),
        block: 1,
        stream: "2026-11-22T12:00:00.123456789Z".to_owned(),
        sequence: 1234,
        at_ms: NOW_MS,
        rows: vec![
            row(
                online,
                starting,
                Cause::Report,
                started_ms,
                1_795_358_090_000,
                first,
            ),
            row(
                online,
                starting,
                Cause::Report,
                started_ms,
                1_795_358_091_000,
                second,
            ),
            row(
                State::Unhealthy,
                online,
                Cause::Timeout,
                1_795_358_000_000,
                1_795_357_960_000,
                details(Some("4"), None, None, None),
            ),
            // The wall clock was set back since: a time in the future.
            row(
                online,
                State::Unhealthy,
                Cause::Health,
                NOW_MS + 900,
                NOW_MS,
                details(None, None, None, None),
            ),
            ShardRow::default(),
        ],
    };
    let golden = golden!("table_block");
    assert_eq!(text(block.to_bytes()), golden);
    assert_eq!(TableBlock::from_bytes(golden.as_bytes()).unwrap(), block);
}

#[test]
fn clusters() {
    let info = |text: &str, total, timeout_s| ClusterInfo {
        name: name(text),
        total,
        timeout_s,
        auto: false,
    };
    let auto = |text, total| ClusterInfo {
        auto: true,
        ..info(text, total, 30.0)
    };
    let list = ClusterList {
        epoch: 7,
        stream: "2026-11-22T12:00:00.123456789Z".to_owned(),
        sequence: 1234,
        clusters: vec![
            info("main", 1056, 30.0),
            info("demo", 1, 120.0),
            info("patron_1", 6, 2.5),
            auto("grows", 432),
            auto("new", 0),
        ],
    };
    let golden = golden!("clusters");
    assert_eq!(text(list.to_bytes()), golden);
    assert_eq!(ClusterList::from_bytes(golden.as_bytes()).unwrap(), list);
}

#[test]
fn lease() {
    let lease = Lease {
        epoch: 7,
        holder: Some("host-1/42".to_owned()),
    };
    let golden = golden!("lease");
    assert_eq!(text(lease.to_bytes()), golden);
    assert_eq!(Lease::from_bytes(golden.as_bytes()).unwrap(), lease);
    // One that was given up.
    let free = Lease::from_bytes(br#"{"v":1,"epoch":7}"#).unwrap();
    assert_eq!((free.epoch, free.holder), (7, None));
}

/// Many places are a bitmap, few are a list, none are left out.
#[test]
fn pulse() {
    let block = |block, revision, heard: &[usize], healed: &[usize]| PulseBlock {
        block,
        revision,
        heard: heard.iter().copied().collect(),
        healed: healed.iter().copied().collect(),
    };
    let many: Vec<usize> = (0..200).collect();
    let pulse = Pulse {
        epoch: 7,
        number: 123,
        at_ms: NOW_MS,
        judging_since_ms: Some(1_795_350_000_000),
        part: 0,
        parts: 1,
        clusters: vec![
            PulseCluster {
                name: name("main"),
                blocks: vec![block(0, 55, &many, &[12]), block(1, 12, &[0, 31], &[])],
            },
            PulseCluster {
                name: name("demo"),
                blocks: vec![block(0, 3, &[], &[])],
            },
        ],
    };
    let golden = golden!("pulse");
    assert_eq!(text(pulse.to_bytes()), golden);
    assert_eq!(Pulse::from_bytes(golden.as_bytes()).unwrap(), pulse);
    assert_eq!(pulse.clusters[1].blocks[0].heard, BlockSet::default());
    assert_eq!(pulse.clone().split(), [pulse]);
}

#[test]
fn changed() {
    let change = Change {
        cluster: name("main"),
        shard: ShardId::new(3).unwrap(),
        state: State::Unhealthy,
        previous: State::Online,
        cause: Cause::Timeout,
        at: seconds(1_795_358_092_349),
        epoch: 7,
    };
    assert_eq!(text(change.to_bytes()), golden!("changed"));
}

#[test]
fn rejected() {
    let rejection = Rejection::new(
        "glance.main.9999.state",
        "shard 9999 is outside of cluster 'main', which has 1056 shards",
        1_795_358_092_349,
    );
    let golden = golden!("rejected");
    assert_eq!(text(rejection.to_bytes()), golden);
    let read: Rejection = serde_json::from_str(golden).unwrap();
    assert_eq!(read, rejection);
}

#[test]
fn notice() {
    let notice = Notice {
        text: "We move \"house\" tonight".to_owned(),
        severity: Severity::Warning,
        until: Some(1_795_361_692.0),
    };
    let golden = golden!("notice");
    assert_eq!(text(notice.to_bytes()), golden);
    assert_eq!(Notice::from_bytes(golden.as_bytes()).unwrap(), notice);
}

/// What operators may write, and what is refused.
#[test]
fn bodies_of_notices() {
    #[derive(Deserialize)]
    struct Entry {
        body: String,
        #[serde(flatten)]
        notice: Option<Notice>,
        #[serde(default)]
        error: bool,
    }
    let list: Vec<Entry> = serde_json::from_str(golden!("notice_bodies")).unwrap();
    for Entry {
        body,
        notice,
        error,
    } in list
    {
        assert_eq!(notice.is_none(), error, "{body:?}");
        let read = Notice::from_bytes(body.as_bytes()).ok();
        assert_eq!(read, notice, "{body:?}");
        if let Some(read) = read {
            assert_eq!(Notice::from_bytes(&read.to_bytes()).unwrap(), read);
        }
    }
}

/// `GLANCE_BOTS`. An error is one sentence that names the variable and the entry.
#[test]
fn bots() {
    #[derive(Deserialize)]
    struct Entry {
        value: String,
        bots: Option<Vec<(String, Option<u32>)>>,
        error_entry: Option<String>,
    }
    let list: Vec<Entry> = serde_json::from_str(golden!("bots")).unwrap();
    for entry in list {
        let (value, result) = (&entry.value, config::parse_bots(&entry.value));
        match (result, entry.bots, entry.error_entry) {
            (Ok(bots), Some(expected), None) => {
                let bots = bots
                    .into_iter()
                    .map(|bot| (bot.name.to_string(), bot.total));
                assert_eq!(bots.collect::<Vec<_>>(), expected, "{value:?}");
            }
            (Err(error), None, Some(expected)) => {
                assert_eq!(error.variable, config::BOTS, "{value:?}");
                assert_eq!(error.entry, expected, "{value:?}");
                let sentence = error.to_string();
                assert!(sentence.starts_with(config::BOTS), "{sentence}");
                assert!(!sentence.contains('\n'), "{sentence:?}");
            }
            (result, ..) => unreachable!("{value:?} gives {result:?}"),
        }
    }
}
