//! Flags of the bridge.

use std::path::PathBuf;

use glance_runner::{CommonOptions, http::HttpOptions};

/// The flags of `glance-bridge`.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "glance-bridge",
    version,
    about = "Takes reports and health checks of bots over HTTP and hands them to NATS"
)]
pub struct Options {
    #[command(flatten)]
    common: CommonOptions,

    #[command(flatten)]
    pub(crate) bridge: BridgeOptions,

    #[command(flatten)]
    pub(crate) http: HttpOptions,

    /// The address to listen on.
    #[arg(
        long,
        env = "GLANCE_BRIDGE_HOST",
        value_name = "HOST",
        default_value = "0.0.0.0"
    )]
    pub(crate) host: String,

    /// The port to listen on.
    #[arg(
        long,
        env = "GLANCE_BRIDGE_PORT",
        value_name = "PORT",
        default_value_t = 3001
    )]
    pub(crate) port: u16,
}

impl AsRef<CommonOptions> for Options {
    fn as_ref(&self) -> &CommonOptions {
        &self.common
    }
}

/// Flags of the bridge that do not depend on where it listens.
#[derive(Debug, Clone, clap::Args)]
pub struct BridgeOptions {
    /// How many requests may wait for the broker; further ones are answered with 503.
    #[arg(
        long = "bridge-waiting-max",
        env = "GLANCE_BRIDGE_WAITING_MAX",
        value_name = "REQUESTS",
        default_value_t = WAITING_MAX,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub waiting_max: u32,

    /// How many messages may be on their way to the broker without its acknowledgement.
    #[arg(
        long = "bridge-in-flight-max",
        env = "GLANCE_BRIDGE_IN_FLIGHT_MAX",
        value_name = "MESSAGES",
        default_value_t = IN_FLIGHT_MAX,
        value_parser = clap::value_parser!(u32).range(1..=4000)
    )]
    pub in_flight_max: u32,

    /// A file of passphrases, one line `<scope> <passphrase>` for each; the scope is `*` or names of clusters, separated by
    /// commas. It is read again on SIGHUP. See also the variable `GLANCE_PASSPHRASE`.
    #[arg(long, env = "GLANCE_PASSPHRASES_FILE", value_name = "FILE")]
    pub passphrases_file: Option<PathBuf>,
}

const WAITING_MAX: u32 = 4096;
/// Far below the 10,000 messages that the server queues for a stream, also with several bridges.
const IN_FLIGHT_MAX: u32 = 512;

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            waiting_max: WAITING_MAX,
            in_flight_max: IN_FLIGHT_MAX,
            passphrases_file: None,
        }
    }
}
