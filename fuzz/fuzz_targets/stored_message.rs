//! The description of a stored message by the broker.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_aggregator::fuzzing::stored_message(bytes));
