//! How many packets a peer may send. No phone sends as many; the rest would only cost the machine, and flood the other
//! side of the call.

use std::time::{Duration, Instant};

/// 250 packets a second in the long run: twice and a half of what 10 ms packets need.
const EACH: Duration = Duration::from_millis(4);
/// So many seconds' worth of them at once (500 packets), when the network held them up.
const AHEAD: Duration = Duration::from_secs(2);

/// The allowance of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Until when what came is paid for.
    paid_until: Instant,
}

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self { paid_until: now }
    }

    /// Whether one more may come now.
    pub fn admit(&mut self, now: Instant) -> bool {
        let due = self.paid_until.max(now) + EACH;
        let may = due.saturating_duration_since(now) <= AHEAD;
        if may {
            self.paid_until = due;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    #[test]
    fn packets_of_10_ms_and_a_burst_after_a_stall_pass_and_of_a_flood_as_many_as_two_phones_send() {
        let mut now = Now::read().at;
        let mut rate = Rate::new(now);
        let mut send = |count: u32, each: Duration| {
            (0..count)
                .filter(|_| {
                    now += each;
                    rate.admit(now)
                })
                .count()
        };
        assert_eq!(send(6000, Duration::from_millis(10)), 6000);
        assert_eq!(send(499, Duration::ZERO), 499, "a network that was held up");
        assert_eq!(send(1, Duration::from_millis(20)), 1);
        let admitted = send(100_000, Duration::from_micros(100));
        assert!((2500..=3000).contains(&admitted), "{admitted} in ten seconds");
        assert_eq!(send(100, Duration::from_millis(20)), 100, "and then it is a phone again");
    }
}
