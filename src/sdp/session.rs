//! A session description as far as a telephone call needs it: parse and print (RFC 4566, 8866).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::crypto::{Crypto, MAX_CRYPTO};
use super::webrtc::{self, Attributes, WrittenWeb};

/// Lines that one description may have.
pub const MAX_LINES: usize = 500;
/// Media sections that one description may have.
pub const MAX_MEDIA: usize = 16;

/// Why a description is refused; holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("not a session description")]
    Form,
    #[error("too many lines or media sections")]
    Limit,
    #[error("no audio stream that we could take")]
    NoAudio,
    #[error("no codec in common")]
    NoCommonCodec,
    #[error("the answer does not fit the offer")]
    Mismatch,
    #[error("encrypted where it may not be, or in the clear where it must not be")]
    Security,
}

/// A parsed description. No `Debug`: it may be a caller's.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// Session-level `c=`.
    pub connection: Connection,
    /// Session-level direction attribute.
    pub direction: Option<Way>,
    /// What a browser says for all sections.
    pub web: Attributes,
    pub media: Vec<Media>,
}

/// A `c=` line.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    #[default]
    Unsaid,
    At(IpAddr),
    /// A host name, or something that can't be read: we look no names up for audio.
    Unusable,
}

/// A direction attribute, as the description's author sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// One `m=` section.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// `audio`, `video` …
    pub kind: String,
    pub port: u16,
    /// `RTP/AVP` …
    pub protocol: String,
    /// Formats as written, in order of preference.
    pub formats: Vec<String>,
    pub connection: Connection,
    pub direction: Option<Way>,
    /// Dynamic and static payload types with name (lower case) and clock rate.
    pub rtpmaps: Vec<(u8, String, u32)>,
    /// `a=rtcp:` port and address (RFC 3605).
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    pub ptime_ms: Option<u32>,
    /// `a=crypto` lines that can be taken, in order of preference (RFC 4568).
    pub crypto: Vec<Crypto>,
    /// What a browser says.
    pub web: Attributes,
}

impl Session {
    /// Reads a description. Lines that are not understood are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        let text = String::from_utf8_lossy(bytes);
        let mut session = Self::default();
        let mut version_seen = false;
        for (index, line) in text.lines().enumerate() {
            if index >= MAX_LINES {
                return Err(SdpError::Limit);
            }
            let line = line.trim_end_matches(['\r', ' ']);
            let Some((kind, value)) = line.split_once('=') else {
                if line.is_empty() {
                    continue;
                }
                return Err(SdpError::Form);
            };
            match kind {
                "v" => version_seen = value.trim() == "0",
                "m" if session.media.len() >= MAX_MEDIA => return Err(SdpError::Limit),
                "m" => session.media.push(parse_media(value).ok_or(SdpError::Form)?),
                "c" => session.set_connection(parse_connection(value)),
                "a" => session.read_attribute(value),
                _ => {}
            }
        }
        if version_seen { Ok(session) } else { Err(SdpError::Form) }
    }

    /// The address of a media section: its own, else the session's. `None`: neither, or a host name.
    pub fn address_of(&self, media: &Media) -> Option<IpAddr> {
        let said = if media.connection == Connection::Unsaid { self.connection } else { media.connection };
        match said {
            Connection::At(address) => Some(address),
            Connection::Unsaid | Connection::Unusable => None,
        }
    }

    /// The direction of a media section: its own, else the session's, else sendrecv (RFC 3264 5.1).
    pub fn way_of(&self, media: &Media) -> Way {
        media.direction.or(self.direction).unwrap_or(Way::SendRecv)
    }

    fn set_connection(&mut self, address: Option<IpAddr>) {
        let connection = address.map_or(Connection::Unusable, Connection::At);
        match self.media.last_mut() {
            Some(media) => media.connection = connection,
            None => self.connection = connection,
        }
    }

    fn read_attribute(&mut self, value: &str) {
        if let Some(way) = parse_way(value) {
            match self.media.last_mut() {
                Some(media) => media.direction = Some(way),
                None => self.direction = Some(way),
            }
            return;
        }
        self.media.last_mut().map_or(&mut self.web, |media| &mut media.web).read(value);
        let Some(media) = self.media.last_mut() else { return };
        if let Some(map) = value.strip_prefix("rtpmap:").and_then(parse_rtpmap) {
            if media.rtpmaps.len() < 128 {
                media.rtpmaps.push(map);
            }
        } else if let Some(rtcp) = value.strip_prefix("rtcp:") {
            media.rtcp = parse_rtcp(rtcp);
        } else if value.trim() == "rtcp-mux" {
            media.rtcp_mux = true;
        } else if let Some(crypto) = value.strip_prefix("crypto:") {
            if media.crypto.len() < MAX_CRYPTO {
                media.crypto.extend(Crypto::parse(crypto));
            }
        } else if let Some(ptime) = value.strip_prefix("ptime:") {
            media.ptime_ms = ptime.trim().parse().ok();
        }
    }
}

/// Our own description: nothing in it comes from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub address: IpAddr,
    pub session_id: u64,
    pub version: u64,
    /// One entry an `m=` line, in the order of the offer when this is an answer.
    pub media: Vec<WrittenMedia>,
}

/// One `m=` section that we write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenMedia {
    Audio {
        port: u16,
        profile: Profile,
        /// In order of preference.
        formats: Vec<WrittenFormat>,
        crypto: Vec<Crypto>,
        /// Towards a browser.
        web: Option<WrittenWeb>,
        /// RTCP goes over this port too (RFC 5761).
        rtcp_mux: bool,
        way: Way,
    },
    /// Refused with port 0 (RFC 3264 6). `kind` is one of a fixed list of words.
    Refused {
        kind: &'static str,
        protocol: &'static str,
        /// The peer's own name of it, where it has one.
        mid: Option<String>,
    },
}

/// The transport protocol of an audio section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// RTP/AVP: in the clear, or encrypted when both sides have `a=crypto` (RFC 8643).
    Avp,
    /// RTP/SAVP: encrypted, or not at all.
    Savp,
    /// Keyed by DTLS, as browsers are (RFC 5764 8).
    TlsSavp,
    TlsSavpf,
}

impl Profile {
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Avp, Self::Savp, Self::TlsSavp, Self::TlsSavpf]
            .into_iter()
            .find(|profile| profile.word() == word)
    }

    /// Whether it is a browser's.
    pub fn is_web(self) -> bool {
        matches!(self, Self::TlsSavp | Self::TlsSavpf)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Savp => "RTP/SAVP",
            Self::TlsSavp => "UDP/TLS/RTP/SAVP",
            Self::TlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }
}

/// One format of an `m=` section that we write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFormat {
    /// The payload type.
    pub number: u8,
    /// What stands in `a=rtpmap`.
    pub encoding: &'static str,
    /// What stands in `a=fmtp`.
    pub parameters: Option<&'static str>,
}

impl Written {
    pub fn to_bytes(&self) -> Vec<u8> {
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        let mut out = String::with_capacity(300);
        let _ = write!(
            out,
            "v=0\r\no=- {} {} IN {family} {a}\r\ns=-\r\nc=IN {family} {a}\r\nt=0 0\r\n",
            self.session_id,
            self.version,
            a = self.address
        );
        self.web().into_iter().for_each(|web| webrtc::write_session(&mut out, web));
        for media in &self.media {
            match media {
                WrittenMedia::Audio { port, profile, formats, crypto, web, rtcp_mux, way } => {
                    let _ = write!(out, "m=audio {port} {}", profile.word());
                    write_audio(&mut out, formats, crypto, *rtcp_mux, *way);
                    if let Some(web) = web {
                        webrtc::write_section(&mut out, web, self.address, *port);
                    }
                }
                WrittenMedia::Refused { kind, protocol, mid } => {
                    let _ = write!(out, "m={kind} 0 {protocol} 0\r\n");
                    mid.iter().for_each(|mid| webrtc::write_mid(&mut out, mid));
                }
            }
        }
        out.into_bytes()
    }

    fn web(&self) -> Option<&WrittenWeb> {
        self.media.iter().find_map(|media| match media {
            WrittenMedia::Audio { web, .. } => web.as_ref(),
            WrittenMedia::Refused { .. } => None,
        })
    }
}

fn write_audio(out: &mut String, formats: &[WrittenFormat], crypto: &[Crypto], rtcp_mux: bool, way: Way) {
    for format in formats {
        let _ = write!(out, " {}", format.number);
    }
    out.push_str("\r\n");
    for WrittenFormat { number, encoding, parameters } in formats {
        let _ = write!(out, "a=rtpmap:{number} {encoding}\r\n");
        if let Some(parameters) = parameters {
            let _ = write!(out, "a=fmtp:{number} {parameters}\r\n");
        }
    }
    crypto.iter().for_each(|line| line.write(out));
    if rtcp_mux {
        out.push_str("a=rtcp-mux\r\n");
    }
    let _ = write!(out, "a=ptime:20\r\na={}\r\n", way_word(way));
}

fn way_word(way: Way) -> &'static str {
    match way {
        Way::SendRecv => "sendrecv",
        Way::SendOnly => "sendonly",
        Way::RecvOnly => "recvonly",
        Way::Inactive => "inactive",
    }
}

fn parse_way(value: &str) -> Option<Way> {
    [Way::SendRecv, Way::SendOnly, Way::RecvOnly, Way::Inactive]
        .into_iter()
        .find(|w| way_word(*w) == value.trim())
}

fn parse_media(value: &str) -> Option<Media> {
    let mut words = value.split_whitespace();
    let kind = words.next()?.to_owned();
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let formats = words.take(128).map(str::to_owned).collect();
    Some(Media { kind, port, protocol, formats, ..Media::default() })
}

fn parse_connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_whitespace();
    let (network, family, address) = (words.next()?, words.next()?, words.next()?);
    let address: IpAddr = address.split('/').next()?.parse().ok()?;
    let fits = (family == "IP4" && address.is_ipv4()) || (family == "IP6" && address.is_ipv6());
    (network == "IN" && fits).then_some(address)
}

fn parse_rtpmap(value: &str) -> Option<(u8, String, u32)> {
    let (pt, rest) = value.split_once(' ')?;
    let mut parts = rest.trim().split('/');
    let name = parts.next()?.to_ascii_lowercase();
    let clock = parts.next()?.trim().parse().ok()?;
    let pt: u8 = pt.trim().parse().ok().filter(|pt| *pt < 128)?;
    Some((pt, name, clock))
}

fn parse_rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut words = value.split_whitespace();
    let port = words.next()?.parse().ok()?;
    let address = words.nth(2).and_then(|a| a.parse().ok());
    Some((port, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phones_description_is_read() {
        let text = "v=0\r\no=x 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\na=recvonly\r\n\
                    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:4005 IN IP4 198.51.100.9\r\n\
                    a=ptime:30\r\nm=video 4002 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=inactive\r\n";
        let session = Session::parse(text.as_bytes()).unwrap_or_default();
        let (audio, video) = (&session.media[0], &session.media[1]);
        assert_eq!(session.address_of(audio).map(|a| a.to_string()).as_deref(), Some("198.51.100.1"));
        assert_eq!(session.address_of(video).map(|a| a.to_string()).as_deref(), Some("2001:db8::1"));
        assert_eq!((session.way_of(audio), session.way_of(video)), (Way::RecvOnly, Way::Inactive));
        assert_eq!(audio.rtpmaps, [(101, "telephone-event".to_owned(), 8000)]);
        assert_eq!((audio.rtcp.map(|r| r.0), audio.ptime_ms), (Some(4005), Some(30)));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for text in
            ["", "hello", "v=1\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n", "v=0\r\nm=audio 99999 RTP/AVP 0\r\n"]
        {
            assert!(Session::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Session::parse("v=0\r\n".repeat(600).as_bytes()).err() == Some(SdpError::Limit));
        assert!(
            Session::parse(("v=0\r\n".to_owned() + &"m=audio 1 RTP/AVP 0\r\n".repeat(17)).as_bytes())
                .is_err()
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Session::parse(&bytes);
        }
    }
}
