//! Whether somebody speaks: the level of each frame against a floor that follows the noise. A few numbers for each
//! stream, whatever comes.

use std::sync::LazyLock;

use super::command::Codec;
use super::g711::Law;

/// A frame is a voice when its RMS is above this (-48 dBov) and twice the noise below.
const VOICE_RMS: u32 = 130;
/// The noise is never taken for louder than this (-36 dBov), so that a voice is a voice in any noise.
const MAX_NOISE_RMS: u32 = 260;
/// Of voice, so many frames (160 ms) more than of silence make somebody speak: a click does not.
const SPEAKS: u8 = 8;
/// Frames without a voice (1.2 s) after which nobody speaks: a breath is shorter.
const STOPS: u8 = 60;

/// The noise behind a voice. It falls with the softest frame at once and rises slowly, so that words do not lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseFloor {
    rms: u32,
}

impl Default for NoiseFloor {
    fn default() -> Self {
        Self { rms: VOICE_RMS / 2 }
    }
}

impl NoiseFloor {
    /// Whether a frame of this level stands out, and learns from it.
    pub fn is_voice(&mut self, rms: u32) -> bool {
        let voice = rms > self.threshold();
        self.rms =
            if rms < self.rms { rms } else { (self.rms + self.rms / 128 + 1).min(rms).min(MAX_NOISE_RMS) };
        voice
    }

    /// What is louder is a voice.
    pub fn threshold(&self) -> u32 {
        VOICE_RMS.max(self.rms * 2)
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Speaking,
    Quiet,
}

/// Follows one stream, frame by frame. Begins quiet, and says only what changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct VoiceActivity {
    floor: NoiseFloor,
    voiced: u8,
    quiet: u8,
    speaking: bool,
}

impl VoiceActivity {
    /// Takes the RMS of the next 20 ms.
    pub fn on_frame(&mut self, rms: u32) -> Option<Activity> {
        if self.floor.is_voice(rms) {
            (self.voiced, self.quiet) = ((self.voiced + 1).min(SPEAKS), 0);
        } else {
            (self.voiced, self.quiet) = (self.voiced.saturating_sub(1), (self.quiet + 1).min(STOPS));
        }
        let speaking = if self.speaking { self.quiet < STOPS } else { self.voiced >= SPEAKS };
        if speaking == self.speaking {
            return None;
        }
        self.speaking = speaking;
        Some(if speaking { Activity::Speaking } else { Activity::Quiet })
    }

    /// Takes a packet. What it would cost to decode is taken for a voice: better that nobody is thought silent who
    /// is not.
    pub fn on_packet(&mut self, codec: Codec, payload: &[u8]) -> Option<Activity> {
        self.on_frame(codec.law().map_or(u32::MAX, |law| rms(law, payload)))
    }

    pub fn is_speaking(&self) -> bool {
        self.speaking
    }
}

/// The RMS of a payload of G.711, by table.
pub fn rms(law: Law, payload: &[u8]) -> u32 {
    let squares: &[u64; 256] = match law {
        Law::A => &ALAW_SQUARES,
        Law::Mu => &ULAW_SQUARES,
    };
    let sum: u64 = payload.iter().map(|byte| squares[usize::from(*byte)]).sum();
    (sum / payload.len().max(1) as u64).isqrt() as u32
}

static ALAW_SQUARES: LazyLock<[u64; 256]> = LazyLock::new(|| squares(Law::A));
static ULAW_SQUARES: LazyLock<[u64; 256]> = LazyLock::new(|| squares(Law::Mu));

fn squares(law: Law) -> [u64; 256] {
    std::array::from_fn(|byte| u64::from(law.decode(byte as u8).unsigned_abs()).pow(2))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::id::Rng;
    use crate::media::audio;

    fn changes(levels: impl IntoIterator<Item = u32>) -> Vec<(usize, Activity)> {
        let mut activity = VoiceActivity::default();
        levels.into_iter().enumerate().filter_map(|(n, rms)| Some((n, activity.on_frame(rms)?))).collect()
    }

    fn prompt(name: &str) -> Vec<u32> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts").join(name);
        let samples = audio::read_wav(&path).expect("a WAV");
        samples.chunks(160).map(|frame| rms(Law::A, &Law::A.encode_all(frame))).collect()
    }

    #[test]
    fn a_spoken_sentence_is_one_stretch_of_speech() {
        for name in ["nl/welcome.wav", "fr/emergency.wav", "en/last-resort.wav"] {
            let spoken = prompt(name);
            let end = 50 + spoken.len();
            let levels = [vec![8; 50], spoken, vec![8; 100]].concat();
            let changes = changes(levels);
            assert_eq!(changes.len(), 2, "{name}: {changes:?}");
            assert!(
                changes[0].1 == Activity::Speaking && (50..80).contains(&changes[0].0),
                "{name}: {changes:?}"
            );
            assert!(changes[1].1 == Activity::Quiet && changes[1].0 > end, "{name}: {changes:?}");
        }
    }

    #[test]
    fn silence_steady_noise_clicks_and_a_single_cough_are_nobody() {
        let mut rng = Rng::from_number(1);
        assert_eq!(changes(vec![0; 5000]), []);
        assert_eq!(changes((0..5000).map(|_| 80 + rng.below(40) as u32)), []);
        assert_eq!(changes((0..5000).map(|n| if n % 25 == 0 { 9000 } else { 20 })), []);
        assert_eq!(changes((0..500).map(|n| if (100..106).contains(&n) { 4000 } else { 20 })), []);
    }

    #[test]
    fn noise_that_begins_is_learnt_and_a_voice_in_it_is_heard() {
        // A fan of -44 dBov is switched on.
        let fan = [vec![20; 100], vec![200; 1500]].concat();
        let learnt = changes(fan.clone());
        assert_eq!(learnt.last().map(|c| c.1), Some(Activity::Quiet), "{learnt:?}");
        let spoken = changes([fan, vec![2500; 40], vec![200; 100]].concat());
        assert_eq!(spoken.len(), learnt.len() + 2, "{spoken:?}");
    }

    #[test]
    fn levels_by_table_are_those_of_the_samples() {
        for law in [Law::A, Law::Mu] {
            let payload = law.encode_all(&[1000, -1000, 1000, -1000]);
            assert!((980..=1020).contains(&rms(law, &payload)));
            assert!(rms(law, &[law.silence(); 160]) <= 8 && rms(law, &[]) == 0);
        }
    }
}
