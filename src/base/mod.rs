//! Layer 0: time, bounded tables, ids. A closed list.
pub mod bounded;
pub mod id;
pub(crate) mod quiet;
pub mod time;
