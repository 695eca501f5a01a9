//! Faults that last: a link that flaps, and a cluster of brokers that loses one node after another.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::time::{Duration, Instant};

use glance_testing::{NatsCluster, Process, eventually, free_port};
use glance_tests::{
    LIMIT,
    fault::{
        complaint::Complaints,
        fleet::{BOTS, Fleet},
        ledger::{Ledger, Picture, TIMEOUT},
        system::{Shape, System, connect},
        views,
        voice::{Clients, Ways},
        watch::Watch,
    },
};
use tokio::time::sleep;

/// More than this many cuts would tell nothing new.
const CUTS: u32 = 20;

async fn truth_is_shown(ledger: &Ledger, table: impl AsyncFn() -> Option<Picture>) {
    let mut last = None;
    let shown = async {
        loop {
            last = table()
                .await
                .map(|seen| views::difference(&ledger.picture(), &seen));
            if last == Some(None) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let shown = tokio::time::timeout(LIMIT, shown).await;
    assert!(shown.is_ok(), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_flaps_hides_no_dead_shard_and_flags_no_other() {
    let complaints = Complaints::default();
    let ledger = Ledger::new(complaints.clone());
    let system = System::start(Shape::default(), &complaints).await;
    let mut watch = Watch::start(&system.client, &system.webs, &ledger, &complaints).await;
    let bots = Clients::with_accounts(&system.broker.url()).await;
    let bridges = system.bridges.iter().map(|bridge| bridge.port).collect();
    let ways = Ways::new(bots, bridges, complaints.clone());
    let fleet = Fleet::start(ways, ledger.clone(), 1).await;
    truth_is_shown(&ledger, async || views::table(&system.client).await).await;

    ledger.begin_round(1);
    fleet.silence(1);
    let began = Instant::now();
    let mut flagged = None;
    for _ in 0..CUTS {
        for aggregator in &system.aggregators {
            aggregator.link.cut();
        }
        sleep(TIMEOUT.mul_f64(0.8)).await;
        let table = views::table(&system.client).await;
        if table == Some(ledger.picture()) {
            flagged.get_or_insert(began.elapsed());
        }
    }
    watch.read_changes().await;
    assert!(complaints.is_empty(), "{:?}", complaints.all());
    let flagged = flagged.unwrap();
    println!("the dead shard is flagged after {flagged:?} of flapping");
    // Five timeouts of grace, one more, and a link that is away for a part of the time.
    assert!(flagged < 10 * TIMEOUT, "{flagged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_brokers_may_lose_each_node() {
    let mut cluster = NatsCluster::start(3).await;
    let url = cluster.url();
    let complaints = Complaints::default();
    let ledger = Ledger::new(complaints.clone());
    let (bridge_port, web_port) = (free_port(), free_port());
    let start = |name: &str| {
        Process::of(name)
            .env("GLANCE_NATS_URL", &url)
            .env("GLANCE_BOTS", BOTS)
            .env("GLANCE_HEALTH_TIMEOUT", TIMEOUT.as_secs().to_string())
            .env("GLANCE_REPLICAS", "3")
            .env("GLANCE_BRIDGE_PORT", bridge_port.to_string())
            .env("GLANCE_PORT", web_port.to_string())
            .start()
    };
    let _services = [
        "glance-aggregator",
        "glance-aggregator",
        "glance-bridge",
        "glance-web",
    ]
    .map(start);
    let client = connect(&url).await;
    eventually(LIMIT, async || views::table(&client).await).await;
    let mut watch = Watch::start(&client, &[], &ledger, &complaints).await;
    let ways = Ways::new(
        Clients::Shared(connect(&url).await),
        vec![bridge_port],
        complaints.clone(),
    );
    let fleet = Fleet::start(ways, ledger.clone(), 1).await;

    for node in 0..3 {
        ledger.begin_round(node);
        let restless = fleet.be_restless();
        cluster.kill(node);
        // The streams that it led choose another leader meanwhile.
        sleep(2 * TIMEOUT).await;
        fleet.settle().await;
        restless.abort();
        truth_is_shown(&ledger, async || views::table(&client).await).await;
        truth_is_shown(&ledger, async || {
            Some(views::picture(&views::snapshot(web_port).await?))
        })
        .await;
        cluster.restart(node).await;
        cluster.settled(LIMIT).await;
    }
    watch.read_changes().await;
    assert!(complaints.is_empty(), "{:?}", complaints.all());
}
