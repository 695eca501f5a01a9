//! The parsers of this crate, for the fuzz targets in `fuzz/`.

#![allow(missing_docs, reason = "only fuzz targets call it")]

use crate::broker;

pub fn broker_version(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = broker::version_of(text);
    }
}
