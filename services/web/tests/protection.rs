//! What browsers are told about the answers, and whose pages are served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod support;

use std::fs;

use glance_testing::NatsServer;
use glance_web::WebOptions;
use sha2::{Digest as _, Sha256};
use support::{Aggregator, Service, online};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn start(options: WebOptions) -> (NatsServer, Aggregator, Service) {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 2)]).await;
    aggregator.put("main", 0, vec![online(); 2]).await;
    let service = Service::start_with(&server, options).await;
    service.is_ready().await;
    (server, aggregator, service)
}

/// The sources of a directive.
fn directive<'a>(policy: &'a str, name: &str) -> &'a str {
    let mut all = policy.split("; ").filter_map(|it| it.split_once(' '));
    all.find(|(found, _)| *found == name)
        .map_or_else(|| panic!("no {name} in {policy}"), |(_, sources)| sources)
}

#[tokio::test]
async fn every_answer_says_what_it_may_be_used_for() {
    let (_server, _aggregator, service) = start(WebOptions::default()).await;
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/plain", 200),
        ("GET", "/api/snapshot", 200),
        ("GET", "/api/history", 200),
        ("GET", "/api/history/main/9", 404),
        ("GET", "/manifest.webmanifest", 200),
        ("GET", "/assets/js/main.js", 200),
        ("GET", "/assets/icons/favicon.svg", 200),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/feed", 426),
        ("POST", "/", 405),
        ("OPTIONS", "/api/snapshot", 204),
    ] {
        let answer = service.request(method, path, "").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        assert_eq!(directive(policy, "default-src"), "'none'", "{path}");
        directive(policy, "frame-ancestors");
        for name in ["server", "x-powered-by", "via"] {
            assert_eq!(answer.header(name), "", "{path}");
        }
        let is_part = path.starts_with("/assets/") && status == 200;
        let readers = answer.header("cross-origin-resource-policy");
        assert_eq!(
            readers == "cross-origin",
            is_part || path == "/assets/nothing.js",
            "{path}"
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    assert!(!service.get("/nothing").await.text().contains(version));
    // Who has the page keeps the headers that came with it.
    let page = service.get("/").await;
    let known = format!("If-None-Match: {}\r\n", page.header("etag"));
    let same = service.request("GET", "/", &known).await;
    assert_eq!(
        (same.status, same.header("content-security-policy")),
        (304, "")
    );
}

#[tokio::test]
async fn the_policy_of_the_page_names_its_scripts_by_their_hashes() {
    let (_server, _aggregator, service) = start(WebOptions::default()).await;
    let page = service.get("/").await;
    let policy = page.header("content-security-policy");
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    for (name, sources) in [
        ("connect-src", "'self'"),
        ("style-src", "'self'"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
        ("frame-ancestors", "'self'"),
    ] {
        assert_eq!(directive(policy, name), sources);
    }
    let script = page.text().split("<script>").nth(1).unwrap();
    let script = script.split("</script>").next().unwrap();
    let hash = Sha256::digest(script);
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    let allowed = format!("'self' 'sha256-{hash}'");
    assert_eq!(directive(policy, "script-src"), allowed);
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    assert!(page.header("permissions-policy").contains("camera=()"));
    assert!(!page.text().contains("http-equiv"));
}

#[tokio::test]
async fn a_page_of_ones_own_gets_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let html = "<script>\r\nvar a;</script><style>b{}</style><p>{{sentence}}</p>{{policy}}";
    fs::write(folder.path().join("index.html"), html).unwrap();
    fs::create_dir(folder.path().join("brand")).unwrap();
    let brand = r#"{"api":"https://data.example.org/glance/"}"#;
    fs::write(folder.path().join("brand/brand.json"), brand).unwrap();
    let options = WebOptions {
        page_dir: Some(folder.path().to_owned()),
        page_origins: "https://fonts.example.org".parse().unwrap(),
        frame_origins: "same,https://bot.example.org".parse().unwrap(),
        ..WebOptions::default()
    };
    let (_server, _aggregator, service) = start(options).await;
    let page = service.get("/").await;
    let policy = page.header("content-security-policy");
    assert_eq!(policy.matches("sha256-").count(), 2, "{policy}");
    assert_eq!(
        directive(policy, "connect-src"),
        "'self' https://data.example.org wss://data.example.org wss://fonts.example.org https://fonts.example.org"
    );
    assert!(directive(policy, "style-src").ends_with(" https://fonts.example.org"));
    let frames = "'self' https://bot.example.org";
    assert_eq!(directive(policy, "frame-ancestors"), frames);
    let plain = service.get("/plain").await;
    let policy = plain.header("content-security-policy");
    assert_eq!(directive(policy, "frame-ancestors"), frames);
}

#[tokio::test]
async fn a_document_of_ones_own_may_look_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let html = "<link rel=\"stylesheet\" href=\"brand.css\"><style>b{}</style><p>Who we are";
    fs::write(folder.path().join("imprint.html"), html).unwrap();
    fs::write(folder.path().join("brand.css"), "b{}").unwrap();
    let options = WebOptions {
        brand_dir: Some(folder.path().to_owned()),
        page_origins: "https://fonts.example.org".parse().unwrap(),
        frame_origins: "https://bot.example.org".parse().unwrap(),
        ..WebOptions::default()
    };
    let (_server, _aggregator, service) = start(options).await;
    let index = service.get("/").await;
    let parts = index.text().split("=\"assets/").nth(1).unwrap();
    let build = parts.split('/').next().unwrap();
    let hash = Sha256::digest("b{}");
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    for folder in ["/assets", &format!("/assets/{build}")] {
        let path = format!("{folder}/brand/imprint.html");
        let document = service.get(&path).await;
        assert_eq!((document.status, document.text()), (200, html));
        let policy = document.header("content-security-policy");
        for (name, sources) in [
            ("default-src", "'none'".to_owned()),
            ("script-src", "'self' https://fonts.example.org".to_owned()),
            (
                "style-src",
                format!("'self' 'sha256-{hash}' https://fonts.example.org"),
            ),
            (
                "img-src",
                "'self' data: https://fonts.example.org".to_owned(),
            ),
            (
                "font-src",
                "'self' data: https://fonts.example.org".to_owned(),
            ),
            ("form-action", "'none'".to_owned()),
            ("frame-ancestors", "https://bot.example.org".to_owned()),
        ] {
            assert_eq!(directive(policy, name), sources, "{path}");
        }
        let known = format!("If-None-Match: {}\r\n", document.header("etag"));
        let same = service.request("GET", &path, &known).await;
        let told = same.header("content-security-policy");
        assert_eq!((same.status, told), (304, ""), "{path}");
    }
    // What is no document needs nothing.
    let styles = service.get("/assets/brand/brand.css").await;
    let policy = styles.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; frame-ancestors "));
}

#[tokio::test]
async fn the_feed_is_opened_to_the_pages_that_are_allowed() {
    let rule = |text: &str| WebOptions {
        feed_origins: text.parse().unwrap(),
        ..WebOptions::default()
    };
    let own = "Origin: http://test\r\n";
    let listed = "Origin: https://a.example.org\r\n";
    let other = "Origin: https://b.example.org\r\n";
    for (options, permitted, refused) in [
        (
            WebOptions::default(),
            vec!["", own, listed, other, "Origin: null\r\n"],
            vec![],
        ),
        (
            rule("same"),
            vec!["", own],
            vec![listed, other, "Origin: null\r\n"],
        ),
        (
            rule("https://a.example.org"),
            vec!["", listed],
            vec![own, other],
        ),
        (
            rule("same,https://a.example.org"),
            vec!["", own, listed],
            vec![other],
        ),
    ] {
        let (_server, _aggregator, service) = start(options).await;
        let ask = async |origin: &str| {
            let request = format!("GET /api/feed HTTP/1.1\r\nHost: test\r\n{UPGRADE}{origin}\r\n");
            service.head_of_answer(&request).await
        };
        for origin in permitted {
            assert_eq!(ask(origin).await.status, 101, "{origin}");
        }
        for origin in refused {
            let answer = ask(origin).await;
            assert_eq!(answer.status, 403, "{origin}");
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        }
        // The JSON has a rule of its own, and a host that somebody claims is not believed.
        assert_eq!(
            service.request("GET", "/api/snapshot", other).await.status,
            200
        );
        let claimed = format!("{other}X-Forwarded-Host: b.example.org\r\n");
        assert_eq!(ask(&claimed).await.status, ask(other).await.status);
    }
}
