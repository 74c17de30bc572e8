//! Time as an argument: [`Now`] comes from outside, [`TimerQueue`] holds what must happen later.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The monotonic instant and the UTC wall clock, read together. Only the driver and the simulated
/// world make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; every timer is compared with it.
    pub at: Instant,
    /// Wall clock; opening hours and stored times use it.
    pub utc: DateTime<Utc>,
}

impl Now {
    /// Reads both clocks. For drivers only; the core takes `Now` as an argument.
    #[allow(clippy::disallowed_methods)] // the one place
    pub fn read() -> Self {
        Self { at: Instant::now(), utc: Utc::now() }
    }

    /// Both clocks moved on by the same step.
    pub fn plus(self, step: Duration) -> Self {
        let utc = chrono::Duration::from_std(step)
            .ok()
            .and_then(|d| self.utc.checked_add_signed(d))
            .unwrap_or(self.utc);
        Self { at: self.at + step, utc }
    }
}

/// Timers keyed by owner and purpose. A second `set` for the same pair moves the timer.
/// Cancelled by owner when the owner goes, so a late timer finds nothing.
#[derive(Debug)]
pub struct TimerQueue<Owner, What> {
    due: BTreeMap<(Instant, u64), (Owner, What)>,
    index: BTreeMap<(Owner, What), (Instant, u64)>,
    serial: u64,
}

impl<Owner: Ord + Copy + Debug, What: Ord + Copy + Debug> TimerQueue<Owner, What> {
    pub fn new() -> Self {
        Self { due: BTreeMap::new(), index: BTreeMap::new(), serial: 0 }
    }

    /// Sets or moves the timer `what` of `owner`.
    pub fn set(&mut self, owner: Owner, what: What, at: Instant) {
        self.cancel(owner, what);
        self.serial += 1;
        self.due.insert((at, self.serial), (owner, what));
        self.index.insert((owner, what), (at, self.serial));
    }

    /// Whether that timer is running.
    pub fn is_set(&self, owner: Owner, what: What) -> bool {
        self.index.contains_key(&(owner, what))
    }

    pub fn cancel(&mut self, owner: Owner, what: What) {
        if let Some(key) = self.index.remove(&(owner, what)) {
            self.due.remove(&key);
        }
    }

    /// Cancels every timer of `owner`. `first` is the smallest value of `What`.
    pub fn cancel_owner(&mut self, owner: Owner, first: What) {
        while let Some((&(o, w), &key)) = self.index.range((owner, first)..).next() {
            if o != owner {
                break;
            }
            self.index.remove(&(o, w));
            self.due.remove(&key);
        }
    }

    /// Takes the earliest timer that is due at `now`; equal instants fire in the order they were set.
    pub fn pop(&mut self, now: Instant) -> Option<(Owner, What)> {
        let (&key, &(owner, what)) = self.due.first_key_value()?;
        if key.0 > now {
            return None;
        }
        self.due.remove(&key);
        self.index.remove(&(owner, what));
        Some((owner, what))
    }

    /// The next instant at which something is due, and what.
    pub fn next(&self) -> Option<(Instant, Owner, What)> {
        self.due.first_key_value().map(|(&(at, _), &(owner, what))| (at, owner, what))
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

impl<Owner: Ord + Copy + Debug, What: Ord + Copy + Debug> Default for TimerQueue<Owner, What> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_move_and_go_with_their_owner() {
        let t0 = Now::read().at;
        let s = Duration::from_secs;
        let mut q: TimerQueue<u32, u8> = TimerQueue::new();
        q.set(1, 1, t0 + s(5));
        q.set(2, 1, t0 + s(3));
        q.set(1, 2, t0 + s(1));
        q.set(1, 2, t0 + s(4));
        assert_eq!(q.next(), Some((t0 + s(3), 2, 1)));
        assert_eq!(q.pop(t0 + s(2)), None);
        assert_eq!(q.pop(t0 + s(4)), Some((2, 1)));
        q.cancel_owner(1, 0);
        assert!(q.is_empty());
        assert_eq!(q.pop(t0 + s(9)), None);
    }

    #[test]
    fn equal_instants_fire_in_the_order_they_were_set() {
        let t0 = Now::read().at;
        let mut q: TimerQueue<u32, u8> = TimerQueue::new();
        for owner in [3, 1, 2] {
            q.set(owner, 0, t0);
        }
        let order: Vec<u32> = std::iter::from_fn(|| q.pop(t0)).map(|(o, _)| o).collect();
        assert_eq!(order, [3, 1, 2]);
    }
}
