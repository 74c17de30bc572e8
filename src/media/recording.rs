//! A recording, whatever the codec. What has to be decoded with a memory (G.722, Opus) goes through a jitter buffer, and
//! for every 20 ms of packet time one frame of 8 kHz comes out: 100 ms later than it came, since nobody waits for a
//! recording and late packets still find their place. Keys, a pause and the end let out what waits.

use std::time::{Duration, Instant};

use super::codec::{FRAME, Rate};
use super::command::{Codec, RecordEnd, Sound};
use super::leg::{Heard, TICK};
use super::playout::Playout;
use super::record::Recorder;
use crate::base::id::TakeKey;
use crate::base::quiet::quiet_debug;
use crate::base::time::Now;

/// Frames that one packet may bring on: a second.
const MOST: u32 = 50;

/// Frames (100 ms) for which packets that come late are waited for.
const HELD: i32 = 5;
/// When no packet came for so long, nothing is waited for: the recorder goes on by the clock.
const PAUSE: Duration = Duration::from_millis(160);

/// A recording that runs.
pub struct Recording {
    pub take: TakeKey,
    pub recorder: Recorder,
    pub finish_key: Option<char>,
    decoder: Option<Box<RecordDecoder>>,
    heard_at: Instant,
    /// The source that is decoded.
    source: u32,
}

impl Recording {
    pub fn new(now: Now, take: TakeKey, recorder: Recorder, finish_key: Option<char>) -> Self {
        Self { take, recorder, finish_key, decoder: None, heard_at: now.at, source: 0 }
    }

    /// Takes an audio packet of any codec. G.711 goes to its place in the recording straight away.
    pub fn take_in(&mut self, now: Now, codec: Codec, heard: &Heard<'_>) {
        if let Some(law) = codec.law() {
            self.flush();
            return self.recorder.on_packet(now.at, heard.source, heard.timestamp, law, heard.payload);
        }
        (self.heard_at, self.source) = (now.at, heard.source);
        let (decoder, recorder) = (self.decoder.get_or_insert_default(), &mut self.recorder);
        decoder.on_packet(heard, |waited, timestamp, samples| {
            recorder.on_samples(came(now.at, waited), heard.source, timestamp, samples.iter().copied());
        });
        if recorder.is_muted(now.at) {
            // What is muted is told by when it comes.
            self.flush();
        }
    }

    /// A key's packet: what came before it is muted where it stands, and so must be there.
    pub fn on_key(&mut self, now: Now) {
        self.flush();
        self.recorder.on_key(now.at);
    }

    /// Lets time pass.
    pub fn on_time(&mut self, now: Now) {
        if now.at.saturating_duration_since(self.heard_at) >= PAUSE {
            self.flush();
            // What comes after the pause is a beginning: the time between is the recorder's.
            self.decoder = None;
        }
        let waited = if self.decoder.is_some() { HELD as u32 } else { 0 };
        self.recorder.on_time(came(now.at, waited));
    }

    pub fn finish(&mut self, end: RecordEnd) {
        self.flush();
        self.recorder.finish(end);
    }

    /// All that waits goes to its place.
    fn flush(&mut self) {
        let (Some(decoder), recorder) = (&mut self.decoder, &mut self.recorder) else { return };
        let (heard_at, source) = (self.heard_at, self.source);
        decoder.flush(|waited, timestamp, samples| {
            recorder.on_samples(came(heard_at, waited), source, timestamp, samples.iter().copied());
        });
    }
}

/// When what waited for so many packets of 20 ms came: the recorder's time is that of arrival.
fn came(now: Instant, waited: u32) -> Instant {
    now.checked_sub(TICK * waited).unwrap_or(now)
}

pub struct RecordDecoder {
    playout: Playout,
    /// The source and its furthest timestamp so far.
    furthest: Option<(u32, u32)>,
    /// Timestamp units that came and are no frame yet; negative when frames were let out before their time.
    units: i32,
    /// Of 20 ms.
    step: i32,
    /// Timestamp of what comes out.
    timestamp: u32,
}

impl RecordDecoder {
    pub fn new() -> Self {
        Self { playout: Playout::steady(Rate::Narrow), furthest: None, units: 0, step: 160, timestamp: 0 }
    }

    /// Takes a packet, and gives each frame that is due with for how many packets it waited and its
    /// timestamp at 8 kHz.
    pub fn on_packet(&mut self, heard: &Heard<'_>, mut frame: impl FnMut(u32, u32, &[i16])) {
        let Sound::Audio(codec) = heard.sound else { return };
        let step = codec.step() as i32;
        if step != self.step {
            (self.step, self.units) = (step, 0);
        }
        self.playout.push(heard);
        self.units += self.passed(codec, heard).min(MOST * codec.step()) as i32;
        while self.units > HELD * step {
            self.give(&mut frame);
        }
    }

    /// Gives what waits.
    pub fn flush(&mut self, mut frame: impl FnMut(u32, u32, &[i16])) {
        while self.playout.waits() {
            self.give(&mut frame);
        }
    }

    fn give(&mut self, frame: &mut impl FnMut(u32, u32, &[i16])) {
        self.units -= self.step;
        let waited = (self.units / self.step).clamp(0, HELD) as u32;
        frame(waited, self.timestamp, self.playout.pull());
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
    }

    /// Units since the packet before.
    fn passed(&mut self, codec: Codec, heard: &Heard<'_>) -> u32 {
        let length = codec.units(heard.payload);
        let jump = (MOST * codec.step()) as i32;
        match self.furthest {
            Some((source, before)) if source == heard.source => {
                let distance = heard.timestamp.wrapping_sub(before) as i32;
                if (-jump..=0).contains(&distance) {
                    return 0;
                }
                self.furthest = Some((source, heard.timestamp));
                if distance > 0 && distance <= jump { distance as u32 } else { length }
            }
            _ => {
                self.furthest = Some((heard.source, heard.timestamp));
                length
            }
        }
    }
}

impl Default for RecordDecoder {
    fn default() -> Self {
        Self::new()
    }
}

quiet_debug!(RecordDecoder => "RecordDecoder");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::encode::Encoder;

    const STEP: i16 = 4000;

    /// A square wave of 500 Hz.
    fn frame() -> Vec<i16> {
        (0..320).map(|n| if n / 16 % 2 == 0 { STEP } else { -STEP }).collect()
    }

    struct Story {
        now: Now,
        codec: Codec,
        recording: Recording,
        packets: Vec<Vec<u8>>,
    }

    impl Story {
        fn new(codec: Codec, packets: usize) -> Self {
            let now = Now::read();
            let recorder = Recorder::new(now.at, Duration::from_secs(60), None);
            let mut encoder = Encoder::new(codec, Rate::Wide).expect("an encoder");
            let mut out = [0; 400];
            let mut packet = || encoder.encode(&frame(), &mut out).expect("room").to_vec();
            let packets = (0..packets).map(|_| packet()).collect();
            Self { now, codec, recording: Recording::new(now, TakeKey(1), recorder, None), packets }
        }

        fn hear(&mut self, number: usize) {
            let payload = self.packets[number].clone();
            let (sequence, timestamp) = (number as u16, number as u32 * self.codec.step());
            let sound = Sound::Audio(self.codec);
            let heard = Heard { source: 7, sequence, timestamp, marker: false, sound, payload: &payload };
            self.recording.take_in(self.now, self.codec, &heard);
        }

        fn wait(&mut self, ticks: u32) {
            for _ in 0..ticks {
                self.now = self.now.plus(TICK);
                self.recording.on_time(self.now);
            }
        }

        fn end(mut self) -> Vec<i16> {
            self.recording.finish(RecordEnd::Stopped);
            std::iter::from_fn(|| self.recording.recorder.poll_chunk()).flatten().collect()
        }
    }

    fn is_loud(frame: &[i16]) -> bool {
        frame.iter().filter(|sample| sample.unsigned_abs() > 1000).count() > frame.len() / 2
    }

    #[test]
    fn packets_that_come_up_to_80_ms_late_find_their_place_and_the_end_is_whole() {
        for codec in [Codec::G722, Codec::Opus] {
            let even = {
                let mut story = Story::new(codec, 64);
                (0..64).for_each(|number| {
                    story.hear(number);
                    story.wait(1);
                });
                story.end()
            };
            let mut uneven = Story::new(codec, 64);
            // Each fourth comes after the four that follow it.
            for number in 0..64usize {
                if number % 8 != 3 {
                    uneven.hear(number);
                }
                if number % 8 == 7 {
                    uneven.hear(number - 4);
                }
                uneven.wait(1);
            }
            assert_eq!(even.len(), 64 * FRAME, "{codec:?}");
            assert!(uneven.end() == even, "{codec:?}");
        }
    }

    #[test]
    fn a_pause_of_the_sender_is_as_long_as_it_was() {
        for codec in [Codec::G722, Codec::Opus] {
            let mut story = Story::new(codec, 200);
            (0..50).for_each(|number| {
                story.hear(number);
                story.wait(1);
            });
            story.wait(50);
            (100..150).for_each(|number| {
                story.hear(number);
                story.wait(1);
            });
            let kept = story.end();
            let frames = kept.len() / FRAME;
            assert!((146..=152).contains(&frames), "{codec:?}: {frames}");
            let loud = kept.chunks(FRAME).filter(|frame| is_loud(frame)).count();
            assert!((94..=104).contains(&loud), "{codec:?}: {loud}");
        }
    }

    #[test]
    fn a_key_is_muted_from_80_ms_before_it_to_80_ms_after_it_whatever_the_codec_waits_for() {
        for codec in [Codec::G722, Codec::Opus] {
            let mut story = Story::new(codec, 120);
            for number in 0..120 {
                if (50..58).contains(&number) {
                    // A gateway that leaves the tone in the sound beside the event.
                    story.recording.on_key(story.now);
                }
                story.hear(number);
                story.wait(1);
            }
            let kept = story.end();
            let silent =
                |from: usize, to: usize| kept[from * FRAME..to * FRAME].iter().all(|sample| *sample == 0);
            assert!(silent(46, 60), "{codec:?}");
            let loud = kept.chunks(FRAME).filter(|frame| is_loud(frame)).count();
            assert!(
                is_loud(&kept[40 * FRAME..41 * FRAME]) && (98..=106).contains(&loud),
                "{codec:?}: {loud}"
            );
        }
    }
}
