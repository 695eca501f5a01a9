//! Everything that is no feed: the page, the text, the JSON, and requests that are wrong.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::io::Read as _;

use glance_protocol::{Cause, Details, ShardRow, State};
use glance_runner::Metrics;
use glance_testing::{NatsServer, eventually};
use glance_web::WebOptions;
use support::{Aggregator, LIMIT, SINCE_MS, Service, online};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn rows() -> Vec<ShardRow> {
    let mut first = online();
    first.since_ms = Some(1_795_350_000_000);
    let mut second = first.clone();
    second.details = Details {
        group: Some("0".into()),
        latency_ms: Some(41.0),
        ..Details::default()
    };
    let third = ShardRow {
        state: State::Unhealthy,
        previous: State::Online,
        cause: Some(Cause::Timeout),
        since_ms: Some(SINCE_MS),
        last_heard_ms: Some(SINCE_MS - 30_000),
        ..ShardRow::default()
    };
    vec![first, second, third, ShardRow::default()]
}

async fn fleet(server: &NatsServer) -> Aggregator {
    let mut aggregator = Aggregator::start(server, &[("main", 4), ("demo", 1)]).await;
    aggregator.put("main", 0, rows()).await;
    aggregator
}

async fn start() -> (NatsServer, Aggregator, Service) {
    let server = NatsServer::start().await;
    let aggregator = fleet(&server).await;
    let service = Service::start(&server).await;
    service.is_ready().await;
    (server, aggregator, service)
}

#[tokio::test]
async fn the_snapshot_is_as_documented() {
    let (_server, mut aggregator, service) = start().await;
    aggregator.pulse("main", &[2], &[]).await;
    let answer = eventually(LIMIT, async || {
        let answer = service.get("/api/snapshot").await;
        (!answer.json()["heard"].is_null()).then_some(answer)
    })
    .await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let text = answer.text();
    let clusters = concat!(
        r#""judging_since":1795358092.349,"clusters":[{"name":"main","total":4,"states":"3310","previous":"4430","#,
        r#""since":[1795350000,1795350000,1795358092.349,null],"#,
        r#""last_heard":[1795358092.349,1795358092.349,1795358093.349,null],"#,
        r#""details":{"1":{"group":"0","latency_ms":41}},"blocks":[[7,4]],"timeout":30},"#,
        r#"{"name":"demo","total":1,"states":"0","previous":"0","since":[null],"last_heard":[null],"details":{},"#,
        r#""blocks":[[7,3]],"timeout":30}],"announcement":null,"maintenance":[]}"#,
    );
    assert!(text.starts_with(r#"{"now":"#), "{text}");
    assert!(text.ends_with(clusters), "{text}");
    let now = answer.json()["now"].as_f64().unwrap();
    let heard = answer.json()["heard"].as_f64().unwrap();
    // Both by the clock of the aggregator, which is far from this host's.
    assert!((heard - 1_795_358_093.349).abs() < 0.001, "{heard}");
    assert!((0.0..5.0).contains(&(now - heard)), "{now} at {heard}");
}

/// Two replicas that hold the same give the same tag, and who has it gets no body.
#[tokio::test]
async fn the_tag_of_a_snapshot_is_the_same_everywhere() {
    let (server, mut aggregator, first) = start().await;
    let second = Service::start(&server).await;
    second.is_ready().await;
    // Without a pulse the tag would change every five seconds.
    aggregator.pulse("main", &[], &[]).await;
    first.says("ready").await;
    second.says("ready").await;
    let before = first.get("/api/snapshot").await;
    assert_eq!(
        before.header("etag"),
        second.get("/api/snapshot").await.header("etag")
    );
    let tag = before.header("etag");
    let known = first
        .request("GET", "/api/snapshot", &format!("If-None-Match: {tag}\r\n"))
        .await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), tag);

    aggregator.pulse("main", &[0], &[]).await;
    let changed = |service: &Service| {
        let request = format!(
            "GET /api/snapshot HTTP/1.1\r\nHost: t\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        );
        let service = service.address;
        async move {
            let answer = support::raw(service, &request).await;
            (answer.status == 200).then(|| answer.header("etag").to_owned())
        }
    };
    let one = eventually(LIMIT, async || changed(&first).await).await;
    let other = eventually(LIMIT, async || changed(&second).await).await;
    assert_eq!(one, other);
}

#[tokio::test]
async fn the_plain_table_is_for_people() {
    let (_server, mut aggregator, service) = start().await;
    let old = service.get("/plain").await;
    assert_eq!(old.header("content-type"), "text/plain; charset=utf-8");
    let sentence =
        "Glance: The dashboard cannot hear the bots. Last known: main: 1 of 4 shards is down\n\n";
    assert!(old.text().starts_with(sentence), "{}", old.text());
    assert!(old.text().contains("\nOLD: "));
    aggregator.pulse("main", &[], &[]).await;
    let text = eventually(LIMIT, async || {
        let answer = service.get("/plain").await;
        answer
            .text()
            .contains("Up to date.")
            .then(|| answer.text().to_owned())
    })
    .await;
    let sentence = "Glance: main: 1 of 4 shards is down\n\nUp to date.\n";
    assert!(text.starts_with(sentence), "{text}");
    assert!(text.contains("\nmain  2/4 online\n"), "{text}");
    assert!(text.contains("  2  unhealthy, was online, for "), "{text}");
    assert!(text.contains("  3  never reported\n"), "{text}");
    assert!(text.contains("\ndemo  0/1 online\n"), "{text}");
}

#[tokio::test]
async fn the_page_and_its_parts() {
    let server = NatsServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("js")).unwrap();
    let script = "export const x = 1;\n".repeat(100);
    for (name, text) in [
        ("index.html", "<!doctype html><title>Ours</title>"),
        ("top.js", "export default {};"),
        ("js/app.js", script.as_str()),
        ("secret.env", "hunter2"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let options = WebOptions {
        page_dir: Some(folder.path().to_owned()),
        ..WebOptions::default()
    };
    let service = Service::start_with(&server, options).await;

    let index = service.get("/").await;
    assert_eq!(index.header("content-type"), "text/html; charset=utf-8");
    assert!(index.text().contains("Ours"));
    let zipped = service
        .request("GET", "/assets/js/app.js", "Accept-Encoding: br, gzip\r\n")
        .await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_eq!(zipped.header("vary"), "Accept-Encoding");
    assert_eq!(zipped.header("cache-control"), "no-cache");
    assert_eq!(
        zipped.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, script);
    let known = format!("If-None-Match: {}\r\n", zipped.header("etag"));
    assert_eq!(
        service
            .request("GET", "/assets/js/app.js", &known)
            .await
            .status,
        304
    );
    assert_eq!(service.get("/assets/top.js").await.status, 404);

    for path in [
        "/secret.env",
        "/assets/secret.env",
        "/assets/../secret.env",
        "/assets/js/../../secret.env",
        "/assets/%2e%2e/secret.env",
        "/assets/..%2fsecret.env",
        "/assets//etc/passwd",
        "/assets/js",
        "/assets/js/",
        "/assets/",
        "/assets",
        "/index.html",
        "/assets/index.html",
        "/assets/js/app.js%00",
        "/assets/js/APP.js",
        "/nothing",
        "/api/feed/",
    ] {
        assert_eq!(service.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_works_wherever_get_does() {
    let (_server, _aggregator, service) = start().await;
    for path in [
        "/plain",
        "/api/snapshot",
        "/healthz",
        "/readyz",
        "/api/feed",
        "/nothing",
    ] {
        let get = service.get(path).await;
        let head = service.request("HEAD", path, "").await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
        assert!(!head.header("content-length").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_what_works() {
    let (_server, _aggregator, service) = start().await;
    for path in ["/plain", "/api/snapshot", "/api/feed", "/healthz"] {
        for method in ["POST", "PUT", "DELETE", "BREW"] {
            let answer = service.request(method, path, "Content-Length: 0\r\n").await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(
        service.request("OPTIONS", "/api/snapshot", "").await.status,
        204
    );
}

#[tokio::test]
async fn hostile_upgrades_are_refused() {
    let (_server, _aggregator, service) = start().await;
    let metrics = Metrics::default();
    service.web.add_metrics(&metrics);
    let ask = async |headers: &str| {
        let request = format!("GET /api/feed HTTP/1.1\r\nHost: t\r\n{headers}\r\n");
        // A connection that is accepted stays open.
        service.head_of_answer(&request).await
    };
    let plain = ask("Connection: close\r\n").await;
    assert_eq!(
        (plain.status, plain.header("sec-websocket-version")),
        (426, "13")
    );
    assert!(plain.text().contains("WebSocket"));
    let version = ask(&UPGRADE.replace("13", "8")).await;
    assert_eq!(
        (version.status, version.header("sec-websocket-version")),
        (426, "13")
    );
    for key in ["", "x", "AAAA", "dGhlIHNhbXBsZSBub25jZQ==AAAA", "////"] {
        let headers = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
        assert_eq!(ask(&headers).await.status, 400, "{key}");
    }
    let post = UPGRADE.to_owned() + "Content-Length: 0\r\n";
    assert_eq!(
        service.request("POST", "/api/feed", &post).await.status,
        405
    );
    let old = format!("GET /api/feed HTTP/1.0\r\nHost: t\r\n{UPGRADE}\r\n");
    assert_eq!(service.head_of_answer(&old).await.status, 426);
    let head = format!("HEAD /api/feed HTTP/1.1\r\nHost: t\r\n{UPGRADE}\r\n");
    assert_eq!(service.head_of_answer(&head).await.status, 426);
    // All but the POST, which asks for something else.
    let text = metrics.to_text().unwrap();
    let counted = "glance_web_feed_refused_total{reason=\"handshake\"} 9\n";
    assert!(text.contains(counted), "{text}");

    let accepted = ask(UPGRADE).await;
    assert_eq!(accepted.status, 101);
    assert_eq!(
        accepted.header("sec-websocket-accept"),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[tokio::test]
async fn there_is_a_limit_on_viewers() {
    let server = NatsServer::start().await;
    let _aggregator = fleet(&server).await;
    let options = WebOptions {
        viewers_max: 1,
        ..WebOptions::default()
    };
    let service = Service::start_with(&server, options).await;
    service.is_ready().await;
    let mut first = service.view("/api/feed").await;
    first.text().await;
    let request = format!("GET /api/feed HTTP/1.1\r\nHost: t\r\n{UPGRADE}\r\n");
    let refused = service.head_of_answer(&request).await;
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    drop(first);
    eventually(LIMIT, async || {
        let answer = service.head_of_answer(&request).await;
        (answer.status == 101).then_some(())
    })
    .await;
}
