//! Flags of the simulator.

use std::str::FromStr;

use glance_protocol::{Bot, ConfigError, config};
use glance_runner::CommonOptions;
use http::Uri;

use crate::fleet::{Plan, Scenario};

/// Publishes fleets that behave like real Discord bots: for demos, tests and sizing.
///
/// It reports over NATS (--nats-url), or over HTTP (--http) with GLANCE_PASSPHRASE as authorization. It waits
/// for Glance to be there, and runs until SIGINT or SIGTERM, or for --duration.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "glance-simulator", version)]
pub struct Options {
    /// Flags of every service.
    #[command(flatten)]
    pub common: CommonOptions,
    /// What fleet, and how.
    #[command(flatten)]
    pub simulation: SimulationOptions,
}

impl AsRef<CommonOptions> for Options {
    fn as_ref(&self) -> &CommonOptions {
        &self.common
    }
}

/// What fleet, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulationOptions {
    /// The bots and their numbers of shards, as in 'main:1056;canary:16'.
    #[arg(long, env = "GLANCE_BOTS", value_name = "BOTS")]
    pub bots: Bots,

    /// How many shards one process hosts.
    #[arg(long, value_name = "SHARDS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub group_size: u32,

    /// What happens to the fleet. Every scenario but 'steady' repeats itself after a rest.
    #[arg(long, value_name = "SCENARIO", default_value = "mixed")]
    pub scenario: Scenario,

    /// How many seconds pass for the fleet in one second, 0.1 to 100. Health timeouts of Glance stay as they are, so at
    /// 4 a group that is dead for 100 seconds is back before anybody notices.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed_up)]
    pub speed_up: f64,

    /// Chooses one of the possible histories; the same number gives the same one.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// After how many seconds to stop, not counting the wait for Glance; 0 is for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub duration: u64,

    /// Report over HTTP to this address, as in 'http://127.0.0.1:3000', and not over NATS.
    #[arg(long, value_name = "URL")]
    pub http: Option<HttpBase>,
}

impl SimulationOptions {
    /// The fleet that these flags describe.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            bots: self.bots.0.clone(),
            group_size: self.group_size,
            scenario: self.scenario,
            seed: self.seed,
        }
    }
}

/// The bots of `GLANCE_BOTS`.
#[derive(Debug, Clone)]
pub struct Bots(pub Vec<Bot>);

impl FromStr for Bots {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bots = config::parse_bots(text)?;
        match bots.iter().find(|bot| bot.total.is_none()) {
            None => Ok(Self(bots)),
            Some(bot) => Err(ConfigError::new(
                config::BOTS,
                bot.name.as_str(),
                format!(
                    "a simulated bot needs a number of shards; write '{}:360'",
                    bot.name
                ),
            )),
        }
    }
}

/// The address before `/api/report`, without a `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpBase(String);

impl HttpBase {
    /// The address of a path that begins with `/`.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl std::fmt::Display for HttpBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HttpBase {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // The text is not repeated: somebody may have written a password into it.
        let error = |problem| ConfigError::new("--http", "", problem);
        let plain = "write an address such as 'http://127.0.0.1:3000'";
        let uri: Uri = text.parse().map_err(|_| error(plain))?;
        match (uri.scheme_str(), uri.authority(), uri.query()) {
            (Some("http"), Some(authority), None) if !authority.as_str().contains('@') => {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            (Some("https"), ..) => Err(error(
                "speaks plain HTTP only; write the address behind the proxy, such as 'http://127.0.0.1:3000'",
            )),
            _ => Err(error(plain)),
        }
    }
}

fn speed_up(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|factor| (0.1..=100.0).contains(factor))
        .ok_or_else(|| "the factor must be from 0.1 to 100, as in '1.0'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_not_repeated() {
        let base: HttpBase = "http://127.0.0.1:3000/".parse().unwrap();
        assert_eq!(base.join("/api/report"), "http://127.0.0.1:3000/api/report");
        for wrong in [
            "",
            "127.0.0.1:3000",
            "https://status.example",
            "http://me:hunter2@host",
            "nats://host",
            "http://host?a",
        ] {
            let error = wrong.parse::<HttpBase>().unwrap_err().to_string();
            assert!(error.starts_with("--http: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_factor_has_bounds() {
        assert_eq!(speed_up("2.5"), Ok(2.5));
        for wrong in ["0", "-1", "101", "NaN", "inf", "fast"] {
            assert!(speed_up(wrong).is_err(), "{wrong}");
        }
    }
}
