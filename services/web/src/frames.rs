//! Changes as the bytes that go to viewers' sockets.
//!
//! Frames from a server are not masked, so that the same bytes serve every
//! viewer: each is encoded once, header and all.

use std::collections::BTreeMap;

use bytes::Bytes;
use glance_protocol::{BLOCK_LEN, ClusterName, feed};

use crate::{
    deflate::Deflater,
    mirror::{BlockChange, HeardBlock},
    picture::Picture,
};

/// Frames are handed out in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Longer messages are sent in fragments of this size.
const FRAGMENT_BYTES: usize = 1024 * 1024;
const FINAL: u8 = 0x80;
/// The message is compressed (RFC 7692, section 6).
const COMPRESSED: u8 = 0x40;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;

/// Something that viewers are told, in the order in which it happened.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A block has a new value.
    Block(BlockChange),
    /// A second has passed; these shards were heard in it.
    Heard(Vec<HeardBlock>),
    /// The operators' notices are others.
    Notices,
    /// The clusters are others.
    Clusters,
    /// What is held was replaced from the ground up.
    Anew,
}

/// Appends a frame (RFC 6455, section 5.2), which a server does not mask.
fn push_part(out: &mut Vec<u8>, head: u8, payload: &[u8]) {
    out.push(head);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// How many frames these bytes are.
#[must_use]
pub(crate) fn count(mut frames: &[u8]) -> u64 {
    let mut count = 0;
    // The first byte is the head, the second the length, or which length follows.
    while let [_, short, rest @ ..] = frames {
        let long = match short {
            127 => rest
                .split_first_chunk()
                .map(|(len, rest)| (u64::from_be_bytes(*len), rest)),
            126 => rest
                .split_first_chunk()
                .map(|(len, rest)| (u16::from_be_bytes(*len).into(), rest)),
            len => Some((u64::from(*len), rest)),
        };
        let Some((len, rest)) = long else { break };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        frames = rest.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

/// A single text message. A very long one is split into fragments, since
/// clients have limits on frames (RFC 6455, section 5.4).
#[must_use]
pub(crate) fn message(text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 10);
    let mut parts = text.as_bytes().chunks(FRAGMENT_BYTES).peekable();
    let mut opcode = TEXT;
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { FINAL } else { 0 };
        push_part(&mut out, last | opcode, part);
        opcode = CONTINUATION;
    }
    out.into()
}

/// Frames in pieces, each of whole frames.
#[derive(Debug, Default)]
struct Pieces {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Pieces {
    fn push(&mut self, text: &str) {
        self.push_message(FINAL | TEXT, text.as_bytes());
    }

    fn push_compressed(&mut self, text: &str, deflater: &mut Deflater) {
        match deflater.compress(text) {
            Some(payload) => self.push_message(FINAL | COMPRESSED | TEXT, &payload),
            None => self.push(text),
        }
    }

    fn push_message(&mut self, head: u8, payload: &[u8]) {
        push_part(&mut self.open, head, payload);
        if self.open.len() >= PIECE_BYTES {
            self.done.push(std::mem::take(&mut self.open).into());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.into());
        }
        self.done
    }
}

/// The frames of the default dialect. A change of the clusters has none: such viewers are closed.
#[must_use]
pub(crate) fn everybody(changes: &[Change]) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    let mut text = String::new();
    // After a change of sizes everybody is told to connect again; what comes with it may be beyond what they know.
    let sizes_change = |change: &&Change| matches!(change, Change::Clusters);
    for change in changes.iter().take_while(|it| !sizes_change(it)) {
        match change {
            Change::Block(change) => {
                for shard in change.shards.iter().filter(|shard| shard.state_changed) {
                    text.clear();
                    let (id, state) = (shard.shard.id, shard.shard.state);
                    feed::push_state_update(&mut text, &change.cluster, id, state);
                    pieces.push(&text);
                }
            }
            Change::Heard(blocks) => {
                for block in blocks {
                    for (id, place) in ids(block) {
                        text.clear();
                        let healed = block.healed.contains(place);
                        feed::push_health_ping(&mut text, &block.cluster, id, healed);
                        pieces.push(&text);
                    }
                }
            }
            Change::Notices | Change::Clusters | Change::Anew => {}
        }
    }
    pieces.finish()
}

fn ids(block: &HeardBlock) -> impl Iterator<Item = (u32, usize)> + '_ {
    let places = block.heard.iter();
    places.filter_map(|place| {
        let offset = u32::try_from(place).ok()?;
        Some((block.block * BLOCK_LEN + offset, place))
    })
}

/// The messages of the page's dialect. `picture` holds the changes already.
#[must_use]
pub(crate) fn page(changes: &[Change], picture: &Picture) -> Vec<String> {
    let texts = changes.iter().filter_map(|change| match change {
        Change::Block(change) if change.shards.is_empty() => None,
        Change::Block(change) => {
            let shards: Vec<_> = change.shards.iter().map(|change| change.shard).collect();
            let (cluster, block) = (&change.cluster, change.block);
            Some(feed::page_changes(cluster, block, change.version, &shards))
        }
        Change::Heard(blocks) => {
            let bitmaps = bitmaps(blocks);
            let heard = bitmaps.iter().map(|(name, bitmap)| (*name, &bitmap[..]));
            Some(feed::page_pulse(picture.clock, heard))
        }
        Change::Notices => Some(feed::page_notices(&picture.notices)),
        Change::Clusters => Some(feed::page_clusters(&picture.page_clusters())),
        Change::Anew => Some(feed::page_resync(&picture.page_clusters())),
    });
    texts.collect()
}

/// Messages as frames.
#[must_use]
pub(crate) fn plain(texts: &[String]) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    texts.iter().for_each(|text| pieces.push(text));
    pieces.finish()
}

/// Messages as frames for viewers that take compressed ones.
#[must_use]
pub(crate) fn compressed(texts: &[String]) -> Vec<Bytes> {
    let (mut pieces, mut deflater) = (Pieces::default(), Deflater::default());
    for text in texts {
        pieces.push_compressed(text, &mut deflater);
    }
    pieces.finish()
}

/// For each cluster, who was heard: shard `i` is bit `i % 8` of byte `i / 8`.
fn bitmaps(blocks: &[HeardBlock]) -> BTreeMap<&ClusterName, Vec<u8>> {
    const BLOCK_BYTES: usize = (BLOCK_LEN / 8) as usize;
    let mut bitmaps: BTreeMap<&ClusterName, Vec<u8>> = BTreeMap::new();
    for block in blocks {
        let bitmap = bitmaps.entry(&block.cluster).or_default();
        let start = block.block as usize * BLOCK_BYTES;
        let bytes = block.heard.to_bitmap();
        if bitmap.len() < start + bytes.len() {
            bitmap.resize(start + bytes.len(), 0);
        }
        bitmap[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    bitmaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_whatever_their_length() {
        let text = |len: usize| message(&"x".repeat(len));
        for (len, frames) in [
            (1, 1),
            (125, 1),
            (126, 1),
            (65_536, 1),
            (FRAGMENT_BYTES + 1, 2),
        ] {
            assert_eq!(count(&text(len)), frames, "{len}");
        }
        let three = [text(3), text(70_000), text(200)].concat();
        assert_eq!(count(&three), 3);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn a_frame_says_its_length() {
        for (len, head) in [
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let bytes = message(&"x".repeat(len));
            assert_eq!(bytes[..head.len()], head[..]);
            assert_eq!(bytes.len(), head.len() + len);
        }
    }

    #[test]
    fn a_very_long_message_comes_in_fragments() {
        let bytes = message(&"x".repeat(2 * FRAGMENT_BYTES + 5));
        let second = 10 + FRAGMENT_BYTES;
        let third = 2 * second;
        assert_eq!((bytes[0], bytes[second], bytes[third]), (0x01, 0x00, 0x80));
        assert_eq!((bytes[third + 1], bytes.len()), (5, third + 2 + 5));
    }

    /// Their sizes are those of before, and they are told to connect again.
    #[test]
    fn nothing_is_told_after_a_change_of_sizes() {
        let change = |id| {
            let shard = crate::mirror::ShardChange {
                shard: feed::PageShard {
                    id,
                    state: glance_protocol::State::Online,
                    previous: glance_protocol::State::Unknown,
                    since_ms: None,
                    cause: None,
                },
                state_changed: true,
            };
            Change::Block(BlockChange {
                cluster: "main".parse().unwrap(),
                block: 0,
                version: feed::Version::default(),
                shards: vec![shard],
            })
        };
        let told = |changes: &[Change]| everybody(changes).concat().len();
        let before = told(&[change(3)]);
        assert!(before > 0);
        assert_eq!(told(&[change(3), Change::Clusters, change(400)]), before);
    }

    #[test]
    fn a_compressed_message_says_so_and_a_short_one_stays_as_it_is() {
        let texts = ["x".repeat(1000), "short".to_owned()];
        let bytes = compressed(&texts).concat();
        assert_eq!(bytes[0], FINAL | COMPRESSED | TEXT);
        let (payload, rest) = bytes[2..].split_at(bytes[1].into());
        assert_eq!(crate::deflate::tests::inflate(payload), texts[0]);
        assert_eq!(rest, [&[FINAL | TEXT, 5], texts[1].as_bytes()].concat());
        assert_eq!(plain(&texts[1..]).concat(), rest);
    }

    #[test]
    fn pieces_hold_whole_frames() {
        let mut pieces = Pieces::default();
        let text = "x".repeat(1000);
        for _ in 0..200 {
            pieces.push(&text);
        }
        let pieces = pieces.finish();
        assert!(pieces.iter().all(|piece| piece.len() % 1004 == 0));
        assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 1004));
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 200 * 1004);
    }
}
