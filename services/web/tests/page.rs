//! The page as it is served: its names, its brand, the verdict in it, and who may read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod support;

use std::{fs, path::Path};

use glance_protocol::{ShardRow, State};
use glance_runner::{Broker, BrokerOptions, Environment, Shutdown};
use glance_testing::{NatsServer, eventually};
use glance_web::{Web, WebOptions};
use support::{Aggregator, LIMIT, Service, online};

async fn start(options: WebOptions) -> (NatsServer, Aggregator, Service) {
    let server = NatsServer::start().await;
    let mut aggregator = Aggregator::start(&server, &[("main", 2)]).await;
    let down = ShardRow {
        state: State::Offline,
        ..online()
    };
    aggregator.put("main", 0, vec![online(), down]).await;
    aggregator.pulse("main", &[], &[]).await;
    let service = Service::start_with(&server, options).await;
    service.is_ready().await;
    (server, aggregator, service)
}

/// The address of a part, as the page names it.
fn named(html: &str, part: &str) -> String {
    let end = html
        .find(part)
        .unwrap_or_else(|| panic!("no {part} in {html}"));
    let start = html[..end].rfind('"').unwrap() + 1;
    format!("/{}{part}", &html[start..end])
}

#[tokio::test]
async fn the_parts_carry_a_hash_and_may_be_kept_for_ever() {
    let (_server, _aggregator, service) = start(WebOptions::default()).await;
    let html = service.get("/").await;
    assert_eq!(html.header("cache-control"), "no-cache");
    let script = named(html.text(), "/js/all.js");
    let kept = service.get(&script).await;
    assert_eq!(kept.status, 200);
    assert_eq!(
        kept.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(kept.header("access-control-allow-origin"), "*");
    let other = script.replace(script.split('/').nth(2).unwrap(), "0123456789abcdef");
    let gone = service.get(&other).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.header("cache-control"), "no-store");
    let plain = service.get("/assets/js/main.js").await;
    assert_eq!(
        (plain.status, plain.header("cache-control")),
        (200, "no-cache")
    );
    assert!(!html.text().contains("{{"));
}

#[tokio::test]
async fn the_verdict_is_in_the_page_and_in_its_tag() {
    let (_server, mut aggregator, service) = start(WebOptions::default()).await;
    let sentence = "1 of 2 shards is down";
    let html = eventually(LIMIT, async || {
        aggregator.pulse("main", &[], &[]).await;
        let html = service.get("/").await;
        html.text()
            .contains(&format!("<title>{sentence} · Glance</title>"))
            .then_some(html)
    })
    .await;
    for part in [
        format!("og:title\" content=\"{sentence}\""),
        "data-mood=\"bad\"".to_owned(),
        "<li>main: 1 of 2 shards is online</li>".to_owned(),
    ] {
        assert!(html.text().contains(&part), "{part}");
    }
    let known = format!("If-None-Match: {}\r\n", html.header("etag"));
    assert_eq!(service.request("GET", "/", &known).await.status, 304);
    aggregator.put("main", 0, vec![online(), online()]).await;
    eventually(LIMIT, async || {
        let html = service.request("GET", "/", &known).await;
        html.text()
            .contains("All 2 shards are online")
            .then_some(())
    })
    .await;
}

fn write_brand(folder: &Path) {
    let brand = r#"{"title":"Bot & <Co>","link":"https://bot.example.org/","logo":"logo.svg","address":"https://status.example.org"}"#;
    fs::write(folder.join("brand.json"), brand).unwrap();
    fs::write(folder.join("brand.css"), ":root{--accent:#6d28d9}").unwrap();
    fs::write(folder.join("logo.svg"), "<svg/>").unwrap();
}

#[tokio::test]
async fn a_brand_is_laid_over_the_page() {
    let folder = tempfile::tempdir().unwrap();
    write_brand(folder.path());
    let options = WebOptions {
        brand_dir: Some(folder.path().to_owned()),
        ..WebOptions::default()
    };
    let (_server, _aggregator, service) = start(options).await;
    let html = service.get("/").await.text().to_owned();
    assert!(html.contains("Bot &amp; &lt;Co&gt;") && !html.contains("<Co>"));
    assert!(html.contains("href=\"https://bot.example.org/\""));
    let image = "og:image\" content=\"https://status.example.org/assets/";
    assert!(html.contains(image), "{html}");
    let logo = service.get(&named(&html, "/brand/logo.svg")).await;
    assert_eq!(logo.text(), "<svg/>");
    let css = service.get(&named(&html, "/brand/brand.css")).await;
    assert!(css.text().contains("#6d28d9"));
    let manifest = service.get("/manifest.webmanifest").await;
    assert_eq!(manifest.header("content-type"), "application/manifest+json");
    let manifest = manifest.json();
    assert_eq!(manifest["name"], "Bot & <Co>");
    for icon in manifest["icons"].as_array().unwrap() {
        let path = format!("/{}", icon["src"].as_str().unwrap());
        assert_eq!(service.get(&path).await.header("content-type"), "image/png");
    }
}

#[tokio::test]
async fn a_brand_that_is_wrong_is_refused() {
    let server = NatsServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("brand.json"), r#"{"titel":"Bot"}"#).unwrap();
    let options = WebOptions {
        brand_dir: Some(folder.path().to_owned()),
        ..WebOptions::default()
    };
    let shutdown = Shutdown::new();
    let broker = BrokerOptions {
        nats_url: Some(server.url().parse().unwrap()),
        ..BrokerOptions::default()
    };
    let broker = Broker::connect("test", &broker, &shutdown).await.unwrap();
    let web = Web::start(&broker, &options, &Environment::default(), &shutdown).await;
    let error = web.err().unwrap().to_string();
    for part in ["GLANCE_BRAND_DIR", "brand.json", "titel"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn only_named_origins_may_read() {
    let options = WebOptions {
        cors_origins: "https://a.example.org".parse().unwrap(),
        ..WebOptions::default()
    };
    let (_server, _aggregator, service) = start(options).await;
    for path in [
        "/api/snapshot",
        "/plain",
        "/api/history",
        "/api/history/main/0",
    ] {
        for (origin, told) in [
            ("https://a.example.org", "https://a.example.org"),
            ("https://b.example.org", ""),
        ] {
            let asking = format!("Origin: {origin}\r\n");
            let answer = service.request("GET", path, &asking).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), told, "{path}");
            let preflight = service.request("OPTIONS", path, &asking).await;
            assert_eq!(preflight.status, 204, "{path}");
            assert_eq!(preflight.header("access-control-allow-origin"), told);
        }
    }
}

#[tokio::test]
async fn what_happened_is_remembered() {
    let (_server, mut aggregator, service) = start(WebOptions::default()).await;
    let outages =
        async |service: &Service| service.get("/api/history").await.json()["outages"].clone();
    let now = eventually(LIMIT, async || {
        aggregator.pulse("main", &[], &[]).await;
        let now = outages(&service).await;
        (!now[0].is_null()).then_some(now)
    })
    .await;
    assert_eq!(
        (&now[0]["cluster"], &now[0]["shards"]),
        (&"main".into(), &1.into())
    );
    assert!(now[0]["ended"].is_null(), "{now}");

    aggregator.put("main", 0, vec![online(), online()]).await;
    let over = eventually(LIMIT, async || {
        aggregator.pulse("main", &[], &[]).await;
        let over = outages(&service).await;
        over[0]["ended"].is_number().then_some(over)
    })
    .await;
    assert_eq!(over.as_array().unwrap().len(), 1);
    eventually(LIMIT, async || {
        let text = service.get("/plain").await;
        text.text()
            .contains("ago 1 shard of main was down, for ")
            .then_some(())
    })
    .await;

    let shard = service.get("/api/history/main/1").await;
    assert_eq!(shard.header("content-type"), "application/json");
    assert_eq!(shard.json()["transitions"][0]["state"], 3);
    assert_eq!(shard.json()["transitions"].as_array().unwrap().len(), 1);
    for path in [
        "/api/history/main/2",
        "/api/history/other/0",
        "/api/history/main",
        "/api/history/",
        "/api/historyx",
    ] {
        assert_eq!(service.get(path).await.status, 404, "{path}");
    }
}
