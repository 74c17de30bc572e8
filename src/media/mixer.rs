//! A room, sans-IO: three or more legs, of which each hears all the others and not itself. Every 20 ms a frame of each
//! goes in and one for each comes out; a leg that is missing is made up for by its own [`Inlet`] and holds up nobody.

use std::sync::Arc;

use super::codec::{FRAME, Rate};
use super::command::{Clip, MOST_IN_A_ROOM, Sound};
use super::g711::Law;
use super::inlet::Inlet;
use super::leg::Heard;
use super::player::Player;
use super::playout::Playout;
use super::seam::Seam;
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
    chime: Option<Player>,
    /// Timestamp of what goes out.
    clock: u32,
    /// And its number.
    sequence: u16,
    /// It waits to begin, for so many frames already.
    waits: Option<u8>,
}

struct Member {
    leg: LegKey,
    inlet: Inlet,
    frame: [i16; FRAME],
    /// In place of the inlet, when what is heard of the leg is not G.711.
    playout: Option<Box<Playout>>,
    /// By which the leg was heard last; mostly it is what its peer wants to hear, too. For another codec the leg
    /// changes what it is given.
    law: Law,
    seam: Seam,
    out: [u8; FRAME],
}

impl Room {
    pub fn new(key: RoomKey) -> Self {
        let members = Vec::with_capacity(MOST_IN_A_ROOM);
        // Never sent; only other than the peers', which are random.
        let source = (key.0 as u32) ^ 0x4d69_7846;
        Self { source, members, chime: None, clock: 0, sequence: 0, waits: Some(0) }
    }

    /// Somebody comes in. Twice is once; into a full room nobody comes.
    pub fn join(&mut self, leg: LegKey) {
        if self.members.len() < MOST_IN_A_ROOM && self.member(leg).is_none() {
            let (frame, out) = ([0; FRAME], [0; FRAME]);
            let (inlet, seam, law) = (Inlet::new(), Seam::default(), Law::A);
            self.members.push(Member { leg, inlet, frame, playout: None, law, seam, out });
        }
    }

    /// Somebody leaves; what the others hear of it makes no click.
    pub fn leave(&mut self, leg: LegKey) {
        let before = self.members.len();
        self.members.retain(|member| member.leg != leg);
        if self.members.len() < before {
            self.members.iter_mut().for_each(|member| member.seam.open());
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
        if self.chime.replace(Player::new(PlayKey(0), vec![clip], false)).is_some() {
            self.members.iter_mut().for_each(|member| member.seam.open());
        }
    }

    /// What a leg of the room has heard. Keys are not sound, and who sends comfort noise is silent.
    pub fn hear(&mut self, leg: LegKey, heard: &Heard<'_>) {
        let Some(member) = self.member(leg) else { return };
        match heard.sound {
            Sound::Audio(codec) => {
                if let Some(law) = codec.law() {
                    (member.law, member.playout) = (law, None);
                    return member.inlet.push(heard.source, heard.timestamp, law, heard.payload);
                }
                let playout = || Box::new(Playout::new(Rate::Narrow));
                member.playout.get_or_insert_with(playout).push(heard);
            }
            Sound::Key { .. } | Sound::Noise => {}
        }
    }

    /// The 20 ms clock. Whether there is something to send now: by [`Self::heard_by`] for each place below
    /// [`MOST_IN_A_ROOM`].
    pub fn tick(&mut self) -> bool {
        let mut total = [0; FRAME];
        let mut anybody = false;
        for member in &mut self.members {
            anybody |= member.pull();
            total.iter_mut().zip(&member.frame).for_each(|(sum, sample)| *sum += i32::from(*sample));
        }
        if let Some(waited) = self.waits.filter(|waited| !anybody && *waited < PATIENCE) {
            self.waits = Some(waited + 1);
            return false;
        }
        self.waits = None;
        self.add_chime(&mut total);
        for member in &mut self.members {
            for ((out, sum), own) in member.out.iter_mut().zip(&total).zip(&member.frame) {
                *out = member.law.encode(member.seam.pass(softened(*sum - i32::from(*own))));
            }
        }
        self.clock = self.clock.wrapping_add(FRAME as u32);
        self.sequence = self.sequence.wrapping_add(1);
        true
    }

    /// Who sits at this place, and what is to be sent there.
    pub fn heard_by(&self, place: usize) -> Option<(LegKey, Heard<'_>)> {
        let Member { leg, law, out, .. } = self.members.get(place)?;
        let Self { source, sequence, clock: timestamp, .. } = *self;
        let sound = Sound::Audio(law.codec());
        let heard = Heard { source, sequence, timestamp, marker: false, sound, payload: out };
        Some((*leg, heard))
    }

    fn add_chime(&mut self, total: &mut [i32; FRAME]) {
        let Some(player) = &mut self.chime else { return };
        let mut frame = [0; FRAME];
        let more = player.next(Law::A, &mut frame);
        total.iter_mut().zip(frame).for_each(|(sum, byte)| *sum += i32::from(Law::A.decode(byte)));
        if !more {
            self.chime = None;
        }
    }

    fn member(&mut self, leg: LegKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.leg == leg)
    }
}

impl Member {
    /// Its next 20 ms. Whether anything was heard.
    fn pull(&mut self) -> bool {
        let Some(playout) = &mut self.playout else { return self.inlet.pull(&mut self.frame) };
        for (place, sample) in self.frame.iter_mut().zip(playout.pull()) {
            *place = *sample;
        }
        !playout.is_idle()
    }
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
