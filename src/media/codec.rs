//! G.711: A-law and µ-law to and from 16-bit linear, and straight from one to the other by table
//! (ITU-T G.711, tables 1a to 2b; G.191 scales samples to the left of 16 bits).

use std::sync::LazyLock;

use super::command::Codec;

/// Samples of a 20 ms packet at 8 kHz.
pub const FRAME: usize = 160;

impl Codec {
    /// Units of its RTP timestamp a second.
    pub fn clock(self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu => 8000,
        }
    }

    /// The byte that sounds like nothing.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcma => 0xd5,
            Self::Pcmu => 0xff,
        }
    }

    /// One byte to a sample.
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Pcma => alaw_to_linear(byte),
            Self::Pcmu => ulaw_to_linear(byte),
        }
    }

    /// One sample to a byte.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcma => linear_to_alaw(sample),
            Self::Pcmu => linear_to_ulaw(sample),
        }
    }

    /// A whole clip.
    pub fn encode_all(self, samples: &[i16]) -> Vec<u8> {
        samples.iter().map(|s| self.encode(*s)).collect()
    }
}

/// Converts a payload in place from one law to the other; the same law leaves it untouched.
pub fn convert(payload: &mut [u8], from: Codec, to: Codec) {
    let table = match (from, to) {
        (Codec::Pcma, Codec::Pcmu) => &ALAW_TO_ULAW,
        (Codec::Pcmu, Codec::Pcma) => &ULAW_TO_ALAW,
        (Codec::Pcma, Codec::Pcma) | (Codec::Pcmu, Codec::Pcmu) => return,
    };
    for byte in payload {
        *byte = table[usize::from(*byte)];
    }
}

static ALAW_TO_ULAW: LazyLock<[u8; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| linear_to_ulaw(alaw_to_linear(byte as u8))));
static ULAW_TO_ALAW: LazyLock<[u8; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| linear_to_alaw(ulaw_to_linear(byte as u8))));

/// µ-law bias on the 14-bit scale, shifted to 16 bits.
const BIAS: i32 = 0x84;
const ULAW_CLIP: i32 = 32_635;

fn ulaw_to_linear(byte: u8) -> i16 {
    let code = !byte;
    let (exponent, mantissa) = (u32::from(code >> 4 & 7), i32::from(code & 0x0f));
    let magnitude = (((mantissa << 3) + BIAS) << exponent) - BIAS;
    (if code & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

fn linear_to_ulaw(sample: i16) -> u8 {
    let value = i32::from(sample);
    let sign = if value < 0 { 0x80 } else { 0 };
    let magnitude = value.abs().min(ULAW_CLIP) + BIAS;
    // The highest set bit is between 7 and 14.
    let exponent = 31 - magnitude.leading_zeros() - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

fn alaw_to_linear(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let (exponent, mantissa) = (u32::from(code >> 4 & 7), i32::from(code & 0x0f));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    (if code & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}

fn linear_to_alaw(sample: i16) -> u8 {
    // Negative values are taken as their ones' complement, so that -1 and 0 are neighbours (G.191).
    let (sign, magnitude) = if sample >= 0 { (0x80, i32::from(sample)) } else { (0, i32::from(!sample)) };
    let code = if magnitude < 256 {
        magnitude >> 4
    } else {
        let exponent = 31 - magnitude.leading_zeros() - 7;
        ((exponent << 4) as i32) | ((magnitude >> (exponent + 3)) & 0x0f)
    };
    (sign | code as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_known_values() {
        for (codec, byte, sample) in [
            (Codec::Pcmu, 0xff, 0),
            (Codec::Pcmu, 0x7f, 0),
            (Codec::Pcmu, 0x80, 32_124),
            (Codec::Pcmu, 0x00, -32_124),
            (Codec::Pcmu, 0xfe, 8),
            (Codec::Pcma, 0xd5, 8),
            (Codec::Pcma, 0x55, -8),
            (Codec::Pcma, 0xaa, 32_256),
            (Codec::Pcma, 0x2a, -32_256),
        ] {
            assert_eq!(codec.decode(byte), sample, "{codec:?} {byte:#x}");
        }
    }

    #[test]
    fn every_byte_survives_decoding_and_encoding() {
        for codec in [Codec::Pcma, Codec::Pcmu] {
            for byte in 0..=255u8 {
                let again = codec.encode(codec.decode(byte));
                // µ-law has two zeros; the negative one comes back as the positive.
                let expected = if codec == Codec::Pcmu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(again, expected, "{codec:?}");
            }
        }
    }

    #[test]
    fn the_error_of_a_sample_is_within_half_a_step() {
        for codec in [Codec::Pcma, Codec::Pcmu] {
            for sample in i16::MIN..=i16::MAX {
                let heard = i32::from(codec.decode(codec.encode(sample)));
                let error = (heard - i32::from(sample)).abs();
                let allowed = (i32::from(sample).abs() / 32 + 8).max(if sample.unsigned_abs() > 32_000 {
                    650
                } else {
                    0
                });
                assert!(error <= allowed, "{codec:?} {sample}: {heard}");
            }
        }
    }

    #[test]
    fn conversion_keeps_silence_silent_and_the_same_law_untouched() {
        let mut payload = vec![Codec::Pcmu.silence(); 3];
        convert(&mut payload, Codec::Pcmu, Codec::Pcma);
        assert!(payload.iter().all(|b| Codec::Pcma.decode(*b).abs() <= 8));
        let mut all: Vec<u8> = (0..=255).collect();
        convert(&mut all, Codec::Pcma, Codec::Pcma);
        assert!(all.iter().copied().eq(0..=255));
    }
}
