//! Tries a login before the client comes back with it.
//!
//! The client gives up for ever, and without an event, when the broker refuses a reconnect, or when the login for it
//! cannot be made. An operator may be in the middle of changing a password, so that must not be the end: before a
//! reconnect the login is tried with a connection of its own. While that one is refused, the client gets no answer, its
//! attempt ends by its timeout, and it makes another one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{Auth, AuthError, ConnectErrorKind, ConnectOptions};
use glance_protocol::ConfigError;
use tokio::sync::watch;
use tracing::warn;

use super::{
    Link, REMIND,
    login::{Login, with_certificates},
};
use crate::{BrokerOptions, options::NatsUrl};

/// How long a trial may take, at each address.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Makes the options of connections that log in, and come back however often they are refused.
#[derive(Debug, Clone)]
pub(crate) struct Trial(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    url: NatsUrl,
    login: Login,
    options: BrokerOptions,
    /// When the log last told of a refusal.
    told: Mutex<Option<Instant>>,
}

impl Trial {
    pub(crate) fn new(name: &str, url: NatsUrl, login: Login, options: &BrokerOptions) -> Self {
        Self(Arc::new(Inner {
            name: format!("{name} (trial of the login)"),
            url,
            login,
            options: options.clone(),
            told: Mutex::default(),
        }))
    }

    /// Options of a connection. `link` is its own: only who was connected before comes back.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub(crate) fn options(
        &self,
        link: watch::Receiver<Link>,
    ) -> Result<ConnectOptions, ConfigError> {
        if matches!(self.0.login, Login::Nobody) {
            // Who logs in as nobody has no login that could be changed while this runs.
            return with_certificates(ConnectOptions::new(), &self.0.options);
        }
        let trial = self.clone();
        let connect = ConnectOptions::with_auth_callback(move |nonce| {
            let (trial, is_reconnect) = (trial.clone(), link.borrow().connects > 0);
            // A task of its own, as the client wants a future that threads can share.
            let answer = tokio::spawn(async move { trial.answer(nonce, is_reconnect).await });
            async move {
                match answer.await {
                    Ok(Ok(auth)) => Ok(auth),
                    Ok(Err(cause)) if !is_reconnect => Err(AuthError::new(cause)),
                    // Until the attempt times out.
                    _ => std::future::pending().await,
                }
            }
        });
        with_certificates(connect, &self.0.options)
    }

    /// What to say to the broker; an error when it would not take it.
    async fn answer(&self, nonce: Vec<u8>, is_reconnect: bool) -> Result<Auth, String> {
        let answer = made(self.0.login.clone(), nonce).await;
        if !is_reconnect {
            return answer;
        }
        let outcome = match answer {
            Ok(auth) => self.attempt().await.map(|()| auth),
            Err(cause) => Err(format!("the login cannot be made: {cause}")),
        };
        outcome.inspect_err(|cause| self.complain(cause))
    }

    /// Logs in with a connection that is closed at once. Only a refusal is an error: whatever else is wrong, the client
    /// finds out and tries again.
    async fn attempt(&self) -> Result<(), String> {
        let login = self.0.login.clone();
        let connect = ConnectOptions::with_auth_callback(move |nonce| {
            let answer = tokio::spawn(made(login.clone(), nonce));
            async move {
                answer
                    .await
                    .map_err(AuthError::new)?
                    .map_err(AuthError::new)
            }
        });
        let connect =
            with_certificates(connect, &self.0.options).map_err(|cause| cause.to_string())?;
        let connect = connect.name(&self.0.name).connection_timeout(TIMEOUT);
        match connect.connect(&self.0.url.0[..]).await {
            Err(cause) if cause.kind() == ConnectErrorKind::AuthorizationViolation => {
                Err("the broker refuses the login".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn complain(&self, cause: &str) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= REMIND) {
            *told = Some(Instant::now());
            warn!("{cause}; trying again, check {}", self.0.login.settings());
        }
    }
}

/// The login's answer to a nonce. Files are read in a thread where that may take its time.
async fn made(login: Login, nonce: Vec<u8>) -> Result<Auth, String> {
    let answer = tokio::task::spawn_blocking(move || login.answer(&nonce)).await;
    answer.unwrap_or_else(|cause| Err(cause.to_string()))
}
