//! The virtual world: clock, lossy network, phones, callers, invariants.
