//! Who is rung: `line` says whether a line may ring, `queue` who waits, `choose` which line is next; pure.
pub mod choose;
pub mod line;
pub mod queue;
