//! Everything that the switch can report: a closed list. No variant holds text from outside, so no
//! report can leak who called.

use std::time::Duration;

use crate::base::id::{CallKey, LineKey};

/// How a call came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A counsellor and the caller were joined.
    Joined,
    /// Joined with a destination such as 106.
    Referred,
    /// A message was left.
    Message,
    /// The caller hung up while waiting.
    Abandoned,
    /// The caller hung up in a prompt or menu.
    HungUp,
    /// The script said goodbye.
    Goodbye,
    /// Refused before an answer (unknown number, no codec, limits).
    Refused,
    /// The caller cancelled before the answer.
    Cancelled,
    /// A fault of ours.
    Failed,
}

/// Why an attempt at a line did not become a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Miss {
    NoAnswer,
    Busy,
    Declined,
    Unreachable,
    /// Another line was first (ring-all), or the caller left.
    Lost,
    /// A telephone line did not press 1.
    NotConfirmed,
}

/// Why something from the network was dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    Unreadable,
    StrayResponse,
    StrayAck,
    TooBig,
    Flood,
    SlowReader,
    TooManyConnections,
    OutputFull,
    BadStart,
}

/// One thing to report.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    Started {
        generation: u64,
    },
    CallArrived {
        call: CallKey,
    },
    /// An INVITE or other request was refused with this status.
    Refused {
        status: u16,
    },
    Answered {
        call: CallKey,
    },
    Queued {
        call: CallKey,
        length: u32,
    },
    Offered {
        call: CallKey,
        line: LineKey,
    },
    Missed {
        call: CallKey,
        line: LineKey,
        miss: Miss,
        rang: Duration,
    },
    Joined {
        call: CallKey,
        line: LineKey,
        waited: Duration,
        rang: Duration,
    },
    Ended {
        call: CallKey,
        outcome: Outcome,
        lasted: Duration,
        talked: Duration,
    },
    QueueLength {
        queue: u32,
        length: u32,
    },
    LineState {
        line: LineKey,
        state: LineWord,
    },
    MessageTaken {
        length: Duration,
    },
    MessageInterrupted,
    StoreFailed,
    DiskFull,
    MediaFailed,
    PromptMissing,
    MediaStats {
        received: u64,
        lost: u64,
        late: u64,
        foreign: u64,
        malformed: u64,
    },
    Dropped {
        reason: Drop,
    },
    AuthFailed,
    Registered {
        line: LineKey,
    },
    Unregistered {
        line: LineKey,
    },
    Overload,
    ConfigApplied {
        generation: u64,
    },
    ConfigRefused {
        mistakes: u32,
    },
    Draining {
        calls: u32,
    },
    /// A call's code panicked; the call was ended, the switch goes on.
    CallPanicked {
        call: CallKey,
    },
}

/// A line's state as metrics and the console show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineWord {
    LoggedOut,
    /// Logged in but no phone is registered.
    Unreachable,
    Free,
    Ringing,
    Busy,
    WrapUp,
    Paused,
    Resting,
}

/// How loud a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    /// Worth waking someone.
    Error,
}
