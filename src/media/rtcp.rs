//! RTCP (RFC 3550 6): sender and receiver reports with our own CNAME and nothing else of SDES, BYE at the
//! end, and a bounded reading of the peer's. What a peer reports is used here and never passed on.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::command::Origin;
use super::rtp::{Sender, Source};

/// A compound packet of ours is at most this long: SR with one block, SDES, BYE.
pub const MAX_REPORT: usize = 28 + 24 + 28 + 8;
/// At most so many packets of one compound are looked at; what follows is ignored.
const MAX_PACKETS: usize = 16;

/// A round trip of more than ten seconds, in 1/65536 s, is a mistake of the peer's.
const LONGEST_TRIP: u32 = 10 << 16;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;

/// Whether a datagram on the RTP port is RTCP (RFC 5761 4).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
}

/// What is taken from a peer's compound packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Middle 32 bits of the NTP time of its sender report, to be echoed as LSR.
    pub sent_at: Option<u32>,
    /// What it says of our stream.
    pub about_us: Option<Block>,
    pub bye: bool,
}

/// One report block (6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// Of 256.
    pub fraction_lost: u8,
    pub lost: i32,
    pub jitter: u32,
    /// `last_report` and `delay` give the round trip time.
    pub last_report: u32,
    pub delay: u32,
}

/// Reads a compound packet; `None` when it is none (6.1, A.2). `ours` is our SSRC on this leg.
pub fn read(bytes: &[u8], ours: u32) -> Option<Report> {
    let mut report = Report::default();
    let mut rest = bytes;
    for index in 0..MAX_PACKETS {
        if rest.is_empty() {
            return (index > 0).then_some(report);
        }
        let (kind, count, body, after) = split(rest)?;
        // The first packet of a compound is a report.
        if index == 0 && kind != SR && kind != RR {
            return None;
        }
        match kind {
            SR => {
                report.sent_at = Some(word(body, 6)?);
                read_blocks(body.get(24..)?, count, ours, &mut report);
            }
            RR => read_blocks(body.get(4..)?, count, ours, &mut report),
            BYE => report.bye = true,
            _ => {}
        }
        rest = after;
    }
    // What is not looked at is not believed either: the whole must add up (A.2).
    rest.is_empty().then_some(report)
}

/// Type, count, body without the first word, and what follows.
fn split(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let [first, kind, high, low, ..] = *bytes else { return None };
    let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
    let (packet, after) = bytes.split_at_checked(length)?;
    (first >> 6 == 2).then_some((kind, first & 0x1f, packet.get(4..)?, after))
}

fn read_blocks(bytes: &[u8], count: u8, ours: u32, report: &mut Report) {
    for block in bytes.chunks_exact(24).take(count.into()) {
        let words = [word(block, 0), word(block, 4), word(block, 12), word(block, 16), word(block, 20)];
        let [Some(ssrc), Some(loss), Some(jitter), Some(last_report), Some(delay)] = words else { continue };
        if ssrc == ours {
            let fraction_lost = (loss >> 24) as u8;
            // 24 bits with a sign.
            let lost = (loss << 8) as i32 >> 8;
            report.about_us = Some(Block { fraction_lost, lost, jitter, last_report, delay });
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

/// Our side of one leg's RTCP.
#[derive(Debug, Clone)]
pub struct Reporter {
    ssrc: u32,
    cname: [u8; 16],
    /// The peer's last sender report and when it came, both in units of 1/65536 s.
    heard: Option<(u32, u32)>,
    /// Expected and received at the last report, for the fraction lost (A.3).
    before: (u64, u64),
    /// Packets that we had sent at the last report, and at the one before.
    sent_before: [u64; 2],
    round_trip: Option<Duration>,
}

impl Reporter {
    pub fn new(origin: Origin) -> Self {
        let mut cname = [0; 16];
        for (index, digit) in cname.iter_mut().enumerate() {
            let nibble = (origin.cname >> (60 - 4 * index)) as u8 & 0x0f;
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        Self { ssrc: origin.ssrc, cname, heard: None, before: (0, 0), sent_before: [0; 2], round_trip: None }
    }

    /// Remembers what our next report must answer.
    pub fn on_report(&mut self, report: &Report, utc: DateTime<Utc>) {
        if let Some(sent_at) = report.sent_at {
            self.heard = Some((sent_at, middle(ntp(utc))));
        }
        let echo = report.about_us.filter(|block| block.last_report != 0);
        if let Some(Block { last_report, delay, .. }) = echo {
            // 6.4.1: now, less when our report went out, less how long the peer kept it; in 1/65536 s.
            let units = middle(ntp(utc)).wrapping_sub(last_report).wrapping_sub(delay);
            if units < LONGEST_TRIP {
                self.round_trip = Some(Duration::from_micros(u64::from(units) * 1_000_000 / 65_536));
            }
        }
    }

    /// The last that was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Writes the compound packet that is due: SR when something was sent since the last but one (6.4), else RR; then
    /// SDES with CNAME only; then BYE when it is the last. Gives its length.
    pub fn write(
        &mut self,
        out: &mut [u8; MAX_REPORT],
        utc: DateTime<Utc>,
        timestamp: u32,
        sender: &Sender,
        source: &Source,
        last: bool,
    ) -> usize {
        let mut writer = Writer { out, at: 0 };
        let (sent, octets) = sender.counts();
        let block = self.block(source, utc);
        let blocks = u8::from(block.is_some());
        let [last_time, before_that] = self.sent_before;
        self.sent_before = [sent, last_time];
        if sent > before_that {
            writer.header(blocks, SR, 6 + u16::from(blocks) * 6);
            let time = ntp(utc);
            let words = [self.ssrc, (time >> 32) as u32, time as u32, timestamp, sent as u32, octets as u32];
            words.into_iter().for_each(|w| writer.word(w));
        } else {
            writer.header(blocks, RR, 1 + u16::from(blocks) * 6);
            writer.word(self.ssrc);
        }
        block.into_iter().flatten().for_each(|w| writer.word(w));
        // One chunk: SSRC, CNAME item of 16 characters, two null octets to the word's end.
        writer.header(1, SDES, 6);
        writer.word(self.ssrc);
        writer.bytes(&[1, 16]);
        writer.bytes(&self.cname);
        writer.bytes(&[0, 0]);
        if last {
            writer.header(1, BYE, 1);
            writer.word(self.ssrc);
        }
        writer.at
    }

    /// The block about the peer's stream; `None` before its first packet.
    fn block(&mut self, source: &Source, utc: DateTime<Utc>) -> Option<[u32; 6]> {
        let (ssrc, highest) = source.highest()?;
        let (lost, received) = (source.lost(), source.received());
        let expected = lost + received;
        let new_expected = expected.saturating_sub(self.before.0);
        let new_lost = new_expected.saturating_sub(received.saturating_sub(self.before.1));
        self.before = (expected, received);
        let fraction = (new_lost * 256).checked_div(new_expected).unwrap_or(0).min(255) as u32;
        let (last_report, delay) =
            self.heard.map_or((0, 0), |(theirs, at)| (theirs, middle(ntp(utc)).wrapping_sub(at)));
        let loss = fraction << 24 | lost.min(0x7f_ffff) as u32;
        Some([ssrc, loss, highest, source.jitter(), last_report, delay])
    }
}

/// NTP time: seconds since 1900 and their fraction (RFC 3550 4).
fn ntp(utc: DateTime<Utc>) -> u64 {
    let seconds = utc.timestamp().wrapping_add(2_208_988_800) as u64;
    let fraction = (u64::from(utc.timestamp_subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction.min(u64::from(u32::MAX))
}

fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_REPORT],
    at: usize,
}

impl Writer<'_> {
    fn header(&mut self, count: u8, kind: u8, words: u16) {
        let [high, low] = words.to_be_bytes();
        self.bytes(&[0x80 | count, kind, high, low]);
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp;

    const ORIGIN: Origin =
        Origin { ssrc: 0x0102_0304, sequence: 1, timestamp: 2, cname: 0xabc0_1234_5678_9def };

    fn utc(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 500_000_000).expect("a time")
    }

    fn heard(ssrc: u32, sequences: &[u16]) -> Source {
        let mut source = Source::default();
        for sequence in sequences {
            let packet = rtp::Packet {
                ssrc,
                sequence: *sequence,
                timestamp: u32::from(*sequence) * 160,
                marker: false,
                payload_type: 8,
                payload: &[0; 160],
            };
            source.on_packet(&packet, u32::from(*sequence) * 160);
        }
        source
    }

    #[test]
    fn rfc3550_a_2_a_compound_is_read_to_its_end_or_not_at_all() {
        let receiver_report = [0x80, RR, 0, 1, 0, 0, 0, 9];
        for (packets, more, is_read) in [
            (1, 0, true),
            (MAX_PACKETS, 0, true),
            (MAX_PACKETS + 1, 0, false),
            (1, 3, false),
            (MAX_PACKETS, 3, false),
        ] {
            let bytes = [receiver_report.repeat(packets), vec![0x80; more]].concat();
            assert_eq!(read(&bytes, 1).is_some(), is_read, "{packets} packets and {more} octets");
        }
    }

    #[test]
    fn rfc3550_6_4_1_a_report_of_one_who_sends_and_hears() {
        let (mut out, mut bytes) = ([0; MAX_REPORT], [0; 200]);
        let mut sender = Sender::new(ORIGIN);
        sender.write(&mut bytes, 8, &[0; 160], 160);
        let mut reporter = Reporter::new(ORIGIN);
        let theirs = Report { sent_at: Some(0xaabb_ccdd), ..Report::default() };
        reporter.on_report(&theirs, utc(100));
        let source = heard(77, &[10, 11, 13]);
        let length = reporter.write(&mut out, utc(102), 5, &sender, &source, true);
        assert_eq!(length, MAX_REPORT);
        let w = |n: usize| word(&out, n * 4).expect("inside");
        assert_eq!((w(0), w(1)), (0x81c8_000c, ORIGIN.ssrc));
        assert_eq!((w(2), w(3)), (102 + 2_208_988_800, 0x8000_0000));
        assert_eq!((w(4), w(5), w(6)), (5, 1, 160));
        // One of four expected was lost: a quarter of 256.
        assert_eq!((w(7), w(8), w(9)), (77, 64 << 24 | 1, 65_536 + 13));
        assert_eq!((w(11), w(12)), (0xaabb_ccdd, 2 << 16));
        assert_eq!((w(13), w(14)), (0x81ca_0006, ORIGIN.ssrc));
        assert_eq!(&out[60..78], b"\x01\x10abc0123456789def");
        assert_eq!((w(20), w(21)), (0x81cb_0001, ORIGIN.ssrc));
    }

    #[test]
    fn who_sends_nothing_makes_a_receiver_report_and_the_fraction_is_of_the_interval() {
        let mut out = [0; MAX_REPORT];
        let sender = Sender::new(ORIGIN);
        let mut reporter = Reporter::new(ORIGIN);
        let length = reporter.write(&mut out, utc(1), 5, &sender, &Source::default(), false);
        assert_eq!((out[0], out[1], length), (0x80, RR, 8 + 28));
        let source = heard(77, &[10, 12]);
        reporter.write(&mut out, utc(6), 5, &sender, &source, false);
        assert_eq!(out[12], 85, "one of three");
        reporter.write(&mut out, utc(11), 5, &sender, &source, false);
        assert_eq!(out[12], 0, "none since");
    }

    #[test]
    fn rfc3550_6_4_who_stops_sending_is_a_sender_for_one_more_report() {
        let (mut out, mut bytes) = ([0; MAX_REPORT], [0; 200]);
        let mut sender = Sender::new(ORIGIN);
        let mut reporter = Reporter::new(ORIGIN);
        let mut kinds = Vec::new();
        for (second, sends) in [false, true, false, false, true, false, false].into_iter().enumerate() {
            if sends {
                sender.write(&mut bytes, 8, &[0; 160], 160);
            }
            reporter.write(&mut out, utc(second as i64), 5, &sender, &Source::default(), false);
            kinds.push(out[1]);
        }
        assert_eq!(kinds, [RR, SR, SR, RR, SR, SR, RR]);
    }

    #[test]
    fn what_we_write_is_what_a_peer_reads() {
        let (mut out, mut bytes) = ([0; MAX_REPORT], [0; 200]);
        let mut sender = Sender::new(ORIGIN);
        sender.write(&mut bytes, 8, &[0; 160], 160);
        let mut reporter = Reporter::new(ORIGIN);
        let source = heard(77, &[10, 11, 13]);
        let length = reporter.write(&mut out, utc(1), 5, &sender, &source, true);
        let report = read(&out[..length], 77).expect("a compound");
        let block = Block { fraction_lost: 64, lost: 1, ..Block::default() };
        assert_eq!(report.about_us, Some(block));
        assert!(report.bye && report.sent_at.is_some());
        assert_eq!(read(&out[..length], 78).and_then(|r| r.about_us), None);
        assert_eq!(read(&out[..length - 1], 77), None, "cut short");
        assert!(is_rtcp(&out) && !is_rtcp(&bytes) && !is_rtcp(&[0x80]));
    }

    #[test]
    fn rfc3550_6_4_1_the_round_trip_is_what_is_left_of_the_echo() {
        let mut reporter = Reporter::new(ORIGIN);
        let echo = |last_report, delay| Report {
            about_us: Some(Block { last_report, delay, ..Block::default() }),
            ..Report::default()
        };
        reporter.on_report(&echo(0, 0), utc(100));
        assert_eq!(reporter.round_trip(), None, "it has heard no report of ours");
        let sent = middle(ntp(utc(100)));
        // Kept for two seconds, and three on the whole.
        reporter.on_report(&echo(sent, 2 << 16), utc(103));
        assert_eq!(reporter.round_trip(), Some(Duration::from_secs(1)));
        reporter.on_report(&echo(sent, 9 << 16), utc(103));
        assert_eq!(reporter.round_trip(), Some(Duration::from_secs(1)), "a delay that can't be");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), kind in 198u8..206) {
            let mut bytes = bytes;
            if let [first, second, high, ..] = &mut bytes[..] {
                (*first, *second, *high) = (*first & 0x3f | 0x80, kind, 0);
            }
            let _ = read(&bytes, 7);
        }
    }
}
