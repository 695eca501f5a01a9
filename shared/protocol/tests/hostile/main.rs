//! Bytes from the network: whatever they are, no parser panics, and what a
//! parser accepts says the same after it was written and read again.
#![allow(clippy::unwrap_used)] // It is a test, its helpers too.

mod messages;

use std::fmt::Debug;

use glance_protocol::{
    ClusterList, Details, Notice, Pulse, ReportBody, State, Subject, TableBlock,
    body::{BODY_BYTES_MAX, BodyError},
};
use messages::{cluster_list, damage, message, near_report, pulse, table_block};
use proptest::{collection::vec, prelude::*, sample::select};

/// NATS's default limit of a message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Reads, writes what was read, and reads it again. Whether the bytes were accepted.
fn round_trip<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let Ok(value) = read(bytes) else { return false };
    let again = read(&write(&value)).unwrap();
    assert!(
        again == value || nearly_same(&format!("{again:?}"), &format!("{value:?}")),
        "{again:?} {value:?}"
    );
    true
}

/// Whether two values are the same but for the last digit of long fractions,
/// which serde_json reads quickly and not to the last bit.
fn nearly_same(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split([' ', ',', '(', ')', '[', ']']);
        words.map(str::to_owned).collect()
    };
    let near = |(one, other): (&String, &String)| match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(a), Ok(b)) if one.contains(['.', 'e']) => (a - b).abs() <= 1e-14 * a.abs(),
        _ => one == other,
    };
    let (one, other) = (words(one), words(other));
    one.len() == other.len() && one.iter().zip(&other).all(near)
}

/// What a body says; not how many of its fields were ignored.
fn body_of(state: Option<State>, details: &Details) -> ReportBody {
    ReportBody {
        state,
        details: details.clone(),
        ignored: 0,
    }
}

/// Hands the bytes to all parsers. How many accepted them?
fn accepted(bytes: &[u8]) -> usize {
    let state = |bytes: &[u8]| {
        let read = ReportBody::parse_state(bytes);
        read.map(|body| body_of(body.state, &body.details))
    };
    let health = |bytes: &[u8]| {
        let read = ReportBody::parse_health(bytes);
        read.map(|body| body_of(body.state, &body.details))
    };
    let results = [
        round_trip(bytes, state, ReportBody::to_bytes),
        round_trip(bytes, health, ReportBody::to_health_bytes),
        round_trip(bytes, TableBlock::from_bytes, TableBlock::to_bytes),
        round_trip(bytes, Pulse::from_bytes, Pulse::to_bytes),
        round_trip(bytes, ClusterList::from_bytes, ClusterList::to_bytes),
        round_trip(bytes, Notice::from_bytes, Notice::to_bytes),
    ];
    if let Ok(subject) = Subject::parse(&String::from_utf8_lossy(bytes)) {
        assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
    }
    results.into_iter().filter(|accepted| *accepted).count()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        // A failure prints the shortest input; it is not kept in a file.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        accepted(&bytes);
    }

    #[test]
    fn reports_and_what_is_nearly_one(body in near_report()) {
        accepted(body.as_bytes());
    }

    #[test]
    fn damaged_messages(mut bytes in message(), damages in vec(damage(), 0..4)) {
        for damage in damages {
            damage.apply(&mut bytes);
        }
        accepted(&bytes);
    }

    #[test]
    fn damaged_subjects(
        subject in select(vec!["glance.main.3.state", "glance.table.main.0", "glance.pulse"]),
        damages in vec(damage(), 0..4),
    ) {
        let mut bytes = subject.as_bytes().to_vec();
        for damage in damages {
            damage.apply(&mut bytes);
        }
        accepted(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn table_blocks_round_trip(block in table_block(40)) {
        prop_assert_eq!(TableBlock::from_bytes(&block.to_bytes()).unwrap(), block);
    }

    #[test]
    fn pulses_round_trip(pulse in pulse(8)) {
        prop_assert_eq!(Pulse::from_bytes(&pulse.to_bytes()).unwrap(), pulse);
    }

    #[test]
    fn cluster_lists_round_trip(list in cluster_list()) {
        prop_assert_eq!(ClusterList::from_bytes(&list.to_bytes()).unwrap(), list);
    }
}

fn deep(open: &str, close: &str, depth: usize) -> Vec<u8> {
    let (open, close) = (open.repeat(depth), close.repeat(depth));
    format!("{{\"x\":{open}{close}}}").into_bytes()
}

/// As large as NATS takes them, and as deep.
#[test]
fn large_and_deep_messages() {
    let long_group = "x".repeat(MESSAGE_BYTES_MAX);
    for bytes in [
        vec![b' '; MESSAGE_BYTES_MAX],
        vec![b'3'; MESSAGE_BYTES_MAX],
        vec![b'['; MESSAGE_BYTES_MAX],
        vec![0xff; MESSAGE_BYTES_MAX],
        vec![b'.'; MESSAGE_BYTES_MAX],
        "{\"v\":".repeat(MESSAGE_BYTES_MAX / 5).into_bytes(),
        deep("[", "]", 400_000),
        deep("{\"state\":", "}", 100_000),
        format!("{{\"state\":3,\"group\":\"{long_group}\"}}").into_bytes(),
        // Deep, but small enough for a report.
        deep("[", "", 500),
        deep("[", "]", 400),
        vec![b'['; BODY_BYTES_MAX],
    ] {
        assert_eq!(accepted(&bytes), 0, "{:?}", &bytes[..20]);
    }
}

/// Columns that do not fit together are no block.
#[test]
fn inconsistent_blocks() {
    let golden = include_str!("../../golden/table_block.json").trim_end();
    for (from, to) in [
        ("\"len\":5", "\"len\":1025"),
        ("\"len\":5", "\"len\":4294967295"),
        ("\"len\":5", "\"len\":4"),
        ("\"len\":5", "\"len\":6"),
        ("\"states\":\"3", "\"states\":\"7"),
        ("\"states\":\"3", "\"states\":\"33"),
        ("\"previous\":\"4", "\"previous\":\""),
        ("\"causes\":\"r", "\"causes\":\"x"),
        ("\"since\":[8099100,", "\"since\":["),
        ("\"heard\":[9100,", "\"heard\":["),
        ("\"guilds\":[1200,", "\"guilds\":["),
        ("\"index\":[0,0,1", "\"index\":[0,0,2"),
        ("\"cluster\":\"main\"", "\"cluster\":\"ma.in\""),
        ("\"v\":1", "\"v\":2"),
    ] {
        assert!(golden.contains(from), "{from}");
        let message = golden.replacen(from, to, 1);
        assert!(TableBlock::from_bytes(message.as_bytes()).is_err(), "{to}");
    }
}

/// A list names each cluster once, and none of an impossible size.
#[test]
fn inconsistent_lists_of_clusters() {
    let golden = include_str!("../../golden/clusters.json").trim_end();
    for (from, to) in [
        ("\"demo\"", "\"main\""),
        ("\"demo\"", "\"\""),
        ("\"total\":6", "\"total\":0"),
        ("\"total\":6", "\"total\":262145"),
        ("\"v\":1", "\"v\":2"),
    ] {
        assert!(golden.contains(from), "{from}");
        let message = golden.replacen(from, to, 1);
        assert!(ClusterList::from_bytes(message.as_bytes()).is_err(), "{to}");
    }
}

/// A set of a pulse cannot name what is in no block.
#[test]
fn inconsistent_pulses() {
    let golden = include_str!("../../golden/pulse.json").trim_end();
    let too_long = format!("\"{}\"", "00".repeat(129));
    for healed in [
        "[1024]", "[65535]", "[65536]", "[-1]", "[0.5]", "[\"0\"]", "3", "null", "\"f\"", "\"0g\"",
        "\"é0\"", &too_long,
    ] {
        assert!(golden.contains("[12]"));
        let message = golden.replace("[12]", healed);
        assert!(Pulse::from_bytes(message.as_bytes()).is_err(), "{healed}");
    }
    for part in ["\"part\":1", "\"part\":0,\"part\":0", "\"part\":-1"] {
        let message = golden.replace("\"part\":0", part);
        assert!(Pulse::from_bytes(message.as_bytes()).is_err(), "{part}");
    }
}

/// Exactly 1 KiB is taken, and not one byte more.
#[test]
fn bodies_have_a_limit() {
    let body = |len: usize| format!("{:<len$}", "{\"state\":3}").into_bytes();
    for parse in [ReportBody::parse_state, ReportBody::parse_health] {
        let longest = parse(&body(BODY_BYTES_MAX)).unwrap();
        assert_eq!(longest.state, Some(State::Online));
        let len = BODY_BYTES_MAX + 1;
        assert_eq!(parse(&body(len)), Err(BodyError::TooLarge(len)));
        assert_eq!(parse(&[b'3', 0xff]), Err(BodyError::Shape));
    }
}
