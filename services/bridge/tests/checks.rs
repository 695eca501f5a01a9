//! Each row of the table of checks: status, body and headers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Client, TestBridge, put_block, set_up, stored};
use glance_bridge::BridgeOptions;
use glance_testing::NatsServer;

const DIGITS: &str = "123456789012345678901234567890";

async fn bridge(passphrase: &str) -> (NatsServer, TestBridge) {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 1000), ("table", 2)]).await;
    let bridge = TestBridge::start_with(&server, passphrase, &BridgeOptions::default()).await;
    (server, bridge)
}

#[tokio::test]
async fn paths_and_methods() {
    let (_server, bridge) = bridge("secret").await;
    for path in [
        "/",
        "/api",
        "/api/status/main/1",
        "/api/status/main/+1/3",
        "/api/status/main/1/3.5",
        "/api/status/main/1/abc",
        "/api/status/main/1/3/4",
        "/api/health/main",
        "/api/feed",
    ] {
        for method in ["POST", "GET", "OPTIONS"] {
            assert_eq!(
                bridge.send(method, path).await.status,
                404,
                "{method} {path}"
            );
        }
    }
    // A wrong method is told before a missing passphrase, an unknown cluster and everything else.
    for path in [
        "/api/status/main/1/3",
        "/api/status/nope/-1/99",
        "/api/status/main/1/3/?x=1",
        "/api/health/main/1",
        "/api/report",
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "BREW"] {
            let answer = bridge.send(method, path).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("POST"), "{method} {path}");
            if method != "HEAD" {
                answer.assert_error(405, "this endpoint takes POST");
            }
        }
    }
    for path in [
        "/api/announcement",
        "/api/maintenance/main",
        "/api/maintenance/nope/3/",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = bridge.send(method, path).await;
            answer.assert_error(405, "this endpoint takes PUT and DELETE");
            assert_eq!(answer.header("allow"), Some("PUT, DELETE"));
        }
    }
}

#[tokio::test]
async fn the_passphrase() {
    let (_server, bridge) = bridge("h\u{fc}nter 2").await;
    for (row, (method, path)) in (1..).zip([
        ("POST", "/api/status/main/1/3"),
        ("POST", "/api/status/nope/-1/99"),
        ("POST", "/api/health/main/1"),
        ("POST", "/api/report"),
        ("PUT", "/api/announcement"),
        ("DELETE", "/api/announcement"),
        ("PUT", "/api/maintenance/main"),
        ("DELETE", "/api/maintenance/nope/3"),
    ]) {
        // Each from an address of its own, as more failures of one would be slowed.
        let mut client = Client::connect_from([127, 0, 2, row], bridge.port).await;
        for value in [
            None,
            Some(""),
            Some("h\u{fc}nter"),
            Some("Bearer"),
            Some("Basic h\u{fc}nter 2"),
        ] {
            let headers: Vec<_> = value
                .iter()
                .map(|value| ("authorization", *value))
                .collect();
            let answer = client.send(method, path, &headers, b"ignored").await;
            answer.assert_error(401, "this endpoint requires authorization");
        }
    }
    let mut client = bridge.client().await;
    for value in ["h\u{fc}nter 2", "Bearer h\u{fc}nter 2"] {
        let headers = [("Authorization", value)];
        let answer = client
            .send("POST", "/api/status/main/1/3", &headers, b"")
            .await;
        answer.assert_accepted();
    }
}

#[tokio::test]
async fn clusters_shards_and_states() {
    let (_server, bridge) = bridge("").await;
    for (path, error) in [
        (
            "/api/status/nope/1000/99",
            "cluster 'nope' does not exist".to_owned(),
        ),
        (
            "/api/health/nope/1000",
            "cluster 'nope' does not exist".to_owned(),
        ),
        (
            "/api/status/MAIN/0/3",
            "cluster 'MAIN' does not exist".to_owned(),
        ),
        (
            "/api/status/a%20%22b/0/3",
            "cluster 'a \"b' does not exist".to_owned(),
        ),
        ("/api/status/*/0/3", "cluster '*' does not exist".to_owned()),
        ("/api/status/main/1000/99", out_of_range("1000")),
        ("/api/status/main/-1/3", out_of_range("-1")),
        ("/api/status/main/-01/3", out_of_range("-1")),
        ("/api/health/main/1000", out_of_range("1000")),
        ("/api/health/main/01000/", out_of_range("1000")),
        ("/api/health/main/4294967296", out_of_range("4294967296")),
        (&format!("/api/health/main/{DIGITS}"), out_of_range(DIGITS)),
        ("/api/status/main/0/7", no_state("7")),
        ("/api/status/main/0/-1", no_state("-1")),
        ("/api/status/main/0/007", no_state("7")),
        (&format!("/api/status/main/0/{DIGITS}"), no_state(DIGITS)),
    ] {
        bridge.post(path).await.assert_error(400, &error);
    }
}

fn out_of_range(shard: &str) -> String {
    format!("shard '{shard}' falls outside the range of valid shards on cluster 'main'")
}

fn no_state(state: &str) -> String {
    format!("state '{state}' falls outside the range of valid states, 0 to 6")
}

#[tokio::test]
async fn health_checks_need_an_earlier_report() {
    let (server, bridge) = bridge("").await;
    let unknown = "shard '4' is not known to the system yet, please populate your status";
    bridge
        .post("/api/health/main/4")
        .await
        .assert_error(409, unknown);
    bridge.post("/api/status/main/4/0").await.assert_accepted();
    bridge.post("/api/health/main/4").await.assert_accepted();
    bridge
        .post("/api/health/main/04/?x=1")
        .await
        .assert_accepted();

    // Another replica has not seen that report, and finds it in the stream.
    let other = TestBridge::start(&server).await;
    other.post("/api/health/main/4").await.assert_accepted();
    other
        .post("/api/health/main/5")
        .await
        .assert_error(409, &unknown.replace('4', "5"));

    // A shard whose report was refused later is known to the table alone.
    put_block(&server, "main", 0, 1000, &[5]).await;
    other.post("/api/health/main/5").await.assert_accepted();
    other
        .post("/api/health/main/6")
        .await
        .assert_error(409, &unknown.replace('4', "6"));
}

#[tokio::test]
async fn accepted_reports_are_stored() {
    let (server, bridge) = bridge("").await;
    for (path, shard, state) in [
        ("/api/status/main/0/0", 0, "0"),
        ("/api/status/main/00/6", 0, "6"),
        ("/api/status/main/999/03/", 999, "3"),
        ("/api/status/main/1/1?state=3", 1, "1"),
        ("/api/st%61tus/m%61in/%32/%33", 2, "3"),
    ] {
        bridge.post(path).await.assert_accepted();
        assert_eq!(stored(&server, "main", shard).await.as_deref(), Some(state));
    }
    // A cluster may be called like the subjects of the table.
    bridge.post("/api/status/table/1/3").await.assert_accepted();
    assert_eq!(stored(&server, "table", 1).await.as_deref(), Some("3"));
    assert_eq!(stored(&server, "main", 3).await, None);
}

#[tokio::test]
async fn a_health_check_is_published_with_an_empty_body() {
    use futures::StreamExt as _;

    let (server, bridge) = bridge("").await;
    let client = server.client().await;
    let mut healths = client.subscribe("glance.*.*.health").await.unwrap();
    client.flush().await.unwrap();
    bridge.post("/api/status/main/7/3").await.assert_accepted();
    bridge.post("/api/health/main/7").await.assert_accepted();
    let message = tokio::time::timeout(common::LIMIT, healths.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.subject.as_str(), "glance.main.7.health");
    assert!(message.payload.is_empty());
}

#[tokio::test]
async fn ignored_bodies_do_not_cost_the_connection() {
    let (_server, bridge) = bridge("").await;
    let mut client = bridge.client().await;
    let large = vec![b'x'; 200_000];
    for (method, path, status) in [
        ("POST", "/api/status/main/1/3", 204),
        ("POST", "/api/status/nope/1/3", 400),
        ("POST", "/api/health/main/1", 204),
        ("POST", "/api/health/main/2", 409),
        ("GET", "/api/health/main/2", 405),
        ("POST", "/api/status/main/1/9", 400),
    ] {
        for body in [&b"{\"state\":2}"[..], &large] {
            assert_eq!(client.send(method, path, &[], body).await.status, status);
        }
        // The body comes only after the answer.
        client.send_head(method, path, &[], 3).await;
        assert_eq!(client.answer(method).await.status, status);
        client.write(b"abc").await;
        // In pieces.
        let chunked = [("transfer-encoding", "chunked")];
        client.send_head(method, path, &chunked, 0).await;
        client.write(b"3\r\nabc\r\n").await;
        assert_eq!(client.answer(method).await.status, status);
        client.write(b"0\r\n\r\n").await;
    }
}
