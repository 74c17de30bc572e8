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
    /// A table or port of ours was full: the line was not reached, and is not to blame.
    NoRoom,
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
    /// A TLS handshake failed or took too long.
    TlsHandshake,
    /// The other end's certificate is not the one of whom we asked for, or of nobody we trust (RFC 5922).
    PeerCertificate,
    /// No WebSocket for SIP came of the HTTP request (RFC 7118 4), or its page may not.
    WebSocketUpgrade,
}

/// What a leg's audio was encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// In the clear.
    None,
    AesCm128Sha1_80,
    AesCm128Sha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

/// Why a browser's side of a call came to no sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebFault {
    /// It showed another certificate than it had announced: somebody is in between, or the page is broken.
    Certificate,
    /// The DTLS handshake failed.
    Handshake,
    /// It reached none of our ports in time, or did not go on.
    Late,
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
    /// A counsellor has a colleague on the line.
    Consulted {
        call: CallKey,
        line: LineKey,
    },
    /// After a consultation the caller has gone over to this line.
    HandedOver {
        call: CallKey,
        line: LineKey,
    },
    /// A counsellor has brought the caller together with who was asked.
    BroughtTogether {
        call: CallKey,
        line: LineKey,
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
    /// A carrier, by its place in the configuration, answers or no longer does.
    Trunk {
        trunk: u32,
        state: TrunkWord,
    },
    /// An address of a carrier or a phone failed, and is tried after others for a while. `places`: as many are.
    SetAside {
        places: u32,
    },
    MessageTaken {
        length: Duration,
    },
    MessageInterrupted,
    StoreFailed,
    DiskFull,
    MediaFailed,
    /// A browser came to no keys, and its side of the call was ended.
    WebFailed {
        line: Option<LineKey>,
        why: WebFault,
    },
    PromptMissing,
    MediaStats {
        received: u64,
        lost: u64,
        late: u64,
        foreign: u64,
        malformed: u64,
        flood: u64,
        forged: u64,
        replayed: u64,
        security: Security,
    },
    /// How one side of a call was heard, by ITU-T G.107: mean opinion score in hundredths.
    Quality {
        mos: u16,
    },
    /// Of two sides that are joined, only one is heard.
    OneWay {
        call: CallKey,
    },
    Dropped {
        reason: Drop,
        count: u64,
    },
    /// A wrong password. The name that was given is told only as the configured line that it is.
    AuthFailed {
        line: Option<LineKey>,
    },
    /// A counsellor dialled a `*` code.
    LineCode {
        line: LineKey,
        code: LineCode,
    },
    Registered {
        line: LineKey,
    },
    Unregistered {
        line: LineKey,
    },
    /// So many subscriptions of phones are open (RFC 6665).
    Subscriptions {
        open: u32,
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

/// What a `*` code asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineCode {
    LogIn,
    LogOut,
    Pause,
    Resume,
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

/// What there is to know of a kind of notice: one row of the table below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The `event` of its log line.
    pub event: &'static str,
    pub level: Level,
    /// What it means and, for warnings and errors, what to do.
    pub help: &'static str,
}

impl Notice {
    pub fn level(&self) -> Level {
        self.entry().level
    }

    /// The one table of everything that can be reported.
    pub fn entry(&self) -> Entry {
        use Level::{Debug, Error, Info, Warn};
        let (event, level, help) = match self {
            Self::Started { .. } => ("started", Info, "the switch runs"),
            Self::CallArrived { .. } => ("call_arrived", Info, "a call came in"),
            // Phones are asked for their password by a 401, and strangers need not fill the log.
            Self::Refused { .. } => ("refused", Debug, "a request was refused with this status"),
            Self::Answered { .. } => ("answered", Info, "a call was answered"),
            Self::Queued { .. } => ("queued", Info, "a caller waits for a line"),
            Self::Offered { .. } => ("offered", Info, "a line rings"),
            Self::Missed { miss: Miss::NoRoom, .. } => (
                "missed",
                Warn,
                "a line could not be rung for want of room of ours: see `[limits]` and `ports` of `[media]`",
            ),
            Self::Missed { .. } => ("missed", Info, "a line did not take the call that it was offered"),
            Self::Joined { .. } => ("joined", Info, "caller and line hear each other"),
            Self::Consulted { .. } => ("consulted", Info, "a counsellor has called a colleague for advice"),
            Self::BroughtTogether { .. } => {
                ("brought_together", Info, "a counsellor has brought a third to the caller")
            }
            Self::HandedOver { .. } => ("handed_over", Info, "a counsellor gave a caller over to this line"),
            Self::Ended { outcome: Outcome::Failed, .. } => {
                ("ended", Warn, "a call ended by a fault of ours; the lines before it say which")
            }
            Self::Ended { .. } => ("ended", Info, "a call is over"),
            Self::QueueLength { .. } => ("queue_length", Debug, "so many callers wait in this queue"),
            Self::LineState { .. } => ("line_state", Debug, "a line changed its state"),
            Self::Trunk { state: TrunkWord::Up, .. } => ("trunk", Info, "a carrier answers"),
            Self::Trunk { state: TrunkWord::Refused { .. }, .. } => (
                "trunk",
                Warn,
                "a carrier refuses our registration: look at `username`, `password` and `realm` of its [[trunk]], or ask it; \
                 it is tried again",
            ),
            Self::Trunk { state: TrunkWord::NoAnswer, .. } => (
                "trunk",
                Warn,
                "no address of a carrier answers: look at `target` of its [[trunk]], at the network, and over TLS at its \
                 certificate (another name, run out, or by an authority that is not in `ca` of [tls]); it is tried again",
            ),
            Self::Trunk { state: TrunkWord::NotFound, .. } => (
                "trunk",
                Warn,
                "the host name in `target` of a [[trunk]] has no address: look at its spelling and at the name service; it \
                 is tried again",
            ),
            Self::Trunk { state: TrunkWord::NoRoom, .. } => (
                "trunk",
                Warn,
                "a carrier could not be asked, our own tables are full (see [limits]); it is tried again",
            ),
            Self::SetAside { .. } => (
                "set_aside",
                Info,
                "an address of a carrier or phone failed (no answer, or no trust over TLS) and is tried after the others for a while",
            ),
            Self::MessageTaken { .. } => ("message_taken", Info, "a caller left a message"),
            Self::MessageInterrupted => (
                "message_interrupted",
                Warn,
                "a recording broke off; what was flushed is kept: look at `hulplijn messages list`",
            ),
            Self::StoreFailed => (
                "store_failed",
                Error,
                "the database refused; rows are spooled and tried again: look at disk and permissions",
            ),
            Self::DiskFull => (
                "disk_full",
                Error,
                "no message can be recorded: make room on the disk, or let the switch's user write the data folder",
            ),
            Self::MediaFailed => (
                "media_failed",
                Error,
                "a media thread failed, or no port of `ports` could be opened at the address for audio: look at `[media]`",
            ),
            Self::WebFailed { why: WebFault::Certificate, .. } => (
                "web_failed",
                Warn,
                "a browser showed another certificate than its session description names: its call was ended",
            ),
            Self::WebFailed { .. } => (
                "web_failed",
                Warn,
                "a browser's audio did not reach us in time or could not be encrypted: let its network reach the UDP `ports` of \
                 `[media]`, and see `external`",
            ),
            Self::PromptMissing => (
                "prompt_missing",
                Error,
                "a prompt could not be played and another took its place: run `hulplijn prompts check`",
            ),
            Self::MediaStats { .. } => ("media_stats", Debug, "RTP counters of a leg that was closed"),
            Self::Quality { .. } => {
                ("quality", Debug, "how well a side of a call was heard, as a mean opinion score")
            }
            Self::OneWay { .. } => (
                "one_way",
                Warn,
                "of two sides that are joined only one is heard: look at the firewall, NAT and `public-address` of `[media]`",
            ),
            Self::Dropped { .. } => ("dropped", Debug, "something from the network was dropped unanswered"),
            Self::AuthFailed { line: None } => (
                "auth_failed",
                Warn,
                "a phone gave a name that is no line of the configuration: set its user name to the `name` of a [[line]], or somebody guesses",
            ),
            Self::AuthFailed { line: Some(_) } => (
                "auth_failed",
                Warn,
                "a phone gave a wrong password for this line: set that of its [[line]] in the phone, or somebody guesses",
            ),
            Self::LineCode { .. } => ("line_code", Info, "a counsellor logged in or out, paused or resumed"),
            Self::Registered { .. } => ("registered", Info, "a line's phone registered"),
            Self::Unregistered { .. } => ("unregistered", Info, "a line has no registered phone any more"),
            Self::Subscriptions { .. } => {
                ("subscriptions", Debug, "so many subscriptions of phones are open")
            }
            Self::Overload => {
                ("overload", Warn, "calls are refused because a limit is reached: see `[limits]`")
            }
            Self::ConfigApplied { .. } => ("config_applied", Info, "a new configuration is in force"),
            Self::ConfigRefused { .. } => (
                "config_refused",
                Error,
                "the new configuration is not taken and the old one stays: the lines before this one say what to mend, or what needs a restart",
            ),
            Self::Draining { .. } => (
                "draining",
                Info,
                "no new calls; waiting for those in progress, `[shutdown] grace` at most; asked again, they are cut off",
            ),
            Self::CallPanicked { .. } => {
                ("call_panicked", Error, "a fault in the program ended one call; the others go on")
            }
        };
        Entry { event, level, help }
    }
}

impl Outcome {
    pub const ALL: [Self; 9] = [
        Self::Joined,
        Self::Referred,
        Self::Message,
        Self::Abandoned,
        Self::HungUp,
        Self::Goodbye,
        Self::Refused,
        Self::Cancelled,
        Self::Failed,
    ];

    /// As metrics and logs write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Referred => "referred",
            Self::Message => "message",
            Self::Abandoned => "abandoned",
            Self::HungUp => "hung_up",
            Self::Goodbye => "goodbye",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl WebFault {
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Handshake, Self::Late];

    pub fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Handshake => "handshake",
            Self::Late => "late",
        }
    }
}

impl Security {
    pub const ALL: [Self; 5] =
        [Self::None, Self::AesCm128Sha1_80, Self::AesCm128Sha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::AesCm128Sha1_80 => "aes_cm_128_hmac_sha1_80",
            Self::AesCm128Sha1_32 => "aes_cm_128_hmac_sha1_32",
            Self::AeadAes128Gcm => "aead_aes_128_gcm",
            Self::AeadAes256Gcm => "aead_aes_256_gcm",
        }
    }
}

impl LineCode {
    pub fn word(self) -> &'static str {
        match self {
            Self::LogIn => "log_in",
            Self::LogOut => "log_out",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// How it stands with a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrunkWord {
    Up,
    /// It answers, and does not want our registration.
    Refused {
        status: u16,
    },
    /// None of its addresses.
    NoAnswer,
    /// Its name has no address.
    NotFound,
    NoRoom,
}

impl TrunkWord {
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Refused { .. } => "refused",
            Self::NoAnswer => "no_answer",
            Self::NotFound => "name_not_found",
            Self::NoRoom => "no_room",
        }
    }
}

impl Miss {
    pub const ALL: [Self; 7] = [
        Self::NoAnswer,
        Self::Busy,
        Self::Declined,
        Self::Unreachable,
        Self::Lost,
        Self::NotConfirmed,
        Self::NoRoom,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::NotConfirmed => "not_confirmed",
            Self::NoRoom => "no_room",
        }
    }
}

impl Drop {
    pub const ALL: [Self; 12] = [
        Self::Unreadable,
        Self::StrayResponse,
        Self::StrayAck,
        Self::TooBig,
        Self::Flood,
        Self::SlowReader,
        Self::TooManyConnections,
        Self::OutputFull,
        Self::BadStart,
        Self::TlsHandshake,
        Self::PeerCertificate,
        Self::WebSocketUpgrade,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::StrayResponse => "stray_response",
            Self::StrayAck => "stray_ack",
            Self::TooBig => "too_big",
            Self::Flood => "flood",
            Self::SlowReader => "slow_reader",
            Self::TooManyConnections => "too_many_connections",
            Self::OutputFull => "output_full",
            Self::BadStart => "bad_start",
            Self::TlsHandshake => "tls_handshake",
            Self::PeerCertificate => "peer_certificate",
            Self::WebSocketUpgrade => "websocket_upgrade",
        }
    }
}

impl LineWord {
    pub const ALL: [Self; 8] = [
        Self::LoggedOut,
        Self::Unreachable,
        Self::Free,
        Self::Ringing,
        Self::Busy,
        Self::WrapUp,
        Self::Paused,
        Self::Resting,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Unreachable => "unreachable",
            Self::Free => "free",
            Self::Ringing => "ringing",
            Self::Busy => "busy",
            Self::WrapUp => "wrap_up",
            Self::Paused => "paused",
            Self::Resting => "resting",
        }
    }
}
