//! What the programs tell Prometheus.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{collections::BTreeSet, fs};

use glance_testing::{NatsServer, workspace_root};
use glance_tests::{LIMIT, Parts, Program, Scrape, Viewer, exit_code, get, post};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_follow_what_happens() {
    let parts = Parts::start().await;
    let Parts {
        server,
        aggregator,
        bridge,
        web,
    } = &parts;
    let mut viewer = Viewer::connect(web.public, "?dialect=page").await;
    viewer.text(LIMIT).await;
    for path in [
        "/api/status/main/0/3",
        "/api/status/main/1/3",
        "/api/status/main/0/2",
    ] {
        assert_eq!(post(bridge.public, path).await.status, 204);
    }
    assert_eq!(post(bridge.public, "/api/health/main/0").await.status, 204);
    assert_eq!(
        post(bridge.public, "/api/status/nope/0/3").await.status,
        400
    );
    let client = server.client().await;
    for (subject, body) in [
        ("glance.nope.0.state", "3"),
        ("glance.main.9.state", "3"),
        ("glance.main.2.state", "happy"),
        ("glance.demo.0.health", ""),
        ("glance.demo.1.state", r#"{"state":3,"total":7}"#),
    ] {
        client.publish(subject, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();

    for (series, wanted) in [
        (
            "glance_aggregator_reports_total{cluster=\"main\",result=\"applied\"}",
            3.0,
        ),
        (
            "glance_aggregator_reports_total{cluster=\"main\",result=\"refused\"}",
            2.0,
        ),
        (
            "glance_aggregator_reports_total{cluster=\"demo\",result=\"applied\"}",
            1.0,
        ),
        (
            "glance_aggregator_health_checks_total{cluster=\"main\",result=\"applied\"}",
            1.0,
        ),
        (
            "glance_aggregator_health_checks_total{cluster=\"demo\",result=\"refused\"}",
            1.0,
        ),
        (
            "glance_aggregator_refused_messages_total{kind=\"report\",reason=\"unknown_cluster\"}",
            1.0,
        ),
        (
            "glance_aggregator_refused_messages_total{kind=\"report\",reason=\"no_such_shard\"}",
            1.0,
        ),
        (
            "glance_aggregator_refused_messages_total{kind=\"report\",reason=\"malformed\"}",
            1.0,
        ),
        (
            "glance_aggregator_refused_messages_total{kind=\"health_check\",reason=\"never_reported\"}",
            1.0,
        ),
        ("glance_aggregator_reports_deleted_total", 3.0),
        (
            "glance_aggregator_total_disagreements_total{cluster=\"demo\"}",
            1.0,
        ),
        (
            "glance_aggregator_transitions_total{cluster=\"main\",cause=\"report\"}",
            3.0,
        ),
        (
            "glance_aggregator_shards{cluster=\"main\",state=\"online\"}",
            1.0,
        ),
        (
            "glance_aggregator_shards{cluster=\"main\",state=\"offline\"}",
            1.0,
        ),
        (
            "glance_aggregator_shards{cluster=\"main\",state=\"unknown\"}",
            2.0,
        ),
        ("glance_aggregator_transitions_waiting", 0.0),
        (
            "glance_broker_connected{connection=\"glance-aggregator\"}",
            1.0,
        ),
    ] {
        aggregator.wait_value(series, wanted).await;
    }
    for (series, wanted) in [
        (
            "glance_bridge_requests_total{route=\"/api/status\",status=\"2xx\"}",
            3.0,
        ),
        (
            "glance_bridge_requests_total{route=\"/api/status\",status=\"4xx\"}",
            1.0,
        ),
        (
            "glance_bridge_request_duration_seconds_count{route=\"/api/health\"}",
            1.0,
        ),
        ("glance_bridge_reports_stored_total", 3.0),
        ("glance_bridge_health_checks_sent_total", 1.0),
        ("glance_bridge_in_flight", 0.0),
        ("glance_bridge_unavailable_total{reason=\"busy\"}", 0.0),
        ("glance_bridge_clusters_known", 1.0),
    ] {
        bridge.wait_value(series, wanted).await;
    }
    assert_eq!(get(web.public, "/plain").await.status, 200);
    for (series, wanted) in [
        ("glance_web_viewers{dialect=\"page\"}", 1.0),
        ("glance_web_viewers_max", 50_000.0),
        ("glance_web_feed_connections_total{dialect=\"page\"}", 1.0),
        (
            "glance_web_requests_total{route=\"/plain\",status=\"2xx\"}",
            1.0,
        ),
        ("glance_web_table_received", 1.0),
    ] {
        web.wait_value(series, wanted).await;
    }
    let scrape = Scrape::of(web.metrics).await.unwrap();
    let sent = scrape
        .value("glance_web_feed_bytes_total{dialect=\"page\"}")
        .unwrap();
    assert!(sent > 100.0, "{sent}");
    assert!(scrape.value("process_resident_memory_bytes").unwrap() > 1e6);
    drop(viewer);
    web.wait_value(
        "glance_web_feed_closed_total{dialect=\"page\",cause=\"left\"}",
        1.0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_at_their_own_address_only() {
    let parts = Parts::start().await;
    for program in [&parts.bridge, &parts.web] {
        assert_eq!(get(program.public, "/metrics").await.status, 404);
    }
    for program in [&parts.aggregator, &parts.bridge, &parts.web] {
        let answer = Scrape::answer(program.metrics).await;
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.head.contains(kind), "{}", answer.head);
        assert!(answer.body.ends_with("# EOF\n"));
        assert_eq!(Scrape(answer.body).told_twice(), Vec::<String>::new());
        assert_eq!(get(program.metrics, "/healthz").await.status, 200);
        assert_eq!(get(program.metrics, "/").await.status, 404);
        assert_eq!(post(program.metrics, "/metrics").await.status, 405);
    }
}

/// Everything that the dashboard and the alerts ask for is told by a program.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let parts = Parts::start().await;
    let mut told = BTreeSet::new();
    for program in [&parts.aggregator, &parts.bridge, &parts.web] {
        told.extend(Scrape::of(program.metrics).await.unwrap().names());
    }
    for file in ["deploy/grafana/glance.json", "deploy/prometheus/alerts.yml"] {
        let text = fs::read_to_string(workspace_root().join(file)).unwrap();
        let asked = names_in(&text);
        assert!(asked.len() > 10, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&told).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

/// The names of metrics in a text: `glance_...` and `process_...`.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let names = words.filter(|word| word.starts_with("glance_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_program_for_all_tells_each_name_once() {
    let server = NatsServer::start().await;
    let mut glance = Program::start("glance", &server.url());
    glance.wait_ready().await;
    let scrape = glance.wait_value("glance_aggregator_leader", 1.0).await;
    assert_eq!(scrape.told_twice(), Vec::<String>::new());
    for name in [
        "glance_web_stale",
        "glance_bridge_in_flight",
        "glance_build_info",
    ] {
        assert!(scrape.names().contains(name), "{name}");
    }
    assert_eq!(
        scrape.value("glance_broker_connected{connection=\"glance-web\"}"),
        Some(1.0)
    );
    assert_eq!(get(glance.public, "/metrics").await.status, 404);
    glance.process.signal(Signal::TERM);
    assert_eq!(exit_code(glance.process.wait_exit(LIMIT).await), 0);
}
