//! See `hulplijn::sim::fuzz::digest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::digest(bytes));
