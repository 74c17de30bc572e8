use super::*;
use crate::media::audio;
use crate::media::encode::Encoder;
use crate::media::transcode::Transcoder;
use std::path::Path;

const ALL: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];

/// A spoken sentence at 8 kHz, some seconds of it.
fn sentence() -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts/nl/welcome.wav");
    let mut samples = audio::read_wav(&path).expect("a shipped prompt");
    samples.truncate(160 * 250);
    samples
}

fn tone(hertz: f64, rate: Rate, frames: usize) -> Vec<i16> {
    let angle = |n: usize| std::f64::consts::TAU * hertz * n as f64 / f64::from(rate.hertz());
    (0..rate.frame() * frames).map(|n| (6000.0 * angle(n).sin()) as i16).collect()
}

/// Payloads of a codec, one each 20 ms.
fn packets(codec: Codec, rate: Rate, samples: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec, rate).expect("a codec");
    let mut out = [0; 1400];
    let frames = samples.chunks_exact(rate.frame());
    frames.map(|frame| encoder.encode(frame, &mut out).expect("room").to_vec()).collect()
}

fn heard(codec: Codec, number: usize, payload: &[u8]) -> Heard<'_> {
    Heard {
        source: 7,
        sequence: number as u16,
        timestamp: codec.step() * number as u32,
        marker: false,
        sound: Sound::Audio(codec),
        payload,
    }
}

/// What is heard of these packets; `lost` says which never come.
fn play(codec: Codec, rate: Rate, packets: &[Vec<u8>], lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut playout = Playout::new(rate);
    let mut out = Vec::new();
    for (number, payload) in packets.iter().enumerate() {
        if !lost(number) {
            playout.push(&heard(codec, number, payload));
        }
        out.extend_from_slice(playout.pull());
    }
    out
}

/// Signal to noise in dB where both fit best, by any delay (also of a part of a sample), and the difference of
/// their levels.
fn compare(said: &[i16], heard: &[i16]) -> (f64, f64) {
    const TAPS: usize = 7;
    let count = said.len().min(heard.len()) - 1600;
    let said = &said[..count];
    let fit = |lag: usize| -> f64 {
        let (mut product, mut energy) = (0.0, 1.0);
        for (a, b) in said.iter().zip(&heard[lag..]).step_by(5) {
            product += f64::from(*a) * f64::from(*b);
            energy += f64::from(*b).powi(2);
        }
        product / f64::sqrt(energy)
    };
    let lag = (TAPS..1500).max_by(|a, b| fit(*a).total_cmp(&fit(*b))).expect("lags");
    // The filter that makes the one of the other: least squares.
    let tap = |tap: usize, n: usize| f64::from(heard[n + lag + tap - TAPS / 2]);
    let mut rows = vec![[0.0; TAPS + 1]; TAPS];
    for (n, sample) in said.iter().enumerate() {
        for (a, row) in rows.iter_mut().enumerate() {
            (0..TAPS).for_each(|b| row[b] += tap(a, n) * tap(b, n));
            row[TAPS] += tap(a, n) * f64::from(*sample);
        }
    }
    let filter = solve(rows);
    let power = |samples: &[i16]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    let made = |n: usize| -> f64 { filter.iter().enumerate().map(|(t, weight)| weight * tap(t, n)).sum() };
    let noise: f64 = said.iter().enumerate().map(|(n, s)| (f64::from(*s) - made(n)).powi(2)).sum();
    let level = 10.0 * (power(&heard[lag..lag + count]) / power(said)).log10();
    (10.0 * (power(said) / noise.max(1.0)).log10(), level)
}

/// Gauss.
fn solve<const N: usize>(mut rows: Vec<[f64; N]>) -> Vec<f64> {
    let size = rows.len();
    for pivot in 0..size {
        let scale = rows[pivot][pivot];
        rows[pivot].iter_mut().for_each(|cell| *cell /= scale);
        for other in (0..size).filter(|other| *other != pivot) {
            let factor = rows[other][pivot];
            (0..N).for_each(|cell| rows[other][cell] -= factor * rows[pivot][cell]);
        }
    }
    rows.iter().map(|row| row[N - 1]).collect()
}

#[test]
fn a_sentence_comes_through_every_codec_at_its_level() {
    let said = sentence();
    for (codec, least) in [(Codec::Pcma, 30.0), (Codec::Pcmu, 30.0), (Codec::G722, 18.0), (Codec::Opus, 8.0)]
    {
        let out = play(codec, Rate::Narrow, &packets(codec, Rate::Narrow, &said), |_| false);
        let (noise, level) = compare(&said, &out);
        println!("{codec:?}: {noise:.1} dB, level {level:.2} dB");
        assert!(noise > least && level.abs() < 1.0, "{codec:?}: {noise:.1} dB, level {level:.2} dB");
    }
}

#[test]
fn wide_codecs_carry_what_a_telephone_does_not() {
    for codec in ALL {
        let said = tone(5000.0, Rate::Wide, 100);
        let out = play(codec, Rate::Wide, &packets(codec, Rate::Wide, &said), |_| false);
        let (first, second) = (&said[said.len() / 2..], &out[out.len() / 2..]);
        let level = 10.0 * ((rms_squared(second) as f64 + 1.0) / rms_squared(first) as f64).log10();
        let wide = codec.rate() == Rate::Wide;
        assert!(if wide { level.abs() < 3.0 } else { level < -25.0 }, "{codec:?}: {level:.1} dB");
    }
}

#[test]
fn every_codec_is_transcoded_to_every_other() {
    let said = &sentence()[..160 * 120];
    for from in ALL {
        for to in ALL {
            let mut transcoder = Transcoder::new(from, to).expect("both");
            let (mut out, mut through) = ([0; 1400], Vec::new());
            for (number, payload) in packets(from, Rate::Narrow, said).iter().enumerate() {
                transcoder.push(&heard(from, number, payload));
                through.push(transcoder.next(&mut out).expect("room").to_vec());
            }
            let out = play(to, Rate::Narrow, &through, |_| false);
            let (noise, level) = compare(said, &out);
            let least = if from == Codec::Opus || to == Codec::Opus { 5.0 } else { 18.0 };
            println!("{from:?} to {to:?}: {noise:.1} dB, level {level:.2} dB");
            assert!(noise > least && level.abs() < 1.0, "{from:?} to {to:?}: {noise:.1} dB, {level:.2} dB");
        }
    }
}

/// How far the loudness of each 10 ms is from what it was, in dB, where something is said.
fn unevenness(said: &[i16], heard: &[i16]) -> f64 {
    let loudness = |frame: &[i16]| 10.0 * (rms_squared(frame) as f64 + 100.0).log10();
    let pairs = said.chunks(80).zip(heard.chunks(80)).filter(|(said, _)| rms_squared(said) > 40_000);
    let differences: Vec<f64> = pairs.map(|(a, b)| (loudness(a) - loudness(b)).abs()).collect();
    differences.iter().sum::<f64>() / differences.len() as f64
}

#[test]
fn five_lost_packets_of_a_hundred_are_concealed() {
    let said = sentence();
    for codec in ALL {
        let sent = packets(codec, Rate::Narrow, &said);
        let whole = play(codec, Rate::Narrow, &sent, |_| false);
        let out = play(codec, Rate::Narrow, &sent, |number| number % 20 == 11);
        // What silence instead would sound like: each frame is heard one later.
        let silent = |n: usize| n % 20 == 12;
        let gaps: Vec<i16> =
            whole.iter().enumerate().map(|(n, s)| if silent(n / FRAME) { 0 } else { *s }).collect();
        let (concealed, left_out) = (unevenness(&whole, &out), unevenness(&whole, &gaps));
        let (_, level) = compare(&whole, &out);
        let step =
            |samples: &[i16]| samples.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap_or_default();
        println!("{codec:?}: {concealed:.2} dB concealed, {left_out:.2} dB with gaps, level {level:.2} dB");
        assert!(concealed < left_out / 3.0 && level.abs() < 1.0, "{codec:?}: {concealed:.2} {left_out:.2}");
        assert!(step(&out) < step(&whole) * 3 / 2, "{codec:?}: no click: {} {}", step(&out), step(&whole));
    }
}

#[test]
fn rfc7587_a_lost_packet_comes_back_from_the_copy_in_the_next() {
    let said = sentence();
    let sent = packets(Codec::Opus, Rate::Wide, &said);
    let whole = play(Codec::Opus, Rate::Wide, &sent, |_| false);
    let noise_of = |heard: &[i16], lost: fn(usize) -> bool| {
        let frames = whole.chunks(320).zip(heard.chunks(320)).enumerate().filter(|(n, _)| lost(*n));
        let (mut signal, mut noise) = (0.0, 1.0);
        for (a, b) in frames.flat_map(|(_, (a, b))| a.iter().zip(b)) {
            signal += f64::from(*a).powi(2);
            noise += (f64::from(*a) - f64::from(*b)).powi(2);
        }
        10.0 * (signal / noise).log10()
    };
    // Each frame is heard one later. Of two lost in a row the first has no copy.
    let single = play(Codec::Opus, Rate::Wide, &sent, |n| n % 10 == 5);
    let double = play(Codec::Opus, Rate::Wide, &sent, |n| n % 10 == 5 || n % 10 == 6);
    let (with, without) = (noise_of(&single, |n| n % 10 == 6), noise_of(&double, |n| n % 10 == 6));
    println!("{with:.1} dB with the copy, {without:.1} dB without");
    assert!(with > without + 2.0, "{with:.1} {without:.1}");
}

#[test]
fn rfc3389_noise_fills_the_pause_at_its_level_until_the_peer_speaks() {
    let said = tone(1000.0, Rate::Narrow, 40);
    let sent = packets(Codec::Pcma, Rate::Narrow, &said);
    let mut playout = Playout::new(Rate::Narrow);
    let mut levels = Vec::new();
    for number in 0..40usize {
        match number {
            10 => playout.push(&Heard { sound: Sound::Noise, payload: &[40], ..heard(Codec::Pcma, 10, &[]) }),
            11..30 => {}
            n => {
                let sequence = if n < 10 { n } else { n - 19 } as u16;
                playout.push(&Heard { sequence, ..heard(Codec::Pcma, n, &sent[n]) });
            }
        }
        let power = rms_squared(playout.pull()) as f64;
        levels.push(10.0 * (power / 32_767f64.powi(2)).max(1e-12).log10());
    }
    assert!(levels[14..29].iter().all(|level| (level + 40.0).abs() < 2.0), "{levels:?}");
    assert!(levels[34..39].iter().all(|level| (level + 17.8).abs() < 1.0), "{levels:?}");
}

#[test]
fn packets_of_every_length_are_played_and_junk_is_none() {
    let said = sentence();
    let sent: Vec<u8> = said.iter().map(|s| Law::A.encode(*s)).collect();
    for samples in [80, 160, 240, 480] {
        let mut playout = Playout::new(Rate::Narrow);
        let mut chunks = sent.chunks_exact(samples).enumerate();
        // What begins at once has no delay that could be looked for.
        let (mut ahead, mut out) = (0, vec![0; FRAME]);
        for frame in 1..=200 {
            while ahead < frame * FRAME {
                let (number, payload) = chunks.next().expect("enough");
                let timestamp = (number * samples) as u32;
                playout.push(&Heard { timestamp, ..heard(Codec::Pcma, number, payload) });
                ahead += samples;
            }
            out.extend_from_slice(playout.pull());
        }
        let (noise, _) = compare(&said[..200 * FRAME], &out);
        assert!(noise > 30.0, "{samples}: {noise:.1} dB");
    }
    for codec in ALL {
        let mut playout = Playout::new(Rate::Wide);
        for number in 0..200usize {
            let payload: Vec<u8> = (0..number * 7 % 300).map(|n| (n * number * 31) as u8).collect();
            playout.push(&heard(codec, number, &payload));
            assert_eq!(playout.pull().len(), 320, "{codec:?}");
        }
    }
}

#[test]
fn a_stream_that_has_ended_is_idle_and_silent() {
    let mut playout = Playout::new(Rate::Narrow);
    assert!(playout.is_idle());
    let sent = packets(Codec::G722, Rate::Narrow, &tone(800.0, Rate::Narrow, 10));
    for (number, payload) in sent.iter().enumerate() {
        playout.push(&heard(Codec::G722, number, payload));
        playout.pull();
    }
    assert!(!playout.is_idle());
    for _ in 0..60 {
        playout.pull();
    }
    assert!(playout.is_idle() && playout.pull().iter().all(|s| *s == 0));
}

const FRAME: usize = 160;
