//! Three services and a broker, each a process of its own.

use futures::StreamExt as _;
use glance_testing::{NatsServer, Process, eventually, free_port, password};
use glance_tests::{Deployment, LIMIT, Viewer, exit_code, get, post};
use rustix::process::Signal;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn from_a_report_to_a_viewers_frame() {
    let deployment = Deployment::start("main:4;demo:1").await;
    let mut viewer = Viewer::connect(deployment.web_port, "").await;
    let hello = viewer.text(LIMIT).await;
    assert_eq!(
        hello,
        r#"{"op":"hello","payload":{"main":{"len":4},"demo":{"len":1}}}"#
    );

    let answer = post(deployment.bridge_port, "/api/status/main/3/3").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let frame = viewer
        .until(LIMIT, |frame| frame["op"] == "state_update")
        .await;
    let expected = r#"{"op":"state_update","payload":{"cluster":"main","shard":3,"state":3}}"#;
    assert_eq!(
        frame,
        serde_json::from_str::<serde_json::Value>(expected).unwrap()
    );

    // A plain publish, without an acknowledgement and without anything of ours.
    let client = deployment.server.client_of("main").await;
    let subject = "glance.main.1.state";
    client.publish(subject, "Resuming".into()).await.unwrap();
    client.flush().await.unwrap();
    let is_it =
        |frame: &serde_json::Value| frame["op"] == "state_update" && frame["payload"]["shard"] == 1;
    let frame = viewer.until(LIMIT, is_it).await;
    assert_eq!(frame["payload"]["state"], 6);

    let health = post(deployment.bridge_port, "/api/health/main/3").await;
    assert_eq!(health.status, 204);
    viewer
        .until(LIMIT, |frame| {
            frame["op"] == "health_ping" && frame["payload"]["shard"] == 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_while_the_aggregator_is_dead() {
    let mut deployment = Deployment::start("main:4").await;
    let port = deployment.bridge_port;
    assert_eq!(post(port, "/api/status/main/0/3").await.status, 204);
    deployment.wait_state("main", 0, '3').await;
    deployment.aggregator.signal(Signal::KILL);
    deployment.aggregator.wait_exit(LIMIT).await;

    // The bridge knows the clusters from what is kept, and the shard from its report.
    assert_eq!(post(port, "/api/status/main/1/5").await.status, 204);
    assert_eq!(post(port, "/api/health/main/1").await.status, 204);
    assert_eq!(post(port, "/api/health/main/2").await.status, 409);
    assert_eq!(post(port, "/api/status/nope/1/5").await.status, 400);
    // Web still shows the last picture.
    assert_eq!(deployment.state("main", 0).await, Some('3'));

    deployment.restart_aggregator();
    deployment.wait_state("main", 1, '5').await;
    assert_eq!(deployment.state("main", 0).await, Some('3'));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_survives_the_broker() {
    let mut deployment = Deployment::start("main:4").await;
    let port = deployment.bridge_port;
    assert_eq!(post(port, "/api/status/main/0/3").await.status, 204);
    deployment.wait_state("main", 0, '3').await;
    deployment.server.kill();
    let answer = post(port, "/api/status/main/1/3").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after:"), "{answer:?}");
    deployment.server.restart().await;
    eventually(LIMIT, async || {
        (post(port, "/api/status/main/1/3").await.status == 204).then_some(())
    })
    .await;
    deployment.wait_state("main", 1, '3').await;
    assert_eq!(deployment.state("main", 0).await, Some('3'));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_ends_cleanly_on_sigterm() {
    let mut deployment = Deployment::start("main:4").await;
    let mut viewer = Viewer::connect(deployment.web_port, "").await;
    viewer.text(LIMIT).await;
    let web = deployment.web_port;
    deployment.web.signal(Signal::TERM);
    // A supervisor may say it twice.
    deployment.web.signal(Signal::TERM);
    assert_eq!(viewer.close_code(LIMIT).await, Some(1001));
    for process in [
        &mut deployment.web,
        &mut deployment.bridge,
        &mut deployment.aggregator,
    ] {
        process.signal(Signal::TERM);
        let status = process.wait_exit(LIMIT).await;
        assert_eq!(exit_code(status), 0, "{}", process.output());
    }
    assert_eq!(get(web, "/healthz").await.status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_waits_for_the_broker_and_can_be_told_to_stop_meanwhile() {
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    for name in ["glance-aggregator", "glance-bridge", "glance-web"] {
        let mut process = Process::of(name)
            .env("GLANCE_NATS_URL", &nobody)
            .env("GLANCE_BOTS", "main:4")
            .env("GLANCE_PORT", "0")
            .env("GLANCE_BRIDGE_PORT", "0")
            .start();
        process.wait_for_line("waiting for the broker", LIMIT).await;
        process.signal(Signal::TERM);
        let status = process.wait_exit(LIMIT).await;
        assert_eq!(exit_code(status), 0, "{}", process.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_start_before_the_broker_find_it() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    server.stop().await;
    let port = free_port();
    let mut aggregator = Process::of("glance-aggregator")
        .env("GLANCE_NATS_URL", &url)
        .env("GLANCE_BOTS", "main:4")
        .start();
    let _web = Process::of("glance-web")
        .env("GLANCE_NATS_URL", &url)
        .env("GLANCE_PORT", port.to_string())
        .start();
    aggregator
        .wait_for_line("waiting for the broker", LIMIT)
        .await;
    // Meanwhile it says that it lives, and what it waits for.
    eventually(LIMIT, async || {
        (get(port, "/healthz").await.status == 200).then_some(())
    })
    .await;
    let ready = get(port, "/readyz").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "waiting for the broker\n")
    );
    assert_eq!(get(port, "/").await.status, 503);
    server.restart().await;
    eventually(LIMIT, async || {
        (get(port, "/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_all_services() {
    let deployment = Deployment::start("main:1").await;
    let client = deployment.server.client_of("operator").await;
    for part in ["aggregator", "bridge", "web"] {
        eventually(LIMIT, async || {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await.unwrap();
            let subject = format!("$SRV.PING.glance-{part}");
            let ask = client.publish_with_reply(subject, inbox, "".into());
            ask.await.unwrap();
            let answer = timeout(LIMIT / 30, answers.next()).await.ok()??;
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
            (answer["name"] == format!("glance-{part}")).then_some(())
        })
        .await;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        let subject = format!("glance.status.{part}");
        let ask = client.publish_with_reply(subject, inbox, "".into());
        ask.await.unwrap();
        let answer = timeout(LIMIT, answers.next()).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer.is_object(), "{part}: {answer}");
    }
}

/// A bot may ask for nothing, so it cannot be waited for what it would ask for.
#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_bot_reports_with_its_own_account() {
    let deployment = Deployment::start("main:4;demo:1").await;
    let _simulator = Process::of("glance-simulator")
        .env("GLANCE_NATS_URL", deployment.server.url())
        .env("GLANCE_NATS_USER", "main")
        .env("GLANCE_NATS_PASSWORD", password("main"))
        .args(["--bots", "main:4", "--speed-up", "10"])
        .start();
    for shard in 0..4 {
        deployment.wait_state("main", shard, '3').await;
    }
    assert_eq!(deployment.state("demo", 0).await, Some('0'));
}
