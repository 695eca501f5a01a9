//! A broker and all services as processes, each service behind its own proxy.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use glance_protocol::{Lease, bucket};
use glance_runner::fault::Mutation;
use glance_testing::{NatsServer, Process, Proxy, binary, free_port, password};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    complaint::{Complaints, Rule},
    fleet::{BOTS, NAMES},
    ledger::TIMEOUT,
    service::Service,
    within,
};
use crate::LIMIT;

/// Five timeouts for a shard that died just before a fault, and some for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a question to the broker may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many aggregators run.
    pub aggregators: usize,
    /// How many bridges.
    pub bridges: usize,
    /// How many web replicas.
    pub webs: usize,
    /// The rule that all programs break, if any.
    pub mutation: Option<Mutation>,
    /// How long it may take after a fault until all views agree.
    pub patience: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            aggregators: 2,
            bridges: 2,
            webs: 2,
            mutation: None,
            patience: PATIENCE,
        }
    }
}

/// A running installation.
#[derive(Debug)]
pub struct System {
    /// The broker.
    pub broker: NatsServer,
    /// One of them leads.
    pub aggregators: Vec<Service>,
    /// For bots.
    pub bridges: Vec<Service>,
    /// For viewers.
    pub webs: Vec<Service>,
    /// A connection to the broker that no fault of a link touches.
    pub client: Client,
    /// Who led when somebody last looked.
    led: usize,
    complaints: Complaints,
    _clocks: TempDir,
}

impl System {
    /// Starts everything, and waits until it is ready.
    pub async fn start(shape: Shape, complaints: &Complaints) -> Self {
        check_build();
        let broker = NatsServer::start_with_accounts(&NAMES).await;
        let client = connect_as(&broker.url(), Some("aggregator")).await;
        let clocks = TempDir::with_prefix("glance-clocks-").expect("a temporary directory");
        let mut system = Self {
            aggregators: Vec::new(),
            bridges: Vec::new(),
            webs: Vec::new(),
            client,
            led: 0,
            complaints: complaints.clone(),
            _clocks: clocks,
            broker,
        };
        for (program, count) in [
            ("aggregator", shape.aggregators),
            ("bridge", shape.bridges),
            ("web", shape.webs),
        ] {
            for index in 0..count {
                let service = system.service(program, index, shape, complaints).await;
                match program {
                    "aggregator" => system.aggregators.push(service),
                    "bridge" => system.bridges.push(service),
                    _ => system.webs.push(service),
                }
            }
        }
        for service in system.bridges.iter().chain(&system.webs) {
            service.wait_ready().await;
        }
        system
    }

    async fn service(
        &self,
        program: &str,
        index: usize,
        shape: Shape,
        complaints: &Complaints,
    ) -> Service {
        let link = Proxy::start(self.broker.port()).await;
        let port = if program == "aggregator" {
            0
        } else {
            free_port()
        };
        let mut builder = Process::of(&format!("glance-{program}"))
            .user(program)
            .env("GLANCE_BOTS", BOTS)
            .env("GLANCE_HEALTH_TIMEOUT", TIMEOUT.as_secs().to_string())
            .env("GLANCE_HOST", "127.0.0.1")
            .env("GLANCE_PORT", port.to_string())
            .env("GLANCE_BRIDGE_HOST", "127.0.0.1")
            .env("GLANCE_BRIDGE_PORT", port.to_string());
        if let Some(mutation) = shape.mutation {
            builder = builder.env("GLANCE_MUTATION", mutation.name());
        }
        let name = format!("{program} {}", index + 1);
        let clock = self._clocks.path().join(format!("{program}-{index}"));
        Service::start(name, port, link, builder, clock, complaints.clone())
    }

    /// All services.
    pub fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        let Self {
            aggregators,
            bridges,
            webs,
            ..
        } = self;
        aggregators.iter_mut().chain(bridges).chain(webs)
    }

    /// Which aggregator leads, or led last if that cannot be told at present.
    pub async fn leader(&mut self) -> usize {
        if let Some(index) = self.holder().await {
            self.led = index;
        }
        self.led
    }

    /// The aggregator that the lease names.
    async fn holder(&self) -> Option<usize> {
        let lease = lease(&self.client).await?;
        // The machine, the process and a number by chance, with `/` between.
        let holder = lease.holder?;
        let id: u32 = holder.split('/').nth(1)?.parse().ok()?;
        self.aggregators.iter().position(|it| it.id() == id)
    }

    /// Waits until an aggregator other than `before` leads, if there is another.
    pub async fn another_leads(&mut self, before: usize) {
        if self.aggregators.len() == 1 {
            return;
        }
        let other = within(LIMIT, async || {
            self.holder().await.filter(|index| *index != before)
        });
        match other.await {
            Some(index) => self.led = index,
            None => self
                .complaints
                .raise(Rule::NotBack, "no other aggregator leads"),
        }
    }

    /// The ports of the web replicas.
    #[must_use]
    pub fn web_ports(&self) -> Vec<u16> {
        self.webs.iter().map(|web| web.port).collect()
    }

    /// How often an aggregator said that messages were dropped.
    #[must_use]
    pub fn drops(&self) -> usize {
        let aggregators = self.aggregators.iter();
        aggregators
            .map(|it| it.count("messages were dropped"))
            .sum()
    }

    /// The last words of all programs.
    #[must_use]
    pub fn last_words(&mut self) -> String {
        let words: Vec<String> = self.services().map(|it| it.last_words()).collect();
        words.join("\n")
    }
}

/// The lease, if it can be read.
pub async fn lease(client: &Client) -> Option<Lease> {
    let reading = async {
        let context = async_nats::jetstream::new(client.clone());
        let bucket = context.get_key_value(bucket::LEASE).await.ok()?;
        let value = bucket.get(bucket::LEADER_KEY).await.ok()??;
        Lease::from_bytes(&value).ok()
    };
    timeout(ANSWER_MAX, reading).await.ok().flatten()
}

/// A client that comes back as fast as our services do. Several addresses are separated by commas.
pub async fn connect(url: &str) -> Client {
    connect_as(url, None).await
}

/// The same, as a user of nats.conf.
pub async fn connect_as(url: &str, user: Option<&str>) -> Client {
    let addresses: Vec<&str> = url.split(',').collect();
    let options = match user {
        Some(user) => ConnectOptions::with_user_and_password(user.to_owned(), password(user)),
        None => ConnectOptions::new(),
    };
    let options = options
        .ping_interval(Duration::from_secs(5))
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(100));
    options
        .connect(addresses)
        .await
        .expect("the broker takes clients")
}

/// Without the feature the programs do not read the variables, and the suite would pass for the wrong reason.
fn check_build() {
    for name in ["glance-aggregator", "glance-bridge", "glance-web"] {
        let program = std::fs::read(binary(name)).expect("a program can be read");
        let wanted = b"GLANCE_MUTATION";
        assert!(
            program.windows(wanted.len()).any(|bytes| bytes == wanted),
            "{name} is built without the feature `faults`: run `make test-programs` first"
        );
    }
}
