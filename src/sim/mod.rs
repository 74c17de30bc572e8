//! The virtual world: clock, lossy network, phones, callers, invariants. Used by `tests/sim` and by
//! `hulplijn simulate`; phones write their messages as raw text, never through our printer, so that one
//! bug on both sides can't cancel out.
pub mod check;
pub mod fault;
pub mod fuzz;
pub mod fuzz_media;
pub mod fuzz_web;
pub mod link;
pub mod media;
pub mod phone;
pub mod story;
pub mod text;
pub mod trace;
pub mod world;
