//! The simulator over a real broker.

mod broker;

use std::collections::{BTreeMap, BTreeSet};

use broker::LIMIT;
use futures::StreamExt;
use glance_protocol::{ReportBody, State, Subject};
use glance_testing::{NatsServer, Process, Signal};

fn simulator(server: &NatsServer, arguments: &[&str]) -> Process {
    Process::at(env!("CARGO_BIN_EXE_glance-simulator"))
        .args(["--nats-url", &server.url()])
        .args(arguments)
        .start()
}

#[tokio::test]
async fn a_steady_fleet_arrives_as_messages() {
    let server = NatsServer::start().await;
    let mut messages = server.client().await.subscribe("glance.>").await.unwrap();
    let mut process = simulator(
        &server,
        &[
            "--bots",
            "main:32",
            "--scenario",
            "steady",
            "--speed-up",
            "10",
        ],
    );
    process
        .wait_for_line("waiting for an aggregator", LIMIT)
        .await;
    let mut stream = broker::make_stream(&server).await;

    let mut states = BTreeMap::new();
    let mut checks = BTreeSet::new();
    while states.len() < 32 || checks.len() < 32 {
        let message = tokio::time::timeout(LIMIT, messages.next())
            .await
            .expect("the fleet speaks")
            .expect("the subscription lasts");
        match Subject::parse(&message.subject).expect("the subject is one of ours") {
            Subject::State(cluster, shard) => {
                assert_eq!(cluster.as_str(), "main");
                let body = ReportBody::parse_state(&message.payload).expect("a valid report");
                states.insert(shard, body.state);
            }
            Subject::Health(_, shard) => {
                let body = ReportBody::parse_health(&message.payload).expect("a valid check");
                assert_eq!((body.ignored, body.details.total), (0, Some(32)));
                let group = if shard.get() < 16 { "0" } else { "1" };
                assert_eq!(body.details.group.as_deref(), Some(group));
                assert!(body.details.latency_ms.is_some());
                checks.insert(shard);
            }
            other => panic!("the simulator has no business with {other}"),
        }
    }
    assert!(states.values().all(|state| *state == Some(State::Online)));
    let kept = stream
        .info()
        .await
        .expect("the stream is there")
        .state
        .messages;
    assert_eq!(kept, 32, "each report was stored");

    process.signal(Signal::TERM);
    process.wait_for_line("failed 0", LIMIT).await;
    assert!(process.wait_exit(LIMIT).await.success());
}

#[tokio::test]
async fn reports_are_delivered_after_the_broker_was_away() {
    let mut server = NatsServer::start().await;
    broker::make_stream(&server).await;
    let mut process = simulator(
        &server,
        &[
            "--bots",
            "main:64",
            "--scenario",
            "outage",
            "--speed-up",
            "10",
        ],
    );
    process.wait_for_line("drops all connections", LIMIT).await;
    server.stop().await;
    process.wait_for_line("the fleet is up", LIMIT).await;
    server.restart().await;
    broker::wait_for_online(&server, 63).await;
    process.signal(Signal::TERM);
    assert!(process.wait_exit(LIMIT).await.success());
}

#[tokio::test]
async fn it_stops_by_itself_and_while_it_waits() {
    let server = NatsServer::start().await;
    let mut waiting = simulator(&server, &["--bots", "main:1"]);
    waiting
        .wait_for_line("waiting for an aggregator", LIMIT)
        .await;
    waiting.signal(Signal::TERM);
    assert!(waiting.wait_exit(LIMIT).await.success());

    broker::make_stream(&server).await;
    let mut short = simulator(&server, &["--bots", "main:1", "--duration", "1"]);
    assert!(short.wait_exit(LIMIT).await.success());
}

#[tokio::test]
async fn a_wrong_setting_ends_it_with_code_2_and_a_sentence() {
    let server = NatsServer::start().await;
    for (arguments, sentence) in [
        (vec![], "GLANCE_BOTS: is required"),
        (vec!["--bots", "main:0"], "GLANCE_BOTS: entry 'main:0'"),
        (vec!["--bots", "a:1", "--scenario", "boom"], "--scenario"),
        (
            vec!["--bots", "a:1", "--speed-up", "0"],
            "the factor must be from 0.1 to 100",
        ),
        (vec!["--bots", "a:1", "--group-size", "0"], "--group-size"),
        (
            vec!["--bots", "a:1", "--http", "https://host"],
            "--http: speaks plain HTTP only",
        ),
    ] {
        let mut process = simulator(&server, &arguments);
        process.wait_for_line(sentence, LIMIT).await;
        let code = process.wait_exit(LIMIT).await.code();
        assert_eq!(code, Some(2), "{arguments:?}");
        assert_eq!(process.lines_printed(), 1, "{}", process.output());
    }
}
