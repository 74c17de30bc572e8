//! A counsellor's line: its state, and what makes it ringable.

use std::time::{Duration, Instant};

use crate::base::id::LineKey;
use crate::telemetry::notice::{LineWord, Miss};

/// What does not change between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSettings {
    pub key: LineKey,
    /// From the config.
    pub name: String,
    /// Calls at the same time.
    pub capacity: u32,
    /// Lower is rung first.
    pub penalty: u32,
    /// Telephone zones served first.
    pub zones: Vec<String>,
}

/// When misses lead to a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissRule {
    /// Misses in a row before a rest; 0 means never.
    pub misses: u32,
    pub rest: Duration,
}

/// Why a line is not rung now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    LoggedOut,
    Unreachable,
    Paused,
    /// As many calls (ringing or talking) as its capacity.
    Busy,
    WrapUp {
        until: Instant,
    },
    Resting {
        until: Instant,
    },
}

/// What one call is to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Ringing,
    Talking,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    pub settings: LineSettings,
    logged_in: bool,
    paused: bool,
    reachable: bool,
    ringing: u32,
    talking: u32,
    misses: u32,
    wrap_up_until: Option<Instant>,
    rest_until: Option<Instant>,
    /// When the last call ended (or the line came); the longest-idle strategy orders by it.
    idle_since: Instant,
}

impl Line {
    pub fn new(settings: LineSettings, logged_in: bool, reachable: bool, now: Instant) -> Self {
        Self {
            settings,
            logged_in,
            paused: false,
            reachable,
            ringing: 0,
            talking: 0,
            misses: 0,
            wrap_up_until: None,
            rest_until: None,
            idle_since: now,
        }
    }

    /// It begins to ring.
    pub fn offered(&mut self) {
        self.ringing += 1;
    }

    /// It answered a call that it was offered.
    pub fn answered(&mut self) {
        self.ringing = self.ringing.saturating_sub(1);
        self.talking += 1;
        self.misses = 0;
    }

    /// Its phone calls somebody.
    pub fn calls_out(&mut self) {
        self.talking += 1;
    }

    /// An offer ended without a call. Busy, lost to another line, withdrawn, or no room of ours is no fault of
    /// the line.
    pub fn missed(&mut self, miss: Miss, now: Instant, rule: MissRule) {
        self.ringing = self.ringing.saturating_sub(1);
        let counts = match miss {
            Miss::NoAnswer | Miss::Declined | Miss::Unreachable | Miss::NotConfirmed => true,
            Miss::Busy | Miss::Lost | Miss::NoRoom => false,
        };
        if !counts {
            return;
        }
        self.misses += 1;
        if rule.misses > 0 && self.misses >= rule.misses {
            self.misses = 0;
            self.rest_until = Some(now + rule.rest);
        }
    }

    /// A call that was answered is over.
    pub fn released(&mut self, now: Instant, wrap_up: Duration) {
        self.talking = self.talking.saturating_sub(1);
        self.idle_since = now;
        if !wrap_up.is_zero() {
            self.wrap_up_until = Some(now + wrap_up);
        }
    }

    /// Logging in also ends a pause, a rest and wrap-up: the counsellor says "I am here".
    pub fn log_in(&mut self, now: Instant) {
        if !self.logged_in {
            self.idle_since = now;
        }
        self.logged_in = true;
        self.resume();
    }

    pub fn log_out(&mut self) {
        self.logged_in = false;
    }

    pub fn pause(&mut self) {
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.paused = false;
        self.rest_until = None;
        self.wrap_up_until = None;
        self.misses = 0;
    }

    /// Whether its phone is registered (always true for fixed URIs and telephones).
    pub fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
    }

    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// One call that rang or talked is gone without a word: its code failed.
    pub fn forgets(&mut self, load: Load) {
        match load {
            Load::Ringing => self.ringing = self.ringing.saturating_sub(1),
            Load::Talking => self.talking = self.talking.saturating_sub(1),
        }
    }

    /// Whether it may ring now.
    pub fn ringable(&self, now: Instant) -> Result<(), WhyNot> {
        let running = |until: Option<Instant>| until.filter(|u| *u > now);
        if !self.logged_in {
            Err(WhyNot::LoggedOut)
        } else if !self.reachable {
            Err(WhyNot::Unreachable)
        } else if self.paused {
            Err(WhyNot::Paused)
        } else if self.ringing + self.talking >= self.settings.capacity {
            Err(WhyNot::Busy)
        } else if let Some(until) = running(self.wrap_up_until).filter(|_| self.settings.capacity == 1) {
            Err(WhyNot::WrapUp { until })
        } else if let Some(until) = running(self.rest_until) {
            Err(WhyNot::Resting { until })
        } else {
            Ok(())
        }
    }

    /// Somebody sits at it, even if busy now: a caller may wait for it.
    pub fn is_staffed(&self) -> bool {
        self.logged_in && self.reachable && !self.paused
    }

    pub fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Calls that ring or talk.
    pub fn load(&self) -> u32 {
        self.ringing + self.talking
    }

    /// When a wrap-up or rest ends, so that the queue is looked at again.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        [self.wrap_up_until, self.rest_until].into_iter().flatten().filter(|u| *u > now).min()
    }

    /// One word for metrics and the console.
    pub fn word(&self, now: Instant) -> LineWord {
        if self.talking > 0 {
            return LineWord::Busy;
        }
        if self.ringing > 0 {
            return LineWord::Ringing;
        }
        match self.ringable(now) {
            Ok(()) => LineWord::Free,
            Err(WhyNot::LoggedOut) => LineWord::LoggedOut,
            Err(WhyNot::Unreachable) => LineWord::Unreachable,
            Err(WhyNot::Paused) => LineWord::Paused,
            Err(WhyNot::Busy) => LineWord::Busy,
            Err(WhyNot::WrapUp { .. }) => LineWord::WrapUp,
            Err(WhyNot::Resting { .. }) => LineWord::Resting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    const RULE: MissRule = MissRule { misses: 2, rest: Duration::from_secs(60) };

    fn line(capacity: u32, now: Instant) -> Line {
        let settings =
            LineSettings { key: LineKey(1), name: "an".into(), capacity, penalty: 0, zones: Vec::new() };
        Line::new(settings, true, true, now)
    }

    #[test]
    fn one_line_never_gets_two_calls_at_a_time() {
        let now = Now::read().at;
        let mut l = line(1, now);
        l.offered();
        assert_eq!((l.ringable(now), l.word(now)), (Err(WhyNot::Busy), LineWord::Ringing));
        l.answered();
        assert_eq!((l.ringable(now), l.word(now)), (Err(WhyNot::Busy), LineWord::Busy));
        l.released(now, Duration::from_secs(30));
        let until = now + Duration::from_secs(30);
        assert_eq!(l.ringable(now), Err(WhyNot::WrapUp { until }));
        assert_eq!(l.next_change(now), Some(until));
        assert_eq!(l.ringable(until), Ok(()));
    }

    #[test]
    fn a_switchboard_takes_as_many_as_its_capacity() {
        let now = Now::read().at;
        let mut l = line(3, now);
        for _ in 0..3 {
            assert_eq!(l.ringable(now), Ok(()));
            l.offered();
            l.answered();
        }
        assert_eq!(l.ringable(now), Err(WhyNot::Busy));
        l.released(now, Duration::from_secs(30));
        assert_eq!(l.ringable(now), Ok(()), "wrap-up is for one person, not for a switchboard");
    }

    #[test]
    fn repeated_misses_lead_to_a_rest_but_busy_lost_and_our_own_trouble_do_not_count() {
        let now = Now::read().at;
        let mut l = line(1, now);
        for miss in [Miss::NoAnswer, Miss::Busy, Miss::Lost, Miss::NoRoom] {
            l.offered();
            l.missed(miss, now, RULE);
            assert_eq!(l.ringable(now), Ok(()), "{miss:?}");
        }
        l.offered();
        l.missed(Miss::Declined, now, RULE);
        assert_eq!(l.ringable(now), Err(WhyNot::Resting { until: now + RULE.rest }));
        l.log_in(now);
        assert_eq!(l.ringable(now), Ok(()), "logging in ends the rest");
    }

    #[test]
    fn who_is_logged_out_paused_or_without_phone_is_not_rung() {
        let now = Now::read().at;
        let mut l = line(1, now);
        l.pause();
        assert_eq!((l.ringable(now), l.is_staffed()), (Err(WhyNot::Paused), false));
        l.resume();
        l.set_reachable(false);
        assert_eq!(l.ringable(now), Err(WhyNot::Unreachable));
        l.log_out();
        assert_eq!(l.word(now), LineWord::LoggedOut);
    }
}
