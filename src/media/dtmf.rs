//! Keys by RFC 4733: each press exactly once on the way in, with its end repeated on the way out.

use crate::base::quiet::quiet_debug;
use std::time::Duration;

/// Timestamp units of a 20 ms packet at 8 kHz.
const STEP: u16 = 160;
/// The last packet of a press is sent three times (RFC 4733 2.5.1.4).
const ENDS: u8 = 3;
/// Volume of the keys that we send, in -dBm0.
const VOLUME: u8 = 10;

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

/// A key's payload with nothing but key, end, volume and duration (RFC 4733 2.3); other events stay here.
pub fn clean(payload: &[u8]) -> Option<[u8; 4]> {
    let [event, flags, high, low, ..] = *payload else { return None };
    key_of(event)?;
    Some([event, flags & 0xbf, high, low])
}

/// What comes in. All packets of one press bear the timestamp of its beginning (2.5.1.2), so a press is
/// its timestamp, whatever is lost, repeated or overtaken.
#[derive(Clone, Default)]
pub struct KeyReader {
    /// The source that the timestamps are of: another one counts anew (RFC 3550 5.1).
    source: Option<u32>,
    /// Timestamps of the last presses, the newest first.
    recent: [Option<u32>; 4],
}

impl KeyReader {
    /// Takes the payload of a telephone-event packet of a source (SSRC). The key when it is a press not seen before.
    pub fn on_packet(&mut self, source: u32, timestamp: u32, payload: &[u8]) -> Option<char> {
        let [event, _, _, _, ..] = payload else { return None };
        let key = key_of(*event)?;
        if self.source != Some(source) {
            *self = Self { source: Some(source), ..Self::default() };
        }
        if self.recent.contains(&Some(timestamp)) || self.is_older(timestamp) {
            return None;
        }
        self.recent.rotate_right(1);
        self.recent[0] = Some(timestamp);
        Some(key)
    }

    /// A straggler of a press before the last four; timestamps wrap.
    fn is_older(&self, timestamp: u32) -> bool {
        self.recent[3].is_some_and(|oldest| (timestamp.wrapping_sub(oldest) as i32) < 0)
    }
}

/// One packet of a press to send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPacket {
    pub payload: [u8; 4],
    /// Only the first packet of a press bears the marker (2.5.1.1).
    pub marker: bool,
}

/// A press that goes out, one packet each 20 ms.
#[derive(Clone)]
pub struct KeyWriter {
    event: u8,
    /// Timestamp units of the whole press.
    length: u16,
    elapsed: u16,
    ends_left: u8,
}

impl KeyWriter {
    /// A press of `duration` (40 ms to 5 s); `None` for something that is no key.
    pub fn new(key: char, duration: Duration) -> Option<Self> {
        let millis = duration.as_millis().clamp(40, 5000) as u16;
        Some(Self { event: event_of(key)?, length: millis * 8, elapsed: 0, ends_left: ENDS })
    }

    /// The next packet; `None` when the press is over. All of them bear the press's first timestamp.
    pub fn next(&mut self) -> Option<KeyPacket> {
        let marker = self.elapsed == 0;
        if self.elapsed < self.length {
            self.elapsed = self.elapsed.saturating_add(STEP).min(self.length);
        }
        let ending = self.elapsed >= self.length;
        if ending {
            self.ends_left = self.ends_left.checked_sub(1)?;
        }
        let [high, low] = self.elapsed.to_be_bytes();
        let end = if ending { 0x80 } else { 0 };
        Some(KeyPacket { payload: [self.event, end | VOLUME, high, low], marker })
    }
}

quiet_debug!(KeyReader => "KeyReader", KeyPacket => "KeyPacket", KeyWriter => "KeyWriter");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Rng;

    fn press(key: char) -> Vec<[u8; 4]> {
        let mut writer = KeyWriter::new(key, Duration::from_millis(100)).expect("a key");
        std::iter::from_fn(|| writer.next()).map(|p| p.payload).collect()
    }

    #[test]
    fn rfc4733_2_5_1_a_press_of_100_ms() {
        let mut writer = KeyWriter::new('5', Duration::from_millis(100)).expect("a key");
        let packets: Vec<KeyPacket> = std::iter::from_fn(|| writer.next()).collect();
        let durations: Vec<u16> =
            packets.iter().map(|p| u16::from_be_bytes([p.payload[2], p.payload[3]])).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<bool> = packets.iter().map(|p| p.payload[1] & 0x80 != 0).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
        assert!(packets.iter().all(|p| p.payload[0] == 5));
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
    fn each_key_exactly_once_under_loss_duplicates_and_reordering() {
        for seed in 0..200 {
            let mut rng = Rng::from_number(seed);
            let mut packets: Vec<(u64, u32, [u8; 4])> = Vec::new();
            for n in 0..10u32 {
                let begin = (u32::MAX - 8000).wrapping_add(n * 2400); // wraps on the way
                for (index, payload) in press(key_of(n as u8).expect("a key")).into_iter().enumerate() {
                    let sent = u64::from(n) * 300 + index as u64 * 20;
                    // At most six of the seven packets are lost: a press that is lost whole was not made.
                    if index > 0 && rng.below(100) < 20 {
                        continue;
                    }
                    for _ in 0..=rng.below(2) {
                        packets.push((sent + rng.below(150), begin, payload));
                    }
                }
            }
            packets.sort_by_key(|(at, ..)| *at);
            let mut reader = KeyReader::default();
            let heard: String = packets.iter().filter_map(|(_, t, p)| reader.on_packet(1, *t, p)).collect();
            assert_eq!(heard, "0123456789", "seed {seed}");
        }
    }
}
