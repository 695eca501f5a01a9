//! How many messages went out.

use std::cell::{Cell, RefCell};

/// Counts of messages since the start, and the latest trouble. Shared within one task.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    published: Cell<u64>,
    failed: Cell<u64>,
    trouble: RefCell<Option<String>>,
}

impl Tally {
    /// Glance, or at least the broker, took this many messages.
    pub(crate) fn published(&self, count: usize) {
        self.published.set(self.published.get() + count as u64);
    }

    /// This many messages were refused or got no answer. The reason is kept for the next summary only, so that
    /// a lasting trouble does not flood the log.
    pub(crate) fn failed(&self, count: usize, why: impl Into<String>) {
        self.failed.set(self.failed.get() + count as u64);
        self.trouble.replace(Some(why.into()));
    }

    /// The counts, and the latest trouble since the last summary.
    pub(crate) fn summary(&self) -> String {
        let (published, failed) = (self.published.get(), self.failed.get());
        let trouble = self.trouble.take();
        let trouble = trouble.map(|why| format!("; the last failure: {why}"));
        format!(
            "published {published}, failed {failed}{}",
            trouble.unwrap_or_default()
        )
    }
}
