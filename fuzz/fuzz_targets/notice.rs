//! Notices, as operators send them and as they are kept.

#![no_main]

use glance_protocol::Notice;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut notice) = Notice::from_bytes(bytes) {
        // Of long numbers, the last bit may be read otherwise.
        notice.until = notice.until.map(f64::trunc);
        assert_eq!(Notice::from_bytes(&notice.to_bytes()).ok(), Some(notice));
    }
});
