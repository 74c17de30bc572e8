//! The decode side of a stream, wherever its sound itself is needed (transcoding, mixing): packets of any codec go
//! in as they come, and each 20 ms one linear frame comes out, at 8 or 16 kHz as the user wants it. Between the two
//! are the jitter buffer, the decoder, concealment of what is lost, and comfort noise.
//!
//! A mixer has one for each leg: [`Playout::push`] for each [`Heard`], [`Playout::pull`] at each tick.

use std::collections::VecDeque;

use super::codec::Rate;
use super::comfort::ComfortNoise;
use super::command::{Codec, Sound};
use super::conceal::Concealer;
use super::g711::Law;
use super::jitter::{Due, Held, JitterBuffer};
use super::leg::Heard;
use super::resample::Resampler;
use super::{g722, opus};
use crate::base::quiet::quiet_debug;

/// Room for one packet: 120 ms at 16 kHz. What is longer is cut.
const MAX_SAMPLES: usize = opus::MAX_SAMPLES;
/// A frame softer than this RMS may be left out unheard.
const QUIET_RMS: i64 = 100;
/// Frames that are waited for a quiet one.
const PATIENCE: u32 = 25;
/// Frames without any packet (1 s) after which there is nothing to hear.
const IDLE: u32 = 50;

/// One stream, decoded.
pub struct Playout {
    /// What comes out.
    rate: Rate,
    buffer: JitterBuffer,
    voice: Option<Voice>,
    noise: Option<ComfortNoise>,
    /// Frames since a frame too many was noticed.
    excess: Option<u32>,
    /// Frames since the last packet was played.
    idle: u32,
    /// Nobody waits for what comes out: no frame is left out.
    steady: bool,
    decoded: Box<[i16; MAX_SAMPLES]>,
    frame: Vec<i16>,
    changed: Vec<i16>,
}

/// What depends on the codec.
struct Voice {
    codec: Codec,
    decoder: Decoder,
    /// At which it decodes.
    rate: Rate,
    concealer: Concealer,
    resampler: Option<Resampler>,
    /// Decoded and not yet given out.
    ready: VecDeque<i16>,
}

enum Decoder {
    Law(Law),
    G722(Box<g722::Decoder>),
    Opus(opus::Decoder),
}

impl Playout {
    /// `rate` of the frames that come out.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buffer: JitterBuffer::default(),
            voice: None,
            noise: None,
            excess: None,
            idle: IDLE,
            steady: false,
            decoded: Box::new([0; MAX_SAMPLES]),
            frame: Vec::with_capacity(2 * Rate::Wide.frame()),
            changed: Vec::with_capacity(Rate::Wide.frame()),
        }
    }

    /// For a user who asks by the packets' own time, and not by a clock of its own: packets wait as long as it lets
    /// them.
    pub fn steady(rate: Rate) -> Self {
        Self { steady: true, ..Self::new(rate) }
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether there is a packet that was not asked for yet.
    pub fn waits(&self) -> bool {
        self.buffer.holds()
    }

    /// Takes a packet. Keys are passed over.
    pub fn push(&mut self, heard: &Heard<'_>) {
        self.buffer.push(heard);
    }

    /// Whether for a while there was nothing to hear.
    pub fn is_idle(&self) -> bool {
        self.idle >= IDLE
    }

    /// What was pulled last.
    pub fn frame(&self) -> &[i16] {
        match self.voice.as_ref().and_then(|voice| voice.resampler.as_ref()) {
            Some(_) => &self.changed,
            None => &self.frame,
        }
    }

    /// The next 20 ms; silence while there is nothing. Of the rate's length.
    pub fn pull(&mut self) -> &[i16] {
        self.take_frame(0);
        let excess = (!self.steady && self.buffer.has_too_much()).then_some(0);
        self.excess = self.excess.or(excess);
        if let Some(waited) = self.excess {
            let quiet = rms_squared(&self.frame) < QUIET_RMS * QUIET_RMS;
            if quiet || waited >= PATIENCE {
                self.leave_one_out();
            } else {
                self.excess = Some(waited + 1);
            }
        }
        let Some(resampler) = self.voice.as_mut().and_then(|voice| voice.resampler.as_mut()) else {
            self.frame.resize(self.rate.frame(), 0);
            return &self.frame;
        };
        self.changed.clear();
        resampler.process(&self.frame, &mut self.changed);
        &self.changed
    }

    /// Puts the next frame of the decoder's rate behind the first `kept` samples of `frame`.
    fn take_frame(&mut self, kept: usize) {
        self.frame.truncate(kept);
        let length = self.voice.as_ref().map_or(self.rate, |voice| voice.rate).frame();
        // A packet is 2.5 ms at least; what holds nothing at all must not hold us up.
        for _ in 0..10 {
            if self.voice.as_ref().is_some_and(|voice| voice.ready.len() >= length) || !self.play() {
                break;
            }
        }
        self.idle = self.idle.saturating_add(1);
        let length = self.voice.as_ref().map_or(self.rate, |voice| voice.rate).frame();
        if let Some(voice) = &mut self.voice {
            let ready = length.min(voice.ready.len());
            self.frame.extend(voice.ready.drain(..ready));
        }
        self.frame.resize(kept + length, 0);
    }

    /// Two frames become one: the first fades into the second.
    fn leave_one_out(&mut self) {
        let length = self.frame.len();
        if self.buffer.waiting() == 0 {
            self.excess = None;
            return;
        }
        self.take_frame(length);
        if self.frame.len() == 2 * length {
            let (first, second) = self.frame.split_at_mut(length);
            for (index, (a, b)) in first.iter_mut().zip(second).enumerate() {
                let (part, whole) = (index as i32 + 1, length as i32 + 1);
                *a = ((i32::from(*a) * (whole - part) + i32::from(*b) * part) / whole) as i16;
            }
        }
        self.frame.truncate(length);
        self.excess = None;
    }

    /// Decodes or makes up what is due, and puts it to what is ready. `false`: nothing has begun.
    fn play(&mut self) -> bool {
        match self.buffer.next() {
            Due::Packet(held) => {
                match held.sound {
                    Sound::Audio(codec) => self.decode(codec, &held),
                    Sound::Noise => self.hush(&held.payload),
                    Sound::Key { .. } => {}
                }
                self.idle = 0;
                self.buffer.give_back(held);
            }
            Due::Gap { units, pause } => self.bridge(units, pause),
            Due::Nothing => self.make_up(),
            Due::Early => return false,
        }
        true
    }

    fn decode(&mut self, codec: Codec, held: &Held) {
        if self.voice.as_ref().is_none_or(|voice| voice.codec != codec) {
            self.voice = Voice::new(codec, self.rate);
        }
        self.noise = None;
        let Some(voice) = &mut self.voice else { return };
        let count = voice.decode(&held.payload, &mut *self.decoded);
        self.buffer.skip(codec.units(&held.payload));
        match self.decoded.get_mut(..count) {
            Some(samples) if count > 0 => {
                voice.concealer.heard(samples);
                voice.ready.extend(samples.iter());
            }
            // It can't be read: as good as lost.
            _ => self.make_up(),
        }
    }

    fn hush(&mut self, payload: &[u8]) {
        match &mut self.noise {
            Some(noise) => noise.update(payload),
            None => self.noise = Some(ComfortNoise::new(payload)),
        }
        if self.voice.is_none() {
            self.voice = Voice::new(Codec::Pcma, self.rate);
        }
    }

    /// A packet is there, but others before it are missing.
    fn bridge(&mut self, units: u32, pause: bool) {
        let Some(step) = self.voice.as_ref().map(|voice| voice.codec.step()) else {
            return self.buffer.skip(units);
        };
        let next = self.buffer.following().filter(|_| units <= step && !pause && self.noise.is_none());
        if let (Some(Voice { decoder: Decoder::Opus(decoder), rate, ready, .. }), Some(next)) =
            (&mut self.voice, next)
        {
            let missing = rate.frame() * units as usize / step.max(1) as usize;
            let out = self.decoded.get_mut(..missing).unwrap_or_default();
            let made = decoder.recover(&next.payload, out).unwrap_or_default();
            ready.extend(self.decoded.iter().take(made));
            ready.extend(std::iter::repeat_n(0, missing.saturating_sub(made)));
            return self.buffer.skip(units);
        }
        self.make_up();
        self.buffer.skip(units.min(step));
    }

    /// 20 ms of noise while the peer pauses, else of what it may have said.
    fn make_up(&mut self) {
        let Some(voice) = &mut self.voice else { return };
        let out = self.decoded.get_mut(..voice.rate.frame()).unwrap_or_default();
        match (&mut self.noise, &mut voice.decoder) {
            (Some(noise), _) => noise.fill(out),
            (None, Decoder::Opus(decoder)) => {
                if decoder.conceal(out).is_none() {
                    out.fill(0);
                }
            }
            (None, Decoder::Law(_)) => voice.concealer.conceal(out),
            (None, Decoder::G722(decoder)) => {
                voice.concealer.conceal(out);
                decoder.follow(out);
            }
        }
        voice.ready.extend(out.iter());
    }
}

impl Voice {
    fn new(codec: Codec, wanted: Rate) -> Option<Self> {
        let (decoder, rate) = match codec {
            Codec::Pcma => (Decoder::Law(Law::A), Rate::Narrow),
            Codec::Pcmu => (Decoder::Law(Law::Mu), Rate::Narrow),
            Codec::G722 => (Decoder::G722(Box::default()), Rate::Wide),
            // It decodes at any rate by itself.
            Codec::Opus => (Decoder::Opus(opus::Decoder::new(wanted)?), wanted),
        };
        Some(Self {
            codec,
            decoder,
            rate,
            concealer: Concealer::new(rate),
            resampler: Resampler::new(rate, wanted),
            ready: VecDeque::with_capacity(2 * MAX_SAMPLES),
        })
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        match &mut self.decoder {
            Decoder::Law(law) => {
                for (sample, byte) in out.iter_mut().zip(payload) {
                    *sample = law.decode(*byte);
                }
                payload.len().min(out.len())
            }
            Decoder::G722(decoder) => decoder.decode(payload, out),
            Decoder::Opus(decoder) => decoder.decode(payload, out).unwrap_or_default(),
        }
    }
}

fn rms_squared(samples: &[i16]) -> i64 {
    samples.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>() / samples.len().max(1) as i64
}

quiet_debug!(Playout => "Playout");

#[cfg(test)]
#[path = "playout_tests.rs"]
mod tests;
