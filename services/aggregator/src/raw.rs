//! Looks at stored messages as the broker describes them in JSON.
//!
//! The client cannot take a message whose subject is not UTF-8 or whose headers
//! are malformed: it drops the connection. Such a message in the stream of
//! states would be delivered again after each reconnect, for ever. Seen through
//! JSON it does no harm, and can be found and removed.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use glance_protocol::{Subject, bucket, subject};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(5);
const NOT_FOUND: u64 = 404;

/// A stored report.
#[derive(Debug, Deserialize)]
pub(crate) struct RawMessage {
    /// What is not UTF-8 in it is replaced.
    pub(crate) subject: String,
    #[serde(rename = "seq")]
    pub(crate) sequence: u64,
    /// In base64.
    #[serde(default, rename = "hdrs")]
    headers: Option<String>,
}

/// The last report that is stored; `None` when there is none.
pub(crate) async fn last(client: &Client) -> anyhow::Result<Option<RawMessage>> {
    get(client, &json!({ "last_by_subj": subject::STATES_FILTER })).await
}

/// The first report at or after a sequence.
pub(crate) async fn next(client: &Client, sequence: u64) -> anyhow::Result<Option<RawMessage>> {
    let request = json!({ "seq": sequence, "next_by_subj": subject::STATES_FILTER });
    get(client, &request).await
}

async fn get(client: &Client, request: &Value) -> anyhow::Result<Option<RawMessage>> {
    let api = format!("$JS.API.STREAM.MSG.GET.{}", bucket::STATES);
    let answer = timeout(TIMEOUT, client.request(api, request.to_string().into()))
        .await
        .context("no answer from the broker")?
        .context("cannot ask for a stored report")?;
    read(&answer.payload)
}

/// Reads the broker's answer.
pub(crate) fn read(answer: &[u8]) -> anyhow::Result<Option<RawMessage>> {
    let mut answer: Value = serde_json::from_slice(answer)?;
    if let Some(error) = answer.get("error") {
        let code = error.get("code").and_then(Value::as_u64);
        anyhow::ensure!(
            code == Some(NOT_FOUND),
            "cannot read a stored report: {error}"
        );
        return Ok(None);
    }
    let message = answer.get_mut("message").map(Value::take);
    let message = message.context("an answer without a message")?;
    Ok(Some(serde_json::from_value(message)?))
}

impl RawMessage {
    /// Why the client could not take the message; `None` when it can.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if Subject::parse(&self.subject).is_err() {
            return Some("the subject is none of a report");
        }
        let headers = self.headers.as_ref()?;
        let is_fine = STANDARD.decode(headers).is_ok_and(|h| well_formed(&h));
        (!is_fine).then_some("the headers of the message are malformed")
    }
}

/// Whether these are headers of NATS: a version, then lines `name: value`.
fn well_formed(headers: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(headers) else {
        return false;
    };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("NATS/1.0"));
    let is_version = version.is_some_and(|status| {
        let code = status.trim().split(' ').next().unwrap_or_default();
        code.is_empty() || (code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()))
    });
    is_version
        && lines.filter(|line| !line.is_empty()).all(|line| {
            let name = line.split_once(':').map(|(name, _)| name);
            name.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_headers_from_noise() {
        for good in [
            "NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nA: b\r\nC:\r\n\r\n",
            "NATS/1.0 503\r\n\r\n",
        ] {
            assert!(well_formed(good.as_bytes()), "{good:?}");
        }
        let bad: [&[u8]; 6] = [
            b"JUNK/1.0\r\n\r\n",
            b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
            b"NATS/1.0\r\n\xff: a\r\n\r\n",
            b"NATS/1.0\r\nabc\r\n\r\n",
            b"NATS/1.0 abc\r\n\r\n",
            b"",
        ];
        for bad in bad {
            assert!(!well_formed(bad), "{bad:?}");
        }
    }
}
