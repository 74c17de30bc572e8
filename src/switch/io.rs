//! The whole contract of the core with the world, on one page.

use std::sync::Arc;
use std::time::Duration;

use super::policy::Policy;
use crate::base::id::{DomainKey, FlowKey, QueryKey};
use crate::media::command::{MediaCommand, MediaEvent};
use crate::sip::flow::{Destination, Flow};
use crate::sip::target::{Answer, Question};
use crate::sip::transaction::Bytes;
use crate::store::request::{StoreReply, StoreRequest};
use crate::telemetry::notice::{Drop, Notice};

/// Everything that can happen to the core.
pub enum Input {
    /// One datagram, or one framed message of a stream.
    Sip {
        flow: Flow,
        bytes: Vec<u8>,
    },
    /// Who has opened this stream has shown a certificate of this name, which an authority of ours vouches for.
    FlowNamed {
        flow: FlowKey,
        domain: DomainKey,
    },
    /// A stream was closed by either side.
    FlowClosed {
        flow: FlowKey,
    },
    /// Nothing could be sent there.
    TransmitFailed {
        to: Destination,
    },
    /// Sockets dropped this much before it reached the core.
    NetDropped {
        reason: Drop,
        count: u64,
    },
    /// The answer to `Output::Resolve`.
    Resolved {
        query: QueryKey,
        answer: Answer,
    },
    Media(MediaEvent),
    Stored(StoreReply),
    /// A new configuration, compiled and checked (SIGHUP).
    Policy(Arc<Policy>),
    Operator(Command),
    /// `next_timeout` has come.
    Timeout,
}

/// What the operator, or the driver on the operator's behalf, tells the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// SIGTERM: no new calls, wait for those that are, then say goodbye.
    Drain,
    /// Asked again: every call is hung up now; asked once more, nothing is waited for.
    CutOff,
    /// A new configuration was broken; the old one stays.
    ConfigRefused { mistakes: u32 },
    /// Free space of the data directory.
    FreeSpace { mebibytes: u64 },
    /// The mailbox was counted: messages that wait, and those that were handled.
    Messages { new: u32, done: u32 },
}

/// Everything that the core wants done; drained to `None` after each `handle`.
#[derive(PartialEq)]
pub enum Output {
    Transmit {
        to: Destination,
        bytes: Bytes,
    },
    /// Ask the name service. `Input::Resolved` must follow, within about that time.
    Resolve {
        query: QueryKey,
        question: Question,
        within: Duration,
    },
    Media(MediaCommand),
    Store(StoreRequest),
    Notice(Notice),
    /// Whoever is behind this connection has proven who it is: it is kept while others make room.
    Proven {
        flow: FlowKey,
    },
    /// After `Command::Drain`: the last call is over, the process may end.
    Drained,
}

/// Why the core wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A timer of SIP: a retransmission, a transaction, a dialog.
    Sip,
    /// A timer of a call, a leg or a line.
    Call,
}
