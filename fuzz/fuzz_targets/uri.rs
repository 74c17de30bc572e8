//! See `hulplijn::sim::fuzz::uri`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::uri(bytes));
