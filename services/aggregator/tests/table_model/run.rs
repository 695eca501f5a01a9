//! Runs a history through the table and the model, and compares them after each step.

use std::{collections::HashMap, time::Duration};

use glance_aggregator::table::{Input, Marks, Message, Moment, Refusal, Table, Transition};
use glance_protocol::{BlockSet, Cause, ClusterName, ShardId, ShardRow, State, TableBlock};

use crate::{
    history::{Act, History, NOBODY, Step},
    model::{Expected, Kind, Model, Place},
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

pub(crate) struct Run {
    names: Vec<ClusterName>,
    table: Table,
    model: Model,
    now: Moment,
    kept: HashMap<(usize, u32), Vec<ShardRow>>,
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
                let rows = self.table.rows(*cluster, *block).to_vec();
                self.kept.insert((*cluster, *block), rows);
            }
            Act::Restore(cluster, block, rows) => self.restore(*cluster, *block, rows),
            Act::TakeMarks(cluster, block) => self.take_marks(*cluster, *block)?,
            Act::TakeHeard(cluster, block) => self.take_heard(*cluster, *block)?,
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
            Act::Report(cluster, shard, body)
            | Act::Health(cluster, shard, body)
            | Act::Replay(cluster, shard, body, _) => (*cluster, *shard, body),
            _ => return self.apply_other(act),
        };
        let message = Message {
            cluster: &self.names[cluster],
            shard: ShardId::new(shard).unwrap(),
            body,
        };
        let (place, now) = ((cluster, shard), self.now);
        let (input, expected) = match act {
            Act::Health(..) => (Input::Health(message), self.model.health(place, body, now)),
            Act::Replay(.., age_ms) => {
                let stored_ms = now.wall_ms - age_ms;
                let expected = self.model.report(place, body, now, Some(stored_ms));
                (Input::Replay(message, stored_ms), expected)
            }
            _ => {
                let expected = self.model.report(place, body, now, None);
                (Input::Report(message), expected)
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

    fn restore(&mut self, cluster: usize, block: u32, rows: &[ShardRow]) {
        let rows = match self.kept.get(&(cluster, block)) {
            Some(kept) if rows.is_empty() => kept.clone(),
            _ => rows.to_vec(),
        };
        let places = self.model.block(cluster, block);
        self.model.restore(&places, &rows, self.now);
        let block = TableBlock {
            epoch: 7,
            cluster: self.names[cluster].clone(),
            block,
            stream: String::new(),
            sequence: 0,
            at_ms: self.now.wall_ms,
            rows,
        };
        self.table.restore(&block, self.now);
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
            let rows = blocks.into_iter().flatten();
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
        Refusal::Range { .. } => Kind::Range,
        Refusal::NeverReported(..) => Kind::NeverReported,
        Refusal::NoState => Kind::NoState,
    }
}
