//! Keys by RFC 4733, at the clock of the sound beside them: each press exactly once on the way in, with its end
//! repeated on the way out.

use crate::base::quiet::quiet_debug;
use std::time::Duration;

/// Packets of a press a second.
const RATE: u32 = 50;
/// The last packet of a press is sent three times (RFC 4733 2.5.1.4).
const ENDS: u8 = 3;
/// Volume of the keys that we send, in -dBm0.
const VOLUME: u8 = 10;
/// A press beyond this goes on as a new segment (2.5.1.3).
const SEGMENT: u32 = 0xffff;
/// Presses of ours are at least so long (2.5.1.5 and Q.24) and, whatever is asked for, at most so long.
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(30);
/// Without news of a press that another leg has taken, it ends after so many packets of ours (300 ms).
const PATIENCE: u8 = 15;

/// The key of an event number (RFC 4733 3.2).
pub fn key_of(event: u8) -> Option<char> {
    match event {
        0..=9 => Some(char::from(b'0' + event)),
        10 => Some('*'),
        11 => Some('#'),
        12..=15 => Some(char::from(b'A' + event - 12)),
        _ => None,
    }
}

/// The event number of a key.
pub fn event_of(key: char) -> Option<u8> {
    match key.to_ascii_uppercase() {
        digit @ '0'..='9' => Some(digit as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        letter @ 'A'..='D' => Some(letter as u8 - b'A' + 12),
        _ => None,
    }
}

/// What a telephone-event packet says that no packet before it has said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KeyNews {
    Down(char),
    /// The key that went down last is up again, after so many timestamp units.
    Up(u32),
}

/// A key's payload with nothing but key, end, volume and duration (RFC 4733 2.3); other events stay here.
pub fn clean(payload: &[u8]) -> Option<[u8; 4]> {
    let [event, flags, high, low, ..] = *payload else { return None };
    key_of(event)?;
    Some([event, flags & 0xbf, high, low])
}

/// What comes in. All packets of one press bear the timestamp of its beginning (2.5.1.2), so a press is
/// its timestamp, whatever is lost, repeated or overtaken. A press too long for its 16 bits goes on as another
/// segment, which begins where the first one ended (2.5.1.3).
#[derive(Clone, Default)]
pub struct KeyReader {
    /// The source that the timestamps are of: another one counts anew (RFC 3550 5.1).
    source: Option<u32>,
    /// Timestamps of the last presses, the newest first.
    recent: [Option<u32>; 4],
    last: Option<Last>,
}

/// The newest press.
#[derive(Clone, Copy)]
struct Last {
    event: u8,
    timestamp: u32,
    /// Of this segment, and of those before it.
    duration: u16,
    before: u32,
    up: bool,
}

impl KeyReader {
    /// Takes the payload of a telephone-event packet of a source (SSRC). The key when it is a press not seen before.
    pub fn on_packet(&mut self, source: u32, timestamp: u32, payload: &[u8]) -> Option<char> {
        match self.read(source, timestamp, payload) {
            Some(KeyNews::Down(key)) => Some(key),
            Some(KeyNews::Up(_)) | None => None,
        }
    }

    /// The same, and when the key is up again. Of a press whose first packet known is its end, `Down` is told first
    /// and `Up` by the repetitions of the end, or never.
    pub fn read(&mut self, source: u32, timestamp: u32, payload: &[u8]) -> Option<KeyNews> {
        let [event, flags, high, low, ..] = *payload else { return None };
        let (key, duration, ends) = (key_of(event)?, u16::from_be_bytes([high, low]), flags & 0x80 != 0);
        if self.source != Some(source) {
            *self = Self { source: Some(source), ..Self::default() };
        }
        if self.recent.contains(&Some(timestamp)) || self.is_older(timestamp) {
            return self.go_on(event, timestamp, duration, ends);
        }
        let segment = self.last.filter(|last| last.continues(event, timestamp));
        self.recent.rotate_right(1);
        self.recent[0] = Some(timestamp);
        // Of a press without end, whoever sends it, the length stays at its most.
        let before =
            segment.map_or(0, |last| last.before.saturating_add(timestamp.wrapping_sub(last.timestamp)));
        self.last = Some(Last { event, timestamp, duration, before, up: false });
        match segment {
            Some(_) => self.go_on(event, timestamp, duration, ends),
            None => Some(KeyNews::Down(key)),
        }
    }

    /// Another packet of a press that is known.
    fn go_on(&mut self, event: u8, timestamp: u32, duration: u16, ends: bool) -> Option<KeyNews> {
        let last = self.last.as_mut().filter(|l| l.timestamp == timestamp && l.event == event && !l.up)?;
        last.duration = last.duration.max(duration);
        last.up = ends;
        ends.then(|| KeyNews::Up(last.before.saturating_add(last.duration.into())))
    }

    /// A straggler of a press before the last four; timestamps wrap.
    fn is_older(&self, timestamp: u32) -> bool {
        self.recent[3].is_some_and(|oldest| (timestamp.wrapping_sub(oldest) as i32) < 0)
    }
}

impl Last {
    /// Whether a packet is of this press's next segment. The last packets of this one may have been lost, so what
    /// counts is that it was long and has not ended.
    fn continues(&self, event: u8, timestamp: u32) -> bool {
        let distance = timestamp.wrapping_sub(self.timestamp);
        let most = u32::from(self.duration) > SEGMENT / 2;
        self.event == event && !self.up && most && (u32::from(self.duration)..=SEGMENT).contains(&distance)
    }
}

/// One packet of a press to send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPacket {
    pub payload: [u8; 4],
    /// Only the first packet of a press bears the marker (2.5.1.1).
    pub marker: bool,
    /// How far its segment begins after the press.
    pub offset: u32,
}

/// A press that goes out, one packet each 20 ms.
#[derive(Clone)]
pub struct KeyWriter {
    event: u8,
    clock: u32,
    /// Timestamp units of the whole press, once they are known.
    length: Option<u32>,
    elapsed: u32,
    /// Where the present segment begins.
    segment: u32,
    patience: u8,
    ends_left: u8,
}

impl KeyWriter {
    /// A press at a clock of 8000 or 48000; `None` for something that is no key. Without a duration it lasts until
    /// [`Self::finish`].
    pub fn new(key: char, duration: Option<Duration>, clock: u32) -> Option<Self> {
        let length = duration.map(|d| units(d.clamp(SHORTEST, LONGEST), clock));
        let event = event_of(key)?;
        Some(Self { event, clock, length, elapsed: 0, segment: 0, patience: PATIENCE, ends_left: ENDS })
    }

    /// The key is still held down where it was pressed.
    pub fn hold(&mut self) {
        self.patience = PATIENCE;
    }

    /// The key was up after this time where it was pressed.
    pub fn finish(&mut self, after: Duration) {
        let length = units(after.clamp(SHORTEST, LONGEST), self.clock);
        self.length.get_or_insert(length.max(self.elapsed));
    }

    /// Timestamp units of a packet's time.
    pub fn step(&self) -> u32 {
        self.clock / RATE
    }

    /// Timestamp units to go; `u32::MAX` while nobody knows.
    pub fn left(&self) -> u32 {
        self.length.map_or(u32::MAX, |length| length.saturating_sub(self.elapsed))
    }

    /// The next packet; `None` when the press is over.
    pub fn next(&mut self) -> Option<KeyPacket> {
        let marker = self.elapsed == 0;
        self.run_out();
        let length = self.length.unwrap_or(u32::MAX);
        self.elapsed = self.elapsed.saturating_add(self.step()).min(length);
        let (offset, duration) = (self.segment, self.elapsed - self.segment);
        if duration > SEGMENT {
            self.segment += SEGMENT;
            return Some(self.packet(SEGMENT, false, marker, offset));
        }
        let ending = self.elapsed >= length;
        if ending {
            self.ends_left = self.ends_left.checked_sub(1)?;
        }
        Some(self.packet(duration, ending, marker, offset))
    }

    /// Nobody holds it any more.
    fn run_out(&mut self) {
        if self.length.is_some() {
            return;
        }
        self.patience = self.patience.saturating_sub(1);
        if self.patience == 0 || self.elapsed >= units(LONGEST, self.clock) {
            self.length = Some(self.elapsed.max(units(SHORTEST, self.clock)));
        }
    }

    fn packet(&self, duration: u32, ends: bool, marker: bool, offset: u32) -> KeyPacket {
        let [high, low] = (duration as u16).to_be_bytes();
        let end = if ends { 0x80 } else { 0 };
        KeyPacket { payload: [self.event, end | VOLUME, high, low], marker, offset }
    }
}

/// Timestamp units of a time.
fn units(time: Duration, clock: u32) -> u32 {
    (time.as_millis() as u32).saturating_mul(clock / 1000)
}

quiet_debug!(
    KeyNews => "KeyNews", KeyReader => "KeyReader", KeyPacket => "KeyPacket", KeyWriter => "KeyWriter"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Rng;

    const MILLI: Duration = Duration::from_millis(1);

    fn packets(key: char, millis: u32, clock: u32) -> Vec<KeyPacket> {
        let mut writer = KeyWriter::new(key, Some(MILLI * millis), clock).expect("a key");
        std::iter::from_fn(|| writer.next()).collect()
    }

    fn press(key: char) -> Vec<[u8; 4]> {
        packets(key, 100, 8000).into_iter().map(|p| p.payload).collect()
    }

    fn duration(packet: &KeyPacket) -> u32 {
        u16::from_be_bytes([packet.payload[2], packet.payload[3]]).into()
    }

    fn is_end(packet: &KeyPacket) -> bool {
        packet.payload[1] & 0x80 != 0
    }

    #[test]
    fn rfc4733_2_5_1_a_press_of_100_ms_at_both_clocks() {
        for (clock, step) in [(8000, 160), (48_000, 960)] {
            let packets = packets('5', 100, clock);
            let durations: Vec<u32> = packets.iter().map(|p| duration(p) / step).collect();
            assert_eq!(durations, [1, 2, 3, 4, 5, 5, 5]);
            let ends: Vec<bool> = packets.iter().map(is_end).collect();
            assert_eq!(ends, [false, false, false, false, true, true, true]);
            assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
            assert!(packets.iter().all(|p| (p.payload[0], p.payload[1] & 0x3f, p.offset) == (5, VOLUME, 0)));
        }
    }

    #[test]
    fn a_press_of_segments_without_end_is_one_press_and_its_length_stays_at_its_most() {
        let mut reader = KeyReader::default();
        let payload = |flags| [5, flags, 0xff, 0xff];
        assert!(reader.read(1, 0, &payload(10)) == Some(KeyNews::Down('5')));
        let mut timestamp = 0u32;
        for _ in 0..70_000 {
            timestamp = timestamp.wrapping_add(SEGMENT);
            assert!(reader.read(1, timestamp, &payload(10)).is_none());
        }
        assert!(reader.read(1, timestamp, &payload(0x8a)) == Some(KeyNews::Up(u32::MAX)));
    }

    #[test]
    fn rfc4733_2_5_1_3_a_press_too_long_for_sixteen_bits_is_sent_in_segments_and_heard_once() {
        for (clock, millis, segments) in [(8000, 20_000, 3), (48_000, 5000, 4)] {
            let packets = packets('7', millis, clock);
            let mut begins: Vec<u32> = packets.iter().map(|p| p.offset).collect();
            begins.dedup();
            let expected: Vec<u32> = (0..segments).map(|n| n * SEGMENT).collect();
            assert_eq!(begins, expected);
            assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
            assert_eq!(packets.iter().filter(|p| is_end(p)).count(), 3, "only the last segment ends");
            let last = packets.last().expect("packets");
            assert_eq!(last.offset + duration(last), millis * (clock / 1000));
            for lost in 0..200 {
                let mut rng = Rng::from_number(lost);
                let mut reader = KeyReader::default();
                let begin = u32::MAX - 70_000;
                let heard: Vec<KeyNews> = packets
                    .iter()
                    .filter(|p| is_end(p) || rng.below(100) >= 20)
                    .filter_map(|p| reader.read(1, begin.wrapping_add(p.offset), &p.payload))
                    .collect();
                assert!(
                    heard == [KeyNews::Down('7'), KeyNews::Up(millis * (clock / 1000))],
                    "{clock} {lost}"
                );
            }
        }
    }

    #[test]
    fn the_same_key_pressed_again_is_no_segment_of_the_press_before_whose_end_was_lost() {
        let mut reader = KeyReader::default();
        for n in 0..20u32 {
            // 1.3 s apart at 48 kHz: as far as a segment would be.
            let heard = reader.read(1, n * 62_400, &packets('3', 200, 48_000)[0].payload);
            assert!(heard == Some(KeyNews::Down('3')), "press {n}");
        }
    }

    #[test]
    fn a_press_held_elsewhere_lasts_until_its_end_is_known_or_no_news_come() {
        let mut writer = KeyWriter::new('1', None, 48_000).expect("a key");
        for _ in 0..100 {
            assert!(writer.next().is_some_and(|p| !is_end(&p)));
            writer.hold();
        }
        writer.finish(MILLI * 2100);
        let rest: Vec<KeyPacket> = std::iter::from_fn(|| writer.next()).collect();
        let ends: Vec<u32> = rest.iter().filter(|p| is_end(p)).map(|p| p.offset + duration(p)).collect();
        assert_eq!((ends, rest.len()), (vec![2100 * 48; 3], 7));
        let mut left = KeyWriter::new('1', None, 8000).expect("a key");
        let alone: Vec<KeyPacket> = std::iter::from_fn(|| left.next()).collect();
        assert_eq!(alone.len(), usize::from(PATIENCE) + 2, "it ends by itself");
        let mut stuck = KeyWriter::new('1', None, 8000).expect("a key");
        let count = std::iter::from_fn(|| {
            stuck.hold();
            stuck.next()
        });
        assert!(count.count() < 1510, "nobody holds a key for ever");
    }

    #[test]
    fn all_sixteen_keys_there_and_back() {
        for key in "0123456789*#ABCD".chars() {
            assert_eq!(event_of(key).and_then(key_of), Some(key));
            assert_eq!(KeyReader::default().on_packet(1, 7, &press(key)[0]), Some(key));
        }
        assert_eq!((key_of(16), event_of('x')), (None, None));
        assert_eq!(KeyReader::default().on_packet(1, 7, &[5, 0, 0]), None, "too short");
    }

    #[test]
    fn rfc3550_5_1_a_new_source_has_a_clock_of_its_own_and_its_keys_are_heard() {
        let mut reader = KeyReader::default();
        let mut hear = |source, timestamp, key| reader.on_packet(source, timestamp, &press(key)[0]);
        for n in 0..5 {
            assert_eq!(hear(1, 3_000_000_000 + n * 2400, '5'), Some('5'));
        }
        assert_eq!(hear(1, 2_999_990_000, '5'), None, "a straggler");
        for n in 0..5 {
            assert_eq!(hear(2, 1_000_000_000 + n * 2400, '7'), Some('7'), "press {n} of the new source");
        }
    }

    #[test]
    fn each_key_exactly_once_under_loss_duplicates_and_reordering_at_both_clocks() {
        for seed in 0..400 {
            let mut rng = Rng::from_number(seed);
            let clock = if seed % 2 == 0 { 8000 } else { 48_000 };
            let mut sent: Vec<(u64, u32, [u8; 4])> = Vec::new();
            for n in 0..10u32 {
                let key = key_of(n as u8).expect("a key");
                let begin = (u32::MAX - clock).wrapping_add(n * 300 * (clock / 1000)); // wraps on the way
                for (index, packet) in packets(key, 100, clock).into_iter().enumerate() {
                    let at = u64::from(n) * 300 + index as u64 * 20;
                    // At most six of the seven packets are lost: a press that is lost whole was not made.
                    if index > 0 && rng.below(100) < 20 {
                        continue;
                    }
                    for _ in 0..=rng.below(2) {
                        sent.push((at + rng.below(150), begin, packet.payload));
                    }
                }
            }
            sent.sort_by_key(|(at, ..)| *at);
            let mut reader = KeyReader::default();
            let news: Vec<KeyNews> = sent.iter().filter_map(|(_, t, p)| reader.read(1, *t, p)).collect();
            let heard: String = news
                .iter()
                .filter_map(|n| if let KeyNews::Down(key) = n { Some(*key) } else { None })
                .collect();
            assert_eq!(heard, "0123456789", "seed {seed}");
            assert!(news.len() - heard.len() <= 10, "no key is up more often than down");
        }
    }
}
