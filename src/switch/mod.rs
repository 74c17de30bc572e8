//! The core: one owner, sans-IO.
