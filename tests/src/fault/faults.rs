//! What each kind of fault does. Each ends healed: everything runs, and every link passes everything.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use glance_testing::{Flow, Signal, password};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch::Sender,
    time::sleep,
};

use super::{
    complaint::{Complaints, Rule},
    fleet::Fleet,
    ledger::{Ledger, TIMEOUT},
    plan::Kind,
    service::Service,
    system::System,
    views,
    watch::Watch,
    within,
};

/// Longer than the lease of 2 s.
const BEYOND_LEASE_MS: Range<u64> = 3500..5500;
/// Longer than the health timeout.
const BEYOND_TIMEOUT_MS: Range<u64> = 3500..5000;
/// A restart takes about this long.
const SHORT_MS: Range<u64> = 100..800;
/// A subscription of the broker's client holds 65,536 messages.
const FLOOD: usize = 160_000;
const FLOODS_MAX: usize = 4;
const HOUR_MS: i64 = 3_600_000;

/// Everything that a fault may touch.
#[derive(Debug)]
pub struct Stage {
    /// The programs and the broker.
    pub system: System,
    /// The bots.
    pub fleet: Arc<Fleet>,
    /// What is true of them.
    pub ledger: Ledger,
    /// What is watched.
    pub watch: Watch,
    /// Tells the viewers that wall clocks are wrong.
    pub clocks_step: Arc<std::sync::atomic::AtomicBool>,
    /// What must never be.
    pub complaints: Complaints,
    /// The round. Whenever it is told, viewers go back to the replica that is theirs.
    pub round: Sender<usize>,
}

struct Chance<'a>(&'a mut StdRng);

impl Chance<'_> {
    async fn wait(&mut self, ms: Range<u64>) {
        let ms = self.0.random_range(ms);
        sleep(Duration::from_millis(ms)).await;
    }

    fn place(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    fn flip(&mut self) -> bool {
        self.0.random_bool(0.5)
    }
}

impl Stage {
    /// Makes a fault, and heals it.
    pub async fn make(&mut self, kind: Kind, rng: &mut StdRng) {
        let mut chance = Chance(rng);
        match kind {
            Kind::LeaderKilled | Kind::LeaderStopped | Kind::Resized => {
                self.end_leader(kind, &mut chance).await;
            }
            Kind::LeaderPaused => self.pause_leader(&mut chance).await,
            Kind::FollowerKilled => self.kill_follower(&mut chance).await,
            Kind::AggregatorsDown => self.kill_aggregators(&mut chance).await,
            Kind::LeaderLate => self.delay_leader(&mut chance).await,
            Kind::LeaderCutOff => {
                let leader = self.system.leader().await;
                let service = &self.system.aggregators[leader];
                cut_off(service, Flow::Stall, BEYOND_LEASE_MS, &mut chance).await;
            }
            Kind::LinksFlap => self.flap(&mut chance).await,
            Kind::BrokerKilled => self.kill_broker(&mut chance).await,
            Kind::BrokerAway => {
                self.system.broker.kill();
                chance.wait(BEYOND_TIMEOUT_MS).await;
                self.system.broker.restart().await;
            }
            Kind::StoreLost => self.lose_store().await,
            Kind::BrokerFrozen => {
                self.system.broker.signal(Signal::STOP);
                chance.wait(7000..8500).await;
                self.system.broker.signal(Signal::CONT);
            }
            Kind::JetStreamOff => {
                self.system.broker.restart_without_jetstream().await;
                chance.wait(2000..4500).await;
                self.system.broker.restart().await;
            }
            Kind::Flood => self.flood().await,
            Kind::WebKilled | Kind::WebStopped => {
                let place = chance.place(self.system.webs.len());
                let is_orderly = kind == Kind::WebStopped;
                again(&mut self.system.webs[place], is_orderly, &mut chance).await;
            }
            Kind::WebPaused => {
                let place = chance.place(self.system.webs.len());
                self.system.webs[place].pause();
                chance.wait(BEYOND_TIMEOUT_MS).await;
                self.system.webs[place].resume();
            }
            Kind::WebCutOff => {
                let place = chance.place(self.system.webs.len());
                let flow = if chance.flip() {
                    Flow::Stall
                } else {
                    Flow::Refuse
                };
                let service = &self.system.webs[place];
                cut_off(service, flow, BEYOND_TIMEOUT_MS, &mut chance).await;
            }
            Kind::BridgeKilled | Kind::BridgeStopped => {
                let place = chance.place(self.system.bridges.len());
                let is_orderly = kind == Kind::BridgeStopped;
                self.fleet.stir(20);
                again(&mut self.system.bridges[place], is_orderly, &mut chance).await;
            }
            Kind::BridgeCutOff => {
                let place = chance.place(self.system.bridges.len());
                let flow = if chance.flip() {
                    Flow::Stall
                } else {
                    Flow::Refuse
                };
                let service = &self.system.bridges[place];
                cut_off(service, flow, 2000..4000, &mut chance).await;
            }
            Kind::Deploy => self.deploy(&mut chance).await,
            Kind::ClockStepped => self.step_clocks(&mut chance).await,
        }
    }

    async fn end_leader(&mut self, kind: Kind, chance: &mut Chance<'_>) {
        let leader = self.system.leader().await;
        if kind == Kind::Resized {
            self.fleet.resize();
            chance.wait(0..300).await;
        }
        if kind == Kind::LeaderStopped {
            self.system.aggregators[leader].stop().await;
        } else {
            self.system.aggregators[leader].kill().await;
        }
        self.system.another_leads(leader).await;
        chance.wait(SHORT_MS).await;
        self.system.aggregators[leader].begin();
    }

    async fn pause_leader(&mut self, chance: &mut Chance<'_>) {
        let leader = self.system.leader().await;
        self.system.aggregators[leader].pause();
        chance.wait(BEYOND_LEASE_MS).await;
        self.system.aggregators[leader].resume();
    }

    async fn kill_follower(&mut self, chance: &mut Chance<'_>) {
        let leader = self.system.leader().await;
        let follower = (leader + 1) % self.system.aggregators.len();
        again(&mut self.system.aggregators[follower], false, chance).await;
    }

    async fn kill_aggregators(&mut self, chance: &mut Chance<'_>) {
        for aggregator in &mut self.system.aggregators {
            aggregator.kill().await;
        }
        chance.wait(BEYOND_TIMEOUT_MS).await;
        for aggregator in &mut self.system.aggregators {
            aggregator.begin();
        }
    }

    /// The leader's last pulse and the block that it was writing come after another leads, and also to a web replica
    /// that starts just then.
    async fn delay_leader(&mut self, chance: &mut Chance<'_>) {
        let leader = self.system.leader().await;
        self.system.aggregators[leader].set_link(Flow::StallUp);
        chance.wait(BEYOND_LEASE_MS).await;
        self.system.another_leads(leader).await;
        self.fleet.stir(10);
        chance.wait(1200..1500).await;
        let fresh = chance.place(self.system.webs.len());
        self.system.webs[fresh].kill().await;
        self.system.webs[fresh].begin();
        self.system.webs[fresh].wait_ready().await;
        // Its viewers went elsewhere. They have to know the new leader's word there before the old one's comes.
        self.round.send_modify(|_| {});
        chance.wait(1100..1300).await;
        self.system.aggregators[leader].set_link(Flow::Pass);
    }

    async fn flap(&mut self, chance: &mut Chance<'_>) {
        for _ in 0..6 {
            for aggregator in &self.system.aggregators {
                aggregator.link.cut();
            }
            chance.wait(200..1200).await;
        }
    }

    /// It hangs first, so that requests are under way when it dies.
    async fn kill_broker(&mut self, chance: &mut Chance<'_>) {
        self.system.broker.signal(Signal::STOP);
        self.fleet.stir(20);
        chance.wait(300..600).await;
        self.system.broker.kill();
        chance.wait(SHORT_MS).await;
        self.system.broker.restart().await;
    }

    /// What an aggregator has in memory is all that is left. So it has to have everything before.
    async fn lose_store(&mut self) {
        self.fleet.settle().await;
        let complete = within(10 * TIMEOUT, async || {
            let table = views::table(&self.system.client).await?;
            views::difference(&self.ledger.picture(), &table)
                .is_none()
                .then_some(())
        });
        if complete.await.is_none() {
            let text = "the table is not complete before the store is lost";
            self.complaints.raise(Rule::Lost, text);
        }
        self.fleet.ways.forgiving.store(true, SeqCst);
        self.watch.store_is_lost.store(true, SeqCst);
        self.system.broker.kill();
        self.system.broker.delete_store();
        self.system.broker.restart().await;
    }

    /// The leader stands still while more comes than its subscription holds.
    async fn flood(&mut self) {
        let leader = self.system.leader().await;
        let free = self.ledger.free();
        let Some(shard) = free.first().copied() else {
            return;
        };
        let subject = format!("glance.{}.{}.health", shard.cluster, shard.id);
        for attempt in 1..=FLOODS_MAX {
            let before = self.system.drops();
            self.system.aggregators[leader].pause();
            let port = self.system.broker.port();
            let sent = pour(port, shard.cluster, &subject, attempt * FLOOD).await;
            if let Err(cause) = sent {
                self.complaints
                    .raise(Rule::NoFault, format!("no flood: {cause}"));
            }
            self.system.aggregators[leader].resume();
            // The one that follows has as much to read.
            let dropped = within(TIMEOUT, async || {
                (self.system.drops() > before).then_some(())
            });
            if dropped.await.is_some() {
                return;
            }
        }
        self.complaints
            .raise(Rule::NoFault, "the flood dropped nothing");
    }

    async fn deploy(&mut self, chance: &mut Chance<'_>) {
        for service in self.system.services() {
            again(service, true, chance).await;
        }
        self.system.broker.stop().await;
        self.system.broker.restart().await;
    }

    async fn step_clocks(&mut self, chance: &mut Chance<'_>) {
        self.clocks_step.store(true, SeqCst);
        let offset = if chance.flip() { HOUR_MS } else { -HOUR_MS };
        let role = chance.place(4);
        let leader = self.system.leader().await;
        let chosen: Vec<&Service> = match role {
            0 => vec![&self.system.aggregators[leader]],
            1 => self.system.aggregators.iter().collect(),
            2 => self.system.bridges.iter().collect(),
            _ => self.system.webs.iter().collect(),
        };
        for offset in [offset, 0] {
            for service in &chosen {
                service.step_clock(offset);
            }
            chance.wait(2500..3500).await;
        }
        // Who takes over compares its own clock with the one that was wrong.
        if role == 0 && chance.flip() {
            self.end_leader(Kind::LeaderKilled, chance).await;
        }
    }
}

/// Publishes so many empty messages as fast as the broker takes them: in the protocol itself, since a pause of more
/// than a moment would be another fault.
async fn pour(port: u16, bot: &str, subject: &str, count: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let login = json!({"verbose": false, "user": bot, "pass": password(bot)});
    let mut text = format!("CONNECT {login}\r\n");
    text.push_str(&format!("PUB {subject} 0\r\n\r\n").repeat(count));
    text.push_str("PING\r\n");
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let (written, _) = tokio::join!(writer.write_all(text.as_bytes()), async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "PONG" {
                break;
            }
        }
    });
    written
}

/// Ends a program and starts it again.
async fn again(service: &mut Service, is_orderly: bool, chance: &mut Chance<'_>) {
    if is_orderly {
        service.stop().await;
    } else {
        service.kill().await;
    }
    chance.wait(SHORT_MS).await;
    service.begin();
    if service.port > 0 {
        service.wait_ready().await;
    }
}

async fn cut_off(service: &Service, flow: Flow, ms: Range<u64>, chance: &mut Chance<'_>) {
    service.set_link(flow);
    chance.wait(ms).await;
    service.set_link(Flow::Pass);
}
