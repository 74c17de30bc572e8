//! Who calls stays with the switch (DESIGN 6). Three proofs: types that can't be printed (`types`), marked
//! secrets in every place that a caller has, sought in all that leaves the caller's side of the running binary
//! (`marked`), and two callers who differ in nothing but identity (`noninterference`).

#[path = "../support/mod.rs"]
mod support;

mod caller;
mod lamp;
mod line_side;
mod marked;
mod marks;
mod noninterference;
mod refused;
mod room;
mod scene;
mod sealed;
mod types;
mod ways;
