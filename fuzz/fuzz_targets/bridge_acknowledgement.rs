//! What the broker says of a report.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_bridge::fuzzing::acknowledgement(bytes));
