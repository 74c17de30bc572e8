//! SIP, sans-IO: `wire`, `uri`, `header`, `digest` → `transaction` → `dialog` → `registrar`,
//! `target` → `endpoint`. Imports `base` only; bodies pass through as bytes.
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod header;
pub mod header_ext;
pub mod registrar;
pub mod registration;
pub mod target;
pub mod transaction;
pub mod uri;
pub mod wire;
