//! What each user of nats.conf may do at the broker, and what not: each thing is tried, on a real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeMap, time::Duration};

use async_nats::{Client, RequestErrorKind, jetstream};
use futures::{StreamExt as _, stream};
use glance_testing::{NatsServer, Process, eventually};
use glance_tests::LIMIT;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long is waited for what must not come; what may come does so in a few milliseconds.
const NOTHING: Duration = Duration::from_millis(300);
/// The same for an answer.
const NO_ANSWER: Duration = Duration::from_secs(1);
/// All who log in.
const USERS: [&str; 7] = [
    "aggregator",
    "bridge",
    "web",
    "operator",
    "system",
    "main",
    "demo",
];
/// Those who have no business with streams.
const UNABLE: [&str; 5] = ["bridge", "web", "system", "main", "demo"];
/// Those who read the table.
const READERS: &[&str] = &["aggregator", "bridge", "web", "operator"];

/// A broker with what a running system keeps, and a client of each user.
struct Scene {
    _server: NatsServer,
    clients: BTreeMap<&'static str, Client>,
    _aggregator: Process,
}

impl Scene {
    async fn start() -> Self {
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
            _server: server,
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
    async fn messages(&self, stream: &str) -> Option<u64> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let request = self.clients["aggregator"].request(subject, "".into());
        let answer = timeout(LIMIT, request).await.ok()?.ok()?;
        let answer: Value = serde_json::from_slice(&answer.payload).ok()?;
        answer["state"]["messages"].as_u64()
    }

    /// Whether a user gets an answer that is no error.
    async fn asks(&self, user: &str, subject: &str, body: &str) -> bool {
        self.asks_within(LIMIT, user, subject, body).await
    }

    async fn asks_within(&self, limit: Duration, user: &str, subject: &str, body: &str) -> bool {
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
    async fn reaches(&self, limit: Duration, user: &str, subject: &str) -> bool {
        let (judge, sender) = (&self.clients["aggregator"], &self.clients[user]);
        let mut heard = judge.subscribe(subject.to_owned()).await.unwrap();
        arrived("aggregator", judge).await;
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
    async fn hears(&self, limit: Duration, user: &str, subject: &str) -> bool {
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
async fn arrived(user: &str, client: &Client) {
    let question = match user {
        "main" | "demo" => format!("glance.{user}.0.state"),
        _ => "nobody.answers".to_owned(),
    };
    match client.request(question, "online".into()).await {
        Ok(_) => {}
        Err(cause) => assert_eq!(cause.kind(), RequestErrorKind::NoResponders, "{user}"),
    }
}

/// Tries a thing with everybody at the same time, and compares who could. Who should be able to is waited for.
async fn only(
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

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_their_part_and_nothing_else() {
    let scene = Scene::start().await;
    let mut wrong = Vec::new();
    for (able, subject) in [
        (
            &["aggregator", "bridge", "main"][..],
            "glance.main.3.health",
        ),
        (&["aggregator", "bridge", "demo"], "glance.demo.0.health"),
        (&["aggregator", "bridge", "main"], "glance.main.3.state"),
        (&["aggregator", "bridge", "demo"], "glance.demo.0.state"),
        (&["aggregator", "bridge"], "glance.patron_1.0.state"),
        (&["aggregator"], "glance.main.3.changed"),
        (&["aggregator"], "glance.rejected"),
        (&["aggregator"], "glance.pulse"),
        (&["aggregator"], "glance.table.main.0"),
        (&["aggregator"], "glance.table.clusters"),
        (&["aggregator"], "glance.table.lease"),
        (&["aggregator"], "$KV.GLANCE_TABLE.main.0"),
        (&["aggregator"], "$KV.GLANCE_LEASE.leader"),
        // Those two by their own way, which is asked for below.
        (&["aggregator"], "$KV.GLANCE_NOTICES.announcement"),
        (&["aggregator"], "_INBOX.somebody.else"),
        (&["aggregator"], "glance.x"),
    ] {
        let tried = async |limit, user: &'static str| scene.reaches(limit, user, subject).await;
        wrong.extend(only(able, NOTHING, &format!("publish {subject}"), tried).await);
    }
    for (able, subject) in [
        (
            &["aggregator", "bridge", "web", "operator"][..],
            "glance.table.x.0",
        ),
        (&["aggregator", "web", "operator"], "glance.pulse"),
        (&["aggregator", "operator", "main"], "glance.main.3.changed"),
        (&["aggregator", "operator", "demo"], "glance.demo.0.changed"),
        (
            &["aggregator", "operator", "main", "demo"],
            "glance.rejected",
        ),
        // The answers to what others ask.
        (&["aggregator", "operator"], "_INBOX.aggregator.1"),
        (&["aggregator"], "glance.main.3.health"),
        (&["aggregator"], "$KV.GLANCE_LEASE.x"),
    ] {
        let tried = async |limit, user: &'static str| scene.hears(limit, user, subject).await;
        wrong.extend(only(able, NOTHING, &format!("hear {subject}"), tried).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_by_those_who_need_them_and_written_by_aggregators() {
    let scene = Scene::start().await;
    let mut wrong = Vec::new();
    let last = json!({"last_by_subj": "$KV.GLANCE_TABLE.clusters"}).to_string();
    let lease = json!({"last_by_subj": "$KV.GLANCE_LEASE.leader"}).to_string();
    let report = json!({"last_by_subj": "glance.main.0.state"}).to_string();
    let notice = json!({"last_by_subj": "$KV.GLANCE_NOTICES.announcement"}).to_string();
    let consumer = |stream: &str, deliver: &str| {
        json!({"stream_name": stream, "config": {"deliver_subject": deliver, "ack_policy": "none"}})
            .to_string()
    };
    let of_states = consumer("GLANCE_STATES", "glance.demo.0.health");
    let of_table = consumer("KV_GLANCE_TABLE", "glance.main.0.state");
    let stream = json!({"name": "MINE", "subjects": ["glance.>"]}).to_string();
    let message = json!({"seq": 1_000_000}).to_string();
    let keeps = json!({"keep": 1_000_000}).to_string();
    for (able, subject, body) in [
        (READERS, "STREAM.INFO.KV_GLANCE_TABLE", ""),
        (READERS, "STREAM.MSG.GET.KV_GLANCE_TABLE", &*last),
        (
            READERS,
            "DIRECT.GET.KV_GLANCE_TABLE.$KV.GLANCE_TABLE.clusters",
            "",
        ),
        (
            &["aggregator", "web", "operator"],
            "STREAM.MSG.GET.KV_GLANCE_LEASE",
            &lease,
        ),
        (
            &["aggregator", "bridge", "operator"],
            "STREAM.MSG.GET.GLANCE_STATES",
            &report,
        ),
        (
            &["aggregator", "bridge", "operator"],
            "DIRECT.GET.GLANCE_STATES.glance.main.0.state",
            "",
        ),
        (READERS, "STREAM.INFO.KV_GLANCE_NOTICES", ""),
        (
            &["aggregator", "web", "operator"],
            "STREAM.MSG.GET.KV_GLANCE_NOTICES",
            &notice,
        ),
        (&["aggregator", "operator"], "STREAM.NAMES", ""),
        (
            &["aggregator", "operator"],
            "STREAM.INFO.GLANCE_CHANGES",
            "",
        ),
        (
            &["aggregator", "operator"],
            "CONSUMER.CREATE.GLANCE_STATES",
            &of_states,
        ),
        (
            &["aggregator", "operator"],
            "CONSUMER.CREATE.KV_GLANCE_TABLE",
            &of_table,
        ),
        (
            &["aggregator", "operator"],
            "STREAM.PURGE.GLANCE_CHANGES",
            &keeps,
        ),
        (
            &["aggregator", "operator"],
            "STREAM.PURGE.GLANCE_STATES",
            &keeps,
        ),
        (
            &["aggregator", "operator"],
            "STREAM.PURGE.KV_GLANCE_TABLE",
            &keeps,
        ),
    ] {
        let asked = async |limit, user: &'static str| {
            let (own, theirs) = (
                format!("$JS.API.{subject}"),
                format!("GLANCE.API.{subject}"),
            );
            scene.asks_within(limit, user, &own, body).await
                || scene.asks_within(limit, user, &theirs, body).await
        };
        wrong.extend(only(able, NO_ANSWER, subject, asked).await);
    }
    // What nobody but these may try, as it cannot be repeated.
    for (subject, body) in [
        ("CONSUMER.DURABLE.CREATE.GLANCE_STATES.mine", &*of_states),
        ("CONSUMER.CREATE.GLANCE_STATES.mine", &of_states),
        ("CONSUMER.MSG.NEXT.GLANCE_STATES.mine", ""),
        ("STREAM.CREATE.MINE", &stream),
        ("STREAM.UPDATE.GLANCE_STATES", &stream),
        ("STREAM.MSG.DELETE.GLANCE_STATES", &message),
        ("STREAM.DELETE.GLANCE_STATES", ""),
        ("STREAM.DELETE.KV_GLANCE_TABLE", ""),
        ("STREAM.PURGE.KV_GLANCE_NOTICES", ""),
        (
            "STREAM.SNAPSHOT.GLANCE_STATES",
            r#"{"deliver_subject":"glance.demo.0.state"}"#,
        ),
    ] {
        let tries = ["$JS.API", "GLANCE.API"]
            .into_iter()
            .flat_map(|prefix| UNABLE.map(|user| (user, format!("{prefix}.{subject}"))));
        let tried = stream::iter(tries).map(async |(user, subject)| {
            let able = scene.asks_within(NO_ANSWER, user, &subject, body).await;
            able.then(|| format!("{subject}: {user} can"))
        });
        let tried: Vec<_> = tried.buffer_unordered(2 * UNABLE.len()).collect().await;
        wrong.extend(tried.into_iter().flatten());
    }
    let notices = only(
        &["bridge", "operator"],
        NO_ANSWER,
        "put a notice",
        async |limit, user| {
            let subject = "GLANCE.API.$KV.GLANCE_NOTICES.announcement";
            scene.asks_within(limit, user, subject, "{}").await
        },
    );
    wrong.extend(notices.await);
    for bucket in ["GLANCE_TABLE.clusters", "GLANCE_LEASE.leader"] {
        let subject = format!("GLANCE.API.$KV.{bucket}");
        let tried =
            async |limit, user: &'static str| scene.asks_within(limit, user, &subject, "x").await;
        wrong.extend(only(&[], NO_ANSWER, bucket, tried).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A broker does not ask whether one may publish where one wants to have an answer. Between accounts that leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cannot_be_sent_where_one_may_not_publish() {
    let scene = Scene::start().await;
    let judge = &scene.clients["aggregator"];
    let forbidden = [
        "glance.demo.0.health",
        "glance.demo.0.state",
        "glance.pulse",
        "$KV.GLANCE_TABLE.clusters",
        "$KV.GLANCE_LEASE.leader",
        "$JS.API.STREAM.PURGE.GLANCE_STATES",
    ];
    let mut heard = Vec::new();
    for subject in forbidden {
        heard.push(judge.subscribe(subject).await.unwrap());
    }
    arrived("aggregator", judge).await;
    let questions = [
        ("main", "glance.main.1.state", "online"),
        ("web", "GLANCE.API.STREAM.INFO.KV_GLANCE_TABLE", ""),
        (
            "web",
            "GLANCE.API.DIRECT.GET.KV_GLANCE_TABLE.$KV.GLANCE_TABLE.clusters",
            "",
        ),
    ];
    for (user, question, body) in questions {
        let client = &scene.clients[user];
        for subject in forbidden {
            client
                .publish_with_reply(question, subject, body.into())
                .await
                .unwrap();
        }
        client.flush().await.unwrap();
        // Behind it in the same connection: when this is answered, those are.
        assert!(
            scene.asks(user, question, body).await,
            "{user} may ask {question}"
        );
    }
    let all = stream::select_all(heard);
    // The aggregator writes its own.
    let foreign = all.filter(|message| std::future::ready(!is_own(message)));
    let foreign = timeout(NOTHING, foreign.boxed().next()).await;
    assert!(foreign.is_err(), "{foreign:?}");
    assert!(
        scene
            .messages("GLANCE_STATES")
            .await
            .is_some_and(|messages| messages > 0)
    );
}

/// Whether the aggregator that runs published this: its lease and its pulses, and no answer of a broker.
fn is_own(message: &async_nats::Message) -> bool {
    let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    let is_answer = body.get("stream").is_some() || body.get("type").is_some();
    let is_block = message.headers.is_some();
    !is_answer && !is_block
}
