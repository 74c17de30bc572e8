//! The operator's TOML: `source` reads with positions and collects diagnostics, `raw` says what may be
//! written, `names` checks what the tables say about one another. No decisions.
pub mod diagnostic;
mod encryption;
mod fields;
pub mod names;
pub mod raw;
mod section;
mod sip_address;
pub mod source;
mod steps;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub use value::parse_duration;

pub use source::{load, load_with};
