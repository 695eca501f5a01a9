//! What the tests share: a broker, what an aggregator would write there, the
//! service on a free port, and viewers.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "each test program uses a part of this, and may fail loudly"
)]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use async_nats::jetstream::{self, kv, stream::Republish};
use futures::StreamExt as _;
use glance_protocol::{
    BlockSet, Cause, ClusterInfo, ClusterList, ClusterName, Lease, Pulse, PulseBlock, PulseCluster,
    ShardRow, State, Subject, TableBlock, bucket,
    shard::{block_count, block_len},
    subject,
};
use glance_runner::{
    Broker, BrokerOptions, Environment, Ready, Shutdown, health,
    http::{self, Limits},
};
use glance_testing::{NatsServer, eventually};
use glance_web::{Web, WebOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message as Frame,
};
use warp::Filter as _;

pub const LIMIT: Duration = Duration::from_secs(10);
/// When the shards of these tests entered their states, in Unix milliseconds.
pub const SINCE_MS: i64 = 1_795_358_092_349;

/// What an aggregator writes.
pub struct Aggregator {
    pub client: async_nats::Client,
    pub store: kv::Store,
    pub epoch: u64,
    pub clusters: Vec<(ClusterName, u32)>,
    pub revisions: BTreeMap<(ClusterName, u32), u64>,
    pub number: u64,
    /// Its clock, in Unix milliseconds. Pulses say a second more.
    pub at_ms: i64,
}

/// The bucket of the lease, which is republished too.
pub async fn create_lease(server: &NatsServer) -> kv::Store {
    let jetstream = jetstream::new(server.client().await);
    let config = kv::Config {
        bucket: bucket::LEASE.to_owned(),
        history: 1,
        republish: Some(Republish {
            source: format!("$KV.{}.{}", bucket::LEASE, bucket::LEADER_KEY),
            destination: Subject::Lease.to_string(),
            headers_only: false,
        }),
        ..kv::Config::default()
    };
    jetstream.create_key_value(config).await.unwrap()
}

/// Writes the lease as an aggregator that takes it would.
pub async fn lead(lease: &kv::Store, epoch: u64) {
    let value = Lease {
        epoch,
        holder: Some("made".to_owned()),
    };
    let value = value.to_bytes().into();
    lease.put(bucket::LEADER_KEY, value).await.unwrap();
}

pub async fn create_bucket(server: &NatsServer, republish: bool) -> kv::Store {
    let jetstream = jetstream::new(server.client().await);
    let config = kv::Config {
        bucket: bucket::TABLE.to_owned(),
        history: 1,
        republish: republish.then(|| Republish {
            source: format!("$KV.{}.>", bucket::TABLE),
            destination: subject::TABLE_FILTER.to_owned(),
            headers_only: false,
        }),
        ..kv::Config::default()
    };
    jetstream.create_key_value(config).await.unwrap()
}

pub fn online() -> ShardRow {
    ShardRow {
        state: State::Online,
        previous: State::Starting,
        cause: Some(Cause::Report),
        since_ms: Some(SINCE_MS),
        last_heard_ms: Some(SINCE_MS),
        ..ShardRow::default()
    }
}

impl Aggregator {
    pub async fn start(server: &NatsServer, clusters: &[(&str, u32)]) -> Self {
        lead(&create_lease(server).await, 7).await;
        let store = create_bucket(server, true).await;
        Self::with_store(server, store, 7, clusters).await
    }

    pub async fn with_store(
        server: &NatsServer,
        store: kv::Store,
        epoch: u64,
        clusters: &[(&str, u32)],
    ) -> Self {
        let mut aggregator = Self {
            client: server.client().await,
            store,
            epoch,
            clusters: Vec::new(),
            revisions: BTreeMap::new(),
            number: 0,
            at_ms: SINCE_MS,
        };
        aggregator.put_list(clusters).await;
        for (name, total) in clusters {
            for block in 0..block_count(*total) {
                let rows = vec![ShardRow::default(); block_len(*total, block) as usize];
                aggregator.put(name, block, rows).await;
            }
        }
        aggregator
    }

    pub async fn put_list(&mut self, clusters: &[(&str, u32)]) {
        self.clusters = clusters
            .iter()
            .map(|(name, total)| (name.parse().unwrap(), *total))
            .collect();
        let infos = self.clusters.iter().map(|(name, total)| ClusterInfo {
            name: name.clone(),
            total: *total,
            timeout_s: 30.0,
            auto: *total == 0,
        });
        let list = ClusterList {
            epoch: self.epoch,
            clusters: infos.collect(),
            ..ClusterList::default()
        };
        let value = list.to_bytes().into();
        self.store.put(bucket::CLUSTERS_KEY, value).await.unwrap();
    }

    pub fn value(&self, cluster: &str, block: u32, rows: Vec<ShardRow>) -> TableBlock {
        TableBlock {
            epoch: self.epoch,
            cluster: cluster.parse().unwrap(),
            block,
            stream: "made".to_owned(),
            sequence: 1,
            at_ms: self.at_ms,
            rows,
        }
    }

    pub async fn put(&mut self, cluster: &str, block: u32, rows: Vec<ShardRow>) -> u64 {
        let value = self.value(cluster, block, rows);
        let key = bucket::block_key(&value.cluster, block);
        let revision = self.store.put(key, value.to_bytes().into()).await.unwrap();
        self.revisions.insert((value.cluster, block), revision);
        revision
    }

    /// A pulse in which these shards of a cluster's first block were heard, and these healed.
    pub async fn pulse(&mut self, cluster: &str, heard: &[usize], healed: &[usize]) {
        self.number += 1;
        let set = |name: &ClusterName, block, ids: &[usize]| -> BlockSet {
            let here = name.as_str() == cluster && block == 0;
            ids.iter().copied().filter(|_| here).collect()
        };
        let clusters = self.clusters.iter().map(|(name, total)| PulseCluster {
            name: name.clone(),
            blocks: (0..block_count(*total))
                .map(|block| PulseBlock {
                    block,
                    revision: self.revisions[&(name.clone(), block)],
                    heard: set(name, block, heard),
                    healed: set(name, block, healed),
                })
                .collect(),
        });
        let pulse = Pulse {
            epoch: self.epoch,
            number: self.number,
            at_ms: self.at_ms + 1000,
            judging_since_ms: Some(SINCE_MS),
            part: 0,
            parts: 1,
            clusters: clusters.collect(),
        };
        let subject = Subject::Pulse.to_string();
        let body = pulse.to_bytes().into();
        self.client.publish(subject, body).await.unwrap();
        self.client.flush().await.unwrap();
    }
}

/// The service on a free port.
pub struct Service {
    pub web: Web,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
}

impl Service {
    pub async fn start(server: &NatsServer) -> Self {
        Self::start_with(server, WebOptions::default()).await
    }

    pub async fn start_with(server: &NatsServer, options: WebOptions) -> Self {
        let shutdown = Shutdown::new();
        let broker = BrokerOptions {
            nats_url: Some(server.url().parse().unwrap()),
            ..BrokerOptions::default()
        };
        let broker = Broker::connect("test", &broker, &shutdown).await.unwrap();
        let environment = Environment::default();
        let web = Web::start(&broker, &options, &environment, &shutdown);
        let web = web.await.unwrap();
        let listener = http::bind("127.0.0.1", 0, "test").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = web.routes().or(health::routes(web.readiness())).unify();
        let routes = routes.or(glance_web::not_found()).unify().boxed();
        tokio::spawn(http::serve(
            listener,
            routes,
            Limits::default(),
            shutdown.clone(),
        ));
        Self {
            web,
            address,
            shutdown,
        }
    }

    /// Waits until `/readyz` says this.
    pub async fn says(&self, word: &str) {
        eventually(LIMIT, async || {
            (self.get("/readyz").await.text().trim() == word).then_some(())
        })
        .await;
    }

    /// Waits until a table was received.
    pub async fn is_ready(&self) {
        eventually(LIMIT, async || {
            matches!(self.web.ready(), Ready::Yes(_)).then_some(())
        })
        .await;
    }

    /// Sends a request, reads the head of the answer and what comes with it, and leaves.
    pub async fn head_of_answer(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
            let read = stream.read_buf(&mut bytes);
            assert!(timeout(LIMIT, read).await.unwrap().unwrap() > 0);
        }
        Answer::parse(&bytes)
    }

    pub async fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        raw(self.address, &request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "").await
    }

    pub async fn view(&self, path: &str) -> Viewer {
        let url = format!("ws://{}{path}", self.address);
        Viewer(connect_async(url).await.unwrap().0)
    }
}

/// Sends a request as it is, and reads the answer until its end.
pub async fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    Answer::parse(&bytes)
}

/// An answer to a request.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status,
            headers: headers.collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A viewer's WebSocket.
pub struct Viewer(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Viewer {
    /// The next frame that is neither ping nor pong.
    pub async fn frame(&mut self) -> Frame {
        loop {
            let frame = timeout(LIMIT, self.0.next()).await.unwrap();
            match frame.expect("the feed goes on").unwrap() {
                Frame::Ping(_) | Frame::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    /// The next text frame.
    pub async fn text(&mut self) -> String {
        self.frame().await.into_text().unwrap().as_str().to_owned()
    }

    /// The next frame of the page's dialect that is no pulse.
    pub async fn news(&mut self) -> serde_json::Value {
        loop {
            let frame: serde_json::Value = serde_json::from_str(&self.text().await).unwrap();
            if frame["op"] != "pulse" {
                return frame;
            }
        }
    }

    /// The code with which the server closes, after whatever it sends before.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            if let Frame::Close(frame) = self.frame().await {
                return frame.unwrap().code.into();
            }
        }
    }
}
