//! See `hulplijn::sim::fuzz::name_addr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::name_addr(bytes));
