//! The door: the caller's identity stops here.
