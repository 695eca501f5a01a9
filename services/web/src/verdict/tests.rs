use std::sync::Arc;

use glance_protocol::{
    BLOCK_LEN, Cause, ClusterInfo, Notice, ShardRow, State,
    feed::{Maintenance, Notices},
};
use serde_json::Value;

use super::{count, judge};
use crate::cluster::Cluster;

const GOLDEN: &str = include_str!("../../../../shared/protocol/golden/verdicts.json");
const TIMEOUT_MS: i64 = 30_000;

fn milliseconds(value: &Value, default_s: i64) -> Option<i64> {
    match value {
        Value::Null => None,
        #[allow(clippy::cast_possible_truncation, reason = "times of a test")]
        Value::Number(_) => Some((value.as_f64().unwrap() * 1000.0) as i64),
        _ => Some(default_s * 1000),
    }
}

fn state(value: &Value) -> State {
    State::from_number(value.as_i64().unwrap_or(0)).unwrap()
}

/// One shard of a run.
fn row(run: &Value, group: Option<u32>, now_ms: i64) -> ShardRow {
    let time = |key, default| milliseconds(run.get(key).unwrap_or(&Value::Bool(true)), default);
    let mut row = ShardRow {
        state: state(&run["state"]),
        previous: state(&run["previous"]),
        since_ms: time("since", 1000),
        last_heard_ms: time("heard", 1998),
        ..ShardRow::default()
    };
    let is_silent = row.last_heard_ms.is_some_and(|ms| now_ms - ms > TIMEOUT_MS);
    row.cause = row.since_ms.map(|_| match row.state {
        State::Unhealthy if is_silent && run["cause"] != "report" => Cause::Timeout,
        _ => Cause::Report,
    });
    row.details.group = group.map(|group| group.to_string().into());
    row
}

fn cluster(value: &Value, now_ms: i64) -> Cluster {
    let mut rows = Vec::new();
    for run in value["shards"].as_array().unwrap() {
        for _ in 0..run["count"].as_u64().unwrap() {
            let id = u32::try_from(rows.len()).unwrap();
            let group = value["groups_of"]
                .as_u64()
                .map(|size| id / u32::try_from(size).unwrap());
            rows.push(row(run, group, now_ms));
        }
    }
    let info = ClusterInfo {
        name: value["name"].as_str().unwrap().parse().unwrap(),
        total: u32::try_from(rows.len()).unwrap(),
        timeout_s: 30.0,
        auto: rows.is_empty(),
    };
    let mut cluster = Cluster::new(info, Vec::new());
    for (block, rows) in cluster
        .blocks
        .iter_mut()
        .zip(rows.chunks(BLOCK_LEN as usize))
    {
        let block = Arc::make_mut(block);
        block.last_heard_ms = rows.iter().map(|row| row.last_heard_ms).collect();
        block.rows = Arc::new(rows.to_vec());
    }
    cluster
}

fn notice(value: &Value) -> Notice {
    serde_json::from_value(value.clone()).unwrap()
}

fn notices(fleet: &Value) -> Notices {
    let maintenance = fleet["maintenance"].as_array().unwrap().iter();
    Notices {
        announcement: fleet["announcement"]
            .as_object()
            .map(|_| notice(&fleet["announcement"])),
        maintenance: maintenance
            .map(|entry| Maintenance {
                cluster: entry["cluster"].as_str().unwrap().parse().unwrap(),
                group: entry["group"].as_str().map(str::to_owned),
                notice: notice(entry),
            })
            .collect(),
    }
}

#[test]
fn the_golden_fleets() {
    let fleets: Vec<Value> = serde_json::from_str(GOLDEN).unwrap();
    assert!(fleets.len() >= 20);
    for fleet in fleets {
        let why = &fleet["why"];
        let now_ms = milliseconds(&fleet["now"], 0).unwrap();
        let clusters = fleet["clusters"].as_array().unwrap().iter();
        let clusters: Vec<Cluster> = clusters.map(|value| cluster(value, now_ms)).collect();
        let blind = fleet["blind"].as_bool().unwrap();
        let verdict = judge(&clusters, &notices(&fleet), now_ms, blind);
        assert_eq!(fleet["sentence"], verdict.sentence, "{why}");
        assert_eq!(fleet["mood"], verdict.mood.name(), "{why}");
    }
}

#[test]
fn numbers_can_be_read() {
    for (number, text) in [
        (0, "0"),
        (999, "999"),
        (1056, "1,056"),
        (262_144, "262,144"),
    ] {
        assert_eq!(count(number), text);
    }
}
