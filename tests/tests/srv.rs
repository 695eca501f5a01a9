//! The services answer `$SRV`, so that `nats micro` shows the deployment.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{collections::BTreeSet, time::Duration};

use async_nats::Client;
use futures::StreamExt as _;
use glance_testing::{NatsServer, eventually};
use glance_tests::{LIMIT, Parts, Program, Scrape, exit_code};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;

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
    let mut parts = Parts::start().await;
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
