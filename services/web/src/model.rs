//! Checks the mirror and the frames against a naive model: random histories,
//! delivered out of order, twice, or not at all.

use std::collections::BTreeMap;

use glance_protocol::{
    Cause, ClusterInfo, ClusterList, ClusterName, Pulse, PulseBlock, PulseCluster, ShardRow, State,
    TableBlock,
    feed::Version,
    shard::{block_count, block_len},
};
use proptest::prelude::*;

use crate::{
    frames::{self, Change},
    mirror::{Lead, ListChange, Mirror, Source},
};

mod clients;
mod times;

use clients::{PageClient, States, follow, picture, read_hello, texts};

const NAMES: [&str; 3] = ["b", "a", "table"];

/// What an aggregator may do next.
#[derive(Debug, Clone)]
enum Step {
    /// Another configuration; it rewrites every block. 0 leaves a cluster out.
    List([u32; 3]),
    /// A block changes. The numbers choose which, and what changes in it.
    Put(usize, u32),
    /// Another aggregator leads; it rewrites every block.
    Lead,
    /// A pulse in which these shards of every block were heard and healed.
    Pulse(u16, u16),
}

#[derive(Debug, Clone)]
enum Message {
    Lease(Lead),
    List(u64, ClusterList),
    Block(u64, TableBlock),
    Pulse(Pulse),
}

/// The broker: what the keys hold, and every message there was.
#[derive(Default)]
struct World {
    /// Whether there is a lease.
    leased: bool,
    epoch: u64,
    revision: u64,
    list: Vec<(ClusterName, u32)>,
    list_revision: u64,
    keys: BTreeMap<(ClusterName, u32), (u64, TableBlock)>,
    messages: Vec<Message>,
}

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn row(seed: u32, at: u64) -> ShardRow {
    if seed.is_multiple_of(5) {
        return ShardRow::default();
    }
    let state = State::ALL[(seed % 7) as usize];
    ShardRow {
        state,
        previous: State::ALL[(seed / 7 % 7) as usize],
        cause: Some(Cause::Report),
        since_ms: Some(i64::try_from(at).unwrap() * 1000),
        last_heard_ms: Some(i64::try_from(at).unwrap() * 1000),
        ..ShardRow::default()
    }
}

impl World {
    fn clusters(&self) -> ClusterList {
        let clusters = self.list.iter().map(|(name, total)| ClusterInfo {
            name: name.clone(),
            total: *total,
            timeout_s: 30.0,
            auto: false,
        });
        ClusterList {
            epoch: self.epoch,
            clusters: clusters.collect(),
            ..ClusterList::default()
        }
    }

    fn lead(&self) -> Lead {
        match self.leased {
            true => Lead::Epoch(self.epoch),
            false => Lead::Nobody,
        }
    }

    fn put_list(&mut self) {
        self.revision += 1;
        self.list_revision = self.revision;
        let list = self.clusters();
        self.messages.push(Message::List(self.revision, list));
    }

    fn put(&mut self, place: (ClusterName, u32), len: u32, seed: u32) {
        self.revision += 1;
        let mut rows = match self.keys.get(&place) {
            Some((_, held)) if held.rows.len() == len as usize => held.rows.clone(),
            _ => vec![ShardRow::default(); len as usize],
        };
        let chosen = (seed % 4) as usize % rows.len();
        rows[chosen] = row(seed, self.revision);
        let value = TableBlock {
            epoch: self.epoch,
            cluster: place.0.clone(),
            block: place.1,
            stream: String::new(),
            sequence: 0,
            at_ms: i64::try_from(self.revision).unwrap() * 1000,
            rows,
        };
        self.messages
            .push(Message::Block(self.revision, value.clone()));
        self.keys.insert(place, (self.revision, value));
    }

    fn places(&self) -> Vec<((ClusterName, u32), u32)> {
        let clusters = self.list.iter();
        clusters
            .flat_map(|(name, total)| {
                (0..block_count(*total))
                    .map(|block| ((name.clone(), block), block_len(*total, block)))
            })
            .collect()
    }

    fn rewrite(&mut self) {
        self.put_list();
        for (place, len) in self.places() {
            self.put(place, len, 3);
        }
    }

    fn pulse(&mut self, heard: u16, healed: u16) {
        let set = |bits: u16| (0..16).filter(|bit| bits >> bit & 1 == 1).collect();
        let mut clusters: Vec<PulseCluster> = Vec::new();
        for ((name, block), _) in self.places() {
            let revision = self.keys[&(name.clone(), block)].0;
            let entry = PulseBlock {
                block,
                revision,
                heard: set(heard),
                healed: set(healed),
            };
            match clusters.last_mut().filter(|cluster| cluster.name == name) {
                Some(cluster) => cluster.blocks.push(entry),
                None => clusters.push(PulseCluster {
                    name,
                    blocks: vec![entry],
                }),
            }
        }
        self.messages.push(Message::Pulse(Pulse {
            epoch: self.epoch,
            number: self.messages.len() as u64,
            at_ms: i64::try_from(self.revision).unwrap() * 1000,
            judging_since_ms: None,
            part: 0,
            parts: 1,
            clusters,
        }));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::List(totals) => {
                let named = NAMES.iter().map(|text| name(text)).zip(*totals);
                self.list = named.filter(|(_, total)| *total > 0).collect();
                self.keys.clear();
                self.rewrite();
            }
            Step::Put(which, seed) => {
                let places = self.places();
                if !places.is_empty() {
                    let (place, len) = places[which % places.len()].clone();
                    self.put(place, len, *seed);
                }
            }
            Step::Lead => {
                self.epoch += 1;
                self.messages.push(Message::Lease(self.lead()));
                self.rewrite();
            }
            Step::Pulse(heard, healed) => self.pulse(*heard, *healed),
        }
    }

    /// Everything the keys hold, as a replica reads it.
    fn read(&self) -> Vec<Message> {
        let list = Message::List(self.list_revision, self.clusters());
        let blocks = self.keys.values().cloned();
        [Message::Lease(self.lead()), list]
            .into_iter()
            .chain(blocks.map(|(revision, value)| Message::Block(revision, value)))
            .collect()
    }
}

fn apply(mirror: &mut Mirror, source: Source, message: Message) -> Option<Change> {
    match message {
        Message::Lease(lead) => {
            // The keeper looks twice at a lower one.
            if !mirror.is_ahead_of(lead) {
                mirror.follow(lead);
            }
            None
        }
        Message::List(revision, list) => {
            let change = mirror.apply_clusters(source, revision, list);
            (change == ListChange::Changed).then_some(Change::Clusters)
        }
        Message::Block(revision, value) => {
            Some(Change::Block(mirror.apply_block(source, revision, value)?))
        }
        Message::Pulse(pulse) => Some(Change::Heard(mirror.apply_pulse(&pulse)?)),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let total = prop_oneof![Just(0_u32), Just(2), Just(3), Just(1026)];
    let step = prop_oneof![
        1 => [total.clone(), total.clone(), total].prop_map(Step::List),
        12 => (any::<usize>(), any::<u32>()).prop_map(|(which, seed)| Step::Put(which, seed)),
        1 => Just(Step::Lead),
        5 => (any::<u16>(), any::<u16>()).prop_map(|(heard, healed)| Step::Pulse(heard, healed)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    /// Whatever was lost, doubled or out of order: after the keys are read,
    /// the mirror holds what they hold, and so does every viewer.
    #[test]
    fn mirror_and_viewers_converge(
        steps in steps(),
        delivered in proptest::collection::vec(any::<prop::sample::Index>(), 0..80),
        in_order in any::<bool>(),
        leased in any::<bool>(),
        fold in 1_usize..4,
    ) {
        let mut world = World { leased, epoch: 1, ..World::default() };
        world.step(&Step::List([2, 0, 1026]));
        for step in &steps {
            world.step(step);
        }
        let mut order: Vec<usize> = delivered.iter().map(|i| i.index(world.messages.len())).collect();
        if in_order {
            order.sort_unstable();
        }
        let live = order.iter().map(|i| (Source::Live, world.messages[*i].clone()));
        let read = world.read().into_iter().map(|message| (Source::Key, message));

        let mut mirror = Mirror::default();
        let mut states = read_hello(&mirror);
        let mut page = PageClient::start(&mirror);
        let mut folded = Vec::new();
        for (index, (source, message)) in live.chain(read).enumerate() {
            folded.extend(apply(&mut mirror, source, message));
            if index % fold != 0 {
                continue;
            }
            tell(&mirror, &std::mem::take(&mut folded), &mut states, &mut page);
        }
        tell(&mirror, &folded, &mut states, &mut page);

        for ((name, block), _) in world.places() {
            let (revision, value) = &world.keys[&(name.clone(), block)];
            let cluster = mirror.clusters().iter().find(|c| c.info.name == name).unwrap();
            let held = &cluster.blocks[block as usize];
            prop_assert_eq!(held.version, Version { epoch: value.epoch, revision: *revision });
            prop_assert_eq!(&*held.rows, &value.rows);
            for (row, heard) in held.rows.iter().zip(&held.last_heard_ms) {
                prop_assert_eq!(row.reported(), heard.is_some());
                // `times` checks more of it, for messages that come in an order that is possible.
                prop_assert!(heard.is_some() || row.last_heard_ms.is_none());
            }
        }
        prop_assert_eq!(mirror.epoch(), world.epoch);
        let names: Vec<_> = mirror.clusters().iter().map(|c| c.info.name.clone()).collect();
        let listed: Vec<_> = world.list.iter().map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(names, listed);
        let mut fresh = read_hello(&mirror);
        // A shard that once reported and no longer did so stays on a viewer's screen as Unknown.
        for (place, state) in &states {
            if *state == 0 {
                fresh.entry(place.clone()).or_insert(0);
            }
        }
        prop_assert_eq!(states, fresh);
        // A block of which only details changed is not told; its version may differ.
        prop_assert_eq!(page.shards, PageClient::start(&mirror).shards);
    }
}

/// Sends what was folded to both viewers; a change of the clusters makes them come again.
fn tell(mirror: &Mirror, changes: &[Change], states: &mut States, page: &mut PageClient) {
    if changes
        .iter()
        .any(|change| matches!(change, Change::Clusters))
    {
        *states = read_hello(mirror);
        *page = PageClient::start(mirror);
        return;
    }
    for frame in texts(&frames::everybody(changes)) {
        follow(states, &frame);
    }
    for frame in texts(&frames::plain(&frames::page(changes, &picture(mirror)))) {
        page.follow(&frame);
    }
}
