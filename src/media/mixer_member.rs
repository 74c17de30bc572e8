//! One leg of a room: its voice at the room's rate, and what it is to hear in the codec that it speaks itself, so that the
//! leg need not change it again. The only jitter buffer on the way is the one here.

use super::codec::{FRAME, Rate};
use super::command::Codec;
use super::encode::Encoder;
use super::g711::Law;
use super::inlet::Inlet;
use super::leg::Heard;
use super::outgoing::MAX_FRAME;
use super::playout::Playout;
use super::resample::Resampler;
use super::seam::Seam;
use crate::base::id::LegKey;

/// Samples of 20 ms at the higher rate.
pub(super) const WIDE: usize = 2 * FRAME;
/// Ticks (200 ms) for which a leg stays with a codec: to change it costs memory and time.
const STEADY: u8 = 10;

pub(super) struct Member {
    pub(super) leg: LegKey,
    /// What it says, at the room's rate: the last 20 ms.
    pub(super) own: Vec<i16>,
    inlet: Inlet,
    /// In place of the inlet, for what is not G.711.
    playout: Option<Box<Playout>>,
    /// By which the leg was heard last; mostly it is what its peer wants to hear, too. For another codec the leg
    /// changes what it is given.
    speaks: Codec,
    /// What it is heard by and given now, for so many ticks.
    codec: Codec,
    steady: u8,
    /// For which codec and rate of the room the two below are.
    fitted: Option<(Codec, Rate)>,
    entry: Option<Box<Resampler>>,
    /// Not for G.711 in a room of its rate.
    encoder: Option<Box<Encoder>>,
    seam: Seam,
    out: [u8; MAX_FRAME],
    length: usize,
}

impl Member {
    pub(super) fn new(leg: LegKey) -> Self {
        Self {
            leg,
            own: Vec::with_capacity(WIDE),
            inlet: Inlet::new(),
            playout: None,
            speaks: Codec::Pcma,
            codec: Codec::Pcma,
            steady: STEADY,
            fitted: None,
            entry: None,
            encoder: None,
            seam: Seam::default(),
            out: [0; MAX_FRAME],
            length: 0,
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// What is to be sent to it; nothing when it could not be made.
    pub(super) fn out(&self) -> &[u8] {
        self.out.get(..self.length).unwrap_or_default()
    }

    /// What it hears next continues something else than the last.
    pub(super) fn open_seam(&mut self) {
        self.seam.open();
    }

    pub(super) fn hear(&mut self, codec: Codec, heard: &Heard<'_>) {
        self.speaks = codec;
        match codec.law() {
            Some(law) => self.inlet.push(heard.source, heard.timestamp, law, heard.payload),
            None => self.playout.get_or_insert_with(|| Box::new(Playout::new(Rate::Wide))).push(heard),
        }
    }

    /// Each tick: takes up the codec that it speaks by now.
    pub(super) fn settle(&mut self) {
        if self.steady < STEADY {
            self.steady += 1;
        } else if self.speaks != self.codec {
            (self.codec, self.steady) = (self.speaks, 0);
            if self.codec.law().is_some() {
                self.playout = None;
            }
        }
    }

    /// The room is of that rate.
    pub(super) fn fit(&mut self, rate: Rate) {
        if self.fitted == Some((self.codec, rate)) {
            return;
        }
        if self.fitted.replace((self.codec, rate)).is_some() {
            self.seam.open();
        }
        self.entry = Resampler::new(self.codec.rate(), rate).map(Box::new);
        let is_plain = self.codec.law().is_some() && rate == Rate::Narrow;
        self.encoder = if is_plain { None } else { Encoder::new(self.codec, rate).map(Box::new) };
    }

    /// Its next 20 ms. Whether anything was heard.
    pub(super) fn pull(&mut self) -> bool {
        self.own.clear();
        let mut narrow = [0; FRAME];
        let (frame, heard) = match &mut self.playout {
            Some(playout) if self.codec.law().is_none() => {
                playout.pull();
                (playout.frame(), !playout.is_idle())
            }
            _ => {
                let heard = self.inlet.pull(&mut narrow);
                (&narrow[..], heard)
            }
        };
        match &mut self.entry {
            Some(entry) => entry.process(frame, &mut self.own),
            None => self.own.extend_from_slice(frame),
        }
        heard
    }

    /// Writes down what it is to hear: these samples, at the room's rate.
    pub(super) fn give(&mut self, samples: impl Iterator<Item = i16>, linear: &mut Vec<i16>) {
        linear.clear();
        let seam = &mut self.seam;
        linear.extend(samples.map(|sample| seam.pass(sample)));
        self.length = match (&mut self.encoder, self.codec.law()) {
            (Some(encoder), _) => encoder.encode(linear, &mut self.out).map_or(0, <[u8]>::len),
            (None, Some(law)) => put(law, linear, &mut self.out),
            (None, None) => 0,
        };
    }
}

fn put(law: Law, samples: &[i16], out: &mut [u8]) -> usize {
    out.iter_mut().zip(samples).map(|(byte, sample)| *byte = law.encode(*sample)).count()
}
