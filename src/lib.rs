//! hulplijn: the telephone switch of a helpline.
//!
//! Rooms from the ground up; imports point down only (`tests/layers.rs` checks it):
//! `base` → `config`, `telemetry::notice` → `sip`, `sdp`, `media`, `calendar`, `routing`,
//! `callflow`, `voicemail`, `store::request` → `privacy` → `switch` (the sans-IO core) →
//! `net`, `media::plane`, `store::sqlite`, `telemetry::export` → `console`, `sim`, `cli`.
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod base;
pub mod calendar;
pub mod callflow;
pub mod cli;
pub mod config;
pub mod console;
pub mod media;
pub mod net;
pub mod phone;
pub mod privacy;
pub mod routing;
pub mod sdp;
pub mod sim;
pub mod sip;
pub mod store;
pub mod switch;
pub mod telemetry;
pub mod voicemail;
