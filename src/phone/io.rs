//! The whole contract of the built-in phone: what it is told to do at its start, what can happen to it, what it
//! wants done.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::happening::Happening;
use crate::base::id::FlowKey;
use crate::media::command::{Clip, MediaCommand, MediaEvent};
use crate::sdp::offer_answer::{Codec, Srtp};
use crate::sip::flow::{Destination, Flow};
use crate::sip::transaction::Bytes;

/// What the phone is to do, from its start to its end.
pub struct Plan {
    /// In order of preference.
    pub codecs: Vec<Codec>,
    /// Whether its sound is encrypted.
    pub srtp: Srtp,
    /// Registers, and proves who it is when a call of its own is challenged.
    pub account: Option<Account>,
    /// The call that it places, once it is registered where it has an account.
    pub dial: Option<Dial>,
    pub answering: Answering,
    /// Ends after so many calls to it; `None`: when it is told to stop.
    pub calls: Option<u32>,
    /// Ends when nobody has called for so long.
    pub patience: Option<Duration>,
    /// What it does within each call, by the time since the answer, in order.
    pub script: Vec<Step>,
    pub play: Option<Sound>,
    pub record: Option<Record>,
    /// A call in which no voice is heard counts as one without sound. Needs `record`.
    pub needs_voice: bool,
    /// Keys go by SIP INFO, also where RFC 4733 could be used.
    pub keys_by_info: bool,
}

/// A line of the switch.
#[derive(Clone)]
pub struct Account {
    pub name: String,
    pub password: String,
    pub switch: Place,
}

/// A call to place.
#[derive(Clone)]
pub struct Dial {
    pub uri: String,
    /// User part of From, where there is no account.
    pub from: String,
    pub at: Place,
    pub ring_limit: Duration,
}

/// Where requests go, and what we are called there.
#[derive(Clone)]
pub struct Place {
    pub to: Destination,
    /// Host and port as a URI has them.
    pub host: String,
    /// Written in Via and Contact.
    pub local: SocketAddr,
}

/// What becomes of a call to the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    After(Duration),
    /// Rings until the caller gives up.
    Never,
    /// 486
    Busy,
    /// 603
    Decline,
}

/// One thing to do within a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the answer.
    pub at: Duration,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Press(char),
    Hold,
    TakeBack,
    /// Blind transfer to a line or destination of the switch.
    Transfer(String),
    HangUp,
}

/// What it plays into each call, from the answer on.
#[derive(Clone)]
pub struct Sound {
    pub clip: Arc<Clip>,
    pub repeat: bool,
}

/// Where what is heard goes, from the answer on.
#[derive(Clone)]
pub struct Record {
    /// A second call goes to `NAME-2.wav`, and so on.
    pub path: PathBuf,
    pub max: Duration,
    /// The file is removed at the end of each call: it was only needed to find out whether there was a voice.
    pub discard: bool,
}

/// Everything that can happen to the phone.
pub enum Input {
    /// One datagram, or one framed message of a stream.
    Sip {
        flow: Flow,
        bytes: Vec<u8>,
    },
    FlowClosed {
        flow: FlowKey,
    },
    TransmitFailed {
        to: Destination,
    },
    Media(MediaEvent),
    /// Hang up, unregister, end.
    Stop,
    /// `next_timeout` has come.
    Timeout,
}

/// Everything that the phone wants done.
pub enum Output {
    Transmit {
        to: Destination,
        bytes: Bytes,
    },
    Media(MediaCommand),
    Tell(Happening),
    /// Nothing follows.
    Done(Ending),
}

/// How it all went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Fine,
    /// The call was refused with a status.
    Refused,
    /// Nobody answered, or nobody called, in time.
    NoAnswer,
    /// Nothing at that address answers SIP.
    NoReply,
    /// Answered, but no sound came, or only silence where a voice was needed.
    NothingHeard,
    NotRegistered,
    /// The disk refused the recording that was asked for.
    NotRecorded,
    /// The call was lost, or could not be spoken.
    BrokenOff,
}
