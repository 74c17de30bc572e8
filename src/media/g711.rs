//! G.711: A-law and µ-law to and from 16-bit linear, and straight from one to the other by table
//! (ITU-T G.711, tables 1a to 2b; G.191 scales samples to the left of 16 bits).

use std::sync::LazyLock;

/// The two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    A,
    Mu,
}

impl Law {
    /// The byte that sounds like nothing.
    pub fn silence(self) -> u8 {
        match self {
            Self::A => 0xd5,
            Self::Mu => 0xff,
        }
    }

    /// One byte to a sample.
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Self::A => alaw_to_linear(byte),
            Self::Mu => ulaw_to_linear(byte),
        }
    }

    /// One sample to a byte.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::A => linear_to_alaw(sample),
            Self::Mu => linear_to_ulaw(sample),
        }
    }

    /// A whole clip.
    pub fn encode_all(self, samples: &[i16]) -> Vec<u8> {
        samples.iter().map(|s| self.encode(*s)).collect()
    }
}

/// Converts a payload in place from one law to the other; the same law leaves it untouched.
pub fn convert(payload: &mut [u8], from: Law, to: Law) {
    let table = match (from, to) {
        (Law::A, Law::Mu) => &ALAW_TO_ULAW,
        (Law::Mu, Law::A) => &ULAW_TO_ALAW,
        (Law::A, Law::A) | (Law::Mu, Law::Mu) => return,
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
        for (law, byte, sample) in [
            (Law::Mu, 0xff, 0),
            (Law::Mu, 0x7f, 0),
            (Law::Mu, 0x80, 32_124),
            (Law::Mu, 0x00, -32_124),
            (Law::Mu, 0xfe, 8),
            (Law::A, 0xd5, 8),
            (Law::A, 0x55, -8),
            (Law::A, 0xaa, 32_256),
            (Law::A, 0x2a, -32_256),
        ] {
            assert_eq!(law.decode(byte), sample, "{law:?} {byte:#x}");
        }
    }

    #[test]
    fn every_byte_survives_decoding_and_encoding() {
        for law in [Law::A, Law::Mu] {
            for byte in 0..=255u8 {
                let again = law.encode(law.decode(byte));
                // µ-law has two zeros; the negative one comes back as the positive.
                let expected = if law == Law::Mu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(again, expected, "{law:?}");
            }
        }
    }

    #[test]
    fn the_error_of_a_sample_is_within_half_a_step() {
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let heard = i32::from(law.decode(law.encode(sample)));
                let error = (heard - i32::from(sample)).abs();
                let allowed = (i32::from(sample).abs() / 32 + 8).max(if sample.unsigned_abs() > 32_000 {
                    650
                } else {
                    0
                });
                assert!(error <= allowed, "{law:?} {sample}: {heard}");
            }
        }
    }

    #[test]
    fn conversion_keeps_silence_silent_and_the_same_law_untouched() {
        let mut payload = vec![Law::Mu.silence(); 3];
        convert(&mut payload, Law::Mu, Law::A);
        assert!(payload.iter().all(|b| Law::A.decode(*b).abs() <= 8));
        let mut all: Vec<u8> = (0..=255).collect();
        convert(&mut all, Law::A, Law::A);
        assert!(all.iter().copied().eq(0..=255));
    }
}
