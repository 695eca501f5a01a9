//! What each user of nats.conf may do at the broker, and what not: each thing is tried, on a real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod edited;
mod scene;

use std::future::ready;

use futures::{StreamExt as _, stream};
use glance_testing::eventually;
use glance_tests::LIMIT;
use scene::{NO_ANSWER, NOTHING, READERS, Scene, UNABLE, arrived, only};
use serde_json::{Value, json};
use tokio::time::timeout;

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
            // At the same time: where one may not even ask, there is silence instead of an answer.
            let answers = stream::iter(["$JS.API", "GLANCE.API"]).map(async |prefix| {
                let subject = format!("{prefix}.{subject}");
                scene.asks_within(limit, user, &subject, body).await
            });
            answers.buffer_unordered(2).any(ready).await
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

/// Replicas share an account, and one that was taken over must not be believed by the others.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_of_the_same_account_hears_nothing_forged() {
    let scene = Scene::start().await;
    let mut wrong = Vec::new();
    for (user, subjects) in [
        (
            "web",
            &[
                "glance.table.main.0",
                "glance.table.clusters",
                "glance.table.lease",
                "glance.pulse",
                "$KV.GLANCE_NOTICES.announcement",
                "_INBOX.another.1",
                "glance.status.web",
            ][..],
        ),
        (
            "bridge",
            &[
                "glance.table.clusters",
                "glance.pulse",
                "glance.main.0.changed",
                "_INBOX.another.1",
                "glance.status.bridge",
            ],
        ),
    ] {
        let another = scene.server.client_of(user).await;
        for subject in subjects {
            let could = scene.reaches_client((user, &another), NOTHING, user, subject);
            if could.await {
                wrong.push(format!("{user} can tell another {subject}"));
            }
        }
        // Nor may one answer in the place of the aggregators, or see what others ask.
        let mut asked = another.subscribe("GLANCE.API.>").await.unwrap();
        arrived(user, &another).await;
        let question = "GLANCE.API.STREAM.INFO.KV_GLANCE_TABLE";
        assert!(scene.asks(user, question, "").await, "{user}");
        if timeout(NOTHING, asked.next())
            .await
            .is_ok_and(|it| it.is_some())
        {
            wrong.push(format!("{user} hears what another asks"));
        }
    }
    let inbox = ("operator", &scene.clients["operator"]);
    for user in ["bridge", "web"] {
        if scene
            .reaches_client(inbox, NOTHING, user, "_INBOX.operator.1")
            .await
        {
            wrong.push(format!("{user} can answer what the operator did not ask"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `nats micro` of the operator, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn services_answer_the_operator() {
    let scene = Scene::start().await;
    for (user, part) in [("aggregator", "x"), ("bridge", "y"), ("web", "z")] {
        let client = &scene.clients[user];
        let subject = format!("$SRV.PING.{part}");
        let mut asked = client.subscribe(subject.clone()).await.unwrap();
        arrived(user, client).await;
        let answer = async {
            while let Some(question) = asked.next().await {
                let reply = question.reply.unwrap();
                client.publish(reply, "{}".into()).await.unwrap();
            }
        };
        let wrong = only(&["operator"], NO_ANSWER, &subject, async |limit, other| {
            // One's own account is one's own business.
            other != user && scene.asks_within(limit, other, &subject, "").await
        });
        tokio::select! {
            wrong = wrong => assert!(wrong.is_empty(), "{wrong:#?}"),
            () = answer => panic!("the subscription ended"),
        }
    }
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
    let foreign = all.filter(|message| ready(!is_own(message)));
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

/// An id of a message is known to the whole stream, and a second message with it is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_bot_cannot_hide_the_reports_of_another() {
    let scene = Scene::start().await;
    let report = async |user: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "1");
        let subject = format!("glance.{user}.0.state");
        let answer = scene.clients[user]
            .request_with_headers(subject, headers, "online".into())
            .await
            .unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    assert!(report("main").await.get("seq").is_some());
    eventually(LIMIT, async || {
        let answer = report("demo").await;
        answer.get("duplicate").is_none().then_some(())
    })
    .await;
}
