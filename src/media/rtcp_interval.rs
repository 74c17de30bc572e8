//! When our reports go out (RFC 3550 6.2, 6.3). Two speak on a leg, so the share of the bandwidth would allow more
//! than one report a second, and the least interval holds: 5 s, half of it before the first report. Each is drawn
//! anew between a half and three halves of that, so that reports of many calls do not come together; the divisor is
//! that of 6.3.1. With two members reconsideration (6.3.3) changes nothing.

use std::time::Duration;

use super::command::Origin;

const LEAST: Duration = Duration::from_secs(5);
/// e - 3/2.
const COMPENSATION: f64 = 1.218_28;

/// Draws the intervals of one leg.
#[derive(Debug, Clone)]
pub struct Intervals {
    drawn: u64,
    first: bool,
}

impl Intervals {
    /// Every leg has its own, from what the core has drawn for it. Nothing secret hangs on them.
    pub fn new(origin: Origin) -> Self {
        Self { drawn: origin.cname ^ u64::from(origin.ssrc) << 32, first: true }
    }

    /// Until the next report.
    pub fn draw(&mut self) -> Duration {
        let least = if std::mem::take(&mut self.first) { LEAST / 2 } else { LEAST };
        least.mul_f64((0.5 + self.fraction()) / COMPENSATION)
    }

    /// From 0 to 1: the generator SplitMix64 of Steele, Lea and Flood.
    fn fraction(&mut self) -> f64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.drawn;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Rng;

    #[test]
    fn rfc3550_6_3_1_intervals_are_spread_about_the_least_and_the_first_is_half_as_long() {
        let mut rng = Rng::from_number(1);
        let (mut firsts, mut others) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            let mut intervals = Intervals::new(Origin::random(&mut rng));
            firsts.push(intervals.draw().as_secs_f64());
            others.extend((0..4).map(|_| intervals.draw().as_secs_f64()));
        }
        for (drawn, least) in [(firsts, 2.5), (others, 5.0)] {
            let (low, high) = (0.5 * least / COMPENSATION, 1.5 * least / COMPENSATION);
            assert!(drawn.iter().all(|t| (low..=high).contains(t)), "between a half and three halves");
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            assert!((mean * COMPENSATION / least - 1.0).abs() < 0.05, "{mean}");
            for tenth in 0..10 {
                let from = low + (high - low) * f64::from(tenth) / 10.0;
                let among = drawn.iter().filter(|t| (from..from + (high - low) / 10.0).contains(*t)).count();
                assert!((60..=140).contains(&(among * 1000 / drawn.len())), "evenly spread");
            }
        }
    }

    #[test]
    fn two_legs_do_not_report_in_step() {
        let mut rng = Rng::from_number(2);
        let [mut one, mut two] = [0, 1].map(|_| Intervals::new(Origin::random(&mut rng)));
        assert!((0..5).all(|_| one.draw() != two.draw()));
    }
}
