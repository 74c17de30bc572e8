//! Whether a peer is still heard of.

use std::time::{Duration, Instant};

/// Tells that nothing came for so long, and again after each further time of that length.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    after: Duration,
    since: Instant,
    told: u32,
}

impl Watch {
    pub fn new(after: Duration, now: Instant) -> Self {
        Self { after, since: now, told: 0 }
    }

    pub fn begin(&mut self, now: Instant) {
        (self.since, self.told) = (now, 0);
    }

    /// For how long it has been quiet, when that is to be told. `heard`: when the last packet came.
    pub fn quiet(&mut self, now: Instant, heard: Instant) -> Option<Duration> {
        if heard > self.since {
            self.begin(heard);
        }
        let quiet_for = now.saturating_duration_since(self.since);
        let due = quiet_for >= self.after.saturating_mul(self.told + 1);
        self.told += u32::from(due);
        due.then_some(quiet_for)
    }
}
