//! How the connections to the broker are.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use async_nats::Statistics;
use tokio::sync::watch;

use super::Encoder;
use crate::{Broker, Link};

/// The connections of this process, by name.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<BTreeMap<&'static str, Option<Connection>>>>);

struct Connection {
    link: watch::Receiver<Link>,
    statistics: Arc<Statistics>,
}

/// What a connection has done so far.
#[derive(Default)]
struct Figures {
    name: &'static str,
    link: Link,
    received: u64,
    sent: u64,
}

impl Connections {
    pub(super) fn expect(&self, name: &'static str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_insert(None);
    }

    pub(super) fn follow(&self, name: &'static str, broker: &Broker) {
        let connection = Connection {
            link: broker.link(),
            statistics: broker.client.statistics(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, Some(connection));
    }

    fn figures(&self) -> Vec<Figures> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(name, connection): (&&'static str, &Option<Connection>)| {
            let nothing = Figures {
                name,
                ..Figures::default()
            };
            connection.as_ref().map_or(nothing, |it| Figures {
                name,
                link: *it.link.borrow(),
                received: it.statistics.in_messages.load(Ordering::Relaxed),
                sent: it.statistics.out_messages.load(Ordering::Relaxed),
            })
        };
        all.iter().map(of).collect()
    }

    pub(super) fn tell(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let figures = self.figures();
        let label = |it: &Figures| [("connection", it.name)];
        let connected = figures
            .iter()
            .map(|it| (label(it), f64::from(u8::from(it.link.connected))));
        let help = "Whether the connection to the broker stands";
        encoder.gauges("broker_connected", help, connected)?;
        let mut counters = |name, help, value: fn(&Figures) -> u64| {
            let values = figures.iter().map(|it| (label(it), value(it)));
            encoder.counters(name, help, values)
        };
        counters(
            "broker_connects_total",
            "How often the connection to the broker was made",
            |it| it.link.connects,
        )?;
        counters(
            "broker_slow_consumer_drops_total",
            "How often messages were dropped because a subscription was not read fast enough; some drops may go uncounted",
            |it| it.link.dropped,
        )?;
        counters(
            "broker_received_messages_total",
            "Messages that came from the broker",
            |it| it.received,
        )?;
        counters(
            "broker_sent_messages_total",
            "Messages that went to the broker",
            |it| it.sent,
        )
    }
}
