//! A leg's way into the music that all who wait hear, and out of it again.
//!
//! It comes in softly within 100 ms. Where the codec has a memory (G.722, Opus), the leg's own encoder makes these and
//! as many frames more: what the peer's decoder remembers is then nearly what it would remember of the shared stream,
//! whose packets follow without a sound of their own. Who leaves hears 5 ms more, fading, by an encoder that has gone
//! over the last 100 ms before.

use std::sync::Arc;

use super::codec::{FRAME, Rate};
use super::command::{Codec, Music};
use super::encode::Encoder;
use super::outgoing::MAX_FRAME;
use super::player::{FADE, faded};
use super::radio::Radio;
use crate::base::quiet::quiet_debug;

/// Frames (100 ms) in which the music comes in, and of which an encoder learns enough of it.
const RISE: usize = 5;
/// Frames that the leg's own encoder makes, where there is one.
pub const LEAD_IN: usize = 2 * RISE;

/// Samples of 20 ms at the highest rate.
const MOST: usize = 2 * FRAME;

/// One leg that listens.
pub struct Hold {
    music: Arc<Music>,
    /// Frames heard, as far as they matter.
    heard: usize,
    /// In which it is led in.
    codec: Option<Codec>,
}

impl Hold {
    pub fn new(music: Arc<Music>) -> Self {
        Self { music, heard: 0, codec: None }
    }

    pub fn is_of(&self, music: &Arc<Music>) -> bool {
        Arc::ptr_eq(&self.music, music)
    }

    /// Whether it has begun: what was never heard need not fade out.
    pub fn is_heard(&self) -> bool {
        self.heard > 0
    }

    /// Something else was sent in its place: it comes in anew.
    pub fn interrupt(&mut self) {
        self.heard = 0;
    }

    /// The next 20 ms. `own` is the leg's encoder, of which the peer's decoder knows the last packet.
    pub fn next<'a>(
        &mut self,
        codec: Codec,
        radio: &mut Radio,
        own: &mut Option<Box<Encoder>>,
        out: &'a mut [u8; MAX_FRAME],
    ) -> Option<&'a [u8]> {
        if self.codec.replace(codec) != Some(codec) {
            self.heard = 0;
        }
        let (rate, begin) = (self.music.rate(), self.heard);
        self.heard = (begin + 1).min(LEAD_IN + 1);
        let channel = radio.hear(&self.music, codec)?;
        let Some(law) = codec.law() else {
            if begin >= LEAD_IN {
                return copied(channel.payload(), out).map(|payload| &*payload);
            }
            let encoder = fitting(own, codec, rate)?;
            return encode(encoder, channel.samples(), out, |sample, at, frame| {
                rising(sample, begin * frame + at, RISE * frame)
            });
        };
        let payload = copied(channel.payload(), out)?;
        if begin < RISE {
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte = law.encode(rising(law.decode(*byte), begin * FRAME + at, RISE * FRAME));
            }
        }
        Some(payload)
    }

    /// The last 20 ms, of which 5 are heard.
    pub fn last<'a>(
        self,
        codec: Codec,
        radio: &mut Radio,
        own: &mut Option<Box<Encoder>>,
        out: &'a mut [u8; MAX_FRAME],
    ) -> Option<&'a [u8]> {
        let channel = radio.hear(&self.music, codec)?;
        let level = |sample: i16| (i32::from(sample) * self.heard.min(RISE) as i32 / RISE as i32) as i16;
        let Some(law) = codec.law() else {
            if self.heard > LEAD_IN && self.codec == Some(codec) {
                *own = follower(codec, &self.music, channel.number()).map(Box::new);
            }
            let encoder = fitting(own, codec, self.music.rate())?;
            return encode(encoder, channel.samples(), out, |sample, at, frame| {
                faded(level(sample), at, FADE * frame / FRAME)
            });
        };
        let payload = copied(channel.payload(), out)?;
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte = law.encode(faded(level(law.decode(*byte)), at, FADE));
        }
        Some(payload)
    }
}

fn copied<'a>(payload: &[u8], out: &'a mut [u8; MAX_FRAME]) -> Option<&'a mut [u8]> {
    let place = out.get_mut(..payload.len())?;
    place.copy_from_slice(payload);
    Some(place)
}

/// A sample of a sound that has its full level after `length`.
fn rising(sample: i16, at: usize, length: usize) -> i16 {
    (i64::from(sample) * at.min(length) as i64 / length.max(1) as i64) as i16
}

/// The leg's own encoder, made to take the music's rate.
fn fitting(own: &mut Option<Box<Encoder>>, codec: Codec, rate: Rate) -> Option<&mut Encoder> {
    if own.as_ref().is_none_or(|encoder| (encoder.codec(), encoder.rate()) != (codec, rate)) {
        let before = own.take().filter(|encoder| encoder.codec() == codec);
        let encoder = before.map_or_else(|| Encoder::new(codec, rate), |encoder| encoder.at(rate));
        *own = encoder.map(Box::new);
    }
    own.as_deref_mut()
}

/// An encoder that stands where the shared one does before these 20 ms.
fn follower(codec: Codec, music: &Music, number: u64) -> Option<Encoder> {
    let mut encoder = Encoder::new(codec, music.rate())?;
    let (mut samples, mut unsent) = (Vec::new(), [0; MAX_FRAME]);
    for back in (1..=RISE as u64).rev() {
        music.samples(number.saturating_sub(back), &mut samples);
        encoder.encode(&samples, &mut unsent)?;
    }
    Some(encoder)
}

/// The samples by the leg's own encoder, each changed by its place in the frame of so many.
fn encode<'a>(
    encoder: &mut Encoder,
    samples: &[i16],
    out: &'a mut [u8],
    change: impl Fn(i16, usize, usize) -> i16,
) -> Option<&'a [u8]> {
    let mut frame = [0; MOST];
    let frame = frame.get_mut(..samples.len())?;
    for (at, (place, sample)) in frame.iter_mut().zip(samples).enumerate() {
        *place = change(*sample, at, samples.len());
    }
    encoder.encode(frame, out)
}

quiet_debug!(Hold => "Hold");

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
