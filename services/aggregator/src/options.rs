//! Flags of the aggregator.

use std::str::FromStr;

use glance_protocol::{Bot, ConfigError, Timeouts, config};
use glance_runner::CommonOptions;

/// Flags of the aggregator alone.
#[derive(Debug, Clone, clap::Args)]
pub struct AggregatorOptions {
    /// The clusters and their numbers of shards, in the order of the page: 'main:360;demo:1'. 'main:auto' learns the number.
    #[arg(long, env = "GLANCE_BOTS", value_name = "BOTS")]
    pub bots: Bots,

    /// Seconds of silence after which a shard is Unhealthy: '30', or '30;demo:120' for one cluster's own.
    #[arg(
        long,
        env = "GLANCE_HEALTH_TIMEOUT",
        value_name = "SECONDS",
        default_value = "30"
    )]
    pub health_timeout: HealthTimeout,

    /// Accepted for compatibility, without effect: deadlines are exact.
    #[arg(
        long,
        env = "GLANCE_HEALTH_TIMER_INTERVAL",
        value_name = "SECONDS",
        hide = true
    )]
    pub health_timer_interval: Option<String>,

    /// How many nodes of a NATS cluster keep each stream and bucket that is created.
    #[arg(long, env = "GLANCE_REPLICAS", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,
}

impl AggregatorOptions {
    /// Checks what two options say together.
    ///
    /// # Errors
    ///
    /// When a timeout names a cluster that does not exist.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.health_timeout.0.check_names(&self.bots.0)
    }
}

/// The clusters, as `GLANCE_BOTS` names them.
#[derive(Debug, Clone)]
pub struct Bots(pub Vec<Bot>);

impl FromStr for Bots {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        config::parse_bots(value).map(Self)
    }
}

/// The health timeouts, as `GLANCE_HEALTH_TIMEOUT` names them.
#[derive(Debug, Clone)]
pub struct HealthTimeout(pub Timeouts);

impl FromStr for HealthTimeout {
    type Err = ConfigError;

    fn from_str(value: &str) -> Result<Self, ConfigError> {
        Timeouts::parse(value).map(Self)
    }
}

/// Flags of `glance-aggregator`.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "glance-aggregator",
    version,
    about = "Keeps the table of shards, and judges their health"
)]
pub struct Options {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonOptions,
    /// The aggregator's own.
    #[command(flatten)]
    pub aggregator: AggregatorOptions,
}

impl AsRef<CommonOptions> for Options {
    fn as_ref(&self) -> &CommonOptions {
        &self.common
    }
}
