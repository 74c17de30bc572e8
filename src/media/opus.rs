//! Opus (RFC 6716, RFC 7587) by `opus-pure`: mono, as speech, with in-band error correction out and in.

use opus_pure::{Application, Bandwidth, OpusDecoder, OpusEncoder, packet};

use super::codec::Rate;
use crate::base::quiet::quiet_debug;

/// Longest packet in samples of 16 kHz: 120 ms.
pub const MAX_SAMPLES: usize = 1920;
/// What a packet of ours may take; 20 ms of speech take some 60 bytes.
const MAX_BYTES: usize = 400;
/// Bits a second for speech of 8 and of 16 kHz.
const BITS_NARROW: i32 = 20_000;
const BITS_WIDE: i32 = 24_000;
/// Loss that the encoder prepares for: each packet bears a coarse copy of the one before it.
const EXPECTED_LOSS_PERCENT: i32 = 5;
/// More would cost twice the work for a difference that nobody hears on a telephone.
const COMPLEXITY: i32 = 4;

/// Timestamp units (of 48 kHz) that a packet lasts; 0 when it is none.
pub fn units(payload: &[u8]) -> u32 {
    packet::samples_48k(payload).map_or(0, |units| units as u32)
}

pub struct Decoder {
    inner: Box<OpusDecoder>,
    rate: Rate,
}

impl Decoder {
    pub fn new(rate: Rate) -> Option<Self> {
        Some(Self { inner: Box::new(OpusDecoder::new(rate.hertz() as i32, 1).ok()?), rate })
    }

    /// How many samples were written. `None`: the packet can't be read.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Option<usize> {
        let samples = packet::samples(payload, self.rate.hertz() as i32).ok()?;
        self.inner.decode_s16(payload, samples, out.get_mut(..samples)?).ok()
    }

    /// What is missing, from the copy in the packet after it, or made up where there is none.
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Option<usize> {
        self.inner.decode_fec_s16(next, out.len(), out).ok()
    }

    /// Makes up what is missing; in a pause of the sender it is the noise of the room.
    pub fn conceal(&mut self, out: &mut [i16]) -> Option<usize> {
        self.inner.decode_s16(&[], out.len(), out).ok()
    }
}

pub struct Encoder {
    inner: Box<OpusEncoder>,
}

impl Encoder {
    pub fn new(rate: Rate) -> Option<Self> {
        let mut inner = Box::new(OpusEncoder::new(rate.hertz() as i32, 1, Application::Voip).ok()?);
        (inner.bitrate_bps, inner.max_bandwidth) = match rate {
            Rate::Narrow => (BITS_NARROW, Bandwidth::Narrowband),
            Rate::Wide => (BITS_WIDE, Bandwidth::Wideband),
        };
        inner.complexity = COMPLEXITY;
        (inner.use_inband_fec, inner.packet_loss_perc) = (true, EXPECTED_LOSS_PERCENT);
        Some(Self { inner })
    }

    /// Encodes 20 ms. `None` when `out` is too small.
    pub fn encode(&mut self, frame: &[i16], out: &mut [u8]) -> Option<usize> {
        let room = out.len().min(MAX_BYTES);
        self.inner.encode_s16(frame, frame.len(), out.get_mut(..room)?).ok()
    }
}

quiet_debug!(Decoder => "opus::Decoder", Encoder => "opus::Encoder");
