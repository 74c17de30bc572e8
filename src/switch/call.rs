//! A call: the caller's matter, and the phase that it is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::policy::Policy;
use super::{FIRST_WHAT, Owner, Switch};
use crate::base::id::{CallKey, LegKey, LineKey, PlayKey, TakeKey};
use crate::base::time::Now;
use crate::callflow::machine::Machine;
use crate::media::command::MediaCommand;
use crate::privacy::screen::CallFacts;
use crate::sip::header_ext::{Reason, ReasonProtocol};
use crate::telemetry::notice::{Miss, Notice, Outcome};

/// Normal call clearing (Q.850).
pub(super) const NORMAL: Reason = Reason { protocol: ReasonProtocol::Q850, cause: 16 };

/// Where a caller's matter stands. Each phase carries what only it needs.
pub enum Phase {
    /// Not answered yet.
    Arriving,
    /// The script speaks or listens.
    InFlow,
    /// In a queue, no line rings.
    Waiting(Ticket),
    /// Lines, or one destination, ring for the caller.
    Offering(Attempts),
    /// Joined with another leg, or with several.
    Together(Together),
    /// The caller has left several who spoke with each other: they hear the tone.
    Parting(Parting),
    /// The caller speaks a message.
    Recording(TakeKey),
    /// The last words; when they have been heard the call ends.
    Farewell(PlayKey),
}

/// A place in a queue.
pub struct Ticket {
    pub queue: Arc<str>,
    pub since: Instant,
    /// Lines that missed this caller in this round.
    pub tried: Vec<LineKey>,
}

/// Legs that ring for one caller.
pub struct Attempts {
    /// `None` for a direct dial.
    pub ticket: Option<Ticket>,
    pub legs: Vec<LegKey>,
}

pub struct Together {
    pub other: LegKey,
    /// The queue that brought them together; its wrap-up holds.
    pub queue: Option<Arc<str>>,
    /// The place to go back to, should the other leave before the tone has ended.
    pub ticket: Option<Ticket>,
    pub waited: Duration,
    pub since: Instant,
    /// The tone is over and both hear each other; before, the other leg still counts as ringing.
    pub bridged: bool,
    /// A transfer that the line asked for: the leg that rings.
    pub transfer: Option<LegKey>,
    /// Who was brought in besides, in the order in which they came.
    pub guests: Vec<LegKey>,
    /// They are mixed; so it stays until the tone of the last leave is over.
    pub mixed: bool,
    /// Who is in the room of media now.
    pub room: Vec<LegKey>,
}

/// Those who are left when the caller has gone.
pub struct Parting {
    pub legs: Vec<LegKey>,
    pub queue: Option<Arc<str>>,
}

/// A call.
pub struct Call {
    /// The configuration that it began with.
    pub policy: Arc<Policy>,
    pub facts: CallFacts,
    pub caller: LegKey,
    /// Place of the dialled number in the config; `None` for a `*` code or a consultation of a line.
    pub number: Option<usize>,
    pub machine: Option<Machine>,
    pub phase: Phase,
    pub arrived: Instant,
    pub answered: bool,
    /// What it came to; the phase at the end may say more.
    pub outcome: Option<Outcome>,
    /// Time with a counsellor or destination.
    pub talked: Duration,
    /// It was told that only one side is heard.
    pub one_way: bool,
    /// What plays for the script.
    pub play: Option<PlayKey>,
    /// The finished recording that the caller is asked about.
    pub take: Option<TakeKey>,
    /// The last queue, to go back to when a transfer falls through.
    pub queue: Option<Arc<str>>,
}

impl Call {
    /// A call that has just come in.
    pub fn new(policy: Arc<Policy>, facts: CallFacts, caller: LegKey, arrived: Instant) -> Self {
        Self {
            policy,
            facts,
            caller,
            number: None,
            machine: None,
            phase: Phase::Arriving,
            arrived,
            answered: false,
            outcome: None,
            talked: Duration::ZERO,
            one_way: false,
            play: None,
            take: None,
            queue: None,
        }
    }
}

impl Switch {
    /// The one place where a phase changes: what the old one held is put in order.
    pub(super) fn enter(&mut self, now: Now, key: CallKey, phase: Phase) -> Option<Phase> {
        let call = self.calls.get_mut(&key)?;
        let old = std::mem::replace(&mut call.phase, phase);
        if let Phase::Together(together) = &old {
            call.talked += now.at.saturating_duration_since(together.since);
        }
        let waits = matches!(call.phase, Phase::Waiting(_))
            || matches!(&call.phase, Phase::Offering(Attempts { ticket: Some(_), .. }));
        self.timers.cancel(Owner::Call(key), super::What::Join);
        self.timers.cancel(Owner::Call(key), super::What::Room);
        if !waits {
            self.timers.cancel(Owner::Call(key), super::What::MaxWait);
            self.timers.cancel(Owner::Call(key), super::What::Round);
        }
        Some(old)
    }

    /// Takes the phase out to be changed; `enter` must follow. Timers stay as they are until then.
    pub(super) fn take_phase(&mut self, key: CallKey) -> Option<Phase> {
        self.calls.get_mut(&key).map(|call| std::mem::replace(&mut call.phase, Phase::InFlow))
    }

    /// Ends a call whatever its phase: all legs, timers, its place in a queue, its line.
    pub(super) fn end_call(&mut self, now: Now, key: CallKey, outcome: Outcome) {
        self.working_for(key);
        self.finish_take(now, key);
        self.leave_phase(now, key);
        let Some(call) = self.calls.remove(&key) else { return };
        self.state.codes.retain(|_, code| code.call != key);
        self.consultation_over(now, key);
        self.timers.cancel_owner(Owner::Call(key), FIRST_WHAT);
        for leg in self.legs.of(key) {
            self.close_leg(now, leg);
        }
        let outcome = call.outcome.unwrap_or(outcome);
        let lasted = now.at.saturating_duration_since(call.arrived);
        if call.number.is_some() {
            self.notice(Notice::Ended { call: key, outcome, lasted, talked: call.talked });
        }
        self.look_everywhere();
    }

    /// Takes a call out of what its phase holds: queue, ringing lines, a joined line.
    pub(super) fn leave_phase(&mut self, now: Now, key: CallKey) {
        match self.enter(now, key, Phase::InFlow) {
            Some(Phase::Waiting(ticket)) => self.leave_queue(key, &ticket.queue),
            Some(Phase::Offering(attempts)) => {
                if let Some(ticket) = &attempts.ticket {
                    self.leave_queue(key, &ticket.queue);
                }
                for leg in attempts.legs {
                    self.withdraw(now, leg, Miss::Lost);
                }
            }
            Some(Phase::Together(together)) => {
                if let Some(leg) = together.transfer {
                    self.withdraw(now, leg, Miss::Lost);
                }
                if together.bridged {
                    self.release(now, together.other, together.queue.as_deref());
                } else {
                    self.withdraw(now, together.other, Miss::Lost);
                }
                for guest in together.guests {
                    self.release(now, guest, together.queue.as_deref());
                }
            }
            Some(Phase::Parting(parting)) => {
                for leg in parting.legs {
                    self.release(now, leg, parting.queue.as_deref());
                }
            }
            Some(Phase::Arriving | Phase::InFlow | Phase::Recording(_) | Phase::Farewell(_)) | None => {}
        }
    }

    /// Hangs up a leg and gives back what it held.
    pub(super) fn close_leg(&mut self, now: Now, key: LegKey) {
        let Some(leg) = self.legs.remove(&key) else { return };
        self.timers.cancel_owner(Owner::Leg(key), FIRST_WHAT);
        if let Some(dialog) = leg.dialog {
            self.dialogs.remove(&dialog);
            self.endpoint.hang_up(now, dialog, Some(NORMAL));
        }
        self.media(MediaCommand::Close { leg: key });
    }

    /// A dialog of ours is over by the peer's will or for want of it.
    pub(super) fn dialog_ended(&mut self, now: Now, dialog: crate::base::id::DialogKey) {
        let Some(key) = self.leg_of(dialog) else { return };
        self.dialogs.remove(&dialog);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.dialog = None;
        let (call, role) = (leg.call, leg.role);
        self.working_for(call);
        match role {
            super::leg::Role::Caller | super::leg::Role::Service(_) | super::leg::Role::Consulting(_) => {
                self.caller_left(now, call);
            }
            super::leg::Role::Line(_) | super::leg::Role::Destination => self.other_left(now, call, key),
        }
    }

    /// The caller, or a line that called a colleague, gave up before the answer.
    pub(super) fn cancelled(&mut self, now: Now, dialog: crate::base::id::DialogKey) {
        let Some(key) = self.leg_of(dialog) else { return };
        let Some(call) = self.legs.get(&key).map(|l| l.call) else { return };
        self.end_call(now, call, Outcome::Cancelled);
    }

    fn caller_left(&mut self, now: Now, key: CallKey) {
        if self.caller_left_the_room(now, key) {
            return;
        }
        let Some(call) = self.calls.get(&key) else { return };
        let outcome = match &call.phase {
            Phase::Arriving => Outcome::Cancelled,
            Phase::InFlow | Phase::Recording(_) | Phase::Farewell(_) => Outcome::HungUp,
            Phase::Waiting(_) | Phase::Offering(_) => Outcome::Abandoned,
            Phase::Together(_) | Phase::Parting(_) => Outcome::Joined,
        };
        self.end_call(now, key, outcome);
    }

    /// The call's code failed: everything of it goes, as little code as may be.
    pub(super) fn abandon(&mut self, now: Now, key: CallKey) {
        for leg in self.legs.of(key) {
            let booked = self.legs.get(&leg).and_then(|leg| leg.line().zip(leg.load));
            if let Some((line, load)) =
                booked.and_then(|(line, load)| Some((self.floor.line_mut(line)?, load)))
            {
                line.forgets(load);
            }
            self.close_leg(now, leg);
        }
        self.floor.leave_all(key);
        self.look_everywhere();
        self.state.codes.retain(|_, code| code.call != key);
        self.state.consultations.retain(|_, consultation| consultation.call != key);
        self.timers.cancel_owner(Owner::Call(key), FIRST_WHAT);
        if let Some(call) = self.calls.remove(&key) {
            self.rescue_take(now, &call);
            let lasted = now.at.saturating_duration_since(call.arrived);
            // Whose beginning was not told as a caller's has no end as one.
            if call.number.is_some() {
                let outcome = Outcome::Failed;
                self.notice(Notice::Ended { call: key, outcome, lasted, talked: call.talked });
            }
        }
    }
}
