//! The ways in which a shard speaks: over NATS, and over HTTP through the bridges.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::Client;
use glance_protocol::{Details, ReportBody, ShardId, State, Subject};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::http::{Answer, ask};

use super::{
    complaint::{Complaints, Rule},
    fleet::NAMES,
    ledger::Address,
    system::connect_as,
};

/// A bridge promises an answer within 2 s; a busy machine adds to that.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// How long a bot waits for the broker's acknowledgement.
const ACK_MAX: Duration = Duration::from_secs(2);

/// How a shard speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// To the broker.
    Nats,
    /// `POST /api/status` and `/api/health`.
    Http,
    /// `POST /api/report`.
    Report,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it was acknowledged.
    pub acknowledged: bool,
    /// Whether an attempt failed, which may still arrive.
    pub uncertain: bool,
}

impl Taken {
    fn at_once(acknowledged: bool) -> Self {
        Self {
            acknowledged,
            uncertain: !acknowledged,
        }
    }
}

/// How the bots reach the broker.
#[derive(Debug)]
pub enum Clients {
    /// Each with its own account.
    Accounts(BTreeMap<&'static str, Client>),
    /// All of them through one connection, at a broker without accounts.
    Shared(Client),
}

impl Clients {
    /// A connection for each bot, which may report for no other.
    pub async fn with_accounts(url: &str) -> Self {
        let mut clients = BTreeMap::new();
        for name in NAMES {
            clients.insert(name, connect_as(url, Some(name)).await);
        }
        Self::Accounts(clients)
    }

    fn of(&self, cluster: &str) -> &Client {
        match self {
            Self::Accounts(clients) => &clients[cluster],
            Self::Shared(client) => client,
        }
    }
}

/// What all voices share.
#[derive(Debug)]
pub struct Ways {
    /// The bots' own connections to the broker.
    pub clients: Clients,
    /// Where the bridges listen. The requests of a shard go to one after another, as behind a balancer.
    pub bridges: Vec<u16>,
    /// The size that the bot without a configured size claims.
    pub claimed: Arc<AtomicU32>,
    /// Where wrong answers go.
    pub complaints: Complaints,
    /// How many statements were acknowledged.
    pub reports: AtomicU64,
    /// How many health checks were taken.
    pub healths: AtomicU64,
    /// Whether the bridges may have lost what they knew, with the store.
    pub forgiving: std::sync::atomic::AtomicBool,
}

impl Ways {
    /// Voices through these clients and these bridges.
    #[must_use]
    pub fn new(clients: Clients, bridges: Vec<u16>, complaints: Complaints) -> Self {
        Self {
            clients,
            bridges,
            claimed: Arc::default(),
            complaints,
            reports: AtomicU64::new(0),
            healths: AtomicU64::new(0),
            forgiving: false.into(),
        }
    }

    /// Tries to say a state: once to the broker, or once through each bridge.
    pub async fn say(&self, voice: Voice, address: Address, turn: usize, state: State) -> Taken {
        let taken = match voice {
            Voice::Nats => Taken::at_once(self.request(address, state).await),
            Voice::Http => {
                let (Address { cluster, id }, state) = (address, state.number());
                let path = format!("/api/status/{cluster}/{id}/{state}");
                self.post(address, turn, &path, "").await
            }
            Voice::Report => {
                let entry = json!({"id": address.id, "state": state.number()});
                self.report(address, turn, &entry).await
            }
        };
        if taken.acknowledged {
            self.reports.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Sends one health check.
    pub async fn beat(&self, voice: Voice, address: Address, turn: usize) {
        let taken = match voice {
            Voice::Nats => Taken::at_once(self.publish(address).await),
            Voice::Http => {
                let Address { cluster, id } = address;
                let path = format!("/api/health/{cluster}/{id}");
                self.post(address, turn, &path, "").await
            }
            Voice::Report => self.report(address, turn, &json!({"id": address.id})).await,
        };
        if taken.acknowledged {
            self.healths.fetch_add(1, Relaxed);
        }
    }

    async fn request(&self, address: Address, state: State) -> bool {
        let body = self.body(address, Some(state)).to_bytes();
        let request = self
            .clients
            .of(address.cluster)
            .request(subject(address, true), body.into());
        let Ok(Ok(answer)) = timeout(ACK_MAX, request).await else {
            return false;
        };
        // JetStream's acknowledgement: {"stream":"GLANCE_STATES","seq":7}.
        serde_json::from_slice::<Value>(&answer.payload).is_ok_and(|ack| ack["seq"].is_u64())
    }

    async fn publish(&self, address: Address) -> bool {
        let body = self.body(address, None).to_health_bytes();
        let publish = self
            .clients
            .of(address.cluster)
            .publish(subject(address, false), body.into());
        matches!(timeout(ACK_MAX, publish).await, Ok(Ok(())))
    }

    fn body(&self, address: Address, state: Option<State>) -> ReportBody {
        let total = self.total(address);
        let details = Details {
            total,
            ..Details::default()
        };
        ReportBody {
            state,
            details,
            ignored: 0,
        }
    }

    fn total(&self, address: Address) -> Option<u32> {
        (address.cluster == super::fleet::GROWS).then(|| self.claimed.load(Relaxed))
    }

    async fn report(&self, address: Address, turn: usize, entry: &Value) -> Taken {
        let report = json!({
            "cluster": address.cluster, "total": self.total(address), "shards": [entry],
        });
        self.post(address, turn, "/api/report", &report.to_string())
            .await
    }

    /// Posts to the bridge whose turn it is, and to the others when it does not take the request.
    async fn post(&self, address: Address, turn: usize, path: &str, body: &str) -> Taken {
        for index in 0..self.bridges.len() {
            let port = self.bridges[(turn + index) % self.bridges.len()];
            match ask(port, "POST", path, "", body, ANSWER_MAX).await {
                Some(answer) if self.is_taken(address, path, &answer) => {
                    return Taken {
                        acknowledged: true,
                        uncertain: index > 0,
                    };
                }
                Some(_) => {}
                None => {
                    let text = format!("{path} at :{port} got no answer within {ANSWER_MAX:?}");
                    self.complaints.raise(Rule::WrongAnswer, text);
                }
            }
        }
        Taken::at_once(false)
    }

    fn is_taken(&self, address: Address, path: &str, answer: &Answer) -> bool {
        match answer.status {
            200 | 204 => return true,
            // Not listening, or ended in the middle.
            0 => {}
            503 if answer.head.contains("retry-after:") => {}
            _ if self.forgiving.load(Relaxed) => {}
            _ => {
                let text = format!("{path} of {address}: {} {}", answer.status, answer.body);
                self.complaints.raise(Rule::WrongAnswer, text);
            }
        }
        false
    }
}

fn subject(Address { cluster, id }: Address, state: bool) -> String {
    let cluster = cluster.parse().expect("the fleet's names are valid");
    let shard = ShardId::new(id).expect("the fleet's ids are valid");
    if state {
        Subject::State(cluster, shard).to_string()
    } else {
        Subject::Health(cluster, shard).to_string()
    }
}
