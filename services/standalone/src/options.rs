//! Flags of `glance`.

use std::path::PathBuf;

use glance_aggregator::AggregatorOptions;
use glance_bridge::BridgeOptions;
use glance_runner::{CommonOptions, http::HttpOptions};
use glance_web::WebOptions;

/// The flags of `glance`.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "glance",
    version,
    about = "All of Glance in one command: the page, the endpoints for bots, and a broker of its own"
)]
pub struct Options {
    #[command(flatten)]
    pub(crate) common: CommonOptions,

    /// The address to listen on, for the page and for bots.
    #[arg(
        long,
        env = "GLANCE_HOST",
        value_name = "HOST",
        default_value = "0.0.0.0"
    )]
    pub(crate) host: String,

    /// The port to listen on; 0 takes any free one.
    #[arg(long, env = "GLANCE_PORT", value_name = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) aggregator: AggregatorOptions,

    #[command(flatten)]
    pub(crate) bridge: BridgeOptions,

    #[command(flatten)]
    pub(crate) web: WebOptions,

    #[command(flatten)]
    pub(crate) http: HttpOptions,

    #[command(flatten)]
    pub(crate) own_broker: OwnBrokerOptions,
}

/// Flags of the broker that `glance` starts when it is given none.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OwnBrokerOptions {
    /// Where the broker that is started keeps its data.
    #[arg(
        long,
        env = "GLANCE_DATA_DIR",
        value_name = "FOLDER",
        default_value = "./data"
    )]
    pub(crate) data_dir: PathBuf,

    /// The nats-server to start. Otherwise the one on PATH, or in ./.tools
    #[arg(long, env = "GLANCE_NATS_SERVER", value_name = "PROGRAM")]
    pub(crate) nats_server: Option<PathBuf>,
}

impl AsRef<CommonOptions> for Options {
    fn as_ref(&self) -> &CommonOptions {
        &self.common
    }
}
