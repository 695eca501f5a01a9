//! `POST /api/report`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Answer, LIMIT, TestBridge, put_block, set_up, stored};
use futures::StreamExt as _;
use glance_bridge::BridgeOptions;
use glance_testing::NatsServer;
use serde_json::{Value, json};

async fn bridge() -> (NatsServer, TestBridge) {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4200), ("demo", 1)]).await;
    let bridge = TestBridge::start(&server).await;
    (server, bridge)
}

async fn report(bridge: &TestBridge, body: impl AsRef<[u8]>) -> Answer {
    let mut client = bridge.client().await;
    client.send("POST", "/api/report", &[], body.as_ref()).await
}

fn outcome(answer: &Answer) -> (u16, Value) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn states_and_health_checks_in_one_request() {
    let (server, bridge) = bridge().await;
    let client = server.client().await;
    let mut healths = client.subscribe("glance.*.*.health").await.unwrap();
    client.flush().await.unwrap();

    let body = r#"{"cluster":"main","total":1056,"group":"3","shards":[{"id":48,"state":"online","latency_ms":41},{"id":49}]}"#;
    let answer = report(&bridge, body).await;
    let error = "shard '49' is not known to the system yet, please populate your status";
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            200,
            format!(r#"{{"accepted":1,"rejected":[{{"id":49,"error":"{error}"}}]}}"#).as_str()
        )
    );
    let body = stored(&server, "main", 48).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        json!({"state":3,"total":1056,"group":"3","latency_ms":41.0})
    );

    // Now it is known, and an entry may differ from the defaults.
    let body = json!({"cluster":"main","version":"v1","group":"3","shards":[
        {"id":48},{"id":49,"state":3,"group":"4","version":null},{"id":49},{"id":49,"guilds":7}]});
    let answer = report(&bridge, body.to_string()).await;
    assert_eq!(outcome(&answer), (200, json!({"accepted":4,"rejected":[]})));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let message = tokio::time::timeout(LIMIT, healths.next())
            .await
            .unwrap()
            .unwrap();
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        seen.push((message.subject.to_string(), body));
    }
    let health = |shard: u32, body: Value| (format!("glance.main.{shard}.health"), body);
    assert_eq!(
        seen,
        [
            health(48, json!({"group":"3","version":"v1"})),
            health(49, json!({"group":"3","version":"v1"})),
            health(49, json!({"group":"3","version":"v1","guilds":7})),
        ]
    );
    let body = stored(&server, "main", 49).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"state":3,"group":"4","version":"v1"}));
}

#[tokio::test]
async fn a_plain_entry_is_stored_as_a_digit() {
    let (server, bridge) = bridge().await;
    let body = r#"{"shards":[{"id":0,"state":6}],"cluster":"demo"}"#;
    let answer = report(&bridge, body).await;
    assert_eq!(outcome(&answer), (200, json!({"accepted":1,"rejected":[]})));
    assert_eq!(stored(&server, "demo", 0).await.as_deref(), Some("6"));
}

#[tokio::test]
async fn wrong_entries_are_told_and_the_others_taken() {
    let (server, bridge) = bridge().await;
    let range = |id: &str| {
        format!("shard '{id}' falls outside the range of valid shards on cluster 'main'")
    };
    let whole = "'id' must be a whole number";
    let huge = 18_446_744_073_709_551_615_u64;
    let body = json!({"cluster":"main","group":"x".repeat(65),"shards":[
        {"id":4200,"state":3},{"id":-1,"state":3},{"id":huge,"state":3},
        {"id":"1","state":3},{"id":1.5,"state":3},{"state":3},17,
        {"id":2,"state":7},{"id":2,"state":"on"},{"id":2,"state":[]},{"id":3,"state":"ONLINE"}]});
    let answer = report(&bridge, body.to_string()).await;
    let (status, outcome) = outcome(&answer);
    assert_eq!((status, &outcome["accepted"]), (200, &json!(1)));
    let rejected: Vec<(Value, String)> = outcome["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["id"].clone(),
                entry["error"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let texts: Vec<_> = rejected
        .iter()
        .map(|(id, error)| (id.clone(), error.as_str()))
        .collect();
    assert_eq!(texts[0], (json!(4200), range("4200").as_str()));
    assert_eq!(texts[1], (json!(-1), range("-1").as_str()));
    assert_eq!(texts[2], (json!(huge), range(&huge.to_string()).as_str()));
    assert_eq!(texts[3], (Value::Null, whole));
    assert_eq!(texts[4], (json!(1.5), whole));
    assert_eq!(texts[5], (Value::Null, whole));
    assert_eq!(texts[6].0, Value::Null);
    for text in &texts[7..10] {
        assert_eq!(text.0, json!(2));
        assert!(text.1.contains("state"), "{text:?}");
    }
    assert_eq!(texts.len(), 10);
    // The group was too long, and so it is ignored.
    assert_eq!(stored(&server, "main", 3).await.as_deref(), Some("3"));
}

#[tokio::test]
async fn nothing_accepted_is_an_error() {
    let (_server, bridge) = bridge().await;
    let answer = report(&bridge, r#"{"cluster":"demo","shards":[]}"#).await;
    assert_eq!(outcome(&answer), (400, json!({"accepted":0,"rejected":[]})));
    let answer = report(&bridge, r#"{"cluster":"demo","shards":[{"id":0}]}"#).await;
    let error = "shard '0' is not known to the system yet, please populate your status";
    let wanted = json!({"accepted":0,"rejected":[{"id":0,"error":error}]});
    assert_eq!(outcome(&answer), (400, wanted));

    let answer = report(&bridge, r#"{"cluster":"nope","shards":[{"id":0}]}"#).await;
    answer.assert_error(400, "cluster 'nope' does not exist");
    let deep = "[".repeat(100_000);
    for bad in [
        "",
        "x",
        "[]",
        "{}",
        r#"{"cluster":"demo"}"#,
        r#"{"cluster":1,"shards":[]}"#,
        r#"{"cluster":"demo","shards":{}}"#,
        "\u{0}",
        deep.as_str(),
    ] {
        let answer = report(&bridge, bad).await;
        assert_eq!(answer.status, 400, "{bad:.40}");
        assert!(
            answer
                .body
                .starts_with(r#"{"error":"the body is no report: "#),
            "{answer:?}"
        );
    }
    assert_eq!(report(&bridge, b"\xff\xfe").await.status, 400);
}

#[tokio::test]
async fn the_largest_report_is_taken_and_a_larger_one_is_not() {
    let (server, bridge) = bridge().await;
    let all: Vec<u32> = (0..1024).collect();
    put_block(&server, "main", 0, 1024, &all).await;
    let shards: Vec<Value> = (0..4096)
        .map(|id| json!({"id":id,"state":id % 7}))
        .collect();
    let mut body = json!({"cluster":"main","shards":shards});
    let answer = report(&bridge, body.to_string()).await;
    assert_eq!(
        outcome(&answer),
        (200, json!({"accepted":4096,"rejected":[]}))
    );
    for id in [0, 1, 4095] {
        let state = (id % 7).to_string();
        assert_eq!(stored(&server, "main", id).await, Some(state));
    }
    body["shards"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id":1,"state":1}));
    let answer = report(&bridge, body.to_string()).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("a report has at most 4096 shards"),
        "{answer:?}"
    );

    // By its length alone, and by what arrives when no length is told.
    let limit = 512 * 1024;
    let padded = |size: usize| {
        let text = r#"{"cluster":"main","shards":[{"id":1,"state":1}]}"#;
        format!("{text}{}", " ".repeat(size - text.len()))
    };
    assert_eq!(report(&bridge, padded(limit)).await.status, 200);
    let error = "the body is larger than 524288 bytes";
    report(&bridge, padded(limit + 1))
        .await
        .assert_error(413, error);
    let mut client = bridge.client().await;
    client
        .send_head("POST", "/api/report", &[], limit + 1)
        .await;
    client.answer("POST").await.assert_error(413, error);
    let chunked = [("transfer-encoding", "chunked")];
    let mut client = bridge.client().await;
    client.send_head("POST", "/api/report", &chunked, 0).await;
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", limit + 1, padded(limit + 1));
    client.write(chunk.as_bytes()).await;
    client.answer("POST").await.assert_error(413, error);
    // The connection is still good.
    let answer = client.send("POST", "/api/status/main/1/3", &[], b"").await;
    answer.assert_accepted();
}

#[tokio::test]
async fn many_look_ups_are_fine() {
    let (server, bridge) = bridge().await;
    let reporter = TestBridge::start(&server).await;
    let shards: Vec<Value> = (0..500).map(|id| json!({"id":id * 2,"state":3})).collect();
    let body = json!({"cluster":"main","shards":shards}).to_string();
    assert_eq!(report(&reporter, body).await.status, 200);
    let shards: Vec<Value> = (0..1000).map(|id| json!({"id":id})).collect();
    let body = json!({"cluster":"main","shards":shards}).to_string();
    let (status, outcome) = outcome(&report(&bridge, body).await);
    assert_eq!((status, &outcome["accepted"]), (200, &json!(500)));
    assert_eq!(outcome["rejected"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn a_whole_report_of_unknown_shards_is_decided_in_time() {
    let (server, bridge) = bridge().await;
    for block in 0..4 {
        put_block(&server, "main", block, 1024, &[block * 1024]).await;
    }
    let other = TestBridge::start(&server).await;
    assert_eq!(other.post("/api/status/main/7/3").await.status, 204);
    let shards: Vec<Value> = (0..4096).map(|id| json!({"id":id})).collect();
    let body = json!({"cluster":"main","shards":shards}).to_string();
    let (status, outcome) = outcome(&report(&bridge, body).await);
    assert_eq!((status, &outcome["accepted"]), (200, &json!(5)));
    assert_eq!(outcome["rejected"].as_array().unwrap().len(), 4091);
}

#[tokio::test]
async fn more_messages_than_may_be_in_flight_are_no_problem() {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 4096)]).await;
    let options = BridgeOptions {
        waiting_max: 8,
        in_flight_max: 2,
        ..BridgeOptions::default()
    };
    let bridge = TestBridge::start_with(&server, "", &options).await;
    let shards: Vec<Value> = (0..300).map(|id| json!({"id":id,"state":3})).collect();
    let body = json!({"cluster":"main","shards":shards}).to_string();
    let reports = (0..4).map(|_| report(&bridge, &body));
    for answer in futures::future::join_all(reports).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
