//! The sound that a leg sends by its clock, in the codec of its peer: a prompt, silence, or another leg's voice when
//! that has another codec. G.711 is copied from memory; for the others one encoder runs on through all of it, so that
//! prompts join without a gap or a click. Music on hold is that of all who wait: `hold` leads in and out of it.

use std::sync::Arc;

use super::codec::{FRAME, Rate};
use super::command::{Clip, Codec, Music};
use super::encode::Encoder;
use super::hold::Hold;
use super::leg::Heard;
use super::player::Player;
use super::radio::Radio;
use super::transcode::Transcoder;
use crate::base::id::PlayKey;

/// Room for 20 ms of any codec.
pub const MAX_FRAME: usize = 400;

#[derive(Default)]
pub struct Outgoing {
    player: Option<Player>,
    /// What was cut off has one frame more, in which it fades out; what follows waits for it.
    leaving: Option<Player>,
    hold: Option<Hold>,
    /// The same of music on hold.
    leaving_hold: Option<Hold>,
    bridged: bool,
    /// Bridged, but the other leg is quiet: silence is sent.
    filling: bool,
    /// Bridged, and the other leg's packets can't go on as they are.
    transcoder: Option<Box<Transcoder>>,
    encoder: Option<Box<Encoder>>,
    linear: Vec<i16>,
}

/// What there is to send, and the playing that ended with it.
pub struct Frame<'a> {
    pub payload: &'a [u8],
    pub ended: Option<PlayKey>,
}

impl Outgoing {
    pub fn play(&mut self, play: PlayKey, clips: Vec<Arc<Clip>>, repeat: bool) {
        self.stop();
        self.player = Some(Player::new(play, clips, repeat));
    }

    pub fn stop(&mut self) {
        self.leaving = self.player.take().and_then(Player::cut_off).or(self.leaving.take());
        self.leaving_hold = self.hold.take().filter(Hold::is_heard).or(self.leaving_hold.take());
    }

    /// Music on hold, until something else is to be heard. The same goes on.
    pub fn hold(&mut self, music: Arc<Music>) {
        if self.hold.as_ref().is_some_and(|hold| hold.is_of(&music)) && self.player.is_none() {
            return;
        }
        self.stop();
        self.hold = Some(Hold::new(music));
    }

    pub fn bridge(&mut self) {
        self.stop();
        (self.bridged, self.filling, self.transcoder) = (true, false, None);
    }

    pub fn unbridge(&mut self) {
        (self.bridged, self.filling, self.transcoder) = (false, false, None);
    }

    pub fn is_playing(&self) -> bool {
        self.player.is_some() || self.leaving.is_some() || self.hold.is_some() || self.leaving_hold.is_some()
    }

    pub fn is_bridged(&self) -> bool {
        self.bridged
    }

    /// The other leg has been quiet for long.
    pub fn fill(&mut self) {
        self.filling |= self.bridged;
    }

    /// The other leg's packets go on as they are.
    pub fn passes(&mut self) {
        (self.filling, self.transcoder) = (false, None);
    }

    /// Takes in a packet that can't go on as it is.
    pub fn take_in(&mut self, heard: &Heard<'_>, from: Codec, ours: Codec) {
        if self.transcoder.as_ref().is_none_or(|transcoder| !transcoder.is_for(from, ours)) {
            self.transcoder = Transcoder::new(from, ours).map(Box::new);
        }
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.push(heard);
        }
        self.filling = false;
    }

    /// What the other leg sends, when that is known because it is transcoded.
    pub fn other(&self) -> Option<Codec> {
        self.transcoder.as_ref().map(|transcoder| transcoder.from())
    }

    /// Whether there is something to send at each tick.
    pub fn wants_tick(&self) -> bool {
        !self.bridged || self.filling || self.transcoder.is_some()
    }

    /// 20 ms of the other leg go by unheard.
    pub fn pass(&mut self) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.pass();
        }
    }

    /// What is due now. `None` when a bridge's other leg is to be heard.
    pub fn next<'a>(
        &mut self,
        codec: Codec,
        radio: &mut Radio,
        out: &'a mut [u8; MAX_FRAME],
    ) -> Option<Frame<'a>> {
        // The peer may have changed its codec.
        self.transcoder.take_if(|transcoder| transcoder.to() != codec);
        if let Some(leaving) = self.leaving.take() {
            let next = self.player.replace(leaving);
            let frame = self.own(codec, out).map(|frame| Frame { ended: None, ..frame });
            self.player = next;
            self.pass();
            return frame;
        }
        if let Some(leaving) = self.leaving_hold.take() {
            self.pass();
            let payload = leaving.last(codec, radio, &mut self.encoder, out)?;
            return Some(Frame { payload, ended: None });
        }
        if let Some(hold) = self.hold.as_mut().filter(|_| self.player.is_none()) {
            let payload = hold.next(codec, radio, &mut self.encoder, out)?;
            return Some(Frame { payload, ended: None });
        }
        if self.player.is_none() {
            if let Some(transcoder) = &mut self.transcoder {
                return transcoder.next(out).map(|payload| Frame { payload, ended: None });
            }
            if self.bridged && !self.filling {
                return None;
            }
        }
        self.own(codec, out)
    }

    /// The prompt's next frame, or silence.
    fn own<'a>(&mut self, codec: Codec, out: &'a mut [u8; MAX_FRAME]) -> Option<Frame<'a>> {
        let Some(law) = codec.law() else { return self.encode(codec, out) };
        let payload = out.get_mut(..FRAME)?;
        let Some(player) = &mut self.player else {
            payload.fill(law.silence());
            return Some(Frame { payload, ended: None });
        };
        let goes_on = player.next(law, payload);
        let ended = (!goes_on).then_some(player.play);
        self.stop_at(ended);
        Some(Frame { payload, ended })
    }

    /// A key as a tone, in the place of all else.
    pub fn tone<'a>(
        &mut self,
        codec: Codec,
        samples: &[i16; FRAME],
        out: &'a mut [u8; MAX_FRAME],
    ) -> Option<Frame<'a>> {
        self.pass();
        if let Some(hold) = &mut self.hold {
            hold.interrupt();
        }
        let Some(law) = codec.law() else {
            if self.encoder.as_ref().is_none_or(|e| e.codec() != codec || e.rate() != Rate::Narrow) {
                self.encoder = Encoder::new(codec, Rate::Narrow).map(Box::new);
            }
            let payload = self.encoder.as_mut()?.encode(samples, out)?;
            return Some(Frame { payload, ended: None });
        };
        let payload = out.get_mut(..FRAME)?;
        payload.iter_mut().zip(samples).for_each(|(byte, sample)| *byte = law.encode(*sample));
        Some(Frame { payload, ended: None })
    }

    fn encode<'a>(&mut self, codec: Codec, out: &'a mut [u8]) -> Option<Frame<'a>> {
        let known =
            self.encoder.as_ref().filter(|encoder| encoder.codec() == codec).map(|encoder| encoder.rate());
        let rate = self.player.as_ref().map(Player::rate).or(known).unwrap_or(Rate::Narrow);
        if known != Some(rate) {
            let before = self.encoder.take().filter(|_| known.is_some());
            let encoder = before.map_or_else(|| Encoder::new(codec, rate), |encoder| encoder.at(rate));
            self.encoder = encoder.map(Box::new);
        }
        self.linear.clear();
        let goes_on = match &mut self.player {
            Some(player) => player.next_linear(rate, &mut self.linear),
            None => true,
        };
        self.linear.resize(rate.frame(), 0);
        let ended = self.player.as_ref().filter(|_| !goes_on).map(|player| player.play);
        self.stop_at(ended);
        let payload = self.encoder.as_mut()?.encode(&self.linear, out)?;
        Some(Frame { payload, ended })
    }

    fn stop_at(&mut self, ended: Option<PlayKey>) {
        if ended.is_some() {
            self.player = None;
        }
    }
}
