//! Paths of requests to the bridge.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_bridge::fuzzing::path(bytes));
