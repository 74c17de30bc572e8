//! Comfort noise (RFC 3389): what a peer sends once, instead of silence, sounds on as noise of that level and
//! colour until it speaks again.

use crate::base::quiet::quiet_debug;

/// Reflection coefficients beyond these are passed over (RFC 3389 3.2 lets the receiver).
const MAX_ORDER: usize = 10;
/// Noise softer than this is nothing, in -dBov.
const SOFTEST: u8 = 90;

/// Noise as a peer described it.
pub struct ComfortNoise {
    /// RMS of the noise in samples.
    level: f32,
    /// Of the lattice that colours it, and its state.
    reflection: [f32; MAX_ORDER],
    state: [f32; MAX_ORDER + 1],
    /// What the colouring adds, to be taken off again.
    gain: f32,
    seed: u32,
}

impl ComfortNoise {
    pub fn new(payload: &[u8]) -> Self {
        let mut noise = Self {
            level: 0.0,
            reflection: [0.0; MAX_ORDER],
            state: [0.0; MAX_ORDER + 1],
            gain: 1.0,
            seed: 0x2545_f491,
        };
        noise.update(payload);
        noise
    }

    /// Another description; the noise goes on without a step.
    pub fn update(&mut self, payload: &[u8]) {
        let [level, colours @ ..] = payload else { return };
        let level = level & 0x7f;
        self.level = if level >= SOFTEST { 0.0 } else { 32_767.0 * 10f32.powf(-f32::from(level) / 20.0) };
        let quantised = colours.iter().copied().chain(std::iter::repeat(127));
        for (place, byte) in self.reflection.iter_mut().zip(quantised) {
            // RFC 3389 3.2: 127 is nothing. Kept off the edge, where the filter would ring for ever.
            *place = ((f32::from(byte) - 127.0) * 258.0 / 32_768.0).clamp(-0.97, 0.97);
        }
        self.gain = self.reflection.iter().map(|k| 1.0 - k * k).product::<f32>().sqrt();
    }

    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            *sample = self.next() as i16;
        }
    }

    fn next(&mut self) -> f32 {
        // All values are alike likely: of that, the RMS is the peak by the root of three.
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let white = (self.seed >> 8) as f32 / 8_388_608.0 - 1.0;
        let mut forward = white * self.level * self.gain * 3f32.sqrt();
        for (index, k) in self.reflection.iter().enumerate().rev() {
            let back = self.state.get(index).copied().unwrap_or_default();
            forward -= k * back;
            if let Some(next) = self.state.get_mut(index + 1) {
                *next = k * forward + back;
            }
        }
        self.state[0] = forward;
        forward.clamp(-32_768.0, 32_767.0)
    }
}

quiet_debug!(ComfortNoise => "ComfortNoise");

#[cfg(test)]
mod tests {
    use super::*;

    fn level(payload: &[u8]) -> f64 {
        let mut samples = vec![0; 16_000];
        ComfortNoise::new(payload).fill(&mut samples);
        let power = samples.iter().map(|s| (f64::from(*s) / 32_767.0).powi(2)).sum::<f64>() / 16_000.0;
        10.0 * power.max(1e-12).log10()
    }

    #[test]
    fn rfc3389_3_1_the_noise_has_the_level_that_was_sent() {
        for dbov in [30u8, 50, 65] {
            let measured = level(&[dbov]);
            assert!((measured + f64::from(dbov)).abs() < 1.0, "{dbov}: {measured}");
        }
        assert!(level(&[127]) < -110.0 && level(&[]) < -110.0);
    }

    #[test]
    fn rfc3389_3_2_colours_change_the_sound_and_not_the_level() {
        for colours in [
            &[45, 200, 60, 127, 90][..],
            &[45, 0],
            &[45, 255, 255, 255, 255],
            &[45, 100, 140, 100, 140, 100, 140, 100, 140, 100, 140, 100, 140],
        ] {
            let measured = level(colours);
            assert!((measured + 45.0).abs() < 2.5, "{colours:?}: {measured}");
        }
        let mut dark = vec![0; 8000];
        ComfortNoise::new(&[45, 7]).fill(&mut dark);
        let (mut same, mut all) = (0.0, 0.0);
        for pair in dark.windows(2) {
            same += f64::from(pair[0]) * f64::from(pair[1]);
            all += f64::from(pair[0]).powi(2);
        }
        assert!(same / all > 0.8, "a low noise: each sample is like the one before");
    }
}
