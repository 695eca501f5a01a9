//! Clients of both dialects, as somebody would write them from the contract.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use glance_protocol::feed::{Clock, Version};
use serde_json::Value;

use crate::{mirror::Mirror, picture::Picture};

/// The texts in whole frames, as a client reads them.
pub(super) fn texts(pieces: &[Bytes]) -> Vec<Value> {
    let mut texts = Vec::new();
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            assert_eq!(rest[0], 0x81);
            let (head, len) = match rest[1] {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                127 => {
                    let len = u64::from_be_bytes(rest[2..10].try_into().unwrap());
                    (10, usize::try_from(len).unwrap())
                }
                len => (2, usize::from(len)),
            };
            texts.push(serde_json::from_slice(&rest[head..head + len]).unwrap());
            rest = &rest[head + len..];
        }
    }
    texts
}

pub(super) fn picture(mirror: &Mirror) -> Picture {
    let lately = crate::history::History::default().lately();
    Picture::take(mirror, 1, Clock::default(), None, Arc::default(), lately)
}

pub(super) type States = BTreeMap<(String, String), u64>;

/// A client of the default dialect.
pub(super) fn read_hello(mirror: &Mirror) -> States {
    let hello = texts(&[picture(mirror).hello()]).remove(0);
    let mut states = States::new();
    for (cluster, shards) in hello["payload"].as_object().unwrap() {
        for (id, shard) in shards.as_object().unwrap() {
            if id != "len" {
                let state = shard["state"].as_u64().unwrap();
                states.insert((cluster.clone(), id.clone()), state);
            }
        }
    }
    states
}

pub(super) fn follow(states: &mut States, frame: &Value) {
    let payload = &frame["payload"];
    let cluster = payload["cluster"].as_str().unwrap().to_owned();
    let place = (cluster, payload["shard"].to_string());
    match frame["op"].as_str().unwrap() {
        "state_update" => {
            states.insert(place, payload["state"].as_u64().unwrap());
        }
        "health_ping" => {
            let shown = states.get_mut(&place).expect("only shards that reported");
            if let Some(state) = payload["state"].as_u64() {
                *shown = state;
            }
        }
        other => panic!("{other}"),
    }
}

pub(super) type Table = BTreeMap<(String, u64), (u64, u64, Option<f64>)>;

/// A client of the page's dialect: shards, and the version of each block.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PageClient {
    pub(super) shards: Table,
    blocks: BTreeMap<(String, u64), Version>,
}

impl PageClient {
    pub(super) fn start(mirror: &Mirror) -> Self {
        let mut client = Self::default();
        for cluster in mirror.clusters() {
            let name = cluster.info.name.to_string();
            for (id, row, _) in cluster.shards() {
                let since = row.since_ms.map(glance_protocol::seconds);
                let values = (
                    row.state.number().into(),
                    row.previous.number().into(),
                    since,
                );
                client.shards.insert((name.clone(), id.into()), values);
            }
            for (block, held) in (0..).zip(&cluster.blocks) {
                client.blocks.insert((name.clone(), block), held.version);
            }
        }
        client
    }

    pub(super) fn follow(&mut self, frame: &Value) {
        if frame["op"] != "changes" {
            return;
        }
        let payload = &frame["payload"];
        let name = payload["cluster"].as_str().unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        let version = Version {
            epoch: number(&payload["version"][0]),
            revision: number(&payload["version"][1]),
        };
        let block = (name.to_owned(), number(&payload["block"]));
        let held = self.blocks.get_mut(&block).unwrap();
        assert!(version > *held);
        *held = version;
        for shard in payload["shards"].as_array().unwrap() {
            let values = (number(&shard[1]), number(&shard[2]), shard[3].as_f64());
            let place = (name.to_owned(), number(&shard[0]));
            *self.shards.get_mut(&place).unwrap() = values;
        }
    }
}
