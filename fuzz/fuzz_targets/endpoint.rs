//! See `hulplijn::sim::fuzz::endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::endpoint(bytes));
