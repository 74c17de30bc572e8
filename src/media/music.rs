//! Music on hold made: the files that are played in turn, all at one quiet level, with soft edges so that one
//! follows the other without a click. It is made when a configuration is loaded.

use std::ops::Range;
use std::sync::Arc;

use super::audio::{self, Measure};
use super::codec::{FRAME, Rate};
use super::command::{Clip, Music};
use super::g711::Law;

/// A difference of level that nobody hears, in dB.
const NEAR: f64 = 0.5;
/// What is softer is silence, in dBov.
const SILENCE: f64 = -60.0;
/// No sample is raised above this, in dB below full scale.
const PEAK: f64 = -3.0;
/// Samples of 8 kHz (5 ms) in which a file begins and ends softly.
const EDGE: usize = 40;
/// A sample at an edge that makes no click.
const QUIET: i16 = 64;

impl Music {
    /// Of these files, each changed to the level that is wanted.
    pub fn new(clips: &[Arc<Clip>], level_dbov: f64) -> Self {
        Self { clips: clips.iter().map(|clip| levelled(clip, level_dbov)).collect() }
    }

    /// Names of the files, for reports.
    pub fn names(&self) -> Vec<&str> {
        self.clips.iter().map(|clip| clip.name.as_str()).collect()
    }

    /// Wide when all its files are.
    pub fn rate(&self) -> Rate {
        let wide = |clip: &Arc<Clip>| !clip.wide.is_empty() && clip.wide.len() >= 2 * clip.pcma.len();
        if !self.clips.is_empty() && self.clips.iter().all(wide) { Rate::Wide } else { Rate::Narrow }
    }

    /// 20 ms in a law, counted from the beginning of the first round.
    pub fn bytes(&self, number: u64, law: Law, frame: &mut [u8; FRAME]) {
        let mut room = frame.iter_mut();
        self.pieces(number, |clip, piece| {
            let bytes = if law == Law::A { &clip.pcma } else { &clip.pcmu };
            let bytes = bytes.get(piece).unwrap_or_default();
            bytes.iter().zip(room.by_ref()).for_each(|(byte, place)| *place = *byte);
        });
        room.for_each(|place| *place = law.silence());
    }

    /// The same as samples, at the rate of the music.
    pub fn samples(&self, number: u64, frame: &mut Vec<i16>) {
        let rate = self.rate();
        frame.clear();
        self.pieces(number, |clip, piece| match rate {
            Rate::Narrow => {
                let bytes = clip.pcma.get(piece).unwrap_or_default();
                frame.extend(bytes.iter().map(|byte| Law::A.decode(*byte)));
            }
            Rate::Wide => {
                frame.extend(clip.wide.get(2 * piece.start..2 * piece.end).unwrap_or_default());
            }
        });
        frame.resize(rate.frame(), 0);
    }

    /// Gives out the pieces of files (by samples of 8 kHz) that make up these 20 ms.
    fn pieces(&self, number: u64, mut piece: impl FnMut(&Clip, Range<usize>)) {
        let round: usize = self.clips.iter().map(|clip| clip.pcma.len()).sum();
        if round == 0 {
            return;
        }
        let mut at = (number.wrapping_mul(FRAME as u64) % round as u64) as usize;
        let mut wanted = FRAME;
        for clip in self.clips.iter().cycle() {
            let length = clip.pcma.len();
            if at >= length {
                at -= length;
                continue;
            }
            let taken = wanted.min(length - at);
            piece(clip, at..at + taken);
            wanted -= taken;
            if wanted == 0 {
                return;
            }
            at = 0;
        }
    }
}

/// The clip at this level. One that is already there, and quiet at its edges, is shared.
fn levelled(clip: &Arc<Clip>, level_dbov: f64) -> Arc<Clip> {
    let samples = clip.samples();
    let gain = gain(audio::measure(&samples), level_dbov);
    let edges = samples.iter().take(1).chain(samples.last());
    if gain.is_none() && edges.copied().all(|sample| sample.saturating_abs() <= QUIET) {
        return Arc::clone(clip);
    }
    let gain = gain.unwrap_or(1.0);
    let narrow = changed(&samples, gain, EDGE);
    Arc::new(Clip {
        name: clip.name.clone(),
        pcma: Law::A.encode_all(&narrow),
        pcmu: Law::Mu.encode_all(&narrow),
        wide: changed(&clip.wide, gain, 2 * EDGE),
    })
}

/// What to multiply by; `None`: nothing. Silence stays silent.
fn gain(measure: Measure, level_dbov: f64) -> Option<f64> {
    let wanted = (level_dbov - measure.level_dbov).min((PEAK - measure.peak_dbfs).max(0.0));
    (measure.level_dbov > SILENCE && wanted.abs() > NEAR).then(|| 10f64.powf(wanted / 20.0))
}

fn changed(samples: &[i16], gain: f64, edge: usize) -> Vec<i16> {
    let last = samples.len().saturating_sub(1);
    let soft = |at: usize| (at.min(last - at) as f64 / edge as f64).min(1.0);
    samples
        .iter()
        .enumerate()
        .map(|(at, sample)| (f64::from(*sample) * gain * soft(at)).round() as i16)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(name: &str, amplitude: f64, seconds: f64) -> Arc<Clip> {
        let sample = |n: usize| (amplitude * (n as f64 * 0.3).cos()) as i16;
        let samples: Vec<i16> = (0..(seconds * 8000.0) as usize).map(sample).collect();
        audio::clip(name, &samples)
    }

    fn all(music: &Music, frames: u64) -> Vec<i16> {
        let mut frame = Vec::new();
        (0..frames)
            .flat_map(|number| {
                music.samples(number, &mut frame);
                frame.clone()
            })
            .collect()
    }

    #[test]
    fn files_of_different_levels_are_heard_at_the_same_quiet_one_and_none_begins_with_a_click() {
        let files = [tone("loud", 20_000.0, 1.0), tone("soft", 200.0, 1.013), tone("right", 1164.0, 0.5)];
        let music = Music::new(&files, -32.0);
        assert_eq!(music.names(), ["loud", "soft", "right"]);
        let heard = all(&music, 200);
        for (from, to) in [(0, 8000), (8000, 16_104), (16_104, 20_104)] {
            let level = audio::measure(&heard[from..to]).level_dbov;
            assert!((level + 32.0).abs() < 0.7, "{from}: {level}");
        }
        let steps = heard.windows(2).map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs());
        // The tone itself has steps of 0.3 times its amplitude.
        assert!(steps.max() < Some(420));
    }

    #[test]
    fn the_files_follow_each_other_and_then_the_first_again_wherever_one_comes_in() {
        let files = [tone("one", 1164.0, 0.25), tone("two", 1164.0, 0.13)];
        let music = Music::new(&files, -32.0);
        let round = (0.38 * 8000.0) as usize;
        let heard = all(&music, 60);
        assert_eq!(heard[..round], heard[round..2 * round]);
        let mut bytes = [0; FRAME];
        music.bytes(59, Law::A, &mut bytes);
        assert!(heard[59 * FRAME..].iter().zip(bytes).all(|(sample, byte)| Law::A.decode(byte) == *sample));
        music.bytes(u64::MAX, Law::Mu, &mut bytes);
    }

    #[test]
    fn what_has_the_level_and_soft_edges_is_not_copied_and_silence_and_nothing_are_borne() {
        let chord = audio::music();
        let music = Music::new(std::slice::from_ref(&chord), -32.0);
        assert!(Arc::ptr_eq(&music.clips[0], &chord));
        let silent = audio::clip("silent", &[0; 400]);
        assert!(all(&Music::new(&[silent], -32.0), 5).iter().all(|sample| sample.abs() <= 8));
        assert_eq!(all(&Music::new(&[], -32.0), 2), [0; 2 * FRAME]);
        let empty = audio::clip("empty", &[]);
        assert_eq!(all(&Music::new(&[empty], -32.0), 1), [0; FRAME]);
    }

    #[test]
    fn a_louder_level_clips_nothing() {
        let mut samples = vec![100i16; 16_000];
        samples[8000] = 30_000;
        let music = Music::new(&[audio::clip("peak", &samples)], -10.0);
        assert!(all(&music, 100).iter().all(|sample| sample.abs() < 31_000));
    }
}
