//! Layer 0: time, bounded tables, ids, networks, the form of STUN, words for what the system refuses. A closed list.
pub mod bounded;
pub mod fault;
pub mod id;
pub mod network;
pub(crate) mod quiet;
pub mod secret;
pub mod stun;
pub mod time;
