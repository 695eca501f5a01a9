//! A broker with all users of nats.conf, and ways to try what each may do.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{Client, RequestErrorKind, jetstream};
use futures::{StreamExt as _, stream};
use glance_testing::{NatsServer, Process, eventually};
use glance_tests::LIMIT;
use serde_json::Value;
use tokio::time::timeout;

/// How long is waited for what must not come; what may come does so in a few milliseconds.
pub(crate) const NOTHING: Duration = Duration::from_millis(300);
/// The same for an answer.
pub(crate) const NO_ANSWER: Duration = Duration::from_secs(1);
/// All who log in.
pub(crate) const USERS: [&str; 7] = [
    "aggregator",
    "bridge",
    "web",
    "operator",
    "system",
    "main",
    "demo",
];
/// Those who have no business with streams.
pub(crate) const UNABLE: [&str; 5] = ["bridge", "web", "system", "main", "demo"];
/// Those who read the table.
pub(crate) const READERS: &[&str] = &["aggregator", "bridge", "web", "operator"];

/// A broker with what a running system keeps, and a client of each user.
pub(crate) struct Scene {
    pub(crate) server: NatsServer,
    pub(crate) clients: BTreeMap<&'static str, Client>,
    _aggregator: Process,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let server = NatsServer::start_with_accounts(&["main", "demo"]).await;
        // The real one, which may do all that it does.
        let aggregator = Process::of("glance-aggregator")
            .user("aggregator")
            .env("GLANCE_NATS_URL", server.url())
            .env("GLANCE_BOTS", "main:4;demo:1")
            .start();
        let mut clients = BTreeMap::new();
        for user in USERS {
            clients.insert(user, server.client_of(user).await);
        }
        let scene = Self {
            server,
            clients,
            _aggregator: aggregator,
        };
        eventually(LIMIT, async || {
            scene
                .messages("KV_GLANCE_TABLE")
                .await
                .filter(|messages| *messages >= 3)
        })
        .await;
        let context = jetstream::new(scene.clients["aggregator"].clone());
        let notices = context.get_key_value("GLANCE_NOTICES").await.unwrap();
        notices.put("announcement", "{}".into()).await.unwrap();
        assert!(scene.asks("main", "glance.main.0.state", "online").await);
        scene
    }

    /// How many messages a stream holds, as the aggregator sees it.
    pub(crate) async fn messages(&self, stream: &str) -> Option<u64> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let request = self.clients["aggregator"].request(subject, "".into());
        let answer = timeout(LIMIT, request).await.ok()?.ok()?;
        let answer: Value = serde_json::from_slice(&answer.payload).ok()?;
        answer["state"]["messages"].as_u64()
    }

    /// Whether a user gets an answer that is no error.
    pub(crate) async fn asks(&self, user: &str, subject: &str, body: &str) -> bool {
        self.asks_within(LIMIT, user, subject, body).await
    }

    pub(crate) async fn asks_within(
        &self,
        limit: Duration,
        user: &str,
        subject: &str,
        body: &str,
    ) -> bool {
        let client = &self.clients[user];
        let request = client.request(subject.to_owned(), body.to_owned().into());
        let Ok(Ok(answer)) = timeout(limit, request).await else {
            return false;
        };
        let is_error = answer.status.is_some_and(|status| status.as_u16() >= 400);
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        !is_error && answer.get("error").is_none()
    }

    /// Whether what a user publishes reaches the aggregators' account.
    pub(crate) async fn reaches(&self, limit: Duration, user: &str, subject: &str) -> bool {
        let listener = ("aggregator", &self.clients["aggregator"]);
        self.reaches_client(listener, limit, user, subject).await
    }

    /// The same for another listener: a user, and its client.
    pub(crate) async fn reaches_client(
        &self,
        listener: (&str, &Client),
        limit: Duration,
        user: &str,
        subject: &str,
    ) -> bool {
        let sender = &self.clients[user];
        let mut heard = listener.1.subscribe(subject.to_owned()).await.unwrap();
        arrived(listener.0, listener.1).await;
        let body = format!("from {user}");
        sender
            .publish(subject.to_owned(), body.clone().into())
            .await
            .unwrap();
        sender.flush().await.unwrap();
        let is_it = async {
            while let Some(message) = heard.next().await {
                if message.payload == body {
                    return true;
                }
            }
            false
        };
        timeout(limit, is_it).await.unwrap_or(false)
    }

    /// Whether a user hears what the aggregators publish.
    pub(crate) async fn hears(&self, limit: Duration, user: &str, subject: &str) -> bool {
        let (judge, listener) = (&self.clients["aggregator"], &self.clients[user]);
        let mut heard = listener.subscribe(subject.to_owned()).await.unwrap();
        arrived(user, listener).await;
        judge
            .publish(subject.to_owned(), "for all".into())
            .await
            .unwrap();
        judge.flush().await.unwrap();
        let is_it = async {
            while let Some(message) = heard.next().await {
                if message.payload == "for all" {
                    return true;
                }
            }
            false
        };
        timeout(limit, is_it).await.unwrap_or(false)
    }
}

/// Waits until the broker has taken all that a client sent before. (Flushing only hands it to the system.)
pub(crate) async fn arrived(user: &str, client: &Client) {
    let question = match user {
        "main" | "demo" => format!("glance.{user}.0.state"),
        "bridge" | "web" => "GLANCE.API.STREAM.INFO.KV_GLANCE_TABLE".to_owned(),
        _ => "nobody.answers".to_owned(),
    };
    match client.request(question, "online".into()).await {
        Ok(_) => {}
        Err(cause) => assert_eq!(cause.kind(), RequestErrorKind::NoResponders, "{user}"),
    }
}

/// Tries a thing with everybody at the same time, and compares who could. Who should be able to is waited for.
pub(crate) async fn only(
    able: &[&str],
    nothing: Duration,
    thing: &str,
    tried: impl AsyncFn(Duration, &'static str) -> bool,
) -> Vec<String> {
    let results = stream::iter(USERS).map(async |user| {
        let limit = if able.contains(&user) { LIMIT } else { nothing };
        (user, tried(limit, user).await)
    });
    let results: Vec<_> = results.buffer_unordered(USERS.len()).collect().await;
    let wrong = results
        .into_iter()
        .filter(|(user, could)| able.contains(user) != *could);
    wrong
        .map(|(user, could)| format!("{thing}: {user} {}", if could { "can" } else { "cannot" }))
        .collect()
}
