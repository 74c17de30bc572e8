//! Our parser beside `sipx-sip`: see `tests/differential`.
#![no_main]

#[path = "../../tests/differential/compare.rs"]
#[allow(dead_code)]
mod compare;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(how) = compare::datagram(bytes).and_then(|_| compare::stream(bytes)) {
        panic!("{how}");
    }
});
