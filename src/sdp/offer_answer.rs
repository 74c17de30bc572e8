//! Offer and answer (RFC 3264) for one audio stream of G.711. A pending offer is a value that can be
//! used once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::base::quiet::quiet_debug;

use super::crypto::{Crypto, Suite};
pub use super::crypto::{Keys, Security, Srtp};
pub use super::format::{Codec, Format, Mapped};
use super::session::{Media, Profile, SdpError, Session, Way, Written, WrittenMedia};
use super::webrtc::{self, AgreedWeb, OurWeb, Web, WrittenWeb};

/// Where a browser is only its checks say.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);

/// Our side of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    pub address: IpAddr,
    pub port: u16,
    /// `o=` session id: random, never from a peer.
    pub session_id: u64,
    /// In order of preference.
    pub codecs: Vec<Codec>,
    pub dtmf: bool,
    /// Comfort noise beside codecs of 8 kHz (RFC 3389).
    pub noise: bool,
    /// Whether we offer RTCP on the RTP port (RFC 5761); a peer that offers it gets it in any case.
    pub rtcp_mux: bool,
    /// Whether it is encrypted, and our keys.
    pub security: Security,
    /// What browsers are told; without it they are refused.
    pub web: Option<OurWeb>,
    /// Ports that our own streams have at `address`: no peer has its audio there.
    pub own_ports: RangeInclusive<u16>,
}

impl Local {
    /// All that we would carry, in order of preference.
    fn formats(&self) -> Vec<Format> {
        let audio = self.codecs.iter().map(|codec| Format::Audio(*codec));
        let has = |clock: u32| self.codecs.iter().any(|codec| codec.clock() == clock);
        let noise = (self.noise && has(8000)).then_some(Format::Noise);
        // Keys have the clock of the audio beside them (RFC 4733 2.1).
        let keys = [8000, 48_000].into_iter().filter(|clock| self.dtmf && has(*clock));
        audio.chain(noise).chain(keys.map(|clock| Format::Keys { clock })).collect()
    }

    /// Whether audio may be sent there. Not to groups, not to ourselves, not to this machine for somebody
    /// from outside it, and not in another family than our port's: nobody would hear it, or the wrong one.
    /// `0.0.0.0` is nowhere, which is hold (RFC 3264 8.4).
    fn may_send_to(&self, to: SocketAddr, peer: IpAddr) -> bool {
        let ip = to.ip().to_canonical();
        if ip.is_unspecified() {
            return true;
        }
        let group = match ip {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        let inside = ip.is_loopback() && !peer.to_canonical().is_loopback();
        let ours = ip == self.address && self.own_ports.contains(&to.port());
        ip.is_ipv4() == self.address.is_ipv4() && !group && !inside && !ours
    }
}

/// What an exchange agreed on, from our point of view. No `Debug`: it holds the peer's address.
#[derive(Clone, PartialEq, Eq)]
pub struct Agreed {
    pub remote: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// Whence the peer's signalling comes.
    pub signalling: IpAddr,
    pub send_codec: Codec,
    /// What may be sent; `send_codec` is among it.
    pub formats: Vec<Mapped>,
    /// RTCP goes over the RTP port (RFC 5761); `remote_rtcp` is then `remote`.
    pub rtcp_mux: bool,
    /// What we may do.
    pub way: Way,
    /// What it is encrypted with.
    pub keys: Option<Keys>,
    /// The peer is a browser: how it is found and keyed. `remote` is then nowhere.
    pub web: Option<AgreedWeb>,
}

/// An offer of ours that waits for its answer; `accept_answer` consumes it.
#[derive(Debug, Clone)]
#[must_use]
pub struct PendingOffer {
    version: u64,
    way: Way,
    /// By which numbers we receive.
    numbers: Vec<(Format, u8)>,
    crypto: Vec<Crypto>,
    is_web: bool,
}

/// The state of one dialog's offers and answers.
#[derive(Clone)]
pub struct Negotiation {
    local: Local,
    /// Whence the peer's signalling comes.
    peer: IpAddr,
    version: u64,
    last: Option<Vec<WrittenMedia>>,
    /// What each number stands for until the session ends (RFC 3264 8.3.2).
    numbers: Vec<(Format, u8)>,
    /// RTCP on the RTP port was agreed on.
    muxed: bool,
    /// Whether encryption was agreed on, and how: later offers of ours keep to it.
    secured: Option<(Profile, Option<Suite>)>,
    web: Web,
    /// We call a browser.
    offers_web: bool,
}

impl Negotiation {
    /// `peer`: whence the other side's signalling comes.
    pub fn new(local: Local, peer: IpAddr) -> Self {
        Self {
            local,
            peer,
            version: 0,
            last: None,
            numbers: Vec::new(),
            muxed: false,
            secured: None,
            web: Web::default(),
            offers_web: false,
        }
    }

    /// Our address as this peer sees it.
    pub fn set_address(&mut self, address: IpAddr) {
        self.local.address = address;
    }

    /// The other side is found, or has moved.
    pub fn set_peer(&mut self, peer: IpAddr) {
        self.peer = peer;
    }

    /// For a dialog that begins: nobody but its peer knows these keys.
    pub fn set_security(&mut self, security: Security) {
        self.local.security = security;
        self.secured = None;
    }

    /// For a dialog that begins with a call of ours: what is spoken there, the preferred one first.
    pub fn set_codecs(&mut self, codecs: Vec<Codec>) {
        self.local.codecs = codecs;
    }

    /// For a dialog that begins with a call of ours, to a browser or not. Nobody but its peer knows these words.
    pub fn set_web(&mut self, ours: Option<OurWeb>, offers: bool) {
        (self.local.web, self.offers_web, self.web) = (ours, offers, Web::default());
    }

    /// Our offer: all our codecs. Sections of the session so far stay in their places (RFC 3264 8).
    pub fn offer(&mut self, way: Way) -> (Vec<u8>, PendingOffer) {
        let numbers: Vec<(Format, u8)> = self
            .local
            .formats()
            .into_iter()
            .filter_map(|format| Some((format, self.number(format)?)))
            .collect();
        let (profile, crypto) = self.offered_security();
        let web = self.local.web.as_ref().filter(|_| profile.is_web()).map(|ours| self.web.offer(ours));
        let is_web = web.is_some();
        let rtcp_mux = self.local.rtcp_mux || self.muxed || is_web;
        let audio = self.audio(&numbers, way, rtcp_mux, Secured { profile, crypto: crypto.clone(), web });
        let mut media = self.last.clone().unwrap_or_else(|| vec![audio.clone()]);
        media.iter_mut().filter(|m| is_audio(m)).for_each(|m| *m = audio.clone());
        let bytes = self.write(media);
        (bytes, PendingOffer { version: self.version, way, numbers, crypto, is_web })
    }

    /// Takes the answer to our offer.
    pub fn accept_answer(&mut self, offer: PendingOffer, answer: &[u8]) -> Result<Agreed, SdpError> {
        if offer.version != self.version {
            return Err(SdpError::Mismatch);
        }
        let session = Session::parse(answer)?;
        let index = self.last.iter().flatten().position(is_audio).ok_or(SdpError::Mismatch)?;
        let media = session.media.get(index).filter(|m| m.kind == "audio").ok_or(SdpError::Mismatch)?;
        if media.port == 0 {
            return Err(SdpError::NoAudio);
        }
        // We send with the first codec of the answer that we know.
        let send = first_common(media, &self.local.codecs).ok_or(SdpError::NoCommonCodec)?;
        let way = limit(offer.way, reverse(session.way_of(media)));
        if is_web(media) != offer.is_web {
            return Err(SdpError::Mismatch);
        }
        let (keys, web) = match self.local.web.as_ref().filter(|_| offer.is_web) {
            Some(ours) => (None, Some(self.web.accept(ours, &session, media)?)),
            // Ours was for a browser, which has its keys by DTLS or none.
            None if offer.is_web => return Err(SdpError::Security),
            None => (self.answered_keys(media, &offer.crypto)?, None),
        };
        let agreed = Agreed { keys, web, ..self.agree(&session, media, send, way, &offer.numbers)? };
        self.settle(media, &agreed);
        Ok(agreed)
    }

    /// Answers a peer's offer.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Agreed), SdpError> {
        let session = Session::parse(offer)?;
        let (index, media, theirs) = self.choose(&session)?;
        let profile = Profile::from_word(&media.protocol).ok_or(SdpError::NoAudio)?;
        let common = self.common(media);
        let send = *common.first().ok_or(SdpError::NoCommonCodec)?;
        let mut way = reverse(session.way_of(media));
        let web = match self.local.web.as_ref().filter(|_| profile.is_web()) {
            Some(ours) => Some(self.web.answer(ours, &session, media)?),
            None => None,
        };
        if web.is_none() && session.address_of(media).is_some_and(|a| a.is_unspecified()) {
            way = limit(way, Way::RecvOnly); // hold as RFC 2543 had it: c=0.0.0.0
        }
        let ours = theirs.and_then(|theirs| self.local.security.line(theirs.tag, theirs.suite));
        let keys = theirs.zip(ours.as_ref()).map(|(theirs, ours)| keys(ours, theirs));
        let (web, written) = web.unzip();
        let agreed = Agreed { keys, web, ..self.agree(&session, media, send, way, &[])? };
        let numbers: Vec<(Format, u8)> = agreed.formats.iter().map(|m| (m.format, m.receive)).collect();
        numbers.iter().for_each(|(format, number)| self.keep(*format, *number));
        self.settle(media, &agreed);
        let crypto = ours.into_iter().collect();
        let secured = Secured { profile, crypto, web: written };
        let audio = self.audio(&numbers, way, agreed.rtcp_mux, secured);
        let section = |(i, m): (usize, &Media)| {
            if i == index { audio.clone() } else { refuse(m, profile.is_web()) }
        };
        let sections = session.media.iter().enumerate().map(section).collect();
        Ok((self.write(sections), agreed))
    }

    /// `ours`: by which numbers we receive; what is not there we receive by the peer's.
    fn agree(
        &self,
        session: &Session,
        media: &Media,
        send: Codec,
        way: Way,
        ours: &[(Format, u8)],
    ) -> Result<Agreed, SdpError> {
        let rtcp_mux =
            media.rtcp_mux && (ours.is_empty() || self.local.rtcp_mux || self.muxed || is_web(media));
        let (remote, remote_rtcp) = self.targets(session, media, rtcp_mux)?;
        let mapped = |format: Format| {
            let send = format.number_in(media)?;
            let receive = ours.iter().find(|(f, _)| *f == format).map_or(send, |(_, number)| *number);
            Some(Mapped { format, receive, send })
        };
        Ok(Agreed {
            remote,
            remote_rtcp,
            signalling: self.peer,
            send_codec: send,
            formats: self.local.formats().into_iter().filter_map(mapped).collect(),
            rtcp_mux,
            way,
            keys: None,
            web: None,
        })
    }

    /// Where RTP and RTCP go.
    fn targets(
        &self,
        session: &Session,
        media: &Media,
        rtcp_mux: bool,
    ) -> Result<(SocketAddr, SocketAddr), SdpError> {
        if is_web(media) {
            return Ok((NOWHERE, NOWHERE));
        }
        let address = session.address_of(media).ok_or(SdpError::NoAudio)?;
        let (rtcp_port, rtcp_address) = media.rtcp.unwrap_or((media.port.saturating_add(1), None));
        let remote = SocketAddr::new(address, media.port);
        let apart = SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port);
        let remote_rtcp = if rtcp_mux { remote } else { apart };
        let allowed = [remote, remote_rtcp].iter().all(|to| self.local.may_send_to(*to, self.peer));
        if allowed { Ok((remote, remote_rtcp)) } else { Err(SdpError::NoAudio) }
    }

    fn settle(&mut self, media: &Media, agreed: &Agreed) {
        self.muxed = agreed.rtcp_mux;
        let profile = Profile::from_word(&media.protocol).unwrap_or(Profile::Avp);
        self.secured = Some((profile, agreed.keys.as_ref().map(|keys| keys.suite)));
    }

    /// The section of an offer that we take, and its line: encrypted where we may, since some phones offer the
    /// same twice, encrypted and in the clear.
    fn choose<'a>(&self, session: &'a Session) -> Result<(usize, &'a Media, Option<&'a Crypto>), SdpError> {
        let srtp = self.local.security.srtp();
        // What was encrypted stays so until the dialog ends, and with the same suite: a key is never begun anew
        // (RFC 3711 9.1).
        let (was_web, was) = self.secured.map_or((false, None), |(profile, suite)| (profile.is_web(), suite));
        let known = |m: &Media| is_usable(m) && (!is_web(m) || self.local.web.is_some());
        let usable = || session.media.iter().enumerate().filter(move |(_, m)| known(m));
        let mut web = usable().filter(|(_, m)| is_web(m));
        let encrypted = usable().filter(|(_, m)| srtp != Srtp::Never && !was_web && !is_web(m));
        let ours = |theirs: &&Crypto| {
            was.is_none_or(|suite| suite == theirs.suite)
                && self.local.security.line(theirs.tag, theirs.suite).is_some()
        };
        let mut encrypted = encrypted.filter_map(|(i, m)| Some((i, m, Some(m.crypto.iter().find(ours)?))));
        let may_be_clear = srtp != Srtp::Mandatory && was.is_none() && !was_web;
        let mut clear = usable().filter(|(_, m)| may_be_clear && m.protocol == "RTP/AVP");
        let found = web.next().map(|(i, m)| (i, m, None)).or_else(|| encrypted.next());
        let found = found.or_else(|| clear.next().map(|(i, m)| (i, m, None)));
        found.ok_or(if usable().next().is_some() { SdpError::Security } else { SdpError::NoAudio })
    }

    /// What an offer of ours says: first what is wanted, later what was agreed on (RFC 4568 7.1.4).
    fn offered_security(&self) -> (Profile, Vec<Crypto>) {
        let security = &self.local.security;
        match self.secured {
            Some((profile, suite)) => {
                (profile, suite.and_then(|suite| security.line(1, suite)).into_iter().collect())
            }
            None if self.offers_web && self.local.web.is_some() => (Profile::TlsSavpf, Vec::new()),
            None if security.srtp() == Srtp::Mandatory => (Profile::Savp, security.offer()),
            None => (Profile::Avp, security.offer()),
        }
    }

    /// The answer to our lines: one of them, with the peer's key (RFC 4568 5.1.3).
    fn answered_keys(&self, media: &Media, offered: &[Crypto]) -> Result<Option<Keys>, SdpError> {
        let pair = |theirs: &Crypto| {
            let ours = offered.iter().find(|o| o.tag == theirs.tag && o.suite == theirs.suite)?;
            Some(keys(ours, theirs))
        };
        let found = media.crypto.iter().find_map(pair);
        let must = self.local.security.srtp() == Srtp::Mandatory
            || media.protocol == "RTP/SAVP"
            || self.secured.is_some_and(|(_, suite)| suite.is_some());
        if found.is_none() && must { Err(SdpError::Security) } else { Ok(found) }
    }

    /// Codecs in common, in our order of preference, so that both legs tend to the same one.
    fn common(&self, media: &Media) -> Vec<Codec> {
        self.local.codecs.iter().copied().filter(|c| Format::Audio(*c).number_in(media).is_some()).collect()
    }

    fn audio(
        &self,
        numbers: &[(Format, u8)],
        way: Way,
        rtcp_mux: bool,
        Secured { profile, crypto, web }: Secured,
    ) -> WrittenMedia {
        let formats = numbers.iter().map(|(format, number)| format.written(*number)).collect();
        WrittenMedia::Audio { port: self.local.port, profile, formats, crypto, web, rtcp_mux, way }
    }

    /// The number by which we offer a format: what it was so far, else the usual one, else one that is free.
    fn number(&mut self, format: Format) -> Option<u8> {
        if let Some((_, number)) = self.numbers.iter().find(|(f, _)| *f == format) {
            return Some(*number);
        }
        let is_free = |number: &u8| !self.numbers.iter().any(|(_, n)| n == number);
        let number = [format.usual()].into_iter().chain(96..=127).find(is_free)?;
        self.numbers.push((format, number));
        Some(number)
    }

    /// A peer's number stands for this from now on.
    fn keep(&mut self, format: Format, number: u8) {
        self.numbers.retain(|(f, n)| *f != format && *n != number);
        self.numbers.push((format, number));
    }

    /// The version rises only when the description changes (RFC 3264 8).
    fn write(&mut self, media: Vec<WrittenMedia>) -> Vec<u8> {
        if self.last.as_ref() != Some(&media) {
            self.version += 1;
        }
        let written = Written {
            address: self.local.address,
            session_id: self.local.session_id,
            version: self.version,
            media: media.clone(),
        };
        self.last = Some(media);
        written.to_bytes()
    }
}

/// How a section of ours is encrypted.
struct Secured {
    profile: Profile,
    crypto: Vec<Crypto>,
    web: Option<WrittenWeb>,
}

fn is_audio(media: &WrittenMedia) -> bool {
    matches!(media, WrittenMedia::Audio { .. })
}

fn is_usable(media: &Media) -> bool {
    media.kind == "audio" && media.port != 0 && Profile::from_word(&media.protocol).is_some()
}

fn is_web(media: &Media) -> bool {
    Profile::from_word(&media.protocol).is_some_and(Profile::is_web)
}

fn keys(ours: &Crypto, theirs: &Crypto) -> Keys {
    Keys { suite: ours.suite, ours: ours.key.clone(), theirs: theirs.key.clone() }
}

fn first_common(media: &Media, ours: &[Codec]) -> Option<Codec> {
    let by_format = |format: &String| {
        let pt: u8 = format.parse().ok()?;
        ours.iter().copied().find(|c| Format::Audio(*c).number_in(media) == Some(pt))
    };
    media.formats.iter().find_map(by_format)
}

/// A refused section repeats nothing of the peer's words but what kind it is.
fn refuse(media: &Media, is_web: bool) -> WrittenMedia {
    let word = |found: &str, list: &'static [&'static str], other: &'static str| {
        list.iter().copied().find(|w| *w == found).unwrap_or(other)
    };
    WrittenMedia::Refused {
        kind: word(&media.kind, &["audio", "video", "text", "message", "image"], "application"),
        protocol: word(
            &media.protocol,
            &[
                "RTP/AVP",
                "RTP/SAVP",
                "RTP/AVPF",
                "RTP/SAVPF",
                "UDP/TLS/RTP/SAVPF",
                "UDP/TLS/RTP/SAVP",
                "UDP/DTLS/SCTP",
                "udptl",
                "TCP/MSRP",
            ],
            "RTP/AVP",
        ),
        mid: is_web.then(|| webrtc::mid_of(media)).flatten(),
    }
}

/// The peer's direction as ours: what they send we receive.
fn reverse(way: Way) -> Way {
    match way {
        Way::SendOnly => Way::RecvOnly,
        Way::RecvOnly => Way::SendOnly,
        Way::SendRecv | Way::Inactive => way,
    }
}

fn limit(a: Way, b: Way) -> Way {
    let sends = |w| matches!(w, Way::SendRecv | Way::SendOnly);
    let receives = |w| matches!(w, Way::SendRecv | Way::RecvOnly);
    match (sends(a) && sends(b), receives(a) && receives(b)) {
        (true, true) => Way::SendRecv,
        (true, false) => Way::SendOnly,
        (false, true) => Way::RecvOnly,
        (false, false) => Way::Inactive,
    }
}

quiet_debug!(Negotiation => "Negotiation");

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(codecs: &[Codec]) -> Negotiation {
        Negotiation::new(local(codecs), "192.0.2.1".parse().unwrap())
    }

    fn local(codecs: &[Codec]) -> Local {
        let address = IpAddr::from([192, 0, 2, 1]);
        Local {
            address,
            port: 20_000,
            session_id: 7,
            codecs: codecs.to_vec(),
            dtmf: true,
            noise: false,
            rtcp_mux: false,
            security: Security::default(),
            web: None,
            own_ports: 30_000..=30_999,
        }
    }

    fn offer(media: &str) -> Vec<u8> {
        format!(
            "v=0\r\no=secret 1 1 IN IP4 198.51.100.9\r\ns=secret\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n{media}"
        )
        .into_bytes()
    }

    #[test]
    fn rfc3264_both_sides_agree_whatever_they_prefer() {
        use Codec::{Pcma, Pcmu};
        for ours in [&[Pcma, Pcmu][..], &[Pcmu, Pcma], &[Pcma], &[Pcmu]] {
            for theirs in [&[Pcma, Pcmu][..], &[Pcmu, Pcma], &[Pcma], &[Pcmu]] {
                for way in [Way::SendRecv, Way::SendOnly, Way::RecvOnly, Way::Inactive] {
                    let (mut a, mut b) = (negotiate(ours), negotiate(theirs));
                    let (bytes, pending) = a.offer(way);
                    match b.answer(&bytes) {
                        Ok((answer, there)) => {
                            let Ok(here) = a.accept_answer(pending, &answer) else {
                                panic!("{ours:?} {theirs:?}")
                            };
                            assert_eq!(here.send_codec, there.send_codec);
                            assert_eq!(here.way, reverse(there.way));
                            let keys =
                                Mapped { format: Format::Keys { clock: 8000 }, receive: 101, send: 101 };
                            assert!(here.formats.contains(&keys) && there.formats.contains(&keys));
                        }
                        Err(error) => {
                            assert_eq!(error, SdpError::NoCommonCodec);
                            assert!(!ours.iter().any(|c| theirs.contains(c)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_of_the_peers_words_is_in_our_answer() {
        let bytes = offer(
            "m=audio 4000 RTP/AVP 97 96\r\na=rtpmap:96 PCMA/8000\r\na=rtpmap:97 telephone-event/8000\r\n\
            a=secret:1\r\nm=secret 4002 SECRET secret\r\n",
        );
        let Ok((answer, agreed)) = negotiate(&[Codec::Pcma]).answer(&bytes) else { panic!() };
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(!text.contains("secret") && !text.contains("SECRET") && !text.contains("198.51"), "{text}");
        assert!(
            text.contains("m=audio 20000 RTP/AVP 96 97\r\n") && text.contains("m=application 0 "),
            "{text}"
        );
        let number = |format| agreed.formats.iter().find(|m| m.format == format).map(|m| (m.receive, m.send));
        assert_eq!(number(Format::Audio(Codec::Pcma)), Some((96, 96)));
        assert_eq!(number(Format::Keys { clock: 8000 }), Some((97, 97)));
        assert_eq!(number(Format::Audio(Codec::Pcmu)), None);
    }

    #[test]
    fn hold_in_both_styles_and_the_version_rises_only_with_a_change() {
        let mut n = negotiate(&[Codec::Pcma]);
        let plain = offer("m=audio 4000 RTP/AVP 8\r\n");
        let held = offer("m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n");
        let old = offer("m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n");
        let mut versions = Vec::new();
        for (bytes, way) in [
            (&plain, Way::SendRecv),
            (&plain, Way::SendRecv),
            (&held, Way::RecvOnly),
            (&old, Way::RecvOnly),
            (&plain, Way::SendRecv),
        ] {
            let Ok((answer, agreed)) = n.answer(bytes) else { panic!() };
            assert_eq!(agreed.way, way);
            versions.push(String::from_utf8_lossy(&answer).split(' ').nth(2).map(str::to_owned));
        }
        let versions: Vec<&str> = versions.iter().flatten().map(String::as_str).collect();
        assert_eq!(versions, ["1", "1", "2", "2", "3"]);
    }

    #[test]
    fn rfc_3264_8_a_later_offer_of_ours_keeps_every_section_in_its_place() {
        let mut n = negotiate(&[Codec::Pcma]);
        let first = offer("m=video 4002 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 8\r\n");
        assert!(n.answer(&first).is_ok());
        let (bytes, pending) = n.offer(Way::SendOnly);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let sections: Vec<&str> = text.lines().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(sections, ["m=video 0 RTP/AVP 0", "m=audio 20000 RTP/AVP 8 101"]);
        let answer = offer("m=video 0 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 8\r\na=recvonly\r\n");
        assert!(n.accept_answer(pending, &answer).is_ok_and(|a| a.way == Way::SendOnly));
    }

    #[test]
    fn rfc_3264_8_3_2_a_number_stands_for_the_same_until_the_session_ends() {
        let mut n = negotiate(&[Codec::Pcma]);
        let first = offer("m=audio 4000 RTP/AVP 101 8\r\na=rtpmap:101 PCMA/8000\r\n");
        assert!(n.answer(&first).is_ok());
        let (bytes, pending) = n.offer(Way::SendRecv);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("m=audio 20000 RTP/AVP 101 96\r\na=rtpmap:101 PCMA/8000\r\n"), "{text}");
        let answer = offer(
            "m=audio 4000 RTP/AVP 101 100\r\na=rtpmap:101 PCMA/8000\r\na=rtpmap:100 telephone-event/8000\r\n",
        );
        let Ok(agreed) = n.accept_answer(pending, &answer) else { panic!() };
        let keys = Mapped { format: Format::Keys { clock: 8000 }, receive: 96, send: 100 };
        assert_eq!(agreed.formats.get(1), Some(&keys), "each side receives by its own number (6.1)");
    }

    #[test]
    fn rfc5761_rtcp_shares_the_port_when_the_peer_wants_it_so() {
        let section = |more: &str| offer(&format!("m=audio 4000 RTP/AVP 8\r\na=rtcp:4007\r\n{more}"));
        let mut n = negotiate(&[Codec::Pcma]);
        let (bytes, pending) = n.offer(Way::SendRecv);
        assert!(!String::from_utf8_lossy(&bytes).contains("rtcp-mux"));
        let unasked = n.accept_answer(pending, &section("a=rtcp-mux\r\n"));
        assert!(
            unasked.is_ok_and(|a| !a.rtcp_mux && a.remote_rtcp.port() == 4007),
            "5.1.1: it was not offered"
        );
        let Ok((answer, agreed)) = n.answer(&section("a=rtcp-mux\r\n")) else { panic!() };
        assert!(String::from_utf8_lossy(&answer).contains("a=rtcp-mux\r\n"));
        assert!(agreed.rtcp_mux && agreed.remote_rtcp == agreed.remote);
        let (bytes, pending) = n.offer(Way::SendRecv);
        assert!(
            String::from_utf8_lossy(&bytes).contains("a=rtcp-mux\r\n"),
            "once agreed it is offered again"
        );
        let refused = n.accept_answer(pending, &section(""));
        assert!(refused.is_ok_and(|a| !a.rtcp_mux && a.remote_rtcp.port() == 4007));
    }

    #[test]
    fn what_we_cannot_take_is_refused() {
        for (media, error) in [
            ("m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n", SdpError::NoCommonCodec),
            ("m=video 4000 RTP/AVP 31\r\n", SdpError::NoAudio),
            ("m=audio 0 RTP/AVP 8\r\n", SdpError::NoAudio),
            ("m=audio 4000 RTP/SAVP 8\r\n", SdpError::Security),
            ("m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\n", SdpError::NoAudio),
            ("m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 G729/8000\r\n", SdpError::NoCommonCodec),
            // The session's address does not stand in for one that a section names by a host name.
            ("m=audio 4000 RTP/AVP 8\r\nc=IN IP4 media.example\r\n", SdpError::NoAudio),
            ("", SdpError::NoAudio),
        ] {
            let result = negotiate(&[Codec::Pcma]).answer(&offer(media));
            assert_eq!(result.err(), Some(error), "{media}");
        }
    }

    #[test]
    fn an_answer_to_an_older_offer_is_refused() {
        let mut n = negotiate(&[Codec::Pcma]);
        let (_, first) = n.offer(Way::SendRecv);
        let (_, second) = n.offer(Way::SendOnly);
        let answer = offer("m=audio 4000 RTP/AVP 8\r\n");
        assert!(n.accept_answer(first, &answer).err() == Some(SdpError::Mismatch));
        assert!(n.accept_answer(second, &answer).is_ok_and(|a| a.way == Way::SendOnly));
    }

    #[test]
    fn audio_is_sent_to_peers_and_not_to_groups_ourselves_or_this_machine() {
        let offer = |address: &str, port: u16, more: &str| {
            let family = if address.contains(':') { 6 } else { 4 };
            format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP{family} {address}\r\nt=0 0\r\n\
                 m=audio {port} RTP/AVP 8\r\n{more}"
            )
        };
        let us = local(&[Codec::Pcma]).address.to_string();
        for (address, port, more, taken) in [
            ("192.0.2.77", 4000, "", true),
            ("0.0.0.0", 4000, "", true),
            ("224.0.0.5", 4000, "", false),
            ("255.255.255.255", 4000, "", false),
            ("127.0.0.1", 4000, "", false),
            ("::ffff:127.0.0.1", 4000, "", false),
            ("2001:db8::1", 4000, "", false),
            (&us, 30_010, "", false),
            (&us, 4000, "", true),
            ("192.0.2.77", 4000, "a=rtcp:4001 IN IP4 224.0.0.5\r\n", false),
        ] {
            let answer = negotiate(&[Codec::Pcma]).answer(offer(address, port, more).as_bytes());
            assert_eq!(answer.is_ok(), taken, "{address}:{port} {more}");
        }
    }
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod security_tests;
