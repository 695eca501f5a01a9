//! Viewers that stay: they add up what they are told, and come back when a connection ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use super::{
    complaint::{Complaints, Rule},
    ledger::{Ledger, Picture},
    sum::{PageSum, Sum},
    views,
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A viewer that is sent away comes back within this.
const BACK_MAX: Duration = Duration::from_secs(2);
/// The pause before the next try, for each viewer another part of it.
const JITTER: Duration = Duration::from_millis(500);
/// Pause before a snapshot that was too old is asked for again.
const SNAPSHOT_AGAIN: Duration = Duration::from_millis(200);

/// What a viewer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Nothing special.
    Default,
    /// What our page asks for.
    Page,
}

/// A viewer, seen from outside. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    /// What the report calls it.
    pub name: String,
    picture: Arc<Mutex<Option<Picture>>>,
    task: AbortHandle,
}

impl Watcher {
    /// What its frames add up to; `None` while it is not connected or waits for a snapshot.
    #[must_use]
    pub fn picture(&self) -> Option<Picture> {
        self.picture
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all viewers of a system share.
#[derive(Debug, Clone)]
pub struct Watching {
    /// Where the web replicas listen.
    pub ports: Vec<u16>,
    /// The truth, which knows who may be called Unhealthy.
    pub ledger: Ledger,
    /// Where broken rules go.
    pub complaints: Complaints,
    /// How many frames came.
    pub frames: Arc<AtomicU64>,
    /// Counts the rounds: at each, viewers go back to the replica that is theirs.
    pub round: watch::Receiver<usize>,
    /// Whether wall clocks are stepped: then times repeat.
    pub clocks_step: Arc<AtomicBool>,
}

impl Watching {
    /// A viewer that prefers one replica.
    #[must_use]
    pub fn start(&self, home: usize, dialect: Dialect) -> Watcher {
        let name = format!("viewer of web {} ({dialect:?})", home + 1);
        let picture = Arc::default();
        let viewer = Viewer {
            with: self.clone(),
            name: name.clone(),
            dialect,
            home,
            picture: Arc::clone(&picture),
            sent_away: None,
            ended: BTreeMap::new(),
        };
        Watcher {
            name,
            picture,
            task: tokio::spawn(viewer.run()).abort_handle(),
        }
    }
}

/// A replica that has not heard for so long says that nobody judges.
const STALE_S: f64 = 4.5;

/// The periods of judging that one replica told.
#[derive(Debug, Default)]
struct Periods {
    present: Option<String>,
    ended: BTreeSet<String>,
}

struct Viewer {
    with: Watching,
    name: String,
    dialect: Dialect,
    home: usize,
    picture: Arc<Mutex<Option<Picture>>>,
    /// When it was closed with 1001.
    sent_away: Option<Instant>,
    ended: BTreeMap<usize, Periods>,
}

impl Viewer {
    async fn run(mut self) {
        let mut tries = 0;
        loop {
            let replica = (self.home + tries) % self.with.ports.len();
            tries += 1;
            if self.watch(replica).await {
                // Home again first.
                tries = 0;
                sleep(JITTER.mul_f64(rand::random())).await;
            } else {
                sleep(JITTER / 10).await;
            }
        }
    }

    fn show(&self, picture: Option<Picture>) {
        *self.picture.lock().unwrap_or_else(PoisonError::into_inner) = picture;
    }

    /// Watches one replica until the connection ends; whether it came to a hello.
    async fn watch(&mut self, replica: usize) -> bool {
        let query = match self.dialect {
            Dialect::Default => "",
            Dialect::Page => "?dialect=page",
        };
        let url = format!(
            "ws://127.0.0.1:{}/api/feed{query}",
            self.with.ports[replica]
        );
        let Ok(Ok((socket, _))) = timeout(CONNECT_MAX, connect_async(url)).await else {
            return false;
        };
        let mut connection = Connection {
            viewer: self,
            replica,
            sum: None,
            page: PageSum::default(),
        };
        let greeted = connection.follow(socket).await;
        self.show(None);
        greeted
    }

    fn greeted(&mut self) {
        if let Some(since) = self.sent_away.take() {
            let took = since.elapsed();
            if took > BACK_MAX {
                let text = format!("{} was back after {took:?}", self.name);
                self.with.complaints.raise(Rule::SlowReconnect, text);
            }
        }
    }

    /// A period of judging that ended never comes back.
    fn judge(&mut self, replica: usize, payload: &Value) {
        let Some(value) = payload.get("judging_since") else {
            return;
        };
        let heard = payload["heard"].as_f64();
        let age_s = heard.and_then(|heard| Some(payload["now"].as_f64()? - heard));
        if age_s.is_none_or(|age_s| age_s > STALE_S) {
            // A replica that does not hear, or has not heard yet, cannot know.
            return;
        }
        let periods = self.ended.entry(replica).or_default();
        if self.with.clocks_step.load(Relaxed) {
            *periods = Periods::default();
            return;
        }
        let present = (!value.is_null()).then(|| value.to_string());
        if present == periods.present {
            return;
        }
        if let Some(before) = std::mem::replace(&mut periods.present, present.clone()) {
            periods.ended.insert(before);
        }
        if let Some(present) = present.filter(|it| periods.ended.contains(it)) {
            let text = format!("{} sees judging_since {present} again", self.name);
            self.with.complaints.raise(Rule::JudgingCameBack, text);
        }
    }
}

async fn read_snapshot(port: u16, pause: Duration) -> Option<Value> {
    sleep(pause).await;
    views::snapshot(port).await
}

struct Connection<'a> {
    viewer: &'a mut Viewer,
    replica: usize,
    sum: Option<Sum>,
    page: PageSum,
}

impl Connection<'_> {
    async fn follow(&mut self, mut socket: Socket) -> bool {
        let mut greeted = false;
        let mut round = self.viewer.with.round.clone();
        round.mark_unchanged();
        let port = self.viewer.with.ports[self.replica];
        let mut reading = Box::pin(read_snapshot(port, Duration::ZERO));
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.viewer.with.frames.fetch_add(1, Relaxed);
                        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
                            return greeted;
                        };
                        if frame["op"] == "hello" {
                            self.viewer.greeted();
                            greeted = true;
                        }
                        self.take(&frame);
                    }
                    Some(Ok(Message::Close(close))) => {
                        if close.is_some_and(|close| close.code == CloseCode::Away) {
                            self.viewer.sent_away = Some(Instant::now());
                        }
                        return greeted;
                    }
                    Some(Ok(_)) => {}
                    _ => return greeted,
                },
                snapshot = &mut reading, if self.page.needs_snapshot() => {
                    let taken = snapshot.is_some_and(|snapshot| self.page.offer(&snapshot));
                    let pause = if taken { Duration::ZERO } else { SNAPSHOT_AGAIN };
                    reading = Box::pin(read_snapshot(port, pause));
                    if let Some(sum) = &self.page.sum {
                        sum.check_flags(&self.viewer.with.ledger, &self.viewer.name);
                    }
                }
                // Only who is elsewhere goes home.
                Ok(()) = round.changed(), if self.replica != self.viewer.home => return true,
            }
            let sum = match self.viewer.dialect {
                Dialect::Default => self.sum.as_ref(),
                Dialect::Page => self.page.sum.as_ref(),
            };
            self.viewer.show(sum.map(Sum::picture));
        }
    }

    fn take(&mut self, frame: &Value) {
        let payload = &frame["payload"];
        let op = frame["op"].as_str().unwrap_or_default();
        match (self.viewer.dialect, op) {
            (Dialect::Default, "hello") => {
                let sum = Sum::of_hello(payload);
                sum.check_flags(&self.viewer.with.ledger, &self.viewer.name);
                self.sum = Some(sum);
            }
            (Dialect::Default, _) => self.take_change(payload),
            (Dialect::Page, "hello" | "resync" | "clusters") => self.page.demand(payload),
            (Dialect::Page, "changes") => self.take_changes(payload),
            (Dialect::Page, _) => {}
        }
        if self.viewer.dialect == Dialect::Page {
            self.viewer.judge(self.replica, payload);
        }
    }

    fn take_change(&mut self, payload: &Value) {
        let cluster = payload["cluster"].as_str().unwrap_or_default();
        if let (Some(id), Some(state)) = (payload["shard"].as_u64(), payload["state"].as_u64()) {
            self.check(cluster, id, state);
            if let Some(sum) = &mut self.sum {
                sum.set(cluster, id, state);
            }
        }
    }

    fn take_changes(&mut self, payload: &Value) {
        let cluster = payload["cluster"].as_str().unwrap_or_default();
        for shard in payload["shards"].as_array().into_iter().flatten() {
            if let (Some(id), Some(state)) = (shard[0].as_u64(), shard[1].as_u64()) {
                self.check(cluster, id, state);
            }
        }
        if let Err(text) = self.page.follow(payload) {
            let text = format!("{}: {text}", self.viewer.name);
            self.viewer
                .with
                .complaints
                .raise(Rule::VersionWentBack, text);
        }
    }

    fn check(&self, cluster: &str, id: u64, state: u64) {
        if state == 1 {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            self.viewer
                .with
                .ledger
                .flagged(cluster, id, &self.viewer.name);
        }
    }
}
