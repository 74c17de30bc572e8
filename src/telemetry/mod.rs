//! Reports: `notice` is the closed list; `export` turns it into metrics, `journal` into log lines and
//! `health` into what the operator's monitoring asks.
pub mod export;
pub mod health;
pub mod journal;
pub mod notice;
