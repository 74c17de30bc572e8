//! Places that failed a short while ago: they are tried last, so that one dead machine of a carrier does not
//! cost every caller its time again.

use std::time::{Duration, Instant};

use crate::base::bounded::BoundedMap;
use crate::sip::flow::Destination;
use crate::sip::target::Hop;

/// How long a place is tried last after its first failure; doubled with each that follows.
const FIRST: Duration = Duration::from_secs(60);
/// The longest, also of what a peer asks for (`Retry-After`).
const LONGEST: Duration = Duration::from_secs(600);
/// Places remembered. Past it the one that comes free first makes room.
const MOST: usize = 256;

/// The places. See the head of the file.
pub(super) struct Penalties {
    places: BoundedMap<Hop, Penalty>,
}

struct Penalty {
    until: Instant,
    pause: Duration,
}

impl Penalties {
    pub(super) fn new() -> Self {
        Self { places: BoundedMap::new(MOST) }
    }

    /// Nobody was reached there. Whether it is set aside by this; calls that fail together count once.
    pub(super) fn failed(&mut self, now: Instant, to: &Destination, retry_after: Option<Duration>) -> bool {
        let Some(hop) = hop(to) else { return false };
        let asked = retry_after.unwrap_or_default().min(LONGEST);
        match self.places.get_mut(&hop) {
            Some(penalty) if now < penalty.until => {
                penalty.until = penalty.until.max(now + asked);
                false
            }
            // Its last failure is no longer news: it begins anew.
            Some(penalty) if now >= penalty.until + LONGEST => {
                *penalty = Penalty { until: now + FIRST.max(asked), pause: FIRST };
                true
            }
            Some(penalty) => {
                penalty.pause = (penalty.pause * 2).min(LONGEST);
                penalty.until = now + penalty.pause.max(asked);
                true
            }
            None => {
                self.make_room();
                self.places.insert(hop, Penalty { until: now + FIRST.max(asked), pause: FIRST }).is_ok()
            }
        }
    }

    /// Somebody is there.
    pub(super) fn answered(&mut self, to: &Destination) {
        if let Some(hop) = hop(to) {
            self.places.remove(&hop);
        }
    }

    /// Whether it is to be tried after others.
    pub(super) fn is_set_aside(&self, now: Instant, to: &Destination) -> bool {
        hop(to).and_then(|hop| self.places.get(&hop)).is_some_and(|penalty| now < penalty.until)
    }

    /// How many are.
    pub(super) fn count(&self, now: Instant) -> u32 {
        self.places.iter().filter(|(_, penalty)| now < penalty.until).count() as u32
    }

    fn make_room(&mut self) {
        if self.places.is_full() {
            let first = self.places.iter().min_by_key(|(_, penalty)| penalty.until).map(|(hop, _)| *hop);
            if let Some(hop) = first {
                self.places.remove(&hop);
            }
        }
    }
}

/// A phone's own flow is no place that one could avoid.
fn hop(to: &Destination) -> Option<Hop> {
    match to {
        Destination::Address { transport, peer, .. } => Some(Hop { transport: *transport, peer: *peer }),
        Destination::Flow(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::sip::flow::Transport;

    fn place(text: &str) -> Destination {
        Destination::address(Transport::Udp, text.parse().unwrap())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_place_that_fails_is_set_aside_for_longer_each_time_and_free_when_it_answers() {
        let (mut box_, to) = (Penalties::new(), place("192.0.2.1:5060"));
        let mut now = Now::read().at;
        for pause in [60, 120, 240, 480, 600, 600] {
            assert!(box_.failed(now, &to, None));
            assert!(!box_.failed(now + seconds(1), &to, None), "calls that fail together count once");
            assert!(box_.is_set_aside(now + seconds(pause - 1), &to), "{pause}");
            now += seconds(pause);
            assert!(!box_.is_set_aside(now, &to), "{pause}");
        }
        let tcp = Destination::address(Transport::Tcp, "192.0.2.1:5060".parse().unwrap());
        box_.failed(now, &to, None);
        assert!(!box_.is_set_aside(now, &tcp) && box_.count(now) == 1);
        box_.answered(&to);
        assert_eq!(box_.count(now), 0);
        box_.failed(now, &to, None);
        assert!(!box_.is_set_aside(now + seconds(60), &to), "after an answer it begins anew");
        box_.failed(now + seconds(60 + 600), &to, None);
        assert!(
            !box_.is_set_aside(now + seconds(60 + 600 + 60), &to),
            "and after a long time without failure"
        );
    }

    #[test]
    fn retry_after_is_honoured_up_to_ten_minutes() {
        let (now, to) = (Now::read().at, place("192.0.2.1:5060"));
        for (asked, set_aside) in [(5, 60), (90, 90), (86_400, 600)] {
            let mut box_ = Penalties::new();
            box_.failed(now, &to, Some(seconds(asked)));
            assert!(box_.is_set_aside(now + seconds(set_aside - 1), &to), "{asked}");
            assert!(!box_.is_set_aside(now + seconds(set_aside), &to), "{asked}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_the_first_to_come_free_makes_room() {
        let mut box_ = Penalties::new();
        let start = Now::read().at;
        for n in 0..=MOST as u64 {
            let to = place(&format!("10.0.{}.{}:5060", n / 256, n % 256));
            assert!(box_.failed(start + Duration::from_millis(n), &to, None));
        }
        let now = start + seconds(1);
        assert_eq!(box_.count(now), MOST as u32);
        assert!(!box_.is_set_aside(now, &place("10.0.0.0:5060")));
    }
}
