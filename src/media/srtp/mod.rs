//! SRTP and SRTCP (RFC 3711, RFC 7714): the two directions of one leg. Packets are protected and opened in
//! place, without allocation. A packet that is not from who has the key changes nothing.

mod cipher;
mod window;

use cipher::{ENCRYPTED, Purpose, RTCP_HEADER, SessionKeys};
use window::Window;

use super::keying::Suite;
use crate::base::quiet::quiet_debug;
use crate::base::secret::Secret;

/// What is added to an RTP packet at most.
pub const RTP_TRAILER: usize = 16;
/// What is added to an RTCP packet at most.
pub const RTCP_TRAILER: usize = 20;

/// Sources that one peer may have at once. Of more the one that was quiet longest is forgotten: only who
/// has the key can make it so, and a call whose PBX changes sources often goes on.
const MAX_SOURCES: usize = 16;
/// Sources of our own under one key.
const MAX_SENT: usize = 4;
const LAST_INDEX: u64 = (1 << 48) - 1;
const LAST_REPORT: u32 = (1 << 31) - 1;

/// Why a packet that came is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not a packet of this kind")]
    Malformed,
    #[error("not from who has the key")]
    Forged,
    #[error("seen before, or too old to know")]
    Replayed,
    #[error("not encrypted")]
    Clear,
}

/// What we send, under one master key. No index is ever used twice (RFC 3711 9.1).
pub struct Outbound {
    rtp: SessionKeys,
    rtcp: SessionKeys,
    sources: Vec<Sent>,
    next_report: u32,
}

struct Sent {
    ssrc: u32,
    last: u64,
}

impl Outbound {
    /// `None` when the master key has not the suite's length.
    pub fn new(suite: Suite, master: &Secret) -> Option<Self> {
        Some(Self {
            rtp: SessionKeys::derive(suite, master.expose(), Purpose::Rtp)?,
            rtcp: SessionKeys::derive(suite, master.expose(), Purpose::Rtcp)?,
            sources: Vec::with_capacity(1),
            next_report: 0,
        })
    }

    /// Protects the RTP packet of `length` bytes at the beginning of `buffer`, which has [`RTP_TRAILER`] bytes
    /// of room after it, and gives its new length. Packets of one source go in the order of their numbers.
    /// `None`: it may not be sent.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let header = Header::read(buffer.get(..length)?)?;
        let index = self.index(header.ssrc, header.sequence)?;
        self.rtp.seal_rtp(buffer, header.length, length, header.ssrc, index)
    }

    /// The same for RTCP, with [`RTCP_TRAILER`] bytes of room.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let ssrc = ssrc_of_rtcp(buffer.get(..length)?)?;
        let index = self.next_report;
        if index > LAST_REPORT {
            return None;
        }
        self.next_report += 1;
        self.rtcp.seal_rtcp(buffer, length, ssrc, index)
    }

    fn index(&mut self, ssrc: u32, sequence: u16) -> Option<u64> {
        let Some(sent) = self.sources.iter_mut().find(|s| s.ssrc == ssrc) else {
            let first = Sent { ssrc, last: sequence.into() };
            return (self.sources.len() < MAX_SENT).then(|| {
                self.sources.push(first);
                sequence.into()
            });
        };
        let step = sequence.wrapping_sub(sent.last as u16);
        let index = sent.last + u64::from(step);
        if step == 0 || step > u16::MAX / 2 || index > LAST_INDEX {
            return None;
        }
        sent.last = index;
        Some(index)
    }
}

/// What a peer sends, under one master key.
pub struct Inbound {
    rtp: SessionKeys,
    rtcp: SessionKeys,
    sources: Vec<Received>,
    /// Counts packets, to tell which source was quiet longest.
    taken: u64,
    /// Rollover counters that sources had under the key before.
    before: Vec<(u32, u32)>,
}

struct Received {
    ssrc: u32,
    rtp: Option<Window>,
    rtcp: Option<Window>,
    /// `taken` at its last packet.
    at: u64,
}

impl Inbound {
    /// `None` when the master key has not the suite's length.
    pub fn new(suite: Suite, master: &Secret) -> Option<Self> {
        Some(Self {
            rtp: SessionKeys::derive(suite, master.expose(), Purpose::Rtp)?,
            rtcp: SessionKeys::derive(suite, master.expose(), Purpose::Rtcp)?,
            sources: Vec::with_capacity(1),
            taken: 0,
            before: Vec::new(),
        })
    }

    /// Under a new key of the same peer. RFC 3711 3.3.1 keeps rollover counters across a new key, RFC 4568 7.1.4
    /// begins them anew when the peer moved, and phones do as they like: both are tried.
    pub fn successor(&self, suite: Suite, master: &Secret) -> Option<Self> {
        let counter = |s: &Received| s.rtp.map(|w| (s.ssrc, w.rollovers())).filter(|(_, r)| *r > 0);
        let before = self.sources.iter().filter_map(counter).collect();
        Some(Self { before, ..Self::new(suite, master)? })
    }

    /// Opens an RTP packet: the beginning of `bytes`, of the length given back, is as the peer meant it.
    pub fn open_rtp(&mut self, bytes: &mut [u8]) -> Result<usize, Refused> {
        let header = Header::read(bytes).ok_or(Refused::Malformed)?;
        let (mut length, mut index) = (None, 0);
        for candidate in self.candidates(header.ssrc, header.sequence)?.into_iter().flatten() {
            index = candidate;
            length = self.rtp.open_rtp(bytes, header.length, header.ssrc, index);
            if length.is_some() {
                break;
            }
        }
        let length = length.ok_or(Refused::Forged)?;
        let source = self.source(header.ssrc);
        source.rtp.get_or_insert(Window::new(index)).note(index);
        Ok(length)
    }

    /// Opens an RTCP packet. One in the clear is refused, although it may bear a tag (RFC 3711 3.4): we agree to
    /// no `UNENCRYPTED_SRTCP`.
    pub fn open_rtcp(&mut self, bytes: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = ssrc_of_rtcp(bytes).ok_or(Refused::Malformed)?;
        let word = self.rtcp.word_of(bytes).ok_or(Refused::Malformed)?;
        if word & ENCRYPTED == 0 {
            return Err(Refused::Clear);
        }
        let index = word & !ENCRYPTED;
        let known = self.sources.iter().find(|s| s.ssrc == ssrc).and_then(|s| s.rtcp);
        if known.is_some_and(|window| !window.is_new(index.into())) {
            return Err(Refused::Replayed);
        }
        let length = self.rtcp.open_rtcp(bytes, ssrc, index).ok_or(Refused::Forged)?;
        let source = self.source(ssrc);
        source.rtcp.get_or_insert(Window::new(index.into())).note(index.into());
        Ok(length)
    }

    /// Indices that a sequence number may stand for, the likeliest first. Of a source whose first packet
    /// this is, nobody says the rollover counter: it is 0, or what it was under the key before, or 1 when
    /// the packets before the first rollover were lost on the way.
    fn candidates(&self, ssrc: u32, sequence: u16) -> Result<[Option<u64>; 4], Refused> {
        if let Some(window) = self.sources.iter().find(|s| s.ssrc == ssrc).and_then(|s| s.rtp) {
            let index = window.guess(sequence);
            return if window.is_new(index) {
                Ok([Some(index), None, None, None])
            } else {
                Err(Refused::Replayed)
            };
        }
        let index = |rollovers: u32| u64::from(rollovers) << 16 | u64::from(sequence);
        let before = self.before.iter().find(|(s, _)| *s == ssrc).map(|(_, rollovers)| *rollovers);
        let early = sequence <= u16::MAX / 2;
        Ok([
            Some(index(0)),
            before.map(index),
            // The wrap came between the two keys.
            before.filter(|_| early).map(|rollovers| index(rollovers.wrapping_add(1))),
            (early && before.is_none()).then(|| index(1)),
        ])
    }

    fn source(&mut self, ssrc: u32) -> &mut Received {
        self.taken += 1;
        let place = self.sources.iter().position(|s| s.ssrc == ssrc).unwrap_or_else(|| {
            let new = Received { ssrc, rtp: None, rtcp: None, at: 0 };
            let quietest = self.sources.iter().enumerate().min_by_key(|(_, s)| s.at).map(|(place, _)| place);
            if let Some(place) = quietest.filter(|_| self.sources.len() >= MAX_SOURCES) {
                self.sources[place] = new;
                return place;
            }
            self.sources.push(new);
            self.sources.len() - 1
        });
        let source = &mut self.sources[place];
        source.at = self.taken;
        source
    }
}

/// What SRTP needs of an RTP header, which stays in the clear.
struct Header {
    /// With CSRC and extension.
    length: usize,
    sequence: u16,
    ssrc: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, _, s1, s2, _, _, _, _, c1, c2, c3, c4, ..] = *bytes else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let mut length = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let extension = bytes.get(length + 2..length + 4)?;
            length += 4 + 4 * usize::from(u16::from_be_bytes(extension.try_into().ok()?));
        }
        (length <= bytes.len()).then_some(Self {
            length,
            sequence: u16::from_be_bytes([s1, s2]),
            ssrc: u32::from_be_bytes([c1, c2, c3, c4]),
        })
    }
}

fn ssrc_of_rtcp(bytes: &[u8]) -> Option<u32> {
    let [first, _, _, _, ssrc @ ..] = bytes.get(..RTCP_HEADER)? else { return None };
    (first >> 6 == 2).then_some(u32::from_be_bytes(ssrc.try_into().ok()?))
}

quiet_debug!(Outbound => "Outbound", Inbound => "Inbound");

#[cfg(test)]
mod tests;
