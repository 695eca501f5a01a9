//! Lists of origins, and what a policy is made of.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| glance_web::fuzzing::origins(bytes));
