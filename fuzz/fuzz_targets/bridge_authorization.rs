//! The header Authorization, and files of passphrases.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_bridge::fuzzing::authorization(bytes));
