//! What the core asks of the store and what it hears back; plain values.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// Recorded, kept by the caller (or by hanging up), not yet handled.
    New,
    /// Recording broke off by a crash or a full disk; what was flushed is kept.
    Interrupted,
    /// A counsellor or operator marked it handled.
    Done,
}

/// A message left by a caller. Holds no number but the one that the caller keyed in.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Random token; also the WAV's file name without ending.
    pub id: String,
    /// The helpline's number that was called, such as `1712`; from the config, not from the INVITE.
    pub called: String,
    pub taken_at: DateTime<Utc>,
    pub length: Duration,
    pub state: MessageState,
    /// A callback number that the caller keyed in, if any.
    pub callback: Option<String>,
}

/// A line's registration that survives a restart: where a counsellor's phone is. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingRow {
    pub contact: String,
    pub path: Vec<String>,
    /// The address of ours that it registered at, and whence.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum StoreRequest {
    SaveMessage(MessageRow),
    /// The operator's override and the lines' logged-in/paused state, small words that survive a restart.
    SaveWord {
        key: String,
        value: String,
    },
    /// All registrations of a line, in place of those before. What the disk does not take is let go: the phone
    /// registers again.
    SaveBindings {
        line: String,
        rows: Vec<BindingRow>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreReply {
    Saved {
        id: String,
    },
    /// The store refused or is gone; the message is in the spool beside its WAV and will be retried.
    Failed {
        id: String,
    },
}

/// Where a message's recording stands. The name holds nothing but the random id.
pub fn wav_path(data: &Path, id: &str) -> PathBuf {
    data.join(MESSAGES).join(format!("{id}.wav"))
}

/// The folder of the recordings in the data directory.
pub const MESSAGES: &str = "messages";

/// Whether a text can be a message's id: a lower-case token, so that no path can be smuggled in.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
