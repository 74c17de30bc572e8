//! Which indices of one source have been seen (RFC 3711 3.3.2), and which index a sequence number stands for
//! (3.3.1).

/// Indices behind the highest that can still be told apart; RFC 3711 asks for at least 64.
pub const WINDOW: u64 = 128;

const HALF: u16 = 0x8000;

/// The highest index seen, and which of those behind it.
#[derive(Clone, Copy)]
pub struct Window {
    highest: u64,
    /// Bit n: `highest - n` has been seen.
    seen: u128,
}

impl Window {
    pub fn new(first: u64) -> Self {
        Self { highest: first, seen: 1 }
    }

    /// Whether an index is new and not too old to know.
    pub fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(behind) => behind < WINDOW && self.seen & (1 << behind) == 0,
        }
    }

    /// Notes an index whose packet has been authenticated.
    pub fn note(&mut self, index: u64) {
        match self.highest.checked_sub(index) {
            None => {
                let step = index - self.highest;
                self.seen = if step < WINDOW { self.seen << step | 1 } else { 1 };
                self.highest = index;
            }
            Some(behind) if behind < WINDOW => self.seen |= 1 << behind,
            Some(_) => {}
        }
    }

    /// The rollover counter of the highest index.
    pub fn rollovers(&self) -> u32 {
        (self.highest >> 16) as u32
    }

    /// The index that a sequence number most likely stands for: the one nearest to the highest (RFC 3711
    /// 3.3.1, appendix A). Before the first rollover there is nothing behind to be near to.
    pub fn guess(&self, sequence: u16) -> u64 {
        let (rollovers, highest) = (self.highest >> 16, self.highest as u16);
        let rollovers = if highest < HALF && sequence > highest && sequence - highest > HALF {
            rollovers.saturating_sub(1)
        } else if highest >= HALF && highest - HALF > sequence {
            rollovers + 1
        } else {
            rollovers
        };
        rollovers << 16 | u64::from(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3711_3_3_2_each_index_once_and_none_that_is_too_old() {
        let mut window = Window::new(1000);
        assert!(!window.is_new(1000) && window.is_new(1001) && window.is_new(999));
        window.note(1001 + WINDOW);
        assert!(!window.is_new(1001) && window.is_new(1002), "the window has moved on");
        window.note(1002);
        assert!(!window.is_new(1002) && !window.is_new(1001 + WINDOW));
        window.note(1 << 40);
        assert!(!window.is_new(1003) && window.is_new((1 << 40) - 1) && !window.is_new(1 << 40));
        window.note(5);
        assert!(!window.is_new(5), "what lies behind the window changes nothing");
    }

    #[test]
    fn rfc3711_3_3_1_the_nearest_index_is_meant() {
        let cases: [(u64, u16, u64); 9] = [
            (0x0_ffff, 0, 0x1_0000),
            (0x0_fff0, 3, 0x1_0003),
            (0x1_0002, 0xffff, 0x0_ffff),
            (0x1_0002, 3, 0x1_0003),
            (0x0_0002, 0xffff, 0x0_ffff), // there is no counter below 0
            (0x7_8000, 0, 0x7_0000),
            (0x7_8001, 0, 0x8_0000),
            (0x7_7fff, 0xffff, 0x7_ffff),
            (0x7_7ffe, 0xffff, 0x6_ffff),
        ];
        for (highest, sequence, index) in cases {
            assert_eq!(Window::new(highest).guess(sequence), index, "{highest:x} {sequence:x}");
        }
    }
}
