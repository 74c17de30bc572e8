//! What one audio stream may carry, and the payload types that stand for it (RFC 3551 6, RFC 4733).

use super::session::{Media, WrittenFormat};

/// The codecs that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    Pcma,
    Pcmu,
    G722,
    Opus,
}

impl Codec {
    /// Its RTP clock. G.722's is 8000 by an old mistake (RFC 3551 4.5.2).
    pub fn clock(self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }
}

/// Anything that has a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Audio(Codec),
    /// Telephone-event; its clock is that of the audio beside it.
    Keys {
        clock: u32,
    },
    /// Comfort noise.
    Noise,
}

/// One format of an agreement: `receive` by which the peer sends it, `send` by which we do (RFC 3264 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    pub format: Format,
    pub receive: u8,
    pub send: u8,
}

impl Format {
    /// Static payload type (RFC 3551 6).
    fn fixed(self) -> Option<u8> {
        match self {
            Self::Audio(Codec::Pcma) => Some(8),
            Self::Audio(Codec::Pcmu) => Some(0),
            Self::Audio(Codec::G722) => Some(9),
            Self::Noise => Some(13),
            Self::Audio(Codec::Opus) | Self::Keys { .. } => None,
        }
    }

    /// The number that we take for it when we offer, if nothing else has it.
    pub(super) fn usual(self) -> u8 {
        match self {
            Self::Keys { clock: 8000 } => 101,
            Self::Keys { .. } => 102,
            Self::Audio(_) | Self::Noise => self.fixed().unwrap_or(96),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Audio(Codec::Pcma) => "pcma",
            Self::Audio(Codec::Pcmu) => "pcmu",
            Self::Audio(Codec::G722) => "g722",
            Self::Audio(Codec::Opus) => "opus",
            Self::Keys { .. } => "telephone-event",
            Self::Noise => "cn",
        }
    }

    fn clock(self) -> u32 {
        match self {
            Self::Audio(codec) => codec.clock(),
            Self::Keys { clock } => clock,
            Self::Noise => 8000,
        }
    }

    fn encoding(self) -> &'static str {
        match self {
            Self::Audio(Codec::Pcma) => "PCMA/8000",
            Self::Audio(Codec::Pcmu) => "PCMU/8000",
            Self::Audio(Codec::G722) => "G722/8000",
            // Always two channels, whatever is sent (RFC 7587 7).
            Self::Audio(Codec::Opus) => "opus/48000/2",
            Self::Keys { clock: 8000 } => "telephone-event/8000",
            Self::Keys { .. } => "telephone-event/48000",
            Self::Noise => "CN/8000",
        }
    }

    fn parameters(self) -> Option<&'static str> {
        match self {
            Self::Keys { .. } => Some("0-15"),
            Self::Audio(Codec::Opus) => Some("useinbandfec=1;stereo=0;sprop-stereo=0"),
            Self::Audio(_) | Self::Noise => None,
        }
    }

    /// How we write it by that number.
    pub(super) fn written(self, number: u8) -> WrittenFormat {
        WrittenFormat { number, encoding: self.encoding(), parameters: self.parameters() }
    }

    /// The payload type by which a section names it: by `a=rtpmap`, else the static one.
    pub(super) fn number_in(self, media: &Media) -> Option<u8> {
        let listed = |pt: u8| media.formats.iter().any(|f| f.parse() == Ok(pt));
        let is_this = |name: &str, clock: u32| name == self.name() && clock == self.clock();
        let mapped = media.rtpmaps.iter().find(|(pt, name, clock)| is_this(name, *clock) && listed(*pt));
        mapped.map(|(pt, _, _)| *pt).or_else(|| {
            let pt = self.fixed()?;
            let remapped = media.rtpmaps.iter().any(|(p, name, _)| *p == pt && name != self.name());
            (listed(pt) && !remapped).then_some(pt)
        })
    }
}
