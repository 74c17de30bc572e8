//! From 8 to 16 kHz and back, by `rubato`: a short filter, for speech. What goes in comes out 4 ms later,
//! always as much as 20 ms of one rate are of the other.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use super::codec::Rate;
use crate::base::quiet::quiet_debug;

/// What the filter looks at; half of it is its delay.
const LENGTH_MS: usize = 8;
/// Room for 20 ms of either rate.
const ROOM: usize = 320;

/// One direction of one stream.
pub struct Resampler {
    inner: Async<f32>,
    from: Rate,
    input: [f32; ROOM],
    output: [f32; ROOM + 8],
    to: Rate,
}

impl Resampler {
    /// `None` where the rates are the same.
    pub fn new(from: Rate, to: Rate) -> Option<Self> {
        if from == to {
            return None;
        }
        let ratio = f64::from(to.hertz()) / f64::from(from.hertz());
        let length = LENGTH_MS * from.hertz() as usize / 1000;
        // At these ratios every sample falls on a half, so that nothing is left to interpolate.
        let parameters = SincInterpolationParameters::new(length, WindowFunction::Blackman2)
            .oversampling_factor(2)
            .interpolation(SincInterpolationType::Nearest);
        let inner = Async::new_sinc(ratio, 1.0, &parameters, from.frame(), 1, FixedAsync::Input).ok()?;
        Some(Self { inner, from, input: [0.0; ROOM], output: [0.0; ROOM + 8], to })
    }

    /// Changes 20 ms. What is missing of the input is silence.
    pub fn process(&mut self, frame: &[i16], out: &mut Vec<i16>) {
        let (from, to) = (self.from.frame(), self.to.frame());
        let samples = frame.iter().copied().chain(std::iter::repeat(0));
        for (place, sample) in self.input.iter_mut().zip(samples).take(from) {
            *place = f32::from(sample);
        }
        let written = self.run(from).unwrap_or_default();
        let ready = self.output.iter().take(written).copied().chain(std::iter::repeat(0.0));
        out.extend(ready.take(to).map(|sample| sample.round() as i16));
    }

    fn run(&mut self, frames: usize) -> Option<usize> {
        let input = SequentialSlice::new(&self.input, 1, frames).ok()?;
        let room = self.output.len();
        let mut output = SequentialSlice::new_mut(&mut self.output, 1, room).ok()?;
        Some(self.inner.process_into_buffer(&input, &mut output, None).ok()?.1)
    }
}

quiet_debug!(Resampler => "Resampler");

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: Rate, frames: usize) -> Vec<i16> {
        let count = rate.frame() * frames;
        let angle = |n: usize| std::f64::consts::TAU * hertz * n as f64 / f64::from(rate.hertz());
        (0..count).map(|n| (8000.0 * angle(n).sin()) as i16).collect()
    }

    fn changed(from: Rate, to: Rate, samples: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).expect("two rates");
        let mut out = Vec::new();
        samples.chunks(from.frame()).for_each(|frame| resampler.process(frame, &mut out));
        out
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn twenty_milliseconds_in_are_twenty_milliseconds_out_and_the_same_rate_needs_none() {
        for (from, to) in [(Rate::Narrow, Rate::Wide), (Rate::Wide, Rate::Narrow)] {
            let mut resampler = Resampler::new(from, to).expect("two rates");
            for _ in 0..500 {
                let mut out = Vec::new();
                resampler.process(&vec![100; from.frame()], &mut out);
                assert_eq!(out.len(), to.frame());
            }
            assert!(Resampler::new(from, from).is_none());
        }
    }

    #[test]
    fn speech_keeps_its_level_and_what_the_lower_rate_cannot_hold_is_gone() {
        for hertz in [300.0, 1000.0, 3000.0] {
            for (from, to) in [(Rate::Narrow, Rate::Wide), (Rate::Wide, Rate::Narrow)] {
                let out = changed(from, to, &tone(hertz, from, 50));
                let level = 20.0 * (rms(&out[out.len() / 2..]) / (8000.0 / 2f64.sqrt())).log10();
                assert!(level.abs() < 0.5, "{hertz} Hz from {from:?}: {level} dB");
            }
        }
        let folded = changed(Rate::Wide, Rate::Narrow, &tone(5500.0, Rate::Wide, 50));
        assert!(rms(&folded[folded.len() / 2..]) < 8000.0 / 300.0, "{}", rms(&folded));
    }

    #[test]
    fn the_delay_is_four_milliseconds() {
        for (from, to) in [(Rate::Narrow, Rate::Wide), (Rate::Wide, Rate::Narrow)] {
            let mut click = vec![0; from.frame() * 3];
            click[from.frame()] = 16_000;
            let out = changed(from, to, &click);
            let loudest = out.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).map(|(at, _)| at);
            let late = loudest.map(|at| at.saturating_sub(to.frame()) * 1000 / to.hertz() as usize);
            assert_eq!(late, Some(4), "{from:?}");
        }
    }
}
