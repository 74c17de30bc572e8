//! Prompts: WAV files decoded once into every codec in use, tones made by arithmetic, and the measures
//! by which a prompt is judged (ITU-T P.56 is approximated by the mean of the speech-active frames).

use std::path::Path;
use std::sync::Arc;

use super::codec::{FRAME, Rate};
use super::command::Clip;
use super::g711::Law;
use super::resample::Resampler;

/// Sample rate of what we make and record, in hertz.
pub const RATE: u32 = 8000;
/// Longest prompt that is loaded: ten minutes.
const MAX_SECONDS: u32 = 600;

/// Why a WAV is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    #[error("can't be read as WAV: {0}")]
    Wav(#[from] hound::Error),
    #[error("has {channels} channels, {rate} Hz, {bits} bits; needed: 1 channel, 8000 or 16000 Hz, 16 bits")]
    Format { channels: u16, rate: u32, bits: u16 },
    #[error("is longer than ten minutes")]
    TooLong,
    #[error("is empty")]
    Empty,
}

/// Level measures of a prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// Speech level: mean power of the active frames, in dBov (a full-scale square wave is 0).
    pub level_dbov: f64,
    /// Highest sample in dB below full scale.
    pub peak_dbfs: f64,
    /// Samples at full scale.
    pub clipped: usize,
    pub samples: usize,
}

/// Reads a mono WAV of 16 bits, as 8 kHz.
pub fn read_wav(path: &Path) -> Result<Vec<i16>, AudioError> {
    decode(hound::WavReader::open(path)?).map(as_narrow)
}

/// The same of a WAV in memory.
pub fn read_wav_bytes(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
    decode(hound::WavReader::new(bytes)?).map(as_narrow)
}

fn as_narrow((rate, samples): (Rate, Vec<i16>)) -> Vec<i16> {
    match rate {
        Rate::Narrow => samples,
        Rate::Wide => narrow(&samples),
    }
}

fn decode(mut reader: hound::WavReader<impl std::io::Read>) -> Result<(Rate, Vec<i16>), AudioError> {
    let spec = reader.spec();
    let rate = [Rate::Narrow, Rate::Wide].into_iter().find(|rate| rate.hertz() == spec.sample_rate);
    let Some(rate) = rate.filter(|_| spec.channels == 1 && spec.bits_per_sample == 16) else {
        return Err(AudioError::Format {
            channels: spec.channels,
            rate: spec.sample_rate,
            bits: spec.bits_per_sample,
        });
    };
    match reader.duration() {
        0 => Err(AudioError::Empty),
        length if length > MAX_SECONDS * rate.hertz() => Err(AudioError::TooLong),
        _ => Ok((rate, reader.samples::<i16>().collect::<Result<_, _>>()?)),
    }
}

/// Encodes samples into every codec in use.
pub fn clip(name: &str, samples: &[i16]) -> Arc<Clip> {
    Arc::new(Clip {
        name: name.to_owned(),
        pcma: Law::A.encode_all(samples),
        pcmu: Law::Mu.encode_all(samples),
        wide: Vec::new(),
    })
}

/// A WAV of 8 or 16 kHz as a clip; of 16 kHz it keeps what G.722 and Opus can carry.
pub fn load(name: &str, path: &Path) -> Result<Arc<Clip>, AudioError> {
    match decode(hound::WavReader::open(path)?)? {
        (Rate::Narrow, samples) => Ok(clip(name, &samples)),
        (Rate::Wide, wide) => Ok(wide_clip(name, wide)),
    }
}

fn wide_clip(name: &str, mut wide: Vec<i16>) -> Arc<Clip> {
    wide.resize(wide.len().next_multiple_of(2), 0);
    let samples = narrow(&wide);
    let (pcma, pcmu) = (Law::A.encode_all(&samples), Law::Mu.encode_all(&samples));
    Arc::new(Clip { name: name.to_owned(), pcma, pcmu, wide })
}

/// 16 kHz as 8 kHz.
fn narrow(wide: &[i16]) -> Vec<i16> {
    let mut samples = Vec::with_capacity(wide.len() / 2 + FRAME);
    let Some(mut resampler) = Resampler::new(Rate::Wide, Rate::Narrow) else { return samples };
    wide.chunks(Rate::Wide.frame()).for_each(|frame| resampler.process(frame, &mut samples));
    samples.truncate(wide.len() / 2);
    samples
}

/// Measures a prompt.
pub fn measure(samples: &[i16]) -> Measure {
    let full = f64::from(i16::MAX);
    let power = |frame: &[i16]| {
        frame.iter().map(|s| (f64::from(*s) / full).powi(2)).sum::<f64>() / frame.len() as f64
    };
    let frames: Vec<f64> = samples.chunks(FRAME).map(power).collect();
    // Active: within 25 dB of the loudest frame.
    let floor = frames.iter().copied().fold(0.0, f64::max) * 10f64.powf(-2.5);
    let active: Vec<f64> = frames.into_iter().filter(|p| *p > floor && *p > 0.0).collect();
    let mean = if active.is_empty() { 0.0 } else { active.iter().sum::<f64>() / active.len() as f64 };
    let peak = samples.iter().map(|s| f64::from(s.unsigned_abs()) / full).fold(0.0, f64::max);
    Measure {
        level_dbov: decibels(mean) / 2.0,
        peak_dbfs: decibels(peak),
        clipped: samples.iter().filter(|s| **s == i16::MAX || **s == i16::MIN).count(),
        samples: samples.len(),
    }
}

/// The tone before a recording: 440 Hz for half a second at -20 dBov.
pub fn beep() -> Arc<Clip> {
    clip("tone/beep", &tone(&[440.0], 0.5, -20.0))
}

/// What both hear when they are joined: two short rising notes.
pub fn join_tone() -> Arc<Clip> {
    let mut samples = tone(&[587.3], 0.09, -24.0);
    samples.extend(tone(&[880.0], 0.12, -24.0));
    clip("tone/join", &samples)
}

/// What those who stay hear when somebody leaves: the two notes falling, softer.
pub fn leave_tone() -> Arc<Clip> {
    let mut samples = tone(&[880.0], 0.09, -28.0);
    samples.extend(tone(&[587.3], 0.12, -28.0));
    clip("tone/leave", &samples)
}

/// What the waiting hear when no music is installed: a soft chord now and then.
pub fn music() -> Arc<Clip> {
    let mut samples = tone(&[440.0, 554.4, 659.3], 1.2, -32.0);
    samples.resize(samples.len() + 4 * RATE as usize, 0);
    clip("tone/music", &samples)
}

/// A tone with soft edges of 8 ms. `level_dbov` is the level of the whole.
fn tone(frequencies: &[f64], seconds: f64, level_dbov: f64) -> Vec<i16> {
    let count = (seconds * f64::from(RATE)) as usize;
    // A sine of amplitude a has the power a²/2.
    let amplitude =
        10f64.powf(level_dbov / 20.0) * (2.0 / frequencies.len() as f64).sqrt() * f64::from(i16::MAX);
    let sample = |n: usize| {
        let time = n as f64 / f64::from(RATE);
        let edge = (n.min(count - 1 - n) as f64 / 64.0).min(1.0);
        let sum: f64 = frequencies.iter().map(|f| (std::f64::consts::TAU * f * time).sin()).sum();
        (amplitude * edge * sum) as i16
    };
    (0..count).map(sample).collect()
}

fn decibels(ratio: f64) -> f64 {
    if ratio <= 0.0 { -200.0 } else { 20.0 * ratio.log10() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beep_is_half_a_second_at_its_level() {
        let samples = tone(&[440.0], 0.5, -20.0);
        let m = measure(&samples);
        assert_eq!(m.samples, 4000);
        assert!((m.level_dbov + 20.0).abs() < 0.5, "{}", m.level_dbov);
        assert_eq!((m.clipped, samples[0], samples[3999]), (0, 0, 0), "soft edges make no click");
        assert_eq!(beep().duration().as_millis(), 500);
    }

    #[test]
    fn level_peak_and_clipping_are_measured() {
        let square: Vec<i16> = (0..1600).map(|n| if n % 20 < 10 { i16::MAX } else { -i16::MAX }).collect();
        let m = measure(&square);
        assert!(m.level_dbov.abs() < 0.01 && m.peak_dbfs.abs() < 0.01 && m.clipped == 800, "{m:?}");
        let quiet = measure(&[0; 800]);
        assert!(quiet.level_dbov < -90.0 && quiet.clipped == 0);
        // Pauses do not count: half a second of tone in two of silence has the tone's level.
        let mut padded = vec![0; 8000];
        padded.extend(tone(&[440.0], 0.5, -26.0));
        padded.extend([0; 8000]);
        assert!((measure(&padded).level_dbov + 26.0).abs() < 0.5);
    }

    #[test]
    fn every_shipped_prompt_has_the_format_and_level_of_the_house() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let mut wrong = Vec::new();
        for language in ["nl", "fr", "en"] {
            let text = std::fs::read_to_string(root.join(language).join("texts.toml")).expect("the texts");
            let texts: toml::Table = text.parse().expect("valid TOML");
            assert!(texts.len() > 130, "{language} has all prompts");
            for name in texts.keys() {
                match read_wav(&root.join(language).join(format!("{name}.wav"))) {
                    Ok(samples) => {
                        let m = measure(&samples);
                        let fine =
                            (-29.0..=-23.0).contains(&m.level_dbov) && m.peak_dbfs <= -3.0 && m.clipped == 0;
                        if !fine {
                            wrong.push(format!("{language}/{name}: {m:?}"));
                        }
                    }
                    Err(error) => wrong.push(format!("{language}/{name}: {error}")),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_wav_of_another_format_is_refused_with_what_it_is() {
        let path = std::env::temp_dir().join(format!("hulplijn-{}.wav", std::process::id()));
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).expect("writable");
        writer.write_sample(0i16).expect("written");
        writer.write_sample(0i16).expect("written");
        writer.finalize().expect("whole");
        let error = read_wav(&path).err().map(|e| e.to_string()).unwrap_or_default();
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(error, "has 2 channels, 44100 Hz, 16 bits; needed: 1 channel, 8000 or 16000 Hz, 16 bits");
    }
}
