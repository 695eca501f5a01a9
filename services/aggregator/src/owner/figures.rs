//! What the owner counts, for those who run it.

use super::Owner;
use crate::{
    metrics::{ClusterFigures, Figures, INTERVAL, Kind, Reason},
    table::{Moment, Refusal},
};
use glance_protocol::ClusterName;

impl Owner {
    /// A message of this cluster was refused.
    pub(super) fn count_refusal(&mut self, kind: Kind, cluster: &ClusterName, refusal: &Refusal) {
        if let Some(reason) = Reason::of(refusal) {
            self.tally.refuse(kind, self.table.place(cluster), reason);
        }
    }

    /// Publishes the numbers once a second, and at once when the role is another.
    pub(super) fn publish_figures(&mut self, now: Moment) {
        let leads = self.leads();
        if now.mono < self.figures_due && leads == self.led {
            return;
        }
        self.figures_due = now.mono + INTERVAL;
        self.led = leads;
        let names: Vec<_> = self
            .table
            .clusters()
            .map(|info| info.name.to_string())
            .collect();
        let clusters = names.into_iter().zip(self.table.census());
        let clusters = clusters.map(|(name, (counts, states))| ClusterFigures {
            name,
            counts,
            states,
        });
        let figures = Figures {
            clusters: clusters.collect(),
            tally: self.tally.clone(),
            leads,
            epoch: if leads { self.epoch } else { 0 },
            judges: leads && self.table.judging_since_ms(now).is_some(),
            hears: leads && self.table.is_clear(),
            pulse_heard: leads.then(|| self.started + self.pulse.echo_at),
            caught_up: self.caught_up,
            transitions_waiting: self.changes.queued().saturating_sub(self.changes.acked()),
        };
        self.board.publish(figures);
    }
}
