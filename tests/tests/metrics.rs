//! What the programs tell those who run them: metrics, health, and `$SRV`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{collections::BTreeSet, fs, time::Duration};

use async_nats::Client;
use futures::StreamExt as _;
use glance_testing::{NatsServer, Process, eventually, free_port, workspace_root};
use glance_tests::{LIMIT, Scrape, Viewer, exit_code, get, post};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, timeout};

/// A program, and where it tells its metrics.
struct Program {
    process: Process,
    metrics: u16,
    public: u16,
}

impl Program {
    fn start(name: &str, url: &str) -> Self {
        let (metrics, public) = (free_port(), free_port());
        let process = Process::of(name)
            .env("GLANCE_NATS_URL", url)
            .env("GLANCE_BOTS", "main:4;demo:2")
            .env("GLANCE_HOST", "127.0.0.1")
            .env("GLANCE_PORT", public.to_string())
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", public.to_string())
            .env("GLANCE_METRICS_ADDRESS", format!("127.0.0.1:{metrics}"))
            .start();
        Self {
            process,
            metrics,
            public,
        }
    }

    async fn wait_ready(&self) {
        eventually(LIMIT, async || {
            (get(self.metrics, "/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until a series has a value, and gives all that is told then.
    async fn wait_value(&self, series: &str, wanted: f64) -> Scrape {
        let mut last = None;
        let found = eventually_or(async || {
            let scrape = Scrape::of(self.metrics).await?;
            let value = scrape.value(series);
            last = Some(value);
            (value == Some(wanted)).then_some(scrape)
        });
        match found.await {
            Some(scrape) => scrape,
            None => panic!(
                "{series} is {last:?} and never {wanted}: {:?}",
                Scrape::of(self.metrics).await
            ),
        }
    }
}

/// Like `eventually`, but leaves it to the caller to say what is wrong.
async fn eventually_or<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

struct Parts {
    server: NatsServer,
    aggregator: Program,
    bridge: Program,
    web: Program,
}

async fn start() -> Parts {
    let server = NatsServer::start().await;
    let url = server.url();
    let parts = Parts {
        aggregator: Program::start("glance-aggregator", &url),
        bridge: Program::start("glance-bridge", &url),
        web: Program::start("glance-web", &url),
        server,
    };
    for program in [&parts.aggregator, &parts.bridge, &parts.web] {
        program.wait_ready().await;
    }
    parts
        .aggregator
        .wait_value("glance_aggregator_leader", 1.0)
        .await;
    parts.web.wait_value("glance_web_stale", 0.0).await;
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_follow_what_happens() {
    let parts = start().await;
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
            1.0,
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
    let parts = start().await;
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
    let parts = start().await;
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
async fn health_is_told_while_the_broker_is_away_and_until_the_end() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    server.stop().await;
    let mut web = Program::start("glance-web", &url);
    let mut aggregator = Program::start("glance-aggregator", &url);
    for program in [&web, &aggregator] {
        let waiting = eventually(LIMIT, async || {
            let answer = get(program.metrics, "/readyz").await;
            (answer.status == 503).then_some(answer)
        });
        assert_eq!(waiting.await.body, "waiting for the broker\n");
        assert_eq!(get(program.metrics, "/healthz").await.status, 200);
    }
    aggregator
        .wait_value(
            "glance_broker_connected{connection=\"glance-aggregator\"}",
            0.0,
        )
        .await;
    let (code, output) = check_health("glance-web", &[&format!("127.0.0.1:{}", web.metrics)]).await;
    assert_eq!(code, 1, "{output}");
    assert_eq!(
        output.trim(),
        "glance-web: not ready: waiting for the broker"
    );

    server.restart().await;
    web.wait_ready().await;
    aggregator.wait_ready().await;
    // It needs nothing of what the aggregator itself needs.
    let (code, output) = check_health(
        "glance-aggregator",
        &[&format!("0.0.0.0:{}", aggregator.metrics)],
    )
    .await;
    assert_eq!((code, output.as_str()), (0, ""));

    // A viewer that does not answer the close holds the stop up for two seconds.
    let _viewer = Viewer::connect(web.public, "").await;
    web.wait_value("glance_web_viewers{dialect=\"everybody\"}", 1.0)
        .await;
    web.process.signal(Signal::TERM);
    let stopping = eventually(LIMIT, async || {
        let answer = get(web.metrics, "/readyz").await;
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(stopping.await.body, "stopping\n");
    assert_eq!(exit_code(web.process.wait_exit(LIMIT).await), 0);
    aggregator.process.signal(Signal::TERM);
    assert_eq!(exit_code(aggregator.process.wait_exit(LIMIT).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_that_cannot_be_made_says_why() {
    for name in [
        "glance-aggregator",
        "glance-bridge",
        "glance-web",
        "glance",
        "glance-simulator",
    ] {
        let (code, output) = check_health(name, &[]).await;
        assert_eq!(code, 2, "{output}");
        assert!(
            output.starts_with(&format!("{name}: GLANCE_METRICS_ADDRESS: is required")),
            "{output}"
        );
        let nobody = format!("127.0.0.1:{}", free_port());
        let (code, output) = check_health(name, &[&nobody]).await;
        assert_eq!(code, 1, "{output}");
        assert!(output.contains("nobody answers at 127.0.0.1:"), "{output}");
        assert_eq!(output.trim().lines().count(), 1, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_the_start_with_its_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in [
        "glance-aggregator",
        "glance-bridge",
        "glance-web",
        "glance",
        "glance-simulator",
    ] {
        let mut process = Process::of(name)
            .env("GLANCE_BOTS", "main:1")
            .env("GLANCE_PORT", "0")
            .env("GLANCE_BRIDGE_PORT", "0")
            .env("GLANCE_METRICS_ADDRESS", &address)
            .start();
        assert_eq!(exit_code(process.wait_exit(LIMIT).await), 2);
        let wanted = format!("GLANCE_METRICS_ADDRESS: entry '{address}'");
        assert!(process.output().contains(&wanted), "{}", process.output());
    }
}

/// Runs a program with `--check-health`, and gives its exit code and what it printed.
async fn check_health(name: &str, address: &[&str]) -> (i32, String) {
    let mut builder = Process::of(name).args(["--check-health"]);
    for address in address {
        builder = builder.env("GLANCE_METRICS_ADDRESS", *address);
    }
    let mut process = builder.start();
    let status = process.wait_exit(LIMIT).await;
    (exit_code(status), process.output())
}

/// Asks all services at once, as `nats micro` does, and gives the answers of the first `count`.
async fn ask_all(client: &Client, subject: &str, count: usize) -> Vec<Value> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client
        .publish_with_reply(subject.to_owned(), inbox, "".into())
        .await
        .unwrap();
    let mut found = Vec::new();
    while found.len() < count
        && let Ok(Some(answer)) = timeout(Duration::from_secs(1), answers.next()).await
    {
        if let Ok(value) = serde_json::from_slice(&answer.payload) {
            found.push(value);
        }
    }
    found
}

fn names_of(answers: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = answers
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    names.sort_unstable();
    names
}

const ALL: [&str; 4] = [
    "glance-aggregator",
    "glance-bridge",
    "glance-web",
    "glance-web",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_answers_on_srv_also_after_the_broker_restarted() {
    let mut parts = start().await;
    let second = Program::start("glance-web", &parts.server.url());
    second.wait_ready().await;
    let client = parts.server.client().await;
    let pings = eventually(LIMIT, async || {
        let pings = ask_all(&client, "$SRV.PING", ALL.len()).await;
        (names_of(&pings) == ALL).then_some(pings)
    })
    .await;
    assert!(
        pings
            .iter()
            .all(|it| it["type"] == "io.nats.micro.v1.ping_response"),
        "{pings:?}"
    );
    let ids: BTreeSet<_> = pings.iter().map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), ALL.len());

    let stats = ask_all(&client, "$SRV.STATS.glance-aggregator", 1).await;
    let data = &stats[0]["endpoints"][0]["data"];
    assert_eq!(
        (&data["role"], &data["shards"]),
        (&"leader".into(), &6.into()),
        "{stats:?}"
    );
    let infos = ask_all(&client, "$SRV.INFO.glance-web", 2).await;
    assert_eq!(infos.len(), 2);
    assert_eq!(infos[0]["endpoints"][0]["subject"], "glance.status.web");
    let status = client
        .request("glance.status.bridge", "".into())
        .await
        .unwrap();
    let status: Value = serde_json::from_slice(&status.payload).unwrap();
    assert_eq!(status["ready"], true);

    parts.server.kill();
    parts.server.restart().await;
    let client = parts.server.client().await;
    eventually(LIMIT, async || {
        let pings = ask_all(&client, "$SRV.PING", ALL.len()).await;
        (names_of(&pings) == ALL).then_some(())
    })
    .await;
    for program in [&parts.aggregator, &parts.bridge, &parts.web] {
        eventually(LIMIT, async || {
            let scrape = Scrape::of(program.metrics).await?;
            let connects = scrape
                .0
                .lines()
                .find(|it| it.starts_with("glance_broker_connects_total"))?;
            connects.ends_with(" 2").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_may_not_answer_on_srv_serves_all_the_same() {
    let extra = r#"
        authorization { users: [
          { user: quiet, password: quiet, permissions: { subscribe: { deny: ["$SRV.>", "glance.status.>"] } } }
          { user: any, password: any }
        ] }
        no_auth_user: any
    "#;
    let server = NatsServer::start_with(extra).await;
    let url = server.url().replace("nats://", "nats://quiet:quiet@");
    let mut aggregator = Program::start("glance-aggregator", &url);
    aggregator.wait_ready().await;
    let line = "not announced on $SRV";
    aggregator.process.wait_for_line(line, LIMIT).await;
    aggregator.wait_value("glance_aggregator_leader", 1.0).await;
    let output = aggregator.process.output();
    assert_eq!(output.matches(line).count(), 1, "{output}");
    assert!(!output.contains("the broker reports"), "{output}");
    aggregator.process.signal(Signal::TERM);
    assert_eq!(exit_code(aggregator.process.wait_exit(LIMIT).await), 0);
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
