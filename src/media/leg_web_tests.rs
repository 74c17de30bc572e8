//! A leg and the browser that it speaks with: nothing before the keys, everything encrypted after them.

use super::*;
use crate::base::id::Rng;
use crate::base::secret::Secret;
use crate::base::stun::Message;
use crate::media::command::{
    Codec, Direction, Fingerprint, Hash, IceWords, Insecure, MediaEvent, Payloads, Stream, WebRtc,
};
use crate::media::dtls::{Dtls, Identity, ROOM, Step};
use crate::media::guard::Guard;
use crate::media::keying::DtlsRole;
use crate::media::stun::{self, Credentials};
use crate::media::web::Kind;

/// Bytes of 20 ms of G.711.
const FRAME: usize = 160;

const PASSWORD: &[u8] = b"of two dozen octets and more";
const NOMINATE: (u16, &[u8]) = (0x0025, &[]);

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn here() -> SocketAddr {
    at("192.0.2.7:4000")
}

fn stranger() -> SocketAddr {
    at("198.51.100.9:4000")
}

/// A leg of ours, its browser, and what the browser has received in the clear again.
struct Story {
    now: Now,
    us: Arc<Identity>,
    leg: MediaLeg,
    browser: Dtls,
    guard: Guard,
    heard: Vec<Vec<u8>>,
    sequence: u16,
}

impl Story {
    fn new() -> Self {
        let now = Now::read();
        let (us, them) = (identity(), identity());
        let browser = Dtls::new(now.at, &them, DtlsRole::Client, named(&us));
        let mut leg = MediaLeg::new(now, LegKey(1), Origin::random(&mut Rng::from_number(1)));
        leg.show(Arc::clone(&us));
        leg.connect(stream(named(&them)));
        Self { now, us, leg, browser, guard: Guard::default(), heard: Vec::new(), sequence: 7 }
    }

    /// A check of the browser's from there, and what is answered.
    fn check(&mut self, from: SocketAddr) -> Option<u16> {
        let words = Credentials { ours: b"us", theirs: b"peer", password: PASSWORD };
        let mut bytes = stun::ask(&words, &[NOMINATE]);
        assert!(self.leg.handle_rtp(self.now, from, &mut bytes).is_none());
        let (to, answer) = self.leg.poll_datagram()?;
        assert_eq!(to, from);
        Message::parse(&answer).map(|message| message.kind)
    }

    /// So many ticks of 20 ms, in which the browser takes part in the handshake from there.
    fn pass(&mut self, from: SocketAddr, ticks: usize) {
        for _ in 0..ticks {
            let mut out = [0; ROOM];
            loop {
                match self.browser.poll(&mut out) {
                    Step::Send(bytes) => {
                        assert!(self.leg.handle_rtp(self.now, from, &mut bytes.to_vec()).is_none());
                    }
                    Step::Keys(keying) => assert!(self.guard.set(Some(&keying)).is_some()),
                    Step::Failed(_) | Step::Wait => break,
                }
            }
            while let Some((to, bytes)) = self.leg.poll_datagram() {
                assert_eq!((to, Kind::of(&bytes)), (from, Kind::Dtls));
                self.browser.handle(self.now.at, &bytes);
            }
            self.now = self.now.plus(TICK);
            self.browser.on_time(self.now.at);
            self.tick(from);
        }
    }

    fn tick(&mut self, from: SocketAddr) {
        let (mut out, mut report) = ([0; MAX_PACKET], [0; MAX_CONTROL]);
        if self.leg.wants_tick()
            && let Some(datagram) = self.leg.tick(self.now, &mut out)
        {
            assert_eq!(datagram.to, from);
            let mut bytes = datagram.bytes.to_vec();
            let plain = self.guard.open_rtp(&mut bytes).expect("encrypted for the browser");
            self.heard.push(plain.to_vec());
        }
        if let Some(datagram) = self.leg.look(self.now, &mut report) {
            let mut bytes = datagram.bytes.to_vec();
            assert!(datagram.to == from && self.guard.open_rtcp(&mut bytes).is_some());
        }
    }

    /// A packet of the browser's, or, in the clear, of anybody's.
    fn packet(&mut self, encrypted: bool) -> Vec<u8> {
        self.sequence += 1;
        let mut bytes =
            [&[0x80, 8, 0, self.sequence as u8, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0xd5; 176]].concat();
        if encrypted {
            return self.guard.protect_rtp(&mut bytes, 172).expect("protected").to_vec();
        }
        bytes.truncate(172);
        bytes
    }

    fn hears(&mut self, from: SocketAddr, mut bytes: Vec<u8>) -> bool {
        let before = self.leg.stats().received;
        self.leg.handle_rtp(self.now, from, &mut bytes);
        self.leg.stats().received > before
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        std::iter::from_fn(|| self.leg.poll_event()).collect()
    }
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate().expect("a certificate"))
}

fn named(identity: &Identity) -> Fingerprint {
    Fingerprint::new(Hash::Sha256, &identity.fingerprint()).expect("a fingerprint")
}

fn stream(fingerprint: Fingerprint) -> Stream {
    let ice = IceWords { ours: "us".into(), password: Secret::copy_of(PASSWORD), theirs: "peer".into() };
    Stream {
        remote: at("0.0.0.0:9"),
        remote_rtcp: at("0.0.0.0:9"),
        signalling: here().ip(),
        codec: Codec::Pcma,
        payloads: Payloads::g711(),
        rtcp_mux: true,
        direction: Direction::SendRecv,
        keying: None,
        web: Some(Box::new(WebRtc { ice, role: DtlsRole::Server, fingerprint })),
    }
}

#[test]
fn before_the_keys_nothing_is_said_or_heard_and_a_prompt_waits_for_them() {
    let mut story = Story::new();
    let clip =
        Clip { name: "prompt".into(), pcma: vec![3; 5 * FRAME], pcmu: vec![3; 5 * FRAME], wide: Vec::new() };
    story.leg.play(PlayKey(1), vec![Arc::new(clip)], false);
    let spray: Vec<Vec<u8>> = (0..9).map(|_| story.packet(false)).collect();
    // From the very host that the signalling comes from, too.
    assert!(spray.into_iter().all(|bytes| !story.hears(here(), bytes)));
    story.pass(stranger(), 30);
    assert!(story.heard.is_empty() && !story.leg.wants_tick() && story.events().is_empty());
    assert_eq!(story.check(here()), Some(0x0101));
    // The hello that went past us is said again in its time.
    story.pass(here(), 150);
    let prompt = story.heard.iter().filter(|bytes| bytes.get(12..) == Some(&[3; FRAME][..])).count();
    assert_eq!(prompt, 5, "whole, from its first frame");
    assert!(story.events().contains(&MediaEvent::PlayEnded { leg: LegKey(1), play: PlayKey(1) }));
}

#[test]
fn who_is_joined_before_the_keys_is_not_passed_on_in_the_clear() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.leg.bridge();
    let payload = [0x55; FRAME];
    let sound = Sound::Audio(Codec::Pcma);
    let heard = Heard { source: 3, sequence: 0, timestamp: 0, marker: false, sound, payload: &payload };
    let mut out = [0; MAX_PACKET];
    assert!(story.leg.relay(story.now, &heard, &mut out).is_none());
    assert!(story.leg.look(story.now.plus(TICK * 500), &mut [0; MAX_CONTROL]).is_none(), "no report either");
    story.pass(here(), 30);
    let mut sent = story.leg.relay(story.now, &heard, &mut out).expect("has keys now").bytes.to_vec();
    assert!(sent.get(12..172) != Some(&payload[..]) && story.guard.open_rtp(&mut sent).is_some());
}

#[test]
fn after_the_keys_only_what_is_encrypted_is_heard_and_from_where_the_browser_checks() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    let (sealed, clear, elsewhere) = (story.packet(true), story.packet(false), story.packet(true));
    assert!(
        story.hears(here(), sealed) && !story.hears(here(), clear) && !story.hears(stranger(), elsewhere)
    );
    let stats = story.leg.stats();
    assert_eq!((stats.forged, stats.foreign), (1, 1));
    assert!(stats.security.is_some());
    // The browser moves: it nominates, and what it says now comes from there.
    let moved = at("192.0.2.8:4004");
    assert_eq!(story.check(moved), Some(0x0101));
    let from_both = (story.packet(true), story.packet(true));
    assert!(story.hears(moved, from_both.0) && story.hears(here(), from_both.1));
    story.pass(moved, 5);
}

#[test]
fn a_copied_check_and_copied_packets_from_elsewhere_do_not_take_the_sound_away() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    let spoken = story.packet(true);
    assert!(story.hears(here(), spoken.clone()));
    for _ in 0..3 {
        assert_eq!(story.check(stranger()), Some(0x0101), "as if the browser had asked");
        // What has been said, what nobody said, and a report of nobody; by the port of reports too.
        assert!(!story.hears(stranger(), spoken.clone()));
        let clear = story.packet(false);
        assert!(!story.hears(stranger(), clear));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0];
        assert!(!story.hears(stranger(), report.to_vec()));
        story.leg.handle_rtcp(story.now, stranger(), &mut report.to_vec());
        // All that is sent goes to the browser.
        story.pass(here(), 5);
        let sealed = story.packet(true);
        assert!(story.hears(here(), sealed));
    }
    let mut report = [&[0x80, 201, 0, 1, 0, 0, 0, 7][..], &[0; 32]].concat();
    let sealed = story.guard.protect_rtcp(&mut report, 8).expect("protected").to_vec();
    let forged = story.packet(false);
    assert!(!story.hears(stranger(), forged));
    story.leg.handle_rtcp(story.now, here(), &mut sealed.clone());
    story.pass(here(), 5);
}

#[test]
fn rfc_3550_a_browser_that_only_reports_is_followed_by_its_reports() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    let moved = at("192.0.2.8:4004");
    assert_eq!(story.check(moved), Some(0x0101));
    story.pass(here(), 5);
    let mut report = [&[0x80, 201, 0, 1, 0, 0, 0, 7][..], &[0; 32]].concat();
    let mut sealed = story.guard.protect_rtcp(&mut report, 8).expect("protected").to_vec();
    assert!(story.leg.handle_rtp(story.now, moved, &mut sealed).is_none());
    story.pass(moved, 5);
}

#[test]
fn rfc_3264_8_a_hold_changes_neither_keys_nor_place() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    let Some(web) = story.leg.peer.as_ref().and_then(|peer| peer.stream.web.clone()) else {
        panic!("a browser")
    };
    let held = Stream { direction: Direction::RecvOnly, ..stream(web.fingerprint) };
    story.leg.connect(held.clone());
    story.heard.clear();
    story.pass(here(), 10);
    assert!(story.heard.is_empty());
    story.leg.connect(Stream { direction: Direction::SendRecv, ..held });
    story.pass(here(), 10);
    let sealed = story.packet(true);
    assert!(story.heard.len() >= 9 && story.hears(here(), sealed));
    assert!(story.events().iter().all(|e| !matches!(e, MediaEvent::Insecure { .. })));
}

#[test]
fn another_certificate_or_none_at_all_is_told_once() {
    let mut story = Story::new();
    story.leg.connect(stream(Fingerprint::new(Hash::Sha256, &[7; 32]).expect("a fingerprint")));
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 100);
    let told = |why| MediaEvent::Insecure { leg: LegKey(1), why };
    assert_eq!(story.events(), [told(Insecure::Certificate)]);
    assert!(story.heard.is_empty());

    let mut absent = Story::new();
    absent.pass(stranger(), 50 * 16);
    assert_eq!(absent.events(), [told(Insecure::Late)]);

    let mut bare = MediaLeg::new(story.now, LegKey(1), Origin::random(&mut Rng::from_number(1)));
    bare.connect(stream(Fingerprint::new(Hash::Sha256, &[7; 32]).expect("a fingerprint")));
    assert!(bare.look(story.now, &mut [0; MAX_CONTROL]).is_none());
    assert!(bare.poll_event() == Some(told(Insecure::Handshake)), "a plane without a certificate");
}

#[test]
fn a_telephone_that_is_called_after_a_browser_is_heard_in_the_clear_and_the_browser_no_longer() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    let sealed = story.packet(true);
    story.leg.connect(Stream::g711(stranger()));
    let clear = story.packet(false);
    assert!(!story.hears(here(), sealed) && story.hears(stranger(), clear));
    let mut out = [0; MAX_PACKET];
    let sent = story.leg.tick(story.now, &mut out).map(|datagram| (datagram.to, datagram.bytes.len()));
    assert_eq!(sent, Some((stranger(), 12 + FRAME)));
}

#[test]
fn another_browser_that_is_called_after_one_is_not_spoken_with_by_the_keys_of_the_first() {
    let mut story = Story::new();
    assert_eq!(story.check(here()), Some(0x0101));
    story.pass(here(), 30);
    story.leg.bridge();
    let next = identity();
    let (sealed, sound) = (story.packet(true), Sound::Audio(Codec::Pcma));
    story.leg.connect(stream(named(&next)));
    let heard = Heard { source: 3, sequence: 0, timestamp: 0, marker: false, sound, payload: &[0x55; FRAME] };
    let mut out = [0; MAX_PACKET];
    assert!(story.leg.relay(story.now, &heard, &mut out).is_none() && !story.leg.wants_tick());
    assert!(!story.hears(here(), sealed));
    // It comes from elsewhere, and has keys of its own.
    let moved = at("192.0.2.8:4004");
    story.browser = Dtls::new(story.now.at, &next, DtlsRole::Client, named(&story.us));
    story.guard = Guard::default();
    assert_eq!(story.check(moved), Some(0x0101));
    story.pass(moved, 30);
    let sealed = story.packet(true);
    assert!(story.hears(moved, sealed));
    let sent = story.leg.relay(story.now, &heard, &mut out).expect("it has keys");
    assert_eq!(sent.to, moved);
}
