//! A leg's voice on its way into a room: packets that come early, late, twice or never go in, and a frame every 20 ms
//! comes out. What is missing is made up from what was heard last, softer and softer.
//!
//! The delay finds its own length: it begins with one packet in hand, grows when nothing is there in time, and shrinks
//! when for some seconds more was in hand than was needed. So a leg that comes late costs nobody but itself.

use super::codec::FRAME;
use super::g711::Law;
use super::seam::Seam;
use crate::base::quiet::quiet_debug;

/// Samples that are kept, half a second; timestamps are taken modulo this.
const RING: usize = 4096;
/// A timestamp so far away is another stream's.
const FAR: u32 = RING as u32 / 2;
/// More than 200 ms in hand is old: the newest 40 ms are kept.
const MOST_IN_HAND: u32 = 1600;
/// What a voice that begins waits for, and what is always left in hand.
const IN_HAND: u32 = 2 * FRAME as u32;
/// A voice that begins waits for no longer: the peer may send long packets.
const PATIENCE: u8 = 2;
/// Frames without anything, after which a voice begins anew.
const PAUSE: u32 = 10;
/// How often the delay is looked at: 5 s.
const LOOK: u32 = 250;
/// Frames that are made up, each half as loud as the one before.
const MADE_UP: u32 = 3;

/// The way in. See the module.
pub struct Inlet {
    ring: Box<[Option<i16>]>,
    source: Option<u32>,
    /// Timestamp of the sample that is given next.
    next: u32,
    /// One more than the newest timestamp.
    end: u32,
    /// It waits to begin, for so many frames already.
    waits: Option<u8>,
    /// Frames without anything.
    dry: u32,
    heard: [i16; FRAME],
    /// Whether the last sample was heard, and not made up.
    real: bool,
    seam: Seam,
    /// The least that was in hand since the delay was looked at, and how long ago that is.
    spare: u32,
    looked: u32,
}

impl Inlet {
    pub fn new() -> Self {
        Self {
            ring: vec![None; RING].into(),
            source: None,
            next: 0,
            end: 0,
            waits: Some(0),
            dry: 0,
            heard: [0; FRAME],
            real: false,
            seam: Seam::default(),
            spare: u32::MAX,
            looked: 0,
        }
    }

    /// Takes a packet's sound. `source` tells one stream from the next.
    pub fn push(&mut self, source: u32, timestamp: u32, law: Law, payload: &[u8]) {
        let ahead = timestamp.wrapping_sub(self.next) as i32;
        if self.source != Some(source) || (ahead.unsigned_abs() >= FAR && !(self.is_dry() && ahead > 0)) {
            self.source = Some(source);
            self.begin_at(timestamp);
        } else if self.is_dry() && ahead > 0 {
            // What was lost before it will not come any more.
            self.begin_at(timestamp);
        }
        for (byte, at) in payload.iter().zip(0..) {
            let at = timestamp.wrapping_add(at);
            let ahead = at.wrapping_sub(self.next) as i32;
            if (0..RING as i32).contains(&ahead) {
                if let Some(place) = self.ring.get_mut(at as usize % RING) {
                    *place = Some(law.decode(*byte));
                }
                if ahead >= self.in_hand() as i32 {
                    self.end = at.wrapping_add(1);
                }
            }
        }
        if self.in_hand() > MOST_IN_HAND {
            self.skip(self.in_hand() - IN_HAND);
        }
    }

    /// The next 20 ms. Whether any of it was heard.
    pub fn pull(&mut self, frame: &mut [i16; FRAME]) -> bool {
        let ready = self.is_ready();
        let mut any = false;
        for (index, out) in frame.iter_mut().enumerate() {
            let sample = if ready { self.take() } else { None };
            any |= sample.is_some();
            if sample.is_some() != self.real {
                self.real = sample.is_some();
                self.seam.open();
            }
            let made_up = self.heard.get(index).copied().unwrap_or_default();
            let made_up = if self.dry < MADE_UP { made_up >> self.dry } else { 0 };
            *out = self.seam.pass(sample.unwrap_or(made_up));
        }
        if any {
            (self.heard, self.dry) = (*frame, 0);
        } else {
            self.dry = self.dry.saturating_add(1);
            // Each frame that is made up is softer than the last.
            self.seam.open();
        }
        if self.dry == PAUSE {
            self.waits = Some(0);
        }
        self.look();
        any
    }

    fn in_hand(&self) -> u32 {
        self.end.wrapping_sub(self.next)
    }

    fn is_dry(&self) -> bool {
        self.end == self.next
    }

    fn begin_at(&mut self, timestamp: u32) {
        self.ring.fill(None);
        (self.next, self.end) = (timestamp, timestamp);
        self.seam.open();
    }

    /// Whether there is something to give; a voice that begins waits for a second packet.
    fn is_ready(&mut self) -> bool {
        if self.is_dry() {
            return false;
        }
        if let Some(waited) = self.waits {
            if self.in_hand() < IN_HAND && waited + 1 < PATIENCE {
                self.waits = Some(waited + 1);
                return false;
            }
            self.waits = None;
        }
        true
    }

    fn take(&mut self) -> Option<i16> {
        if self.is_dry() {
            return None;
        }
        let sample = self.ring.get_mut(self.next as usize % RING).and_then(Option::take);
        self.next = self.next.wrapping_add(1);
        sample
    }

    fn skip(&mut self, samples: u32) {
        for _ in 0..samples {
            self.take();
        }
        self.seam.open();
    }

    fn look(&mut self) {
        self.spare = self.spare.min(self.in_hand());
        self.looked += 1;
        if self.looked < LOOK {
            return;
        }
        if self.spare >= IN_HAND && self.spare <= RING as u32 {
            self.skip(FRAME as u32);
        }
        (self.spare, self.looked) = (u32::MAX, 0);
    }
}

impl Default for Inlet {
    fn default() -> Self {
        Self::new()
    }
}

quiet_debug!(Inlet => "Inlet");

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: usize = 40;

    /// A tone of 200 Hz, whose packets are all alike, and whose greatest step is about 1260.
    fn tone() -> [u8; FRAME] {
        std::array::from_fn(|n| {
            let angle = (n % PERIOD) as f64 / PERIOD as f64 * std::f64::consts::TAU;
            Law::A.encode((8000.0 * angle.sin()) as i16)
        })
    }

    struct Bench {
        inlet: Inlet,
        out: Vec<i16>,
        heard: usize,
    }

    impl Bench {
        fn new() -> Self {
            Self { inlet: Inlet::new(), out: Vec::new(), heard: 0 }
        }

        fn packet(&mut self, number: u32) {
            self.inlet.push(7, (u32::MAX - 4000).wrapping_add(number * FRAME as u32), Law::A, &tone());
        }

        fn pull(&mut self) {
            let mut frame = [0; FRAME];
            self.heard += usize::from(self.inlet.pull(&mut frame));
            self.out.extend(frame);
        }

        fn greatest_step(&self) -> u32 {
            self.out.windows(2).map(|w| i32::from(w[1]).abs_diff(i32::from(w[0]))).max().unwrap_or(0)
        }
    }

    /// Packets in the order and at the ticks at which they come; how many frames must be heard.
    #[test]
    fn what_comes_early_late_twice_or_never_makes_frames_without_a_click() {
        let steady: Vec<Vec<u32>> = (0..60).map(|n| vec![n]).collect();
        let change = |at: usize, packets: &[&[u32]]| {
            let mut ticks = steady.clone();
            ticks.splice(at..at + packets.len(), packets.iter().map(|p| p.to_vec()));
            ticks
        };
        let cases = [
            ("steady", steady.clone(), 59),
            ("one lost", change(20, &[&[]]), 58),
            ("three lost", change(20, &[&[], &[], &[]]), 56),
            ("twice", change(20, &[&[20, 20]]), 59),
            ("swapped", change(20, &[&[21], &[20]]), 58),
            ("late by one", change(20, &[&[], &[20, 21]]), 58),
            ("late by three", change(20, &[&[], &[], &[], &[20, 21, 22, 23]]), 56),
            (
                "a pause of a second",
                (0..110).map(|n| if (20..70).contains(&n) { vec![] } else { vec![n] }).collect(),
                57,
            ),
        ];
        for (name, ticks, heard) in cases {
            let mut bench = Bench::new();
            for packets in ticks {
                packets.into_iter().for_each(|n| bench.packet(n));
                bench.pull();
            }
            assert!(bench.heard >= heard, "{name}: {}", bench.heard);
            assert!(bench.greatest_step() < 1500, "{name}: {}", bench.greatest_step());
        }
    }

    #[test]
    fn what_was_lost_is_made_up_softer_and_softer() {
        let mut bench = Bench::new();
        for n in 0..10 {
            bench.packet(n);
            bench.pull();
        }
        bench.out.clear();
        (0..6).for_each(|_| bench.pull());
        let peak =
            |frame: usize| bench.out[frame * FRAME..][..FRAME].iter().map(|s| s.abs()).max().unwrap_or(0);
        // The first of these is still the packet in hand.
        assert!(peak(1) > 7000 && (3000..6000).contains(&peak(2)), "{} {}", peak(1), peak(2));
        assert_eq!(peak(5), 0);
    }

    #[test]
    fn a_burst_after_a_stall_does_not_stay_as_delay() {
        let mut bench = Bench::new();
        (0..5).for_each(|n| {
            bench.packet(n);
            bench.pull();
        });
        (0..12).for_each(|_| bench.pull());
        (5..17).for_each(|n| bench.packet(n));
        assert!(bench.inlet.in_hand() <= MOST_IN_HAND);
        for n in 17..2000 {
            bench.packet(n);
            bench.pull();
        }
        assert!(bench.inlet.in_hand() <= IN_HAND, "{}", bench.inlet.in_hand());
        assert!(bench.greatest_step() < 1500, "{}", bench.greatest_step());
    }

    #[test]
    fn another_stream_begins_at_once_whatever_its_numbers_and_any_bytes_are_taken() {
        let mut bench = Bench::new();
        for n in 0..10 {
            bench.packet(n);
            bench.pull();
        }
        for (source, timestamp) in [(8, 5), (9, u32::MAX - 3), (9, 1 << 31), (9, (1 << 31) - 100_000)] {
            let before = bench.heard;
            for n in 0..5 {
                bench.inlet.push(source, timestamp.wrapping_add(n * 160), Law::A, &tone());
                bench.pull();
            }
            assert!(bench.heard >= before + 3, "{source} {timestamp}");
        }
        bench.inlet.push(9, 77, Law::Mu, &[]);
        bench.inlet.push(9, 77, Law::Mu, &[1; 1400]);
        (0..20).for_each(|_| bench.pull());
        assert!(bench.inlet.is_dry());
    }
}
