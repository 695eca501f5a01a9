//! A stage for small stories about one cluster, `main`.

use std::time::Duration;

use glance_aggregator::table::{Input, Message, Moment, Refusal, Stored, Table, Transition};
use glance_protocol::{
    ClusterInfo, ClusterName, Details, ReportBody, ShardId, ShardRow, State, TableBlock, Timeouts,
    config::parse_bots,
};

/// When a story begins, in Unix milliseconds.
pub(crate) const BEGIN_MS: i64 = 1_795_350_000_000;

/// The size that the bot of a story tells.
pub(crate) type Total = Option<u32>;

pub(crate) struct Scene {
    pub(crate) table: Table,
    pub(crate) now: Moment,
    pub(crate) changes: Vec<Transition>,
    sequence: u64,
}

impl Scene {
    /// The aggregator can hear, and the first period of grace is over.
    pub(crate) fn new(bots: &str) -> Self {
        let mut scene = Self::blind(bots);
        scene.apply(Input::SightRegained).unwrap();
        scene.pass(31);
        scene
    }

    pub(crate) fn blind(bots: &str) -> Self {
        Self {
            table: Table::new(&parse_bots(bots).unwrap(), &Timeouts::default()),
            now: Moment {
                mono: Duration::ZERO,
                wall_ms: BEGIN_MS,
            },
            changes: Vec::new(),
            sequence: 0,
        }
    }

    pub(crate) fn apply(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        self.table.apply(input, self.now, &mut self.changes)
    }

    /// Nothing happens for so many seconds, but the table is asked every second.
    pub(crate) fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now.mono += Duration::from_secs(1);
            self.now.wall_ms += 1_000;
            self.apply(Input::Tick).unwrap();
        }
    }

    /// A report that the stream delivers as it is published.
    pub(crate) fn report(&mut self, shard: u32, state: State, total: Total) -> Result<(), Refusal> {
        self.sequence += 1;
        self.deliver(shard, state, total, self.sequence, None)
    }

    /// A report of the stream, with its sequence and, when it is replayed, the time at which it was stored.
    pub(crate) fn deliver(
        &mut self,
        shard: u32,
        state: State,
        total: Total,
        sequence: u64,
        at_ms: Option<i64>,
    ) -> Result<(), Refusal> {
        self.sequence = self.sequence.max(sequence);
        let body = body(Some(state), total);
        let stored = Stored { sequence, at_ms };
        self.apply(Input::Report(message(shard, &body), stored))
    }

    pub(crate) fn health(&mut self, shard: u32, total: Total) -> Result<(), Refusal> {
        let body = body(None, total);
        self.apply(Input::Health(message(shard, &body)))
    }

    /// A health check that carries a state.
    pub(crate) fn health_with(&mut self, shard: u32, state: State) {
        let body = body(Some(state), None);
        self.apply(Input::Health(message(shard, &body))).unwrap();
    }

    /// All of these shards report Online.
    pub(crate) fn start(&mut self, shards: std::ops::Range<u32>, total: Total) {
        for shard in shards {
            self.report(shard, State::Online, total).unwrap();
        }
    }

    /// For so many seconds these shards send a health check every ten seconds.
    pub(crate) fn live(&mut self, seconds: u32, shards: std::ops::Range<u32>, total: Total) {
        for _ in 0..seconds / 10 {
            self.pass(10);
            for shard in shards.clone() {
                self.health(shard, total).unwrap();
            }
        }
    }

    pub(crate) fn total(&self) -> u32 {
        self.table.clusters().next().unwrap().total
    }

    pub(crate) fn row(&self, shard: u32) -> ShardRow {
        let shard = ShardId::new(shard).unwrap();
        self.table.row(&main_cluster(), shard).unwrap()
    }

    pub(crate) fn state(&self, shard: u32) -> State {
        self.row(shard).state
    }

    /// How many shards are in this state.
    pub(crate) fn count(&self, state: State) -> usize {
        let rows = self.table.rows(0, 0);
        rows.iter().filter(|row| row.state == state).count()
    }

    /// Block 0, true up to the newest report.
    pub(crate) fn kept(&self) -> TableBlock {
        TableBlock {
            epoch: 7,
            cluster: main_cluster(),
            block: 0,
            stream: "present".to_owned(),
            sequence: self.sequence,
            at_ms: self.now.wall_ms,
            rows: self.table.rows(0, 0),
        }
    }

    pub(crate) fn kept_info(&self) -> ClusterInfo {
        self.table.clusters().next().unwrap().clone()
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn adopt(&mut self, block: &TableBlock, same_stream: bool) {
        self.table
            .adopt(block, same_stream, self.now, &mut self.changes);
    }
}

pub(crate) fn main_cluster() -> ClusterName {
    "main".parse().unwrap()
}

fn body(state: Option<State>, total: Total) -> ReportBody {
    ReportBody {
        state,
        details: Details {
            total,
            ..Details::default()
        },
        ..ReportBody::default()
    }
}

fn message(shard: u32, body: &ReportBody) -> Message<'_> {
    static MAIN: std::sync::LazyLock<ClusterName> = std::sync::LazyLock::new(main_cluster);
    Message {
        cluster: &MAIN,
        shard: ShardId::new(shard).unwrap(),
        body,
    }
}
