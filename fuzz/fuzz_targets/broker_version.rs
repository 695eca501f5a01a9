//! The version that a broker says it has.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_runner::fuzzing::broker_version(bytes));
