//! Reports that are too large for the stream of states.
//!
//! The broker refuses them before they are stored, and tells only a publisher
//! that asks for an acknowledgement. So that the others learn of it too, the
//! subjects are listened to directly, for the size alone.

use async_nats::Subscriber;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::store::STATE_MESSAGE_BYTES_MAX;

/// How many may wait; the rest of a flood goes untold.
const WAITING_MAX: usize = 64;

/// A report that the broker did not store.
pub(crate) struct Oversized {
    pub(crate) subject: String,
    pub(crate) body_len: usize,
}

/// Picks the ones that are too large. Ends with the connection.
pub(crate) fn watch(mut reports: Subscriber) -> mpsc::Receiver<Oversized> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        while let Some(message) = reports.next().await {
            let body_len = message.payload.len();
            if body_len <= STATE_MESSAGE_BYTES_MAX {
                continue;
            }
            let subject = message.subject.to_string();
            // When there is no room, enough of them are being told.
            let _ = sender.try_send(Oversized { subject, body_len });
        }
    });
    receiver
}
