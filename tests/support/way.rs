//! The way of a stream of packets through a network that loses and delays, drawn from a seed: when each packet comes
//! out, if it does. Jitter above 20 ms lets packets overtake each other.

use std::time::Duration;

/// A network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// Of 1000 packets so many are lost, each by itself.
    pub loss: u64,
    /// The delay of a packet is anything up to this.
    pub jitter: Duration,
    pub seed: u64,
}

impl Way {
    /// When packets that are sent each 20 ms come out, in the order in which they do; by their index.
    pub fn schedule(&self, count: usize) -> Vec<(Duration, usize)> {
        let mut state = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) % bound.max(1)
        };
        let jitter = self.jitter.as_micros() as u64;
        let mut out = Vec::new();
        for index in 0..count {
            let (lost, delay) = (below(1000) < self.loss, below(jitter + 1));
            if !lost {
                out.push((Duration::from_millis(20) * index as u32 + Duration::from_micros(delay), index));
            }
        }
        out.sort();
        out
    }
}
