//! The proxies that are believed, and what they say in `X-Forwarded-For`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_runner::fuzzing::client_address(bytes));
