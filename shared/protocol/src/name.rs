//! Names of clusters.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of one bot user: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
///
/// Such a name is one token of a NATS subject and safe in a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(Arc<str>);

/// Why a text is not a cluster name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a cluster name must not be empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a cluster name has at most {NAME_BYTES_MAX} characters")]
    TooLong,
    /// A character that is not allowed.
    #[error("a cluster name consists of letters A-Z and a-z, digits, '_' and '-', not {0:?}")]
    Character(char),
}

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` can be one of our subject tokens: a cluster or a group in a key.
pub(crate) fn check_token(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
    {
        Some(bad) => Err(NameError::Character(bad)),
        None => Ok(()),
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_token(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ClusterName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0.as_ref().into()
    }
}

impl std::borrow::Borrow<str> for ClusterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_contract_allows() {
        let longest = "x".repeat(64);
        for good in ["main", "patron_1", "A-b", "0", longest.as_str()] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_everything_else() {
        assert_eq!("".parse::<ClusterName>(), Err(NameError::Empty));
        assert_eq!(
            "x".repeat(65).parse::<ClusterName>(),
            Err(NameError::TooLong)
        );
        for bad in ["a.b", "*", ">", "a b", "é", "a\n", "a/b"] {
            let error = bad.parse::<ClusterName>().unwrap_err();
            assert!(matches!(error, NameError::Character(_)), "{bad:?}");
        }
        assert!(serde_json::from_str::<ClusterName>("\"a.b\"").is_err());
    }
}
