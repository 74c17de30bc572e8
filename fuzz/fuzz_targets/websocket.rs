//! See `hulplijn::sim::fuzz::websocket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hulplijn::sim::fuzz::websocket(bytes));
