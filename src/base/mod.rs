//! Layer 0: time, bounded tables, ids, networks. A closed list.
pub mod bounded;
pub mod id;
pub mod network;
pub(crate) mod quiet;
pub mod secret;
pub mod time;
