//! Opening hours: decisions about time, pure. `holidays` computes, `zone` turns local days into instants,
//! `schedule` decides, `doubts` warns of what is hardly meant.
pub mod doubts;
pub mod holidays;
pub mod schedule;
pub mod zone;
