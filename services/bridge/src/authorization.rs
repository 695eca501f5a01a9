//! The passphrase that guards the endpoints.

use glance_runner::{ConfigError, Environment};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tracing::warn;

const VARIABLE: &str = "GLANCE_PASSPHRASE";
const SCHEME: &[u8] = b"Bearer ";

/// Whether a request may do something. `Debug` is absent on purpose.
pub(crate) struct Authorization {
    /// The hash of the passphrase; without one, everybody may.
    ///
    /// Hashes have one length, so comparing them tells nothing about the passphrase's.
    passphrase: Option<[u8; 32]>,
}

impl Authorization {
    /// Reads the passphrase. An empty one is none.
    ///
    /// # Errors
    ///
    /// When no HTTP client could ever send it.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let Some(secret) = environment.secret(VARIABLE) else {
            return Ok(Self { passphrase: None });
        };
        if secret.expose().chars().any(char::is_control) {
            let problem = "it has a control character, which no HTTP header can carry; remove it";
            return Err(ConfigError::new(VARIABLE, "", problem));
        }
        // HTTP strips blanks around a header's value, so they cannot count.
        let passphrase = secret.expose().trim_matches(' ');
        if passphrase.is_empty() {
            let problem = "it consists of blanks, which no HTTP header can carry; choose another or leave it empty";
            return Err(ConfigError::new(VARIABLE, "", problem));
        }
        Ok(Self {
            passphrase: Some(hash(passphrase.as_bytes())),
        })
    }

    /// Says in the log when everybody may do everything.
    pub(crate) fn warn_if_open(&self) {
        if self.passphrase.is_none() {
            warn!("{VARIABLE} is not set: anybody who reaches the POST endpoints may report");
        }
    }

    /// Whether the value of an `Authorization` header opens the endpoints:
    /// the passphrase itself, or `Bearer <passphrase>`. Takes the same time for every wrong value of a length.
    pub(crate) fn allows(&self, header: Option<&[u8]>) -> bool {
        let Some(passphrase) = &self.passphrase else {
            return true;
        };
        let Some(value) = header else {
            return false;
        };
        let raw = hash(value).ct_eq(passphrase);
        let bearer = match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                hash(token.trim_ascii_start()).ct_eq(passphrase)
            }
            _ => Choice::from(0),
        };
        (raw | bearer).into()
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(passphrase: &str) -> Result<Authorization, ConfigError> {
        Authorization::from_environment(&Environment::from_pairs([(VARIABLE, passphrase)]))
    }

    #[test]
    fn an_empty_passphrase_is_none() {
        for open in [
            authorization("").unwrap(),
            Authorization::from_environment(&Environment::default()).unwrap(),
        ] {
            assert!(open.allows(None));
            assert!(open.allows(Some(b"anything")));
        }
    }

    #[test]
    fn takes_the_passphrase_raw_or_as_a_bearer_token() {
        let guard = authorization("h\u{fc}nter 2").unwrap();
        for good in [
            "h\u{fc}nter 2",
            "Bearer h\u{fc}nter 2",
            "bearer  h\u{fc}nter 2",
        ] {
            assert!(guard.allows(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "",
            "Bearer ",
            "h\u{fc}nter",
            "h\u{fc}nter 2 ",
            "Basic h\u{fc}nter 2",
        ] {
            assert!(!guard.allows(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!guard.allows(None));
        // Latin-1, which is not what was set.
        assert!(!guard.allows(Some(b"h\xfcnter 2")));
    }

    #[test]
    fn a_passphrase_may_look_like_a_bearer_token() {
        let guard = authorization("Bearer x").unwrap();
        assert!(guard.allows(Some(b"Bearer x")));
        assert!(guard.allows(Some(b"Bearer Bearer x")));
        assert!(!guard.allows(Some(b"x")));
    }

    #[test]
    fn blanks_around_it_do_not_count_as_http_strips_them() {
        assert!(authorization(" x ").unwrap().allows(Some(b"x")));
    }

    #[test]
    fn refuses_what_no_header_can_carry_without_repeating_it() {
        for bad in ["  ", "a\nhunter2", "hunter2\0"] {
            let error = authorization(bad).err().unwrap().to_string();
            assert!(
                error.starts_with(VARIABLE) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
