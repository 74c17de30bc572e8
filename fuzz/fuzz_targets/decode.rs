//! See `hulplijn::sim::fuzz_media::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz_media::decode(bytes));
