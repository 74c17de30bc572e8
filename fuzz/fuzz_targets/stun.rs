//! See `hulplijn::sim::fuzz_web::stun`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz_web::stun(bytes));
