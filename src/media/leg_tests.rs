use super::*;
use crate::media::command::{Codec, Direction, LegStats, Payloads};
use crate::media::g711::Law;

pub(super) const CALLER: &str = "192.0.2.1:4000";
pub(super) const PHONE: &str = "198.51.100.2:6000";
const SECRET_SSRC: u32 = 0x5ec2_e7ed;

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn stream(remote: &str, codec: Codec) -> Stream {
    Stream { codec, ..Stream::g711(at(remote)) }
}

/// A packet as a peer writes it, by hand.
pub(super) fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(SECRET_SSRC.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a peer reads of a packet of ours: payload type, marker, sequence, timestamp, SSRC, payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) kind: u8,
    pub(super) marker: bool,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: Vec<u8>,
}

fn read(datagram: &Datagram<'_>) -> Read {
    let b = datagram.bytes;
    assert_eq!(b[0], 0x80, "no padding, no extension, no CSRC");
    Read {
        kind: b[1] & 0x7f,
        marker: b[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([b[2], b[3]]),
        timestamp: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
        ssrc: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
        payload: b[12..].to_vec(),
    }
}

pub(super) struct Side {
    pub(super) leg: MediaLeg,
    origin: Origin,
    sent: Vec<Read>,
    reports: Vec<Vec<u8>>,
}

/// Two legs and a clock; looked at and ticked as the plane does.
pub(super) struct Story {
    pub(super) now: Now,
    ticks: u32,
    pub(super) a: Side,
    pub(super) b: Side,
}

impl Side {
    fn new(now: Now, key: u64, remote: &str, codec: Codec) -> Self {
        let origin = Origin { ssrc: key as u32, sequence: 65_530, timestamp: 1000, cname: key };
        let mut leg = MediaLeg::new(now, LegKey(key), origin);
        leg.connect(stream(remote, codec));
        Self { leg, origin, sent: Vec::new(), reports: Vec::new() }
    }

    fn tick(&mut self, now: Now) {
        let mut out = [0; MAX_PACKET];
        if self.leg.wants_tick() {
            self.sent.extend(self.leg.tick(now, &mut out).map(|d| read(&d)));
        }
    }

    fn look(&mut self, now: Now) {
        let mut out = [0; MAX_CONTROL];
        self.reports.extend(self.leg.look(now, &mut out).map(|d| d.bytes.to_vec()));
    }

    pub(super) fn take_sent(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.sent)
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        std::iter::from_fn(|| self.leg.poll_event()).collect()
    }

    fn digits(&mut self) -> String {
        let digit = |e| if let MediaEvent::Digit { digit, .. } = e { Some(digit) } else { None };
        self.events().into_iter().filter_map(digit).collect()
    }
}

impl Story {
    pub(super) fn new() -> Self {
        Self::with(Codec::Pcma, Codec::Pcma)
    }

    pub(super) fn with(a: Codec, b: Codec) -> Self {
        let now = Now::read();
        Self { now, ticks: 0, a: Side::new(now, 1, CALLER, a), b: Side::new(now, 2, PHONE, b) }
    }

    pub(super) fn tick(&mut self, count: u32) -> &mut Self {
        for _ in 0..count {
            self.now = self.now.plus(TICK);
            self.ticks += 1;
            for side in [&mut self.a, &mut self.b] {
                side.tick(self.now);
                if self.ticks.is_multiple_of(10) {
                    side.look(self.now);
                }
            }
        }
        self
    }

    pub(super) fn hear_a(&mut self, from: &str, bytes: &[u8]) {
        let mut out = [0; MAX_PACKET];
        if let Some(heard) = self.a.leg.handle_rtp(self.now, at(from), &mut bytes.to_vec()) {
            self.b.sent.extend(self.b.leg.relay(self.now, &heard, &mut out).map(|d| read(&d)));
        }
    }

    fn hear_b(&mut self, bytes: &[u8]) {
        let mut out = [0; MAX_PACKET];
        if let Some(heard) = self.b.leg.handle_rtp(self.now, at(PHONE), &mut bytes.to_vec()) {
            self.a.sent.extend(self.a.leg.relay(self.now, &heard, &mut out).map(|d| read(&d)));
        }
    }

    pub(super) fn bridge(&mut self) {
        self.a.leg.bridge();
        self.b.leg.bridge();
    }

    /// A press of 100 ms from the caller.
    fn press_a(&mut self, sequence: u16, timestamp: u32, event: u8) {
        for (n, (end, duration)) in [(0u8, 160u16), (0, 320), (0x80, 480), (0x80, 480)].iter().enumerate() {
            let [high, low] = duration.to_be_bytes();
            let payload = [event, end | 0x4a, high, low];
            let mut bytes = packet(101, sequence + n as u16, timestamp, &payload);
            if n == 0 {
                bytes[1] |= 0x80;
            }
            self.hear_a(CALLER, &bytes);
        }
    }
}

pub(super) fn clip(pcma: Vec<u8>) -> Arc<Clip> {
    let pcmu = pcma.iter().map(|b| !b).collect();
    Arc::new(Clip { name: "test/clip".into(), pcma, pcmu, wide: Vec::new() })
}

/// Numbers that run on without a jump.
fn assert_runs_on(sent: &[Read], origin: Origin) {
    for (n, read) in sent.iter().enumerate() {
        assert_eq!(read.ssrc, origin.ssrc);
        assert_eq!(read.sequence, origin.sequence.wrapping_add(n as u16));
        assert_eq!(read.timestamp, origin.timestamp.wrapping_add(n as u32 * 160));
    }
}

#[test]
fn a_prompt_is_played_sample_by_sample_between_silence_and_its_end_is_told_once() {
    for codec in [Codec::Pcma, Codec::Pcmu] {
        let mut story = Story::with(codec, codec);
        let bytes: Vec<u8> = (0..500u32).map(|n| (n % 251) as u8).collect();
        story.tick(2);
        story.a.leg.play(PlayKey(7), vec![clip(bytes[..330].to_vec()), clip(bytes[330..].to_vec())], false);
        story.tick(6);
        let sent = story.a.take_sent();
        assert_runs_on(&sent, story.a.origin);
        let marks: Vec<bool> = sent.iter().map(|r| r.marker).collect();
        assert_eq!(marks, [true, false, true, false, false, false, false, false]);
        let heard: Vec<u8> = sent[2..6].iter().flat_map(|r| r.payload.clone()).collect();
        let expected: Vec<u8> = bytes.iter().map(|b| if codec == Codec::Pcma { *b } else { !b }).collect();
        assert_eq!(heard[..500], expected);
        assert!(
            heard[500..].iter().chain(&sent[0].payload).all(|b| *b == codec.law().expect("G.711").silence())
        );
        assert!(sent.iter().all(|r| Some(r.kind) == Payloads::g711().send(Sound::Audio(codec)) && r.payload.len() == 160));
        assert_eq!(story.a.events(), [MediaEvent::PlayEnded { leg: LegKey(1), play: PlayKey(7) }]);
    }
}

#[test]
fn stop_and_repeat_raise_no_end_and_a_prompt_on_hold_ends_in_its_time() {
    let mut story = Story::new();
    story.a.leg.play(PlayKey(1), vec![clip(vec![1; 320])], true);
    story.tick(50);
    story.a.leg.play(PlayKey(2), vec![clip(vec![1; 1600])], false);
    story.tick(2);
    story.a.leg.stop();
    story.tick(20);
    assert_eq!(story.a.events(), []);
    story.a.take_sent();
    story.a.leg.connect(Stream { direction: Direction::Inactive, ..stream(CALLER, Codec::Pcma) });
    story.a.leg.play(PlayKey(3), vec![clip(vec![1; 1600])], false);
    story.tick(9);
    assert_eq!(story.a.events(), []);
    story.tick(1);
    assert_eq!(story.a.events(), [MediaEvent::PlayEnded { leg: LegKey(1), play: PlayKey(3) }]);
    assert_eq!(story.a.take_sent(), [], "nothing was sent on hold");
    assert!(!story.a.leg.wants_tick());
    story.a.leg.connect(stream(CALLER, Codec::Pcma));
    story.tick(1);
    let sent = story.a.take_sent();
    // 72 packets, then ten ticks of hold.
    assert_eq!((sent[0].timestamp, sent[0].marker), (1000 + 82 * 160, true));
}

#[test]
fn a_bridge_passes_the_same_codec_untouched_under_numbers_of_its_own() {
    let mut story = Story::new();
    story.tick(3);
    story.bridge();
    let noise: Vec<u8> = (0..160u32).map(|n| (n * 37 % 256) as u8).collect();
    for n in 0..20u16 {
        story.hear_a(CALLER, &packet(8, 900 + n, 777 + u32::from(n) * 160, &noise));
        story.hear_b(&packet(8, 100 + n, 5 + u32::from(n) * 160, &noise));
        story.tick(1);
    }
    for side in [&mut story.a, &mut story.b] {
        let sent = side.take_sent();
        assert_eq!(sent.len(), 23);
        assert_runs_on(&sent, side.origin);
        assert!(sent[3].marker, "a person begins");
        assert!(sent[3..].iter().all(|r| r.payload == noise));
        let stats = side.leg.stats();
        assert_eq!((stats.sent, stats.received, stats.lost, stats.foreign), (23, 20, 0, 0));
        assert!(!side.leg.wants_tick());
    }
}

#[test]
fn the_other_law_is_converted_both_ways() {
    let mut story = Story::with(Codec::Pcma, Codec::Pcmu);
    story.bridge();
    let bytes: Vec<u8> = (0..160).map(|n| n as u8).collect();
    story.hear_a(CALLER, &packet(8, 1, 0, &bytes));
    story.hear_b(&packet(0, 1, 0, &bytes));
    let (to_a, to_b) = (story.a.take_sent(), story.b.take_sent());
    let through = |from: Codec, to: Codec| {
        bytes
            .iter()
            .map(|b| to.law().expect("G.711").encode(from.law().expect("G.711").decode(*b)))
            .collect::<Vec<u8>>()
    };
    assert_eq!((to_b[0].kind, &to_b[0].payload), (0, &through(Codec::Pcma, Codec::Pcmu)));
    assert_eq!((to_a[0].kind, &to_a[0].payload), (8, &through(Codec::Pcmu, Codec::Pcma)));
}

#[test]
fn nothing_that_names_the_caller_crosses() {
    let mut story = Story::new();
    story.bridge();
    story.tick(1);
    // Padding, an extension with a marked secret, two CSRCs.
    let mut rich = vec![0xb2, 0x88];
    rich.extend(0xabcd_u16.to_be_bytes());
    rich.extend(0xfeed_beef_u32.to_be_bytes());
    rich.extend(SECRET_SSRC.to_be_bytes());
    rich.extend(b"CSR1CSR2\xbe\xde\x00\x02secret-x");
    rich.extend([0x2a; 160]);
    rich.extend(b"pad\x04");
    story.hear_a(CALLER, &rich);
    // Reserved bit and bytes after the event, and an event that is no key.
    story.hear_a(CALLER, &packet(101, 0xabce, 0xfeed_beef, b"\x05\xca\x00\xa0secret"));
    story.hear_a(CALLER, &packet(101, 0xabcf, 0xfeed_beef, &[96, 10, 0, 160]));
    let rtcp =
        b"\x80\xc9\x00\x01\x5e\xc2\xe7\xed\x81\xca\x00\x05\x5e\xc2\xe7\xed\x01\x0csecret@phone\x00\x00";
    story.a.leg.handle_rtcp(story.now, at("192.0.2.1:4001"), &mut rtcp.to_vec());
    story.tick(600);
    let sent = story.b.take_sent();
    assert_eq!((sent[0].payload.clone(), sent[0].timestamp), (vec![0x2a; 160], 1000));
    assert_eq!((sent[1].payload.clone(), sent[1].timestamp), (vec![5, 0x8a, 0, 160], 1000));
    assert!(sent.len() > 500 && sent[2].payload == [0xd5; 160], "then silence is filled in");
    let mut bye = [0; MAX_CONTROL];
    story.b.reports.extend(story.b.leg.close(story.now, &mut bye).map(|d| d.bytes.to_vec()));
    assert!(story.b.reports.len() >= 3);
    let secrets: [&[u8]; 6] = [
        &SECRET_SSRC.to_be_bytes(),
        b"CSR",
        b"secret",
        b"phone",
        &0xfeed_beef_u32.to_be_bytes(),
        &[0xab, 0xcd],
    ];
    let on_wire = story.b.reports.iter().cloned().chain(sent.iter().map(|r| {
        let numbers = [r.ssrc.to_be_bytes(), r.timestamp.to_be_bytes(), u32::from(r.sequence).to_be_bytes()];
        [&numbers.concat(), &r.payload[..]].concat()
    }));
    let heard_about = |bytes: &[u8]| secrets.iter().any(|s| bytes.windows(s.len()).any(|w| w == *s));
    assert!(on_wire.into_iter().all(|bytes| !heard_about(&bytes)));
}

#[test]
fn foreign_and_broken_packets_are_counted_and_change_nothing() {
    let mut story = Story::new();
    story.bridge();
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    for n in 0..20 {
        story.hear_a("203.0.113.5:4000", &packet(8, 2 + n, 160, &[9; 160]));
    }
    story.hear_a("203.0.113.5:4000", b"junk");
    story.hear_a(CALLER, b"junk");
    story.hear_a(CALLER, &packet(97, 2, 160, &[9; 160]));
    story.a.leg.handle_rtcp(story.now, at("203.0.113.5:4001"), &mut [0x81, 203, 0, 1, 0, 0, 0, 1]);
    story.a.leg.handle_rtcp(story.now, at("203.0.113.5:4001"), &mut [0x80, 201, 0, 1, 0, 0, 0, 1]);
    assert_eq!(story.b.take_sent().len(), 1);
    let stats = story.a.leg.stats();
    assert_eq!((stats.received, stats.foreign, stats.malformed), (1, 23, 2));
    assert_eq!(story.a.events(), [MediaEvent::Flowing { leg: LegKey(1) }]);
}

#[test]
fn an_address_of_a_new_offer_is_the_only_one_that_counts() {
    let mut story = Story::new();
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    story.a.leg.connect(stream("192.0.2.77:7000", Codec::Pcma));
    let mut out = [0; MAX_PACKET];
    let to = story.a.leg.tick(story.now, &mut out).map(|d| d.to);
    assert_eq!(to, Some(at("192.0.2.77:7000")));
    story.hear_a("192.0.2.77:7000", &packet(8, 2, 160, &[1; 160]));
    story.hear_a(CALLER, &packet(8, 3, 320, &[1; 160]));
    assert_eq!((story.a.leg.stats().received, story.a.leg.stats().foreign), (2, 1));
}

#[test]
fn a_key_is_told_once_and_carried_to_the_other_side() {
    let mut story = Story::new();
    story.bridge();
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    story.press_a(2, 160, 11);
    story.hear_a(CALLER, &packet(8, 6, 800, &[1; 160]));
    assert_eq!(story.a.digits(), "#");
    let sent = story.b.take_sent();
    let shape: Vec<(u8, bool, u32)> = sent.iter().map(|r| (r.kind, r.marker, r.timestamp - 1000)).collect();
    assert_eq!(
        shape,
        [
            (8, true, 0),
            (101, true, 160),
            (101, false, 160),
            (101, false, 160),
            (101, false, 160),
            (8, false, 800)
        ]
    );
    assert_eq!(sent[3].payload, [11, 0x8a, 0x01, 0xe0]);
}

#[test]
fn more_keys_a_second_than_a_dialler_presses_are_dropped() {
    let mut story = Story::new();
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    for press in 0..100u16 {
        story.press_a(2 + press * 4, 160 + u32::from(press) * 480, 5);
    }
    assert_eq!(story.a.digits().len(), 20);
    story.tick(50);
    story.press_a(500, 160_000, 7);
    assert_eq!(story.a.digits(), "7");
}

#[test]
fn keys_that_we_send_take_the_place_of_sound_and_time_goes_on() {
    let mut story = Story::new();
    story.tick(1);
    story.a.leg.send_digit('1', Duration::from_millis(60));
    story.a.leg.send_digit('x', Duration::from_millis(60));
    story.a.leg.send_digit('2', Duration::from_millis(60));
    story.tick(20);
    let sent = story.a.take_sent();
    assert_eq!(sent.len(), 21);
    let keys: Vec<&Read> = sent.iter().filter(|r| r.kind == 101).collect();
    let shape: Vec<(u8, u32)> = keys.iter().map(|r| (r.payload[0], (r.timestamp - 1000) / 160)).collect();
    assert_eq!(shape, [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (2, 10), (2, 10), (2, 10), (2, 10), (2, 10)]);
    let last = sent.last().expect("one");
    assert_eq!((last.kind, (last.timestamp - 1000) / 160), (8, 20));
    // Without telephone-event the keys are dropped and silence goes on.
    story.a.leg.connect(Stream { payloads: Payloads::g711().without_keys(), ..stream(CALLER, Codec::Pcma) });
    story.a.leg.send_digit('1', Duration::from_millis(60));
    story.tick(2);
    assert!(story.a.take_sent().iter().all(|r| r.kind == 8));
}

#[test]
fn hold_stops_what_goes_to_a_side_and_what_is_taken_from_it() {
    let mut story = Story::new();
    story.bridge();
    story.b.leg.connect(Stream { direction: Direction::RecvOnly, ..stream(PHONE, Codec::Pcma) });
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    story.hear_b(&packet(8, 1, 0, &[2; 160]));
    assert_eq!((story.a.take_sent().len(), story.b.take_sent().len()), (1, 0));
    story.b.leg.connect(Stream { direction: Direction::SendOnly, ..stream(PHONE, Codec::Pcma) });
    story.hear_a(CALLER, &packet(8, 2, 160, &[1; 160]));
    story.hear_b(&packet(8, 2, 160, &[2; 160]));
    assert_eq!((story.a.take_sent().len(), story.b.take_sent().len()), (0, 1));
}

#[test]
fn a_quiet_bridge_is_filled_with_silence_until_the_other_speaks() {
    let mut story = Story::new();
    story.tick(2);
    story.bridge();
    story.tick(50);
    let sent = story.a.take_sent();
    assert!(sent.len() > 20 && sent.iter().all(|r| r.payload == [0xd5; 160]));
    story.hear_b(&packet(8, 1, 0, &[2; 160]));
    assert!(!story.a.leg.wants_tick());
    let resumed = story.a.take_sent();
    // The timestamp shows all the time that passed: 52 ticks, give or take the one that is due.
    let elapsed = (resumed[0].timestamp - 1000) / 160;
    assert!((51..=53).contains(&elapsed) && resumed[0].marker, "{elapsed}");
}

#[test]
fn silence_of_the_peer_is_told_again_and_again_and_its_return_too() {
    let mut story = Story::new();
    story.a.leg.watch(story.now, Some(Duration::from_secs(2)));
    story.tick(225);
    let silent = |ms| MediaEvent::Silent { leg: LegKey(1), quiet_for: Duration::from_millis(ms) };
    assert_eq!(story.a.events(), [silent(2000), silent(4000)]);
    story.hear_a(CALLER, &packet(8, 1, 0, &[1; 160]));
    assert_eq!(story.a.events(), [MediaEvent::Flowing { leg: LegKey(1) }]);
    story.tick(110);
    assert_eq!(story.a.events().len(), 1);
    story.hear_a(CALLER, &packet(8, 2, 0, &[1; 160]));
    story.a.leg.connect(Stream { direction: Direction::SendOnly, ..stream(CALLER, Codec::Pcma) });
    story.tick(500);
    story.a.leg.watch(story.now, None);
    assert_eq!(story.a.events(), [MediaEvent::Flowing { leg: LegKey(1) }], "on hold nothing is expected");
}

#[test]
fn a_message_is_recorded_until_its_key_and_the_key_is_not_in_it() {
    let mut story = Story::new();
    let (max, silence) = (Duration::from_secs(60), Some(Duration::from_secs(5)));
    story.a.leg.record(story.now, TakeKey(4), max, silence, Some('#'));
    for n in 0..50u16 {
        story.hear_a(CALLER, &packet(8, n, u32::from(n) * 160, &[0x15; 160]));
        story.tick(1);
    }
    story.press_a(50, 8000, 5);
    story.press_a(54, 8800, 11);
    assert_eq!(story.a.digits(), "5");
    let mut samples = Vec::new();
    let mut ends = Vec::new();
    while let Some(output) = story.a.leg.poll_take() {
        match output {
            TakeOutput::Samples { samples: s, .. } => samples.extend(s),
            TakeOutput::Ended { take, taken } => ends.push((take, taken)),
        }
    }
    // What a gateway leaves of the key's tone before it is muted with it.
    assert_eq!(samples, [vec![Law::A.decode(0x15); 7360], vec![0; 640]].concat());
    let taken = Taken { end: RecordEnd::Key, samples: 8000, voice: true };
    assert_eq!(ends, [(TakeKey(4), taken)]);
    story.a.leg.stop_record();
    assert_eq!(story.a.leg.poll_take(), None);
}

#[test]
fn closing_ends_the_recording_and_says_bye() {
    let mut story = Story::new();
    story.a.leg.record(story.now, TakeKey(4), Duration::from_secs(9), Some(Duration::from_secs(5)), None);
    story.tick(200);
    let mut out = [0; MAX_CONTROL];
    let bye = story.a.leg.close(story.now, &mut out).map(|d| (d.to, d.bytes.to_vec()));
    let (to, bytes) = bye.expect("a report");
    assert_eq!((to, bytes[1], bytes[bytes.len() - 7]), (at("192.0.2.1:4001"), 200, 203));
    assert!(matches!(story.a.leg.poll_take(), Some(TakeOutput::Samples { .. })));
    assert!(matches!(story.a.leg.poll_take(), Some(TakeOutput::Ended { .. })));
    assert!(!story.a.leg.wants_tick() && story.a.leg.poll_take().is_none());
}

#[test]
fn rfc5761_reports_go_to_the_rtp_port_when_that_was_agreed_on() {
    let mut out = [0; MAX_CONTROL];
    for (muxed, port) in [(false, 4001), (true, 4000)] {
        let mut story = Story::new();
        let agreed = Stream { rtcp_mux: muxed, ..stream(CALLER, Codec::Pcma) };
        story.a.leg.connect(agreed);
        let now = story.now.plus(Duration::from_secs(4));
        let to = story.a.leg.look(now, &mut out).map(|report| report.to.port());
        assert_eq!((story.a.leg.muxes_control(), to), (muxed, Some(port)));
    }
}

#[test]
fn before_the_answer_nothing_is_sent_and_nothing_heard() {
    let now = Now::read();
    let mut leg = MediaLeg::new(now, LegKey(1), Origin { ssrc: 1, sequence: 1, timestamp: 1, cname: 1 });
    leg.play(PlayKey(1), vec![clip(vec![1; 160])], false);
    assert!(!leg.wants_tick());
    assert_eq!(leg.tick(now, &mut [0; MAX_PACKET]), None);
    assert_eq!(leg.handle_rtp(now, at(CALLER), &mut packet(8, 1, 0, &[1; 160])), None);
    assert_eq!((leg.stats(), leg.poll_event()), (LegStats::default(), None));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_the_numbers_run_on(
        inputs in proptest::collection::vec((0u8..6, proptest::prelude::any::<u16>(), proptest::prelude::any::<u32>()), 0..60)
    ) {
        let mut story = Story::new();
        for (what, sequence, timestamp) in inputs {
            match what {
                0 => story.bridge(),
                1 => story.b.leg.unbridge(),
                2 => story.b.leg.send_digit('7', Duration::from_millis(40)),
                3 => story.b.leg.play(PlayKey(1), vec![clip(vec![3; 500])], sequence % 2 == 0),
                4 => story.hear_a(CALLER, &packet(101, sequence, timestamp, &[sequence as u8, 128, 0, 1])),
                _ => story.hear_a(CALLER, &packet(8, sequence, timestamp, &[1; 160])),
            }
            story.tick(1 + timestamp % 3);
        }
        let sent = story.b.take_sent();
        for pair in sent.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        }
        assert!(sent.iter().all(|r| r.ssrc == 2));
    }

    #[test]
    fn whatever_bytes_come_nothing_breaks(
        mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 2..200), kind in 0usize..8
    ) {
        let mut story = Story::new();
        story.bridge();
        story.a.leg.record(story.now, TakeKey(1), Duration::from_secs(9), Some(Duration::from_secs(2)), Some('#'));
        bytes[0] = bytes[0] & 0x3f | 0x80;
        bytes[1] = [8, 0, 101, 200, 201, 203, 0x88, 33][kind];
        for _ in 0..3 {
            story.hear_a(CALLER, &bytes);
            story.a.leg.handle_rtcp(story.now, at("192.0.2.1:4001"), &mut bytes.clone());
            story.tick(1);
        }
        story.a.leg.stop_record();
    }
}
