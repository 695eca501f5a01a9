//! Ways to log in at a real broker: nkeys, credentials files, and certificates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{path::PathBuf, time::Duration};

use glance_runner::{Broker, BrokerOptions, Shutdown};
use glance_testing::{Account, Authority, NatsServer, Secrets};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
/// How long is waited for a connection that must not come.
const NOTHING: Duration = Duration::from_secs(2);

fn options(server: &NatsServer) -> BrokerOptions {
    BrokerOptions {
        nats_url: Some(server.url().parse().unwrap()),
        ..BrokerOptions::default()
    }
}

/// Whether a connection is made, and works.
async fn connects(limit: Duration, options: &BrokerOptions) -> bool {
    let shutdown = Shutdown::new();
    let Ok(broker) = timeout(limit, Broker::connect("test", options, &shutdown)).await else {
        return false;
    };
    let broker = broker.unwrap();
    let answer = broker.client.request("$JS.API.INFO", "".into()).await;
    answer.is_ok()
}

#[tokio::test]
async fn with_an_nkey() {
    let secrets = Secrets::new();
    let (public, right) = secrets.nkey("right");
    let (_, wrong) = secrets.nkey("wrong");
    let users = format!("authorization {{ users: [ {{nkey: {public}}} ] }}");
    let server = NatsServer::start_with(&users).await;
    let with = |file: PathBuf| BrokerOptions {
        nats_nkey: Some(file),
        ..options(&server)
    };
    assert!(connects(LIMIT, &with(right)).await);
    assert!(!connects(NOTHING, &with(wrong)).await);
}

#[tokio::test]
async fn with_a_credentials_file() {
    let (secrets, account) = (Secrets::new(), Account::new());
    let server = NatsServer::start_with(&account.configuration).await;
    let with = |name: &str, is_stranger: bool| BrokerOptions {
        nats_creds: Some(secrets.credentials(name, &account, is_stranger)),
        ..options(&server)
    };
    assert!(connects(LIMIT, &with("right", false)).await);
    assert!(!connects(NOTHING, &with("wrong", true)).await);
}

#[tokio::test]
async fn with_certificates_of_both_sides() {
    let secrets = Secrets::new();
    let (ours, other) = (secrets.authority("ca.pem"), secrets.authority("other.pem"));
    let server = NatsServer::start_with(&secrets.tls_of_both_sides(&ours)).await;
    let (certificate, key) = secrets.certificate(&ours, "client", "glance-web");
    let with = |roots: &Authority, shown: bool| BrokerOptions {
        nats_ca: Some(roots.file.clone()),
        nats_cert: shown.then(|| certificate.clone()),
        nats_key: shown.then(|| key.clone()),
        ..options(&server)
    };
    assert!(connects(LIMIT, &with(&ours, true)).await);
    assert!(
        !connects(NOTHING, &with(&ours, false)).await,
        "no certificate is shown"
    );
    assert!(
        !connects(NOTHING, &with(&other, true)).await,
        "the broker's is not signed by them"
    );
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_named() {
    let secrets = Secrets::new();
    let file = secrets.file("secret", "x\n");
    let base = || BrokerOptions {
        nats_url: Some("nats://127.0.0.1:1".parse().unwrap()),
        ..BrokerOptions::default()
    };
    let missing = file.with_file_name("missing");
    for (options, wanted) in [
        (
            BrokerOptions {
                nats_user: Some("a".into()),
                ..base()
            },
            "GLANCE_NATS_USER: has no password",
        ),
        (
            BrokerOptions {
                nats_password_file: Some(file.clone()),
                ..base()
            },
            "GLANCE_NATS_PASSWORD: belongs to nobody",
        ),
        (
            BrokerOptions {
                nats_nkey: Some(file.clone()),
                nats_creds: Some(file.clone()),
                ..base()
            },
            "GLANCE_NATS_CREDS: cannot be used together with GLANCE_NATS_NKEY",
        ),
        (
            BrokerOptions {
                nats_nkey: Some(missing),
                ..base()
            },
            "GLANCE_NATS_NKEY: entry '",
        ),
        (
            BrokerOptions {
                nats_creds: Some(file.clone()),
                ..base()
            },
            "GLANCE_NATS_CREDS: entry '",
        ),
        (
            BrokerOptions {
                nats_ca: Some(file.clone()),
                ..base()
            },
            "GLANCE_NATS_CA: entry '",
        ),
        (
            BrokerOptions {
                nats_cert: Some(secrets.file("c", "-----BEGIN x")),
                ..base()
            },
            "GLANCE_NATS_CERT: has no key",
        ),
    ] {
        let error = Broker::connect("test", &options, &Shutdown::new()).await;
        let error = error
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.starts_with(wanted), "{wanted}: {error}");
    }
}
