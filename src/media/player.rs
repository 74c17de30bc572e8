//! Playing: clips one after the other without a gap, copied from memory frame by frame.

use std::ops::Range;
use std::sync::Arc;

use super::codec::{FRAME, Rate};
use super::command::Clip;
use super::g711::Law;
use crate::base::id::PlayKey;

/// Samples of 8 kHz (5 ms) in which a sound that is cut off fades out.
pub const FADE: usize = 40;

/// One playing on one leg.
#[derive(Debug)]
pub struct Player {
    pub play: PlayKey,
    clips: Vec<Arc<Clip>>,
    repeat: bool,
    /// The clip being played, and how far in.
    index: usize,
    offset: usize,
    /// It is cut off: the next frame is its last.
    fading: bool,
}

impl Player {
    pub fn new(play: PlayKey, clips: Vec<Arc<Clip>>, repeat: bool) -> Self {
        Self { play, clips, repeat, index: 0, offset: 0, fading: false }
    }

    /// What is left of it when something else is to be heard: one frame that fades out, so that its end is no click.
    /// `None` before its beginning.
    pub fn cut_off(self) -> Option<Self> {
        (self.index > 0 || self.offset > 0).then_some(Self { fading: true, ..self })
    }

    /// Fills the next frame, with silence after the end. `true` while there is more to play.
    pub fn next(&mut self, law: Law, frame: &mut [u8]) -> bool {
        let mut room = frame.iter_mut();
        let goes_on = self.run(|clip, piece| {
            let bytes = bytes_of(clip, law).get(piece).unwrap_or_default();
            bytes.iter().zip(room.by_ref()).for_each(|(byte, place)| *place = *byte);
        });
        room.for_each(|place| *place = law.silence());
        if self.fading {
            for (index, byte) in frame.iter_mut().enumerate() {
                *byte = law.encode(faded(law.decode(*byte), index, FADE));
            }
        }
        goes_on && !self.fading
    }

    /// The same as samples: 20 ms, less at the end.
    pub fn next_linear(&mut self, rate: Rate, frame: &mut Vec<i16>) -> bool {
        let begin = frame.len();
        let goes_on = self.run(|clip, piece| match rate {
            Rate::Narrow => {
                let bytes = clip.pcma.get(piece).unwrap_or_default();
                frame.extend(bytes.iter().map(|byte| Law::A.decode(*byte)));
            }
            Rate::Wide => {
                frame.extend(clip.wide.get(2 * piece.start..2 * piece.end).unwrap_or_default());
            }
        });
        if self.fading {
            let length = FADE * rate.frame() / FRAME;
            for (index, sample) in frame.iter_mut().skip(begin).enumerate() {
                *sample = faded(*sample, index, length);
            }
        }
        goes_on && !self.fading
    }

    /// The rate of its sources: wide when all of them are.
    pub fn rate(&self) -> Rate {
        let all_wide = self.clips.iter().all(|clip| clip.wide.len() >= 2 * clip.pcma.len());
        if all_wide && !self.clips.is_empty() { Rate::Wide } else { Rate::Narrow }
    }

    /// Gives out pieces of clips (by samples of 8 kHz) that make up 20 ms.
    fn run(&mut self, mut piece: impl FnMut(&Clip, Range<usize>)) -> bool {
        let mut filled = 0;
        let mut empty_round = false;
        while filled < FRAME {
            let Some(clip) = self.clips.get(self.index) else {
                // A round that brought nothing would go on for ever.
                if !self.repeat || empty_round {
                    break;
                }
                (self.index, empty_round) = (0, true);
                continue;
            };
            let left = clip.pcma.len().saturating_sub(self.offset);
            let taken = left.min(FRAME - filled);
            piece(clip, self.offset..self.offset + taken);
            filled += taken;
            self.offset += taken;
            empty_round &= taken == 0;
            if taken == left {
                (self.index, self.offset) = (self.index + 1, 0);
            }
        }
        self.repeat || self.index < self.clips.len()
    }
}

/// A sample of a sound that is gone after `length`.
pub fn faded(sample: i16, index: usize, length: usize) -> i16 {
    (i32::from(sample) * length.saturating_sub(index) as i32 / length.max(1) as i32) as i16
}

fn bytes_of(clip: &Clip, law: Law) -> &[u8] {
    match law {
        Law::A => &clip.pcma,
        Law::Mu => &clip.pcmu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(bytes: impl Iterator<Item = u8>) -> Arc<Clip> {
        let pcma: Vec<u8> = bytes.collect();
        let pcmu = pcma.iter().map(|b| !b).collect();
        Arc::new(Clip { name: "test".into(), pcma, pcmu, wide: Vec::new() })
    }

    #[test]
    fn clips_follow_each_other_without_a_gap_and_the_end_is_silence() {
        let clips = vec![clip(0..100), clip(std::iter::empty()), clip(100..250)];
        let mut player = Player::new(PlayKey(1), clips, false);
        let (mut first, mut second) = ([0; FRAME], [0; FRAME]);
        assert!(player.next(Law::A, &mut first));
        assert!(!player.next(Law::A, &mut second));
        assert!(first.iter().chain(&second[..90]).copied().eq(0..250));
        assert!(second[90..].iter().all(|b| *b == Law::A.silence()));
    }

    #[test]
    fn samples_are_those_of_the_sources_rate_and_join_without_a_gap() {
        let wide = |from: i16| {
            let wide: Vec<i16> = (from..from + 200).collect();
            Arc::new(Clip { name: "wide".into(), pcma: vec![0xd5; 100], pcmu: vec![0xff; 100], wide })
        };
        let mut player = Player::new(PlayKey(1), vec![wide(0), wide(200)], false);
        let mut frame = Vec::new();
        assert_eq!(player.rate(), Rate::Wide);
        assert!(player.next_linear(Rate::Wide, &mut frame) && frame.len() == 320);
        assert!(!player.next_linear(Rate::Wide, &mut frame));
        assert!(frame.iter().copied().eq(0..400));
        let mixed = Player::new(PlayKey(1), vec![wide(0), clip(0..100)], false);
        assert_eq!(mixed.rate(), Rate::Narrow);
    }

    #[test]
    fn an_end_on_the_frame_is_known_with_the_last_frame() {
        let mut player = Player::new(PlayKey(1), vec![clip(0..160)], false);
        assert!(!player.next(Law::Mu, &mut [0; FRAME]));
        assert!(!Player::new(PlayKey(1), vec![], false).next(Law::Mu, &mut [0; FRAME]));
    }

    #[test]
    fn what_is_cut_off_fades_out_within_5_ms_and_what_has_not_begun_is_not_heard_at_all() {
        let loud = Law::A.encode(8000);
        let player = || Player::new(PlayKey(1), vec![clip(std::iter::repeat_n(loud, 1600))], true);
        assert!(player().cut_off().is_none());
        for law in [Law::A, Law::Mu] {
            let (mut player, mut frame) = (player(), [0; FRAME]);
            assert!(player.next(law, &mut frame));
            let before = law.decode(frame[FRAME - 1]);
            let mut leaving = player.cut_off().expect("it has begun");
            assert!(!leaving.next(law, &mut frame), "its last");
            let heard: Vec<i32> =
                [before].into_iter().chain(frame.map(|byte| law.decode(byte))).map(i32::from).collect();
            assert!(heard.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 600), "{heard:?}");
            assert!(heard[41..].iter().all(|sample| sample.abs() <= 8));
        }
        let mut player = player();
        player.next_linear(Rate::Narrow, &mut Vec::new());
        let mut frame = Vec::new();
        assert!(!player.cut_off().expect("it has begun").next_linear(Rate::Narrow, &mut frame));
        assert!(frame[0] > 7000 && frame[20] < 4500 && frame[40..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn music_goes_round_and_an_empty_round_ends_in_silence() {
        let mut player = Player::new(PlayKey(1), vec![clip(0..100)], true);
        let (mut first, mut second) = ([0; FRAME], [0; FRAME]);
        assert!(player.next(Law::A, &mut first) && player.next(Law::A, &mut second));
        assert!(first.iter().chain(&second).copied().eq((0..320u32).map(|n| (n % 100) as u8)));
        let mut empty = Player::new(PlayKey(1), vec![clip(0..0)], true);
        assert!(empty.next(Law::A, &mut first));
        assert!(first.iter().all(|b| *b == Law::A.silence()));
    }
}
