//! Flags of a service that listens for HTTP.

use super::{ClientLimit, Counts, Limits, TrustedProxies};

/// Flags of a service that listens for HTTP.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpOptions {
    /// The most connections at the same time. Viewers are not among them: they have a limit of their own.
    #[arg(long, env = "GLANCE_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = CONNECTIONS_MAX, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,

    /// The most connections of one address, viewers too; 0 for any number. Unless set: 5000, for addresses of the internet alone.
    #[arg(long, env = "GLANCE_CLIENT_CONNECTIONS_MAX", value_name = "COUNT")]
    pub client_connections_max: Option<u32>,

    /// The proxies whose X-Forwarded-For is believed: addresses and networks such as 10.0.0.0/8, separated by commas.
    #[arg(long, env = "GLANCE_TRUSTED_PROXIES", value_name = "ADDRESSES")]
    pub trusted_proxies: Option<TrustedProxies>,
}

const CONNECTIONS_MAX: u32 = 20_000;

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            client_connections_max: None,
            trusted_proxies: None,
        }
    }
}

impl HttpOptions {
    /// The limits of the listener, with counters of their own.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max as usize,
            clients: ClientLimit::of_setting(self.client_connections_max),
            trusted_proxies: self.trusted_proxies.clone().unwrap_or_default(),
            counts: Counts::default(),
            ..Limits::default()
        }
    }
}
