//! What lies in the outbox.

use std::{collections::VecDeque, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use super::receipt::Receipt;
use crate::{publish::Message, refusal::Unavailable};

/// What one request publishes.
pub(crate) struct Parcel {
    pub(super) messages: VecDeque<Message>,
    pub(super) receipt: Arc<Receipt>,
    pub(super) deadline: Instant,
}

impl Parcel {
    /// Messages that are published in their order. What is returned tells when the reports among them are stored, and
    /// the health checks are written to a connection that stands; or that the deadline came first.
    pub(crate) fn new(
        messages: Vec<Message>,
        deadline: Instant,
    ) -> (Self, oneshot::Receiver<Result<(), Unavailable>>) {
        let (receipt, told) = Receipt::new(messages.len());
        let parcel = Self {
            messages: messages.into(),
            receipt,
            deadline,
        };
        (parcel, told)
    }

    /// What stays here of a message that is on its way.
    pub(super) fn sent(&self) -> Sent {
        Sent {
            receipt: self.receipt.clone(),
            deadline: self.deadline,
        }
    }
}

/// A message on its way.
pub(super) struct Sent {
    pub(super) receipt: Arc<Receipt>,
    pub(super) deadline: Instant,
}

/// Health checks that one flush covers.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) sent: Vec<Sent>,
    /// How often the client had connected before the first of them was handed to it.
    pub(super) connects: u64,
}
