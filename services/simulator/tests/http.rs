//! The simulator over a real bridge.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod broker;

use std::collections::BTreeSet;

use broker::LIMIT;
use futures::StreamExt;
use glance_bridge::{Bridge, BridgeOptions};
use glance_protocol::{ReportBody, Subject};
use glance_runner::{
    Broker, BrokerOptions, Environment, Shutdown,
    http::{self, Limits},
};
use glance_testing::{NatsServer, Process, Signal};
use tokio::net::TcpListener;

const PASSPHRASE: &str = "open sesame";

/// A bridge at an address; it runs until the end of the test.
async fn start_bridge(server: &NatsServer, listener: TcpListener) -> Bridge {
    let shutdown = Shutdown::new();
    let options = BrokerOptions {
        nats_url: Some(server.url().parse().unwrap()),
        ..BrokerOptions::default()
    };
    let broker = Broker::connect("test", &options, &shutdown).await.unwrap();
    let environment = Environment::from_pairs([("GLANCE_PASSPHRASE", PASSPHRASE)]);
    let bridge = Bridge::start(&broker, &BridgeOptions::default(), &environment, &shutdown)
        .await
        .unwrap();
    let routes = bridge.routes();
    tokio::spawn(http::serve(listener, routes, Limits::default(), shutdown));
    bridge
}

fn simulator(url: &str, passphrase: &str, arguments: &[&str]) -> Process {
    Process::at(env!("CARGO_BIN_EXE_glance-simulator"))
        .args(["--http", url, "--bots", "main:64"])
        .args(arguments)
        .env("GLANCE_PASSPHRASE", passphrase)
        .start()
}

async fn listen() -> (TcpListener, String) {
    let listener = http::bind("127.0.0.1", 0, "the test").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_fleet_reports_through_the_bridge() {
    let server = NatsServer::start().await;
    broker::make_stream(&server).await;
    broker::make_table(&server, "main", 64).await;
    let mut messages = server
        .client()
        .await
        .subscribe("glance.*.*.health")
        .await
        .unwrap();

    // A free port where nobody listens yet.
    let (listener, url) = listen().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let arguments = ["--scenario", "steady", "--speed-up", "10"];
    let mut process = simulator(&url, PASSPHRASE, &arguments);
    process.wait_for_line("waiting for Glance", LIMIT).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let _bridge = start_bridge(&server, listener).await;

    broker::wait_for_online(&server, 64).await;
    let mut checked = BTreeSet::new();
    while checked.len() < 64 {
        let message = tokio::time::timeout(LIMIT, messages.next())
            .await
            .expect("the fleet speaks")
            .expect("the subscription lasts");
        let body = ReportBody::parse_health(&message.payload).expect("a valid check");
        let Ok(Subject::Health(_, shard)) = Subject::parse(&message.subject) else {
            panic!("{} is no health check", message.subject);
        };
        let group = (shard.get() / 16).to_string();
        assert_eq!(body.details.group.as_deref(), Some(group.as_str()));
        assert_eq!(body.details.total, Some(64));
        assert!(body.details.version.is_some() && body.details.guilds.is_some());
        checked.insert(shard);
    }
    process.signal(Signal::TERM);
    assert!(process.wait_exit(LIMIT).await.success());
}

#[tokio::test]
async fn reports_are_delivered_after_the_broker_was_away() {
    let mut server = NatsServer::start().await;
    broker::make_stream(&server).await;
    broker::make_table(&server, "main", 64).await;
    let (listener, url) = listen().await;
    let _bridge = start_bridge(&server, listener).await;
    let arguments = ["--scenario", "outage", "--speed-up", "10"];
    let mut process = simulator(&url, PASSPHRASE, &arguments);
    process.wait_for_line("drops all connections", LIMIT).await;
    server.stop().await;
    process.wait_for_line("the fleet is up", LIMIT).await;
    server.restart().await;
    broker::wait_for_online(&server, 63).await;
}

#[tokio::test]
async fn a_wrong_passphrase_is_said_and_not_shown() {
    let server = NatsServer::start().await;
    broker::make_stream(&server).await;
    broker::make_table(&server, "main", 64).await;
    let (listener, url) = listen().await;
    let _bridge = start_bridge(&server, listener).await;
    let mut process = simulator(&url, "hunter2", &["--duration", "1"]);
    let advice = "this endpoint requires authorization; set GLANCE_PASSPHRASE";
    let line = process.wait_for_line(advice, LIMIT).await;
    assert!(line.contains("published 0"), "{line}");
    assert!(process.wait_exit(LIMIT).await.success());
    assert!(!process.output().contains("hunter2"));
}
