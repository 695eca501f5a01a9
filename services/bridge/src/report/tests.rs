use proptest::prelude::*;

use super::*;

fn check(report: &str) -> (Vec<(u32, String)>, Vec<String>) {
    check_for(100, false, report)
}

fn check_for(total: u32, auto: bool, report: &str) -> (Vec<(u32, String)>, Vec<String>) {
    let info = glance_protocol::ClusterInfo {
        name: "main".parse().unwrap(),
        total,
        timeout_s: 30.0,
        auto,
    };
    let cluster = Cluster::new(&info, None);
    let (valid, rejected) = Report::from_bytes(report.as_bytes())
        .unwrap()
        .check(&cluster);
    let body = |entry: &Valid| String::from_utf8(entry.body.to_bytes()).unwrap();
    let valid = valid.iter().map(|entry| (entry.shard.get(), body(entry)));
    let rejected = rejected.into_iter().map(|entry| entry.error);
    (valid.collect(), rejected.collect())
}

#[test]
fn defaults_fill_what_an_entry_leaves_open() {
    // Only these three are defaults: a latency is one shard's own.
    let (valid, rejected) = check(
        r#"{"total":5,"cluster":"main","latency_ms":3,"state":3,"version":"v","shards":[
            {"id":1,"state":2,"total":6},{"id":2,"other":[{}]}],"group":"g"}"#,
    );
    assert_eq!(
        valid,
        [
            (
                1,
                r#"{"state":2,"total":6,"group":"g","version":"v"}"#.to_owned()
            ),
            (2, r#"{"total":5,"group":"g","version":"v"}"#.to_owned()),
        ]
    );
    assert_eq!(rejected, [] as [String; 0]);
}

#[test]
fn each_entry_may_claim_a_size() {
    let report = r#"{"cluster":"main","total":10,"shards":[
        {"id":9,"state":3},{"id":10,"state":3},{"id":10,"total":11},{"id":9,"total":0}]}"#;
    let ids = |valid: Vec<(u32, String)>| valid.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let (valid, rejected) = check_for(0, true, report);
    assert_eq!(ids(valid), [9, 10, 9]);
    assert!(
        rejected.len() == 1 && rejected[0].contains("'10' falls outside"),
        "{rejected:?}"
    );
    // A configured size stays as it is, and the claim is passed on.
    let (valid, rejected) = check_for(10, false, report);
    assert_eq!(valid[0].1, r#"{"state":3,"total":10}"#);
    assert_eq!((ids(valid), rejected.len()), (vec![9, 9], 2));
    let report = r#"{"cluster":"main","shards":[{"id":9,"state":3},{"id":0,"total":-1}]}"#;
    let (valid, rejected) = check_for(0, true, report);
    assert_eq!(valid, []);
    assert!(
        rejected
            .iter()
            .all(|error| error.starts_with("size not yet known: "))
    );
}

#[test]
fn an_entry_that_would_be_refused_later_is_refused_here() {
    let control = "\\u0001".repeat(64);
    let (valid, rejected) = check(&format!(
        r#"{{"cluster":"main","group":"{control}","version":"{control}","shards":[
            {{"id":1,"state":2}},
            {{"id":1,"state":2,"total":262144,"latency_ms":99999999.12345678,"guilds":9007199254740991,
              "unavailable_guilds":9007199254740991,"events_per_s":99999999.12345678}}]}}"#
    ));
    for (_, body) in &valid {
        assert!(body.len() <= BODY_BYTES_MAX);
    }
    assert_eq!(valid.len() + rejected.len(), 2);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0u32..120).prop_map(Value::from),
        "online|[a-z]{0,3}|.{60,70}".prop_map(Value::from),
    ];
    let key = "id|state|group|version|total|latency_ms|guilds|x";
    leaf.prop_recursive(3, 20, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Report::from_bytes(&bytes);
    }

    #[test]
    fn every_entry_is_taken_or_told(entries in prop::collection::vec(json(), 0..20), group in json()) {
        let count = entries.len();
        let report = serde_json::json!({"cluster":"main","group":group,"shards":entries});
        let (valid, rejected) = check(&report.to_string());
        prop_assert_eq!(valid.len() + rejected.len(), count);
        for (shard, body) in valid {
            prop_assert!(shard < 100);
            let read = ReportBody::parse_health(body.as_bytes());
            prop_assert!(read.is_ok() || body.len() == 1, "{}", body);
        }
    }
}
