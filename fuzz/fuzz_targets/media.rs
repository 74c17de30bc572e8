//! See `hulplijn::sim::fuzz::media`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::media(bytes));
