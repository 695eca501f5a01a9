//! Announcements and maintenance.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Answer, TestBridge, set_up};
use glance_protocol::bucket;
use glance_testing::NatsServer;
use serde_json::{Value, json};

struct Setting {
    server: NatsServer,
    bridge: TestBridge,
}

impl Setting {
    async fn new() -> Self {
        let server = NatsServer::start().await;
        set_up(&server, &[("main", 4)]).await;
        let bridge = TestBridge::start(&server).await;
        Self { server, bridge }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut client = self.bridge.client().await;
        client.send(method, path, &[], body.as_bytes()).await
    }

    async fn kept(&self, key: &str) -> Option<Value> {
        let jetstream = async_nats::jetstream::new(self.server.client().await);
        let notices = jetstream.get_key_value(bucket::NOTICES).await.unwrap();
        let value = notices.get(key).await.unwrap()?;
        Some(serde_json::from_slice(&value).unwrap())
    }
}

#[tokio::test]
async fn notices_are_put_and_deleted() {
    let setting = Setting::new().await;
    let notice = json!({"text":"Back at 5","severity":"critical","until":1_795_358_092.0});
    for (path, key) in [
        ("/api/announcement", "announcement"),
        ("/api/maintenance/main", "maintenance.main"),
        ("/api/maintenance/main/g-3/?x", "maintenance.main.g-3"),
    ] {
        setting.send("DELETE", path, "").await.assert_accepted();
        assert_eq!(setting.kept(key).await, None);
        setting
            .send("PUT", path, &notice.to_string())
            .await
            .assert_accepted();
        assert_eq!(setting.kept(key).await, Some(notice.clone()));
        setting
            .send("PUT", path, r#"{"text":"x"}"#)
            .await
            .assert_accepted();
        assert_eq!(
            setting.kept(key).await,
            Some(json!({"text":"x","severity":"info"}))
        );
        setting
            .send("DELETE", path, "ignored")
            .await
            .assert_accepted();
        assert_eq!(setting.kept(key).await, None);
    }
}

#[tokio::test]
async fn bad_notices_are_refused() {
    let setting = Setting::new().await;
    let notice = r#"{"text":"x"}"#;
    let nope = "cluster 'nope' does not exist";
    setting
        .send("PUT", "/api/maintenance/nope", notice)
        .await
        .assert_error(400, nope);
    setting
        .send("PUT", "/api/maintenance/nope/3", "x")
        .await
        .assert_error(400, nope);
    let group =
        "group 'a.b' has a name that no key can have: 1 to 64 characters of A-Z a-z 0-9 _ -";
    for method in ["PUT", "DELETE"] {
        setting
            .send(method, "/api/maintenance/main/a.b", notice)
            .await
            .assert_error(400, group);
    }
    // A notice that outlived its cluster can still be removed.
    setting
        .send("DELETE", "/api/maintenance/nope/3", "")
        .await
        .assert_accepted();
    let text = "cluster '>' does not exist";
    setting
        .send("DELETE", "/api/maintenance/%3E", "")
        .await
        .assert_error(400, text);

    let long = json!({"text":"x".repeat(1001)}).to_string();
    for bad in [
        "",
        "x",
        "{}",
        r#"{"text":""}"#,
        r#"{"text":"x","severity":"loud"}"#,
        r#"{"text":"x","until":"soon"}"#,
        r#"{"text":"x","until":-1}"#,
        long.as_str(),
    ] {
        let answer = setting.send("PUT", "/api/announcement", bad).await;
        assert_eq!(answer.status, 400, "{bad:.40}");
        assert!(answer.body.starts_with(r#"{"error":""#), "{answer:?}");
    }
    let large = "x".repeat(8193);
    let answer = setting.send("PUT", "/api/announcement", &large).await;
    answer.assert_error(413, "the body is larger than 8192 bytes");
    assert_eq!(setting.kept("announcement").await, None);
}
