//! Messages that are compressed once for all viewers (RFC 7692).
//!
//! Each message is compressed by itself, without what came before it, so that
//! the same bytes serve every viewer, whenever it came. Pure.

use flate2::{Compress, Compression, FlushCompress, Status};

/// Shorter messages are sent as they are, which the extension allows.
const BYTES_MIN: usize = 200;
/// Numbers and repeated words shrink nearly as much with little effort as with much.
const LEVEL: u32 = 3;
/// What ends each compressed message, and is left out (RFC 7692, section 7.2.1).
const END: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty block and its end, beside the compressed bytes.
const ROOM: usize = 64;

/// Compresses messages one after the other, each by itself.
#[derive(Debug)]
pub(crate) struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        // Without the header of zlib.
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Deflater {
    /// The payload of a compressed message; `None` when compression makes it no smaller.
    pub(crate) fn compress(&mut self, text: &str) -> Option<Vec<u8>> {
        if text.len() < BYTES_MIN {
            return None;
        }
        self.0.reset();
        // What does not fit into this is no smaller.
        let mut out = Vec::with_capacity(text.len() + ROOM);
        let status = self
            .0
            .compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync);
        let is_whole = self.0.total_in() == text.len() as u64 && out.len() < out.capacity();
        if !matches!(status, Ok(Status::Ok)) || !is_whole || !out.ends_with(&END) {
            return None;
        }
        out.truncate(out.len() - END.len());
        (out.len() < text.len()).then_some(out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    /// As a viewer reads it.
    pub(crate) fn inflate(payload: &[u8]) -> String {
        let bytes = [payload, &END].concat();
        let mut out = Vec::with_capacity(1024 * 1024);
        let mut inflater = Decompress::new(false);
        inflater
            .decompress_vec(&bytes, &mut out, FlushDecompress::Sync)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_message_stands_by_itself() {
        let mut deflater = Deflater::default();
        for number in 0..3 {
            let text = format!("[{number},3,1,1795358092.349,\"health\"],").repeat(1000);
            let payload = deflater.compress(&text).unwrap();
            assert!(payload.len() < text.len() / 20);
            assert_eq!(inflate(&payload), text);
        }
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let mut deflater = Deflater::default();
        assert_eq!(deflater.compress("{}"), None);
        // Hardly a byte comes twice: each printable sign of ASCII, and signs of two bytes from many alphabets.
        let ascii = (33..127).filter_map(char::from_u32);
        let others = (0..60).filter_map(|place| char::from_u32(0x80 + place * 33));
        let text: String = ascii.chain(others).collect();
        assert!(text.len() >= BYTES_MIN);
        assert_eq!(deflater.compress(&text), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[0-9,a-cä]{300,3000}") {
            let payload = Deflater::default().compress(&text);
            prop_assert!(payload.as_ref().is_some_and(|payload| payload.len() < text.len()));
            prop_assert_eq!(inflate(&payload.unwrap_or_default()), text);
        }
    }
}
