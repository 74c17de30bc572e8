//! What the codecs differ in: their clocks, and the rate at which they are linear samples.

use super::command::Codec;
use super::g711::Law;
use super::opus;

/// Samples of a 20 ms packet at 8 kHz.
pub const FRAME: usize = 160;
/// Packets a second of what we make ourselves.
pub const FRAMES_A_SECOND: u32 = 50;

/// A rate of linear samples. What is above 7 kHz passes only where it need not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// 8 kHz.
    Narrow,
    /// 16 kHz.
    Wide,
}

impl Rate {
    pub fn hertz(self) -> u32 {
        match self {
            Self::Narrow => 8000,
            Self::Wide => 16_000,
        }
    }

    /// Samples of 20 ms.
    pub fn frame(self) -> usize {
        (self.hertz() / FRAMES_A_SECOND) as usize
    }
}

impl Law {
    /// Its codec.
    pub fn codec(self) -> Codec {
        match self {
            Self::A => Codec::Pcma,
            Self::Mu => Codec::Pcmu,
        }
    }
}

impl Codec {
    /// Units of its RTP timestamp a second. G.722's is 8000 by an old mistake (RFC 3551 4.5.2), that of Opus
    /// is 48000 whatever it carries (RFC 7587 4.1).
    pub fn clock(self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// Timestamp units of 20 ms.
    pub fn step(self) -> u32 {
        self.clock() / FRAMES_A_SECOND
    }

    /// The rate at which we decode it.
    pub fn rate(self) -> Rate {
        match self {
            Self::Pcma | Self::Pcmu => Rate::Narrow,
            Self::G722 | Self::Opus => Rate::Wide,
        }
    }

    /// Timestamp units that a payload lasts.
    pub fn units(self, payload: &[u8]) -> u32 {
        match self {
            // Eight bits a unit, also of G.722.
            Self::Pcma | Self::Pcmu | Self::G722 => payload.len() as u32,
            Self::Opus => opus::units(payload),
        }
    }

    /// Its law, when it is one of G.711.
    pub fn law(self) -> Option<Law> {
        match self {
            Self::Pcma => Some(Law::A),
            Self::Pcmu => Some(Law::Mu),
            Self::G722 | Self::Opus => None,
        }
    }
}
