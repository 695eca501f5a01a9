//! What is counted of the table, for those who run it.

use glance_protocol::{Cause, State};

use super::Table;

/// What was applied to one cluster since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reports that were applied. One that was known already is not counted.
    pub reports: u64,
    /// Health checks that were applied, also those that carry a state.
    pub health_checks: u64,
    /// Transitions by what caused them: see [`Counts::CAUSES`].
    pub transitions: [u64; 3],
    /// Reports that claim another number of shards than is configured.
    pub disagreements: u64,
}

impl Counts {
    /// The order of the causes.
    pub const CAUSES: [Cause; 3] = [Cause::Report, Cause::Health, Cause::Timeout];

    pub(super) fn transition(&mut self, cause: Cause) {
        let place = match cause {
            Cause::Report => 0,
            Cause::Health => 1,
            Cause::Timeout => 2,
        };
        if let Some(count) = self.transitions.get_mut(place) {
            *count += 1;
        }
    }
}

impl Table {
    /// For each cluster, in configured order: what was applied, and how many shards are in which state, by the number
    /// of the state. Looks at each shard.
    pub fn census(&self) -> impl Iterator<Item = (Counts, [u64; State::ALL.len()])> {
        self.clusters.iter().map(|cluster| {
            let mut states = [0; State::ALL.len()];
            for row in &cluster.rows {
                if let Some(count) = states.get_mut(usize::from(row.state.number())) {
                    *count += 1;
                }
            }
            (cluster.counts, states)
        })
    }
}
