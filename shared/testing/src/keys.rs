//! Keys, credentials and certificates with which programs log in at a broker, as files.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of secrets, deleted when it is dropped.
#[derive(Debug)]
pub struct Secrets {
    folder: TempDir,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new()
    }
}

impl Secrets {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("glance-secrets-").expect("a temporary directory");
        Self { folder }
    }

    /// Writes a file, and gives its path.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the file can be written");
        path
    }

    /// A new nkey: its public half (`U...`), and the file of its seed.
    #[must_use]
    pub fn nkey(&self, name: &str) -> (String, PathBuf) {
        let key = KeyPair::new_user();
        let seed = key.seed().expect("a new key has a seed");
        (key.public_key(), self.file(name, &format!("{seed}\n")))
    }

    /// A new authority that signs certificates. Its own is written to the file `name`.
    #[must_use]
    pub fn authority(&self, name: &str) -> Authority {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Authority {
            file: self.file(name, &certificate.pem()),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate for `subject` (the address of a server, or the name of a client): its file, and that of its key.
    #[must_use]
    pub fn certificate(
        &self,
        authority: &Authority,
        name: &str,
        subject: &str,
    ) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![subject.to_owned()]).expect("parameters");
        let signed = parameters.signed_by(&key, &authority.issuer);
        let certificate = signed.expect("a certificate").pem();
        (
            self.file(&format!("{name}.pem"), &certificate),
            self.file(&format!("{name}.key"), &key.serialize_pem()),
        )
    }

    /// What a broker's configuration says for TLS in which clients show a certificate of this authority too.
    #[must_use]
    pub fn tls_of_both_sides(&self, authority: &Authority) -> String {
        let (certificate, key) = self.certificate(authority, "server", "127.0.0.1");
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {:?}, verify: true }}",
            authority.file
        )
    }

    /// The credentials file of a user of this account, with the seed of the user, or of a stranger.
    #[must_use]
    pub fn credentials(&self, name: &str, account: &Account, is_stranger: bool) -> PathBuf {
        let user = KeyPair::new_user();
        let rights = json!({"subs": -1, "data": -1, "payload": -1});
        let token = token(&account.account, &user, "user", "u", &rights);
        let key = if is_stranger {
            KeyPair::new_user()
        } else {
            user
        };
        let seed = key.seed().expect("a new key has a seed");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        self.file(name, &text)
    }
}

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    /// The file of its own certificate.
    pub file: PathBuf,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

/// An account, with JetStream, of an operator who signs tokens.
#[derive(Debug)]
pub struct Account {
    account: KeyPair,
    /// What a broker's configuration needs to know it.
    pub configuration: String,
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    /// A new operator with one account, beside that of the system.
    #[must_use]
    pub fn new() -> Self {
        let operator = KeyPair::new_operator();
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({"limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
            "wildcards": true,
        }});
        let mut stores = limits.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            stores["limits"][limit] = json!(-1);
        }
        let configuration = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}: {}\n{}: {}\n}}",
            token(&operator, &operator, "operator", "o", &json!({})),
            system.public_key(),
            system.public_key(),
            token(&operator, &system, "account", "s", &limits),
            account.public_key(),
            token(&operator, &account, "account", "a", &stores),
        );
        Self {
            account,
            configuration,
        }
    }
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
    let signature = issuer
        .sign(signed.as_bytes())
        .expect("a new key signs anything");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
