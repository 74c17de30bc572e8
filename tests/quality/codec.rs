//! The codecs in which peers of these tests speak, from their own tables: nothing of the product's, or one fault on
//! both sides would cancel itself out.

use std::sync::OnceLock;

use super::support::prompts::{linear, ulaw_linear};

/// A codec by which a peer may be called; a row more is a codec more in every test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Pcma,
    Pcmu,
}

impl Codec {
    pub const ALL: [Self; 2] = [Self::Pcma, Self::Pcmu];

    /// As the `m=` line has it.
    pub fn format(self) -> &'static str {
        match self {
            Self::Pcma => "8",
            Self::Pcmu => "0",
        }
    }

    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
        }
    }

    /// The payloads of 20 ms each of something said at 8 kHz.
    pub fn encode(self, samples: &[i16]) -> Vec<u8> {
        let table = self.table();
        samples.iter().map(|sample| table[usize::from(sample.cast_unsigned())]).collect()
    }

    pub fn decode(self, octets: &[u8]) -> Vec<i16> {
        octets.iter().map(|octet| self.value(*octet)).collect()
    }

    /// What sounds like nothing.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcma => 0xd5,
            Self::Pcmu => 0xff,
        }
    }

    fn value(self, octet: u8) -> i16 {
        match self {
            Self::Pcma => linear(octet),
            Self::Pcmu => ulaw_linear(octet),
        }
    }

    /// The nearest octet to each 16-bit value.
    fn table(self) -> &'static [u8] {
        static TABLES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
        TABLES[usize::from(self == Self::Pcmu)].get_or_init(|| {
            let mut octets: Vec<u8> = (0..=255).collect();
            octets.sort_by_key(|octet| self.value(*octet));
            let mut at = 0;
            let mut nearest = vec![0; 1 << 16];
            for value in i16::MIN..=i16::MAX {
                let distance = |at: usize| (i32::from(self.value(octets[at])) - i32::from(value)).abs();
                while at + 1 < octets.len() && distance(at + 1) <= distance(at) {
                    at += 1;
                }
                nearest[usize::from(value.cast_unsigned())] = octets[at];
            }
            nearest
        })
    }
}
