//! Playing: clips one after the other without a gap, copied from memory frame by frame.

use std::sync::Arc;

use super::codec::FRAME;
use super::command::{Clip, Codec};
use crate::base::id::PlayKey;

/// One playing on one leg.
#[derive(Debug)]
pub struct Player {
    pub play: PlayKey,
    clips: Vec<Arc<Clip>>,
    repeat: bool,
    /// The clip being played, and how far in.
    index: usize,
    offset: usize,
}

impl Player {
    pub fn new(play: PlayKey, clips: Vec<Arc<Clip>>, repeat: bool) -> Self {
        Self { play, clips, repeat, index: 0, offset: 0 }
    }

    /// Fills the next frame, with silence after the end. `true` while there is more to play.
    pub fn next(&mut self, codec: Codec, frame: &mut [u8; FRAME]) -> bool {
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
            let left = bytes_of(clip, codec).get(self.offset..).unwrap_or_default();
            let taken = left.len().min(FRAME - filled);
            frame[filled..filled + taken].copy_from_slice(&left[..taken]);
            filled += taken;
            self.offset += taken;
            empty_round &= taken == 0;
            if taken == left.len() {
                (self.index, self.offset) = (self.index + 1, 0);
            }
        }
        frame[filled..].fill(codec.silence());
        self.repeat || self.index < self.clips.len()
    }
}

fn bytes_of(clip: &Clip, codec: Codec) -> &[u8] {
    match codec {
        Codec::Pcma => &clip.pcma,
        Codec::Pcmu => &clip.pcmu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(bytes: impl Iterator<Item = u8>) -> Arc<Clip> {
        let pcma: Vec<u8> = bytes.collect();
        let pcmu = pcma.iter().map(|b| !b).collect();
        Arc::new(Clip { name: "test".into(), pcma, pcmu })
    }

    #[test]
    fn clips_follow_each_other_without_a_gap_and_the_end_is_silence() {
        let clips = vec![clip(0..100), clip(std::iter::empty()), clip(100..250)];
        let mut player = Player::new(PlayKey(1), clips, false);
        let (mut first, mut second) = ([0; FRAME], [0; FRAME]);
        assert!(player.next(Codec::Pcma, &mut first));
        assert!(!player.next(Codec::Pcma, &mut second));
        assert!(first.iter().chain(&second[..90]).copied().eq(0..250));
        assert!(second[90..].iter().all(|b| *b == Codec::Pcma.silence()));
    }

    #[test]
    fn an_end_on_the_frame_is_known_with_the_last_frame() {
        let mut player = Player::new(PlayKey(1), vec![clip(0..160)], false);
        assert!(!player.next(Codec::Pcmu, &mut [0; FRAME]));
        assert!(!Player::new(PlayKey(1), vec![], false).next(Codec::Pcmu, &mut [0; FRAME]));
    }

    #[test]
    fn music_goes_round_and_an_empty_round_ends_in_silence() {
        let mut player = Player::new(PlayKey(1), vec![clip(0..100)], true);
        let (mut first, mut second) = ([0; FRAME], [0; FRAME]);
        assert!(player.next(Codec::Pcma, &mut first) && player.next(Codec::Pcma, &mut second));
        assert!(first.iter().chain(&second).copied().eq((0..320u32).map(|n| (n % 100) as u8)));
        let mut empty = Player::new(PlayKey(1), vec![clip(0..0)], true);
        assert!(empty.next(Codec::Pcma, &mut first));
        assert!(first.iter().all(|b| *b == Codec::Pcma.silence()));
    }
}
