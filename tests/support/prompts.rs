//! Prompts for tests: short, and each a sequence of A-law octets of its own, so that a test knows by the
//! octets which one was heard.

use std::fs;
use std::path::Path;

use super::rtp::{FRAME, SILENCE};

/// 0.2 s a prompt.
const FRAMES: usize = 10;

/// What a prompt sounds like on a PCMA leg.
pub fn alaw(language: &str, name: &str) -> Vec<u8> {
    noise(&format!("{language}/{name}"), FRAMES * FRAME)
}

/// Octets that are told by their name; never two the same.
pub fn noise(name: &str, length: usize) -> Vec<u8> {
    let mut state =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Quiet enough that nothing is clipped: no segment above 4096.
        let octet = (state >> 32) as u8;
        if (octet ^ 0x55) & 0x70 > 0x50 { octet ^ 0x40 } else { octet }
    };
    (0..length).map(|_| next()).collect()
}

/// ITU-T G.711: the linear value of an A-law octet.
pub fn linear(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let (segment, step) = ((octet >> 4) & 7, i16::from(octet & 0xf));
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    if octet & 0x80 == 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711: the linear value of a mu-law octet.
pub fn ulaw_linear(octet: u8) -> i16 {
    let octet = !octet;
    let magnitude = (((i16::from(octet & 0x0f) << 3) + 0x84) << ((octet >> 4) & 7)) - 0x84;
    if octet & 0x80 == 0 { magnitude } else { -magnitude }
}

/// ITU-T G.711: the A-law octet whose interval a linear value is in; a negative one is taken as its ones'
/// complement (G.191).
pub fn alaw_of(value: i16) -> u8 {
    let magnitude = i32::from(if value < 0 { !value } else { value });
    // An interval begins half a step below the value that stands for it.
    let begin = |octet: u8| {
        let segment = ((octet ^ 0x55) >> 4) & 7;
        i32::from(linear(octet).unsigned_abs()) - if segment < 2 { 8 } else { 8 << (segment - 1) }
    };
    let octets = (0..=255_u8).filter(|octet| (linear(*octet) < 0) == (value < 0));
    octets.filter(|octet| begin(*octet) <= magnitude).max_by_key(|octet| begin(*octet)).unwrap_or(SILENCE)
}

/// Writes all prompts that the shipped ones have, in these languages, and a music of 1 s.
pub fn write(to: &Path, languages: &[&str]) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
    for language in languages {
        fs::create_dir_all(to.join(language)).expect("a folder");
        for entry in fs::read_dir(shipped.join("nl")).expect("the shipped prompts").flatten() {
            let name = entry.file_name().into_string().expect("a name");
            if let Some(name) = name.strip_suffix(".wav") {
                write_wav(&to.join(language).join(format!("{name}.wav")), &alaw(language, name));
            }
        }
    }
    write_wav(&to.join("music.wav"), &noise("music", 50 * FRAME));
}

/// A WAV of 16 bit linear from A-law octets.
pub fn write_wav(path: &Path, alaw: &[u8]) {
    let samples: Vec<i16> = alaw.iter().map(|octet| linear(*octet)).collect();
    write_linear(path, &samples);
}

pub fn write_linear(path: &Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(path, spec).expect("a WAV");
    for sample in samples {
        wav.write_sample(*sample).expect("written");
    }
    wav.finalize().expect("written");
}

/// The samples of a WAV.
pub fn read_wav(path: &Path) -> Vec<i16> {
    let mut wav = hound::WavReader::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    wav.samples::<i16>().map(|s| s.expect("a sample")).collect()
}
