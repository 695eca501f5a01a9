//! What this service counts, and by which names it tells it.
//!
//! What is known anyway, such as the viewers of a dialect, is looked up when somebody asks. The rest are atomics that
//! tasks add to without a lock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use glance_runner::metrics::{Encoder, Requests};
use serde_json::{Value, json};

use crate::{
    basis::STALE,
    fanout::{Dialect, Fanout},
};

/// The routes by which requests are counted. The last one stands for every part of the page.
const ROUTES: [&str; 7] = [
    "/",
    "/plain",
    "/api/snapshot",
    "/api/feed",
    "/api/history",
    "/manifest.webmanifest",
    "/assets",
];

/// Why a viewer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It left, or its connection broke.
    Left,
    /// It did not take what it was sent.
    Slow,
    /// It said nothing for too long.
    Silent,
    /// It sent what is no WebSocket, or too much.
    Wrong,
    /// There was no table yet.
    NoTable,
    /// The clusters are others, so that it has to come again.
    Restart,
    /// This service stops.
    Stop,
}

const CAUSES: [&str; 7] = [
    "left", "slow", "silent", "wrong", "no_table", "restart", "stop",
];

/// Why a request did not become a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not the opening of a WebSocket.
    Handshake,
    /// There is no table yet.
    NoTable,
    /// There are too many viewers.
    Full,
    /// It comes from a page that may not open the feed.
    Origin,
    /// Its client left before it was a WebSocket, or did not take our 101.
    Upgrade,
}

const REFUSED: [&str; 5] = ["handshake", "no_table", "full", "origin", "upgrade"];

/// What is counted for one dialect.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    connections: AtomicU64,
    messages: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    resyncs: AtomicU64,
    closed: [AtomicU64; CAUSES.len()],
}

impl Feed {
    /// A viewer came.
    pub(crate) fn open(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A viewer took these bytes, which are so many whole frames.
    pub(crate) fn sent(&self, bytes: usize, frames: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A viewer lagged so far behind that it has to fetch everything again.
    pub(crate) fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// A viewer left.
    pub(crate) fn close(&self, cause: Cause) {
        if let Some(count) = self.closed.get(cause as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is counted, by all who serve.
#[derive(Debug)]
pub(crate) struct Counts {
    /// By dialect, in the order of [`Dialect::ALL`].
    feeds: [Feed; Dialect::ALL.len()],
    refused: [AtomicU64; REFUSED.len()],
    pub(crate) requests: Requests,
    viewers_max: u32,
}

impl Counts {
    pub(crate) fn new(viewers_max: u32) -> Self {
        Self {
            feeds: Default::default(),
            refused: Default::default(),
            requests: Requests::new(&ROUTES),
            viewers_max,
        }
    }

    /// What is counted for a dialect.
    pub(crate) fn feed(&self, dialect: Dialect) -> &Feed {
        let [everybody, page, compressed] = &self.feeds;
        match dialect {
            Dialect::Everybody => everybody,
            Dialect::Page => page,
            Dialect::PageCompressed => compressed,
        }
    }

    /// A request did not become a viewer.
    pub(crate) fn refuse(&self, why: Refused) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(crate) fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why as usize).map_or(0, get)
    }

    /// The place of a path among the routes; one too many when it is none of ours.
    pub(crate) fn route(path: &str) -> usize {
        let is_it = |route: &&str| match *route {
            "/assets" => path.starts_with("/assets/"),
            "/api/history" => path.starts_with("/api/history"),
            route => route == path,
        };
        ROUTES.iter().position(is_it).unwrap_or(ROUTES.len())
    }

    /// All metrics of this service.
    pub(crate) fn tell(&self, fanout: &Fanout, it: &mut Encoder<'_>) -> fmt::Result {
        tell_table(fanout, it)?;
        self.tell_viewers(fanout, it)?;
        self.requests
            .tell(it, "web_requests_total", "web_request_duration_seconds")
    }

    fn tell_viewers(&self, fanout: &Fanout, it: &mut Encoder<'_>) -> fmt::Result {
        let viewers = Dialect::ALL.map(|it| (label(it), fanout.viewers_of(it) as f64));
        it.gauges(
            "web_viewers",
            "Viewers that follow the feed, by dialect",
            viewers,
        )?;
        it.gauge(
            "web_viewers_max",
            "How many viewers this process takes: GLANCE_VIEWERS_MAX",
            f64::from(self.viewers_max),
        )?;
        let refused = REFUSED.iter().zip(&self.refused);
        let refused = refused.map(|(reason, count)| ([("reason", *reason)], get(count)));
        it.counters(
            "web_feed_refused_total",
            "Requests for the feed that did not become viewers",
            refused,
        )?;
        let of = |value: fn(&Feed) -> &AtomicU64| {
            Dialect::ALL.map(|dialect| (label(dialect), get(value(self.feed(dialect)))))
        };
        it.counters(
            "web_feed_connections_total",
            "Viewers that came",
            of(|it| &it.connections),
        )?;
        it.counters(
            "web_feed_messages_total",
            "Writes to viewers; each is one or more whole frames",
            of(|it| &it.messages),
        )?;
        it.counters(
            "web_feed_frames_total",
            "WebSocket frames that viewers took",
            of(|it| &it.frames),
        )?;
        it.counters(
            "web_feed_bytes_total",
            "Bytes that viewers took",
            of(|it| &it.bytes),
        )?;
        it.counters(
            "web_feed_resyncs_total",
            "Viewers of the page that lagged too far behind, and were told to fetch everything again",
            of(|it| &it.resyncs),
        )?;
        let closed = Dialect::ALL.into_iter().flat_map(|dialect| {
            let causes = CAUSES.iter().zip(&self.feed(dialect).closed);
            causes.map(move |(cause, count)| {
                ([("dialect", dialect.name()), ("cause", *cause)], get(count))
            })
        });
        it.counters(
            "web_feed_closed_total",
            "Viewers that left, by cause",
            closed,
        )
    }
}

fn tell_table(fanout: &Fanout, it: &mut Encoder<'_>) -> fmt::Result {
    let picture = fanout.picture();
    let received = picture.is_some();
    it.gauge(
        "web_table_received",
        "Whether a table was received since the start; before, viewers get 503",
        flag(received),
    )?;
    it.gauge(
        "web_stale",
        "Whether no aggregator was heard for five seconds, or no table was received: viewers see an old picture, or none",
        flag(is_stale(fanout)),
    )?;
    // Who never heard one cannot say since when.
    if let Some(heard) = picture.and_then(|picture| picture.heard) {
        it.gauge(
            "web_snapshot_age_seconds",
            "How long ago the leading aggregator was heard",
            heard.elapsed().as_secs_f64(),
        )?;
    }
    Ok(())
}

/// Whether viewers see an old picture, or none.
fn is_stale(fanout: &Fanout) -> bool {
    let heard = fanout.picture().and_then(|picture| picture.heard);
    heard.is_none_or(|at| at.elapsed() > STALE)
}

/// The answer to who asks on `$SRV`.
pub(crate) fn status(fanout: &Arc<Fanout>) -> Value {
    json!({
        "viewers": fanout.viewers(),
        "stale": is_stale(fanout),
        "ready": fanout.picture().is_some(),
    })
}

fn label(dialect: Dialect) -> [(&'static str, &'static str); 1] {
    [("dialect", dialect.name())]
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_anybody_is_one_of_few_routes() {
        for (path, route) in [
            ("/", "/"),
            ("/plain", "/plain"),
            ("/api/history/main/0", "/api/history"),
            ("/assets/0/app.js", "/assets"),
        ] {
            assert_eq!(ROUTES.get(Counts::route(path)), Some(&route), "{path}");
        }
        for path in ["", "/x", "/plain/", "/assets", "/api/snapshot/1"] {
            assert_eq!(ROUTES.get(Counts::route(path)), None, "{path}");
        }
    }
}
