//! Keys on their way out, one after the other: our own, and those of the other leg of a bridge that it sends at
//! another clock. They go as telephone-event (RFC 4733) where that was agreed on, else as tones in the sound.

use std::collections::VecDeque;
use std::time::Duration;

use super::codec::FRAME;
use super::dtmf::{self, KeyNews, KeyPacket, KeyReader, KeyWriter};
use super::inband::ToneWriter;
use crate::base::quiet::quiet_debug;

/// Keys that wait to be sent; more are dropped.
const MAX_KEYS: usize = 32;
/// Ticks between two keys (RFC 4733 2.5.1.4 asks for a pause that the receiver can tell).
const PAUSE: u8 = 3;
/// The clock by which tones are timed.
const TONE_CLOCK: u32 = 8000;

/// What a tick sends of a key. It lives for the one call that makes it.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy)]
pub enum Stroke {
    /// All packets of a press bear the timestamp of its beginning, or of its segment. `step`: a tick's time.
    Event {
        packet: KeyPacket,
        timestamp: u32,
        step: u32,
    },
    Tone([i16; FRAME]),
}

/// The keys that go out on one leg.
#[derive(Clone)]
pub struct Keypad {
    /// Where telephone-event was not agreed on, tones are made; otherwise nothing is, and the peer gets its keys
    /// another way.
    pub tones: bool,
    waiting: VecDeque<Waiting>,
    pressing: Option<Pressing>,
    pause: u8,
    /// What comes from the other leg.
    across: KeyReader,
}

#[derive(Clone, Copy)]
struct Waiting {
    key: char,
    /// `None`: until the other leg says that it is up.
    length: Option<Duration>,
}

#[derive(Clone)]
struct Pressing {
    writer: KeyWriter,
    begin: u32,
    tone: Option<ToneWriter>,
}

impl Default for Keypad {
    fn default() -> Self {
        let across = KeyReader::default();
        Self { tones: true, waiting: VecDeque::new(), pressing: None, pause: 0, across }
    }
}

impl Keypad {
    /// Sends a key after those that wait.
    pub fn send(&mut self, key: char, length: Duration) {
        self.wait(key, Some(length));
    }

    /// Takes a telephone-event packet of the other leg, which this leg's peer would not understand as it is: the
    /// press becomes one of our own, as long as the other.
    pub fn follow(&mut self, source: u32, timestamp: u32, payload: &[u8], clock: u32) {
        let news = self.across.read(source, timestamp, payload);
        match news {
            Some(KeyNews::Down(key)) => self.wait(key, None),
            Some(KeyNews::Up(units)) => {
                let micros = u64::from(units) * 1_000_000 / u64::from(clock.max(1));
                self.up(Duration::from_micros(micros));
            }
            None => {
                if let Some(pressing) = &mut self.pressing {
                    pressing.writer.hold();
                }
            }
        }
    }

    /// A key takes the place of all other sound.
    pub fn is_pressing(&self) -> bool {
        self.pressing.is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.pressing.is_none() && self.waiting.is_empty()
    }

    /// What is due at this tick. `clock`: that of telephone-event as agreed on; `timestamp`: where our stream is.
    pub fn next(&mut self, clock: Option<u32>, timestamp: u32) -> Option<Stroke> {
        if clock.is_none() && !self.tones {
            self.waiting.clear();
            self.pressing = None;
            return None;
        }
        if self.pressing.is_none() {
            if self.pause > 0 {
                self.pause -= 1;
                return None;
            }
            let Waiting { key, length } = self.waiting.pop_front()?;
            let writer = KeyWriter::new(key, length, clock.unwrap_or(TONE_CLOCK))?;
            let tone = clock.is_none().then(|| ToneWriter::new(key)).flatten();
            self.pressing = Some(Pressing { writer, begin: timestamp, tone });
        }
        let stroke = self.pressing.as_mut().and_then(Pressing::next);
        if stroke.is_none() {
            (self.pressing, self.pause) = (None, PAUSE);
        }
        stroke
    }

    fn wait(&mut self, key: char, length: Option<Duration>) {
        if dtmf::event_of(key).is_some() && self.waiting.len() < MAX_KEYS {
            self.waiting.push_back(Waiting { key, length });
        }
    }

    /// The press of the other leg that came last is over.
    fn up(&mut self, after: Duration) {
        match (self.waiting.back_mut(), &mut self.pressing) {
            (Some(waiting), _) => {
                waiting.length.get_or_insert(after);
            }
            (None, Some(pressing)) => pressing.writer.finish(after),
            (None, None) => {}
        }
    }
}

impl Pressing {
    fn next(&mut self) -> Option<Stroke> {
        let Some(tone) = &mut self.tone else {
            let packet = self.writer.next()?;
            let timestamp = self.begin.wrapping_add(packet.offset);
            return Some(Stroke::Event { packet, timestamp, step: self.writer.step() });
        };
        if tone.is_over() {
            return None;
        }
        let mut frame = [0; FRAME];
        tone.fill(&mut frame, self.writer.left());
        // Its packets are not sent; they only keep the time.
        let _timed = self.writer.next();
        Some(Stroke::Tone(frame))
    }
}

quiet_debug!(Stroke => "Stroke", Keypad => "Keypad");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::inband::{Change, Detector};

    const MILLI: Duration = Duration::from_millis(1);

    /// Ticks until nothing is left, each moving our timestamp on.
    fn all(keypad: &mut Keypad, clock: Option<u32>) -> Vec<Stroke> {
        let mut timestamp = 1000;
        let mut out = Vec::new();
        for _ in 0..3000 {
            out.extend(keypad.next(clock, timestamp));
            timestamp += clock.unwrap_or(TONE_CLOCK) / 50;
            if keypad.is_idle() {
                break;
            }
        }
        out
    }

    fn press(key: char, millis: u32, clock: u32) -> Vec<KeyPacket> {
        let mut writer = KeyWriter::new(key, Some(MILLI * millis), clock).expect("a key");
        std::iter::from_fn(|| writer.next()).collect()
    }

    /// The units of each press and its timestamp.
    fn presses(strokes: &[Stroke]) -> Vec<(u8, u32, u16)> {
        let ends = strokes.iter().filter_map(|stroke| match stroke {
            Stroke::Event { packet, timestamp, .. } if packet.payload[1] & 0x80 != 0 => {
                let [event, _, high, low] = packet.payload;
                Some((event, *timestamp, u16::from_be_bytes([high, low])))
            }
            _ => None,
        });
        let mut ends: Vec<_> = ends.collect();
        ends.dedup();
        ends
    }

    #[test]
    fn a_press_of_another_clock_becomes_one_of_our_own_as_long_as_the_other() {
        for (theirs, ours) in [(8000u32, 48_000u32), (48_000, 8000)] {
            let mut keypad = Keypad::default();
            let (mut out, mut timestamp) = (Vec::new(), 5000);
            for (n, key) in "19#".chars().enumerate() {
                let begin = n as u32 * theirs;
                for packet in press(key, 200, theirs) {
                    keypad.follow(7, begin, &packet.payload, theirs);
                    // Repeated on the way.
                    keypad.follow(7, begin, &packet.payload, theirs);
                    out.extend(keypad.next(Some(ours), timestamp));
                    timestamp += ours / 50;
                }
                for _ in 0..20 {
                    out.extend(keypad.next(Some(ours), timestamp));
                    timestamp += ours / 50;
                }
            }
            let heard = presses(&out);
            let expected: Vec<(u8, u16)> = [1, 9, 11].map(|event| (event, (200 * ours / 1000) as u16)).into();
            assert_eq!(heard.iter().map(|(e, _, d)| (*e, *d)).collect::<Vec<_>>(), expected);
            let marks = out.iter().filter(|s| matches!(s, Stroke::Event { packet, .. } if packet.marker));
            assert_eq!(marks.count(), 3);
            assert_eq!(heard[0].1, 5000, "our own timestamp");
        }
    }

    #[test]
    fn a_press_whose_end_is_lost_ends_by_itself_and_keys_that_wait_keep_their_length() {
        let mut keypad = Keypad::default();
        keypad.follow(7, 0, &press('1', 200, 8000)[0].payload, 8000);
        keypad.follow(7, 9600, &press('2', 100, 8000)[0].payload, 8000);
        keypad.follow(7, 9600, &press('2', 100, 8000)[6].payload, 8000);
        let heard = presses(&all(&mut keypad, Some(48_000)));
        assert_eq!((heard.len(), heard[1].0, heard[1].2), (2, 2, 4800));
    }

    #[test]
    fn without_telephone_event_a_key_is_a_tone_that_a_detector_hears_once() {
        let mut keypad = Keypad::default();
        "1234567890*#ABCD".chars().for_each(|key| keypad.send(key, MILLI * 100));
        let mut detector = Detector::default();
        let mut heard = String::new();
        let (mut ticks, mut longest, mut run) = (0, 0, 0);
        while !keypad.is_idle() && ticks < 1000 {
            ticks += 1;
            let tone = if let Some(Stroke::Tone(frame)) = keypad.next(None, 0) { Some(frame) } else { None };
            run = if tone.is_some() { run + 1 } else { 0 };
            let frame = tone.unwrap_or([0; FRAME]);
            longest = longest.max(run);
            heard.extend(frame.iter().filter_map(|s| match detector.on_sample(*s) {
                Some(Change::Pressed(key)) => Some(key),
                _ => None,
            }));
        }
        assert_eq!((heard.as_str(), longest), ("1234567890*#ABCD", 5));
        // A press that is held elsewhere is as long there.
        let mut held = Keypad::default();
        for (n, packet) in press('5', 400, 8000).iter().enumerate() {
            held.follow(7, 0, &packet.payload, 8000);
            let tone = matches!(held.next(None, 0), Some(Stroke::Tone(_)));
            assert!(tone || n >= 19, "packet {n}");
        }
        assert!(held.is_idle() || held.next(None, 0).is_none());
    }

    #[test]
    fn a_peer_that_gets_its_keys_another_way_gets_none_here_and_too_many_are_dropped() {
        let mut keypad = Keypad { tones: false, ..Keypad::default() };
        keypad.send('1', MILLI * 100);
        keypad.send('x', MILLI * 100);
        assert!(keypad.next(None, 0).is_none() && keypad.is_idle());
        let mut full = Keypad::default();
        (0..1000).for_each(|_| full.send('1', MILLI * 40));
        assert_eq!(full.waiting.len(), MAX_KEYS);
    }
}
