//! Kept connections, and requests that come before the answers to the ones before them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{Answer, Client, TestBridge, set_up, stored};
use glance_testing::NatsServer;

/// A request as bytes, and the status of its answer.
struct Request {
    method: &'static str,
    bytes: String,
    status: u16,
}

fn request(method: &'static str, path: &str, body: &str, status: u16) -> Request {
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    Request {
        method,
        bytes: format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{length}\r\n{body}"),
        status,
    }
}

/// Requests of every kind. Each says by its shard which one it is.
fn mixed(number: u32) -> Vec<Request> {
    let shard = number % 50;
    let chunked = format!(
        "POST /api/health/main/{shard} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let report =
        format!(r#"{{"cluster":"main","shards":[{{"id":{shard},"state":2}},{{"id":{shard}}}]}}"#);
    let outside = 1000 + number;
    vec![
        request("POST", &format!("/api/status/main/{shard}/3"), "", 204),
        request("POST", &format!("/api/health/main/{shard}"), "", 204),
        request("POST", &format!("/api/health/main/{shard}"), "ignored", 204),
        request("POST", &format!("/api/health/main/{outside}"), "", 400),
        request("GET", &format!("/api/health/main/{shard}"), "", 405),
        request("POST", "/api/report", &report, 200),
        request(
            "POST",
            &format!("/api/status/nope{number}/1/3"),
            "ignored too",
            400,
        ),
        Request {
            method: "POST",
            bytes: chunked,
            status: 204,
        },
        request("POST", "/api/report", "{", 400),
        request(
            "POST",
            &format!("/api/health/main/{}", 500 + shard),
            "",
            409,
        ),
    ]
}

/// Checks that an answer is the one to this request, by what only it says.
fn check(number: u32, request: &Request, answer: &Answer) {
    assert_eq!(
        answer.status, request.status,
        "{number}: {} {answer:?}",
        request.bytes
    );
    assert_eq!(answer.header("connection"), None, "{answer:?}");
    let wanted = match request.status {
        204 => return answer.assert_accepted(),
        200 => r#"{"accepted":2,"rejected":[]}"#.to_owned(),
        405 => "this endpoint takes POST".to_owned(),
        409 => format!("shard '{}' is not known", 500 + number % 50),
        _ if request.bytes.contains("nope") => format!("cluster 'nope{number}' does not exist"),
        _ if request.bytes.contains("/api/report") => "the body is no report".to_owned(),
        _ => format!("shard '{}' falls outside", 1000 + number),
    };
    assert!(answer.body.contains(&wanted), "{number}: {answer:?}");
}

async fn bridge_of_a_thousand() -> (NatsServer, TestBridge) {
    let server = NatsServer::start().await;
    set_up(&server, &[("main", 1000)]).await;
    let bridge = TestBridge::start(&server).await;
    (server, bridge)
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (server, bridge) = bridge_of_a_thousand().await;
    let mut client = bridge.client().await;
    let all: Vec<(u32, Request)> = (0..30)
        .flat_map(|number| mixed(number).into_iter().map(move |it| (number, it)))
        .collect();
    let bytes: String = all
        .iter()
        .map(|(_, request)| request.bytes.as_str())
        .collect();
    client.write(bytes.as_bytes()).await;
    for (number, request) in &all {
        check(*number, request, &client.answer(request.method).await);
    }
    assert_eq!(stored(&server, "main", 29).await.as_deref(), Some("2"));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let (_server, bridge) = bridge_of_a_thousand().await;
    let mut client = bridge.client().await;
    let request = request("POST", "/api/status/main/1/3", "", 204);
    let (begin, rest) = request.bytes.split_at(20);
    client.write(request.bytes.as_bytes()).await;
    for _ in 0..3 {
        client.write(begin.as_bytes()).await;
        client.answer("POST").await.assert_accepted();
        client.write(rest.as_bytes()).await;
    }
    client.answer("POST").await.assert_accepted();
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_kept_through_errors() {
    let (_server, bridge) = bridge_of_a_thousand().await;
    let mut client = bridge.client().await;
    for number in 0..3 {
        for request in mixed(number) {
            client.write(request.bytes.as_bytes()).await;
            check(number, &request, &client.answer(request.method).await);
        }
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_when_the_client_says_so() {
    let (_server, bridge) = bridge_of_a_thousand().await;
    let path = "/api/status/main/1/3";
    for (head, kept) in [
        (
            format!("POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"),
            false,
        ),
        (format!("POST {path} HTTP/1.0\r\n\r\n"), false),
        (
            format!("POST {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
            true,
        ),
        // An error ends it no sooner and no later.
        (
            "POST /api/status/nope/1/3 HTTP/1.0\r\n\r\n".to_owned(),
            false,
        ),
        (
            "PUT /api/report HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".to_owned(),
            false,
        ),
    ] {
        let mut client = bridge.client().await;
        client.write(head.as_bytes()).await;
        client.answer("POST").await;
        match kept {
            true => client.send("POST", path, &[], b"").await.assert_accepted(),
            false => assert!(client.is_closed().await, "{head}"),
        }
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_more_is_still_answered() {
    let (_server, bridge) = bridge_of_a_thousand().await;
    let mut client: Client = bridge.client().await;
    let two = [
        request("POST", "/api/status/main/7/3", "", 204),
        request("POST", "/api/health/main/7", "", 204),
    ];
    client
        .write(two.map(|it| it.bytes).concat().as_bytes())
        .await;
    client.finish().await;
    client.answer("POST").await.assert_accepted();
    client.answer("POST").await.assert_accepted();
    assert!(client.is_closed().await);
    bridge.stop().await;
}
