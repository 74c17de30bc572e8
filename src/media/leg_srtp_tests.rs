//! Encrypted legs: what comes in the clear or forged changes nothing, what goes out only the peer can read.

use super::*;
use crate::base::id::Rng;
use crate::base::secret::Secret;
use crate::media::command::{Codec, Direction, Payloads};
use crate::media::keying::{Keying, Suite};

/// Bytes of 20 ms of G.711.
const FRAME: usize = 160;
const PHONE: &str = "198.51.100.2:6000";
/// Where packets of that phone come from, behind NAT.
const BEHIND: &str = "198.51.100.2:61000";
const STRANGER: &str = "203.0.113.5:6000";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn keying(suite: Suite, ours: u64, theirs: u64) -> Keying {
    let secret = |seed| {
        let length = suite.key_length() + suite.salt_length();
        Secret::random(&mut Rng::from_number(seed), length)
    };
    Keying::new(suite, secret(ours), secret(theirs)).expect("of the right length")
}

fn guard(keying: &Keying) -> Guard {
    let mut guard = Guard::default();
    guard.set(Some(keying)).expect("keys");
    guard
}

fn stream(keying: Option<Keying>) -> Stream {
    Stream {
        remote: at(PHONE),
        remote_rtcp: at("198.51.100.2:6001"),
        signalling: at(PHONE).ip(),
        codec: Codec::Pcma,
        payloads: Payloads::g711(),
        rtcp_mux: false,
        direction: Direction::SendRecv,
        keying,
        web: None,
    }
}

/// A leg of ours and the phone that it speaks with.
struct Story {
    now: Now,
    leg: MediaLeg,
    phone: Guard,
}

impl Story {
    fn new(suite: Suite) -> Self {
        let now = Now::read();
        let origin = Origin { ssrc: 7, sequence: 100, timestamp: 5, cname: 9 };
        let mut leg = MediaLeg::new(now, LegKey(1), origin);
        leg.connect(stream(Some(keying(suite, 1, 2))));
        leg.bridge();
        Self { now, leg, phone: guard(&keying(suite, 2, 1)) }
    }

    fn sealed(&mut self, sequence: u16) -> Vec<u8> {
        let mut buffer = plain(sequence);
        buffer.resize(200, 0);
        self.phone.protect_rtp(&mut buffer, 172).expect("may be sent").to_vec()
    }

    /// Whether another leg would hear it.
    fn hears(&mut self, from: &str, bytes: &[u8]) -> bool {
        let mut bytes = bytes.to_vec();
        let heard = self.leg.handle_rtp(self.now, at(from), &mut bytes);
        heard.is_some_and(|heard| heard.payload == &plain(0)[12..])
    }

    fn relayed(&mut self) -> Vec<u8> {
        let payload = [0x55; FRAME];
        let sound = Sound::Audio(Codec::Pcma);
        let heard = Heard { source: 3, sequence: 0, timestamp: 0, marker: false, sound, payload: &payload };
        let mut out = [0; MAX_PACKET];
        self.leg.relay(self.now, &heard, &mut out).expect("it is sent").bytes.to_vec()
    }
}

fn plain(sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 8];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 160, 0, 0, 0, 42]);
    bytes.extend([0xd5; FRAME]);
    bytes
}

const SUITES: [Suite; 4] = Suite::ALL;

#[test]
fn what_the_phone_encrypts_is_heard_and_what_we_send_only_it_can_read() {
    for suite in SUITES {
        let mut story = Story::new(suite);
        let sealed = story.sealed(1);
        assert!(story.hears(PHONE, &sealed), "{suite:?}");
        let mut sent = story.relayed();
        assert!(!sent.windows(8).any(|w| w == [0x55; 8]), "{suite:?}");
        let opened = story.phone.open_rtp(&mut sent).expect("ours");
        assert!(opened.len() == 12 + FRAME && opened[12..] == [0x55; FRAME]);
        assert_eq!(story.leg.stats().security, Some(suite));
    }
}

#[test]
fn prompts_keys_and_reports_are_encrypted_too() {
    let mut story = Story::new(Suite::AeadAes128Gcm);
    story.leg.unbridge();
    let mut out = [0; MAX_PACKET];
    story.leg.send_digit('5', Duration::from_millis(100));
    let mut sent = Vec::new();
    for _ in 0..20 {
        story.now = story.now.plus(TICK);
        sent.extend(story.leg.tick(story.now, &mut out).map(|d| d.bytes.to_vec()));
    }
    let kinds: Vec<u8> = sent
        .iter_mut()
        .map(|packet| story.phone.open_rtp(packet).map(|opened| opened[1] & 0x7f).expect("ours"))
        .collect();
    assert!(kinds.contains(&101) && kinds.contains(&8), "{kinds:?}");
    let mut control = [0; MAX_CONTROL];
    let mut bye = story.leg.close(story.now, &mut control).expect("a goodbye").bytes.to_vec();
    assert!(rtcp::read(&bye, 0).is_none(), "a stranger reads nothing");
    let opened = story.phone.open_rtcp(&mut bye).expect("ours");
    assert!(rtcp::read(opened, 0).is_some_and(|report| report.bye));
    assert!(
        story.leg.guard.protect_rtp(&mut [0x80; 60], 20).is_some_and(|bytes| bytes == [0x80; 20]),
        "no keys"
    );
}

#[test]
fn plain_forged_and_repeated_packets_are_counted_and_change_nothing() {
    let mut story = Story::new(Suite::AesCm128Sha1_80);
    let first = story.sealed(1);
    assert!(story.hears(PHONE, &first));
    for n in 2..50 {
        assert!(!story.hears(PHONE, &plain(n)), "in the clear");
        let mut forged = plain(n);
        forged.extend([7; 10]);
        assert!(!story.hears(PHONE, &forged));
        assert!(!story.hears(PHONE, &first), "again");
    }
    let stats = story.leg.stats();
    assert_eq!((stats.received, stats.forged, stats.replayed, stats.foreign), (1, 96, 48, 0));
    assert!(stats.lost == 0 && stats.malformed == 0);
    let next = story.sealed(2);
    assert!(story.hears(PHONE, &next));
}

#[test]
fn only_who_has_the_key_can_latch_the_source() {
    let mut story = Story::new(Suite::AeadAes256Gcm);
    for n in 0..20 {
        story.hears(BEHIND, &plain(n));
        story.hears(STRANGER, &plain(n));
    }
    assert_eq!(story.leg.peer.as_ref().and_then(|peer| peer.lock.target()), Some(at(PHONE)));
    let sealed: Vec<Vec<u8>> = (1..6).map(|n| story.sealed(n)).collect();
    let heard: Vec<bool> = sealed.iter().map(|packet| story.hears(BEHIND, packet)).collect();
    assert_eq!(heard, [false, false, true, true, true], "genuine, and three in a row");
    assert_eq!(story.leg.peer.as_ref().and_then(|peer| peer.lock.target()), Some(at(BEHIND)));
    // A genuine packet from a third host, as who overhears it could send it first.
    let sealed = story.sealed(6);
    assert!(
        !story.hears(STRANGER, &sealed) && story.leg.stats().foreign == 3,
        "with the two before the lock"
    );
}

#[test]
fn reports_in_the_clear_or_forged_are_counted_and_not_read() {
    let mut story = Story::new(Suite::AesCm128Sha1_32);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 42];
    story.leg.handle_rtcp(story.now, at("198.51.100.2:6001"), &mut report.clone());
    story.leg.handle_rtcp(story.now, at("198.51.100.2:6001"), &mut [0x80; 60]);
    let counts = |story: &Story| (story.leg.stats().forged, story.leg.stats().malformed);
    assert_eq!(counts(&story), (1, 1), "one is too short to be SRTCP");
    let mut sealed = [0; 60];
    sealed[..8].copy_from_slice(&report);
    let mut sealed = story.phone.protect_rtcp(&mut sealed, 8).expect("may be sent").to_vec();
    story.leg.handle_rtcp(story.now, at("198.51.100.2:6001"), &mut sealed);
    assert_eq!(counts(&story), (1, 1));
}

#[test]
fn rfc4568_7_1_4_a_call_goes_on_across_new_keys_and_back_into_the_clear() {
    let mut story = Story::new(Suite::AesCm128Sha1_80);
    let (first, last) = (story.sealed(1), story.sealed(2));
    assert!(story.hears(PHONE, &first));
    story.leg.connect(stream(Some(keying(Suite::AesCm128Sha1_80, 1, 8))));
    assert!(story.hears(PHONE, &last), "on its way when the key changed");
    story.phone = guard(&keying(Suite::AesCm128Sha1_80, 8, 1));
    let sealed = story.sealed(3);
    assert!(story.hears(PHONE, &sealed));
    let mut sent = story.relayed();
    assert!(story.phone.open_rtp(&mut sent).is_some(), "our key has stayed");
    story.leg.connect(stream(None));
    assert!(story.hears(PHONE, &plain(4)) && story.relayed()[12..] == [0x55; FRAME]);
    assert_eq!(story.leg.stats().security, None);
}
