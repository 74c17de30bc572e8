//! Bytes to messages and back (RFC 3261 7 and 25): `frame` cuts, `parse` reads, `print` writes.
pub mod frame;
pub mod message;
pub mod parse;
pub mod print;
