//! The connection to the broker.

mod events;
mod login;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions,
    jetstream::{
        self,
        message::StreamMessage,
        stream::{LastRawMessageError, LastRawMessageErrorKind, Stream},
    },
};
use glance_protocol::ConfigError;
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use self::{
    events::{Told, note},
    login::{Login, with_certificates},
};
use crate::{BrokerOptions, Shutdown, options::NatsUrl};

/// The oldest nats-server that has what Glance needs.
const VERSION_MIN: (i64, i64, i64) = (2, 10, 8);
const URL_DEFAULT: &str = "nats://127.0.0.1:4222";

/// A half-open connection is noticed after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait between two attempts to connect.
const RETRY_MS: std::ops::RangeInclusive<u64> = 50..=500;
/// How often the log says that the broker is still away.
const REMIND: Duration = Duration::from_secs(10);
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to the broker that reconnects by itself.
#[derive(Clone)]
pub struct Broker {
    /// For plain messages.
    pub client: Client,
    /// For streams and buckets.
    pub jetstream: jetstream::Context,
    link: watch::Receiver<Link>,
}

/// The shutdown came before the broker was there. A program that ends with this has not failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("told to stop before the broker was there")]
pub struct Stopped;

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether it stands.
    pub connected: bool,
    /// How often it was made. A change means that messages may have been missed.
    pub connects: u64,
    /// How often a subscription dropped messages because it was not read fast enough. Some drops may go uncounted.
    pub dropped: u64,
    /// Whether it was closed for good.
    pub closed: bool,
}

impl Broker {
    /// Connects, and waits for the broker as long as it takes.
    ///
    /// # Errors
    ///
    /// When the settings of the login contradict each other or a file of theirs cannot be used, and when the broker is
    /// too old. When the shutdown comes first, it is [`Stopped`].
    pub async fn connect(
        name: &str,
        options: &BrokerOptions,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let url = match &options.nats_url {
            Some(url) => url.clone(),
            None => URL_DEFAULT.parse()?,
        };
        let login = Login::from_options(options)?;
        // Looked at before the wait, so that a mistake is told at once.
        with_certificates(ConnectOptions::new(), options)?;
        let (client, link) = tokio::select! {
            connected = connect_at_last(name, &url, &login, options) => connected?,
            () = shutdown.requested() => return Err(Stopped.into()),
        };
        let info = client.server_info();
        if version_of(&info.version).is_none_or(|version| version < VERSION_MIN) {
            let (major, minor, patch) = VERSION_MIN;
            bail!(
                "the broker at {url} is nats-server {}, and Glance needs {major}.{minor}.{patch} or newer with JetStream; upgrade it",
                info.version
            );
        }
        if !info.jetstream {
            warn!(
                "JetStream is switched off at {url}, and nothing works without it; start nats-server with '-js' or 'jetstream {{}}' in its configuration"
            );
        }
        info!(version = info.version, "connected to the broker at {url}");
        tokio::spawn(remind(link.clone(), url, login));
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(JETSTREAM_TIMEOUT)
            .api_prefix(options.nats_api_prefix.as_str())
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            link,
        })
    }

    /// How the connection is, now and later.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Hands over what is queued, and closes the connection. Bounded in time.
    ///
    /// Whoever publishes must have stopped before.
    pub async fn close(self) {
        let mut link = self.link;
        if !link.borrow().connected || self.client.drain().await.is_err() {
            return;
        }
        let closed = link.wait_for(|link| link.closed || !link.connected);
        if timeout(DRAIN_TIMEOUT, closed).await.is_err() {
            warn!("the broker did not confirm the end of the connection in time");
        }
    }
}

async fn connect_at_last(
    name: &str,
    url: &NatsUrl,
    login: &Login,
    options: &BrokerOptions,
) -> Result<(Client, watch::Receiver<Link>), ConfigError> {
    let mut reminded: Option<tokio::time::Instant> = None;
    loop {
        let (sender, mut link) = watch::channel(Link::default());
        let connect = connect_options(login, options, name, sender)?;
        let cause = match connect.connect(&url.0[..]).await {
            Ok(client) => {
                // The event comes right after; without it, every reader would see a second connect.
                let connected = link.wait_for(|link| link.connects > 0);
                if timeout(CONNECT_TIMEOUT, connected).await.is_err() {
                    warn!("the broker's client does not tell its events");
                }
                return Ok((client, link));
            }
            Err(cause) => cause,
        };
        if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            warn!(
                "waiting for the broker at {url}: {}",
                explain(&cause, login)
            );
            reminded = Some(tokio::time::Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(*RETRY_MS.end())).await;
    }
}

/// Says every now and then that the connection is still away, and what may be wrong.
async fn remind(mut link: watch::Receiver<Link>, url: NatsUrl, login: Login) {
    while link.wait_for(|link| !link.connected).await.is_ok() {
        let back = link.wait_for(|link| link.connected || link.closed);
        match timeout(REMIND, back).await {
            Ok(Ok(link)) if link.connected => {}
            Ok(_) => return,
            Err(_) => warn!(
                "no connection to the broker at {url} yet; if it runs, check {}",
                login.settings()
            ),
        }
    }
}

/// Why there is no connection. Who is refused is told which settings to look at.
fn explain(cause: &ConnectError, login: &Login) -> String {
    match cause.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            format!("it refuses the login; check {}", login.settings())
        }
        ConnectErrorKind::Authentication => {
            format!(
                "the login cannot be made ({cause}); check {}",
                login.settings()
            )
        }
        _ => cause.to_string(),
    }
}

fn connect_options(
    login: &Login,
    options: &BrokerOptions,
    name: &str,
    sender: watch::Sender<Link>,
) -> Result<ConnectOptions, ConfigError> {
    let told = Arc::new(Told::new(login.settings()));
    let (complaints, link) = (told.clone(), sender.subscribe());
    let connect = login.connect_options(options, move |cause| {
        // Before the first connection, whoever waits for it says so.
        if link.borrow().connects > 0 {
            complaints.login(&format!("the login cannot be made ({cause})"));
        }
    })?;
    let connect = connect
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
            let ms = attempts.saturating_mul(*RETRY_MS.start());
            Duration::from_millis(ms.clamp(*RETRY_MS.start(), *RETRY_MS.end()))
        })
        .event_callback(move |event| {
            note(&sender, &told, &event);
            std::future::ready(())
        });
    Ok(connect)
}

/// The numbers of a version such as `2.10.8` or `2.11.0-RC.1`.
pub(crate) fn version_of(text: &str) -> Option<(i64, i64, i64)> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|part| part.parse::<i64>().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// Waits between two attempts of something that needs the broker; `false` when it is time to stop.
pub async fn pause(duration: Duration, shutdown: &Shutdown) -> bool {
    tokio::select! {
        () = tokio::time::sleep(duration) => true,
        () = shutdown.requested() => false,
    }
}

/// The last message of a subject, from the leader of its stream: any replica
/// may be asked by the quicker way, and one that lags knows an earlier message.
///
/// # Errors
///
/// When the stream cannot be asked. No message is no error.
pub async fn last_of<I>(
    stream: &Stream<I>,
    subject: &str,
) -> Result<Option<StreamMessage>, LastRawMessageError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(cause) if cause.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The revision of a value that a bucket republished: the sequence in its stream.
///
/// # Errors
///
/// When the message carries no such header, and so was not republished by a bucket.
pub fn republished_revision(message: &async_nats::Message) -> anyhow::Result<u64> {
    message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Sequence"))
        .and_then(|value| value.as_str().parse().ok())
        .context("no sequence in the headers of a republished message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        assert!(version_of("2.9.10").unwrap() < VERSION_MIN);
        assert!(version_of("2.10.7").unwrap() < VERSION_MIN);
        assert!(version_of("2.10.8").unwrap() >= VERSION_MIN);
        assert!(version_of("2.11.0-RC.1").unwrap() >= VERSION_MIN);
        assert_eq!(version_of("next"), None);
    }
}
