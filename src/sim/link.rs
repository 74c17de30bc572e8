//! A network that loses, delays, repeats and reorders, from a seed.

use std::time::Duration;

use crate::base::id::Rng;

/// What a network does to packets. Rates are per thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Packets lost at random.
    pub loss: u32,
    /// Chance that a burst of loss begins; it swallows the next 2 to 6 packets.
    pub burst: u32,
    /// Packets that arrive twice.
    pub duplicate: u32,
    /// Packets that are held back, so that later ones overtake them.
    pub reorder: u32,
    /// Shortest way.
    pub latency: Duration,
    /// Added at random, up to this.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing is lost, everything takes 5 ms.
    pub const FAIR: Self = Self {
        loss: 0,
        burst: 0,
        duplicate: 0,
        reorder: 0,
        latency: Duration::from_millis(5),
        jitter: Duration::ZERO,
    };

    /// Draws a weather with 0 to 20 % loss; each seed also draws which faults exist at all.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut rate = |most: u64| if rng.below(2) == 0 { 0 } else { rng.below(most + 1) as u32 };
        let (loss, burst, duplicate, reorder) = (rate(200), rate(20), rate(100), rate(100));
        Self {
            loss,
            burst,
            duplicate,
            reorder,
            latency: Duration::from_millis(1 + rng.below(80)),
            jitter: Duration::from_millis(rng.below(40)),
        }
    }
}

/// One network between the switch and everybody else.
#[derive(Debug)]
pub struct Link {
    weather: Weather,
    rng: Rng,
    burst_left: u32,
}

impl Link {
    pub fn new(weather: Weather, rng: Rng) -> Self {
        Self { weather, rng, burst_left: 0 }
    }

    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.burst_left = 0;
    }

    /// Delays after which copies of one datagram arrive: none when lost, two when repeated.
    pub fn datagram(&mut self) -> Vec<Duration> {
        let lost = self.swallowed();
        let mut arrivals = Vec::new();
        if !lost {
            arrivals.push(self.delay());
        }
        if self.chance(self.weather.duplicate) {
            arrivals.push(self.delay());
        }
        arrivals
    }

    fn swallowed(&mut self) -> bool {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return true;
        }
        if self.chance(self.weather.burst) {
            self.burst_left = 1 + self.rng.below(5) as u32;
            return true;
        }
        self.chance(self.weather.loss)
    }

    fn delay(&mut self) -> Duration {
        let jitter = Duration::from_micros(self.rng.below(self.weather.jitter.as_micros() as u64 + 1));
        let held =
            if self.chance(self.weather.reorder) { Duration::from_millis(150) } else { Duration::ZERO };
        self.weather.latency + jitter + held
    }

    fn chance(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.rng.below(1000) < u64::from(per_thousand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_weather_delivers_each_datagram_once() {
        let mut link = Link::new(Weather::FAIR, Rng::from_number(1));
        assert!((0..100).all(|_| link.datagram() == [Duration::from_millis(5)]));
    }

    #[test]
    fn a_tenth_of_the_datagrams_is_lost_when_the_weather_says_so() {
        let weather = Weather { loss: 100, ..Weather::FAIR };
        let mut link = Link::new(weather, Rng::from_number(2));
        let lost = (0..10_000).filter(|_| link.datagram().is_empty()).count();
        assert!((900..1100).contains(&lost), "{lost}");
    }
}
