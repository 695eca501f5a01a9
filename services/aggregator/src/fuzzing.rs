//! The parsers of the aggregator, for the fuzz targets in `fuzz/`.

#![allow(missing_docs, reason = "only fuzz targets call it")]

use crate::raw;

pub fn stored_message(bytes: &[u8]) {
    if let Ok(Some(message)) = raw::read(bytes) {
        let _ = message.problem();
    }
}
