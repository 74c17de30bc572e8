//! G.722 at 64 kbit/s (ITU-T G.722, mode 1): 16 kHz are split into two bands of 8 kHz, each coded by its
//! distance from what was predicted; six bits of a byte for the lower band, two for the upper.
//!
//! The names in capitals are the blocks of the Recommendation's section 6.

use crate::base::quiet::quiet_debug;

/// Quadrature mirror filter, one half of its symmetric coefficients (table 11, scaled to whole numbers).
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band's quantiser (table 14).
const LOW_LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Values of the lower band's six bits (INVQBL), and of the four of them that steer the prediction (INVQAL).
const LOW_SIX: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
const LOW_FOUR: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// How the lower band's step grows with its four bits (LOGSCL).
const LOW_GROWTH: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const HIGH_TWO: [i32; 4] = [-7408, -1616, 7408, 1616];
const HIGH_GROWTH: [i32; 4] = [798, -214, 798, -214];
/// The upper band's decision level, as a part of its step (table 17).
const HIGH_LEVEL: i32 = 564;
const MAX_LOW_SCALE: i32 = 18_432;
const MAX_HIGH_SCALE: i32 = 22_528;
/// Powers of two in steps of a thirty-second (table 18).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Samples in, bytes out, one byte for two samples.
pub struct Encoder {
    history: [i32; 24],
    low: Band,
    high: Band,
}

impl Encoder {
    pub fn new() -> Self {
        Self { history: [0; 24], low: Band::new(32), high: Band::new(8) }
    }

    /// How many bytes were written: one a pair of samples, as far as there is room.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        let mut written = 0;
        for (pair, byte) in samples.chunks_exact(2).zip(out) {
            let &[first, second] = pair else { continue };
            *byte = self.pair(first, second);
            written += 1;
        }
        written
    }

    fn pair(&mut self, first: i16, second: i16) -> u8 {
        let (even, odd) = mirror(&mut self.history, first.into(), second.into());
        let low = self.low_code(saturate(((even + odd) >> 14) - self.low.predicted));
        let high = self.high_code(saturate(((even - odd) >> 14) - self.high.predicted));
        (high << 6 | low) as u8
    }

    /// QUANTL, and what follows from it.
    fn low_code(&mut self, error: i32) -> i32 {
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let below = |level: &&i32| magnitude >= (**level * self.low.step) >> 12;
        let level = LOW_LEVELS.iter().take_while(below).count() as i32;
        let code = match (error < 0, level) {
            (true, 0) => 63,
            (true, 1) => 62,
            (true, _) => 33 - level,
            (false, _) => 61 - level,
        };
        self.low.take_low(code);
        code
    }

    /// QUANTH, and what follows from it.
    fn high_code(&mut self, error: i32) -> i32 {
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let outer = magnitude >= (HIGH_LEVEL * self.high.step) >> 12;
        let code = match (error < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.take_high(code);
        code
    }
}

/// Bytes in, samples out.
pub struct Decoder {
    history: [i32; 24],
    /// The last samples that came out.
    said: [i16; 24],
    low: Band,
    high: Band,
}

impl Decoder {
    pub fn new() -> Self {
        Self { history: [0; 24], said: [0; 24], low: Band::new(32), high: Band::new(8) }
    }

    /// How many samples were written: two a byte, as far as there is room.
    pub fn decode(&mut self, bytes: &[u8], out: &mut [i16]) -> usize {
        let mut written = 0;
        for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
            let (first, second) = self.byte(i32::from(*byte));
            pair.copy_from_slice(&[first, second]);
            written += 2;
        }
        self.remember(out.get(..written).unwrap_or_default());
        written
    }

    /// Takes samples that stand in for lost ones as if they had been sent, so that what comes after is understood:
    /// each byte builds on all before it.
    pub fn follow(&mut self, samples: &[i16]) {
        let mut encoder = Encoder { history: self.said.map(i32::from), low: self.low, high: self.high };
        for pair in samples.chunks_exact(2) {
            let &[first, second] = pair else { continue };
            encoder.pair(first, second);
        }
        (self.low, self.high) = (encoder.low, encoder.high);
        self.remember(samples);
    }

    fn remember(&mut self, samples: &[i16]) {
        if let Some(last) = samples.last_chunk() {
            self.said = *last;
        }
    }

    fn byte(&mut self, byte: i32) -> (i16, i16) {
        let (code, high_code) = (byte & 0x3f, byte >> 6);
        let difference = (self.low.step * at(&LOW_SIX, code)) >> 15;
        let low = (self.low.predicted + difference).clamp(-16_384, 16_383);
        self.low.take_low(code);
        let high_before = self.high.predicted;
        let high = (high_before + self.high.take_high(high_code)).clamp(-16_384, 16_383);
        let (first, second) = mirror(&mut self.history, low + high, low - high);
        (saturate(first >> 11) as i16, saturate(second >> 11) as i16)
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// One band's predictor and step size, alike in encoder and decoder.
#[derive(Clone, Copy)]
struct Band {
    /// What is predicted of the next sample, and the part of it that comes from the zeros.
    predicted: i32,
    from_zeros: i32,
    /// The last two reconstructed samples and the last two of the zeros' part, the newest first.
    rebuilt: [i32; 2],
    partial: [i32; 2],
    poles: [i32; 2],
    /// The last six differences, the newest first, and the weights that they have.
    differences: [i32; 6],
    zeros: [i32; 6],
    /// The step, and its logarithm.
    step: i32,
    scale: i32,
}

impl Band {
    fn new(step: i32) -> Self {
        Self {
            predicted: 0,
            from_zeros: 0,
            rebuilt: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            differences: [0; 6],
            zeros: [0; 6],
            step,
            scale: 0,
        }
    }

    fn take_low(&mut self, code: i32) {
        let difference = (self.step * at(&LOW_FOUR, code >> 2)) >> 15;
        self.scale = (((self.scale * 127) >> 7) + at(&LOW_GROWTH, code >> 2)).clamp(0, MAX_LOW_SCALE);
        self.step = step(self.scale, 8);
        self.adapt(difference);
    }

    fn take_high(&mut self, code: i32) -> i32 {
        let difference = (self.step * at(&HIGH_TWO, code)) >> 15;
        self.scale = (((self.scale * 127) >> 7) + at(&HIGH_GROWTH, code)).clamp(0, MAX_HIGH_SCALE);
        self.step = step(self.scale, 10);
        self.adapt(difference);
        difference
    }

    /// Takes a difference and predicts the next sample (block 4).
    fn adapt(&mut self, difference: i32) {
        let rebuilt = saturate(self.predicted + difference); // RECONS
        let partial = saturate(self.from_zeros + difference); // PARREC
        self.poles = self.next_poles(partial);
        self.adapt_zeros(difference);
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        self.partial = [partial, self.partial[0]];
        self.predict();
    }

    /// UPPOL2 and UPPOL1.
    fn next_poles(&self, partial: i32) -> [i32; 2] {
        let [first, second] = self.poles;
        let same = |other: i32| (partial < 0) == (other < 0);
        let four_times = saturate(first << 2);
        let turned = if same(self.partial[0]) { (-four_times).min(32_767) } else { four_times };
        let push = if same(self.partial[1]) { 128 } else { -128 };
        let new_second = (push + (turned >> 7) + ((second * 32_512) >> 15)).clamp(-12_288, 12_288);
        let push = if same(self.partial[0]) { 192 } else { -192 };
        let bound = saturate(15_360 - new_second);
        let new_first = saturate(push + ((first * 32_640) >> 15)).clamp(-bound, bound);
        [new_first, new_second]
    }

    /// UPZERO.
    fn adapt_zeros(&mut self, difference: i32) {
        let push = if difference == 0 { 0 } else { 128 };
        for (zero, old) in self.zeros.iter_mut().zip(&self.differences) {
            let signed = if (*old < 0) == (difference < 0) { push } else { -push };
            *zero = saturate(signed + ((*zero * 32_640) >> 15));
        }
    }

    /// FILTEP, FILTEZ and PREDIC.
    fn predict(&mut self) {
        let weighted = |(weight, value): (&i32, &i32)| (*weight * saturate(2 * *value)) >> 15;
        let from_poles = saturate(self.poles.iter().zip(&self.rebuilt).map(weighted).sum());
        self.from_zeros = saturate(self.zeros.iter().zip(&self.differences).map(weighted).sum());
        self.predicted = saturate(from_poles + self.from_zeros);
    }
}

/// Both halves of the mirror filter over the last 24 values.
fn mirror(history: &mut [i32; 24], first: i32, second: i32) -> (i32, i32) {
    history.copy_within(2.., 0);
    (history[22], history[23]) = (first, second);
    let pairs = history.chunks_exact(2);
    let forward = pairs.clone().zip(MIRROR).map(|(pair, c)| pair[0] * c).sum();
    let backward = pairs.zip(MIRROR.iter().rev()).map(|(pair, c)| pair[1] * c).sum();
    (backward, forward)
}

/// SCALEL and SCALEH: the step from its logarithm.
fn step(scale: i32, highest: i32) -> i32 {
    let power = at(&POWERS, scale >> 6 & 31);
    let down = highest - (scale >> 11);
    (if down < 0 { power << -down } else { power >> down }) << 2
}

fn at<const N: usize>(table: &[i32; N], index: i32) -> i32 {
    table.get(index as usize).copied().unwrap_or_default()
}

fn saturate(value: i32) -> i32 {
    value.clamp(i16::MIN.into(), i16::MAX.into())
}

quiet_debug!(Encoder => "g722::Encoder", Decoder => "g722::Decoder");

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, count: usize) -> Vec<i16> {
        let angle = |n: usize| std::f64::consts::TAU * hertz * n as f64 / 16_000.0;
        (0..count).map(|n| (8000.0 * angle(n).sin()) as i16).collect()
    }

    fn there_and_back(samples: &[i16]) -> Vec<i16> {
        let (mut bytes, mut out) = (vec![0; samples.len() / 2], vec![0; samples.len()]);
        assert_eq!(Encoder::new().encode(samples, &mut bytes), bytes.len());
        assert_eq!(Decoder::new().decode(&bytes, &mut out), out.len());
        out
    }

    #[test]
    fn both_bands_come_back_at_their_level() {
        let rms = |s: &[i16]| (s.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / s.len() as f64).sqrt();
        for hertz in [200.0, 1000.0, 3000.0, 5000.0, 6500.0] {
            let out = there_and_back(&tone(hertz, 8000));
            let level = 20.0 * (rms(&out[4000..]) / (8000.0 / 2f64.sqrt())).log10();
            assert!(level.abs() < 0.5, "{hertz} Hz: {level} dB");
        }
    }

    #[test]
    fn silence_is_silent_and_the_loudest_does_not_wrap() {
        assert!(there_and_back(&[0; 1600]).iter().all(|s| s.abs() < 8));
        let square: Vec<i16> = (0..3200).map(|n| if n / 40 % 2 == 0 { 20_000 } else { -20_000 }).collect();
        let out = there_and_back(&square);
        let wrong = (1000..3200).filter(|n| (n - 22) % 40 > 8 && out[*n].signum() != square[n - 22].signum());
        assert_eq!(wrong.count(), 0);
    }

    #[test]
    fn any_bytes_are_decoded() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4000).collect();
        let mut out = vec![0; 8000];
        assert_eq!(Decoder::new().decode(&bytes, &mut out), 8000);
        assert_eq!(Decoder::new().decode(&bytes, &mut out[..10]), 10);
    }
}
