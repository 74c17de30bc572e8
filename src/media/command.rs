//! The whole contract of the media room: commands in, events out, all plain values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::keying::{DtlsRole, Keying, Suite};
use crate::base::id::{LegKey, PlayKey, Rng, RoomKey, TakeKey};
use crate::base::quiet::quiet_debug;
use crate::base::secret::Secret;

/// The codecs that we speak, all in packets of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.711 µ-law, static payload type 0.
    Pcmu,
    /// G.722 at 64 kbit/s, static payload type 9: sounds up to 7 kHz.
    G722,
    /// Opus (RFC 7587).
    Opus,
}

/// What a packet's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sound {
    Audio(Codec),
    /// RFC 4733 telephone-event. Its clock is that of the audio beside it: 8000 or 48000.
    Key {
        clock: u32,
    },
    /// RFC 3389 comfort noise, at 8 kHz.
    Noise,
}

/// One thing that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    pub sound: Sound,
    /// By which the peer sends it.
    pub receive: u8,
    /// By which we send it.
    pub send: u8,
}

/// All that was agreed on for one stream: a handful, so that looking through is quickest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payloads(pub Vec<Payload>);

/// A prompt, tone or piece of music, decoded once at load. The laws' bytes are one a sample at 8 kHz.
#[derive(PartialEq, Eq)]
pub struct Clip {
    /// Name for reports, such as `nl/welcome`; never from a caller.
    pub name: String,
    pub pcma: Vec<u8>,
    pub pcmu: Vec<u8>,
    /// Samples at 16 kHz, when its source has them; else empty. Codecs other than G.711 are made from these, or
    /// from `pcma`, when it is played.
    pub wide: Vec<i16>,
}

impl Clip {
    /// How long it plays.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.pcma.len() as u64 * 125)
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({})", self.name)
    }
}

/// Music on hold: what those who wait hear, one file after the other and round again. `Music::new` makes it.
#[derive(PartialEq, Eq)]
pub struct Music {
    pub clips: Vec<Arc<Clip>>,
}

impl fmt::Debug for Music {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Music({:?})", self.clips)
    }
}

/// Which way RTP flows, from our point of view (RFC 3264 5.1 seen from us).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What a finished offer/answer exchange says about one leg's audio stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where the peer's SDP asks us to send RTP.
    pub remote: SocketAddr,
    /// Where to send RTCP.
    pub remote_rtcp: SocketAddr,
    /// Whence the peer's signalling comes: the one other host that its RTP may come from (behind NAT).
    pub signalling: IpAddr,
    /// What we send.
    pub codec: Codec,
    /// What may be sent each way, and by which payload types; `codec` is among them.
    pub payloads: Payloads,
    /// RTCP goes over the RTP port (RFC 5761); `remote_rtcp` is then `remote`.
    pub rtcp_mux: bool,
    pub direction: Direction,
    /// What RTP and RTCP are encrypted with; `None`: in the clear, but for a browser.
    pub keying: Option<Keying>,
    /// The peer is a browser, which is found by ICE and keyed by DTLS. `remote` is then nowhere.
    pub web: Option<Box<WebRtc>>,
}

impl Stream {
    /// G.711 and keys by the usual numbers, both ways and in the clear, RTCP on the next port.
    pub fn g711(remote: SocketAddr) -> Self {
        Self {
            remote,
            remote_rtcp: SocketAddr::new(remote.ip(), remote.port().saturating_add(1)),
            signalling: remote.ip(),
            codec: Codec::Pcma,
            payloads: Payloads::g711(),
            rtcp_mux: false,
            direction: Direction::SendRecv,
            keying: None,
            web: None,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:?} {:?})", self.codec, self.direction)
    }
}

/// Hashes of certificates that an SDP may name (RFC 8122 5); the weaker ones of its list are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// What the peer's SDP says of its certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    pub hash: Hash,
    /// As long as the hash is.
    value: [u8; 64],
}

impl Fingerprint {
    /// `None` when the value is not as long as the hash.
    pub fn new(hash: Hash, value: &[u8]) -> Option<Self> {
        let mut padded = [0; 64];
        padded.get_mut(..hash.length()).filter(|room| room.len() == value.len())?.copy_from_slice(value);
        Some(Self { hash, value: padded })
    }

    pub fn value(&self) -> &[u8] {
        self.value.get(..self.hash.length()).unwrap_or_default()
    }
}

/// What the two descriptions say of their authors' ICE (RFC 8839 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceWords {
    /// Our name, which the peer's checks say first.
    pub ours: Box<str>,
    /// By which the peer signs its checks. Its own we don't need: a lite agent asks nothing.
    pub password: Secret,
    /// The peer's name.
    pub theirs: Box<str>,
}

/// Why a browser's leg came to no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Insecure {
    /// It showed another certificate than its SDP names.
    Certificate,
    /// The handshake failed.
    Handshake,
    /// It did not come, or not to an end, in time.
    Late,
}

/// How a browser's stream is found and keyed: ICE and DTLS-SRTP.
#[derive(Clone, PartialEq, Eq)]
pub struct WebRtc {
    pub ice: IceWords,
    /// Ours.
    pub role: DtlsRole,
    pub fingerprint: Fingerprint,
}

quiet_debug!(IceWords => "IceWords", Fingerprint => "Fingerprint", WebRtc => "WebRtc");

/// Random beginnings of one leg's RTP (RFC 3550 5.1), drawn by the core's generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    /// Our RTCP CNAME for this leg (RFC 7022: random), hex of this number.
    pub cname: u64,
}

impl Origin {
    pub fn random(rng: &mut Rng) -> Self {
        Self { ssrc: rng.u32(), sequence: (rng.u32() >> 17) as u16, timestamp: rng.u32(), cname: rng.u64() }
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordEnd {
    /// `StopRecord`, or the leg was closed.
    Stopped,
    /// The caller pressed the finishing key.
    Key,
    /// Silence for the configured time (it is trimmed from the end).
    Silence,
    /// The length limit.
    Limit,
    /// The disk refused; what had been flushed is kept.
    Disk,
    /// The leg's code failed; what the writer had is kept.
    Fault,
}

impl RecordEnd {
    /// Whether something of what was said may be missing.
    pub fn is_broken(self) -> bool {
        matches!(self, Self::Disk | Self::Fault)
    }
}

/// Legs that one room holds.
pub const MOST_IN_A_ROOM: usize = 8;

/// What the core asks of the media plane.
#[derive(Clone, PartialEq)]
pub enum MediaCommand {
    /// Take a socket pair on `local` from the port pool. Answered by `Opened` or `OpenFailed`.
    Open { leg: LegKey, local: IpAddr, origin: Origin },
    /// Set or change what was negotiated. A changed `remote` re-latches the source.
    Connect { leg: LegKey, stream: Stream },
    /// Play the clips one after the other without a gap; ends what played before. With `repeat` it
    /// goes on until `Stop` and raises no `PlayEnded`.
    Play { leg: LegKey, play: PlayKey, clips: Vec<Arc<Clip>>, repeat: bool },
    /// Play a recording of ours from disk (a take that the caller wants to hear). `PlayEnded` follows, at
    /// once when it can't be read.
    PlayFile { leg: LegKey, play: PlayKey, path: PathBuf },
    /// Music on hold: what all who wait hear, from where it is. Ends what played before and goes on until `Stop` or
    /// something else is to be heard; no event follows.
    Hold { leg: LegKey, music: Arc<Music> },
    /// Delete a finished recording that the caller did not keep.
    Discard { path: PathBuf },
    /// Stop playing. No `PlayEnded` follows.
    Stop { leg: LegKey },
    /// Send each side what the other sends. Ends playing on both. Digits (RFC 4733) are carried across
    /// and also reported as events.
    Bridge { a: LegKey, b: LegKey },
    /// Undo `Bridge` for the pair that `leg` belongs to.
    Unbridge { leg: LegKey },
    /// How keys come and go where telephone-event is not agreed on: listen for them in the peer's sound, make tones
    /// for the peer. Without it a leg does not listen, and makes tones.
    Keys { leg: LegKey, listen: bool, tones: bool },
    /// Tell when the peer begins to speak and when it has stopped: `Speaking`, `Quiet`.
    Voice { leg: LegKey, on: bool },
    /// Bring a leg into a room, where each hears all the others; the first makes it. Ends the leg's playing and leaves
    /// its bridge, without a gap when its other side comes too. Keys go no further than their event. Beyond
    /// [`MOST_IN_A_ROOM`] nobody comes in.
    Mix { room: RoomKey, leg: LegKey },
    /// Take a leg out of its room; the last takes the room along. `Bridge` and `Close` do so by themselves.
    Unmix { leg: LegKey },
    /// Let all in a room hear a tone, besides each other. One that still sounds is cut off.
    Chime { room: RoomKey, clip: Arc<Clip> },
    /// Send a digit by RFC 4733, or as a tone.
    SendDigit { leg: LegKey, digit: char, duration: Duration },
    /// Record what the leg sends, to `path` with `.part` added, renamed to `path` when whole. A press of
    /// `finish_key` ends it (`Recorded`) and raises no `Digit`. `silence` for so long ends it and is cut off;
    /// with `None` all that was heard is kept as it was, silence too.
    Record {
        leg: LegKey,
        take: TakeKey,
        path: PathBuf,
        max: Duration,
        silence: Option<Duration>,
        finish_key: Option<char>,
        /// Brought to this loudness when it is whole, as far as that can be done.
        normalise_lufs: Option<i32>,
    },
    /// End the recording. `Recorded` follows.
    StopRecord { leg: LegKey },
    /// Raise `Silent` when no packet came for `after` (again after each further `after`); `None` ends it.
    Watch { leg: LegKey, after: Option<Duration> },
    /// Give the sockets back (quarantine). Ends playing, recording, bridging. `Closed` follows.
    Close { leg: LegKey },
}

impl MediaCommand {
    /// What the core hears instead when the plane could not take this command: nobody may wait for ever for
    /// an event that will not come.
    pub fn refused(&self) -> Option<MediaEvent> {
        match self {
            Self::Open { leg, .. } => Some(MediaEvent::OpenFailed { leg: *leg }),
            Self::Play { leg, play, repeat: false, .. } | Self::PlayFile { leg, play, .. } => {
                Some(MediaEvent::PlayEnded { leg: *leg, play: *play })
            }
            Self::Record { leg, take, .. } => Some(MediaEvent::Recorded {
                leg: *leg,
                take: *take,
                length: Duration::ZERO,
                end: RecordEnd::Disk,
                voice: false,
            }),
            Self::Play { .. }
            | Self::Hold { .. }
            | Self::Connect { .. }
            | Self::Discard { .. }
            | Self::Stop { .. }
            | Self::Bridge { .. }
            | Self::Unbridge { .. }
            | Self::Keys { .. }
            | Self::Voice { .. }
            | Self::Mix { .. }
            | Self::Unmix { .. }
            | Self::Chime { .. }
            | Self::SendDigit { .. }
            | Self::StopRecord { .. }
            | Self::Watch { .. }
            | Self::Close { .. } => None,
        }
    }
}

/// What the media plane reports.
#[derive(Clone, PartialEq)]
pub enum MediaEvent {
    /// `local` is the RTP address; RTCP is on the next port.
    Opened {
        leg: LegKey,
        local: SocketAddr,
    },
    /// No port was free, or the plane is full.
    OpenFailed {
        leg: LegKey,
    },
    /// A key pressed by the peer, once a press: `0-9 * # A-D`.
    Digit {
        leg: LegKey,
        digit: char,
    },
    /// All clips of that `Play` have been sent.
    PlayEnded {
        leg: LegKey,
        play: PlayKey,
    },
    /// A recording is closed. `length` is what was kept; `rms` of speech was above the threshold when `voice`.
    Recorded {
        leg: LegKey,
        take: TakeKey,
        length: Duration,
        end: RecordEnd,
        voice: bool,
    },
    /// No packet came for this long.
    Silent {
        leg: LegKey,
        quiet_for: Duration,
    },
    /// The first valid packet from the peer, and the first after a `Silent`.
    Flowing {
        leg: LegKey,
    },
    /// A browser's leg has no keys and will have none: nothing is said or heard on it.
    Insecure {
        leg: LegKey,
        why: Insecure,
    },
    /// The peer speaks.
    Speaking {
        leg: LegKey,
    },
    /// It has not spoken for a while.
    Quiet {
        leg: LegKey,
    },
    /// A fault in the code of this leg has ended it; `Closed` follows.
    Broken {
        leg: LegKey,
    },
    Closed {
        leg: LegKey,
        stats: LegStats,
    },
}

/// What is asked and of which leg. Keys stay unsaid: they may be a number to call back.
impl fmt::Debug for MediaCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { leg, .. } => write!(f, "Open({leg})"),
            Self::Connect { leg, stream } => write!(f, "Connect({leg} {stream:?})"),
            Self::Play { leg, play, clips, repeat } => write!(f, "Play({leg} {play} {clips:?} {repeat})"),
            Self::PlayFile { leg, play, .. } => write!(f, "PlayFile({leg} {play})"),
            Self::Hold { leg, music } => write!(f, "Hold({leg} {music:?})"),
            Self::Discard { .. } => f.write_str("Discard"),
            Self::Stop { leg } => write!(f, "Stop({leg})"),
            Self::Bridge { a, b } => write!(f, "Bridge({a} {b})"),
            Self::Unbridge { leg } => write!(f, "Unbridge({leg})"),
            Self::Keys { leg, listen, tones } => write!(f, "Keys({leg} {listen} {tones})"),
            Self::Voice { leg, on } => write!(f, "Voice({leg} {on})"),
            Self::Mix { room, leg } => write!(f, "Mix({room} {leg})"),
            Self::Unmix { leg } => write!(f, "Unmix({leg})"),
            Self::Chime { room, clip } => write!(f, "Chime({room} {clip:?})"),
            Self::SendDigit { leg, .. } => write!(f, "SendDigit({leg})"),
            Self::Record { leg, take, .. } => write!(f, "Record({leg} {take})"),
            Self::StopRecord { leg } => write!(f, "StopRecord({leg})"),
            Self::Watch { leg, after } => write!(f, "Watch({leg} {after:?})"),
            Self::Close { leg } => write!(f, "Close({leg})"),
        }
    }
}

impl fmt::Debug for MediaEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { leg, local } => write!(f, "Opened({leg} {local})"),
            Self::OpenFailed { leg } => write!(f, "OpenFailed({leg})"),
            Self::Digit { leg, .. } => write!(f, "Digit({leg})"),
            Self::PlayEnded { leg, play } => write!(f, "PlayEnded({leg} {play})"),
            Self::Recorded { leg, take, length, end, voice } => {
                write!(f, "Recorded({leg} {take} {length:?} {end:?} {voice})")
            }
            Self::Silent { leg, quiet_for } => write!(f, "Silent({leg} {quiet_for:?})"),
            Self::Flowing { leg } => write!(f, "Flowing({leg})"),
            Self::Insecure { leg, why } => write!(f, "Insecure({leg} {why:?})"),
            Self::Speaking { leg } => write!(f, "Speaking({leg})"),
            Self::Quiet { leg } => write!(f, "Quiet({leg})"),
            Self::Broken { leg } => write!(f, "Broken({leg})"),
            Self::Closed { leg, stats } => write!(f, "Closed({leg} {stats:?})"),
        }
    }
}

/// Counters of one leg's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LegStats {
    pub sent: u64,
    pub received: u64,
    /// Expected less received (RFC 3550 A.3).
    pub lost: u64,
    /// Arrived after its place was played or relayed past.
    pub late: u64,
    /// From another address than the source locked to.
    pub foreign: u64,
    /// Not RTP, or of an unknown payload type.
    pub malformed: u64,
    /// From the peer, beyond what any phone sends.
    pub flood: u64,
    /// On an encrypted leg: not from who has the key, or in the clear.
    pub forged: u64,
    /// On an encrypted leg: seen before.
    pub replayed: u64,
    /// What it was encrypted with at its end.
    pub security: Option<Suite>,
    /// Interarrival jitter (RFC 3550 6.4.1) in timestamp units of 125 µs.
    pub jitter: u32,
    /// By RTCP, the last that was measured.
    pub round_trip: Option<Duration>,
    /// Mean opinion score of what was heard (ITU-T G.107), in hundredths.
    pub mos: Option<u16>,
}
