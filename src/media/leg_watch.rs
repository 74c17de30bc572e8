//! A leg that hears nothing says so, again and again: who is silent may have lost the way to us.

use std::time::Duration;

use super::MediaLeg;
use crate::base::time::Now;
use crate::media::command::MediaEvent;
use crate::media::watch::Watch;

impl MediaLeg {
    pub fn watch(&mut self, now: Now, after: Option<Duration>) {
        self.watch = after.filter(|a| !a.is_zero()).map(|after| Watch::new(after, now.at));
    }

    pub(super) fn check_watch(&mut self, now: Now) {
        let receives = self.peer.as_ref().is_some_and(|p| p.stream.direction.receives());
        let Some(watch) = &mut self.watch else { return };
        if !receives {
            // On hold there is nothing to expect.
            return watch.begin(now.at);
        }
        if let Some(quiet_for) = watch.quiet(now.at, self.heard_at) {
            self.flowing = false;
            self.events.push_back(MediaEvent::Silent { leg: self.leg, quiet_for });
        }
    }
}
