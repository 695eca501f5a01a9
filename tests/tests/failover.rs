//! Who leads after a leader is gone, how soon, and that nobody believes the one before.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures::StreamExt as _;
use glance_protocol::{Lease, Subject, lease::epoch_of};
use glance_testing::eventually;
use glance_tests::{
    LIMIT,
    fault::{
        complaint::Complaints,
        ledger::Ledger,
        system::{Shape, System, lease},
        views,
        watch::Watch,
    },
    post,
};
use tokio::time::{sleep, timeout};

/// Two aggregators, of which one leads, and one of each other service.
async fn start(complaints: &Complaints) -> System {
    let shape = Shape {
        bridges: 1,
        webs: 1,
        ..Shape::default()
    };
    let mut system = System::start(shape, complaints).await;
    // The other one has to be there, with a complete table.
    for aggregator in &system.aggregators {
        eventually(LIMIT, async || {
            (aggregator.count("the table is complete") > 0).then_some(())
        })
        .await;
    }
    eventually(LIMIT, async || lease(&system.client).await).await;
    system.leader().await;
    system
}

/// Waits for the first pulse of an epoch above `before`.
async fn pulse_after(pulses: &mut Subscriber, before: u64) -> u64 {
    let next = async {
        while let Some(message) = pulses.next().await {
            let epoch = epoch_of(&message.payload);
            if epoch > before {
                return epoch;
            }
        }
        panic!("the subscription ended");
    };
    timeout(LIMIT, next).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_aggregator_leads_within_3_s_of_a_kill() {
    let complaints = Complaints::default();
    let mut system = start(&complaints).await;
    let mut pulses = system
        .client
        .subscribe(Subject::Pulse.to_string())
        .await
        .unwrap();
    let epoch = pulse_after(&mut pulses, 0).await;
    let leader = system.leader().await;
    system.aggregators[leader].kill().await;
    let killed = Instant::now();
    pulse_after(&mut pulses, epoch).await;
    let took = killed.elapsed();
    println!("another aggregator leads {took:?} after a kill");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_aggregator_leads_at_once_after_a_clean_stop() {
    let complaints = Complaints::default();
    let mut system = start(&complaints).await;
    let mut pulses = system
        .client
        .subscribe(Subject::Pulse.to_string())
        .await
        .unwrap();
    let mut leases = system
        .client
        .subscribe(Subject::Lease.to_string())
        .await
        .unwrap();
    let epoch = pulse_after(&mut pulses, 0).await;
    let leader = system.leader().await;
    let measuring = tokio::spawn(async move {
        let mut given_up = None;
        while let Some(message) = leases.next().await {
            let Ok(lease) = Lease::from_bytes(&message.payload) else {
                continue;
            };
            if lease.holder.is_none() {
                given_up.get_or_insert(Instant::now());
            } else if lease.epoch > epoch {
                break;
            }
        }
        let taken = Instant::now();
        pulse_after(&mut pulses, epoch).await;
        (given_up, taken, Instant::now())
    });
    system.aggregators[leader].stop().await;
    let (given_up, taken, pulse) = timeout(LIMIT, measuring).await.unwrap().unwrap();
    let given_up = given_up.unwrap();
    let (took, spoke) = (taken - given_up, pulse - given_up);
    println!(
        "the lease is taken {took:?} after it was given up; the first pulse comes after {spoke:?}"
    );
    assert!(spoke < Duration::from_secs(1), "{spoke:?}");
    assert!(complaints.is_empty(), "{:?}", complaints.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_is_believed_by_nobody() {
    let complaints = Complaints::default();
    let mut system = start(&complaints).await;
    let ledger = Ledger::new(complaints.clone());
    let _watch = Watch::start(&system.client, &system.webs, &ledger, &complaints).await;
    let (bridge, web) = (system.bridges[0].port, system.webs[0].port);
    assert_eq!(post(bridge, "/api/status/demo/0/3").await.status, 204);
    shows(web, '3').await;

    let leader = system.leader().await;
    system.aggregators[leader].pause();
    let paused = Instant::now();
    system.another_leads(leader).await;
    assert_eq!(post(bridge, "/api/status/demo/0/5").await.status, 204);
    shows(web, '5').await;
    let epoch = lease(&system.client).await.unwrap().epoch;
    // How long it sleeps is the point of the test. Signs of life keep the shard from being flagged.
    while paused.elapsed() < Duration::from_secs(10) {
        post(bridge, "/api/health/demo/0").await;
        sleep(Duration::from_millis(500)).await;
    }
    system.aggregators[leader].resume();

    // Neither who listened all the time nor who starts now sees what the sleeper knows.
    system.webs[0].kill().await;
    system.webs[0].begin();
    system.webs[0].wait_ready().await;
    let woken = Instant::now();
    while woken.elapsed() < Duration::from_secs(3) {
        post(bridge, "/api/health/demo/0").await;
        assert_eq!(demo_0(web).await, Some('5'));
        sleep(Duration::from_millis(200)).await;
    }
    let after = lease(&system.client).await.unwrap();
    assert_eq!(after.epoch, epoch, "{after:?}");

    // The next leader does not believe it either; now that may be the sleeper itself.
    let other = system.leader().await;
    assert_ne!(other, leader);
    system.aggregators[other].kill().await;
    system.another_leads(other).await;
    assert_eq!(post(bridge, "/api/status/demo/1/3").await.status, 204);
    eventually(LIMIT, async || {
        let states = views::picture(&views::snapshot(web).await?).remove("demo")?;
        states.ends_with("30").then_some(())
    })
    .await;
    assert_eq!(demo_0(web).await, Some('5'));
    assert!(complaints.is_empty(), "{:?}", complaints.all());
}

async fn demo_0(web: u16) -> Option<char> {
    let picture = views::picture(&views::snapshot(web).await?);
    picture.get("demo")?.chars().next()
}

async fn shows(web: u16, state: char) {
    eventually(LIMIT, async || {
        (demo_0(web).await == Some(state)).then_some(())
    })
    .await;
}
