//! Storage: `request` is the pure contract and the one schema; `sqlite` is the shell behind it.
pub mod request;
