//! No message of ours comes near NATS's limit of a message.
//!
//! `cargo test -p glance-protocol --test sizes -- --nocapture` shows the sizes.
#![allow(clippy::unwrap_used)] // It is a test, its helpers too.

use glance_protocol::{
    BlockSet, Cause, Details, Pulse, PulseBlock, PulseCluster, SHARDS_MAX, ShardRow, State,
    TableBlock,
    pulse::BLOCKS_PER_PART,
    shard::{BLOCK_LEN, block_count},
};
use proptest::{collection::vec, prelude::*};

/// NATS's default limit of a message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// 2026-11-22, in Unix milliseconds.
const NOW_MS: i64 = 1_795_358_099_100;

/// The parts of a pulse, put together again.
fn join(parts: &[Pulse]) -> Pulse {
    let mut clusters: Vec<PulseCluster> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let numbers = (part.part as usize, part.parts as usize);
        assert_eq!(numbers, (index, parts.len()));
        let blocks = part.clusters.iter().map(|cluster| cluster.blocks.len());
        assert!(blocks.sum::<usize>() <= BLOCKS_PER_PART);
        let bytes = part.to_bytes();
        assert!(bytes.len() < MESSAGE_BYTES_MAX);
        assert_eq!(Pulse::from_bytes(&bytes).unwrap(), *part);
        for cluster in &part.clusters {
            match clusters.last_mut() {
                Some(last) if last.name == cluster.name => last.blocks.extend(&cluster.blocks),
                _ => clusters.push(cluster.clone()),
            }
        }
    }
    Pulse {
        part: 0,
        parts: 1,
        clusters,
        ..parts[0].clone()
    }
}

/// Some clusters with these numbers of blocks. Every second shard was heard,
/// which is the most that a set can take.
fn whole_pulse(blocks: &[u32]) -> Pulse {
    let places: BlockSet = (0..1024).step_by(2).chain([1023]).collect();
    let block = |block| PulseBlock {
        block,
        revision: u64::MAX,
        heard: places,
        healed: places,
    };
    let cluster = |(index, blocks): (usize, &u32)| PulseCluster {
        name: format!("{index:064}").parse().unwrap(),
        blocks: (0..*blocks).map(block).collect(),
    };
    Pulse {
        epoch: u64::MAX,
        number: u64::MAX,
        at_ms: NOW_MS,
        judging_since_ms: Some(NOW_MS),
        part: 0,
        parts: 1,
        clusters: blocks.iter().enumerate().map(cluster).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn parts_of_a_pulse_add_up(blocks in vec(prop_oneof![0_u32..3, 0_u32..1100], 0..4)) {
        let pulse = whole_pulse(&blocks);
        prop_assert_eq!(join(&pulse.clone().split()), pulse);
    }
}

/// One bot of 262,144 shards, eight of them, and the most clusters that there may be.
#[test]
fn the_largest_pulses() {
    for blocks in [vec![block_count(SHARDS_MAX)], vec![256; 8], vec![1; 1024]] {
        let pulse = whole_pulse(&blocks);
        let parts = pulse.clone().split();
        let count: u32 = blocks.iter().sum();
        assert_eq!(parts.len(), (count as usize).div_ceil(BLOCKS_PER_PART));
        assert_eq!(join(&parts), pulse);
        let len = parts.iter().map(|part| part.to_bytes().len()).max();
        println!(
            "{} clusters: a part has at most {len:?} bytes",
            blocks.len()
        );
    }
}

/// However many shards were heard, a set of them is not longer than its bitmap.
#[test]
fn sets_take_the_shorter_form() {
    let bytes = |places: BlockSet| {
        let mut pulse = whole_pulse(&[1]);
        pulse.clusters[0].blocks[0].heard = places;
        pulse.to_bytes().len()
    };
    let empty = bytes(BlockSet::default());
    let field = "\"heard\":\"\",".len();
    for step in 1..1024 {
        let len = bytes((0..1024).step_by(step).collect()) - empty;
        assert!(len <= field + 256, "{step}: {len}");
    }
    assert!(bytes([1023].into_iter().collect()) - empty < 20);
}

fn block(stream: &str, row: impl Fn(u32) -> ShardRow) -> TableBlock {
    TableBlock {
        epoch: u64::MAX,
        cluster: "x".repeat(64).parse().unwrap(),
        block: 255,
        stream: stream.to_owned(),
        sequence: u64::MAX,
        at_ms: NOW_MS,
        rows: (0..BLOCK_LEN).map(row).collect(),
    }
}

/// A block of a large bot that tells all it can.
#[test]
fn a_block_with_all_details() {
    let row = |id: u32| {
        let number = f64::from(id % 97);
        ShardRow {
            state: State::Online,
            previous: State::Resuming,
            cause: Some(Cause::Report),
            since_ms: Some(NOW_MS - 864_000_000 - i64::from(id) * 1_234),
            last_heard_ms: Some(NOW_MS - i64::from(id % 30) * 997),
            details: Details {
                total: None,
                group: Some(format!("cluster-{}", id / 16).into()),
                version: Some(["2026.11.1-a1b2c3d", "2026.11.2-e4f5a6b"][id as usize % 2].into()),
                latency_ms: Some(40.0 + number / 8.0),
                guilds: Some(1_000 + u64::from(id)),
                unavailable_guilds: Some(u64::from(id % 3)),
                events_per_s: Some(100.0 + number / 4.0),
            },
        }
    };
    let mut block = block("2026-11-22T12:00:00.123456789Z", row);
    let bytes = block.to_bytes();
    assert_eq!(TableBlock::from_bytes(&bytes).unwrap(), block);
    for row in &mut block.rows {
        row.details = Details::default();
    }
    let (len, bare_len) = (bytes.len(), block.to_bytes().len());
    println!("1,024 shards: {len} bytes with all details, {bare_len} without");
    assert!(len < 64 << 10 && bare_len < 24 << 10);
}

/// The worst texts and numbers that bots may send still make a block that NATS takes.
#[test]
fn a_block_with_the_worst_details() {
    // JSON writes a control character as six bytes.
    let text = |id: u32| format!("{}{id:04}", "\u{1}".repeat(60));
    let row = |id| ShardRow {
        since_ms: Some(0),
        last_heard_ms: Some(0),
        details: Details {
            total: None,
            group: Some(text(id).into()),
            version: Some(text(id).into()),
            latency_ms: Some(123_456_789.123),
            guilds: Some((1 << 53) - 1),
            unavailable_guilds: Some((1 << 53) - 1),
            events_per_s: Some(123_456_789.123),
        },
        ..ShardRow::default()
    };
    let len = block("", row).to_bytes().len();
    println!("1,024 shards: at most {len} bytes");
    assert!(len < MESSAGE_BYTES_MAX);
}

/// A block has at most 1,024 shards, whatever its columns say.
#[test]
fn a_block_that_is_too_long() {
    let mut block = block("", |_| ShardRow::default());
    assert!(TableBlock::from_bytes(&block.to_bytes()).is_ok());
    block.rows.push(ShardRow::default());
    assert!(TableBlock::from_bytes(&block.to_bytes()).is_err());
}
