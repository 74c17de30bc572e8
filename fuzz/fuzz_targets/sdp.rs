//! See `hulplijn::sim::fuzz::sdp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::sdp(bytes));
