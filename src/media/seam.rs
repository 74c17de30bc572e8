//! Where one sound ends and another begins: the step between the two is spread over some milliseconds, so that it
//! makes no click.

use super::g711::Law;

/// Samples over which a step is spread: 8 ms at 8 kHz.
const LENGTH: i32 = 64;

/// What was heard last, and what is left of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seam {
    last: i32,
    step: i32,
    left: i32,
}

impl Seam {
    /// The next sample continues something else than the last.
    pub fn open(&mut self) {
        self.left = LENGTH + 1;
    }

    /// A sample on its way.
    pub fn pass(&mut self, sample: i16) -> i16 {
        let sample = i32::from(sample);
        if self.left > LENGTH {
            (self.step, self.left) = (self.last - sample, LENGTH);
        }
        let smooth = sample + self.step * self.left / LENGTH;
        self.left = (self.left - 1).max(0);
        self.last = smooth.clamp(i16::MIN.into(), i16::MAX.into());
        self.last as i16
    }
}

/// A payload that follows another of that last byte, but does not continue it.
pub fn join<'a>(law: Law, last: u8, payload: &[u8], out: &'a mut [u8]) -> &'a [u8] {
    let mut seam = Seam { last: i32::from(law.decode(last)), ..Seam::default() };
    seam.open();
    let length = payload.len().min(out.len());
    for (out, byte) in out.iter_mut().zip(payload) {
        *out = law.encode(seam.pass(law.decode(*byte)));
    }
    out.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_becomes_a_slope_and_what_has_no_step_passes_untouched() {
        let mut seam = Seam::default();
        assert_eq!([5, -7, 900].map(|s| seam.pass(s)), [5, -7, 900]);
        seam.open();
        let slope: Vec<i16> = (0..80).map(|_| seam.pass(-12_000)).collect();
        assert_eq!((slope[0], slope[64], slope[79]), (900, -12_000, -12_000));
        assert!(slope.windows(2).all(|w| (0..=202).contains(&(w[0] - w[1]))), "{slope:?}");
        let mut extremes = Seam { last: i16::MAX.into(), step: 0, left: LENGTH + 1 };
        assert_eq!(extremes.pass(i16::MIN), i16::MAX);
        assert!((0..63).all(|_| extremes.pass(i16::MIN) > i16::MIN));
        assert_eq!(extremes.pass(i16::MIN), i16::MIN);
    }

    #[test]
    fn a_payload_is_joined_to_the_last_byte_and_ends_as_it_was() {
        for law in [Law::A, Law::Mu] {
            let (last, payload) = (law.encode(-8000), [law.encode(8000); 160]);
            let mut out = [0; 400];
            let joined = join(law, last, &payload, &mut out);
            assert_eq!((joined.len(), joined[0], joined[100..] == payload[100..]), (160, last, true));
            assert_eq!(join(law, last, &payload, &mut [0; 10]).len(), 10);
            assert!(join(law, last, &[], &mut []).is_empty());
        }
    }
}
