//! Reports: `notice` is the closed list; `export` turns it into metrics and logs.
pub mod notice;
