//! Checks the times of the last signs of life: whatever the aggregator's clock
//! does, in the end they are the aggregator's.

use glance_protocol::BlockSet;

use super::*;

const LEN: usize = 6;
const HOUR_MS: i64 = 3_600_000;

/// What happens, a second after what happened before.
#[derive(Debug, Clone)]
enum Event {
    /// A shard reports, and its block goes out at once.
    Report(usize),
    /// These shards send health checks, which the pulse tells.
    Hear(u8),
    /// The aggregator notices that its wall clock was set, shifts what it holds, and writes it.
    Step(i64),
    /// Another aggregator takes the lease. Its clock may be another one.
    Lead(i64),
}

/// The aggregator, and what it sends.
struct Fleet {
    epoch: u64,
    revision: u64,
    clock_ms: i64,
    heard_ms: [Option<i64>; LEN],
    pending: BlockSet,
    messages: Vec<Message>,
}

impl Fleet {
    fn put(&mut self) {
        self.revision += 1;
        let rows = self.heard_ms.iter().map(|heard_ms| ShardRow {
            state: State::Online,
            since_ms: heard_ms.map(|_| 0),
            last_heard_ms: *heard_ms,
            ..ShardRow::default()
        });
        let value = TableBlock {
            epoch: self.epoch,
            cluster: name("main"),
            block: 0,
            stream: String::new(),
            sequence: 0,
            at_ms: self.clock_ms,
            rows: rows.collect(),
        };
        self.messages.push(Message::Block(self.revision, value));
    }

    fn pulse(&mut self) {
        let entry = PulseBlock {
            block: 0,
            revision: self.revision,
            heard: std::mem::take(&mut self.pending),
            healed: BlockSet::default(),
        };
        self.messages.push(Message::Pulse(Pulse {
            epoch: self.epoch,
            number: self.messages.len() as u64,
            at_ms: self.clock_ms,
            judging_since_ms: None,
            part: 0,
            parts: 1,
            clusters: vec![PulseCluster {
                name: name("main"),
                blocks: vec![entry],
            }],
        }));
    }

    fn shift(&mut self, by_ms: i64) {
        self.clock_ms += by_ms;
        for heard_ms in self.heard_ms.iter_mut().flatten() {
            *heard_ms += by_ms;
        }
    }

    /// A second passes, something happens, and a pulse goes out.
    fn step(&mut self, event: &Event) {
        self.clock_ms += 1000;
        match event {
            Event::Report(place) => {
                self.heard_ms[*place] = Some(self.clock_ms);
                self.put();
            }
            Event::Hear(bits) => {
                for place in (0..LEN).filter(|place| bits >> place & 1 == 1) {
                    if let Some(heard_ms) = &mut self.heard_ms[place] {
                        *heard_ms = self.clock_ms;
                        self.pending.insert(place);
                    }
                }
            }
            Event::Step(by_ms) => {
                self.shift(*by_ms);
                self.put();
            }
            Event::Lead(by_ms) => {
                self.epoch += 1;
                self.shift(*by_ms);
                self.messages.push(Message::Lease(Lead::Epoch(self.epoch)));
                self.put();
            }
        }
        self.pulse();
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // Steps of few seconds cannot be told from messages that overtook each other; they do little harm.
    let by_ms = || prop_oneof![-HOUR_MS..-10_000, 10_000..HOUR_MS];
    let event = prop_oneof![
        4 => (0..LEN).prop_map(Event::Report),
        8 => any::<u8>().prop_map(Event::Hear),
        1 => by_ms().prop_map(Event::Step),
        1 => by_ms().prop_map(Event::Lead),
    ];
    proptest::collection::vec(event, 1..40)
}

/// A block and the pulse after it come on two subscriptions, and may overtake each other.
fn swap_some(messages: &mut [Message], swaps: u64) {
    let mut first = 0;
    while let Some([a, b]) = messages.get_mut(first..first + 2) {
        let may = matches!((&*a, &*b), (Message::Block(..), Message::Pulse(_)));
        if may && swaps >> (first % 64) & 1 == 1 {
            std::mem::swap(a, b);
            first += 1;
        }
        first += 1;
    }
}

proptest! {
    #[test]
    fn last_heard_is_what_the_aggregator_says(
        events in events(),
        swaps in any::<u64>(),
    ) {
        let mut fleet = Fleet {
            epoch: 7,
            revision: 0,
            clock_ms: 10 * HOUR_MS,
            heard_ms: [None; LEN],
            pending: BlockSet::default(),
            messages: Vec::new(),
        };
        fleet.put();
        for event in &events {
            fleet.step(event);
        }
        let mut mirror = Mirror::default();
        mirror.follow(Lead::Epoch(7));
        mirror.apply_clusters(Source::Key, 1, ClusterList {
            epoch: 7,
            clusters: vec![ClusterInfo { name: name("main"), total: 6, timeout_s: 30.0, auto: false }],
            ..ClusterList::default()
        });
        let mut messages = fleet.messages.clone();
        swap_some(&mut messages, swaps);
        for message in messages {
            apply(&mut mirror, Source::Live, message);
        }
        let held = &mirror.clusters()[0].blocks[0];
        prop_assert_eq!(&held.last_heard_ms[..], &fleet.heard_ms[..]);
    }
}
