//! What comes out at the other end, with its time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    pace::{self, Pace, Report},
    statistics::Samples,
};

/// More than all rows of a round see.
const WAITING_MAX: usize = 65_536;

/// What is not there this long after the last report is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// How long after a round the next may begin: a block that is still fresh is not written at once.
const REST: Duration = Duration::from_millis(300);

/// Something that arrived. It is read after the measurement, so that reading it costs no time in it.
#[derive(Debug)]
pub(crate) struct Arrival {
    at: Instant,
    /// The subject of a NATS message; empty for a frame.
    pub(crate) subject: String,
    pub(crate) body: Bytes,
}

impl Arrival {
    /// Something that arrived just now.
    pub(crate) fn now(subject: String, body: Bytes) -> Self {
        Self {
            at: Instant::now(),
            subject,
            body,
        }
    }
}

impl From<async_nats::Message> for Arrival {
    fn from(message: async_nats::Message) -> Self {
        Self::now(message.subject.as_str().to_owned(), message.payload)
    }
}

/// All that arrives at one place.
pub(crate) struct Arrivals {
    receiver: mpsc::Receiver<Arrival>,
    /// Which reports an arrival shows.
    read: fn(&Arrival) -> Vec<Report>,
}

impl Arrivals {
    /// Collects from a stream in a task of its own, until this is dropped.
    ///
    /// Items beyond the bound are dropped, and count as lost.
    pub(crate) fn collect<S>(stream: S, read: fn(&Arrival) -> Vec<Report>) -> Self
    where
        S: Stream<Item: Into<Arrival>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            loop {
                let item = tokio::select! {
                    item = stream.next() => item,
                    () = sender.closed() => return,
                };
                let Some(item) = item else { return };
                // The time is taken here.
                let _ = sender.try_send(item.into());
            }
        });
        Self { receiver, read }
    }

    /// Matches what arrived with what was sent, in the order of sending.
    async fn match_with(&mut self, sent: &[(Report, Instant)]) -> Vec<Option<Duration>> {
        let mut delays = vec![None; sent.len()];
        let mut missing: HashMap<Report, (usize, Instant)> = sent
            .iter()
            .enumerate()
            .map(|(place, (report, at))| (*report, (place, *at)))
            .collect();
        while !missing.is_empty() {
            let Ok(Some(arrival)) = timeout(LOST_AFTER, self.receiver.recv()).await else {
                break;
            };
            for report in (self.read)(&arrival) {
                let Some((place, at)) = missing.get(&report).copied() else {
                    continue;
                };
                // What came before the report speaks of an earlier one.
                if let Some(delay) = arrival.at.checked_duration_since(at) {
                    missing.remove(&report);
                    delays[place] = Some(delay);
                }
            }
        }
        delays
    }
}

/// Sends a round of reports at the given pace, and measures each until it arrives at each of the places.
///
/// # Errors
///
/// When a report cannot be sent, or never arrives.
pub(crate) async fn time_reports<const PLACES: usize>(
    pause: Duration,
    reports: impl Iterator<Item = Report>,
    mut send: impl AsyncFnMut(Report) -> anyhow::Result<()>,
    places: [&mut Arrivals; PLACES],
) -> anyhow::Result<[Samples; PLACES]> {
    sleep(REST).await;
    let mut pace = Pace::new(pause);
    let mut sent = Vec::new();
    for report in reports {
        pace.wait().await;
        let at = Instant::now();
        send(report).await?;
        sent.push((report, at));
    }
    let mut all = [const { Samples::new() }; PLACES];
    for (samples, arrivals) in all.iter_mut().zip(places) {
        let delays = arrivals.match_with(&sent).await;
        let lost = delays.iter().filter(|delay| delay.is_none()).count();
        ensure!(lost == 0, "{lost} of {} reports never arrived", sent.len());
        for delay in delays.into_iter().flatten().skip(pace::warm_up()) {
            samples.push(delay);
        }
    }
    Ok(all)
}
