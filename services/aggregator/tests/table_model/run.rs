//! Runs a history through the table and the model, and compares them after each step.

use std::{collections::HashMap, time::Duration};

use glance_aggregator::table::{Input, Marks, Message, Moment, Refusal, Stored, Table, Transition};
use glance_protocol::{
    BlockSet, Cause, ClusterInfo, ClusterName, ShardId, ShardRow, State, TableBlock,
};

use crate::{
    history::{Act, Delivery, History, NOBODY, Step},
    model::{Expected, Kept, Kind, Model, Place},
};

/// What happened, without the times of the wall clock.
pub(crate) type Trace = Vec<(Place, State, State, Cause)>;

/// Fails with a text unless both are equal.
macro_rules! equal {
    ($what:expr, $table:expr, $model:expr) => {
        let (table, model) = (&$table, &$model);
        if table != model {
            return Err(format!("{}: table {table:?}, model {model:?}", $what));
        }
    };
}

/// A kept block.
#[derive(Debug, Clone)]
struct Block {
    rows: Vec<ShardRow>,
    stream: u32,
    sequence: u64,
}

pub(crate) struct Run {
    names: Vec<ClusterName>,
    table: Table,
    model: Model,
    now: Moment,
    /// What was kept last of each block.
    kept: HashMap<(usize, u32), Block>,
    /// Which stream there is, and how many reports it took.
    stream: u32,
    sequence: u64,
    pub(crate) trace: Trace,
}

impl Run {
    pub(crate) fn of(history: &History) -> Result<Self, String> {
        let mut names: Vec<_> = history.bots.iter().map(|bot| bot.name.clone()).collect();
        names.push(NOBODY.parse().unwrap());
        let mut run = Self {
            names,
            table: Table::new(&history.bots, &history.timeouts),
            model: Model::new(&history.bots, &history.timeouts),
            now: Moment {
                mono: Duration::ZERO,
                wall_ms: 1_795_350_000_000,
            },
            kept: HashMap::new(),
            stream: 1,
            sequence: 0,
            trace: Trace::new(),
        };
        for (index, step) in history.steps.iter().enumerate() {
            run.step(step)
                .map_err(|problem| format!("step {index} at {:?}: {problem}", run.now))?;
        }
        Ok(run)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.pass(step.pause);
        self.now.wall_ms += step.wall_step_ms;
        match &step.act {
            Act::Keep(cluster, block) => {
                let kept = Block {
                    rows: self.table.rows(*cluster, *block),
                    stream: self.stream,
                    sequence: self.sequence,
                };
                self.kept.insert((*cluster, *block), kept);
            }
            Act::Restore(cluster, block, rows) => self.restore((*cluster, *block), rows),
            Act::Adopt(cluster, block, rows) => self.adopt((*cluster, *block), rows)?,
            Act::RestoreTotal(cluster, total, before) => {
                self.restore_total(*cluster, *total, self.sequence.saturating_sub(*before));
            }
            Act::OtherStream => {
                self.stream += 1;
                self.sequence = 0;
                self.table.forget_sequences();
                self.model.forget_sequences();
            }
            Act::TakeMarks(cluster, block) => self.take_marks(*cluster, *block)?,
            Act::TakeHeard(cluster, block) => self.take_heard(*cluster, *block)?,
            Act::TakeResizes => self.take_resizes()?,
            Act::TakeDisagreements => self.take_disagreements()?,
            Act::JudgingSince => {
                let since_ms = self.table.judging_since_ms(self.now);
                equal!(
                    "judging since",
                    since_ms,
                    self.model.judging_since_ms(self.now)
                );
            }
            Act::TickAtDeadline => self.tick_at_deadline()?,
            act => self.apply(act)?,
        }
        self.compare()
    }

    fn pass(&mut self, pause: Duration) {
        self.now.mono += pause;
        self.now.wall_ms += i64::try_from(pause.as_millis()).unwrap();
    }

    fn apply(&mut self, act: &Act) -> Result<(), String> {
        let (cluster, shard, body) = match act {
            Act::Report(cluster, shard, body, _) | Act::Health(cluster, shard, body) => {
                (*cluster, *shard, body)
            }
            _ => return self.apply_other(act),
        };
        let (place, now) = ((cluster, shard), self.now);
        let stored = match act {
            Act::Report(.., delivery) => Some(self.deliver(*delivery)),
            _ => None,
        };
        let message = Message {
            cluster: &self.names[cluster],
            shard: ShardId::new(shard).unwrap(),
            body,
        };
        let (input, expected) = match stored {
            None => (Input::Health(message), self.model.health(place, body, now)),
            Some(stored) => {
                let delivery = (Some(stored.sequence), stored.at_ms);
                let expected = self.model.report(place, body, now, delivery);
                (Input::Report(message, stored), expected)
            }
        };
        let mut changes = Vec::new();
        let refusal = self
            .table
            .apply(input, now, &mut changes)
            .err()
            .as_ref()
            .map(kind);
        equal!("refusal", refusal, expected.clone().err());
        self.compare_changes(&changes, expected.into_iter().flatten().collect())
    }

    /// The stream delivers a new report, or an old one once more.
    fn deliver(&mut self, delivery: Delivery) -> Stored {
        self.sequence += u64::from(delivery.again.is_none());
        Stored {
            sequence: self.sequence.saturating_sub(delivery.again.unwrap_or(0)),
            at_ms: delivery.age_ms.map(|age_ms| self.now.wall_ms - age_ms),
        }
    }

    fn apply_other(&mut self, act: &Act) -> Result<(), String> {
        let (input, expected) = match act {
            Act::SightLost => {
                self.model.lose_sight(self.now);
                (Input::SightLost, Vec::new())
            }
            Act::SightRegained => {
                self.model.regain_sight(self.now);
                (Input::SightRegained, Vec::new())
            }
            Act::ClockStepped(by_ms) => {
                self.now.wall_ms += by_ms;
                self.model.step_clock(*by_ms);
                (Input::ClockStepped(*by_ms), Vec::new())
            }
            _ => (Input::Tick, self.model.tick(self.now)),
        };
        let mut changes = Vec::new();
        let refusal = self.table.apply(input, self.now, &mut changes).err();
        equal!("refusal", refusal, None);
        self.compare_changes(&changes, expected)
    }

    /// Whoever sleeps until the deadline finds something to do then: there is no busy loop.
    fn tick_at_deadline(&mut self) -> Result<(), String> {
        let Some(deadline) = self.table.next_deadline() else {
            return Ok(());
        };
        self.pass(deadline.saturating_sub(self.now.mono));
        let before = self.trace.len();
        self.apply(&Act::Tick)?;
        let next = self.table.next_deadline();
        match self.trace.len() > before || next.is_none_or(|next| next > deadline) {
            true => Ok(()),
            false => Err(format!(
                "a tick at {deadline:?} did nothing, the next is at {next:?}"
            )),
        }
    }

    /// What was kept last of a block, or these rows when nothing was: once as the
    /// table is told it, and once as the model is.
    fn read(&self, key: (usize, u32), rows: &[ShardRow]) -> (TableBlock, bool, Kept) {
        let own = Block {
            rows: rows.to_vec(),
            stream: self.stream,
            sequence: self.sequence / 2,
        };
        let kept = self.kept.get(&key).filter(|_| rows.is_empty());
        let kept = kept.cloned().unwrap_or(own);
        let same_stream = kept.stream == self.stream;
        let block = TableBlock {
            epoch: 7,
            cluster: self.names[key.0].clone(),
            block: key.1,
            stream: kept.stream.to_string(),
            sequence: kept.sequence,
            // It was written a while ago, or just now.
            at_ms: self.now.wall_ms - 2_000 * i64::try_from(kept.sequence % 3).unwrap_or(0),
            rows: kept.rows.clone(),
        };
        let kept = Kept {
            written_ms: block.at_ms,
            now_ms: self.now.wall_ms,
            rows: kept.rows,
            sequence: if same_stream { kept.sequence } else { 0 },
        };
        (block, same_stream, kept)
    }

    fn restore(&mut self, key: (usize, u32), rows: &[ShardRow]) {
        let (block, same_stream, kept) = self.read(key, rows);
        self.model.restore(key, &kept, self.now);
        self.table.restore(&block, same_stream, self.now);
    }

    fn adopt(&mut self, key: (usize, u32), rows: &[ShardRow]) -> Result<(), String> {
        let (block, same_stream, kept) = self.read(key, rows);
        let mut changes = Vec::new();
        self.table
            .adopt(&block, same_stream, self.now, &mut changes);
        let expected = self.model.adopt(key, &kept, self.now);
        self.compare_changes(&changes, expected)
    }

    fn restore_total(&mut self, cluster: usize, total: u32, known_to: u64) {
        let info = ClusterInfo {
            name: self.names[cluster].clone(),
            total,
            timeout_s: 30.0,
            auto: true,
        };
        self.table.restore_total(&info, known_to);
        if let Some(cluster) = self.model.clusters.get_mut(cluster) {
            cluster.restore_total(total, known_to);
        }
    }

    fn take_resizes(&mut self) -> Result<(), String> {
        let mut expected = Vec::new();
        for (place, cluster) in self.model.clusters.iter_mut().enumerate() {
            let before = std::mem::replace(&mut cluster.told, cluster.shards.len());
            if before != cluster.shards.len() {
                expected.push((place, before, cluster.shards.len()));
            }
        }
        let resizes = self.table.take_resizes().into_iter();
        let resizes: Vec<_> = resizes
            .map(|it| (it.place, it.before as usize, it.after as usize))
            .collect();
        equal!("resizes", resizes, expected);
        Ok(())
    }

    fn take_disagreements(&mut self) -> Result<(), String> {
        let mut expected = Vec::new();
        for (name, cluster) in self.names.iter().zip(&mut self.model.clusters) {
            let total = cluster.total();
            let untold = std::mem::take(&mut cluster.untold).into_iter();
            expected.extend(untold.map(|(shard, claimed)| (name.clone(), shard, claimed, total)));
        }
        let disagreements = self.table.take_disagreements().into_iter();
        let disagreements: Vec<_> = disagreements
            .map(|it| (it.cluster, it.shard.get(), it.claimed, it.total))
            .collect();
        equal!("disagreements", disagreements, expected);
        Ok(())
    }

    fn take_marks(&mut self, cluster: usize, block: u32) -> Result<(), String> {
        let mut marks = Marks::default();
        for place in self.model.block(cluster, block) {
            let shard = self.model.shard(place);
            marks.changed |= std::mem::take(&mut shard.changed);
            marks.touched |= std::mem::take(&mut shard.touched);
        }
        equal!("marks", self.table.take_marks(cluster, block), marks);
        Ok(())
    }

    fn take_heard(&mut self, cluster: usize, block: u32) -> Result<(), String> {
        let (mut heard, mut healed) = (BlockSet::default(), BlockSet::default());
        for (offset, place) in self.model.block(cluster, block).into_iter().enumerate() {
            let shard = self.model.shard(place);
            if std::mem::take(&mut shard.beat) {
                heard.insert(offset);
            }
            if std::mem::take(&mut shard.healed) {
                healed.insert(offset);
            }
        }
        equal!(
            "heard",
            self.table.take_heard(cluster, block),
            (heard, healed)
        );
        Ok(())
    }

    /// In any order: who is flagged by one tick has no order that anybody may rely on.
    fn compare_changes(
        &mut self,
        changes: &[Transition],
        mut expected: Vec<Expected>,
    ) -> Result<(), String> {
        let place = |name: &ClusterName| self.names.iter().position(|other| other == name);
        let mut changes: Vec<Expected> = changes
            .iter()
            .map(|change| Expected {
                place: (
                    place(&change.cluster).unwrap_or(usize::MAX),
                    change.shard.get(),
                ),
                state: change.state,
                previous: change.previous,
                cause: change.cause,
                at_ms: change.at_ms,
            })
            .collect();
        changes.sort_by_key(|change| change.place);
        expected.sort_by_key(|change| change.place);
        equal!("transitions", changes, expected);
        self.trace.extend(
            changes
                .iter()
                .map(|c| (c.place, c.state, c.previous, c.cause)),
        );
        Ok(())
    }

    fn compare(&self) -> Result<(), String> {
        equal!("sight", self.table.is_clear(), self.model.is_clear());
        for (place, cluster) in self.model.clusters.iter().enumerate() {
            let blocks = [0, 1].map(|block| self.table.rows(place, block));
            let rows = blocks.iter().flatten();
            equal!("number of rows", rows.clone().count(), cluster.shards.len());
            for (id, (row, shard)) in rows.zip(&cluster.shards).enumerate() {
                if *row != shard.row {
                    let what = format!("shard {id} of cluster {place}");
                    equal!(what, *row, shard.row);
                }
            }
        }
        self.compare_deadline()
    }

    /// The table may wake up early, but never late, and not without need.
    fn compare_deadline(&self) -> Result<(), String> {
        let (table, model) = (self.table.next_deadline(), self.model.next_flag());
        let late = match (table, model) {
            (Some(table), Some(model)) => table > model.max(self.now.mono),
            (table, model) => table.is_some() != model.is_some(),
        };
        match late {
            true => Err(format!("next deadline: table {table:?}, model {model:?}")),
            false => Ok(()),
        }
    }
}

fn kind(refusal: &Refusal) -> Kind {
    match refusal {
        Refusal::Cluster(_) => Kind::Cluster,
        Refusal::Range { total, .. } => Kind::Range(*total),
        Refusal::Gone { .. } => Kind::Gone,
        Refusal::SizeUnknown(_) => Kind::SizeUnknown,
        Refusal::NeverReported(..) => Kind::NeverReported,
        Refusal::NoState => Kind::NoState,
    }
}
