//! The encode side of a stream: linear frames of 20 ms become payloads of the leg's codec.
//!
//! A mixer has one for each leg, and gives what [`Encoder::encode`] writes to the leg's sender, with
//! [`Codec::step`](super::command::Codec) timestamp units a frame.

use super::codec::Rate;
use super::command::Codec;
use super::g711::Law;
use super::resample::Resampler;
use super::{g722, opus};
use crate::base::quiet::quiet_debug;

/// One stream's encoder; it has a memory, so it is kept as long as the stream goes on.
pub struct Encoder {
    codec: Codec,
    /// What goes in.
    rate: Rate,
    kind: Kind,
    resampler: Option<Resampler>,
    changed: Vec<i16>,
}

enum Kind {
    Law(Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
}

impl Encoder {
    /// `rate` of the frames that go in. `None`: the codec can't be had, which does not happen.
    pub fn new(codec: Codec, rate: Rate) -> Option<Self> {
        let kind = match codec {
            Codec::Pcma => Kind::Law(Law::A),
            Codec::Pcmu => Kind::Law(Law::Mu),
            Codec::G722 => Kind::G722(Box::default()),
            Codec::Opus => Kind::Opus(opus::Encoder::new(rate)?),
        };
        let resampler = Resampler::new(rate, native(codec, rate));
        Some(Self { codec, rate, kind, resampler, changed: Vec::with_capacity(Rate::Wide.frame()) })
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Another rate goes in from now on. The codec goes on where that is possible.
    #[must_use]
    pub fn at(self, rate: Rate) -> Option<Self> {
        if self.codec != Codec::G722 {
            return Self::new(self.codec, rate);
        }
        Some(Self { rate, resampler: Resampler::new(rate, native(self.codec, rate)), ..self })
    }

    /// Writes the payload of 20 ms. `None` when `out` is too small.
    pub fn encode<'a>(&mut self, frame: &[i16], out: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some(resampler) = &mut self.resampler else { return self.kind.encode(frame, out) };
        self.changed.clear();
        resampler.process(frame, &mut self.changed);
        self.kind.encode(&self.changed, out)
    }
}

/// The rate that the codec takes, when this one goes in.
fn native(codec: Codec, rate: Rate) -> Rate {
    match codec {
        Codec::Pcma | Codec::Pcmu => Rate::Narrow,
        Codec::G722 => Rate::Wide,
        // It takes any rate by itself.
        Codec::Opus => rate,
    }
}

impl Kind {
    fn encode<'a>(&mut self, frame: &[i16], out: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = match self {
            Kind::Law(law) => {
                for (byte, sample) in out.get_mut(..frame.len())?.iter_mut().zip(frame) {
                    *byte = law.encode(*sample);
                }
                frame.len()
            }
            Kind::G722(encoder) => encoder.encode(frame, out.get_mut(..frame.len() / 2)?),
            Kind::Opus(encoder) => encoder.encode(frame, out)?,
        };
        out.get(..length)
    }
}

quiet_debug!(Encoder => "Encoder");
