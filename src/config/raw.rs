//! What the operator may write, as plain structures with positions. `source` fills them and refuses
//! unknown keys; each room compiles its own section. No logic here.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub file: Arc<str>,
    /// From 1; 0 when there is no line (a value that was left out).
    pub line: u32,
}

/// A value and where it stands. Values that were left out stand where their table begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

/// A password: read from the file, the environment or a secret file. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The whole configuration: every `*.toml` of the directory, merged.
#[derive(Debug, Clone)]
pub struct Config {
    pub site: Site,
    pub listen: Vec<Listen>,
    pub tls: Tls,
    pub dns: Dns,
    pub media: Media,
    pub trunks: Vec<Trunk>,
    pub registrar: Registrar,
    pub metrics: Metrics,
    pub log: Log,
    pub limits: Limits,
    pub shutdown: Shutdown,
    pub helpline: Helpline,
    pub hours: Hours,
    pub numbers: Vec<Number>,
    pub lines: Vec<Line>,
    pub queues: Vec<Queue>,
    pub flows: Vec<Flow>,
    pub voicemail: Voicemail,
    pub destinations: Vec<Destination>,
}

/// `[site]`
#[derive(Debug, Clone)]
pub struct Site {
    /// Directory for messages, the database and the spool; written relative to the config directory, here
    /// already joined to it.
    pub data: At<PathBuf>,
    /// Directory with one folder of prompts a language; written relative to the config directory, here already
    /// joined to it.
    pub prompts: At<PathBuf>,
    /// Who is on our side of address translation: told our own addresses, and no `external`.
    pub local_networks: Vec<At<Network>>,
}

/// `[[listen]]`
#[derive(Debug, Clone)]
pub struct Listen {
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: At<ListenTransport>,
    pub address: At<SocketAddr>,
    /// Written in Via and Contact instead of `address` (behind NAT).
    pub external: Option<At<SocketAddr>>,
    /// Whom we call from here when there are several; empty: who belongs to no other.
    pub networks: Vec<At<Network>>,
    /// The mark of what is sent, for queues on the way (RFC 2474).
    pub dscp: At<u32>,
    /// What we show over TLS: files written relative to the config directory, here already joined to it.
    pub shown: Option<Certificate>,
    /// Further certificates, shown to who asks for one of their names.
    pub also: Vec<Certificate>,
    /// File with the authorities by which a client's certificate must be signed, if it shows one.
    pub client_ca: Option<At<PathBuf>>,
    /// Origins of the web pages that may open a WebSocket, such as `https://phone.example`.
    pub origins: Vec<At<String>>,
}

/// A certificate with its chain, and its private key: two PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub certificate: At<PathBuf>,
    pub key: At<PathBuf>,
}

/// `[tls]`: our side of the TLS connections that we open.
#[derive(Debug, Clone)]
pub struct Tls {
    /// File with authorities that are trusted beside those of the system, such as a carrier's own.
    pub ca: Option<At<PathBuf>>,
    /// What we show to who asks for it.
    pub shown: Option<Certificate>,
}

/// `[dns]`
#[derive(Debug, Clone)]
pub struct Dns {
    /// This name server alone is asked, instead of the system's.
    pub server: Option<At<SocketAddr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenTransport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl ListenTransport {
    /// Whether a certificate is shown.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// `[media]`
#[derive(Debug, Clone)]
pub struct Media {
    /// Addresses for RTP, at most one of each family; empty: those of the listeners.
    pub addresses: Vec<At<IpAddr>>,
    /// Written in SDP instead of the IPv4 address (behind NAT).
    pub external: Option<At<IpAddr>>,
    /// `ports = "20000-29999"`
    pub ports: At<(u16, u16)>,
    pub threads: At<u32>,
    /// How long a closed port stays unused.
    pub quarantine: At<Duration>,
    /// Crypto suites by their names in SDP, the preferred one first; empty: all that there are.
    pub srtp_suites: Vec<At<String>>,
    pub io: At<MediaIo>,
    /// The mark of audio (RFC 2474).
    pub dscp: At<u32>,
    /// The cores of the threads, one after the other; empty: any.
    pub cpus: Vec<At<u32>>,
    pub realtime_priority: Option<At<u32>>,
}

/// How media threads receive and send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaIo {
    Auto,
    Epoll,
    IoUring,
}

/// `[[trunk]]`: a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    pub name: At<String>,
    /// Addresses or networks (`10.1.0.0/16`) from which calls for our numbers are taken.
    pub sources: Vec<At<Network>>,
    /// SIP URI (host and port) for calls out, such as 106 and mobile lines; without it the trunk only takes calls.
    pub target: Option<At<String>>,
    pub username: Option<At<String>>,
    pub password: Option<At<Secret>>,
    /// Only a challenge of this realm gets an answer; without it any that the target gives to a call of ours.
    pub realm: Option<At<String>>,
    /// The name in the certificate by which the carrier proves itself on a TLS connection.
    pub certificate_name: Option<At<String>>,
    /// Tell the carrier where we are (REGISTER at `target`), and take calls from there.
    pub register: At<bool>,
    /// How often the target is asked whether it is there (OPTIONS); zero: never.
    pub options: At<Duration>,
    /// The trunk that is called over when this one can't be reached.
    pub backup: Option<At<String>>,
    /// Whose account a call out is, for the carrier alone (P-Preferred-Identity): a SIP address or a number.
    pub identity: Option<At<String>>,
    /// Listen for keys as tones in the sound of a call that has no telephone-event.
    pub inband_dtmf: At<bool>,
    pub srtp: At<Srtp>,
    /// What is spoken with it, the preferred one first; empty: the helpline's.
    pub codecs: Vec<At<String>>,
}

impl Trunk {
    /// Whether it is known if its carrier is there.
    pub fn is_watched(&self) -> bool {
        self.register.value || !self.options.value.is_zero()
    }
}

/// Whether audio is encrypted: `never`, `optional` (when the other side can) or `mandatory` (else there is no call).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Srtp {
    Never,
    Optional,
    Mandatory,
}

/// An address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

/// `[registrar]`
#[derive(Debug, Clone)]
pub struct Registrar {
    pub realm: At<String>,
    /// Digest algorithms in the order in which they are offered, `sha-256` and `md5`.
    pub algorithms: Vec<At<String>>,
    pub min_expires: At<Duration>,
    pub max_expires: At<Duration>,
    pub nonce_lifetime: At<Duration>,
    /// A phone may also vouch for the body of what it sends (RFC 7616 3.4.3).
    pub auth_int: At<bool>,
}

/// `[metrics]`
#[derive(Debug, Clone)]
pub struct Metrics {
    /// HTTP listener for `/metrics` and `/health/*`; without it none.
    pub listen: Option<At<SocketAddr>>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: At<String>,
    pub json: At<bool>,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    pub calls: At<u32>,
    pub calls_per_second: At<u32>,
    pub registrations: At<u32>,
    pub subscriptions: At<u32>,
    pub connections: At<u32>,
    pub connections_per_address: At<u32>,
    /// SIP transactions at a time; `None`: what the limits above can need.
    pub transactions: Option<At<u32>>,
    /// Bytes of one SIP message.
    pub message_size: At<u32>,
    /// Header lines of one SIP message, and bytes of one of their values.
    pub headers: At<u32>,
    pub header_length: At<u32>,
    /// The longest that one call may last.
    pub call_length: At<Duration>,
    /// How often a call is said to go on (RFC 4028); zero: never.
    pub session_expires: At<Duration>,
}

/// `[shutdown]`
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long SIGTERM waits for calls before it says goodbye.
    pub grace: At<Duration>,
}

/// `[helpline]`
#[derive(Debug, Clone)]
pub struct Helpline {
    /// Shown to the counsellor as the caller's name, such as `1712`.
    pub name: At<String>,
    /// IANA zone such as `Europe/Brussels`.
    pub zone: At<String>,
    /// In the order in which prompts are looked for; the first is the default.
    pub languages: Vec<At<String>>,
    /// Codec preference, `pcma` and `pcmu`.
    pub codecs: Vec<At<String>>,
    /// Prompt names of the music on hold, played in turn.
    pub music: Vec<At<String>>,
    /// How loud it is.
    pub music_level_dbov: At<i32>,
    /// `*` codes from a line's phone.
    pub log_in: At<String>,
    pub log_out: At<String>,
    pub pause: At<String>,
    pub resume: At<String>,
    /// Pressed in a call: brings the caller and who is asked together.
    pub conference: At<String>,
}

/// `[hours]` with `[[exception]]`
#[derive(Debug, Clone)]
pub struct Hours {
    pub place: Place,
    /// Monday first; local half-open intervals in minutes of the day, `to` may be past 1440 (past midnight).
    pub week: [Vec<At<Interval>>; 7],
    /// Belgian public holidays.
    pub belgian_holidays: At<bool>,
    pub exceptions: Vec<Exception>,
    /// `closed-until = "2026-12-01T09:00"` in the helpline's zone: the operator's override.
    pub closed_until: Option<At<chrono::NaiveDateTime>>,
}

/// Minutes of the local day, `from` included, `to` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub from: u16,
    pub to: u16,
}

/// `[[exception]]`: a date that differs from the week: no intervals means closed.
#[derive(Debug, Clone)]
pub struct Exception {
    pub date: At<chrono::NaiveDate>,
    pub intervals: Vec<At<Interval>>,
    /// Counts as a holiday (the flow may say so).
    pub holiday: bool,
}

/// `[[number]]`: a number of ours.
#[derive(Debug, Clone)]
pub struct Number {
    /// User part of the Request-URI, such as `1712` or `+3278151712`.
    pub dial: At<String>,
    pub flow: At<String>,
}

/// `[[line]]`: a counsellor's line.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: At<String>,
    pub reach: Reach,
    /// Calls at the same time: 1, or more for a centre's own switchboard.
    pub capacity: At<u32>,
    /// Telephone zones (`09`) whose callers this line's centre serves first.
    pub zones: Vec<At<String>>,
    /// Rung only when every line of a lower penalty is not free.
    pub penalty: At<u32>,
    /// Logged in at start, without `*` code.
    pub logged_in: At<bool>,
    /// Of a line that is reached over a trunk, the trunk's counts.
    pub srtp: At<Srtp>,
    /// How keys are sent to it.
    pub keys: At<Keys>,
    /// Listen for keys as tones in the sound of its phone when that has no telephone-event.
    pub inband_dtmf: At<bool>,
    /// What is spoken with it, the preferred one first; empty: the helpline's. Of a line that is reached over a trunk,
    /// the trunk's count.
    pub codecs: Vec<At<String>>,
}

/// How a line gets keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// As telephone-event (RFC 4733) when its phone knows that, else as tones.
    Auto,
    /// By SIP INFO.
    Info,
}

/// How a line is reached.
#[derive(Debug, Clone)]
pub enum Reach {
    /// `password = …`: registers under its name.
    Registers { password: At<Secret> },
    /// `uri = "sip:…"`: a fixed address.
    Fixed { uri: At<String> },
    /// `telephone = "+32…"` over a trunk; must press 1.
    Telephone { number: At<String>, trunk: At<String> },
}

/// `[queue.NAME]`
#[derive(Debug, Clone)]
pub struct Queue {
    pub name: At<String>,
    pub lines: Vec<At<String>>,
    pub strategy: At<Strategy>,
    /// How long one line rings.
    pub ring: At<Duration>,
    /// Rest after a call.
    pub wrap_up: At<Duration>,
    /// Callers who may wait.
    pub capacity: At<u32>,
    pub max_wait: At<Duration>,
    /// Misses in a row before a line rests, and for how long.
    pub misses: At<u32>,
    pub rest: At<Duration>,
    /// Its own music; empty: the helpline's.
    pub music: Vec<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    LongestIdle,
    InOrder,
    RoundRobin,
    RingAll,
}

/// `[flow.NAME]` with `[flow.NAME.step.STEP]`
#[derive(Debug, Clone)]
pub struct Flow {
    pub name: At<String>,
    pub start: At<String>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub name: At<String>,
    pub action: Action,
}

/// A jump is the name of a step.
pub type Jump = At<String>;

/// What a step does (`do = "…"`).
#[derive(Debug, Clone)]
pub enum Action {
    /// `play`: prompts, then `next`.
    Play { prompts: Vec<At<String>>, next: Jump },
    /// `menu`: prompts with keys; `timeout` and `invalid` count as tries, then `otherwise`.
    Menu {
        prompts: Vec<At<String>>,
        keys: Vec<(At<char>, Jump)>,
        timeout: At<Duration>,
        tries: At<u32>,
        otherwise: Jump,
        /// Where a caller goes who pressed nothing and was not heard speaking until the first timeout.
        silent: Option<Jump>,
    },
    /// `language`: keys choose a language; silence takes the default.
    Language {
        prompts: Vec<At<String>>,
        keys: Vec<(At<char>, At<String>)>,
        timeout: At<Duration>,
        next: Jump,
    },
    /// `hours`: branches on the calendar.
    Hours { open: Jump, closed: Jump, holiday: Option<Jump> },
    /// `closed`: says the prompts and the next opening, then `next`.
    NextOpening { prompts: Vec<At<String>>, next: Jump },
    /// `queue`: waits for a line. Every `announce_every`: `announce` prompts with the position.
    Queue {
        queue: At<String>,
        announce_every: At<Duration>,
        announce: Vec<At<String>>,
        /// Key and jump to leave the queue.
        keys: Vec<(At<char>, Jump)>,
        full: Jump,
        nobody: Jump,
        too_long: Jump,
    },
    /// `dial`: a destination (`[destination.NAME]`) over the trunk, such as 106; `failed` when it does not answer.
    Dial { destination: At<String>, prompts: Vec<At<String>>, failed: Jump },
    /// `message`: instructions, tone, recording, then the menu keep/replay/again/delete; `done` when kept, `deleted`, `failed` when it can't be recorded.
    Message { prompts: Vec<At<String>>, ask_callback: At<bool>, done: Jump, deleted: Jump, failed: Jump },
    /// `line`: straight to one line, no queue.
    Line { line: At<String>, failed: Jump },
    /// `wait`: answered and silent until the caller hangs up.
    Wait,
    /// `loop`: repeats the prompts until the caller hangs up.
    Loop { prompts: Vec<At<String>> },
    /// `hangup`: prompts, then the end.
    HangUp { prompts: Vec<At<String>> },
}

/// `[voicemail]`
#[derive(Debug, Clone)]
pub struct Voicemail {
    pub max: At<Duration>,
    /// Silence that ends a recording.
    pub silence: At<Duration>,
    /// Shorter recordings without voice are not kept.
    pub min: At<Duration>,
    pub finish_key: At<char>,
    /// The loudness to which messages are brought; `None`: as they were spoken.
    pub normalise_lufs: Option<At<i32>>,
    /// Handled messages are deleted after this; `None`: kept until deleted by hand.
    pub keep_done: Option<At<Duration>>,
    /// Free space under which no recording starts, in MiB.
    pub min_free_mib: At<u32>,
    /// Days with opening hours within which a message is to be answered; 0: no promise.
    pub answer_within_days: At<u32>,
}

/// `[destination.NAME]`: a number that a caller or a line's transfer may be sent to.
#[derive(Debug, Clone)]
pub struct Destination {
    pub name: At<String>,
    pub number: At<String>,
    pub trunk: At<String>,
    pub ring: At<Duration>,
    /// Lines may transfer here by REFER.
    pub transfer: At<bool>,
    /// The caller hears what the carrier plays before somebody answers, instead of music.
    pub early_media: At<bool>,
}
