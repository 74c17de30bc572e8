//! Who waits, in order of arrival; bounded.

use std::time::{Duration, Instant};

use crate::base::bounded::Full;
use crate::base::id::CallKey;

/// One waiting caller. The zone is the telephone zone alone, never the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub call: CallKey,
    pub zone: Option<String>,
    pub since: Instant,
}

/// A queue of at most `capacity` callers, first come first served.
#[derive(Debug)]
pub struct Queue {
    waiting: Vec<Waiting>,
    capacity: usize,
    refused: u64,
    /// Smoothed time that a caller who was served had waited.
    typical_wait: Option<Duration>,
}

impl Queue {
    pub fn new(capacity: usize) -> Self {
        Self { waiting: Vec::with_capacity(capacity.min(1024)), capacity, refused: 0, typical_wait: None }
    }

    /// Joins at the end; a call that already waits keeps its place.
    pub fn join(&mut self, call: CallKey, zone: Option<String>, now: Instant) -> Result<(), Full<()>> {
        if self.position(call).is_some() {
            return Ok(());
        }
        if self.waiting.len() >= self.capacity {
            self.refused += 1;
            return Err(Full(()));
        }
        self.waiting.push(Waiting { call, zone, since: now });
        Ok(())
    }

    /// Puts a caller back where it was by its time of arrival, when the line it was given fell through.
    /// Never refused: it had its place.
    pub fn rejoin(&mut self, waiting: Waiting) {
        if self.position(waiting.call).is_none() {
            let at = self.waiting.partition_point(|w| w.since <= waiting.since);
            self.waiting.insert(at, waiting);
        }
    }

    /// Leaves for whatever reason.
    pub fn leave(&mut self, call: CallKey) -> Option<Waiting> {
        let at = self.waiting.iter().position(|w| w.call == call)?;
        Some(self.waiting.remove(at))
    }

    /// Leaves because a line answered; the wait teaches the estimate.
    pub fn serve(&mut self, call: CallKey, now: Instant) -> Option<Waiting> {
        let waiting = self.leave(call)?;
        let waited = now.saturating_duration_since(waiting.since);
        self.typical_wait = Some(self.typical_wait.map_or(waited, |old| (old * 7 + waited) / 8));
        Some(waiting)
    }

    /// Place in the queue, from 1.
    pub fn position(&self, call: CallKey) -> Option<u32> {
        self.waiting.iter().position(|w| w.call == call).map(|at| at as u32 + 1)
    }

    /// Everybody, longest waiting first.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    pub fn next(&self) -> Option<&Waiting> {
        self.waiting.first()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long a caller at the end may expect to wait, from what others waited; `None` before anybody was served.
    pub fn estimate(&self) -> Option<Duration> {
        self.typical_wait
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A new configuration; who waits already stays even past a smaller bound.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    #[test]
    fn first_come_first_served_and_full_is_full() {
        let now = Now::read().at;
        let mut q = Queue::new(2);
        let (a, b, c) = (CallKey(1), CallKey(2), CallKey(3));
        assert_eq!(
            (q.join(a, None, now), q.join(b, None, now), q.join(c, None, now)),
            (Ok(()), Ok(()), Err(Full(())))
        );
        assert_eq!(q.join(a, None, now), Ok(()), "who waits already keeps the place");
        assert_eq!((q.position(a), q.position(b), q.position(c), q.refused()), (Some(1), Some(2), None, 1));
        assert_eq!(q.leave(a).map(|w| w.call), Some(a));
        assert_eq!(q.position(b), Some(1));
    }

    #[test]
    fn who_comes_back_from_a_line_that_fell_through_keeps_the_place() {
        let now = Now::read().at;
        let mut q = Queue::new(3);
        for n in 1..=3 {
            let _ = q.join(CallKey(n), None, now + Duration::from_secs(n));
        }
        let second = q.leave(CallKey(2)).expect("it waits");
        q.rejoin(second);
        let order: Vec<u64> = q.iter().map(|w| w.call.0).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_total_and_stable(joins in proptest::collection::vec(0u64..20, 0..40)) {
            let now = Now::read().at;
            let mut q = Queue::new(10);
            let mut model: Vec<u64> = Vec::new();
            for (tick, n) in joins.into_iter().enumerate() {
                if n % 3 == 0 {
                    q.leave(CallKey(n));
                    model.retain(|m| *m != n);
                } else if !model.contains(&n) && model.len() < 10 {
                    model.push(n);
                    proptest::prop_assert!(q.join(CallKey(n), None, now + Duration::from_millis(tick as u64)).is_ok());
                }
            }
            let order: Vec<u64> = q.iter().map(|w| w.call.0).collect();
            proptest::prop_assert_eq!(&order, &model);
            for (at, n) in model.iter().enumerate() {
                proptest::prop_assert_eq!(q.position(CallKey(*n)), Some(at as u32 + 1));
            }
        }
    }
}
