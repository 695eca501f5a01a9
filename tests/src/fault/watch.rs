//! Watches what the aggregators publish, and whether web replicas stay ready.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{Client, Message, jetstream};
use futures::StreamExt as _;
use glance_protocol::{
    bucket,
    lease::epoch_of,
    subject::{CHANGES_FILTER, TABLE_FILTER},
};
use glance_runner::broker::republished_revision;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    complaint::{Complaints, Rule},
    ledger::Ledger,
    service::{Presence, Service},
};
use crate::http::ask;

/// Pause between two looks at a web replica.
const LOOK: Duration = Duration::from_millis(300);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A look at the stream of transitions reads no more than this.
const CHANGES_MAX: u64 = 20_000;

/// Everything that is watched all the time. Dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    ledger: Ledger,
    /// The place in the stream of transitions up to which it was read, and which stream that was.
    read: (String, u64),
    /// Whether the store is being lost: then epochs may begin anew.
    pub store_is_lost: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Watches a system.
    pub async fn start(
        client: &Client,
        webs: &[Service],
        ledger: &Ledger,
        complaints: &Complaints,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let store_is_lost = Arc::new(AtomicBool::new(false));
        let changes = client.subscribe(CHANGES_FILTER).await;
        let mut changes = changes.expect("the broker takes subscriptions");
        let of_changes = ledger.clone();
        tasks.spawn(async move {
            while let Some(message) = changes.next().await {
                check_change(&message.payload, &of_changes, "a change");
            }
        });
        let table = client.subscribe(TABLE_FILTER).await;
        let mut table = table.expect("the broker takes subscriptions");
        let mut epochs = Epochs {
            seen: HashMap::new(),
            store_is_lost: Arc::clone(&store_is_lost),
            complaints: complaints.clone(),
        };
        tasks.spawn(async move {
            while let Some(message) = table.next().await {
                epochs.check(&message);
            }
        });
        for web in webs {
            let looking = stay_ready(
                web.name.clone(),
                web.port,
                web.presence.clone(),
                complaints.clone(),
            );
            tasks.spawn(looking);
        }
        Self {
            client: client.clone(),
            ledger: ledger.clone(),
            read: (String::new(), 0),
            store_is_lost,
            _tasks: tasks,
        }
    }

    /// Reads the transitions that were kept since the last look.
    pub async fn read_changes(&mut self) {
        let context = jetstream::new(self.client.clone());
        let reading = async {
            let mut stream = context.get_stream(bucket::CHANGES).await.ok()?;
            let info = stream.info().await.ok()?.clone();
            let name = info.created.to_string();
            let state = info.state;
            let after = if name == self.read.0 { self.read.1 } else { 0 };
            let first = state.first_sequence.max(after + 1);
            let first = first.max(state.last_sequence.saturating_sub(CHANGES_MAX));
            for sequence in first..=state.last_sequence {
                if let Ok(message) = stream.get_raw_message(sequence).await {
                    check_change(&message.payload, &self.ledger, "a kept change");
                }
            }
            Some((name, state.last_sequence))
        };
        if let Ok(Some(read)) = timeout(Duration::from_secs(10), reading).await {
            self.read = read;
        }
    }
}

fn check_change(payload: &[u8], ledger: &Ledger, by: &str) {
    let Ok(change) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    if change["cause"] == "timeout" {
        let cluster = change["cluster"].as_str().unwrap_or_default();
        let shard = change["shard"].as_u64().unwrap_or(u64::MAX);
        ledger.flagged(cluster, u32::try_from(shard).unwrap_or(u32::MAX), by);
    }
}

/// The last writer of each key.
struct Epochs {
    seen: HashMap<String, (u64, u64)>,
    store_is_lost: Arc<AtomicBool>,
    complaints: Complaints,
}

impl Epochs {
    fn check(&mut self, message: &Message) {
        let (subject, epoch) = (message.subject.to_string(), epoch_of(&message.payload));
        let Ok(revision) = republished_revision(message) else {
            return;
        };
        if epoch == 0 {
            return;
        }
        let before = self.seen.insert(subject.clone(), (epoch, revision));
        let Some((last, at)) = before.filter(|_| !self.store_is_lost.load(Relaxed)) else {
            return;
        };
        if epoch < last {
            let text = format!(
                "{subject}: epoch {epoch} at revision {revision} came after epoch {last} at {at}"
            );
            self.complaints.raise(Rule::EpochWentBack, text);
        }
    }
}

/// A replica that was ready stays so until it is stopped.
async fn stay_ready(name: String, port: u16, presence: Presence, complaints: Complaints) {
    let mut ready = None;
    loop {
        let start = presence.get();
        let answer = ask(port, "GET", "/readyz", "", "", ANSWER_MAX).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if start.is_some() && start == presence.get() {
            if status == 200 {
                ready = start;
            } else if status != 0 && ready == start {
                let body = answer.map(|answer| answer.body).unwrap_or_default();
                complaints.raise(Rule::NotReady, format!("{name}: {status} {body}"));
            }
        }
        sleep(LOOK).await;
    }
}
