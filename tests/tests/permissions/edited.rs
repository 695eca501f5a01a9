//! nats.conf after the changes that it speaks of in its comments.

use glance_testing::{NatsServer, Process, Secrets, eventually, password};
use glance_tests::{LIMIT, Program, get};

/// Replaces a text that is there once.
fn replace(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

/// "Instead of a user and a password, `nkey: U...` names the public half of a key."
#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_have_a_key_instead_of_a_password() {
    let secrets = Secrets::new();
    let (public, seed) = secrets.nkey("web.nk");
    let server = NatsServer::start_with_edited_accounts(&["main"], |text| {
        let user = "user: web, password: $GLANCE_NATS_WEB_PASSWORD";
        replace(&text, user, &format!("nkey: {public}"))
    })
    .await;
    let url = server.url();
    let _aggregator = Program::start_with("glance-aggregator", &url, |it| it.user("aggregator"));
    let web = Program::start_with("glance-web", &url, |it| {
        it.env("GLANCE_NATS_NKEY", &seed)
            .env("GLANCE_NATS_API_PREFIX", "GLANCE.API")
    });
    web.wait_ready().await;
    web.wait_value("glance_web_stale", 0.0).await;
    assert_eq!(get(web.public, "/api/snapshot").await.status, 200);

    // The key has the permissions of the user, ...
    let seed = std::fs::read_to_string(&seed).unwrap();
    let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
    let client = options.connect(&url).await.unwrap();
    let subject = "glance.main.0.state";
    client.publish(subject, "online".into()).await.unwrap();
    client.flush().await.unwrap();
    eventually(LIMIT, async || {
        let log = server.log();
        let mut lines = log.lines();
        lines.find(|line| {
            line.contains("Publish Violation") && line.contains(subject) && line.contains(&public)
        })?;
        Some(())
    })
    .await;
    // ... and the password has none any more.
    let login = async_nats::ConnectOptions::with_user_and_password("web".into(), password("web"));
    let refused = login.connect(&url).await.unwrap_err();
    let wanted = async_nats::ConnectErrorKind::AuthorizationViolation;
    assert_eq!(refused.kind(), wanted, "{refused}");
}

/// The text with the comments at its end in force, for one level of `#` or both.
fn encrypted(text: &str, levels: usize) -> String {
    let (accounts, block) = text.split_once("\n# tls {\n").unwrap();
    let mut lines: Vec<_> = format!("# tls {{\n{block}")
        .lines()
        .map(str::to_owned)
        .collect();
    for line in &mut lines {
        *line = line.strip_prefix("# ").unwrap().to_owned();
        let setting = line.trim_start().strip_prefix("# ");
        // A sentence stays a comment.
        if let Some(setting) = setting.filter(|it| levels > 1 && !it.starts_with("Clients ")) {
            *line = setting.to_owned();
        }
    }
    format!("{accounts}\n{}\n", lines.join("\n"))
}

/// "With clients on other machines, encrypt", and "Clients show certificates too".
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_encrypt_and_ask_for_certificates() {
    let secrets = Secrets::new();
    let authority = secrets.authority("ca.pem");
    let of_broker = secrets.certificate(&authority, "broker", "127.0.0.1");
    let of_client = secrets.certificate(&authority, "client", "aggregator");
    for levels in [1, 2] {
        let server = NatsServer::start_with_edited_accounts(&["main"], |text| {
            let mut text = encrypted(&text, levels);
            for (example, file) in [
                ("/etc/glance/broker.pem", &of_broker.0),
                ("/etc/glance/broker.key", &of_broker.1),
                ("/etc/glance/clients.pem", &authority.file),
            ] {
                text = replace(&text, example, &file.display().to_string());
            }
            text
        })
        .await;
        let url = server.url().replace("nats://", "tls://");
        let start = |files: &[(&str, &std::path::Path)]| {
            Program::start_with("glance-aggregator", &url, |it| {
                let it = it.user("aggregator");
                files.iter().fold(it, |it, (name, file)| it.env(name, file))
            })
        };
        let ca = ("GLANCE_NATS_CA", &*authority.file);
        let shown = [
            ca,
            ("GLANCE_NATS_CERT", &*of_client.0),
            ("GLANCE_NATS_KEY", &*of_client.1),
        ];
        let waits = "waiting for the broker at tls://";
        let wrong: &[_] = if levels == 1 { &[] } else { &[ca] };
        let mut refused: Process = start(wrong).process;
        refused.wait_for_line(waits, LIMIT).await;
        let right = if levels == 1 { &shown[..1] } else { &shown };
        let aggregator = start(right);
        aggregator.wait_ready().await;
        aggregator.wait_value("glance_aggregator_leader", 1.0).await;
    }
}
