//! HTTP: health and metrics for the operator.

pub mod server;
