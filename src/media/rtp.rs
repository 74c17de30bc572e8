//! RTP packets (RFC 3550 5): reading with `rtp-rs`, writing in place, source validation (A.1), loss (A.3)
//! and re-origination. Nothing of a peer's header is ever copied to the other side but marker and payload.

use std::time::Duration;

use rtp_rs::RtpReader;

use super::command::Origin;
use crate::base::quiet::quiet_debug;

/// Bytes of the header that we write: no CSRC, no extension.
pub const HEADER: usize = 12;
/// Largest payload that is taken; 60 ms of G.711 and some room.
pub const MAX_PAYLOAD: usize = 1400;

/// RFC 3550 A.1.
const MAX_DROPOUT: u16 = 3000;
const MAX_MISORDER: u16 = 100;
const MIN_SEQUENTIAL: u8 = 2;

/// Timestamp units of a clock.
pub fn units(time: Duration, clock: u32) -> u32 {
    u32::try_from(time.as_micros() * u128::from(clock) / 1_000_000).unwrap_or(u32::MAX)
}

/// What was read of a packet: just what may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    /// Without padding, extension and CSRC.
    pub payload: &'a [u8],
}

/// Reads a packet; `None` when it is none.
pub fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let reader = RtpReader::new(bytes).ok()?;
    let payload = reader.payload();
    (payload.len() <= MAX_PAYLOAD).then_some(Packet {
        ssrc: reader.ssrc(),
        sequence: reader.sequence_number().into(),
        timestamp: reader.timestamp(),
        marker: reader.mark(),
        payload_type: reader.payload_type(),
        payload,
    })
}

/// What to do with a packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In order, or the first.
    Fresh,
    /// Late but within bounds: relay it, the far end reorders.
    Late,
    /// Seen before.
    Duplicate,
    /// A jump that a second packet has not confirmed yet.
    Suspect,
}

/// Sequence numbers of one source (RFC 3550 A.1) and what follows from them.
#[derive(Clone, Default)]
pub struct Source {
    state: Option<Sequence>,
    received: u64,
    late: u64,
    /// Loss of earlier sources on this stream.
    lost_before: u64,
    jitter_16: u32,
    last_transit: Option<u32>,
}

#[derive(Clone, Copy)]
struct Sequence {
    ssrc: u32,
    base: u64,
    highest: u64,
    /// Bit n: `highest - n` has been seen.
    seen: u64,
    received: u64,
    suspect: Option<(u16, u8)>,
}

impl Source {
    /// Judges a packet that came at `arrival`, in timestamp units of our clock.
    pub fn on_packet(&mut self, packet: &Packet<'_>, arrival: u32) -> Arrival {
        let verdict = match &mut self.state {
            Some(sequence) if sequence.ssrc == packet.ssrc => sequence.update(packet.sequence),
            _ => {
                self.restart(packet);
                Arrival::Fresh
            }
        };
        match verdict {
            Arrival::Fresh => self.measure_jitter(packet.timestamp, arrival),
            Arrival::Late => self.late += 1,
            Arrival::Duplicate | Arrival::Suspect => return verdict,
        }
        self.received += 1;
        verdict
    }

    /// Expected less received (A.3).
    pub fn lost(&self) -> u64 {
        self.lost_before + self.state.map_or(0, |s| s.lost())
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn late(&self) -> u64 {
        self.late
    }

    /// Interarrival jitter in timestamp units (6.4.1).
    pub fn jitter(&self) -> u32 {
        self.jitter_16 >> 4
    }

    /// The peer's SSRC and its highest extended sequence number, for a receiver report.
    pub fn highest(&self) -> Option<(u32, u32)> {
        self.state.map(|s| (s.ssrc, s.highest as u32))
    }

    fn restart(&mut self, packet: &Packet<'_>) {
        self.lost_before += self.state.map_or(0, |s| s.lost());
        let first = u64::from(packet.sequence) + (1 << 16);
        self.state = Some(Sequence {
            ssrc: packet.ssrc,
            base: first,
            highest: first,
            seen: 1,
            received: 1,
            suspect: None,
        });
        self.last_transit = None;
    }

    fn measure_jitter(&mut self, timestamp: u32, arrival: u32) {
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.last_transit {
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            if difference < 80_000 {
                self.jitter_16 = self.jitter_16 + difference - ((self.jitter_16 + 8) >> 4);
            }
        }
        self.last_transit = Some(transit);
    }
}

impl Sequence {
    fn update(&mut self, sequence: u16) -> Arrival {
        let step = sequence.wrapping_sub(self.highest as u16);
        if step == 0 {
            return Arrival::Duplicate;
        }
        if step < MAX_DROPOUT {
            self.highest += u64::from(step);
            self.seen = if step < 64 { self.seen << step | 1 } else { 1 };
            self.suspect = None;
            self.received += 1;
            return Arrival::Fresh;
        }
        let back = step.wrapping_neg();
        if back > MAX_MISORDER {
            return self.jump(sequence);
        }
        if back >= 64 || self.seen & (1 << back) != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= 1 << back;
        self.received += 1;
        Arrival::Late
    }

    /// A large jump is believed when the packet after it comes too: the peer has restarted.
    fn jump(&mut self, sequence: u16) -> Arrival {
        let count = match self.suspect {
            Some((next, count)) if next == sequence => count + 1,
            _ => 1,
        };
        if count < MIN_SEQUENTIAL {
            self.suspect = Some((sequence.wrapping_add(1), count));
            return Arrival::Suspect;
        }
        let first = u64::from(sequence) + (1 << 16);
        let (ssrc, lost) = (self.ssrc, self.lost());
        // The loss so far is kept as the distance between `base` and `highest`.
        let base = first.saturating_sub(lost);
        *self = Self { ssrc, base, highest: first, seen: 1, received: 1, suspect: None };
        Arrival::Fresh
    }

    fn lost(&self) -> u64 {
        (self.highest + 1 - self.base).saturating_sub(self.received)
    }
}

/// Our own stream on one leg: SSRC, sequence numbers and timestamps run on across prompt, music and person.
#[derive(Clone)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// Relayed streams: the source's timestamp that stands for ours.
    relayed: Option<(u32, u32, u32)>,
    mark_next: bool,
    sent: u64,
    octets: u64,
}

impl Sender {
    pub fn new(origin: Origin) -> Self {
        Self {
            ssrc: origin.ssrc,
            sequence: origin.sequence,
            timestamp: origin.timestamp,
            relayed: None,
            mark_next: true,
            sent: 0,
            octets: 0,
        }
    }

    /// Time goes on although nothing is sent; the next packet begins a talk spurt and is marked.
    pub fn pass(&mut self, units: u32) {
        self.timestamp = self.timestamp.wrapping_add(units);
        self.mark_next = true;
        self.relayed = None;
    }

    /// The next packet begins something new to hear: it bears the marker bit.
    pub fn mark(&mut self) {
        self.mark_next = true;
    }

    /// Whether a packet goes on where the last one relayed left off: of the same source, nothing of our own in between,
    /// and within a second of where it can be `pause` units later. Phones begin their timestamps anew after a hold.
    pub fn goes_on(&self, source: u32, timestamp: u32, pause: u32, second: u32) -> bool {
        let Some((ssrc, theirs, ours)) = self.relayed else { return false };
        let step = ours.wrapping_add(timestamp.wrapping_sub(theirs)).wrapping_sub(self.timestamp) as i32;
        let latest = i64::from(pause) + i64::from(second);
        ssrc == source && (-i64::from(second)..=latest).contains(&i64::from(step))
    }

    /// The next packet relayed follows what was sent last, whatever its numbers are.
    pub fn begin(&mut self) {
        self.relayed = None;
        self.mark_next = true;
    }

    /// Whether the last packet relayed came from another source, and nothing of our own followed.
    pub fn relays_another(&self, ssrc: u32) -> bool {
        self.relayed.is_some_and(|anchor| anchor.0 != ssrc)
    }

    /// Writes a packet of our own making (a prompt, music) and moves on by the timestamp units that it lasts.
    /// `None` when `out` is too small.
    pub fn write<'a>(
        &mut self,
        out: &'a mut [u8],
        payload_type: u8,
        payload: &[u8],
        units: u32,
    ) -> Option<&'a [u8]> {
        self.relayed = None;
        let marker = std::mem::take(&mut self.mark_next);
        let timestamp = self.timestamp;
        let bytes = self.put(out, payload_type, marker, timestamp, payload)?;
        self.timestamp = timestamp.wrapping_add(units);
        Some(bytes)
    }

    /// Writes a packet that relays another leg's, which lasts so many units: the distance between its packets is
    /// kept, its numbers are not.
    pub fn relay<'a>(
        &mut self,
        out: &'a mut [u8],
        payload_type: u8,
        from: &Packet<'_>,
        units: u32,
    ) -> Option<&'a [u8]> {
        let marker = std::mem::take(&mut self.mark_next) || from.marker;
        let (_, theirs, ours) = match self.relayed {
            Some(anchor) if anchor.0 == from.ssrc => anchor,
            _ => (from.ssrc, from.timestamp, self.timestamp),
        };
        let timestamp = ours.wrapping_add(from.timestamp.wrapping_sub(theirs));
        self.relayed = Some((from.ssrc, theirs, ours));
        let bytes = self.put(out, payload_type, marker, timestamp, from.payload)?;
        let next = timestamp.wrapping_add(units);
        if (next.wrapping_sub(self.timestamp) as i32) > 0 {
            self.timestamp = next;
        }
        Some(bytes)
    }

    /// Writes one packet of a key press; all of a press bear its first timestamp (RFC 4733 2.5.1.2).
    pub fn write_event<'a>(
        &mut self,
        out: &'a mut [u8],
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) -> Option<&'a [u8]> {
        self.put(out, payload_type, marker, timestamp, payload)
    }

    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets and payload bytes so far, for a sender report.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.octets)
    }

    fn put<'a>(
        &mut self,
        out: &'a mut [u8],
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) -> Option<&'a [u8]> {
        let packet = out.get_mut(..HEADER + payload.len())?;
        let (header, body) = packet.split_at_mut_checked(HEADER)?;
        let [s1, s2] = self.sequence.to_be_bytes();
        let [t1, t2, t3, t4] = timestamp.to_be_bytes();
        let [c1, c2, c3, c4] = self.ssrc.to_be_bytes();
        let second = u8::from(marker) << 7 | (payload_type & 0x7f);
        header.copy_from_slice(&[0x80, second, s1, s2, t1, t2, t3, t4, c1, c2, c3, c4]);
        body.copy_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.sent += 1;
        self.octets += payload.len() as u64;
        Some(packet)
    }
}

quiet_debug!(Packet<'_> => "Packet", Source => "Source", Sender => "Sender");

#[cfg(test)]
mod tests {
    use super::Arrival::{Duplicate, Fresh, Late, Suspect};
    use super::*;

    const ORIGIN: Origin = Origin { ssrc: 7, sequence: 65_534, timestamp: u32::MAX - 100, cname: 1 };

    fn packet(ssrc: u32, sequence: u16) -> Packet<'static> {
        Packet {
            ssrc,
            sequence,
            timestamp: u32::from(sequence) * 160,
            marker: false,
            payload_type: 8,
            payload: &[0xd5; 160],
        }
    }

    #[test]
    fn what_is_written_is_read_with_header_extension_csrc_and_padding_left_out() {
        let mut out = [0; 1500];
        let mut sender = Sender::new(ORIGIN);
        let bytes = sender.write(&mut out, 8, &[1, 2, 3], 3).expect("it fits").to_vec();
        let read_back = read(&bytes).expect("a packet");
        assert_eq!((read_back.ssrc, read_back.sequence, read_back.marker), (7, 65_534, true));
        assert_eq!(read_back.payload, [1, 2, 3]);
        let mut rich = vec![0xb1, 0x08, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 99]; // P, X, one CSRC
        rich.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 42, 43, 0, 0, 3]);
        let rich = read(&rich).expect("a packet");
        assert_eq!((rich.ssrc, rich.payload), (5, &[42u8, 43][..]));
        for junk in [&[][..], &[0x80; 11], &[0x40; 20], b"GET / HTTP/1.0\r\n\r\n"] {
            assert_eq!(read(junk), None);
        }
    }

    #[test]
    fn sequence_and_timestamp_run_on_across_prompt_person_and_wrap() {
        let mut out = [0; 1500];
        let mut sender = Sender::new(ORIGIN);
        let mut seen = Vec::new();
        let mut note = |bytes: Option<&[u8]>| {
            let p = read(bytes.expect("it fits")).expect("a packet");
            seen.push((p.sequence, p.timestamp.wrapping_sub(ORIGIN.timestamp), p.marker));
        };
        note(sender.write(&mut out, 8, &[0; 160], 160));
        note(sender.write(&mut out, 8, &[0; 160], 160));
        note(sender.relay(&mut out, 8, &packet(1, 100), 160));
        note(sender.relay(&mut out, 8, &packet(1, 102), 160));
        note(sender.relay(&mut out, 8, &packet(1, 101), 160));
        note(sender.relay(&mut out, 8, &packet(2, 5000), 160));
        sender.pass(800);
        note(sender.write(&mut out, 8, &[0; 160], 160));
        assert_eq!(
            seen,
            [
                (65_534, 0, true),
                (65_535, 160, false),
                (0, 320, false),
                (1, 640, false),
                (2, 480, false),
                (3, 800, false),
                (4, 1760, true)
            ]
        );
    }

    #[test]
    fn rfc3550_a1_a3_loss_lateness_duplicates_and_wrap() {
        let mut source = Source::default();
        let verdicts: Vec<Arrival> =
            [65_533, 65_534, 1, 65_535, 65_535, 2, 2, 0].map(|s| source.on_packet(&packet(9, s), 0)).to_vec();
        assert_eq!(verdicts, [Fresh, Fresh, Fresh, Late, Duplicate, Fresh, Duplicate, Late]);
        assert_eq!((source.received(), source.lost(), source.late()), (6, 0, 2));
        source.on_packet(&packet(9, 12), 0);
        assert_eq!(source.lost(), 9);
        source.on_packet(&packet(10, 40_000), 0);
        assert_eq!(source.lost(), 9, "a new source is no loss");
    }

    #[test]
    fn a_jump_is_believed_at_the_second_packet() {
        let mut source = Source::default();
        let verdicts =
            [10, 11, 30_000, 12, 40_000, 40_001, 40_002].map(|s| source.on_packet(&packet(9, s), 0));
        assert_eq!(verdicts, [Fresh, Fresh, Suspect, Fresh, Suspect, Fresh, Fresh]);
        assert_eq!(source.lost(), 0);
    }

    #[test]
    fn rfc3550_6_4_1_jitter_of_a_steady_and_an_unsteady_stream() {
        let (mut steady, mut shaky) = (Source::default(), Source::default());
        for n in 0..500u16 {
            steady.on_packet(&packet(1, n), u32::from(n) * 160 + 5);
            shaky.on_packet(&packet(1, n), u32::from(n) * 160 + u32::from(n % 2) * 80);
        }
        assert_eq!(steady.jitter(), 0);
        assert!((70..=80).contains(&shaky.jitter()), "{}", shaky.jitter());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = read(&bytes);
        }
    }
}
