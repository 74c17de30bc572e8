//! The operator's TOML: `source` reads with positions and collects diagnostics, `raw` says what may be
//! written. No logic.
pub mod diagnostic;
pub mod raw;
