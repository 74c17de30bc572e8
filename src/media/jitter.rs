//! The jitter buffer of a stream that we decode: packets wait in the order of their timestamps until their turn,
//! and how long depends on how unevenly they come. It knows no clock: time is the packets' own and the caller's
//! asking, once each 20 ms. A relay that passes packets on untouched has none.

use std::collections::VecDeque;

use super::command::Sound;
use super::leg::Heard;
use crate::base::quiet::quiet_debug;

/// Packets that wait; the oldest give way.
const MAX_HELD: usize = 48;
/// Before the first packet is played, so many frames of 20 ms are waited for.
const FIRST_WAIT: u32 = 2;
/// What never gets shorter than this many frames is longer than needed.
const ENOUGH: u32 = 2;
/// Frames after which the shortest wait among them is looked at: 2 s, or half a second when it is far too long.
const WINDOW: u32 = 100;
const SHORT_WINDOW: u32 = 25;
/// Frames (10 s) after a shortage for which the wait is not made shorter.
const CAUTION: u32 = 500;
/// A wait of more frames than this (400 ms) is cut at once.
const MAX_WAIT: u32 = 20;
/// A jump of the timestamps beyond so many frames (one second) is a new beginning.
const MAX_JUMP: u32 = 50;

/// A packet that waits.
pub struct Held {
    pub timestamp: u32,
    sequence: u16,
    pub sound: Sound,
    pub payload: Vec<u8>,
}

/// What is due.
pub enum Due {
    /// Nothing has begun.
    Early,
    Packet(Held),
    /// So many timestamp units are missing before the next packet. `pause`: the peer sent nothing then, or it
    /// was lost.
    Gap {
        units: u32,
        pause: bool,
    },
    /// No packet is there.
    Nothing,
}

/// The packets of one source.
#[derive(Default)]
pub struct JitterBuffer {
    held: VecDeque<Held>,
    /// Memory of packets that were played.
    spare: Vec<Vec<u8>>,
    source: Option<u32>,
    /// The timestamp that is due, once playing has begun.
    due: Option<u32>,
    /// Sequence number of the last packet played.
    played: Option<u16>,
    /// Frames to wait before the beginning.
    wait: u32,
    /// Timestamp units made up since nothing was there.
    starved: u32,
    /// Units of 20 ms.
    step: u32,
    /// Of this window: frames, and the shortest wait.
    window: u32,
    shortest: u32,
    /// Frames for which the wait stays as it is, because it was too short just now.
    cautious: u32,
    late: u64,
}

impl JitterBuffer {
    pub fn push(&mut self, heard: &Heard<'_>) {
        let step = match heard.sound {
            Sound::Audio(codec) => codec.step(),
            Sound::Noise => 160,
            Sound::Key { .. } => return,
        };
        if self.source != Some(heard.source) || self.step != step || self.is_jump(heard.timestamp) {
            self.restart(heard.source, step);
        }
        let after = |from: u32| heard.timestamp.wrapping_sub(from) as i32;
        if self.due.is_some_and(|due| after(due) < 0) {
            self.late += 1;
            return;
        }
        let place = self.held.iter().rposition(|held| after(held.timestamp) >= 0);
        if place.and_then(|at| self.held.get(at)).is_some_and(|held| held.timestamp == heard.timestamp) {
            return; // sent twice
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(heard.payload);
        let Heard { timestamp, sequence, sound, .. } = *heard;
        self.held.insert(place.map_or(0, |at| at + 1), Held { timestamp, sequence, sound, payload });
        self.shorten();
    }

    /// What is due now. A packet is given out; of a gap the caller says by `skip` how much of it was made up.
    pub fn next(&mut self) -> Due {
        let Some(due) = self.due else { return self.begin() };
        let Some(first) = self.held.front() else {
            self.starved = self.starved.saturating_add(self.step);
            self.cautious = CAUTION;
            return Due::Nothing;
        };
        // A packet that begins before the end of the one before it is played whole; its own time counts.
        let early = (first.timestamp.wrapping_sub(due) as i32) < 0;
        let due = if early { first.timestamp } else { due };
        let mut units = first.timestamp.wrapping_sub(due);
        let made_up = units.min(std::mem::take(&mut self.starved));
        units -= made_up;
        self.due = Some(due.wrapping_add(made_up));
        if units > 0 {
            let pause = self.played.is_some_and(|played| first.sequence == played.wrapping_add(1));
            return Due::Gap { units, pause };
        }
        self.take()
    }

    /// So many timestamp units were made up, or a packet of that length played.
    pub fn skip(&mut self, units: u32) {
        self.due = self.due.map(|due| due.wrapping_add(units));
    }

    /// The packet after a gap, which may have a copy of what is missing.
    pub fn following(&self) -> Option<&Held> {
        self.held.front()
    }

    /// The memory of a packet is used again.
    pub fn give_back(&mut self, held: Held) {
        if self.spare.len() < MAX_HELD {
            self.spare.push(held.payload);
        }
    }

    /// Called once a frame, after it was taken. `true`: packets wait longer than they have to, one frame may be
    /// left out.
    pub fn has_too_much(&mut self) -> bool {
        let waiting = self.waiting();
        self.shortest = if self.window == 0 { waiting } else { self.shortest.min(waiting) };
        self.window += 1;
        self.cautious = self.cautious.saturating_sub(1);
        let far_too_long = self.shortest > 2 * ENOUGH;
        let window = if far_too_long { SHORT_WINDOW } else { WINDOW };
        if self.window < window || (self.cautious > 0 && !far_too_long) {
            return false;
        }
        self.window = 0;
        self.shortest >= ENOUGH
    }

    /// Frames from what is due to the end of the last packet.
    pub fn waiting(&self) -> u32 {
        let (Some(last), Some(due)) = (self.held.back(), self.due) else { return 0 };
        let until = (last.timestamp.wrapping_sub(due) as i32).saturating_add(length(last) as i32);
        u32::try_from(until).unwrap_or(0) / self.step.max(1)
    }

    /// Whether a packet waits.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Packets that came after their turn.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn is_jump(&self, timestamp: u32) -> bool {
        let distance = |from: u32| (timestamp.wrapping_sub(from) as i32).unsigned_abs();
        // While nothing came, time went on.
        self.due.is_some_and(|due| distance(due.wrapping_add(self.starved)) > MAX_JUMP * self.step)
    }

    fn restart(&mut self, source: u32, step: u32) {
        while let Some(held) = self.held.pop_front() {
            self.give_back(held);
        }
        (self.source, self.step, self.due, self.played) = (Some(source), step, None, None);
        (self.wait, self.starved, self.window) = (FIRST_WAIT, 0, 0);
    }

    fn begin(&mut self) -> Due {
        let (Some(first), Some(last)) = (self.held.front(), self.held.back()) else { return Due::Early };
        let span = last.timestamp.wrapping_sub(first.timestamp).saturating_add(length(last));
        if self.wait > 0 && span < FIRST_WAIT * self.step {
            self.wait -= 1;
            return Due::Early;
        }
        self.due = Some(first.timestamp);
        self.take()
    }

    fn take(&mut self) -> Due {
        let Some(held) = self.held.pop_front() else { return Due::Nothing };
        self.played = Some(held.sequence);
        Due::Packet(held)
    }

    /// What has piled up while nobody asked is cut to what is needed.
    fn shorten(&mut self) {
        while self.held.len() > MAX_HELD || (self.due.is_some() && self.waiting() > MAX_WAIT) {
            let Some(oldest) = self.held.pop_front() else { return };
            if self.due.is_some() {
                self.due = self.held.front().map(|next| next.timestamp);
            }
            self.give_back(oldest);
            if self.waiting() <= ENOUGH {
                return;
            }
        }
    }
}

fn length(held: &Held) -> u32 {
    match held.sound {
        Sound::Audio(codec) => codec.units(&held.payload),
        Sound::Noise | Sound::Key { .. } => 0,
    }
}

quiet_debug!(JitterBuffer => "JitterBuffer", Held => "Held", Due => "Due");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::command::Codec;

    const STEP: u32 = 160;

    fn push(buffer: &mut JitterBuffer, number: u16) {
        let payload = [number as u8; 160];
        buffer.push(&Heard {
            source: 1,
            sequence: number,
            timestamp: (u32::MAX - 2 * STEP).wrapping_add(u32::from(number) * STEP), // wraps on the way
            marker: false,
            sound: Sound::Audio(Codec::Pcma),
            payload: &payload,
        });
    }

    /// One frame's asking: the number of the packet, `-` a gap, `.` nothing, `~` not begun.
    fn ask(buffer: &mut JitterBuffer) -> String {
        let due = buffer.next();
        match due {
            Due::Early => "~".to_owned(),
            Due::Nothing => ".".to_owned(),
            Due::Gap { pause, .. } => {
                buffer.skip(STEP);
                if pause { "_" } else { "-" }.to_owned()
            }
            Due::Packet(held) => {
                buffer.skip(STEP);
                let name = held.payload.first().map(u8::to_string).unwrap_or_default();
                buffer.give_back(held);
                name
            }
        }
    }

    /// Packets as they come before each asking.
    fn story(arrivals: &[&[u16]]) -> String {
        let mut buffer = JitterBuffer::default();
        let played = arrivals.iter().map(|numbers| {
            numbers.iter().for_each(|n| push(&mut buffer, *n));
            ask(&mut buffer)
        });
        played.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn packets_are_played_in_order_however_they_come() {
        for (arrivals, played) in [
            (&[&[][..], &[0], &[1], &[2], &[3]][..], "~ ~ 0 1 2"),
            (&[&[0], &[2], &[1], &[4], &[3]], "~ 0 1 2 3"),
            (&[&[0, 1], &[1, 2], &[2, 3]], "0 1 2"),
            (&[&[0, 1], &[3], &[4], &[5]], "0 1 - 3"),
            (&[&[0, 1], &[], &[], &[2], &[3]], "0 1 . 2 3"),
            (&[&[0, 1], &[], &[], &[], &[5], &[6]], "0 1 . . - 5"),
            (&[&[0], &[], &[1]], "~ ~ 0"),
        ] {
            assert_eq!(story(arrivals), played, "{arrivals:?}");
        }
    }

    #[test]
    fn what_comes_after_its_turn_is_counted_and_passed_over() {
        let mut buffer = JitterBuffer::default();
        [0, 1, 3].into_iter().for_each(|n| push(&mut buffer, n));
        let played: Vec<String> = (0..4).map(|_| ask(&mut buffer)).collect();
        assert_eq!(played, ["0", "1", "-", "3"]);
        push(&mut buffer, 2);
        assert_eq!((buffer.late(), ask(&mut buffer).as_str()), (1, "."));
    }

    #[test]
    fn a_peer_that_pauses_is_not_taken_for_loss() {
        let mut buffer = JitterBuffer::default();
        push(&mut buffer, 0);
        let heard = |sequence, timestamp: u32| Heard {
            source: 1,
            sequence,
            timestamp: timestamp.wrapping_sub(2 * STEP + 1),
            marker: false,
            sound: Sound::Audio(Codec::Pcma),
            payload: &[9; 160],
        };
        buffer.push(&heard(1, 4 * STEP));
        let played: Vec<String> = (0..5).map(|_| ask(&mut buffer)).collect();
        assert_eq!(played, ["0", "_", "_", "_", "9"]);
    }

    #[test]
    fn the_wait_grows_when_packets_come_late_and_shrinks_when_they_come_evenly() {
        let mut buffer = JitterBuffer::default();
        let mut number = 0;
        let mut come = |buffer: &mut JitterBuffer, count: u16| {
            (0..count).for_each(|_| {
                push(buffer, number);
                number += 1;
            });
        };
        come(&mut buffer, 2);
        ask(&mut buffer);
        let at_first = buffer.waiting();
        // Nothing for 80 ms, then all at once.
        for _ in 0..5 {
            ask(&mut buffer);
        }
        come(&mut buffer, 5);
        let grown = buffer.waiting();
        assert!(grown >= at_first + 3, "{at_first} {grown}");
        let mut left_out = 0;
        for _ in 0..2000 {
            ask(&mut buffer);
            if buffer.has_too_much() {
                ask(&mut buffer);
                left_out += 1;
            }
            come(&mut buffer, 1);
        }
        assert!(left_out >= 2 && buffer.waiting() <= 3, "{left_out} {}", buffer.waiting());
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let mut buffer = JitterBuffer::default();
        (0..2000).for_each(|n| push(&mut buffer, n));
        assert!(buffer.held.len() <= MAX_HELD);
        assert_ne!(ask(&mut buffer), "~");
        (2000..2200).for_each(|n| push(&mut buffer, n));
        assert!(buffer.waiting() <= MAX_WAIT);
    }

    #[test]
    fn another_source_or_a_jump_is_a_new_beginning() {
        let mut buffer = JitterBuffer::default();
        [0, 1].into_iter().for_each(|n| push(&mut buffer, n));
        assert_eq!(ask(&mut buffer), "0");
        [5000, 5001].into_iter().for_each(|n| push(&mut buffer, n));
        assert_eq!(ask(&mut buffer), (5000 % 256).to_string());
    }

    #[test]
    fn packets_that_overlap_or_are_far_apart_before_the_beginning_are_all_played_and_nothing_overflows() {
        let mut buffer = JitterBuffer::default();
        let say = |buffer: &mut JitterBuffer, number: u16, timestamp: u32, length: usize| {
            let payload = vec![number as u8; length];
            let sound = Sound::Audio(Codec::Pcma);
            let heard =
                Heard { source: 1, sequence: number, timestamp, marker: false, sound, payload: &payload };
            buffer.push(&heard);
        };
        // 60 ms each, but 20 ms apart by their timestamps.
        (0..4).for_each(|n| say(&mut buffer, n, u32::from(n) * STEP, 480));
        let mut played = Vec::new();
        for _ in 0..12 {
            match buffer.next() {
                Due::Packet(held) => {
                    buffer.skip(480);
                    played.push(held.sequence);
                }
                Due::Gap { units, .. } => panic!("a gap of {units}"),
                Due::Nothing | Due::Early => {}
            }
            assert!(buffer.waiting() < 20);
        }
        assert_eq!(played, [0, 1, 2, 3]);
        let mut buffer = JitterBuffer::default();
        for (number, timestamp) in [(0, 0), (1, 0x7000_0000), (2, 0xe000_0000), (3, u32::MAX)] {
            say(&mut buffer, number, timestamp, 160);
            let _ = (buffer.next(), buffer.waiting(), buffer.has_too_much());
        }
    }
}
