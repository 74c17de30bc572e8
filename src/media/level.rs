//! A finished recording made as loud as others (ITU-R BS.1770, EBU R 128), on request: a whisper can be understood by
//! who listens later, and nothing is clipped. The new file takes the place of the old one when it is whole and on the
//! disk; whatever fails before, the recording stays as it was spoken.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ebur128::{EbuR128, Mode};
use hound::{WavReader, WavWriter};

use super::audio::RATE;
use super::writer::{as_io, part_of};

/// At most so much louder, in dB: beyond, it is noise that is raised.
const MOST_GAIN: f64 = 20.0;
/// The highest sample stays this far below full scale, in dB.
const HEADROOM: f64 = 1.0;
/// A change that nobody hears, in dB, is left undone.
const LEAST_CHANGE: f64 = 0.5;
/// Samples that are measured at once.
const BLOCK: usize = 8000;

/// Brings a recording to this loudness.
pub fn normalise(path: &Path, lufs: i32) -> io::Result<()> {
    let Some(gain) = gain(path, lufs)? else { return Ok(()) };
    // A crash leaves a half file beside a whole one, which the next start removes.
    let part = part_of(path);
    let written = write(path, &part, gain).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // It may not even be there.
        let _removed = fs::remove_file(&part);
    }
    written
}

/// What to multiply by; `None`: nothing.
fn gain(path: &Path, lufs: i32) -> io::Result<Option<f64>> {
    let mut meter = EbuR128::new(1, RATE, Mode::I | Mode::SAMPLE_PEAK).map_err(io::Error::other)?;
    let mut wav = WavReader::open(path).map_err(as_io)?;
    let mut samples = wav.samples::<i16>();
    loop {
        let block: Vec<i16> = samples.by_ref().take(BLOCK).collect::<Result<_, _>>().map_err(as_io)?;
        if block.is_empty() {
            break;
        }
        meter.add_frames_i16(&block).map_err(io::Error::other)?;
    }
    let loudness = meter.loudness_global().map_err(io::Error::other)?;
    let peak = meter.sample_peak(0).map_err(io::Error::other)?;
    if !loudness.is_finite() || peak <= 0.0 {
        return Ok(None);
    }
    let room = (-HEADROOM - 20.0 * peak.log10()).max(0.0);
    let decibels = (f64::from(lufs) - loudness).min(MOST_GAIN).min(room);
    Ok((decibels.abs() >= LEAST_CHANGE).then(|| 10f64.powf(decibels / 20.0)))
}

fn write(path: &Path, part: &Path, gain: f64) -> io::Result<()> {
    let mut wav = WavReader::open(path).map_err(as_io)?;
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    let mut changed = WavWriter::new(BufWriter::new(file.try_clone()?), wav.spec()).map_err(as_io)?;
    for sample in wav.samples::<i16>() {
        let louder = f64::from(sample.map_err(as_io)?) * gain;
        changed.write_sample(louder.round() as i16).map_err(as_io)?;
    }
    changed.finalize().map_err(as_io)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::media::audio;

    fn loudness(samples: &[i16]) -> f64 {
        let mut meter = EbuR128::new(1, RATE, Mode::I).expect("a meter");
        meter.add_frames_i16(samples).expect("measured");
        meter.loudness_global().expect("a figure")
    }

    /// A prompt, so many dB louder or softer, as a file.
    fn spoken(directory: &Path, decibels: f64) -> PathBuf {
        let prompt = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts/nl/welcome.wav");
        let factor = 10f64.powf(decibels / 20.0);
        let path = directory.join("m.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut wav = WavWriter::create(&path, spec).expect("made");
        for sample in audio::read_wav(&prompt).expect("a prompt") {
            wav.write_sample((f64::from(sample) * factor) as i16).expect("written");
        }
        wav.finalize().expect("whole");
        path
    }

    #[test]
    fn messages_of_different_levels_end_within_1_lu_and_none_is_clipped_or_cut() {
        let directory = tempfile::tempdir().expect("a folder");
        for decibels in [-14.0, -3.0, 5.0] {
            let path = spoken(directory.path(), decibels);
            let before = audio::read_wav(&path).expect("it plays");
            normalise(&path, -23).expect("done");
            let after = audio::read_wav(&path).expect("it plays");
            assert_eq!(before.len(), after.len());
            assert!((loudness(&after) + 23.0).abs() < 0.5, "{decibels}: {}", loudness(&after));
            assert!(after.iter().all(|sample| sample.unsigned_abs() < 29_300));
            assert!(!part_of(&path).exists());
        }
    }

    #[test]
    fn a_peak_stays_below_full_scale_noise_is_not_raised_without_limit_and_silence_stays() {
        let directory = tempfile::tempdir().expect("a folder");
        let path = spoken(directory.path(), 0.0);
        normalise(&path, -5).expect("done");
        let peak = audio::read_wav(&path).expect("it plays").iter().map(|s| s.unsigned_abs()).max();
        assert!((28_000..29_300).contains(&peak.expect("samples")), "{peak:?}");
        let path = spoken(directory.path(), -40.0);
        let before = audio::read_wav(&path).expect("it plays");
        normalise(&path, -23).expect("done");
        let raised = loudness(&audio::read_wav(&path).expect("it plays")) - loudness(&before);
        assert!((raised - MOST_GAIN).abs() < 1.0, "{raised}");
        let path = spoken(directory.path(), -200.0);
        normalise(&path, -23).expect("nothing to do");
        assert!(audio::read_wav(&path).expect("it plays").iter().all(|sample| *sample == 0));
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_was_spoken() {
        let directory = tempfile::tempdir().expect("a folder");
        let path = spoken(directory.path(), -10.0);
        let before = fs::read(&path).expect("there");
        // The disk takes nothing more.
        std::os::unix::fs::symlink("/dev/full", part_of(&path)).expect("linked");
        assert!(normalise(&path, -23).is_err());
        assert!(fs::read(&path).expect("there") == before && !part_of(&path).exists());
        assert!(normalise(&directory.path().join("none.wav"), -23).is_err());
    }
}
