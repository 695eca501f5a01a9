//! Where the broker is, and who this is there.

use std::path::PathBuf;

use glance_protocol::ConfigError;

use crate::Secret;

/// The name of [`BrokerOptions::nats_password`].
pub(super) const PASSWORD: &str = "nats_password";

/// Where the broker is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BrokerOptions {
    /// The broker, or several, separated by commas. Put a password into the variable: flags are visible to every user of the machine.
    #[arg(
        long,
        env = "GLANCE_NATS_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub nats_url: Option<NatsUrl>,

    /// The user to log in as at the broker. The password is GLANCE_NATS_PASSWORD, which is no flag, or in a file.
    #[arg(long, env = "GLANCE_NATS_USER", value_name = "NAME")]
    pub nats_user: Option<String>,

    /// The user's password. Not a flag, as flags are visible to every user of the machine: it is taken from the
    /// variable alone, and refused elsewhere.
    #[arg(env = "GLANCE_NATS_PASSWORD", hide = true, hide_env_values = true)]
    pub nats_password: Option<Secret>,

    /// A file with the user's password. As the other files, it is read again at each connection.
    #[arg(long, env = "GLANCE_NATS_PASSWORD_FILE", value_name = "FILE")]
    pub nats_password_file: Option<PathBuf>,

    /// A file with the seed of an nkey to log in with, instead of a user and a password.
    #[arg(long, env = "GLANCE_NATS_NKEY", value_name = "FILE")]
    pub nats_nkey: Option<PathBuf>,

    /// A credentials file (`.creds`: a JWT and its seed) to log in with, instead of a user and a password.
    #[arg(long, env = "GLANCE_NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,

    /// A file with the certificates (PEM) of who may sign the broker's, instead of the system's. Connections are encrypted.
    #[arg(long, env = "GLANCE_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,

    /// A file with the certificate (PEM) to show the broker.
    #[arg(long, env = "GLANCE_NATS_CERT", value_name = "FILE")]
    pub nats_cert: Option<PathBuf>,

    /// A file with the key (PEM) of that certificate.
    #[arg(long, env = "GLANCE_NATS_KEY", value_name = "FILE")]
    pub nats_key: Option<PathBuf>,

    /// Where questions about streams are asked. Another prefix than the broker's own when the streams belong to
    /// another account: `GLANCE.API` with the accounts of nats.conf.
    #[arg(
        long,
        env = "GLANCE_NATS_API_PREFIX",
        value_name = "SUBJECT",
        default_value_t
    )]
    pub nats_api_prefix: ApiPrefix,
}

/// The prefix of the subjects of JetStream's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPrefix(String);

impl ApiPrefix {
    /// As NATS writes it, without a dot at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ApiPrefix {
    fn default() -> Self {
        Self("$JS.API".to_owned())
    }
}

impl std::fmt::Display for ApiPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ApiPrefix {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let is_token = |token: &str| {
            !token.is_empty()
                && token
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>')
        };
        if text.len() <= 128 && text.split('.').all(is_token) {
            return Ok(Self(text.to_owned()));
        }
        Err(ConfigError::new(
            "GLANCE_NATS_API_PREFIX",
            text,
            "is no prefix of subjects; write one without wildcards, such as 'GLANCE.API'",
        ))
    }
}

/// The addresses of the broker. `Debug` hides passwords.
#[derive(Clone)]
pub struct NatsUrl(pub(crate) Vec<async_nats::ServerAddr>);

impl std::fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{}://{}:{}",
                address.scheme(),
                address.host(),
                address.port()
            )?;
        }
        Ok(())
    }
}

impl std::str::FromStr for NatsUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let addresses: Result<Vec<_>, _> = text
            .split(',')
            .map(|part| part.trim().parse::<async_nats::ServerAddr>())
            .collect();
        // The text is not repeated: it may hold a password.
        match addresses {
            Ok(addresses) if !addresses.iter().any(|a| a.host().is_empty()) => Ok(Self(addresses)),
            _ => Err(ConfigError::new(
                "GLANCE_NATS_URL",
                "",
                "is no address of a broker; write 'nats://host:4222', several separated by commas",
            )),
        }
    }
}
