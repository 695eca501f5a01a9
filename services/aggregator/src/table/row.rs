//! A shard as the table holds it: a quarter of the bytes of a [`ShardRow`].

use glance_protocol::{Cause, Details, ShardRow, State};

/// What is known of one shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) since: Time,
    pub(super) last_heard: Time,
    /// Few bots tell any, and those that do not should not pay for them.
    details: Option<Box<Details>>,
    pub(super) state: State,
    pub(super) previous: State,
    pub(super) cause: Option<Cause>,
}

impl Row {
    /// Whether the shard has ever reported.
    pub(super) fn reported(&self) -> bool {
        self.since.get().is_some()
    }

    /// Takes over what a message tells besides the state.
    pub(super) fn learn(&mut self, newer: &Details) {
        if newer.is_empty() {
            return;
        }
        let mut details = self.details.take().unwrap_or_default();
        details.update(newer);
        // The cluster's size is no fact of a shard.
        details.total = None;
        self.details = (!details.is_empty()).then_some(details);
    }

    /// The same for others.
    pub(super) fn to_shard_row(&self) -> ShardRow {
        ShardRow {
            state: self.state,
            previous: self.previous,
            cause: self.cause,
            since_ms: self.since.get(),
            last_heard_ms: self.last_heard.get(),
            details: self.details.as_deref().cloned().unwrap_or_default(),
        }
    }
}

impl From<ShardRow> for Row {
    fn from(row: ShardRow) -> Self {
        Self {
            since: row.since_ms.into(),
            last_heard: row.last_heard_ms.into(),
            details: (!row.details.is_empty()).then(|| Box::new(row.details)),
            state: row.state,
            previous: row.previous,
            cause: row.cause,
        }
    }
}

/// Unix milliseconds, or never. `Option<i64>` takes twice the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(i64);

impl Time {
    const NEVER: Self = Self(i64::MIN);

    pub(super) fn get(self) -> Option<i64> {
        (self != Self::NEVER).then_some(self.0)
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::NEVER
    }
}

impl From<Option<i64>> for Time {
    fn from(ms: Option<i64>) -> Self {
        // A block may hold any number; a time, however odd, must not become none.
        ms.map_or(Self::NEVER, |ms| Self(ms.max(i64::MIN + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert_eq!(size_of::<Row>(), 32);
    }

    #[test]
    fn a_row_is_the_same_for_others() {
        let mut row = ShardRow::default();
        assert_eq!(Row::from(row.clone()).to_shard_row(), row);
        row.state = State::Unhealthy;
        row.previous = State::Online;
        row.cause = Some(Cause::Timeout);
        row.since_ms = Some(0);
        row.last_heard_ms = Some(-1);
        row.details.guilds = Some(7);
        assert_eq!(Row::from(row.clone()).to_shard_row(), row);
    }

    #[test]
    fn the_strangest_time_is_one() {
        assert!(Time::from(Some(i64::MIN)).get().is_some());
        assert_eq!(Time::from(None).get(), None);
    }

    #[test]
    fn a_total_alone_is_nothing_to_keep() {
        let mut row = Row::default();
        row.learn(&Details {
            total: Some(5),
            ..Details::default()
        });
        assert!(row.details.is_none());
    }
}
