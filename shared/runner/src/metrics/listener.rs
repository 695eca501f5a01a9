//! Where metrics and health are told: an address of its own, which the public never sees.

use std::{fmt, str::FromStr, time::Duration};

use glance_protocol::ConfigError;
use tracing::{info, warn};
use warp::{
    Filter as _,
    http::{HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use super::Metrics;
use crate::{
    CommonOptions, Context, Ready, Shutdown, health,
    http::{self, Limits, Routes, json_error},
};

/// The variable.
pub(crate) const VARIABLE: &str = "GLANCE_METRICS_ADDRESS";
/// As OpenMetrics 1.0 wants it.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `host:port`; an address of IPv6 stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port; 0 takes any free one.
    pub port: u16,
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for MetricsAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            let problem = "is no address to listen on; write 'host:port', such as '127.0.0.1:9464'";
            ConfigError::new(VARIABLE, text, problem)
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let is_clear = inner.is_some() || !host.contains([':', '/', '@', '[', ']']);
        let host = inner.unwrap_or(host);
        if host.is_empty() || !is_clear {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }
}

/// Listens until it is dropped. That is to be the last thing that a service does.
#[derive(Debug)]
#[must_use = "it listens for as long as it is kept"]
pub struct MetricsListener(Shutdown);

impl Drop for MetricsListener {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

impl Context {
    /// Tells metrics and health from now on, if an address was given for that.
    ///
    /// # Errors
    ///
    /// When it is not possible to listen there.
    pub async fn tell_metrics(
        &self,
        options: &CommonOptions,
    ) -> Result<MetricsListener, ConfigError> {
        let stop = Shutdown::new();
        let listener = MetricsListener(stop.clone());
        let Some(address) = &options.metrics_address else {
            return Ok(listener);
        };
        let socket = http::bind(&address.host, address.port, VARIABLE).await?;
        match socket.local_addr() {
            Ok(address) => info!("metrics on http://{address}/metrics"),
            Err(cause) => warn!("the address of the metrics is not known: {cause}"),
        }
        self.metrics.name(self.name);
        // Few ask here, and nobody from far away.
        let limits = Limits {
            header_timeout: Duration::from_secs(20),
            connections_max: 64,
            finish_timeout: Duration::from_millis(500),
            ..Limits::default()
        };
        tokio::spawn(http::serve(socket, routes(self), limits, stop));
        Ok(listener)
    }
}

fn routes(context: &Context) -> Routes {
    let (metrics, shutdown) = (context.metrics.clone(), context.shutdown.clone());
    let ready = move || match shutdown.is_requested() {
        true => Ready::No("stopping"),
        false => metrics.ready(),
    };
    let metrics = context.metrics.clone();
    let nothing = || {
        json_error(
            StatusCode::NOT_FOUND,
            "there is nothing here; ask for /metrics",
        )
    };
    warp::path!("metrics")
        .and(warp::method())
        .then(move |method: Method| answer(method, metrics.clone()))
        .or(health::routes(ready))
        .unify()
        .or(warp::any().map(nothing))
        .unify()
        .boxed()
}

async fn answer(method: Method, metrics: Metrics) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let mut response = json_error(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD work here",
        );
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allow);
        return response;
    }
    // Counting the open files takes long when there are many, and those who are served must not wait for that.
    match tokio::task::spawn_blocking(move || metrics.to_text()).await {
        Ok(Ok(text)) => {
            let mut response = Response::new(text.into());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Ok(Err(_)) | Err(_) => json_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be told",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:9464", "127.0.0.1", 9464),
            ("localhost:0", "localhost", 0),
            ("[::1]:9464", "::1", 9464),
        ] {
            let address: MetricsAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for wrong in [
            "",
            "9464",
            ":9464",
            "127.0.0.1",
            "host:",
            "host:x",
            "host:70000",
            "::1:9464",
            "[]:1",
            "http://h:1",
        ] {
            let error = wrong.parse::<MetricsAddress>().unwrap_err().to_string();
            assert!(error.starts_with(VARIABLE), "{error}");
        }
    }
}
