//! What the client tells of its connection, and what the log makes of it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{ClientError, ConnectErrorKind, Event, ServerError};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{Link, REMIND};

/// Dropped messages that follow each other within this time are told once.
const BURST: Duration = Duration::from_millis(500);
/// The broker knows somebody else, or another password.
const REFUSED: ConnectErrorKind = ConnectErrorKind::AuthorizationViolation;

/// What the log told already.
pub(super) struct Told {
    /// Which settings to look at when the broker refuses the login.
    settings: &'static str,
    /// When it last told of a login that failed: it is tried twice a second.
    login: Mutex<Option<Instant>>,
    /// When it last told of dropped messages. A burst of them is one line.
    drops: Mutex<Option<Instant>>,
    /// When it last told of a complaint of the broker, and of which.
    complaint: Mutex<Option<(Instant, String)>>,
    /// Whether it told that nothing may be said on `$SRV`.
    micro: AtomicBool,
}

impl Told {
    pub(super) fn new(settings: &'static str) -> Self {
        Self {
            settings,
            login: Mutex::default(),
            drops: Mutex::default(),
            complaint: Mutex::default(),
            micro: AtomicBool::new(false),
        }
    }

    /// Tells that a login failed, now and then.
    pub(super) fn login(&self, what: &str) {
        let mut last = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= REMIND) {
            *last = Some(Instant::now());
            warn!("{what}; trying again, check {}", self.settings);
        }
    }

    /// Whether these dropped messages begin a burst.
    fn is_new_drop(&self) -> bool {
        let mut last = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(Instant::now());
        before.is_none_or(|at| at.elapsed() > BURST)
    }

    /// Whether the broker complains about something else than just before. What is not permitted is tried again and
    /// again.
    fn is_new_complaint(&self, complaint: &str) -> bool {
        let mut last = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(&*last, Some((at, text)) if text == complaint && at.elapsed() < REMIND) {
            return false;
        }
        *last = Some((Instant::now(), complaint.to_owned()));
        true
    }
}

/// Whether it is a permission that only `micro` would need.
fn is_of_micro(cause: &ServerError) -> bool {
    let text = cause.to_string().to_ascii_lowercase();
    text.contains("permissions violation")
        && (text.contains("\"$srv.") || text.contains("\"glance.status."))
}

/// Keeps the link up to date, and the log short.
pub(super) fn note(sender: &watch::Sender<Link>, told: &Told, event: &Event) {
    match event {
        Event::Connected => {
            if sender.borrow().connects > 0 {
                info!("connected to the broker again");
            }
            sender.send_modify(|link| {
                link.connected = true;
                link.connects += 1;
            });
        }
        Event::Disconnected => {
            warn!("the connection to the broker is lost");
            sender.send_modify(|link| link.connected = false);
        }
        Event::SlowConsumer(_) => {
            if told.is_new_drop() {
                warn!("messages were dropped: a subscription was not read fast enough");
            }
            sender.send_modify(|link| link.dropped += 1);
        }
        Event::Closed => sender.send_modify(|link| {
            link.connected = false;
            link.closed = true;
        }),
        Event::ServerError(cause) if is_of_micro(cause) => {
            if !told.micro.swap(true, Ordering::Relaxed) {
                warn!("this service is not announced on $SRV, which changes nothing else: {cause}");
            }
        }
        Event::ServerError(cause) => {
            let complaint = cause.to_string();
            if told.is_new_complaint(&complaint) {
                warn!("the broker reports: {complaint}");
            }
        }
        Event::ClientError(ClientError::Other(cause)) if *cause == REFUSED.to_string() => {
            told.login("the broker refuses the login");
        }
        // Twice a second while the broker is away, which `remind` tells.
        Event::ClientError(cause) if !sender.borrow().connected => debug!("{cause}"),
        Event::ClientError(cause) => {
            let complaint = cause.to_string();
            if told.is_new_complaint(&complaint) {
                warn!("the broker's client reports: {complaint}");
            }
        }
        Event::LameDuckMode | Event::Draining => info!("the broker's connection: {event}"),
    }
}
