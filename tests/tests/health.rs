//! What the programs tell those who watch over them, and `--check-health`, which asks for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use glance_testing::{NatsServer, Process, eventually, free_port};
use glance_tests::{LIMIT, Program, Viewer, exit_code, get};
use rustix::process::Signal;

const PROGRAMS: [&str; 5] = [
    "glance-aggregator",
    "glance-bridge",
    "glance-web",
    "glance",
    "glance-simulator",
];

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
    for name in PROGRAMS {
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
    for name in PROGRAMS {
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
