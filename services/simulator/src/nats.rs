//! To Glance over NATS.

use std::time::Duration;

use async_nats::{
    connection::State as Connection,
    jetstream::{
        self,
        context::{GetStreamError, RequestError, RequestErrorKind},
    },
};
use bytes::Bytes;
use glance_protocol::{Bot, ClusterList, ClusterName, ShardId, Subject, bucket};
use glance_runner::{Broker, Shutdown, broker::pause};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::{
    delivery::{Courier, Outcome},
    fleet::{Action, Message},
    outbox::{Outbox, Parcel},
    tally::Tally,
};

/// How long an acknowledgement may take.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a health check may take to be queued. It takes no time unless the connection is stuck.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
/// After what time a report is sent again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether the aggregator has been there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the log says that it has not.
const REMIND: Duration = Duration::from_secs(10);

/// Publishes reports with acknowledgement, and health checks without.
pub(crate) struct NatsCourier {
    broker: Broker,
}

/// A report's body. A newer one of the same shard makes it pointless.
impl Parcel for Bytes {
    fn update(&mut self, newer: Self) {
        *self = newer;
    }
}

impl NatsCourier {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    /// Sends a health check. It is not sent later: by then, it would not be true any more.
    async fn check(&self, message: Message, tally: &Tally) {
        let client = &self.broker.client;
        if client.connection_state() != Connection::Connected {
            tally.failed(1, "the broker is away");
            return;
        }
        let subject = Subject::Health(message.cluster.clone(), message.shard);
        let body = message.body().to_health_bytes();
        let publish = client.publish(subject.to_string(), body.into());
        match timeout(QUEUE_TIMEOUT, publish).await {
            Ok(Ok(())) => tally.published(1),
            Ok(Err(cause)) => tally.failed(1, cause.to_string()),
            Err(_) => tally.failed(1, "the connection to the broker is stuck"),
        }
    }
}

impl Courier for NatsCourier {
    type Key = (ClusterName, ShardId);
    type Parcel = Bytes;
    const IN_FLIGHT_MAX: usize = 64;

    async fn accept(&self, action: Action, outbox: &mut Outbox<Self::Key, Bytes>, tally: &Tally) {
        match action {
            Action::Report(message) => {
                let key = (message.cluster.clone(), message.shard);
                outbox.put(key, message.body().to_bytes().into());
            }
            Action::Health(message) => self.check(message, tally).await,
            Action::Identify(_) | Action::Told(..) => {}
        }
    }

    async fn deliver(&self, key: &Self::Key, body: &Bytes, tally: &Tally) -> Outcome {
        let subject = Subject::State(key.0.clone(), key.1).to_string();
        let acknowledged = async {
            let jetstream = &self.broker.jetstream;
            jetstream.publish(subject, body.clone()).await?.await
        };
        match timeout(ACK_TIMEOUT, acknowledged).await {
            Ok(Ok(_)) => {
                tally.published(1);
                return Outcome::Ended;
            }
            Ok(Err(cause)) => tally.failed(1, cause.to_string()),
            Err(_) => tally.failed(1, "the broker did not acknowledge a report in time"),
        }
        Outcome::Again(RETRY)
    }
}

/// Waits until an aggregator has made the stream of reports: before that, no report can be kept. Says what does not
/// fit. `false` when it is time to stop.
pub(crate) async fn wait_for_glance(broker: &Broker, bots: &[Bot], shutdown: &Shutdown) -> bool {
    let mut reminded: Option<Instant> = None;
    while let Err(cause) = broker.jetstream.get_stream(bucket::STATES).await {
        if is_unanswered(&cause) && broker.link().borrow().connected {
            info!(
                "this user may not ask whether Glance is there, as bots may not; reporting all the same"
            );
            return true;
        }
        if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            info!(
                "waiting for an aggregator to make the stream {}: {cause}",
                bucket::STATES
            );
            reminded = Some(Instant::now());
        }
        if !pause(LOOK_INTERVAL, shutdown).await {
            return false;
        }
    }
    if let Some(clusters) = clusters(&broker.jetstream).await {
        for bot in bots {
            warn_if_unknown(bot, &clusters);
        }
    }
    true
}

/// Whether nobody answered, which is all that a user without the right to ask learns.
fn is_unanswered(cause: &GetStreamError) -> bool {
    let source = std::error::Error::source(cause);
    let request = source.and_then(|source| source.downcast_ref::<RequestError>());
    request.is_some_and(|request| request.kind() == RequestErrorKind::TimedOut)
}

/// The clusters that the aggregator knows, if it has said so yet.
async fn clusters(jetstream: &jetstream::Context) -> Option<ClusterList> {
    let table = jetstream.get_key_value(bucket::TABLE).await.ok()?;
    let value = table.get(bucket::CLUSTERS_KEY).await.ok()??;
    ClusterList::from_bytes(&value).ok()
}

fn warn_if_unknown(bot: &Bot, clusters: &ClusterList) {
    let Bot { name, total } = bot;
    let total = total.unwrap_or(0);
    match clusters.clusters.iter().find(|it| it.name == *name) {
        None => warn!("Glance has no cluster '{name}' and will refuse its reports"),
        Some(known) if !known.auto && known.total < total => warn!(
            "Glance has {} shards of '{name}', and will refuse the reports of the others of these {total}",
            known.total
        ),
        Some(_) => {}
    }
}
