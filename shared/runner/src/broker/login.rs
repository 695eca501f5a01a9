//! Who a program is at the broker.

use std::path::{Path, PathBuf};

use async_nats::{Auth, AuthError, ConnectOptions};
use glance_protocol::ConfigError;
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;

use crate::{BrokerOptions, Secret, options::NatsUrl};

/// A larger file holds no credentials.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const USER: &str = "GLANCE_NATS_USER";
const PASSWORD: &str = "GLANCE_NATS_PASSWORD";
const PASSWORD_FILE: &str = "GLANCE_NATS_PASSWORD_FILE";
const NKEY: &str = "GLANCE_NATS_NKEY";
const CREDS: &str = "GLANCE_NATS_CREDS";
const CA: &str = "GLANCE_NATS_CA";
const CERT: &str = "GLANCE_NATS_CERT";
const KEY: &str = "GLANCE_NATS_KEY";

/// How a program logs in. What is in files is read again for each connection, so that it can be replaced while the
/// program runs.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    Nobody,
    Password(String, Secret),
    PasswordFile(String, PathBuf),
    Token(Secret),
    Nkey(PathBuf),
    Creds(PathBuf),
}

impl Login {
    /// What the settings say; files are looked at once, so that a mistake is told before the broker is waited for.
    ///
    /// # Errors
    ///
    /// When settings contradict each other, or a file cannot be read or does not hold what it should.
    pub(crate) fn from_options(options: &BrokerOptions) -> Result<Self, ConfigError> {
        let user = options.nats_user.clone();
        let in_url = options.nats_url.as_ref().and_then(login_of);
        let ways = [
            ("a user in GLANCE_NATS_URL", in_url.is_some()),
            (USER, user.is_some()),
            (NKEY, options.nats_nkey.is_some()),
            (CREDS, options.nats_creds.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
        if let [first, second, ..] = given[..] {
            let problem = format!("cannot be used together with {first}; choose one of them");
            return Err(ConfigError::new(second, "", problem));
        }
        let login = match (user, &options.nats_password, &options.nats_password_file) {
            (Some(_), Some(_), Some(_)) => {
                let problem =
                    format!("cannot be used together with {PASSWORD}; choose one of them");
                return Err(ConfigError::new(PASSWORD_FILE, "", problem));
            }
            (Some(user), Some(password), None) => Self::Password(user, password.clone()),
            (Some(user), None, Some(file)) => Self::PasswordFile(user, file.clone()),
            (Some(_), None, None) => {
                let problem = format!("has no password; set {PASSWORD} or {PASSWORD_FILE}");
                return Err(ConfigError::new(USER, "", problem));
            }
            (None, Some(_), _) | (None, _, Some(_)) => {
                return Err(ConfigError::new(
                    PASSWORD,
                    "",
                    format!("belongs to nobody; set {USER}"),
                ));
            }
            (None, None, None) => match (in_url, &options.nats_nkey, &options.nats_creds) {
                (Some(login), ..) => login,
                (_, Some(file), _) => Self::Nkey(file.clone()),
                (_, _, Some(file)) => Self::Creds(file.clone()),
                _ => Self::Nobody,
            },
        };
        login.check()?;
        Ok(login)
    }

    /// The variables that an operator looks at when the broker refuses this.
    pub(crate) fn settings(&self) -> &'static str {
        match self {
            Self::Nobody => {
                "GLANCE_NATS_USER and GLANCE_NATS_PASSWORD, GLANCE_NATS_NKEY or GLANCE_NATS_CREDS, none of which is set"
            }
            Self::Password(..) => {
                "GLANCE_NATS_USER and GLANCE_NATS_PASSWORD, or the user in GLANCE_NATS_URL"
            }
            Self::PasswordFile(..) => "GLANCE_NATS_USER and the file in GLANCE_NATS_PASSWORD_FILE",
            Self::Token(_) => "the token in GLANCE_NATS_URL",
            Self::Nkey(_) => "the file in GLANCE_NATS_NKEY",
            Self::Creds(_) => "the file in GLANCE_NATS_CREDS",
        }
    }

    /// Options of connections that log in. `complain` hears why the login for one cannot be made.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub(crate) fn connect_options(
        &self,
        options: &BrokerOptions,
        complain: impl Fn(&str) + Clone + Send + Sync + 'static,
    ) -> Result<ConnectOptions, ConfigError> {
        if matches!(self, Self::Nobody) {
            return with_certificates(ConnectOptions::new(), options);
        }
        let login = self.clone();
        let connect = ConnectOptions::with_auth_callback(move |nonce| {
            let (login, complain) = (login.clone(), complain.clone());
            // Files are read in a thread where that may take its time.
            let answer = tokio::task::spawn_blocking(move || login.answer(&nonce));
            async move {
                let answer = answer.await.map_err(AuthError::new)?;
                answer
                    .inspect_err(|cause| complain(cause))
                    .map_err(AuthError::new)
            }
        });
        with_certificates(connect, options)
    }

    fn check(&self) -> Result<(), ConfigError> {
        // Any nonce will do to see whether the file can sign one.
        let checked = match self {
            Self::PasswordFile(_, file) => (PASSWORD_FILE, file, self.answer(b"")),
            Self::Nkey(file) => (NKEY, file, self.answer(b"")),
            Self::Creds(file) => (CREDS, file, self.answer(b"")),
            _ => return Ok(()),
        };
        let (variable, file, answer) = checked;
        let shown = file.display().to_string();
        answer
            .map(drop)
            .map_err(|problem| ConfigError::new(variable, &shown, problem))
    }

    /// What is said to a broker that sent `nonce`. The error never holds what is in a file.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::Password(user, password) => {
                auth.username = Some(user.clone());
                auth.password = Some(password.expose().to_owned());
            }
            Self::PasswordFile(user, file) => {
                let password = read(file)?;
                auth.username = Some(user.clone());
                auth.password = Some(password.trim_end_matches(['\r', '\n']).to_owned());
            }
            Self::Token(token) => auth.token = Some(token.expose().to_owned()),
            Self::Nkey(file) => {
                let text = read(file)?;
                let key = key_of(text.trim())?;
                auth.nkey = Some(key.public_key());
                auth.signature = Some(sign(&key, nonce)?);
            }
            Self::Creds(file) => {
                let text = read(file)?;
                let jwt = section(&text, "NATS USER JWT");
                let seed = section(&text, "USER NKEY SEED");
                let (Some(jwt), Some(seed)) = (jwt, seed) else {
                    return Err("holds no credentials; name a file of `nsc generate creds`".into());
                };
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(sign(&key_of(seed)?, nonce)?);
            }
        }
        Ok(auth)
    }
}

/// The certificates of a connection.
///
/// # Errors
///
/// When a file cannot be read, or a certificate comes without its key.
pub(crate) fn with_certificates(
    mut connect: ConnectOptions,
    options: &BrokerOptions,
) -> Result<ConnectOptions, ConfigError> {
    if let Some(roots) = &options.nats_ca {
        check_pem(CA, roots)?;
        connect = connect
            .add_root_certificates(roots.clone())
            .require_tls(true);
    }
    match (&options.nats_cert, &options.nats_key) {
        (Some(certificate), Some(key)) => {
            check_pem(CERT, certificate)?;
            check_pem(KEY, key)?;
            connect = connect.add_client_certificate(certificate.clone(), key.clone());
            Ok(connect.require_tls(true))
        }
        (Some(_), None) => Err(ConfigError::new(CERT, "", format!("has no key; set {KEY}"))),
        (None, Some(_)) => Err(ConfigError::new(
            KEY,
            "",
            format!("has no certificate; set {CERT}"),
        )),
        (None, None) => Ok(connect),
    }
}

fn check_pem(variable: &str, file: &Path) -> Result<(), ConfigError> {
    let problem = match read(file) {
        Ok(text) if text.contains("-----BEGIN ") => return Ok(()),
        Ok(_) => "holds no PEM; name a file with '-----BEGIN ...' lines".to_owned(),
        Err(problem) => problem,
    };
    Err(ConfigError::new(
        variable,
        &file.display().to_string(),
        problem,
    ))
}

/// Who the address says that this is. The client ignores that part of it.
fn login_of(url: &NatsUrl) -> Option<Login> {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut logins = url
        .0
        .iter()
        .filter_map(|a| Some((a.username()?, a.password())));
    Some(match logins.next()? {
        (user, Some(password)) => Login::Password(plain(user), plain(password).into()),
        (token, None) => Login::Token(plain(token).into()),
    })
}

fn read(file: &Path) -> Result<String, String> {
    let cannot = |cause: &dyn std::fmt::Display| {
        format!("cannot be read ({cause}); name a file that this user can read")
    };
    let size = std::fs::metadata(file)
        .map_err(|cause| cannot(&cause))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(&"it is too large"));
    }
    let text = std::fs::read_to_string(file).map_err(|cause| cannot(&cause))?;
    if text.trim().is_empty() {
        return Err("is empty; write the secret into it".into());
    }
    Ok(text)
}

/// The text between the lines `-----BEGIN name-----` and the next line of dashes.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("BEGIN {name}"))?;
    let (_, rest) = rest.split_once('\n')?;
    let (body, _) = rest.split_once("\n---")?;
    Some(body.trim()).filter(|body| !body.is_empty())
}

fn key_of(seed: &str) -> Result<KeyPair, String> {
    KeyPair::from_seed(seed).map_err(|_| {
        "holds no seed of a user; name a file with a line 'SU...' (`nk -gen user`)".into()
    })
}

fn sign(key: &KeyPair, nonce: &[u8]) -> Result<Vec<u8>, String> {
    key.sign(nonce)
        .map_err(|_| "holds a key that cannot sign; name one with a seed".into())
}
