//! What viewers ask for: paths, queries and headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_web::fuzzing::request(bytes));
