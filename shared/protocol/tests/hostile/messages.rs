//! Messages of all kinds, and what may happen to them.

use glance_protocol::{
    BlockSet, Cause, ClusterInfo, ClusterList, ClusterName, Details, Notice, Pulse, PulseBlock,
    PulseCluster, SHARDS_MAX, Severity, ShardRow, State, TableBlock, shard::BLOCK_LEN,
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{Index, select},
};

/// 2026-11-22, in Unix milliseconds.
const NOW_MS: i64 = 1_795_358_099_100;

/// A number with few digits, which JSON carries exactly.
fn amount() -> impl Strategy<Value = f64> {
    (0_u32..1_000_000).prop_map(|number| f64::from(number) / 100.0)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.-]{1,12}",
        "\\PC{0,16}",
        Just("\u{0}\"\\\u{1f4a9}".to_owned())
    ]
}

prop_compose! {
    fn details()(
        group in option::of(text()),
        version in option::of(text()),
        latency_ms in option::of(amount()),
        guilds in option::of(0_u64..1 << 53),
        unavailable_guilds in option::of(0_u64..1 << 53),
        events_per_s in option::of(amount()),
    ) -> Details {
        Details {
            total: None,
            group: group.map(Into::into),
            version: version.map(Into::into),
            latency_ms,
            guilds,
            unavailable_guilds,
            events_per_s,
        }
    }
}

fn time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), (0_i64..NOW_MS * 2).prop_map(Some)]
}

fn cause() -> impl Strategy<Value = Option<Cause>> {
    option::of(select(vec![Cause::Report, Cause::Health, Cause::Timeout]))
}

prop_compose! {
    fn row()(
        state in select(&State::ALL[..]),
        previous in select(&State::ALL[..]),
        cause in cause(),
        since_ms in time(),
        last_heard_ms in time(),
        details in details(),
    ) -> ShardRow {
        ShardRow { state, previous, cause, since_ms, last_heard_ms, details }
    }
}

fn cluster_name() -> impl Strategy<Value = ClusterName> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|name| name.parse().unwrap())
}

prop_compose! {
    pub(crate) fn table_block(rows_max: usize)(
        epoch: u64,
        cluster in cluster_name(),
        block in 0..SHARDS_MAX / BLOCK_LEN,
        stream in text(),
        sequence: u64,
        rows in vec(row(), 0..rows_max),
    ) -> TableBlock {
        TableBlock { epoch, cluster, block, stream, sequence, at_ms: NOW_MS, rows }
    }
}

fn places() -> impl Strategy<Value = BlockSet> {
    prop_oneof![
        vec(0_usize..1024, 0..20).prop_map(BlockSet::from_iter),
        vec(any::<u8>(), 0..=128).prop_map(|bitmap| BlockSet::from_bitmap(&bitmap).unwrap()),
    ]
}

prop_compose! {
    fn pulse_block()(
        block in 0_u32..256,
        revision: u64,
        heard in places(),
        healed in places(),
    ) -> PulseBlock {
        PulseBlock { block, revision, heard, healed }
    }
}

prop_compose! {
    pub(crate) fn pulse(blocks_max: usize)(
        epoch: u64,
        number: u64,
        judging_since_ms in time(),
        clusters in vec((cluster_name(), vec(pulse_block(), 0..blocks_max)), 0..4),
    ) -> Pulse {
        let clusters = clusters.into_iter().map(|(name, blocks)| PulseCluster { name, blocks });
        Pulse {
            epoch,
            number,
            at_ms: NOW_MS,
            judging_since_ms,
            part: 0,
            parts: 1,
            clusters: clusters.collect(),
        }
    }
}

prop_compose! {
    pub(crate) fn cluster_list()(
        epoch: u64,
        clusters in btree_map(cluster_name(), (1..=SHARDS_MAX, amount()), 0..20)
            .prop_map(Vec::from_iter)
            .prop_shuffle(),
    ) -> ClusterList {
        let info = |(name, (total, timeout_s))| ClusterInfo { name, total, timeout_s, auto: false };
        ClusterList { epoch, clusters: clusters.into_iter().map(info).collect(), ..ClusterList::default() }
    }
}

fn notice() -> impl Strategy<Value = Notice> {
    ("\\PC{1,40}", option::of(amount())).prop_map(|(text, until)| Notice {
        text: format!("x{text}"),
        severity: Severity::Warning,
        until,
    })
}

/// A value of JSON, among them many that are nearly one of a report.
fn json_value() -> impl Strategy<Value = String> {
    let awkward = r#"3 "online" null true -1 3.0 1e400 -0 9007199254740993 41.5 1e-320
        18446744073709551616 "" "\u0000" "\ud800" [] {} [3] 262144 262145 NaN 0.1 123456.789"#;
    let awkward: Vec<String> = awkward.split_whitespace().map(str::to_owned).collect();
    prop_oneof![
        select(awkward),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "\"[a-zA-Z]{0,70}\"",
    ]
}

pub(crate) fn near_report() -> impl Strategy<Value = String> {
    let keys = "state state total group version latency_ms guilds unavailable_guilds \
                events_per_s State";
    let keys: Vec<&str> = keys.split(' ').collect();
    vec((select(keys), json_value()), 0..6).prop_map(|fields| {
        let field = |(key, value)| format!("\"{key}\":{value}");
        let fields: Vec<String> = fields.into_iter().map(field).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A valid message of any kind, or nearly.
pub(crate) fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        table_block(4).prop_map(|block| block.to_bytes()),
        pulse(2).prop_map(|pulse| pulse.to_bytes()),
        cluster_list().prop_map(|list| list.to_bytes()),
        notice().prop_map(|notice| notice.to_bytes()),
        near_report().prop_map(String::into_bytes),
    ]
}

/// How a message is damaged.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Set(Index, u8),
    Remove(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
    Cut(Index),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..4),
        json_value().prop_map(String::into_bytes),
        "[0-9\\[\\]{}:,\"-]{1,3}".prop_map(String::into_bytes),
    ];
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), b'0'..=b'9').prop_map(|(at, digit)| Damage::Set(at, digit)),
        at().prop_map(Damage::Remove),
        (at(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (at(), at()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        at().prop_map(Damage::Cut),
    ]
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Self::Insert(at, piece) => {
                let at = at.index(len);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Repeat(one, other) => {
                let (one, other) = (one.index(len), other.index(len));
                bytes.extend_from_within(one.min(other)..one.max(other));
            }
            Self::Cut(at) => bytes.truncate(at.index(len)),
        }
    }
}
