//! What a browser's description says beyond a telephone's: DTLS (RFC 8122, 5763, 8842), ICE (RFC 8839) and bundling
//! (RFC 9143), as JSEP (RFC 8829) has it for one audio stream. We are lite (RFC 8445 2.5) and never the one who
//! restarts.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::session::{Media, SdpError, Session};
use crate::base::id::Rng;
use crate::base::quiet::quiet_debug;
use crate::base::secret::Secret;

/// Letters of our names and passwords, of five bits each: RFC 8445 5.3 asks for 24 and 128 bits.
const NAME: usize = 8;
const PASSWORD: usize = 32;
/// RFC 8839 5.4.
const NAME_LENGTHS: std::ops::RangeInclusive<usize> = 4..=256;
/// What of a peer's we write back is no longer (RFC 8843 asks for three octets or so).
const MOST_MID: usize = 32;
/// RFC 8445 5.1.2.1 for our only candidate: a host's, of RTP.
const PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// Who opens the association (RFC 4145 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Active,
    Passive,
    ActPass,
}

/// Hashes of certificates that we take (RFC 8122 5).
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

/// Attributes of a session or a section as they were read. What is not as it must be is as if it were not there.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    ufrag: Option<String>,
    has_password: bool,
    fingerprint: Option<(Hash, Vec<u8>)>,
    setup: Option<Setup>,
    mid: Option<String>,
    /// The sections of the session's first `a=group:BUNDLE`.
    bundle: Vec<String>,
}

impl Attributes {
    /// Takes one `a=` line when it is one of ours.
    pub(super) fn read(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = value.trim();
        match name {
            "ice-ufrag" => self.ufrag = Some(value.to_owned()).filter(|v| is_name(v)),
            "ice-pwd" => self.has_password = true,
            // RFC 8122 5: of several, one that we can check is enough.
            "fingerprint" if self.fingerprint.is_none() => self.fingerprint = parse_fingerprint(value),
            "setup" => self.setup = parse_setup(value),
            "mid" => self.mid = Some(value.to_owned()).filter(|v| is_mid(v)),
            "group" if self.bundle.is_empty() => self.bundle = parse_bundle(value),
            _ => {}
        }
    }
}

/// Our side of it: from here all that we write is drawn, and nothing of it is a peer's.
#[derive(Clone, PartialEq, Eq)]
pub struct OurWeb {
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Of each stream its own, 32 random octets: its names and passwords come of it.
    pub seed: Secret,
}

/// What was agreed on with a browser.
#[derive(Clone, PartialEq, Eq)]
pub struct AgreedWeb {
    /// Our name and password for the peer's checks, and its name.
    pub ours: String,
    pub password: Secret,
    pub theirs: String,
    /// We open the association.
    pub we_are_client: bool,
    pub hash: Hash,
    /// As long as the hash is.
    pub fingerprint: Vec<u8>,
}

/// What we write of it in a section.
#[derive(Clone, PartialEq, Eq)]
pub struct WrittenWeb {
    ufrag: String,
    password: Secret,
    fingerprint: [u8; 32],
    setup: Setup,
    mid: Option<String>,
    bundled: bool,
}

/// What of one dialog's exchanges is kept for the next.
#[derive(Clone, Default)]
pub(super) struct Web {
    /// Rises with each restart of the peer's.
    generation: u64,
    theirs: Option<String>,
    /// Who we are since the first exchange (RFC 8842 5).
    we_are_client: Option<bool>,
    mid: Option<String>,
    bundled: bool,
}

impl Web {
    /// For our offer: we let the peer choose, which then opens the association.
    pub(super) fn offer(&self, ours: &OurWeb) -> WrittenWeb {
        let mid = self.mid.clone().or_else(|| self.theirs.is_none().then(|| "0".to_owned()));
        let bundled = self.theirs.is_none() || self.bundled;
        self.written(ours, Setup::ActPass, mid, bundled)
    }

    /// Takes a peer's offer; what we answer follows from it.
    pub(super) fn answer(
        &mut self,
        ours: &OurWeb,
        session: &Session,
        media: &Media,
    ) -> Result<(AgreedWeb, WrittenWeb), SdpError> {
        let said = said(session, media)?;
        let we_are_client = match said.setup {
            Setup::Active => false,
            Setup::Passive => true,
            Setup::ActPass => self.we_are_client.unwrap_or(false),
        };
        if self.theirs.as_ref().is_some_and(|theirs| *theirs != said.ufrag) {
            // RFC 8839 4.4.3.1: other words are a restart, which wants other words of ours.
            self.generation += 1;
        }
        (self.mid, self.bundled) = (media.web.mid.clone(), is_bundled(session, media));
        let agreed = self.agree(ours, said, we_are_client);
        let setup = if we_are_client { Setup::Active } else { Setup::Passive };
        Ok((agreed, self.written(ours, setup, self.mid.clone(), self.bundled)))
    }

    /// Takes the answer to our offer.
    pub(super) fn accept(
        &mut self,
        ours: &OurWeb,
        session: &Session,
        media: &Media,
    ) -> Result<AgreedWeb, SdpError> {
        let said = said(session, media)?;
        let we_are_client = match said.setup {
            Setup::Active => false,
            Setup::Passive => true,
            Setup::ActPass => return Err(SdpError::Mismatch),
        };
        if self.theirs.is_none() {
            (self.mid, self.bundled) = (Some("0".to_owned()), true);
        }
        Ok(self.agree(ours, said, we_are_client))
    }

    fn agree(&mut self, ours: &OurWeb, said: Said, we_are_client: bool) -> AgreedWeb {
        let (ufrag, password) = self.words(ours);
        self.theirs = Some(said.ufrag.clone());
        self.we_are_client = Some(we_are_client);
        let (hash, fingerprint) = said.fingerprint;
        AgreedWeb { ours: ufrag, password, theirs: said.ufrag, we_are_client, hash, fingerprint }
    }

    fn written(&self, ours: &OurWeb, setup: Setup, mid: Option<String>, bundled: bool) -> WrittenWeb {
        let (ufrag, password) = self.words(ours);
        let bundled = bundled && mid.is_some();
        WrittenWeb { ufrag, password, fingerprint: ours.fingerprint, setup, mid, bundled }
    }

    /// Our name and password of this generation.
    fn words(&self, ours: &OurWeb) -> (String, Secret) {
        let mut seed = [0; 32];
        seed.iter_mut().zip(ours.seed.expose()).for_each(|(to, from)| *to = *from);
        seed.iter_mut().zip(self.generation.to_be_bytes()).for_each(|(to, count)| *to ^= count);
        let mut rng = Rng::from_seed(seed);
        (rng.token(NAME), Secret::of(rng.token(PASSWORD).into_bytes()))
    }
}

/// What a peer must say.
struct Said {
    ufrag: String,
    setup: Setup,
    fingerprint: (Hash, Vec<u8>),
}

/// A section's own word counts before the session's (RFC 8839 5.4, 8122 5).
fn said(session: &Session, media: &Media) -> Result<Said, SdpError> {
    let (own, all) = (&media.web, &session.web);
    let ufrag = own.ufrag.as_ref().or(all.ufrag.as_ref()).filter(|_| own.has_password || all.has_password);
    let fingerprint = own.fingerprint.as_ref().or(all.fingerprint.as_ref());
    let setup = own.setup.or(all.setup);
    // RFC 8829 4.1.1: one port for all; we have no other.
    match (ufrag, fingerprint, setup, media.rtcp_mux) {
        (Some(ufrag), Some(fingerprint), Some(setup), true) => {
            Ok(Said { ufrag: ufrag.clone(), setup, fingerprint: fingerprint.clone() })
        }
        _ => Err(SdpError::NoAudio),
    }
}

fn is_bundled(session: &Session, media: &Media) -> bool {
    media.web.mid.as_ref().is_some_and(|mid| session.web.bundle.contains(mid))
}

/// The peer's own name of a section, for the answer that refuses it (RFC 8829 5.3.1).
pub(super) fn mid_of(media: &Media) -> Option<String> {
    media.web.mid.clone()
}

/// Lines of the session: that we are lite, and what is bundled.
pub(super) fn write_session(out: &mut String, web: &WrittenWeb) {
    if let Some(mid) = web.mid.as_ref().filter(|_| web.bundled) {
        let _ = write!(out, "a=group:BUNDLE {mid}\r\n");
    }
    out.push_str("a=ice-lite\r\na=msid-semantic: WMS *\r\n");
}

/// Lines of the section; `address` and `port` are our only candidate.
pub(super) fn write_section(out: &mut String, web: &WrittenWeb, address: IpAddr, port: u16) {
    if let Some(mid) = &web.mid {
        write_mid(out, mid);
    }
    let password = String::from_utf8_lossy(web.password.expose());
    let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{password}\r\na=fingerprint:sha-256 ", web.ufrag);
    for (index, octet) in web.fingerprint.iter().enumerate() {
        let _ = write!(out, "{}{octet:02X}", if index == 0 { "" } else { ":" });
    }
    let setup = match web.setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
    };
    // A page finds our voice in a stream of this name, whoever speaks.
    let _ = write!(
        out,
        "\r\na=setup:{setup}\r\na=msid:voice voice\r\n\
         a=candidate:1 1 udp {PRIORITY} {address} {port} typ host\r\na=end-of-candidates\r\n"
    );
}

pub(super) fn write_mid(out: &mut String, mid: &str) {
    let _ = write!(out, "a=mid:{mid}\r\n");
}

/// `ice-char` of RFC 8839 5.4.
fn is_name(value: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    NAME_LENGTHS.contains(&value.len()) && value.bytes().all(is_char)
}

/// Of the letters of a token (RFC 8866 9) those that mean nothing anywhere.
fn is_mid(value: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"-_+.".contains(&b);
    (1..=MOST_MID).contains(&value.len()) && value.bytes().all(is_char)
}

fn parse_setup(value: &str) -> Option<Setup> {
    match value {
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        "actpass" => Some(Setup::ActPass),
        _ => None,
    }
}

fn parse_fingerprint(value: &str) -> Option<(Hash, Vec<u8>)> {
    let (name, octets) = value.split_once(' ')?;
    let hash = match name.to_ascii_lowercase().as_str() {
        "sha-256" => Hash::Sha256,
        "sha-384" => Hash::Sha384,
        "sha-512" => Hash::Sha512,
        _ => return None,
    };
    let octet = |text: &str| {
        let hex = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
    };
    let octets: Option<Vec<u8>> = octets.trim().split(':').take(65).map(octet).collect();
    octets.filter(|octets| octets.len() == hash.length()).map(|octets| (hash, octets))
}

fn parse_bundle(value: &str) -> Vec<String> {
    let Some(mids) = value.strip_prefix("BUNDLE ") else { return Vec::new() };
    mids.split_whitespace().take(super::session::MAX_MEDIA).map(str::to_owned).collect()
}

quiet_debug!(
    Attributes => "Attributes",
    OurWeb => "OurWeb",
    AgreedWeb => "AgreedWeb",
    WrittenWeb => "WrittenWeb",
    Web => "Web",
);

#[cfg(test)]
#[path = "webrtc_tests.rs"]
mod tests;
