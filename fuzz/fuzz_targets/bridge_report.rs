//! Bodies of POST /api/report.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_bridge::fuzzing::report(bytes));
