//! What both ways to Glance have in common: order, retries, limits.

use std::{hash::Hash, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    fleet::Action,
    outbox::{Outbox, Parcel},
    tally::Tally,
};

/// A way to Glance.
pub(crate) trait Courier {
    /// The address of a parcel.
    type Key: Clone + Eq + Hash + Ord;
    /// What is delivered.
    type Parcel: Parcel;
    /// How many deliveries may be under way.
    const IN_FLIGHT_MAX: usize;

    /// Puts what happened into the outbox, or sends it at once when it may be lost.
    async fn accept(
        &self,
        action: Action,
        outbox: &mut Outbox<Self::Key, Self::Parcel>,
        tally: &Tally,
    );

    /// Delivers one parcel. Ends within a bounded time.
    async fn deliver(&self, key: &Self::Key, parcel: &Self::Parcel, tally: &Tally) -> Outcome;
}

/// How a delivery ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Glance took it, or never will.
    Ended,
    /// To be tried again after this time.
    Again(Duration),
}

/// Delivers what comes in until the channel is closed and everything has been delivered. The caller bounds the time
/// of the latter.
pub(crate) async fn deliver_all<C: Courier>(
    courier: &C,
    mut inbox: mpsc::Receiver<Vec<Action>>,
    tally: &Tally,
) {
    let start = Instant::now();
    let mut outbox = Outbox::new();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !outbox.is_empty() {
        while under_way.len() < C::IN_FLIGHT_MAX
            && let Some((key, parcel)) = outbox.take(start.elapsed())
        {
            under_way.push(async move {
                let outcome = courier.deliver(&key, &parcel, tally).await;
                (key, parcel, outcome)
            });
        }
        let has_room = under_way.len() < C::IN_FLIGHT_MAX;
        let retry_at = outbox.next_retry().filter(|_| has_room);
        tokio::select! {
            Some((key, parcel, outcome)) = under_way.next() => match outcome {
                Outcome::Ended => outbox.done(&key),
                Outcome::Again(delay) => outbox.retry(key, parcel, start.elapsed() + delay),
            },
            batch = inbox.recv(), if open => match batch {
                Some(actions) => {
                    for action in actions {
                        courier.accept(action, &mut outbox, tally).await;
                    }
                }
                None => open = false,
            },
            () = tokio::time::sleep_until(start + retry_at.unwrap_or_default()), if retry_at.is_some() => {}
            else => break,
        }
    }
}
