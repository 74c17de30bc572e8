//! Marked callers whose audio is encrypted: a browser, with secrets in its ICE, its candidates and its checks, whose
//! certificate and keys are sought, too; and a phone whose key in SDP is one. What the switch itself draws for them
//! (ICE name and password, keys) is nobody else's either.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hulplijn::base::secret::Secret;
use hulplijn::media::command::{Fingerprint, Hash};
use hulplijn::media::dtls::{Dtls, Identity, ROOM, Step};
use hulplijn::media::guard::Guard;
use hulplijn::media::keying::{DtlsRole, Keying, Suite};
use hulplijn::media::srtp::RTP_TRAILER;
use hulplijn::media::stun::{self, Credentials};

use super::caller::{Caller, FRAME};
use super::line_side::{assert_own_rtp, assert_written_from_nothing};
use super::scene::Scene;
use super::support::rtp::SILENCE;
use super::support::{Dialog, Message, PATIENCE, Sdp, prompts};

const USE_CANDIDATE: u16 = 0x0025;
const SOFTWARE: u16 = 0x8022;
/// What comes by the port of audio is DTLS by its first octet (RFC 7983 7).
const DTLS: std::ops::RangeInclusive<u8> = 20..=63;

impl Scene {
    /// A browser calls and talks with the line, which hears it as it hears everybody.
    pub fn talk_by_browser(&mut self) {
        let identity = Identity::generate().expect("a certificate");
        let (offer, fragment) = self.caller.offer_of_browser(&identity);
        let (dialog, answer) = self.caller.call_with(&offer);
        let media = Sdp::address(answer.body());
        let (name, password) = (attribute(&answer, "ice-ufrag:"), attribute(&answer, "ice-pwd:"));
        for (place, text) in [("our ICE name", &name), ("our ICE password", &password)] {
            assert!(text.len() >= 8, "{text}");
            self.caller.marks.ours(place, text.as_bytes());
        }
        let words =
            Credentials { ours: name.as_bytes(), theirs: fragment.as_bytes(), password: password.as_bytes() };
        let check = self.caller.check(media, &words);
        let certificate = hex(attribute(&answer, "fingerprint:sha-256 "));
        let expected = Fingerprint::new(Hash::Sha256, &certificate).expect("a fingerprint");
        let keying = self.caller.shake_hands(media, &identity, expected);
        // Somebody who sees everything says the same from elsewhere, and is not told what the caller is.
        let stranger = UdpSocket::bind((self.server.place().host(202), 0)).expect("a socket");
        stranger.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut answer = [0; 2048];
        for _ in 0..3 {
            stranger.send_to(&check, media).expect("sent");
            stranger.recv(&mut answer).expect("nobody can tell a copy");
            assert_eq!(answer[..2], [1, 1]);
        }
        // The music goes on where it went, though the browser says nothing.
        let (ear, deadline) = (&mut self.caller.ear, Instant::now() + PATIENCE);
        let before = ear.heard.len();
        while ear.heard[before..].iter().filter(|bytes| bytes[0] == 0x80).count() < 5 {
            assert!(Instant::now() < deadline, "the music has gone elsewhere");
            ear.listen(Instant::now() + Duration::from_millis(20));
        }
        self.talk_sealed(dialog, media, &keying);
        stranger.set_nonblocking(true).expect("a socket");
        assert!(stranger.recv(&mut answer).is_err(), "the stranger was sent something");
    }

    /// A phone with its key in SDP.
    pub fn talk_with_a_key_in_sdp(&mut self) {
        let theirs: String = (0..3).map(|n| self.caller.marks.word(&format!("a=crypto {n}"))).collect();
        self.caller.sent.extend(theirs.as_bytes());
        let crypto =
            format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", BASE64.encode(theirs.as_bytes()));
        let offer = self.caller.sdp("INVITE with a key", "sendrecv", "8 101");
        let offer = offer.replace("RTP/AVP", "RTP/SAVP") + &crypto;
        let (dialog, answer) = self.caller.call_with(&offer);
        let ours = attribute(&answer, "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:");
        let ours = BASE64.decode(ours).expect("a key");
        let (ours, theirs) = (Secret::of(ours), Secret::of(theirs.into_bytes()));
        let keying = Keying::new(Suite::AesCm128Sha1_80, theirs, ours).expect("of the right length");
        self.talk_sealed(dialog, Sdp::address(answer.body()), &keying);
    }

    /// Until each has heard the other; then the caller hangs up.
    fn talk_sealed(&mut self, mut dialog: Dialog, media: SocketAddr, keying: &Keying) {
        for (place, key) in [("the caller's key", keying.ours()), ("our key", keying.theirs())] {
            self.caller.marks.ours(place, key.expose());
        }
        let mut guard = Guard::default();
        guard.set(Some(keying)).expect("of the right length");
        let (line, invite, line_media) = Dialog::answer(&mut self.line, &Sdp::pcma(self.line_ear.local));
        assert_written_from_nothing(&invite, self.server.sip().ip());
        let (at_line, at_caller) = (self.line_ear.heard.len(), self.caller.ear.heard.len());
        let (said, counsellor) = (self.caller.ear.said.len(), prompts::noise("counsellor", FRAME));
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.caller.say_sealed(media, &self.voice, &mut guard);
            self.line_ear.say(line_media, &counsellor);
            self.line_ear.listen(Instant::now());
            self.caller.ear.listen(Instant::now() + Duration::from_millis(20));
            let opened = self.caller.ear.heard[at_caller..].iter().any(|packet| {
                let mut copy = packet.clone();
                // Each is opened once; what is seen again is a repetition.
                guard.open_rtp(&mut copy).is_some_and(|packet| packet.get(12..) == Some(&counsellor))
            });
            if opened && self.line_ear.has_heard(at_line, &self.voice) {
                break;
            }
            assert!(Instant::now() < deadline, "they do not hear each other");
        }
        self.caller.hang_up(&mut dialog);
        line.await_bye(&mut self.line);
        self.line_ear.listen(Instant::now() + Duration::from_millis(20));
        assert_own_rtp(&self.line_ear.heard[at_line..], &self.voice, &self.caller.ear.said[said..]);
        assert_ne!(self.voice, [SILENCE; FRAME]);
    }
}

impl Caller {
    /// What Chromium writes, with a secret in each place that has room; and its ICE name.
    fn offer_of_browser(&mut self, identity: &Identity) -> (String, String) {
        let at = self.ear.local;
        let mut word = |place: &str| self.marks.word(&format!("browser's {place}"));
        let (fragment, foundation, host) =
            (word("a=ice-ufrag"), word("a=candidate"), word("a=candidate .local"));
        let password = [word("a=ice-pwd"), word("a=ice-pwd 2"), word("a=ice-pwd 3")].concat();
        let (stream, track, cname, mid) =
            (word("a=msid"), word("a=msid track"), word("a=ssrc"), word("a=mid"));
        let (origin, other) = (word("o="), word("raddr"));
        self.marks.ours("the browser's certificate", &identity.fingerprint());
        let certificate = identity.fingerprint().map(|octet| format!("{octet:02X}")).join(":");
        let offer = format!(
            "v=0\r\no={origin} 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\n\
             a=msid-semantic: WMS {stream}\r\nm=audio {port} UDP/TLS/RTP/SAVPF 8 126\r\nc=IN IP4 {ip}\r\n\
             a=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:{foundation} 1 udp 2113937151 {host}.local {port} typ host\r\n\
             a=candidate:{foundation} 1 udp 1677729535 {ip} {port} typ srflx raddr {other}.local rport {port}\r\n\
             a=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n\
             a=fingerprint:sha-256 {certificate}\r\na=setup:actpass\r\na=mid:{mid}\r\na=sendrecv\r\n\
             a=msid:{stream} {track}\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:126 telephone-event/8000\r\n\
             a=ssrc:{ssrc} cname:{cname}\r\n",
            port = at.port(),
            ip = at.ip(),
            ssrc = u32::from_be_bytes(super::caller::SSRC),
        );
        (offer, fragment)
    }

    /// Calls the line's number with this description and is answered.
    fn call_with(&mut self, offer: &str) -> (Dialog, Message) {
        let mut dialog = self.dialog("fixed");
        let invite = self.request(&mut dialog, "INVITE", "Content-Type: application/sdp", offer);
        self.send(&invite);
        let answer = dialog.await_final(&mut self.peer, "INVITE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        dialog.learn(&answer);
        self.ack(&mut dialog);
        (dialog, answer)
    }

    /// A check that nominates, and its answer.
    fn check(&mut self, media: SocketAddr, words: &Credentials<'_>) -> Vec<u8> {
        let software = self.marks.word("SOFTWARE of a check");
        let check = stun::ask(words, &[(USE_CANDIDATE, &[]), (SOFTWARE, software.as_bytes())]);
        self.sent.extend(&check);
        let deadline = Instant::now() + PATIENCE;
        let before = self.ear.heard.len();
        // A success of Binding (RFC 8489 5).
        while !self.ear.heard[before..].iter().any(|bytes| bytes.starts_with(&[1, 1])) {
            assert!(Instant::now() < deadline, "the check is not answered");
            self.ear.rtp.send_to(&check, media).expect("sent");
            self.ear.listen(Instant::now() + Duration::from_millis(20));
        }
        check
    }

    /// The browser opens the association.
    fn shake_hands(&mut self, media: SocketAddr, identity: &Identity, switch: Fingerprint) -> Keying {
        let mut dtls = Dtls::new(Instant::now(), identity, DtlsRole::Client, switch);
        let (mut taken, deadline) = (self.ear.heard.len(), Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < deadline, "no keys");
            let mut out = [0; ROOM];
            match dtls.poll(&mut out) {
                Step::Send(bytes) => {
                    self.ear.rtp.send_to(bytes, media).expect("sent");
                }
                Step::Keys(keying) => {
                    self.finish(&mut dtls, media);
                    return keying;
                }
                Step::Failed(_) => panic!("the handshake failed"),
                Step::Wait => {
                    self.ear.listen(Instant::now() + Duration::from_millis(5));
                    let came = self.ear.heard[taken..].iter().filter(|bytes| DTLS.contains(&bytes[0]));
                    came.for_each(|bytes| dtls.handle(Instant::now(), bytes));
                    taken = self.ear.heard.len();
                    dtls.on_time(Instant::now());
                }
            }
        }
    }

    /// What the browser has still to say, by which the switch has its keys, too.
    fn finish(&mut self, dtls: &mut Dtls, media: SocketAddr) {
        let mut out = [0; ROOM];
        while let Step::Send(bytes) = dtls.poll(&mut out) {
            self.ear.rtp.send_to(bytes, media).expect("sent");
        }
    }

    /// A packet with all its secrets, encrypted.
    fn say_sealed(&mut self, media: SocketAddr, payload: &[u8], guard: &mut Guard) {
        let mut packet = self.packet(payload);
        let length = packet.len();
        packet.resize(length + RTP_TRAILER, 0);
        let sealed = guard.protect_rtp(&mut packet, length).expect("may be sent");
        self.ear.rtp.send_to(sealed, media).expect("sent");
    }
}

/// What stands behind `a=` and this in the switch's description.
fn attribute(answer: &Message, name: &str) -> String {
    let line = answer.body().lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no a={name} in\n{}", answer.text)).to_owned()
}

fn hex(text: String) -> Vec<u8> {
    text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal")).collect()
}
