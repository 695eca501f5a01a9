//! Answers on `$SRV`, the discovery protocol of NATS services, so that `nats micro ls` shows the deployment.
//!
//! Each instance answers `PING`, `INFO` and `STATS` for itself. The one endpoint, `glance.status.<part>`, is there for
//! what only an endpoint can carry: its statistics hold what the service says of itself, and a request on it is
//! answered with the same by one instance.

use std::collections::HashMap;

use async_nats::{
    Error,
    service::{Service, ServiceExt as _, endpoint::Endpoint},
};
use futures::StreamExt as _;
use serde_json::Value;
use tracing::{debug, warn};

use crate::{Broker, Shutdown};

/// Who is announced.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The part of Glance, such as `web`: the service is called `glance-web`, and its endpoint `glance.status.web`.
    pub part: &'static str,
    /// One line for people.
    pub description: &'static str,
}

/// Announces a service until the shutdown. `status` says in JSON how it is now; it must be quick.
///
/// Nothing waits for this, and nothing ends when it does not work.
pub fn announce(
    broker: &Broker,
    identity: Identity,
    shutdown: &Shutdown,
    status: impl Fn() -> Value + Clone + Send + Sync + 'static,
) {
    let (broker, shutdown) = (broker.clone(), shutdown.clone());
    tokio::spawn(async move {
        let (service, endpoint) = match start(&broker, identity, status.clone()).await {
            Ok(started) => started,
            Err(cause) => {
                return warn!("this service is not announced on $SRV: {cause}");
            }
        };
        tokio::select! {
            () = answer(endpoint, status) => shutdown.requested().await,
            () = shutdown.requested() => {}
        }
        // It says nothing to the broker: the subscriptions end with their receivers.
        if let Err(cause) = service.stop().await {
            debug!("{cause}");
        }
    });
}

async fn start(
    broker: &Broker,
    identity: Identity,
    status: impl Fn() -> Value + Send + Sync + 'static,
) -> Result<(Service, Endpoint), Error> {
    let part = identity.part;
    let metadata = HashMap::from([("part".to_owned(), part.to_owned())]);
    let builder = broker.client.service_builder();
    let service = builder
        .description(identity.description)
        .metadata(metadata)
        .stats_handler(move |_, _| status())
        .start(format!("glance-{part}"), env!("CARGO_PKG_VERSION"))
        .await?;
    let subject = format!("glance.status.{part}");
    let endpoint = service
        .endpoint_builder()
        .name("status")
        .add(subject)
        .await?;
    Ok((service, endpoint))
}

async fn answer(mut endpoint: Endpoint, status: impl Fn() -> Value) {
    while let Some(request) = endpoint.next().await {
        if let Err(cause) = request.respond(Ok(status().to_string().into())).await {
            debug!("a question for the status is not answered: {cause}");
        }
    }
}
