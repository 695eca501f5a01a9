//! Every way in which a request is refused.

use glance_protocol::{ClusterName, ShardId};
use glance_runner::http::json_error;
use warp::{
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use crate::path::Number;

/// Why a request was refused. The text is the `error` of the answer; clients in the field read some of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this endpoint takes {}", .0.join(" and "))]
    Method(&'static [&'static str]),
    #[error("this endpoint requires authorization")]
    Unauthorized,
    #[error("cluster '{0}' does not exist")]
    NoSuchCluster(String),
    #[error("shard '{shard}' falls outside the range of valid shards on cluster '{cluster}'")]
    NoSuchShard { cluster: ClusterName, shard: String },
    #[error("size not yet known: send a report with 'total' to /api/report, or over NATS")]
    SizeUnknown,
    #[error("state '{0}' falls outside the range of valid states, 0 to 6")]
    NoSuchState(Number),
    #[error("group '{0}' has a name that no key can have: 1 to 64 characters of A-Z a-z 0-9 _ -")]
    NoSuchGroup(String),
    #[error("shard '{0}' is not known to the system yet, please populate your status")]
    NeverReported(ShardId),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a request cannot be served now. It may succeed when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("the list of clusters is not known yet, please try again")]
    NoClusters,
    #[error("the broker cannot be reached, please try again")]
    Disconnected,
    #[error("the broker did not answer in time, please try again")]
    TimedOut,
    #[error("the broker did not take it, please try again")]
    Refused,
    #[error("too many requests are waiting for the broker, please try again")]
    Busy,
    #[error("too many reports arrive at the same time, please try again")]
    NoRoom,
    #[error("whether shard '{0}' has reported before cannot be told now, please try again")]
    Undecided(ShardId),
}

/// In seconds. Bots report every few seconds anyway.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchCluster(_)
            | Self::NoSuchShard { .. }
            | Self::SizeUnknown
            | Self::NoSuchState(_)
            | Self::NoSuchGroup(_)
            | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NeverReported(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer to the request.
    pub(crate) fn into_response(self) -> Response {
        let mut response = json_error(self.status(), &self.to_string());
        let headers = response.headers_mut();
        match self {
            Self::Method(methods) => {
                if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                    headers.insert(header::ALLOW, allow);
                }
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
