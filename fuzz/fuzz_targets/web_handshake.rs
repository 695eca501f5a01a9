//! The headers that open a WebSocket.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_web::fuzzing::handshake(bytes));
