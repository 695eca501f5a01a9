//! Ways to log in at a real broker: nkeys, credentials files, and certificates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use glance_runner::{Broker, BrokerOptions, Shutdown};
use glance_testing::NatsServer;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::{Value, json};
use tempfile::TempDir;
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

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::with_prefix("glance-logins-").unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

#[tokio::test]
async fn with_an_nkey() {
    let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!(
        "authorization {{ users: [ {{nkey: {}}} ] }}",
        key.public_key()
    );
    let server = NatsServer::start_with(&users).await;
    let folder = Folder::new();
    let with = |name: &str, key: &KeyPair| BrokerOptions {
        nats_nkey: Some(folder.write(name, &format!("{}\n", key.seed().unwrap()))),
        ..options(&server)
    };
    assert!(connects(LIMIT, &with("right", &key)).await);
    assert!(!connects(NOTHING, &with("wrong", &other)).await);
}

/// A token of NATS: JSON, signed by its issuer.
fn token(issuer: &KeyPair, subject: &KeyPair, kind: &str, name: &str, nats: &Value) -> String {
    let mut nats = nats.clone();
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": nats,
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn with_a_credentials_file() {
    let operator = KeyPair::new_operator();
    let (account, system, user) = (
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let unlimited = json!({"limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
        "wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    }});
    let resolver = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}: {}\n{}: {}\n}}",
        token(&operator, &operator, "operator", "o", &json!({})),
        system.public_key(),
        system.public_key(),
        token(
            &operator,
            &system,
            "account",
            "s",
            &json!({"limits": {"subs": -1, "conn": -1, "imports": -1, "exports": -1, "wildcards": true, "data": -1, "payload": -1, "leaf": -1}})
        ),
        account.public_key(),
        token(&operator, &account, "account", "a", &unlimited),
    );
    let server = NatsServer::start_with(&resolver).await;
    let folder = Folder::new();
    let rights = json!({"subs": -1, "data": -1, "payload": -1});
    let with = |name: &str, key: &KeyPair| {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(&account, &user, "user", "u", &rights),
            key.seed().unwrap(),
        );
        BrokerOptions {
            nats_creds: Some(folder.write(name, &text)),
            ..options(&server)
        }
    };
    assert!(connects(LIMIT, &with("right", &user)).await);
    assert!(!connects(NOTHING, &with("wrong", &KeyPair::new_user())).await);
}

#[tokio::test]
async fn with_certificates_of_both_sides() {
    let folder = Folder::new();
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        (
            folder.write(name, &certificate.pem()),
            Issuer::new(parameters, key),
        )
    };
    let (roots, issuer) = authority("ca.pem");
    let (other_roots, _) = authority("other.pem");
    let signed = |name: &str, subject: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        (
            folder.write(&format!("{name}.pem"), &certificate.pem()),
            folder.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let (certificate, key) = signed("server", "127.0.0.1");
    let tls = format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {roots:?}, verify: true }}"
    );
    let server = NatsServer::start_with(&tls).await;
    let (certificate, key) = signed("client", "glance-web");
    let with = |roots: &PathBuf, shown: bool| BrokerOptions {
        nats_ca: Some(roots.clone()),
        nats_cert: shown.then(|| certificate.clone()),
        nats_key: shown.then(|| key.clone()),
        ..options(&server)
    };
    assert!(connects(LIMIT, &with(&roots, true)).await);
    assert!(
        !connects(NOTHING, &with(&roots, false)).await,
        "no certificate is shown"
    );
    assert!(
        !connects(NOTHING, &with(&other_roots, true)).await,
        "the broker's is not signed by them"
    );
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_named() {
    let folder = Folder::new();
    let file = folder.write("secret", "x\n");
    let base = || BrokerOptions {
        nats_url: Some("nats://127.0.0.1:1".parse().unwrap()),
        ..BrokerOptions::default()
    };
    let missing = folder.0.path().join("missing");
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
                nats_cert: Some(folder.write("c", "-----BEGIN x")),
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
