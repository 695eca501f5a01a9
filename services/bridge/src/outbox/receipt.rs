//! What a request is told of its messages.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use crate::refusal::Unavailable;

/// Held by all messages of a request that are not done yet. When the last one lets go of it, the request is told:
/// of success only if each of them was done.
#[derive(Debug)]
pub(super) struct Receipt {
    messages: usize,
    done: AtomicUsize,
    failure: OnceLock<Unavailable>,
    request: Option<oneshot::Sender<Result<(), Unavailable>>>,
}

impl Receipt {
    /// The receipt for so many messages, and where the request hears of it.
    pub(super) fn new(messages: usize) -> (Arc<Self>, oneshot::Receiver<Result<(), Unavailable>>) {
        let (request, told) = oneshot::channel();
        let receipt = Self {
            messages,
            done: AtomicUsize::new(0),
            failure: OnceLock::new(),
            request: Some(request),
        };
        (Arc::new(receipt), told)
    }

    /// One more message is done.
    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// A message cannot be done. The first cause counts.
    pub(super) fn fail(&self, cause: Unavailable) {
        // A later cause follows from the first.
        let _ = self.failure.set(cause);
    }

    /// Whether it makes no sense to go on: a message failed, or nobody waits any more.
    pub(super) fn is_moot(&self) -> bool {
        self.failure.get().is_some() || self.request.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let result = match self.failure.get() {
            Some(cause) => Err(*cause),
            None if *self.done.get_mut() == self.messages => Ok(()),
            None => Err(Unavailable::Disconnected),
        };
        if let Some(request) = self.request.take() {
            // Who has gone away needs no answer.
            let _ = request.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_told_when_all_is_done() {
        let (receipt, mut told) = Receipt::new(2);
        let other = receipt.clone();
        receipt.done();
        drop(receipt);
        assert!(told.try_recv().is_err() && !other.is_moot());
        other.done();
        drop(other);
        assert_eq!(told.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn what_was_let_go_is_no_success() {
        let (receipt, mut told) = Receipt::new(2);
        receipt.done();
        drop(receipt);
        assert_eq!(told.try_recv().unwrap(), Err(Unavailable::Disconnected));
    }

    #[test]
    fn the_first_cause_is_told() {
        let (receipt, mut told) = Receipt::new(1);
        receipt.fail(Unavailable::Refused);
        receipt.fail(Unavailable::TimedOut);
        receipt.done();
        assert!(receipt.is_moot());
        drop(receipt);
        assert_eq!(told.try_recv().unwrap(), Err(Unavailable::Refused));
    }

    #[test]
    fn nobody_who_waits_makes_it_moot() {
        let (receipt, told) = Receipt::new(1);
        assert!(!receipt.is_moot());
        drop(told);
        assert!(receipt.is_moot());
    }
}
