//! The rounds of one installation.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;

use super::{
    complaint::{Complaints, Rule},
    faults::Stage,
    fleet::Fleet,
    ledger::Ledger,
    plan::{Kind, Round},
    report::{Failure, Tally},
    system::{Shape, System},
    viewer::{Dialect, Watcher, Watching},
    views,
    voice::{Clients, Ways},
    watch::Watch,
};

/// All views have to agree still after this time.
const STAY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(150);
/// Times are told in milliseconds by several programs.
const AGE_SLACK_S: f64 = 5.0;
const AGE_LEAST_S: f64 = -0.5;

/// One installation with all that watches it.
pub struct Lane {
    stage: Stage,
    viewers: Vec<Watcher>,
    frames: Arc<AtomicU64>,
    began: Instant,
    tally: Tally,
    patience: Duration,
}

/// Where a view differs from what is true.
struct Difference {
    rule: Rule,
    text: String,
}

impl Lane {
    /// Starts an installation, and waits until all of it agrees.
    ///
    /// # Errors
    ///
    /// When a rule is broken already.
    pub async fn start(shape: Shape, seed: u64) -> Result<Self, Box<Failure>> {
        let began = Instant::now();
        let complaints = Complaints::default();
        let ledger = Ledger::new(complaints.clone());
        let system = System::start(shape, &complaints).await;
        let watch = Watch::start(&system.client, &system.webs, &ledger, &complaints).await;
        let bots = Clients::with_accounts(&system.broker.url()).await;
        let bridges = system.bridges.iter().map(|bridge| bridge.port).collect();
        let ways = Ways::new(bots, bridges, complaints.clone());
        let fleet = Fleet::start(ways, ledger.clone(), seed).await;
        let (round, rounds) = tokio::sync::watch::channel(0);
        let watching = Watching {
            ports: system.web_ports(),
            ledger: ledger.clone(),
            complaints: complaints.clone(),
            frames: Arc::default(),
            round: rounds,
            clocks_step: Arc::default(),
        };
        let homes = 0..system.webs.len();
        let viewers = homes.flat_map(|home| {
            [Dialect::Default, Dialect::Page].map(|dialect| watching.start(home, dialect))
        });
        let mut lane = Self {
            viewers: viewers.collect(),
            frames: watching.frames.clone(),
            stage: Stage {
                system,
                fleet,
                ledger,
                watch,
                clocks_step: watching.clocks_step.clone(),
                complaints,
                round,
            },
            began,
            tally: Tally::default(),
            patience: shape.patience,
        };
        lane.agree().await;
        lane.verdict(None).await?;
        Ok(lane)
    }

    /// Plays rounds until one fails, here or elsewhere.
    ///
    /// # Errors
    ///
    /// When a rule was broken.
    pub async fn play(
        mut self,
        rounds: &[Round],
        others_failed: &AtomicBool,
    ) -> Result<Tally, Box<Failure>> {
        for round in rounds {
            if others_failed.load(SeqCst) {
                break;
            }
            self.play_round(round).await?;
        }
        let ways = &self.stage.fleet.ways;
        self.tally.reports = ways.reports.load(Relaxed);
        self.tally.healths = ways.healths.load(Relaxed);
        self.tally.frames = self.frames.load(Relaxed);
        Ok(self.tally)
    }

    async fn play_round(&mut self, round: &Round) -> Result<(), Box<Failure>> {
        let mut rng = StdRng::seed_from_u64(round.seed);
        self.stage.ledger.begin_round(round.number);
        self.stage.round.send_replace(round.number);
        let fleet = self.stage.fleet.clone();
        fleet.revive();
        if rng.random_bool(0.6) {
            fleet.silence(rng.random_range(1..=3));
        }
        if round.kind != Kind::Resized && rng.random_bool(0.15) {
            fleet.resize();
        }
        let restless = fleet.be_restless();
        sleep(Duration::from_millis(rng.random_range(0..400))).await;
        self.stage.make(round.kind, &mut rng).await;
        let healed = Instant::now();
        // States change also just after the fault.
        sleep(Duration::from_millis(rng.random_range(0..600))).await;
        fleet.settle().await;
        restless.abort();
        let agreed = self.agree().await;
        self.forgive_no_more();
        self.verdict(Some(round)).await?;
        self.tally.note(round.kind, agreed - healed);
        Ok(())
    }

    fn forgive_no_more(&self) {
        self.stage.fleet.ways.forgiving.store(false, SeqCst);
        self.stage.watch.store_is_lost.store(false, SeqCst);
        self.stage.clocks_step.store(false, SeqCst);
    }

    /// Waits until all views show what is true, and still do a second later; otherwise complains.
    async fn agree(&mut self) -> Instant {
        let deadline = Instant::now() + self.patience;
        loop {
            let agreed = Instant::now();
            let mut difference = self.look().await;
            if difference.is_none() {
                sleep(STAY).await;
                difference = self.look().await;
            }
            let Some(difference) = difference else {
                return agreed;
            };
            if Instant::now() > deadline {
                let text = format!("after {:?}, {}", self.patience, difference.text);
                self.stage.complaints.raise(difference.rule, text);
                self.explain().await;
            }
            if !self.stage.complaints.is_empty() {
                return agreed;
            }
            sleep(LOOK).await;
        }
    }

    /// Adds what the broker keeps of the shards that are wrong in the table.
    async fn explain(&self) {
        let truth = self.stage.ledger.picture();
        let client = &self.stage.system.client;
        let table = views::table(client).await.unwrap_or_default();
        for wrong in views::wrong(&truth, &table).iter().take(3) {
            let kept = views::kept(client, &wrong.cluster, wrong.id).await;
            let text = format!("{}/{}: {kept}", wrong.cluster, wrong.id);
            self.stage.complaints.raise(Rule::Lost, text);
        }
    }

    /// Compares all views with the truth.
    async fn look(&mut self) -> Option<Difference> {
        self.tally.comparisons += 1;
        let truth = self.stage.ledger.picture();
        let differs = |view: &str, seen: &_| {
            let text = views::difference(&truth, seen)?;
            Some(Difference {
                rule: Rule::Disagreement,
                text: format!("{view}: {text}"),
            })
        };
        let broken = |rule, text| Some(Difference { rule, text });
        let Some(table) = views::table(&self.stage.system.client).await else {
            return broken(Rule::Disagreement, "the table cannot be read".to_owned());
        };
        if let Some(mut difference) = differs("the aggregator's table", &table) {
            if views::is_lost(&truth, &table) {
                difference.rule = Rule::Lost;
            }
            return Some(difference);
        }
        for web in &self.stage.system.webs {
            let Some(snapshot) = views::snapshot(web.port).await else {
                return broken(Rule::Disagreement, format!("{} shows nothing", web.name));
            };
            if let Some(difference) = differs(&web.name, &views::picture(&snapshot)) {
                return Some(difference);
            }
            if !views::is_judging(&snapshot) {
                let text = format!("{} says that nobody is judged", web.name);
                return broken(Rule::Disagreement, text);
            }
            let oldest = self.began.elapsed().as_secs_f64() + AGE_SLACK_S;
            if let Some((least, most)) = views::ages(&snapshot)
                && (least < AGE_LEAST_S || most > oldest)
            {
                let text = format!("{} shows ages from {least} s to {most} s", web.name);
                return broken(Rule::WrongAge, text);
            }
        }
        for viewer in &self.viewers {
            let Some(picture) = viewer.picture() else {
                return broken(
                    Rule::Disagreement,
                    format!("{} has no picture", viewer.name),
                );
            };
            if let Some(difference) = differs(&viewer.name, &picture) {
                return Some(difference);
            }
        }
        None
    }

    /// Whether a rule was broken so far.
    async fn verdict(&mut self, round: Option<&Round>) -> Result<(), Box<Failure>> {
        self.stage.watch.read_changes().await;
        for service in self.stage.system.services() {
            service.check();
        }
        if self.stage.complaints.is_empty() {
            return Ok(());
        }
        Err(Box::new(Failure {
            complaints: self.stage.complaints.all(),
            round: round.copied(),
            last_words: self.stage.system.last_words(),
        }))
    }
}
