//! A room, sans-IO: three or more legs, of which each hears all the others and not itself. Every 20 ms a frame of each
//! goes in and one for each comes out; a leg that is missing is made up for by its own [`Inlet`](super::inlet::Inlet) and
//! holds up nobody. The sound is mixed at 8 kHz; at 16 as long as two or more are there who can hear the difference.

use std::sync::Arc;

use super::codec::Rate;
use super::command::{Clip, MOST_IN_A_ROOM, Sound};
use super::leg::Heard;
use super::mixer_member::{Member, WIDE};
use super::player::Player;
use super::resample::Resampler;
use crate::base::id::{LegKey, PlayKey, RoomKey};
use crate::base::quiet::quiet_debug;

/// Up to here the sum stays as it is; what is above comes ever nearer to full scale and never there.
const KNEE: i32 = 24_576;
const ABOVE: i32 = i16::MAX as i32 - KNEE;
/// A room that begins waits for so many frames at most until somebody is heard, so that two who were bridged hear no
/// gap.
const PATIENCE: u8 = 2;

/// One room. See the module.
pub struct Room {
    source: u32,
    members: Vec<Member>,
    /// At which it mixes.
    rate: Rate,
    chime: Option<Chime>,
    /// Number of what goes out.
    sequence: u32,
    /// It waits to begin, for so many frames already.
    waits: Option<u8>,
    linear: Vec<i16>,
    changed: Vec<i16>,
}

/// A tone for all.
struct Chime {
    player: Player,
    /// Of the tone as it is read, and of the room that it is brought to.
    rates: Option<(Rate, Rate)>,
    entry: Option<Resampler>,
}

impl Room {
    pub fn new(key: RoomKey) -> Self {
        let members = Vec::with_capacity(MOST_IN_A_ROOM);
        // Never sent; only other than the peers', which are random.
        let source = (key.0 as u32) ^ 0x4d69_7846;
        let (linear, changed) = (Vec::with_capacity(WIDE), Vec::with_capacity(WIDE));
        let (rate, sequence, waits) = (Rate::Narrow, 0, Some(0));
        Self { source, members, rate, chime: None, sequence, waits, linear, changed }
    }

    /// Somebody comes in. Twice is once; into a full room nobody comes.
    pub fn join(&mut self, leg: LegKey) {
        if self.members.len() < MOST_IN_A_ROOM && self.member(leg).is_none() {
            self.members.push(Member::new(leg));
        }
    }

    /// Somebody leaves; what the others hear of it makes no click.
    pub fn leave(&mut self, leg: LegKey) {
        let before = self.members.len();
        self.members.retain(|member| member.leg != leg);
        if self.members.len() < before {
            self.members.iter_mut().for_each(Member::open_seam);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn legs(&self) -> impl Iterator<Item = LegKey> {
        self.members.iter().map(|member| member.leg)
    }

    /// All hear this, besides each other.
    pub fn chime(&mut self, clip: Arc<Clip>) {
        let player = Player::new(PlayKey(0), vec![clip], false);
        if self.chime.replace(Chime { player, rates: None, entry: None }).is_some() {
            self.members.iter_mut().for_each(Member::open_seam);
        }
    }

    /// What a leg of the room has heard. Keys are not sound, and who sends comfort noise is silent.
    pub fn hear(&mut self, leg: LegKey, heard: &Heard<'_>) {
        let Some(member) = self.member(leg) else { return };
        match heard.sound {
            Sound::Audio(codec) => member.hear(codec, heard),
            Sound::Key { .. } | Sound::Noise => {}
        }
    }

    /// The 20 ms clock. Whether there is something to send now: by [`Self::heard_by`] for each place below
    /// [`MOST_IN_A_ROOM`].
    pub fn tick(&mut self) -> bool {
        self.fit();
        let mut total = [0; WIDE];
        let mut anybody = false;
        for member in &mut self.members {
            anybody |= member.pull();
            add(&mut total, &member.own);
        }
        if let Some(waited) = self.waits.filter(|waited| !anybody && *waited < PATIENCE) {
            self.waits = Some(waited + 1);
            return false;
        }
        self.waits = None;
        self.add_chime(&mut total);
        let length = self.rate.frame();
        for member in &mut self.members {
            let own = std::mem::take(&mut member.own);
            let others =
                total.iter().zip(&own).take(length).map(|(sum, own)| softened(*sum - i32::from(*own)));
            member.give(others, &mut self.linear);
            member.own = own;
        }
        self.sequence = self.sequence.wrapping_add(1);
        true
    }

    /// Who sits at this place, and what is to be sent there; no payload when it could not be made.
    pub fn heard_by(&self, place: usize) -> Option<(LegKey, Heard<'_>)> {
        let member = self.members.get(place)?;
        let codec = member.codec();
        let heard = Heard {
            source: self.source,
            sequence: self.sequence as u16,
            timestamp: self.sequence.wrapping_mul(codec.step()),
            marker: false,
            sound: Sound::Audio(codec),
            payload: member.out(),
        };
        Some((member.leg, heard))
    }

    /// The rate is that of the second best: nobody is served by more.
    fn fit(&mut self) {
        self.members.iter_mut().for_each(Member::settle);
        let wide = self.members.iter().filter(|member| member.codec().rate() == Rate::Wide).count();
        self.rate = if wide >= 2 { Rate::Wide } else { Rate::Narrow };
        self.members.iter_mut().for_each(|member| member.fit(self.rate));
    }

    fn add_chime(&mut self, total: &mut [i32; WIDE]) {
        let Some(chime) = &mut self.chime else { return };
        let rates = (chime.player.rate().min(self.rate), self.rate);
        if chime.rates != Some(rates) {
            (chime.rates, chime.entry) = (Some(rates), Resampler::new(rates.0, rates.1));
        }
        self.linear.clear();
        let more = chime.player.next_linear(rates.0, &mut self.linear);
        match &mut chime.entry {
            Some(entry) => {
                self.changed.clear();
                entry.process(&self.linear, &mut self.changed);
                add(total, &self.changed);
            }
            None => add(total, &self.linear),
        }
        if !more {
            self.chime = None;
        }
    }

    fn member(&mut self, leg: LegKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.leg == leg)
    }
}

fn add(total: &mut [i32; WIDE], samples: &[i16]) {
    total.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += i32::from(*sample));
}

/// A sum within the 16 bits: several loud voices are pressed together, not cut off.
fn softened(sum: i32) -> i16 {
    let above = sum.abs() - KNEE;
    let size = if above <= 0 { sum.abs() } else { KNEE + ABOVE * above / (ABOVE + above) };
    (if sum < 0 { -size } else { size }) as i16
}

quiet_debug!(Room => "Room");

#[cfg(test)]
#[path = "mixer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "mixer_wide_tests.rs"]
mod wide_tests;
