//! Concealment of lost packets where we decode: the last pitch period goes on, softer and softer, and what
//! comes after is faded in. After the idea of ITU-T G.711 Appendix I, but without its delay; for any rate.

use super::codec::Rate;
use crate::base::quiet::quiet_debug;

/// Pitch is looked for between 66 and 200 Hz.
const LONGEST_MS: usize = 15;
const SHORTEST_MS: usize = 5;
/// What is compared when pitch is looked for.
const COMPARED_MS: usize = 20;
/// The first so many milliseconds are as loud as what was heard; then it falls to nothing in the next.
const LOUD_MS: usize = 10;
const FADING_MS: usize = 50;

/// The concealer of one stream.
pub struct Concealer {
    per_ms: usize,
    /// The last samples that were heard or made up.
    history: Vec<i16>,
    /// The period that is repeated while something is missing.
    period: Vec<i16>,
    /// Samples made up since the last packet.
    made: usize,
}

impl Concealer {
    pub fn new(rate: Rate) -> Self {
        let per_ms = (rate.hertz() / 1000) as usize;
        let length = (COMPARED_MS + 2 * LONGEST_MS) * per_ms;
        Self { per_ms, history: vec![0; length], period: Vec::new(), made: 0 }
    }

    /// What was heard; the beginning of it is blended with what was made up before.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.made > 0 {
            let overlap = self.per_ms * if self.made > self.per_ms * 20 { 8 } else { 4 };
            let (begin, made) = (overlap.min(samples.len()), self.made);
            for (index, sample) in samples.iter_mut().take(begin).enumerate() {
                let old = self.sample(made + index);
                *sample = blend(old, *sample, index + 1, begin + 1);
            }
            self.made = 0;
            self.period.clear();
        }
        self.remember(samples);
    }

    /// Makes up what is missing.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.period.is_empty() {
            self.find_period();
        }
        for (index, sample) in out.iter_mut().enumerate() {
            *sample = self.sample(self.made + index);
        }
        self.made += out.len();
        self.remember(out);
    }

    fn remember(&mut self, samples: &[i16]) {
        let length = self.history.len();
        let kept = samples.get(samples.len().saturating_sub(length)..).unwrap_or_default();
        self.history.drain(..kept.len());
        self.history.extend_from_slice(kept);
    }

    /// The so-manieth sample made up.
    fn sample(&self, index: usize) -> i16 {
        let Some(sample) = self.period.get(index % self.period.len().max(1)) else { return 0 };
        let (loud, fading) = (LOUD_MS * self.per_ms, FADING_MS * self.per_ms);
        let left = fading.saturating_sub(index.saturating_sub(loud));
        (i64::from(*sample) * left as i64 / fading as i64) as i16
    }

    /// The last period of the voice, its end blended into what stood before its beginning, so that it joins
    /// to itself, and its beginning joined to what was heard last.
    fn find_period(&mut self) {
        let length = self.history.len();
        let lag = self.lag();
        let blended = lag / 4;
        let before = self.history.get(length - lag - blended..length - lag).unwrap_or_default();
        let mut period = self.history.get(length - lag..).unwrap_or_default().to_vec();
        let tail = period.len() - blended.min(period.len());
        for (index, (sample, old)) in period.iter_mut().skip(tail).zip(before).enumerate() {
            *sample = blend(*sample, *old, index + 1, blended + 1);
        }
        // The step from what was heard last is spread over the beginning.
        let last = self.history.last().copied().unwrap_or_default();
        let expected = before.last().copied().unwrap_or_default();
        let step = i32::from(last) - i32::from(expected);
        for (index, sample) in period.iter_mut().take(blended).enumerate() {
            let part = step * (blended - index) as i32 / (blended + 1) as i32;
            *sample = (i32::from(*sample) + part).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
        self.period = period;
    }

    /// The distance at which the past is most like itself: coarsely, then to the sample.
    fn lag(&self) -> usize {
        let (shortest, longest) = (SHORTEST_MS * self.per_ms, LONGEST_MS * self.per_ms);
        let best = |lags: &mut dyn Iterator<Item = usize>, stride: usize| {
            lags.max_by(|a, b| self.likeness(*a, stride).total_cmp(&self.likeness(*b, stride)))
        };
        let coarse = best(&mut (shortest..=longest).step_by(2), 4).unwrap_or(longest);
        let near = coarse.saturating_sub(2).max(shortest)..=(coarse + 2).min(longest);
        best(&mut near.into_iter(), 1).unwrap_or(coarse)
    }

    fn likeness(&self, lag: usize, stride: usize) -> f32 {
        let compared = COMPARED_MS * self.per_ms;
        let begin = self.history.len() - compared;
        let now = self.history.iter().skip(begin).step_by(stride);
        let then = self.history.iter().skip(begin - lag).step_by(stride);
        let (mut product, mut energy) = (0f32, 1f32);
        for (a, b) in now.zip(then) {
            product += f32::from(*a) * f32::from(*b);
            energy += f32::from(*b) * f32::from(*b);
        }
        product / energy.sqrt()
    }
}

/// From one to the other; `part` of `whole` is the second.
fn blend(from: i16, to: i16, part: usize, whole: usize) -> i16 {
    let (part, whole) = (part as i32, whole.max(1) as i32);
    ((i32::from(from) * (whole - part) + i32::from(to) * part) / whole) as i16
}

quiet_debug!(Concealer => "Concealer");

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 160;

    /// A voice of 125 Hz with overtones.
    fn voice(count: usize) -> Vec<i16> {
        let sample = |n: usize| {
            let t = n as f64 / 8000.0 * std::f64::consts::TAU;
            (4000.0 * (t * 125.0).sin() + 2500.0 * (t * 375.0).sin() + 1500.0 * (t * 1125.0).sin()) as i16
        };
        (0..count).map(sample).collect()
    }

    fn greatest_step(samples: &[i16]) -> u32 {
        samples.windows(2).map(|w| i32::from(w[1]).abs_diff(i32::from(w[0]))).max().unwrap_or_default()
    }

    #[test]
    fn a_lost_frame_of_a_steady_voice_is_hardly_to_be_told() {
        let said = voice(20 * FRAME);
        let mut concealer = Concealer::new(Rate::Narrow);
        let mut heard = Vec::new();
        for (index, frame) in said.chunks(FRAME).enumerate() {
            let mut frame = frame.to_vec();
            if index % 5 == 4 {
                concealer.conceal(&mut frame);
            } else {
                concealer.heard(&mut frame);
            }
            heard.extend(frame);
        }
        let signal: f64 = said.iter().map(|s| f64::from(*s).powi(2)).sum();
        let noise: f64 = said.iter().zip(&heard).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        let ratio = 10.0 * (signal / noise).log10();
        assert!(ratio > 12.0, "{ratio} dB");
        assert!(greatest_step(&heard) <= greatest_step(&said) * 5 / 4, "no click");
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_the_return_is_faded_in() {
        let mut concealer = Concealer::new(Rate::Wide);
        concealer.heard(&mut voice(1600));
        let mut made = vec![0; 1600];
        concealer.conceal(&mut made);
        assert!(made[..160].iter().any(|s| s.abs() > 2000) && made[960..].iter().all(|s| *s == 0));
        let mut back = vec![8000; 320];
        concealer.heard(&mut back);
        assert!(back[0] < 200 && back[319] == 8000 && greatest_step(&back) < 300);
    }

    #[test]
    fn nothing_heard_is_nothing_made_up() {
        let mut made = [7; 320];
        Concealer::new(Rate::Narrow).conceal(&mut made);
        assert_eq!(made, [0; 320]);
    }
}
