//! Storage: `request` is the pure contract and the one schema; `sqlite` is the shell behind it, with
//! `database` (the tables), `spool` (rows that the database refused), `recovery` (recordings that a
//! crash left half) and `messages` (what the operator's commands use).
pub mod database;
pub mod messages;
pub mod recovery;
pub mod request;
pub mod spool;
pub mod sqlite;
