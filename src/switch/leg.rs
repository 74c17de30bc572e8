//! A leg: one dialog plus one media stream, on the caller's side or another's.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::base::id::{CallKey, DialogKey, LegKey, LineKey};
use crate::media::command::{self, Direction, Fingerprint, IceWords, MediaCommand, Sound, Stream, WebRtc};
use crate::media::keying::{self, DtlsRole, Keying};
use crate::routing::line::Load;
use crate::sdp::crypto;
use crate::sdp::offer_answer::{
    Agreed, Codec, Format, Keys, Local, Mapped, Negotiation, PendingOffer, Security, Srtp,
};
use crate::sdp::session::{SdpError, Way};
use crate::sdp::webrtc::{self, AgreedWeb, OurWeb};
use crate::sip::digest::Credentials;
use crate::sip::flow::Destination;
use crate::sip::target::Search;
use crate::telemetry::notice;

/// A press that comes by INFO and by RFC 4733 does so within this time.
const SAME_PRESS: Duration = Duration::from_secs(2);
/// The keys of a code come one after the other within this time.
const BETWEEN_KEYS: Duration = Duration::from_secs(3);
/// Presses of that time that are remembered.
const MOST_PRESSES: usize = 16;

/// Whose leg it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Caller,
    Line(LineKey),
    /// A configured number such as 106.
    Destination,
    /// A counsellor's phone that dialled a `*` code.
    Service(LineKey),
    /// A counsellor's phone that calls a colleague or a destination, for a word before a transfer.
    Consulting(LineKey),
}

/// How far a leg that we call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Waits for its RTP port, or for an address.
    Preparing,
    Calling,
    Ringing,
    /// Answered by a telephone that must press 1.
    Confirming,
    Up,
}

/// Where a leg of ours is to go.
#[derive(Clone)]
pub struct Target {
    /// Request-URI.
    pub uri: String,
    pub to_header: String,
    pub place: Place,
    pub credentials: Option<Credentials>,
    /// Must press 1 before the caller is joined.
    pub confirm: bool,
    /// What comes from there before an answer may be heard by the caller.
    pub early: bool,
    /// Where else the same is to be had, tried in turn when nobody is reached here: other phones of a line, other
    /// addresses of a host, other carriers.
    pub others: VecDeque<Target>,
    /// `Route` values: the proxies that a phone registered through (RFC 3327).
    pub routes: Vec<String>,
    /// Whose account it is, for a carrier that must know (RFC 3325 9.2): ours, never a caller's.
    pub identity: Option<String>,
    /// Whether the audio is encrypted.
    pub srtp: Srtp,
    /// What is spoken there; empty: what the helpline speaks.
    pub codecs: Vec<Codec>,
}

impl Target {
    /// Somebody at an address who needs nothing special.
    pub fn new(uri: String, to_header: String, place: Place) -> Self {
        Self {
            uri,
            to_header,
            place,
            credentials: None,
            confirm: false,
            early: false,
            others: VecDeque::new(),
            routes: Vec::new(),
            identity: None,
            srtp: Srtp::Never,
            codecs: Vec::new(),
        }
    }
}

/// An address, or a host name that must be looked up.
#[derive(Clone)]
pub enum Place {
    Known(Destination),
    Named(Search),
}

/// What the leg's description waits for.
pub enum Description {
    /// The caller's offer, to be answered once there is a port. `None`: the caller wants our offer.
    Theirs(Option<Vec<u8>>),
    /// We offer.
    Ours,
    Settled,
}

/// How a key came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyWay {
    /// RFC 4733, in RTP.
    Event,
    /// SIP INFO.
    Info,
}

/// A press that has not come the other way yet.
struct Press {
    way: KeyWay,
    digit: char,
    at: Instant,
}

pub struct Leg {
    pub call: CallKey,
    pub role: Role,
    pub dialog: Option<DialogKey>,
    pub progress: Progress,
    pub target: Option<Target>,
    pub description: Description,
    negotiation: Option<Negotiation>,
    /// Where its port is open.
    audio: Option<IpAddr>,
    pending: Option<PendingOffer>,
    /// Our signalling address on this leg.
    pub signalling: SocketAddr,
    /// Whence the peer's signalling comes; unspecified until a call of ours has an address to go to.
    peer: IpAddr,
    /// Whether the audio of a call to us is encrypted.
    pub srtp: Srtp,
    /// What its line or trunk speaks; empty: what the helpline speaks.
    pub codecs: Vec<Codec>,
    /// Signalling is private, so that keys may go by it.
    pub confidential: bool,
    /// What was agreed with a caller whose ACK has not come: nothing is sent before it, so that a forged
    /// INVITE sends nobody our audio.
    pub agreed: Option<Stream>,
    /// What it was agreed that we send.
    pub codec: Option<Codec>,
    /// The peer wants to hear nothing from us.
    pub held: bool,
    /// The caller hears what comes from here before anybody has answered.
    pub early: bool,
    /// What it is booked as with its line, to be given back should its code fail.
    pub load: Option<Load>,
    presses: Vec<Press>,
    /// Its line gets keys by SIP INFO.
    pub keys_by_info: bool,
    /// Nothing has come from it for a while.
    pub silent: bool,
    /// Telephone-event is agreed on.
    pub has_events: bool,
    /// The beginning of a code, and when its last key came.
    typed: (String, Instant),
    pub since: Instant,
}

impl Leg {
    pub fn new(
        call: CallKey,
        role: Role,
        signalling: SocketAddr,
        description: Description,
        since: Instant,
    ) -> Self {
        Self {
            call,
            role,
            dialog: None,
            progress: Progress::Preparing,
            target: None,
            description,
            negotiation: None,
            audio: None,
            pending: None,
            signalling,
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            srtp: Srtp::Never,
            codecs: Vec::new(),
            confidential: false,
            agreed: None,
            codec: None,
            held: false,
            early: false,
            load: None,
            presses: Vec::new(),
            keys_by_info: false,
            silent: false,
            has_events: false,
            typed: (String::new(), since),
            since,
        }
    }

    pub fn line(&self) -> Option<LineKey> {
        match self.role {
            Role::Line(line) | Role::Service(line) | Role::Consulting(line) => Some(line),
            Role::Caller | Role::Destination => None,
        }
    }

    /// A telephone that was asked to press 1.
    pub fn is_confirming(&self) -> bool {
        self.progress == Progress::Confirming
    }

    /// Our offer is out, its answer not yet in.
    pub fn waits_for_answer(&self) -> bool {
        self.pending.is_some()
    }

    /// The RTP port is there, open at this address of ours.
    pub fn opened(&mut self, at: IpAddr, local: Local) {
        self.audio = Some(at);
        self.negotiation = Some(Negotiation::new(local, self.peer));
    }

    /// Where the RTP port is open.
    pub fn audio(&self) -> Option<IpAddr> {
        self.audio
    }

    /// Whence the peer's signalling comes; unspecified as long as that is not known.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// What SDP is to say of the address of the port.
    pub fn announce(&mut self, address: IpAddr) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.set_address(address);
        }
    }

    /// It is known whom we speak with.
    pub fn meets(&mut self, peer: IpAddr) {
        self.peer = peer;
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.set_peer(peer);
        }
    }

    /// A call of ours begins: its keys are for whom it is to, and nobody who was called before.
    pub fn secure(&mut self, security: Security) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.set_security(security);
        }
    }

    /// The same of what is spoken there, the preferred one first.
    pub fn speak(&mut self, codecs: Vec<Codec>) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.set_codecs(codecs);
        }
    }

    /// The same of what a browser is told.
    pub fn speak_web(&mut self, ours: Option<OurWeb>, offers: bool) {
        if let Some(negotiation) = &mut self.negotiation {
            negotiation.set_web(ours, offers);
        }
    }

    /// Our offer; its answer goes to `take_answer`.
    pub fn make_offer(&mut self) -> Option<Vec<u8>> {
        let (sdp, pending) = self.negotiation.as_mut()?.offer(Way::SendRecv);
        self.pending = Some(pending);
        Some(sdp)
    }

    /// Our offer came to nothing.
    pub fn forget_offer(&mut self) {
        self.pending = None;
    }

    /// Answers the peer's offer.
    pub fn make_answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Stream), SdpError> {
        let negotiation = self.negotiation.as_mut().ok_or(SdpError::NoAudio)?;
        let (sdp, agreed) = negotiation.answer(offer)?;
        Ok((sdp, self.take(&agreed)?))
    }

    /// Takes the answer to our offer.
    pub fn take_answer(&mut self, answer: &[u8]) -> Result<Stream, SdpError> {
        let pending = self.pending.take().ok_or(SdpError::NoAudio)?;
        let negotiation = self.negotiation.as_mut().ok_or(SdpError::NoAudio)?;
        let agreed = negotiation.accept_answer(pending, answer)?;
        self.take(&agreed)
    }

    /// What a provisional answer to our offer says. The offer goes on waiting: the final answer has the last word, and
    /// may come from another branch.
    pub fn early_answer(&self, answer: &[u8]) -> Result<Stream, SdpError> {
        let pending = self.pending.clone().ok_or(SdpError::NoAudio)?;
        let mut negotiation = self.negotiation.clone().ok_or(SdpError::NoAudio)?;
        negotiation.accept_answer(pending, answer).and_then(|agreed| stream(&agreed))
    }

    /// A key came: whether it is a press of its own, or the same that came the other way already. A phone that
    /// is set to send both has its presses counted once.
    pub fn pressed(&mut self, now: Instant, way: KeyWay, digit: char) -> bool {
        self.presses.retain(|press| now.saturating_duration_since(press.at) < SAME_PRESS);
        let twin = self.presses.iter().position(|press| press.digit == digit && press.way != way);
        match twin {
            Some(twin) => {
                self.presses.remove(twin);
            }
            None if self.presses.len() < MOST_PRESSES => self.presses.push(Press { way, digit, at: now }),
            None => {}
        }
        twin.is_none()
    }

    /// A key of the peer's: whether it is the last of this code.
    pub fn types(&mut self, now: Instant, digit: char, code: &str) -> bool {
        let (keys, last) = &mut self.typed;
        if now.saturating_duration_since(*last) > BETWEEN_KEYS || !code.starts_with(keys.as_str()) {
            keys.clear();
        }
        *last = now;
        keys.push(digit);
        if !code.starts_with(keys.as_str()) {
            // It may begin anew with this key; no code has its star twice.
            keys.clear();
            keys.push(digit);
        }
        let whole = keys == code;
        if whole {
            keys.clear();
        }
        whole
    }

    fn take(&mut self, agreed: &Agreed) -> Result<Stream, SdpError> {
        let stream = stream(agreed)?;
        self.codec = Some(agreed.send_codec);
        self.held = !stream.direction.sends();
        self.has_events = stream.payloads.0.iter().any(|p| matches!(p.sound, Sound::Key { .. }));
        Ok(stream)
    }
}

/// What media needs of an exchange; here the words of `sdp` become those of `media`. Keys that these have no words for
/// are a refusal: nothing that was agreed to be encrypted goes in the clear.
pub fn stream(agreed: &Agreed) -> Result<Stream, SdpError> {
    Ok(Stream {
        remote: agreed.remote,
        remote_rtcp: agreed.remote_rtcp,
        signalling: agreed.signalling,
        codec: codec(agreed.send_codec),
        payloads: agreed.formats.iter().map(payload).collect(),
        rtcp_mux: agreed.rtcp_mux,
        direction: match agreed.way {
            Way::SendRecv => Direction::SendRecv,
            Way::SendOnly => Direction::SendOnly,
            Way::RecvOnly => Direction::RecvOnly,
            Way::Inactive => Direction::Inactive,
        },
        keying: agreed.keys.as_ref().map(keying).transpose()?,
        web: agreed.web.as_ref().map(web).transpose()?.map(Box::new),
    })
}

fn keying(keys: &Keys) -> Result<Keying, SdpError> {
    let suite = match keys.suite {
        crypto::Suite::AesCm128Sha1_80 => keying::Suite::AesCm128Sha1_80,
        crypto::Suite::AesCm128Sha1_32 => keying::Suite::AesCm128Sha1_32,
        crypto::Suite::AeadAes128Gcm => keying::Suite::AeadAes128Gcm,
        crypto::Suite::AeadAes256Gcm => keying::Suite::AeadAes256Gcm,
    };
    Keying::new(suite, keys.ours.clone(), keys.theirs.clone()).ok_or(SdpError::Security)
}

fn web(agreed: &AgreedWeb) -> Result<WebRtc, SdpError> {
    let hash = match agreed.hash {
        webrtc::Hash::Sha256 => command::Hash::Sha256,
        webrtc::Hash::Sha384 => command::Hash::Sha384,
        webrtc::Hash::Sha512 => command::Hash::Sha512,
    };
    let role = if agreed.we_are_client { DtlsRole::Client } else { DtlsRole::Server };
    let ice = IceWords {
        ours: agreed.ours.as_str().into(),
        password: agreed.password.clone(),
        theirs: agreed.theirs.as_str().into(),
    };
    let fingerprint = Fingerprint::new(hash, &agreed.fingerprint).ok_or(SdpError::Security)?;
    Ok(WebRtc { ice, role, fingerprint })
}

fn payload(mapped: &Mapped) -> command::Payload {
    let sound = match mapped.format {
        Format::Audio(audio) => Sound::Audio(codec(audio)),
        Format::Keys { clock } => Sound::Key { clock },
        Format::Noise => Sound::Noise,
    };
    command::Payload { sound, receive: mapped.receive, send: mapped.send }
}

fn codec(codec: Codec) -> command::Codec {
    match codec {
        Codec::Pcma => command::Codec::Pcma,
        Codec::Pcmu => command::Codec::Pcmu,
        Codec::G722 => command::Codec::G722,
        Codec::Opus => command::Codec::Opus,
    }
}

/// How a leg was encrypted, in the words of reports.
pub fn security(suite: Option<keying::Suite>) -> notice::Security {
    match suite {
        None => notice::Security::None,
        Some(keying::Suite::AesCm128Sha1_80) => notice::Security::AesCm128Sha1_80,
        Some(keying::Suite::AesCm128Sha1_32) => notice::Security::AesCm128Sha1_32,
        Some(keying::Suite::AeadAes128Gcm) => notice::Security::AeadAes128Gcm,
        Some(keying::Suite::AeadAes256Gcm) => notice::Security::AeadAes256Gcm,
    }
}

/// Why a browser came to no keys, in the words of reports.
pub(super) fn web_fault(why: command::Insecure) -> notice::WebFault {
    match why {
        command::Insecure::Certificate => notice::WebFault::Certificate,
        command::Insecure::Handshake => notice::WebFault::Handshake,
        command::Insecure::Late => notice::WebFault::Late,
    }
}

/// The command that tells media of an exchange.
pub fn connect(leg: LegKey, stream: Stream) -> MediaCommand {
    MediaCommand::Connect { leg, stream }
}

#[cfg(test)]
#[path = "leg_tests.rs"]
mod tests;
