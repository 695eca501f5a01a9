//! From following to leading, and back.

use std::{collections::HashMap, time::Duration};

use glance_protocol::{ShardId, Subject, bucket, shard::block_count};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Owner, Role};
use crate::{
    blocks::{Blocks, Content, Outcome, Slot},
    changes::Changes,
    lead::Tenure,
    recovery::{self, Kept, KeptBlock},
    table::{Moment, Resize},
};

/// The reading of one key for each 1,024 shards.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const READ_RETRY: Duration = Duration::from_millis(200);
/// Clocks of two machines that differ by less are not corrected.
const SKEW_MS_MIN: i64 = 1000;

impl Owner {
    /// Whether the table may be judged and written now.
    pub(super) fn leads(&self) -> bool {
        self.role == Role::Leading && self.tenure.is_some_and(|tenure| tenure.is_valid())
    }

    /// The same, when no events are taken any more.
    pub(super) fn still_leads(&mut self) -> bool {
        self.tenure = *self.lead.tenure().borrow();
        self.leads() && self.tenure.is_some_and(|tenure| tenure.epoch == self.epoch)
    }

    pub(super) fn tell_fitness(&self) {
        let fit = self.caught_up && !self.replaying;
        self.lead
            .tell(|fitness| std::mem::replace(&mut fitness.fit, fit) != fit);
    }

    pub(super) fn take_tenure(&mut self, tenure: Option<Tenure>, now: Moment) {
        self.tenure = tenure;
        match tenure {
            None => self.step_down(now),
            Some(tenure) if tenure.epoch != self.epoch => {
                self.lose_sight("another aggregator led until now", now);
                self.role = Role::TakingOver;
                self.epoch = tenure.epoch;
                self.read_kept(Duration::ZERO);
            }
            Some(_) => {}
        }
    }

    /// Another leads. What is under way is dropped: it would come too late.
    fn step_down(&mut self, now: Moment) {
        self.lose_sight("another aggregator leads", now);
        self.role = Role::Following;
        self.epoch = 0;
        self.reading = None;
        self.kept = None;
        self.blocks = Blocks::new(Vec::new());
        let (broker, tenure) = (self.broker.clone(), self.lead.tenure());
        self.changes = Changes::spawn(broker, tenure, self.reopen.clone());
    }

    fn read_kept(&mut self, delay: Duration) {
        let store = self.store.clone();
        let infos: Vec<_> = self.table.clusters().cloned().collect();
        self.kept = None;
        self.reading = Some(Box::pin(async move {
            tokio::time::sleep(delay).await;
            timeout(READ_TIMEOUT, recovery::read(&store, &infos)).await?
        }));
    }

    pub(super) fn take_kept(&mut self, kept: anyhow::Result<Kept>) {
        match kept {
            Ok(kept) if kept.epoch >= self.epoch => {
                // The lease was lost, but not the table. It is taken again, with a greater epoch.
                self.tell_epoch(kept.epoch);
            }
            Ok(kept) => self.kept = Some(kept),
            Err(cause) => {
                // It may be gone.
                if self.ask_to_reopen(self.now().mono) {
                    warn!("cannot read what the last leader kept: {cause:#}");
                }
                self.read_kept(READ_RETRY);
            }
        }
    }

    /// Begins to lead, as soon as everything is there.
    pub(super) fn take_over(&mut self, now: Moment) {
        if self.role != Role::TakingOver || !self.caught_up || self.replaying {
            return;
        }
        let Some(mut kept) = self.kept.take() else {
            return;
        };
        self.transitions.clear();
        let configured: Vec<_> = self.table.clusters().cloned().collect();
        self.strangers.extend(kept.compare(&configured));
        self.correct_skew(&mut kept);
        self.adopt(&kept, now);
        self.forget_heard();
        self.blocks = Blocks::new(self.slots(&kept));
        self.blocks.mark_all(now.mono);
        self.changes.lead(self.epoch);
        self.pulse.next_at = now.mono;
        // None was sent before.
        self.pulse.echo_at = now.mono;
        self.role = Role::Leading;
        self.tell_untold(now.mono);
        info!(epoch = self.epoch, "the table is taken over");
    }

    /// The last leader's clock may have been another: its times become times of ours, so that ages stay right.
    fn correct_skew(&self, kept: &mut Kept) {
        let Some((epoch, ahead_ms)) = self.clock.leader() else {
            return;
        };
        if ahead_ms.abs() < SKEW_MS_MIN {
            return;
        }
        let blocks = kept.blocks.iter_mut().filter_map(|it| it.block.as_mut());
        for block in blocks.filter(|block| block.epoch == epoch) {
            block.shift_times(-ahead_ms);
        }
    }

    fn adopt(&mut self, kept: &Kept, now: Moment) {
        let infos: Vec<_> = self.table.clusters().cloned().collect();
        for info in infos.iter().filter(|info| info.auto) {
            if let Some((kept, known_to)) = kept.info(&info.name) {
                self.table.restore_total(kept, known_to);
            }
        }
        self.table.forget_old_claims(now);
        // The slots are made for the sizes of now.
        self.table.take_resizes();
        for block in kept.blocks.iter().filter_map(|it| it.block.as_ref()) {
            let same_stream = kept.same_stream(block);
            self.table
                .adopt(block, same_stream, now, &mut self.transitions);
        }
        self.table.wait_for_all(now);
    }

    /// Who was heard while we followed is not told as heard now.
    fn forget_heard(&mut self) {
        let infos: Vec<_> = self.table.clusters().cloned().collect();
        for (place, info) in infos.iter().enumerate() {
            for block in 0..block_count(info.total) {
                self.table.take_heard(place, block);
            }
        }
    }

    /// The keys of the table: the list first, then the blocks that there are, then those that there are no more.
    fn slots(&self, kept: &Kept) -> Vec<Slot> {
        let mut found: HashMap<_, _> = kept
            .blocks
            .iter()
            .map(|it| (bucket::block_key(&it.cluster, it.number), it))
            .collect();
        let mut slots = vec![Slot::new(
            Content::Clusters,
            bucket::CLUSTERS_KEY.into(),
            kept.list_revision,
        )];
        for (place, info) in self.table.clusters().enumerate() {
            for number in 0..block_count(info.total) {
                let key = bucket::block_key(&info.name, number);
                let old = found.remove(&key);
                let mut slot = Slot::new(
                    Content::Block(place, number),
                    key,
                    old.map_or(0, |it| it.revision),
                );
                slot.sequence = old.map_or(0, |it| true_until(kept, it));
                slots.push(slot);
            }
        }
        let gone = found.into_iter().filter(|(_, it)| it.block.is_some());
        slots.extend(gone.map(|(key, it)| Slot::new(Content::Gone, key, it.revision)));
        slots
    }

    /// Sizes that were learned changed: there are other blocks, and perhaps shards that are gone.
    pub(super) fn resize(&mut self, now: Moment) {
        let resizes = self.table.take_resizes();
        if self.role != Role::Leading {
            return;
        }
        for resize in resizes {
            let Resize {
                place,
                name,
                before,
                after,
            } = resize;
            info!("cluster '{name}' has {after} shards now, and had {before}");
            for number in 0..block_count(before.max(after)) {
                let key = bucket::block_key(&name, number);
                let content = match number < block_count(after) {
                    true => Content::Block(place, number),
                    false => Content::Gone,
                };
                self.blocks.set(content, key, now.mono);
            }
            self.blocks.touch_list(now.mono);
            for shard in (after..before).filter_map(|id| ShardId::new(id).ok()) {
                let subject = Subject::State(name.clone(), shard);
                self.refusals.purge(&self.store, &subject, self.applied + 1);
            }
        }
    }

    pub(super) fn finish_write(&mut self, index: usize, outcome: Outcome, now: Moment) {
        self.tally.write(&outcome);
        let Err(overtaken) = self.blocks.finish(index, outcome, self.epoch, now.mono) else {
            return;
        };
        // Whoever holds the lease is right. If that is us, it has to be with a greater epoch.
        warn!("{overtaken}");
        self.tell_epoch(overtaken.0);
    }

    fn tell_epoch(&self, epoch: u64) {
        self.lead.tell(|fitness| {
            let seen = fitness.epoch_seen.max(epoch);
            std::mem::replace(&mut fitness.epoch_seen, seen) != seen
        });
    }
}

/// Up to which sequence of the present stream a block is true.
fn true_until(kept: &Kept, block: &KeptBlock) -> u64 {
    let block = block.block.as_ref();
    block
        .filter(|block| kept.same_stream(block))
        .map_or(0, |block| block.sequence)
}
