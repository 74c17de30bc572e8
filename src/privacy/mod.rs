//! The door: the caller's identity stops here.
pub mod identity;
pub mod memory;
pub mod redact;
pub mod screen;
