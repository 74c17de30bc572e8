//! The recorder: packets of one leg become samples in their place in time. Late packets still find their place, what
//! never comes is concealed, silence at the end is cut off when asked, and a length limit holds. Keys are muted: they
//! may be a number or a secret, and a message is for ears.
//! Sans-IO: whole chunks come out for a writer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::codec::FRAME;
use super::command::RecordEnd;
use super::g711::Law;
use super::inband::{self, Change, Detector};
use super::mend::Mender;
use super::voice::NoiseFloor;
use crate::base::quiet::quiet_debug;

const RATE: u64 = 8000;
/// A jump of the timestamp beyond this (one second) is a new beginning and no gap to fill.
const MAX_GAP: i32 = 8000;
/// So many samples (100 ms) stay open for packets that come late.
const OPEN: usize = 800;
/// And so many more (60 ms) before a frame is judged: what turns out to be a key's tone is still here.
const SCAN: usize = 3 * FRAME;
/// Of a key by telephone-event, a gateway may leave the tone's beginning and end in the sound: so much is muted
/// before and after each of its packets.
const KEY_BEFORE: usize = 4 * FRAME;
const KEY_AFTER: Duration = Duration::from_millis(80);
/// When no packet came for so long, the recording goes on with silence.
const QUIET: Duration = Duration::from_millis(200);
/// At most so much silence (15 s) is held back in the hope to cut it off; more is written.
const MAX_HELD: usize = 15 * 8000;
/// Samples of silence that stay at the end (240 ms), so that a soft last sound is whole.
const TAIL: usize = 12 * FRAME;
/// A chunk for the writer: a quarter of a second.
const CHUNK: usize = 2000;
/// Frames of voice (200 ms) that make a message.
const VOICE_FRAMES: u32 = 10;

/// What a finished recording was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub end: RecordEnd,
    /// Samples that came out in all.
    pub samples: u64,
    pub voice: bool,
}

impl Taken {
    pub fn length(&self) -> Duration {
        Duration::from_micros(self.samples * 125)
    }
}

/// One recording.
pub struct Recorder {
    max: u64,
    /// So much of it ends the recording and is cut off; `None`: silence is kept like all else.
    silence: Option<u64>,
    /// Samples not yet given out; the last `OPEN` may still change.
    pending: VecDeque<i16>,
    /// Of `pending`, in so many the tones of keys have been looked for.
    scanned: usize,
    tones: Box<Detector>,
    /// A key that came by telephone-event is muted until then.
    muted_until: Option<Instant>,
    /// Of those, so many have been judged for voice.
    judged: usize,
    /// Of the judged, so many at the end are silence that is held back.
    held: usize,
    given: u64,
    /// Silence since the last voice, in samples; held or given.
    quiet: u64,
    place: Option<Place>,
    mender: Mender,
    heard_at: Instant,
    voice_frames: u32,
    noise: NoiseFloor,
    ended: Option<RecordEnd>,
}

/// Where the next packet belongs.
#[derive(Clone, Copy)]
struct Place {
    ssrc: u32,
    next: u32,
    /// Silence was put in by the clock since the last packet: the next one is taken as it comes.
    loose: bool,
}

impl Recorder {
    pub fn new(now: Instant, max: Duration, silence: Option<Duration>) -> Self {
        Self {
            max: samples_of(max),
            silence: silence.map(|s| samples_of(s).max(FRAME as u64)),
            pending: VecDeque::new(),
            scanned: 0,
            tones: Box::default(),
            muted_until: None,
            judged: 0,
            held: 0,
            given: 0,
            quiet: 0,
            place: None,
            mender: Mender::new(),
            heard_at: now,
            voice_frames: 0,
            noise: NoiseFloor::default(),
            ended: None,
        }
    }

    /// Takes the payload of a packet of G.711.
    pub fn on_packet(&mut self, now: Instant, ssrc: u32, timestamp: u32, law: Law, payload: &[u8]) {
        self.on_samples(now, ssrc, timestamp, payload.iter().map(|byte| law.decode(*byte)));
    }

    /// Takes samples of 8 kHz of a source, in their place by its timestamp.
    pub fn on_samples(
        &mut self,
        now: Instant,
        ssrc: u32,
        timestamp: u32,
        samples: impl ExactSizeIterator<Item = i16>,
    ) {
        if self.ended.is_some() {
            return;
        }
        if self.place.is_none() {
            // What was silent before the first packet belongs to the recording.
            self.fill_by_clock(now);
        }
        self.heard_at = now;
        let distance = match self.place {
            Some(place) if place.ssrc == ssrc && !place.loose => timestamp.wrapping_sub(place.next) as i32,
            _ => 0,
        };
        if (1..=MAX_GAP).contains(&distance) {
            let place = self.given + self.pending.len() as u64;
            self.mender.miss(place..place + distance as u64);
            self.silent(distance as usize);
        } else if (-MAX_GAP..0).contains(&distance) {
            return self.on_late(distance, samples);
        }
        let next = timestamp.wrapping_add(samples.len() as u32);
        if self.is_muted(now) {
            self.silent(samples.len());
        } else {
            self.pending.extend(samples);
        }
        self.place = Some(Place { ssrc, next, loose: false });
        self.judge();
    }

    /// A packet of a key came: what is heard around it is its tone.
    pub fn on_key(&mut self, now: Instant) {
        self.muted_until = Some(now + KEY_AFTER);
        self.mute(self.pending.len().saturating_sub(KEY_BEFORE)..self.pending.len());
    }

    pub fn is_muted(&self, now: Instant) -> bool {
        self.muted_until.is_some_and(|until| now < until)
    }

    /// Lets time pass: without packets, silence is recorded.
    pub fn on_time(&mut self, now: Instant) {
        if self.ended.is_none() && now.saturating_duration_since(self.heard_at) >= QUIET {
            self.fill_by_clock(now);
            self.judge();
        }
    }

    /// Ends it from outside; an end that was reached before stays.
    pub fn finish(&mut self, end: RecordEnd) {
        self.ended.get_or_insert(end);
    }

    /// The end, once it is reached.
    pub fn ended(&self) -> Option<RecordEnd> {
        self.ended
    }

    /// Samples that are final: a whole chunk, or what is left when it has ended.
    pub fn poll_chunk(&mut self) -> Option<Vec<i16>> {
        if self.ended.is_some() {
            self.scan(self.pending.len());
        }
        let ready = match self.ended {
            None => {
                let ready = self.judged.saturating_sub(self.held);
                ready - ready % CHUNK
            }
            Some(_) => self.keepable(),
        };
        if ready == 0 {
            return None;
        }
        self.judged = self.judged.saturating_sub(ready);
        self.scanned = self.scanned.saturating_sub(ready);
        self.given += ready as u64;
        Some(self.pending.drain(..ready).collect())
    }

    /// The closing account; asked for after the last chunk.
    pub fn taken(&self) -> Taken {
        Taken {
            end: self.ended.unwrap_or(RecordEnd::Stopped),
            samples: self.given,
            voice: self.voice_frames >= VOICE_FRAMES,
        }
    }

    /// What is left at the end: without the silence that was held back, but for a tail; within the limit.
    fn keepable(&self) -> usize {
        let cut = self.held.saturating_sub(TAIL);
        // Frames that were not judged are too short to be a word; they follow silence only if it is cut.
        let whole = if cut > 0 { self.judged - cut } else { self.pending.len() };
        let room = self.max.saturating_sub(self.given);
        whole.min(usize::try_from(room).unwrap_or(usize::MAX))
    }

    fn on_late(&mut self, distance: i32, samples: impl ExactSizeIterator<Item = i16>) {
        let back = distance.unsigned_abs() as usize;
        // Judged samples may have been counted as silence; only what is open is put right.
        let Some(begin) = self.pending.len().checked_sub(back).filter(|b| *b >= self.scanned) else { return };
        let place = self.given + begin as u64;
        self.mender.found(place..place + samples.len() as u64);
        if self.is_muted(self.heard_at) {
            return;
        }
        for (place, sample) in self.pending.iter_mut().skip(begin).zip(samples) {
            *place = sample;
        }
    }

    fn fill_by_clock(&mut self, now: Instant) {
        let elapsed = samples_of(now.saturating_duration_since(self.heard_at));
        let frames = (elapsed as usize / FRAME).min(MAX_HELD / FRAME);
        self.silent(frames * FRAME);
        self.heard_at += Duration::from_micros((frames * FRAME) as u64 * 125);
        if let Some(place) = &mut self.place {
            place.loose |= frames > 0;
        }
    }

    fn silent(&mut self, count: usize) {
        self.pending.extend(std::iter::repeat_n(0, count));
    }

    /// Mutes the tones of keys in what is no longer open, as far as this.
    fn scan(&mut self, end: usize) {
        while self.scanned < end {
            let Some(sample) = self.pending.get(self.scanned).copied() else { return };
            self.scanned += 1;
            match self.tones.on_sample(sample) {
                Some(Change::Pressed(_)) => {
                    self.mute(self.scanned.saturating_sub(inband::DELAY)..self.scanned);
                }
                _ if self.tones.pressed().is_some() => self.mute(self.scanned - 1..self.scanned),
                _ => {}
            }
        }
    }

    fn mute(&mut self, range: std::ops::Range<usize>) {
        self.pending.iter_mut().take(range.end).skip(range.start.max(self.judged)).for_each(|s| *s = 0);
    }

    /// Looks at whole frames that are no longer open, and sees whether an end is reached.
    fn judge(&mut self) {
        self.scan(self.pending.len().saturating_sub(OPEN));
        while self.judged + FRAME + SCAN <= self.scanned {
            self.mend();
            let rms = rms(self.pending.range(self.judged..self.judged + FRAME));
            self.judged += FRAME;
            if self.noise.is_voice(rms) {
                self.voice_frames += 1;
                self.held = 0;
                self.quiet = 0;
            } else {
                self.held = if self.silence.is_some() { (self.held + FRAME).min(MAX_HELD) } else { 0 };
                self.quiet += FRAME as u64;
            }
        }
        // The open part counts as silence too when it is: a limit is met within a frame.
        let open_quiet = self.quiet + (self.pending.len() - self.judged) as u64;
        if self.given + self.pending.len() as u64 >= self.max {
            self.ended = Some(RecordEnd::Limit);
        } else if self.silence.is_some_and(|s| open_quiet >= s)
            && self.quiet > 0
            && self.is_open_part_silent()
        {
            self.held += self.pending.len() - self.judged;
            self.judged = self.pending.len();
            self.ended = Some(RecordEnd::Silence);
        }
    }

    /// The next frame to be judged is no longer open.
    fn mend(&mut self) {
        let mut frame = [0; FRAME];
        for (copy, sample) in frame.iter_mut().zip(self.pending.range(self.judged..)) {
            *copy = *sample;
        }
        self.mender.mend(self.given + self.judged as u64, &mut frame);
        for (sample, mended) in self.pending.range_mut(self.judged..).zip(frame) {
            *sample = mended;
        }
    }

    fn is_open_part_silent(&self) -> bool {
        rms(self.pending.range(self.judged..)) <= self.noise.threshold()
    }
}

fn samples_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX) / 125 * (RATE / 8000)
}

fn rms<'a>(samples: impl ExactSizeIterator<Item = &'a i16>) -> u32 {
    let count = samples.len().max(1) as u64;
    let sum: u64 = samples.map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
    (sum / count).isqrt() as u32
}

quiet_debug!(Recorder => "Recorder");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    const STEP: Duration = Duration::from_millis(20);

    struct Story {
        recorder: Recorder,
        now: Instant,
        timestamp: u32,
        kept: Vec<i16>,
    }

    impl Story {
        fn new(max_s: u64, silence_s: u64) -> Self {
            let now = Now::read().at;
            let s = Duration::from_secs;
            let recorder = Recorder::new(now, s(max_s), Some(s(silence_s)));
            Self { recorder, now, timestamp: u32::MAX - 4000, kept: Vec::new() }
        }

        /// A recording of everything, silence too.
        fn of_all(max_s: u64) -> Self {
            let mut story = Self::new(max_s, 1);
            story.recorder = Recorder::new(story.now, Duration::from_secs(max_s), None);
            story
        }

        /// Frames of one byte, 20 ms apart.
        fn hear(&mut self, byte: u8, frames: usize) -> &mut Self {
            for _ in 0..frames {
                self.recorder.on_packet(self.now, 9, self.timestamp, Law::A, &[byte; FRAME]);
                self.lose(1);
            }
            self
        }

        fn lose(&mut self, frames: usize) -> &mut Self {
            for _ in 0..frames {
                self.timestamp = self.timestamp.wrapping_add(160);
                self.now += STEP;
                self.recorder.on_time(self.now);
                self.drain();
            }
            self
        }

        fn drain(&mut self) {
            while let Some(chunk) = self.recorder.poll_chunk() {
                self.kept.extend(chunk);
            }
        }

        fn end(&mut self) -> Taken {
            self.recorder.finish(RecordEnd::Stopped);
            self.drain();
            let taken = self.recorder.taken();
            assert_eq!(taken.samples as usize, self.kept.len());
            taken
        }
    }

    const LOUD: u8 = 0x15; // -5,504 or so
    const STILL: u8 = 0xd5;

    fn loud() -> i16 {
        Law::A.decode(LOUD)
    }

    #[test]
    fn what_is_said_is_kept_sample_by_sample_with_gaps_in_their_place() {
        let mut story = Story::new(60, 5);
        story.hear(LOUD, 30).lose(3).hear(LOUD, 20);
        let taken = story.end();
        assert_eq!((taken.end, taken.voice, taken.length()), (RecordEnd::Stopped, true, STEP * 53));
        // What is missing is made up, softer and softer, and what follows is joined to that within 8 ms.
        let (before, rest) = story.kept.split_at(4800);
        let (gap, after) = rest.split_at(480);
        assert!(before.iter().chain(&after[64..]).all(|sample| *sample == loud()));
        assert!(gap[..80].iter().all(|sample| sample.abs() > loud().abs() / 2) && gap[479].abs() < 50);
    }

    #[test]
    fn silence_ends_it_and_is_cut_but_for_a_tail() {
        let mut story = Story::new(60, 2);
        story.hear(LOUD, 50).hear(STILL, 99);
        assert_eq!(story.recorder.ended(), None);
        story.hear(STILL, 2);
        let taken = story.end();
        assert_eq!((taken.end, taken.samples, taken.voice), (RecordEnd::Silence, 8000 + TAIL as u64, true));
    }

    #[test]
    fn a_stream_that_stops_is_silence_and_one_that_never_begins_is_an_empty_message() {
        let mut story = Story::new(60, 2);
        story.hear(LOUD, 50).lose(101);
        let taken = story.end();
        assert_eq!((taken.end, taken.samples), (RecordEnd::Silence, 8000 + TAIL as u64));
        let mut empty = Story::new(60, 3);
        empty.lose(151);
        let taken = empty.end();
        assert_eq!((taken.end, taken.voice), (RecordEnd::Silence, false));
        assert!(taken.samples <= TAIL as u64);
    }

    #[test]
    fn the_limit_is_exact_and_later_packets_change_nothing() {
        let mut story = Story::new(1, 5);
        story.hear(LOUD, 80);
        let taken = story.end();
        assert_eq!((taken.end, taken.samples), (RecordEnd::Limit, 8000));
    }

    #[test]
    fn pauses_within_a_message_stay_and_a_late_packet_finds_its_place() {
        let mut story = Story::new(60, 5);
        story.hear(LOUD, 20).hear(STILL, 100).hear(LOUD, 10);
        let skipped = story.timestamp;
        story.lose(1).hear(LOUD, 1);
        story.recorder.on_packet(story.now, 9, skipped, Law::A, &[LOUD; FRAME]);
        story.hear(LOUD, 10);
        let taken = story.end();
        assert_eq!(taken.samples, 142 * 160);
        assert!(story.kept[120 * 160..].iter().all(|s| *s == loud()), "no hole is left");
    }

    #[test]
    fn jumps_and_new_sources_are_no_hours_of_silence() {
        let mut story = Story::new(600, 5);
        story.hear(LOUD, 20);
        story.timestamp = story.timestamp.wrapping_add(1 << 30);
        story.hear(LOUD, 20);
        story.timestamp = story.timestamp.wrapping_sub(1 << 20);
        story.hear(LOUD, 20);
        story.recorder.on_packet(story.now, 10, 5, Law::Mu, &[0xff; FRAME]);
        assert_eq!(story.end().samples, 61 * 160);
    }

    #[test]
    fn a_recording_of_everything_keeps_silence_before_between_and_after() {
        let mut story = Story::of_all(600);
        story.lose(50).hear(LOUD, 20).hear(STILL, 1000).hear(LOUD, 1).hear(STILL, 100).lose(50);
        let taken = story.end();
        assert_eq!((taken.end, taken.voice), (RecordEnd::Stopped, true));
        assert_eq!(taken.samples, (50 + 20 + 1000 + 1 + 100 + 50) * 160);
        let mut limited = Story::of_all(1);
        limited.hear(STILL, 80);
        assert_eq!((limited.end().end, limited.kept.len()), (RecordEnd::Limit, 8000));
    }

    /// Whether any two tones of a key are in it, however short: the energy at their frequencies in each 10 ms.
    fn has_tones(samples: &[i16], row: f64, column: f64) -> bool {
        let power = |frame: &[i16], frequency: f64| {
            let parts = frame.iter().enumerate().map(|(n, s)| {
                let (sin, cos) = (std::f64::consts::TAU * frequency * n as f64 / 8000.0).sin_cos();
                (f64::from(*s) * cos, f64::from(*s) * sin)
            });
            let (re, im) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
            2.0 * (re * re + im * im) / (frame.len() as f64).powi(2)
        };
        samples.chunks_exact(80).any(|frame| power(frame, row) > 2e5 && power(frame, column) > 2e5)
    }

    #[test]
    fn keys_as_tones_are_muted_and_what_is_said_around_them_stays() {
        for offset in 0..8 {
            let mut story = Story::new(60, 5);
            story.hear(LOUD, 50);
            let mut sound = vec![0i16; 100 + offset * 20];
            for key in "159#0".chars() {
                let mut tone = vec![0; 800];
                inband::ToneWriter::new(key).expect("a key").fill(&mut tone, 800);
                sound.extend(tone);
                sound.resize(sound.len() + 640, 0);
            }
            assert!(has_tones(&sound, 697.0, 1209.0) && has_tones(&sound, 941.0, 1336.0));
            for frame in sound.chunks(FRAME) {
                let mut payload = [STILL; FRAME];
                payload.iter_mut().zip(frame).for_each(|(b, s)| *b = Law::A.encode(*s));
                story.recorder.on_packet(story.now, 9, story.timestamp, Law::A, &payload);
                story.lose(1);
            }
            story.hear(LOUD, 50);
            story.end();
            for (row, column) in
                [(697.0, 1209.0), (770.0, 1336.0), (852.0, 1477.0), (941.0, 1477.0), (941.0, 1336.0)]
            {
                assert!(!has_tones(&story.kept, row, column), "{row} {column} at {offset}");
            }
            assert_eq!(story.kept.iter().filter(|s| **s == loud()).count(), 100 * FRAME);
        }
    }

    #[test]
    fn what_a_gateway_leaves_of_a_tone_around_its_telephone_event_is_muted() {
        let mut story = Story::new(60, 5);
        story.hear(LOUD, 50);
        let mut tone = [0; 2 * FRAME];
        inband::ToneWriter::new('5').expect("a key").fill(&mut tone, 2 * FRAME as u32);
        let payloads: Vec<Vec<u8>> = tone.chunks(FRAME).map(|f| Law::A.encode_all(f)).collect();
        let say = |story: &mut Story, payload: &[u8]| {
            story.recorder.on_packet(story.now, 9, story.timestamp, Law::A, payload);
            story.lose(1);
        };
        // 20 ms of it before, 20 ms after: too short to be known for a key by themselves.
        say(&mut story, &payloads[0]);
        for _ in 0..7 {
            story.recorder.on_key(story.now);
            story.lose(1);
        }
        say(&mut story, &payloads[1]);
        story.hear(STILL, 3).hear(LOUD, 50);
        story.end();
        assert!(!has_tones(&story.kept, 770.0, 1336.0));
        let kept = story.kept.iter().filter(|s| **s == loud()).count();
        assert!((97 * FRAME..=100 * FRAME).contains(&kept), "{kept}");
    }

    #[test]
    fn steady_noise_becomes_silence_but_a_voice_in_it_is_heard() {
        let mut story = Story::new(120, 4);
        // About 200 of amplitude: above the fixed threshold.
        let noise = Law::A.encode(200);
        story.hear(noise, 1000);
        assert_eq!(story.recorder.ended(), Some(RecordEnd::Silence), "the noise is learnt");
        let mut spoken = Story::new(120, 4);
        for _ in 0..12 {
            spoken.hear(noise, 50).hear(LOUD, 50);
        }
        assert_eq!(spoken.recorder.ended(), None);
        assert!(spoken.end().voice);
    }
}
