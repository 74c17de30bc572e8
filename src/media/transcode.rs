//! From one codec to another across a bridge, at the lower of their rates. The leg that sends has it: packets of the
//! other leg go in as they come, one payload comes out at each tick.

use super::command::Codec;
use super::encode::Encoder;
use super::leg::Heard;
use super::playout::Playout;
use crate::base::quiet::quiet_debug;

pub struct Transcoder {
    from: Codec,
    playout: Playout,
    encoder: Encoder,
}

impl Transcoder {
    pub fn new(from: Codec, to: Codec) -> Option<Self> {
        let rate = from.rate().min(to.rate());
        Some(Self { from, playout: Playout::new(rate), encoder: Encoder::new(to, rate)? })
    }

    pub fn from(&self) -> Codec {
        self.from
    }

    pub fn to(&self) -> Codec {
        self.encoder.codec()
    }

    /// Whether it is the one for these two.
    pub fn is_for(&self, from: Codec, to: Codec) -> bool {
        (self.from, self.to()) == (from, to)
    }

    pub fn push(&mut self, heard: &Heard<'_>) {
        self.playout.push(heard);
    }

    /// The next 20 ms.
    pub fn next<'a>(&mut self, out: &'a mut [u8]) -> Option<&'a [u8]> {
        self.encoder.encode(self.playout.pull(), out)
    }

    /// 20 ms go by unheard.
    pub fn pass(&mut self) {
        self.playout.pull();
    }

    pub fn is_idle(&self) -> bool {
        self.playout.is_idle()
    }
}

quiet_debug!(Transcoder => "Transcoder");
