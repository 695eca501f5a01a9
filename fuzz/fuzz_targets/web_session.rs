//! What a viewer sends over its WebSocket.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_web::fuzzing::session(bytes));
