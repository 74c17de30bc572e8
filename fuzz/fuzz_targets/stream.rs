//! See `hulplijn::sim::fuzz::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::stream(bytes));
