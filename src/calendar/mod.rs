//! Opening hours: decisions about time, pure. `holidays` computes, `zone` turns local days into instants,
//! `schedule` decides.
pub mod holidays;
pub mod schedule;
pub mod zone;
