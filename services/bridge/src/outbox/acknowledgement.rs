//! What the broker says of a report.

use std::borrow::Cow;

use anyhow::bail;
use async_nats::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

#[derive(Deserialize)]
struct Acknowledgement<'a> {
    #[serde(borrow)]
    error: Option<Cause<'a>>,
    seq: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default)]
    description: Cow<'a, str>,
}

/// Checks that an answer says that a report was stored. A status stands in the place of an answer that nobody gave.
///
/// # Errors
///
/// When it was not stored, or that is not sure.
pub(crate) fn check(status: Option<StatusCode>, payload: &[u8]) -> anyhow::Result<()> {
    if let Some(status) = status {
        bail!("no stream takes it (status {status})");
    }
    let read: Acknowledgement<'_> = serde_json::from_slice(payload)?;
    match (read.error, read.seq) {
        (Some(cause), _) => bail!("{}", cause.description),
        (None, Some(_)) => Ok(()),
        (None, None) => bail!("the acknowledgement names no sequence"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: Option<StatusCode>, payload: &str) -> Option<String> {
        check(status, payload.as_bytes())
            .err()
            .map(|cause| cause.to_string())
    }

    #[test]
    fn what_is_stored_has_a_sequence() {
        for payload in [
            r#"{"stream":"GLANCE_STATES","seq":7}"#,
            r#"{"stream":"GLANCE_STATES","domain":"hub","seq":7,"duplicate":true}"#,
        ] {
            assert_eq!(error(None, payload), None, "{payload}");
        }
        assert!(error(None, r#"{"stream":"GLANCE_STATES"}"#).is_some());
    }

    #[test]
    fn a_refusal_is_told() {
        let payload = r#"{"error":{"code":503,"err_code":10077,"description":"maximum \u0062ytes exceeded"},
            "stream":"GLANCE_STATES","seq":0}"#;
        assert_eq!(
            error(None, payload).as_deref(),
            Some("maximum bytes exceeded")
        );
        assert!(error(None, r#"{"error":{"code":503}}"#).is_some());
        assert!(
            error(Some(StatusCode::NO_RESPONDERS), "")
                .unwrap()
                .contains("503")
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_success() {
        for payload in ["", "+OK", "[]", r#"{"seq":7"#] {
            assert!(error(None, payload).is_some(), "{payload}");
        }
    }
}
