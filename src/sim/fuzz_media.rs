//! What the fuzz targets `rtp`, `rtcp`, `dtmf` and `decode` do with bytes: one leg's engine between a peer who sends
//! anything and strangers who do, and the decoders. Each function panics only when a promise is broken; see `sim::fuzz`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::id::{LegKey, PlayKey, TakeKey};
use crate::base::time::Now;
use crate::media::audio;
use crate::media::codec::Rate;
use crate::media::command::{Codec, Origin, Sound, Stream};
use crate::media::dtmf::{KeyNews, KeyReader, key_of};
use crate::media::g711::Law;
use crate::media::inband::{Change, Detector};
use crate::media::keypad::{Keypad, Stroke};
use crate::media::leg::{Heard, MAX_CONTROL, MAX_PACKET, MediaLeg, TICK, TakeOutput};
use crate::media::outgoing::MAX_FRAME;
use crate::media::playout::Playout;
use crate::media::recording::RecordDecoder;
use crate::media::rtcp::{self, MAX_REPORT, Reporter};
use crate::media::rtp::{self, HEADER, MAX_PAYLOAD, Packet, Sender, Source};
use crate::media::transcode::Transcoder;

/// The longest message, in time and in samples.
const MAX_TAKE: Duration = Duration::from_secs(5);
const MAX_SAMPLES: usize = 8000 * 5;
/// Payload types by which the other leg may be sent anything: PCMU and telephone-event.
const TO_LINE: [u8; 2] = [0, 101];

/// The caller's leg, recorded and joined with the line's, and the clock.
struct Pair {
    now: Now,
    caller: MediaLeg,
    line: MediaLeg,
    /// What went out to the line, packet by packet.
    sent: Vec<Vec<u8>>,
    samples: usize,
    events: usize,
}

impl Pair {
    fn new(now: Now) -> Self {
        let mut caller = leg(now, 1, caller(), Codec::Pcma);
        let mut line = leg(now, 2, line(), Codec::Pcmu);
        caller.record(now, TakeKey(1), MAX_TAKE, Some(Duration::from_secs(2)), Some('#'));
        caller.bridge();
        line.bridge();
        Self { now, caller, line, sent: Vec::new(), samples: 0, events: 0 }
    }

    fn hear(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut out = [0; MAX_PACKET];
        if let Some(heard) = self.caller.handle_rtp(self.now, from, &mut bytes.to_vec()) {
            let sent = self.line.relay(self.now, &heard, &mut out);
            self.sent.extend(sent.map(|datagram| datagram.bytes.to_vec()));
        }
        self.drain();
    }

    /// As the plane does: what is due goes out, each leg is looked at.
    fn pass(&mut self, ticks: u8) {
        for _ in 0..ticks {
            self.now = self.now.plus(TICK);
            let (mut out, mut report) = ([0; MAX_PACKET], [0; MAX_CONTROL]);
            if self.line.wants_tick() {
                let sent = self.line.tick(self.now, &mut out);
                self.sent.extend(sent.map(|datagram| datagram.bytes.to_vec()));
            }
            for side in [&mut self.caller, &mut self.line] {
                let _ = side.look(self.now, &mut report);
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.caller.poll_take() {
            if let TakeOutput::Samples { samples, .. } = output {
                self.samples += samples.len();
            }
        }
        self.events += std::iter::from_fn(|| self.caller.poll_event()).count();
        let _ = std::iter::from_fn(|| self.line.poll_event()).count();
    }
}

/// Packets of a peer and of strangers: `[whence and ticks][length][bytes]…`. What goes out to the other side is well
/// formed whatever comes in, its numbers run on, a message stays within its limit, and what strangers send changes
/// nothing at all.
pub fn rtp(bytes: &[u8]) {
    packet(bytes);
    let now = super::fuzz::beginning();
    let (mut pair, mut undisturbed) = (Pair::new(now), Pair::new(now));
    let mut rest = bytes;
    while let [whence, length, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        if whence & 1 == 0 {
            pair.hear(caller(), packet);
            undisturbed.hear(caller(), packet);
        } else {
            pair.hear(stranger(), packet);
        }
        if whence & 2 != 0 {
            for leg in [&mut pair.line, &mut undisturbed.line] {
                leg.play(PlayKey(1), vec![audio::beep()], false);
            }
        }
        pair.pass(whence >> 2);
        undisturbed.pass(whence >> 2);
    }
    let before = pair.samples;
    pair.caller.stop_record();
    pair.drain();
    assert!(pair.samples >= before && pair.samples <= MAX_SAMPLES, "a message is longer than its limit");
    assert!(pair.sent == undisturbed.sent, "a stranger changes what the other side hears");
    undisturbed.caller.stop_record();
    undisturbed.drain();
    let same = (pair.samples, pair.events) == (undisturbed.samples, undisturbed.events);
    assert!(same, "a stranger changes a message, or what is told");
    runs_on(&pair.sent);
}

/// RFC 3550 5.1: our SSRC, each sequence number the next; neither CSRC nor extension nor padding.
fn runs_on(sent: &[Vec<u8>]) {
    let origin = origin(2);
    for (index, bytes) in sent.iter().enumerate() {
        let Some(packet) = rtp::read(bytes) else { panic!("what we send is no RTP") };
        assert!(bytes.first() == Some(&0x80), "a CSRC, an extension or padding goes out");
        assert!(packet.ssrc == origin.ssrc, "another's SSRC goes out");
        assert!(packet.sequence == origin.sequence.wrapping_add(index as u16), "a sequence number jumps");
        assert!(TO_LINE.contains(&packet.payload_type), "a payload type that was not agreed on goes out");
    }
}

/// One packet by itself: what is read of it can be relayed and is read as the same again.
fn packet(bytes: &[u8]) {
    let Some(packet) = rtp::read(bytes) else { return };
    assert!(packet.payload.len() + HEADER <= bytes.len(), "more payload than there is");
    let mut source = Source::default();
    let _ = (source.on_packet(&packet, 0), source.on_packet(&packet, 7));
    assert!(source.received() == 1 && source.lost() == 0, "a duplicate counts");
    let mut sender = Sender::new(origin(1));
    let mut out = [0; HEADER + MAX_PAYLOAD];
    let Some(relayed) = sender.relay(&mut out, packet.payload_type, &packet, 160) else { panic!("no room") };
    let Some(again) = rtp::read(relayed) else { panic!("what is relayed can't be read") };
    let kept = (again.payload, again.payload_type) == (packet.payload, packet.payload_type);
    assert!(kept, "a payload changes on its way");
}

/// Compound packets (RFC 3550 6.1): `[whence][length][bytes]…`. Ours can be read whatever came before; strangers' change
/// nothing in it.
pub fn rtcp(bytes: &[u8]) {
    let now = super::fuzz::beginning();
    let (mut disturbed, mut undisturbed) =
        (leg(now, 1, caller(), Codec::Pcma), leg(now, 1, caller(), Codec::Pcma));
    let mut reporter = Reporter::new(origin(1));
    let mut rest = bytes;
    while let [whence, length, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        if let Some(report) = rtcp::read(packet, origin(1).ssrc) {
            assert!(packet.len() >= 8 && packet.len().is_multiple_of(4), "no compound packet");
            reporter.on_report(&report, now.utc);
        }
        if whence & 1 == 0 {
            disturbed.handle_rtcp(now, control_of(caller()), &mut packet.to_vec());
            undisturbed.handle_rtcp(now, control_of(caller()), &mut packet.to_vec());
        } else {
            disturbed.handle_rtcp(now, control_of(stranger()), &mut packet.to_vec());
            disturbed.handle_rtp(now, stranger(), &mut packet.to_vec());
        }
    }
    let later = now.plus(Duration::from_secs(3));
    let (mut ours, mut same) = ([0; MAX_CONTROL], [0; MAX_CONTROL]);
    let reports = (disturbed.look(later, &mut ours), undisturbed.look(later, &mut same));
    assert!(reports.0 == reports.1, "a stranger changes our report");
    can_be_read(&mut reporter, later);
}

/// A report of ours about a peer that was heard.
fn can_be_read(reporter: &mut Reporter, now: Now) {
    let mut source = Source::default();
    for sequence in [10, 14, 12] {
        let heard =
            Packet { ssrc: 9, sequence, timestamp: 0, marker: false, payload_type: 8, payload: &[0xd5; 160] };
        source.on_packet(&heard, 0);
    }
    let mut out = [0; MAX_REPORT];
    let length = reporter.write(&mut out, now.utc, 0, &Sender::new(origin(1)), &source, true);
    let Some(report) = out.get(..length).and_then(|ours| rtcp::read(ours, 9)) else {
        panic!("a report of ours can't be read")
    };
    assert!(report.bye && report.about_us.is_some_and(|block| block.lost == 2), "a report of ours is wrong");
}

/// Packets of any codec to be decoded: `[codec and what next][sequence][length][bytes]…`. Whatever they hold, each 20 ms
/// a whole frame comes out, and the other codec's payload has room.
pub fn decode(bytes: &[u8]) {
    let codecs = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];
    let mut playouts = [Playout::new(Rate::Narrow), Playout::new(Rate::Wide)];
    let mut recording = RecordDecoder::new();
    let mut transcoders: Vec<Transcoder> =
        codecs.iter().filter_map(|to| Transcoder::new(Codec::Opus, *to)).collect();
    let mut rest = bytes;
    while let [what, place, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let codec = codecs[usize::from(what & 3)];
        let sound = if what & 4 == 0 { Sound::Audio(codec) } else { Sound::Noise };
        let timestamp = u32::from(*place).wrapping_mul(codec.step() / 2).wrapping_sub(codec.step() * 20);
        let (source, sequence, marker) = (u32::from(what >> 7), (*place).into(), what & 8 != 0);
        let heard = Heard { source, sequence, timestamp, marker, sound, payload };
        for playout in &mut playouts {
            playout.push(&heard);
            for _ in 0..(what >> 4) & 3 {
                let length = playout.rate().frame();
                assert!(playout.pull().len() == length, "a frame is not of 20 ms");
            }
        }
        let mut frames = 0;
        recording.on_packet(&heard, |_, _, frame| {
            frames += 1;
            assert!(frame.len() == Rate::Narrow.frame(), "a recorded frame is not of 20 ms");
        });
        assert!(frames <= 60, "one packet makes a second and more");
        for transcoder in &mut transcoders {
            transcoder.push(&heard);
            let mut out = [0; MAX_FRAME];
            assert!(transcoder.next(&mut out).is_some_and(|payload| !payload.is_empty()), "nothing to send");
        }
    }
}

fn leg(now: Now, key: u64, remote: SocketAddr, codec: Codec) -> MediaLeg {
    let mut leg = MediaLeg::new(now, LegKey(key), origin(key));
    leg.connect(Stream { remote_rtcp: control_of(remote), codec, ..Stream::g711(remote) });
    leg
}

/// Near the wrap of both numbers.
fn origin(key: u64) -> Origin {
    Origin { ssrc: key as u32, sequence: 65_530, timestamp: u32::MAX - 800, cname: key }
}

fn caller() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

fn line() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 4000))
}

/// Another host, on the caller's port.
fn stranger() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 4000))
}

fn control_of(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port() + 1)
}

/// Keys: `[time][event][flags][duration…]…` as telephone-event packets of a peer, and the same bytes as sound in which
/// keys are looked for. No press is told that no packet began, none lasts for ever, and none is told twice.
pub fn dtmf(bytes: &[u8]) {
    telephone_events(bytes);
    tones(bytes);
}

fn telephone_events(bytes: &[u8]) {
    let (mut reader, mut keypad) = (KeyReader::default(), Keypad::default());
    let (mut timestamp, mut presses, mut down) = (0u32, 0usize, 0usize);
    // The press that the packet before belongs to, when that was told.
    let mut told = None;
    let clock = if bytes.first().is_some_and(|b| b & 1 == 1) { 48_000 } else { 8000 };
    let other = if clock == 8000 { 48_000 } else { 8000 };
    for packet in bytes.chunks_exact(5) {
        let [time, payload @ ..] = packet else { return };
        // Mostly on, now and then back or far away.
        timestamp = match time {
            0..=199 => timestamp.wrapping_add(u32::from(*time) * 160),
            200..=229 => timestamp.wrapping_sub(u32::from(*time) * 160),
            _ => timestamp.wrapping_add(u32::from(*time) << 24),
        };
        if let Some(KeyNews::Down(key)) = reader.read(1, timestamp, payload) {
            assert!(payload.first().copied().and_then(key_of) == Some(key), "another key than the packet's");
            assert!(told != Some(timestamp), "a press is told twice");
            told = Some(timestamp);
            presses += 1;
        } else if told != Some(timestamp) {
            told = None;
        }
        keypad.follow(1, timestamp, payload, clock);
        down += strokes(&mut keypad, other, timestamp);
    }
    for tick in 0..80_000 {
        if keypad.is_idle() {
            break;
        }
        down += strokes(&mut keypad, other, tick);
    }
    assert!(keypad.is_idle(), "a key that is held for ever");
    assert!(down <= presses, "more presses go out than came in");
}

/// How many presses a tick begins.
fn strokes(keypad: &mut Keypad, clock: u32, timestamp: u32) -> usize {
    let Some(Stroke::Event { packet, .. }) = keypad.next(Some(clock), timestamp) else { return 0 };
    assert!(key_of(packet.payload[0]).is_some(), "something that is no key is sent");
    usize::from(packet.marker)
}

fn tones(bytes: &[u8]) {
    let mut detector = Detector::default();
    let mut down = false;
    // Repeated, so that a few bytes become a tone.
    for byte in bytes.iter().cycle().take(bytes.len() * 4) {
        match detector.on_sample(Law::A.decode(*byte)) {
            Some(Change::Pressed(_)) => down = true,
            Some(Change::Released) => assert!(std::mem::take(&mut down), "a key is up that was not down"),
            None => {}
        }
        assert!(detector.pressed().is_some() == down, "a key that nobody was told of");
    }
}
