//! What operators tell the viewers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest text of a notice, in bytes.
pub const TEXT_BYTES_MAX: usize = 1000;

/// How loud a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Something does not work as usual.
    Warning,
    /// Something is down.
    Critical,
}

/// An announcement, or the maintenance of a cluster or a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Plain text for people; at most [`TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// How loud it is.
    #[serde(default)]
    pub severity: Severity,
    /// When it ends, in Unix seconds; without it, when it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
}

/// Why a notice was refused.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// Not the JSON of a notice.
    #[error(
        "a notice is a JSON object such as {{\"text\":\"...\",\"severity\":\"info|warning|critical\",\"until\":1795358092}}: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// An empty or a very long text.
    #[error("the text of a notice has 1 to {TEXT_BYTES_MAX} bytes")]
    Text,
    /// An end that is no time.
    #[error("'until' is a time in Unix seconds")]
    Until,
}

impl Notice {
    /// Reads a notice.
    ///
    /// # Errors
    ///
    /// When it is none, or its text is empty or too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoticeError> {
        // By way of a map, since serde would take a list of the values as well.
        let map: Map<String, Value> = serde_json::from_slice(bytes)?;
        let notice: Self = serde_json::from_value(Value::Object(map))?;
        if notice.text.trim().is_empty() || notice.text.len() > TEXT_BYTES_MAX {
            return Err(NoticeError::Text);
        }
        if notice
            .until
            .is_some_and(|until| !(0.0..1e11).contains(&until))
        {
            return Err(NoticeError::Until);
        }
        Ok(notice)
    }

    /// The value of the notice's key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it has ended at `now_ms` Unix milliseconds.
    #[must_use]
    pub fn expired(&self, now_ms: i64) -> bool {
        self.until
            .is_some_and(|until| until <= crate::seconds(now_ms))
    }
}
