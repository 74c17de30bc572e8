//! A leg that hears nothing says so, again and again: who is silent may have lost the way to us.

use std::time::{Duration, Instant};

use super::MediaLeg;
use crate::base::time::Now;
use crate::media::command::MediaEvent;

#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    after: Duration,
    since: Instant,
    told: u32,
}

impl MediaLeg {
    pub fn watch(&mut self, now: Now, after: Option<Duration>) {
        self.watch = after.filter(|a| !a.is_zero()).map(|after| Watch { after, since: now.at, told: 0 });
    }

    pub(super) fn check_watch(&mut self, now: Now) {
        let receives = self.peer.as_ref().is_some_and(|p| p.stream.direction.receives());
        let Some(watch) = &mut self.watch else { return };
        if !receives {
            // On hold there is nothing to expect.
            (watch.since, watch.told) = (now.at, 0);
            return;
        }
        if self.heard_at > watch.since {
            (watch.since, watch.told) = (self.heard_at, 0);
        }
        let quiet_for = now.at.saturating_duration_since(watch.since);
        if quiet_for >= watch.after.saturating_mul(watch.told + 1) {
            watch.told += 1;
            self.flowing = false;
            self.events.push_back(MediaEvent::Silent { leg: self.leg, quiet_for });
        }
    }
}
