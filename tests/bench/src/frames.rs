//! Frames of a WebSocket in bytes that were recorded.

use flate2::{Decompress, FlushDecompress};
use glance_protocol::State;
use serde::Deserialize;

const COMPRESSED: u8 = 0x40;
/// The largest message that is inflated.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a frame of either dialect says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Shards that have another state.
    Changes(Vec<(u32, State)>),
    /// What was missed has to be fetched.
    Resync,
    /// Something else.
    Other,
}

/// A frame, as a stranger would read it.
#[derive(Deserialize)]
#[serde(tag = "op", content = "payload", rename_all = "snake_case")]
enum Wire {
    /// The default dialect: a shard has another state.
    StateUpdate {
        shard: u32,
        state: i64,
    },
    /// The page's dialect: id, state and more of each shard that changed.
    Changes {
        shards: Vec<Row>,
    },
    Resync {},
    #[serde(other)]
    Other,
}

type Row = (
    u32,
    i64,
    serde::de::IgnoredAny,
    serde::de::IgnoredAny,
    serde::de::IgnoredAny,
);

/// Reads the text of one frame.
pub(crate) fn parse(text: &[u8]) -> Frame {
    let known = |(shard, state)| Some((shard, State::from_number(state).ok()?));
    match serde_json::from_slice(text) {
        Ok(Wire::StateUpdate { shard, state }) => {
            Frame::Changes(known((shard, state)).into_iter().collect())
        }
        Ok(Wire::Changes { shards }) => {
            let shards = shards.iter().map(|row| (row.0, row.1));
            Frame::Changes(shards.filter_map(known).collect())
        }
        Ok(Wire::Resync {}) => Frame::Resync,
        Ok(Wire::Other) | Err(_) => Frame::Other,
    }
}

/// Reads whole frames, which a server does not mask, each with the place at which it ends.
pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame)> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (payload, end) = next(bytes, start)?;
        let is_compressed = bytes[start] & COMPRESSED != 0;
        start = end;
        let frame = match is_compressed {
            true => inflate(payload).map_or(Frame::Other, |text| parse(&text)),
            false => parse(payload),
        };
        Some((end, frame))
    })
}

/// A message that was compressed by itself (RFC 7692, section 7.2.2).
fn inflate(payload: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(MESSAGE_BYTES_MAX);
    let bytes = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut inflater = Decompress::new(false);
    let read = inflater.decompress_vec(&bytes, &mut text, FlushDecompress::Sync);
    read.ok().map(|_| text)
}

/// The payload of the frame at `start`, and where it ends (RFC 6455, section 5.2).
fn next(bytes: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let head = bytes.get(start..start + 2)?;
    let number = |len: usize| {
        let digits = bytes.get(start + 2..start + 2 + len)?;
        Some(
            digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    };
    let (len, more) = match head[1] & 0x7f {
        126 => (number(2)?, 2),
        127 => (number(8)?, 8),
        len => (usize::from(len), 0),
    };
    let payload = start + 2 + more;
    Some((bytes.get(payload..payload + len)?, payload + len))
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    #[test]
    fn plain_and_compressed_frames_are_read() {
        let text = br#"{"op":"state_update","payload":{"cluster":"main","shard":3,"state":6}}"#;
        let mut payload = Vec::with_capacity(200);
        let mut deflater = Compress::new(Compression::fast(), false);
        deflater
            .compress_vec(text, &mut payload, FlushCompress::Sync)
            .unwrap();
        payload.truncate(payload.len() - 4);
        let frame = |head, payload: &[u8]| {
            let len = u8::try_from(payload.len()).unwrap();
            [&[head, len], payload].concat()
        };
        let bytes = [frame(0x81, text), frame(0xc1, &payload), vec![0x81, 9]].concat();
        let told = Frame::Changes(vec![(3, State::Resuming)]);
        let read: Vec<_> = read(&bytes).collect();
        assert_eq!(read.len(), 2, "the last one is cut off");
        assert_eq!((read[0].0, &read[0].1), (2 + text.len(), &told));
        assert_eq!((read[1].0, &read[1].1), (bytes.len() - 2, &told));
    }
}
