use std::path::{Path, PathBuf};

use super::*;
use crate::base::id::Rng;
use crate::media::audio;
use crate::media::g711::Law;

/// Peak of a sine of 0 dBm0: A-law's full scale is 3.14 dBm0.
const ZERO_DBM0: f32 = 22_827.0;
/// 40 ms.
const LEAST: usize = 320;

/// What is played to the detector: sixteen keys, each twice.
struct Play {
    row: f32,
    column: f32,
    on: usize,
    off: usize,
    /// Noise below the two tones together, in dB.
    noise: Option<f32>,
    /// By which part of its frequency each tone is off.
    row_off: f32,
    column_off: f32,
}

const PLAIN: Play =
    Play { row: -12.0, column: -10.0, on: LEAST, off: LEAST, noise: None, row_off: 0.0, column_off: 0.0 };

fn amplitude(dbm0: f32) -> f32 {
    ZERO_DBM0 * 10f32.powf(dbm0 / 20.0)
}

fn random(rng: &mut Rng) -> f32 {
    rng.below(1 << 20) as f32 / (1 << 20) as f32
}

fn noise(rng: &mut Rng) -> f32 {
    // Four of them are nearly Gaussian, of variance 1.
    ((0..4).map(|_| random(rng)).sum::<f32>() - 2.0) * 3f32.sqrt()
}

fn all_keys() -> String {
    KEYS.iter().flatten().flat_map(|key| [*key, *key]).collect()
}

impl Play {
    fn samples(&self, rng: &mut Rng) -> Vec<f32> {
        let mut out = vec![0.0; rng.below(400) as usize];
        let (low, high) = (amplitude(self.row), amplitude(self.column));
        for (at, _) in all_keys().char_indices() {
            let (row, column) =
                (ROWS[at / 8] * (1.0 + self.row_off), COLUMNS[at / 2 % 4] * (1.0 + self.column_off));
            let (a, b) = (random(rng) * TAU, random(rng) * TAU);
            out.extend((0..self.on).map(|n| {
                let time = n as f32 / RATE * TAU;
                low * (row * time + a).sin() + high * (column * time + b).sin()
            }));
            out.resize(out.len() + self.off, 0.0);
        }
        if let Some(below) = self.noise {
            let deviation = (f32::midpoint(low * low, high * high) * 10f32.powf(-below / 10.0)).sqrt();
            out.iter_mut().for_each(|sample| *sample += noise(rng) * deviation);
        }
        out
    }

    /// What is heard of it, by both laws.
    fn heard(&self, seed: u64) -> [String; 2] {
        let samples = self.samples(&mut Rng::from_number(seed));
        [Law::A, Law::Mu]
            .map(|law| heard(samples.iter().map(|s| law.decode(law.encode(s.clamp(-32e3, 32e3) as i16)))))
    }

    fn all_once(&self, what: &str) {
        for seed in 0..2 {
            for heard in self.heard(seed) {
                assert_eq!(heard, all_keys(), "{what}, seed {seed}");
            }
        }
    }

    fn none(&self, what: &str) {
        for seed in 0..1 {
            assert_eq!(self.heard(seed), ["", ""], "{what}, seed {seed}");
        }
    }
}

fn heard(samples: impl IntoIterator<Item = i16>) -> String {
    let mut detector = Detector::default();
    let changes = samples.into_iter().filter_map(|sample| detector.on_sample(sample));
    changes.filter_map(|c| if let Change::Pressed(key) = c { Some(key) } else { None }).collect()
}

#[test]
fn q24_each_key_exactly_once_at_40_ms_of_tone_and_40_ms_of_pause() {
    PLAIN.all_once("plain");
    Play { noise: Some(15.0), ..PLAIN }.all_once("in noise");
    Play { on: 4000, off: 400, noise: Some(15.0), ..PLAIN }.all_once("half a second");
}

#[test]
fn q24_loud_and_soft_down_to_minus_30_dbm0_in_noise() {
    for level in [-3.0, -10.0, -20.0, -30.0] {
        Play { row: level, column: level, noise: Some(15.0), ..PLAIN }.all_once(&format!("{level} dBm0"));
    }
    Play { row: -48.0, column: -48.0, ..PLAIN }.none("too soft to be meant");
}

#[test]
fn q24_twist_of_8_db_one_way_and_4_db_the_other() {
    Play { row: -10.0, column: -18.0, noise: Some(15.0), ..PLAIN }.all_once("a louder row");
    Play { row: -14.0, column: -10.0, noise: Some(15.0), ..PLAIN }.all_once("a louder column");
    Play { row: -10.0, column: -24.0, ..PLAIN }.none("a far louder row");
    Play { row: -18.0, column: -10.0, ..PLAIN }.none("a far louder column");
}

#[test]
fn q24_frequencies_within_1_5_percent_are_keys_and_beyond_3_5_percent_none() {
    for (row_off, column_off) in [(0.015, 0.015), (-0.015, -0.015), (0.015, -0.015), (-0.015, 0.015)] {
        let off = Play { row_off, column_off, noise: Some(15.0), ..PLAIN };
        off.all_once(&format!("{row_off} {column_off}"));
        // The twist of a long line on top of it.
        Play { row: -10.0, column: -16.0, ..off }.all_once(&format!("{row_off} {column_off} with twist"));
    }
    for (row_off, column_off) in [(0.035, 0.0), (-0.035, 0.0), (0.0, 0.035), (0.0, -0.035)] {
        Play { row_off, column_off, on: 800, ..PLAIN }.none(&format!("{row_off} {column_off}"));
    }
}

#[test]
fn q24_what_is_shorter_than_23_ms_is_no_key_and_a_gap_of_10_ms_makes_no_second_one() {
    Play { on: 184, ..PLAIN }.none("23 ms");
    for seed in 0..8 {
        let mut rng = Rng::from_number(seed);
        let mut samples = Play { on: 1600, off: 800, ..PLAIN }.samples(&mut rng);
        // A gap in each press, which begins after a part that is a key already.
        let begin = samples.iter().position(|s| s.abs() > 100.0).unwrap_or_default();
        for press in 0..32 {
            let at = begin + press * 2400 + 600 + rng.below(400) as usize;
            samples[at..at + 80].fill(0.0);
        }
        assert_eq!(heard(samples.into_iter().map(|s| s as i16)), all_keys(), "seed {seed}");
    }
}

#[test]
fn a_packet_that_is_lost_in_the_middle_makes_no_second_key() {
    for seed in 0..8 {
        let samples = Play { on: 1600, off: 1600, ..PLAIN }.samples(&mut Rng::from_number(seed));
        let mut rng = Rng::from_number(seed);
        let mut detector = Detector::default();
        let mut keys = String::new();
        for frame in samples.chunks(160) {
            if rng.below(100) < 5 {
                detector.skip();
                continue;
            }
            for sample in frame {
                if let Some(Change::Pressed(key)) = detector.on_sample(*sample as i16) {
                    keys.push(key);
                }
            }
        }
        assert_eq!(keys, all_keys(), "seed {seed}");
    }
}

/// All that is shipped: prompts in three languages, music, and the speech of the load test.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
    ["", "nl", "fr", "en"]
        .into_iter()
        .flat_map(|language| std::fs::read_dir(root.join(language)).expect("prompts"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wav"))
        .collect()
}

#[test]
fn talk_off_no_prompt_and_no_music_is_a_key() {
    let paths = shipped();
    assert!(paths.len() > 400, "three languages and music");
    for path in paths {
        let samples = audio::read_wav(&path).expect("a WAV");
        let spoken = heard(samples.iter().map(|s| Law::A.decode(Law::A.encode(*s))));
        assert_eq!(spoken, "", "{}", path.display());
    }
}

#[test]
fn talk_off_chords_dial_tones_and_noise_are_no_keys() {
    let sines = |tones: &[f32], seconds: usize| -> Vec<i16> {
        let sample =
            |n: usize| tones.iter().map(|f| (f * n as f32 / RATE * TAU).sin() * 5000.0).sum::<f32>() as i16;
        (0..seconds * 8000).map(sample).collect()
    };
    // Dial tones, ring-back, call waiting, information tones; two keys at once; a row or a column alone.
    let tones: [&[f32]; 9] = [
        &[425.0],
        &[350.0, 440.0],
        &[480.0, 620.0],
        &[440.0, 480.0],
        &[950.0, 1400.0],
        &[697.0, 770.0, 1209.0],
        &[697.0],
        &[1336.0],
        &[697.0, 1209.0, 1394.0, 2418.0],
    ];
    for tone in tones {
        assert_eq!(heard(sines(tone, 2)), "", "{tone:?}");
    }
    let mut rng = Rng::from_number(1);
    assert_eq!(heard((0..100_000).map(|_| (noise(&mut rng) * 4000.0) as i16)), "");
}

#[test]
fn what_is_made_is_heard_and_has_soft_edges() {
    let mut all = Vec::new();
    for key in all_keys().chars() {
        let mut writer = ToneWriter::new(key).expect("a key");
        let mut left = 800u32;
        while left > 0 {
            let mut frame = [0; 160];
            writer.fill(&mut frame, left);
            all.extend(frame);
            left -= 160;
        }
        assert!(all.last().is_some_and(|s| s.abs() < 1500), "it fades");
        all.resize(all.len() + 480, 0);
    }
    assert_eq!(heard(all.iter().copied()), all_keys());
    assert!(all.iter().all(|s| s.unsigned_abs() < 18_000), "room above");
    assert!(ToneWriter::new('x').is_none());
}

#[test]
fn a_press_is_over_when_it_is_over() {
    let samples = Play { on: 1600, off: 800, ..PLAIN }.samples(&mut Rng::from_number(1));
    let mut detector = Detector::default();
    let mut down = 0;
    for sample in samples {
        match detector.on_sample(sample as i16) {
            Some(Change::Pressed(key)) => {
                down += 1;
                assert_eq!(detector.pressed(), Some(key));
            }
            Some(Change::Released) => assert_eq!(detector.pressed(), None),
            None => {}
        }
    }
    assert_eq!((down, detector.pressed()), (32, None));
}
