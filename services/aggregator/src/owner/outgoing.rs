//! What the owner of the table sends: transitions, blocks, and the pulse.

use std::time::Duration;

use glance_protocol::{
    Change, ClusterList, Pulse, PulseBlock, PulseCluster, Subject, TableBlock, seconds,
};

use super::{Owner, PULSE_INTERVAL, Role};
use crate::{blocks::Content, table::Moment};

impl Owner {
    pub(super) fn tell_transitions(&mut self) {
        let disagreements = self.table.take_disagreements();
        if self.role != Role::Leading {
            // Who leads tells them. What it had no time for is found when its table is taken over.
            self.transitions.clear();
            return;
        }
        for it in disagreements {
            let reason = format!(
                "the report says that cluster '{}' has {} shards, but {} are configured; it was taken",
                it.cluster, it.claimed, it.total
            );
            let subject = Subject::State(it.cluster, it.shard);
            self.refusals.disagree(&subject.to_string(), &reason);
        }
        for transition in self.transitions.drain(..) {
            let subject = Subject::Changed(transition.cluster.clone(), transition.shard);
            let change = Change {
                cluster: transition.cluster,
                shard: transition.shard,
                state: transition.state,
                previous: transition.previous,
                cause: transition.cause,
                at: seconds(transition.at_ms),
                epoch: self.epoch,
            };
            let body = change.to_bytes().into();
            if !self.changes.push(subject.to_string(), body) {
                self.tally.transitions_dropped += 1;
            }
        }
    }

    pub(super) fn collect_marks(&mut self, now: Duration) {
        let queued = self.changes.queued();
        for slot in &mut self.blocks.slots {
            if let Content::Block(cluster, block) = slot.content {
                slot.mark(self.table.take_marks(cluster, block), now, queued);
            }
        }
    }

    pub(super) fn write(&mut self, index: usize, now: Moment) {
        let Some(slot) = self.blocks.slots.get(index) else {
            return;
        };
        let sequence = slot.sequence.max(self.applied);
        let value = match slot.content {
            Content::Clusters => Some(self.cluster_list().to_bytes()),
            Content::Block(cluster, block) => match self.block(cluster, block, sequence, now) {
                Some(block) => Some(block.to_bytes()),
                None => return,
            },
            Content::Gone => None,
        };
        self.blocks.write(index, value, &self.store.table, now.mono);
    }

    fn cluster_list(&self) -> ClusterList {
        ClusterList {
            epoch: self.epoch,
            stream: self.store.states_id.clone(),
            sequence: self.table.sizes_true_to(self.applied),
            clusters: self.table.clusters().cloned().collect(),
        }
    }

    fn block(&self, cluster: usize, block: u32, sequence: u64, now: Moment) -> Option<TableBlock> {
        let info = self.table.clusters().nth(cluster)?;
        Some(TableBlock {
            epoch: self.epoch,
            cluster: info.name.clone(),
            block,
            stream: self.store.states_id.clone(),
            sequence,
            at_ms: now.wall_ms,
            rows: self.table.rows(cluster, block),
        })
    }

    pub(super) fn send_pulse(&mut self, now: Moment) {
        self.pulse.number += 1;
        // After a pause of the process, one pulse and not many.
        self.pulse.next_at = now.mono + PULSE_INTERVAL;
        let names: Vec<_> = self
            .table
            .clusters()
            .map(|info| info.name.clone())
            .collect();
        let mut clusters: Vec<_> = names
            .into_iter()
            .map(|name| PulseCluster {
                name,
                blocks: Vec::new(),
            })
            .collect();
        for slot in &self.blocks.slots {
            if let Content::Block(cluster, block) = slot.content
                && let Some(entry) = clusters.get_mut(cluster)
            {
                let (heard, healed) = self.table.take_heard(cluster, block);
                entry.blocks.push(PulseBlock {
                    block,
                    revision: slot.revision,
                    heard,
                    healed,
                });
            }
        }
        let pulse = Pulse {
            epoch: self.epoch,
            number: self.pulse.number,
            at_ms: now.wall_ms,
            judging_since_ms: self.table.judging_since_ms(now),
            part: 0,
            parts: 1,
            clusters,
        };
        for part in pulse.split() {
            self.outbox.publish(&Subject::Pulse, part.to_bytes());
        }
    }
}
