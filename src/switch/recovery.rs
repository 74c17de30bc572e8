//! Reload, graceful stop, and the few facts that belong to the switch as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indexmap::IndexMap;

use super::consult::Consultation;
use super::io::Output;
use super::policy::Policy;
use super::service::CodeCall;
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, LineKey};
use crate::base::time::Now;
use crate::calendar::schedule::{LocalTime, State as Calendar};
use crate::telemetry::notice::{Notice, Outcome};

/// How long the goodbye of a stop may take before the rest is cut.
const GOODBYE: Duration = Duration::from_secs(15);

/// How long peers may take to confirm the end of their calls, and the disk to take the last messages.
const LEAVING: Duration = Duration::from_secs(10);

/// The same when the operator asked twice: time for a first ACK, before which no BYE may leave (RFC 3261 15).
const CUT_OFF: Duration = Duration::from_secs(2);

/// Facts of the whole switch.
pub(super) struct State {
    /// The call that code works for at this moment.
    pub current: Option<CallKey>,
    /// A call whose code panics, for the test that it harms nobody else.
    #[cfg(test)]
    pub breaks: Option<CallKey>,
    pub free_mebibytes: Option<u64>,
    /// Lines that dial a `*` code, at most one a line.
    pub codes: IndexMap<LineKey, CodeCall>,
    /// Lines that call a colleague, at most one call a line.
    pub consultations: IndexMap<LineKey, Consultation>,
    pub admission: Admission,
    draining: Option<Stop>,
    calendar: Option<Known>,
}

/// Hours as they are spoken.
#[derive(Clone, Copy)]
pub(super) struct Hours {
    pub local: LocalTime,
    pub next_opening: Option<LocalTime>,
    pub closing: Option<LocalTime>,
}

/// What the calendar said, and until when that holds.
struct Known {
    generation: u64,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    state: Calendar,
    hours: Hours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Waiting,
    SayingGoodbye,
    /// All were hung up; what is left are answers to our BYE, and messages that the disk has not taken yet.
    Leaving,
    Told,
}

/// New calls a second, in whole seconds' allowance.
pub(super) struct Admission {
    since: Instant,
    taken: u32,
}

impl Admission {
    pub(super) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.taken = 0;
        }
        let room = self.taken < per_second;
        self.taken += u32::from(room);
        room
    }
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            current: None,
            #[cfg(test)]
            breaks: None,
            free_mebibytes: None,
            codes: IndexMap::new(),
            consultations: IndexMap::new(),
            admission: Admission { since: now, taken: 0 },
            draining: None,
            calendar: None,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether the helpline is open. Kept until the calendar's next edge, at most a minute: the words
    /// "today" and "tomorrow" change at midnight.
    pub(super) fn calendar(&mut self, policy: &Policy, utc: DateTime<Utc>) -> (Calendar, Hours) {
        let holds = |k: &&Known| k.generation == policy.generation && k.from <= utc && utc < k.until;
        if let Some(known) = self.calendar.as_ref().filter(holds) {
            return (known.state, known.hours);
        }
        let state = policy.schedule.state_at(utc);
        let schedule = &policy.schedule;
        let (local, closing) = (schedule.spoken(utc, utc), schedule.closing(utc));
        let hours = Hours { local, next_opening: schedule.next_opening(utc), closing };
        let minute = utc + chrono::Duration::seconds(60 - utc.timestamp().rem_euclid(60));
        let until = state.until.map_or(minute, |edge| edge.min(minute));
        self.calendar = Some(Known { generation: policy.generation, from: utc, until, state, hours });
        (state, hours)
    }
}

impl Switch {
    /// A new configuration. Running calls keep theirs; lines and queues that stay keep their state.
    pub(super) fn apply_policy(&mut self, now: Now, policy: Arc<Policy>) {
        let generation = policy.generation;
        self.floor.apply(now.at, &policy);
        self.policy = policy;
        self.refresh_reachability(now);
        self.apply_trunks(now);
        self.notice(Notice::ConfigApplied { generation });
        self.tell_lines(now);
        self.look_over_watchers(now);
        self.look_everywhere();
    }

    /// A line that is new or reached in a new way may have a binding already.
    fn refresh_reachability(&mut self, now: Now) {
        let policy = self.policy.clone();
        for (key, raw) in policy.lines() {
            let registers = matches!(raw.reach, crate::config::raw::Reach::Registers { .. });
            let bound = !self.gate.registrar.bindings(&raw.name.value, now.at).is_empty();
            if let Some(line) = self.floor.line_mut(key) {
                line.set_reachable(!registers || bound);
            }
        }
    }

    /// SIGTERM: no new calls; those that are may go on for the grace time.
    pub(super) fn drain(&mut self, now: Now) {
        if self.state.draining.is_some() {
            return;
        }
        self.state.draining = Some(Stop::Waiting);
        self.notice(Notice::Draining { calls: self.calls.len() as u32 });
        self.leave_trunks(now);
        let grace = self.policy.config.shutdown.grace.value;
        self.timers.set(Owner::Switch, What::Drain, now.at + grace);
    }

    /// The operator won't wait: who is still on the line hears at least that it is over, and is not left with
    /// silence. Asked once more, nothing is waited for.
    pub(super) fn cut_off(&mut self, now: Now) {
        if matches!(self.state.draining, Some(Stop::Leaving | Stop::Told)) {
            self.timers.set(Owner::Switch, What::Drain, now.at);
            return;
        }
        self.state.draining = Some(Stop::SayingGoodbye);
        self.drain_over(now);
        self.timers.set(Owner::Switch, What::Drain, now.at + CUT_OFF);
    }

    /// The grace is over: every caller is told, then the rest is cut.
    pub(super) fn drain_over(&mut self, now: Now) {
        let keys: Vec<CallKey> = self.calls.keys().copied().collect();
        match self.state.draining {
            Some(Stop::Waiting) => {
                self.state.draining = Some(Stop::SayingGoodbye);
                for key in keys {
                    let answered = self.calls.get(&key).is_some_and(|c| c.answered);
                    if answered {
                        self.farewell(now, key, &["shutdown-goodbye"], Outcome::Goodbye);
                    } else {
                        self.end_call(now, key, Outcome::Refused);
                    }
                }
                self.timers.set(Owner::Switch, What::Drain, now.at + GOODBYE);
            }
            Some(Stop::SayingGoodbye) => {
                self.state.draining = Some(Stop::Leaving);
                for key in keys {
                    self.end_call(now, key, Outcome::Goodbye);
                }
                self.timers.set(Owner::Switch, What::Drain, now.at + LEAVING);
            }
            Some(Stop::Leaving) => self.tell_drained(now),
            Some(Stop::Told) | None => {}
        }
    }

    /// Tells the driver once that nothing is left to do.
    pub(super) fn check_drained(&mut self, now: Now) {
        let over = self.state.draining.is_some_and(|stop| stop != Stop::Told)
            && self.calls.is_empty()
            && self.takes.is_empty()
            && self.endpoint.counts().dialogs == 0;
        if over {
            self.tell_drained(now);
        }
    }

    /// Subscriptions end last, since lamps are looked at as long as there are calls; nobody waits for the answers.
    fn tell_drained(&mut self, now: Now) {
        self.leave_watchers(now);
        self.drain_endpoint(now);
        self.state.draining = Some(Stop::Told);
        self.timers.cancel(Owner::Switch, What::Drain);
        self.outputs.push_back(Output::Drained);
    }
}
