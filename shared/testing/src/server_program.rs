//! Which nats-server the tests run.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::workspace_root;

/// The version of a nats-server. Ordered as versions are; what follows the third number is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl ServerVersion {
    /// The oldest that Glance works with.
    pub const MINIMUM: Self = Self {
        major: 2,
        minor: 10,
        patch: 8,
    };
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ServerVersion {
    type Err = String;

    /// Reads `2.10.25`, `v2.10.25` and `v2.12.0-RC.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text
            .trim()
            .trim_start_matches('v')
            .split(['.', '-', '+'])
            .map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        match (next(), next(), next()) {
            (Some(major), Some(minor), Some(patch)) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(format!("'{text}' is no version of nats-server")),
        }
    }
}

/// The nats-server that the tests of this process run: `GLANCE_TEST_NATS_SERVER` if that is set, otherwise the one on
/// PATH if it is new enough, otherwise the newest in the workspace's `.tools/`.
///
/// # Panics
///
/// When there is none, with a sentence that says how to get one.
#[must_use]
pub fn nats_server_program() -> &'static Path {
    static PROGRAM: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| asked_for().or_else(on_path).or_else(in_tools));
    PROGRAM.as_deref().unwrap_or_else(|| {
        panic!(
            "the tests need nats-server {} or newer: `scripts/nats-server.sh` fetches it, `make test` does so itself",
            ServerVersion::MINIMUM
        )
    })
}

/// Whoever sets the variable means it: no version is refused, so that a test can also see an old server refused.
fn asked_for() -> Option<PathBuf> {
    let program =
        PathBuf::from(env::var_os("GLANCE_TEST_NATS_SERVER").filter(|it| !it.is_empty())?);
    assert!(
        version_of(&program).is_some(),
        "GLANCE_TEST_NATS_SERVER is {}, which is no nats-server that runs here",
        program.display()
    );
    Some(program)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("nats-server"))
        .find(|program| version_of(program) >= Some(ServerVersion::MINIMUM))
}

fn in_tools() -> Option<PathBuf> {
    std::fs::read_dir(workspace_root().join(".tools"))
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("nats-server"))
        .filter_map(|program| Some((version_of(&program)?, program)))
        .filter(|(version, _)| *version >= ServerVersion::MINIMUM)
        .max()
        .map(|(_, program)| program)
}

/// What the program says of itself: `nats-server: v2.10.25`.
fn version_of(program: &Path) -> Option<ServerVersion> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("nats-server: ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ServerVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(version("2.9.10") < ServerVersion::MINIMUM);
        assert!(version("2.10.7") < ServerVersion::MINIMUM);
        assert!(version("v2.10.8\n") >= ServerVersion::MINIMUM);
        assert!(version("v2.12.0-RC.1") > version("2.11.9"));
        assert_eq!(version("2.15.1").to_string(), "2.15.1");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "v", "2", "2.10", "2.x.1", "-2.10.8", "99999999999.1.1"] {
            assert!(text.parse::<ServerVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_program_is_new_enough() {
        assert!(version_of(nats_server_program()).is_some());
    }
}
