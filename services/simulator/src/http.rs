//! To Glance over HTTP: one `POST /api/report` for all that a group has to say.

mod report;

use std::{cell::RefCell, collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use glance_protocol::{ClusterName, ConfigError, State};
use glance_runner::{Secret, Shutdown, broker::pause};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout};
use tracing::info;

use report::{Answer, Batch, Refusal};

use crate::{
    delivery::{Courier, Outcome},
    fleet::{Action, Message},
    options::HttpBase,
    outbox::Outbox,
    tally::Tally,
};

/// How long a request may take, with its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: longer than the pause between two health checks.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// After what time a request without an answer is sent again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is obeyed.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether Glance is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the log says that it is not.
const REMIND: Duration = Duration::from_secs(10);

/// Posts reports over connections that are kept.
pub(crate) struct HttpCourier {
    client: Client<HttpConnector, Full<Bytes>>,
    base: HttpBase,
    authorization: Option<HeaderValue>,
    /// Shards that Glance may not know. Their next health check carries their state.
    unconfirmed: RefCell<HashSet<(ClusterName, u32)>>,
}

impl HttpCourier {
    /// # Errors
    ///
    /// When the passphrase cannot be sent in a header.
    pub(crate) fn new(base: HttpBase, passphrase: Option<&Secret>) -> Result<Self, ConfigError> {
        let authorization = passphrase.map(in_header).transpose()?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(Self::IN_FLIGHT_MAX)
            .build_http();
        Ok(Self {
            client,
            base,
            authorization,
            unconfirmed: RefCell::default(),
        })
    }

    /// Waits until somebody answers. `false` when it is time to stop.
    pub(crate) async fn wait_for_glance(&self, shutdown: &Shutdown) -> bool {
        let mut reminded: Option<Instant> = None;
        while let Err(cause) = self.ask().await {
            if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                info!("waiting for Glance at {}: {cause:#}", self.base);
                reminded = Some(Instant::now());
            }
            if !pause(LOOK_INTERVAL, shutdown).await {
                return false;
            }
        }
        info!("Glance answers at {}", self.base);
        true
    }

    async fn ask(&self) -> anyhow::Result<()> {
        let request = Request::get(self.base.join("/readyz")).body(Full::default())?;
        let answer = timeout(REQUEST_TIMEOUT, self.client.request(request))
            .await
            .context("no answer in time")?
            .context("no connection")?;
        // Whatever else it answers, it can be tried.
        let ready = answer.status() != StatusCode::SERVICE_UNAVAILABLE;
        anyhow::ensure!(ready, "it is not ready yet");
        Ok(())
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::post(self.base.join("/api/report"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::from(body))?;
        let exchange = async {
            let response = self.client.request(request).await.context("no answer")?;
            read(response).await
        };
        timeout(REQUEST_TIMEOUT, exchange)
            .await
            .context("no answer in time")?
    }

    /// What an answer means for the shards of a batch.
    fn settle(
        &self,
        cluster: &ClusterName,
        batch: &Batch,
        response: &Response<Bytes>,
        tally: &Tally,
    ) -> Outcome {
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            tally.failed(batch.len(), describe(response));
            return Outcome::Again(retry_after(response));
        }
        let refused = match serde_json::from_slice::<Answer>(response.body()) {
            Ok(answer) => {
                tally.published(answer.accepted);
                if let Some(first) = answer.rejected.first() {
                    tally.failed(answer.rejected.len(), first.error.clone());
                }
                answer.rejected.into_iter().map(|it| it.id).collect()
            }
            Err(_) => {
                tally.failed(batch.len(), describe(response));
                batch.shards().collect::<HashSet<u32>>()
            }
        };
        self.remember(cluster, batch, &refused);
        Outcome::Ended
    }

    fn remember(&self, cluster: &ClusterName, batch: &Batch, refused: &HashSet<u32>) {
        let mut unconfirmed = self.unconfirmed.borrow_mut();
        for id in batch.shards() {
            let key = (cluster.clone(), id);
            if refused.contains(&id) {
                unconfirmed.insert(key);
            } else {
                unconfirmed.remove(&key);
            }
        }
    }
}

fn put(
    message: Message,
    state: Option<State>,
    outbox: &mut Outbox<(ClusterName, Arc<str>), Batch>,
) {
    let mut details = message.details;
    // It is said once for the whole batch.
    let group = details.group.take().unwrap_or_default();
    let batch = Batch::of(message.shard.get(), state, details);
    outbox.put((message.cluster, group), batch);
}

impl Courier for HttpCourier {
    type Key = (ClusterName, Arc<str>);
    type Parcel = Batch;
    const IN_FLIGHT_MAX: usize = 8;

    async fn accept(&self, action: Action, outbox: &mut Outbox<Self::Key, Batch>, _tally: &Tally) {
        match action {
            Action::Report(message) => {
                let state = Some(message.state);
                put(message, state, outbox);
            }
            Action::Health(message) => {
                let key = (message.cluster.clone(), message.shard.get());
                let unconfirmed = self.unconfirmed.borrow().contains(&key);
                let state = unconfirmed.then_some(message.state);
                put(message, state, outbox);
            }
            Action::Identify(_) | Action::Told(..) => {}
        }
    }

    async fn deliver(&self, key: &Self::Key, batch: &Batch, tally: &Tally) -> Outcome {
        let answer = match batch.to_bytes(&key.0, &key.1) {
            Ok(body) => self.post(body).await,
            Err(cause) => Err(cause.into()),
        };
        match answer {
            Ok(response) => self.settle(&key.0, batch, &response, tally),
            Err(cause) => {
                tally.failed(batch.len(), format!("{cause:#}"));
                Outcome::Again(RETRY)
            }
        }
    }
}

fn in_header(passphrase: &Secret) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_bytes(passphrase.expose().as_bytes()).map_err(|_| {
        let problem = "cannot be sent in a header; choose one without control characters";
        ConfigError::new("GLANCE_PASSPHRASE", "", problem)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Response<Bytes>> {
    let (parts, body) = response.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
        Err(cause) => bail!("the answer broke off: {cause}"),
    }
}

/// A status, and the error that came with it.
fn describe(response: &Response<Bytes>) -> String {
    let status = response.status();
    match serde_json::from_slice::<Refusal>(response.body()) {
        Ok(body) if status == StatusCode::UNAUTHORIZED => {
            format!(
                "{status}: {}; set GLANCE_PASSPHRASE to Glance's",
                body.error
            )
        }
        Ok(body) => format!("{status}: {}", body.error),
        Err(_) => format!("{status}"),
    }
}

fn retry_after(response: &Response<Bytes>) -> Duration {
    response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(RETRY, |seconds| {
            Duration::from_secs(seconds).clamp(RETRY, RETRY_MAX)
        })
}

#[cfg(test)]
mod tests {
    use glance_protocol::Details;

    use super::*;
    use crate::outbox::Parcel;

    fn check(shard: u32) -> Batch {
        Batch::of(shard, None, Details::default())
    }

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .header(header::RETRY_AFTER, "3")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap()
    }

    fn courier() -> HttpCourier {
        HttpCourier::new("http://127.0.0.1:1".parse().unwrap(), None).unwrap()
    }

    #[test]
    fn what_glance_does_not_know_is_told_again() {
        let (courier, tally, cluster) = (courier(), Tally::default(), "main".parse().unwrap());
        let mut batch = check(1);
        batch.update(check(2));
        let some = answer(
            200,
            r#"{"accepted":1,"rejected":[{"id":2,"error":"who?"}]}"#,
        );
        assert_eq!(
            courier.settle(&cluster, &batch, &some, &tally),
            Outcome::Ended
        );
        let unknown = |id| {
            courier
                .unconfirmed
                .borrow()
                .contains(&(cluster.clone(), id))
        };
        assert!(!unknown(1) && unknown(2));
        let all = answer(200, r#"{"accepted":2,"rejected":[]}"#);
        courier.settle(&cluster, &batch, &all, &tally);
        assert!(!unknown(2));
        let wrong = answer(401, r#"{"error":"this endpoint requires authorization"}"#);
        assert_eq!(
            courier.settle(&cluster, &batch, &wrong, &tally),
            Outcome::Ended
        );
        assert!(unknown(1) && unknown(2));
    }

    #[test]
    fn an_overloaded_glance_is_obeyed() {
        let (courier, tally, cluster) = (courier(), Tally::default(), "main".parse().unwrap());
        let busy = answer(503, r#"{"error":"the broker is away"}"#);
        let outcome = courier.settle(&cluster, &check(1), &busy, &tally);
        assert_eq!(outcome, Outcome::Again(Duration::from_secs(3)));
    }
}
