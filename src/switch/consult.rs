//! A word with a colleague: a counsellor's phone calls another line, or a destination that takes transfers,
//! while the caller is on hold. Then the counsellor goes back to the caller, or hands the caller over (attended
//! transfer: REFER with Replaces, RFC 3515, 3891 and 5589).
//!
//! Such a call is one of its own. Its caller is the counsellor's phone, which has proven who it is, and is answered
//! when the colleague answers. Nothing of the helpline's caller is in it: the two calls know nothing of each other
//! until the phone names one in the other.

use std::time::Duration;

use super::arriving::Answer;
use super::call::{Attempts, Call, Phase, Together};
use super::leg::{Leg, Role};
use super::transfer::{Goal, RING};
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, DialogKey, LegKey, LineKey};
use crate::base::time::Now;
use crate::media::command::MediaCommand;
use crate::routing::line::{Load, WhyNot};
use crate::sip::endpoint::Arrival;
use crate::sip::header_ext::Replaces;
use crate::telemetry::notice::{Miss, Notice, Outcome};

/// The call by which a line asks a colleague.
pub(super) struct Consultation {
    pub call: CallKey,
    goal: Goal,
    /// Our 200, until the colleague answers.
    answer: Option<Answer>,
}

/// What a REFER with Replaces comes to.
pub(super) enum Handover {
    /// The colleague talks: the caller is joined with this leg.
    Talking { held: LegKey, asking: LegKey, colleague: LegKey },
    /// The colleague still rings: from here on it is a blind transfer.
    Ringing { held: LegKey, asking: LegKey, colleague: LegKey },
}

impl Switch {
    // --- the call to the colleague --------------------------------------------------------------------

    /// An INVITE from where a phone is registered. It must prove which line it is; then it may call who could be
    /// transferred to. One such call at a time a line.
    pub(super) fn consult(&mut self, now: Now, arrival: Arrival, dialled: &str) {
        if self.calls.is_full() || self.legs.is_full() || self.state.is_draining() {
            return self.overloaded(&arrival);
        }
        let Some((arrival, line, _)) = self.prove(now, arrival) else { return };
        let goal = match self.colleague(now, line, dialled) {
            Ok(goal) => goal,
            Err(status) => return self.endpoint.reply(&arrival, status, &[]),
        };
        let Some((key, asking)) = self.admit_line(now, arrival, Role::Consulting(line)) else { return };
        self.state.consultations.insert(line, Consultation { call: key, goal, answer: None });
        let longest = self.policy.config.limits.call_length.value;
        self.timers.set(Owner::Call(key), What::Length, now.at + longest);
        // It counts as a call from now on, so that no queue rings this line.
        if let Some(line) = self.floor.line_mut(line) {
            line.calls_out();
        }
        if let Some(leg) = self.legs.get_mut(&asking) {
            leg.load = Some(Load::Talking);
        }
        self.tell_line(now, line);
    }

    /// Whom this line may call by that name, or the status that says why not.
    fn colleague(&self, now: Now, line: LineKey, dialled: &str) -> Result<Goal, u16> {
        let Some(goal) = self.goal_named(dialled) else {
            let closed = self.policy.config.destinations.iter();
            let closed = closed.filter(|d| d.name.value == dialled || d.number.value == dialled);
            return Err(if closed.count() > 0 { 403 } else { 404 });
        };
        if self.state.consultations.contains_key(&line) {
            return Err(486);
        }
        match goal {
            Goal::Line(other) if other == line => Err(486),
            Goal::Line(other) => match self.floor.line(other).map(|other| other.ringable(now.at)) {
                Some(Ok(())) => Ok(goal),
                Some(Err(WhyNot::Busy)) => Err(486),
                Some(Err(_)) | None => Err(480),
            },
            Goal::Destination(_) => Ok(goal),
        }
    }

    /// The counsellor's phone has its port here: the colleague rings.
    pub(super) fn call_colleague(&mut self, now: Now, asking: LegKey, answer: Answer) {
        let Some((key, dialog, line)) = self.legs.get(&asking).map(|l| (l.call, l.dialog, l.line())) else {
            return;
        };
        let found = line.and_then(|line| self.state.consultations.get_mut(&line));
        let Some(Consultation { goal, answer: place, .. }) = found else { return };
        *place = Some(answer);
        let leg = match goal.clone() {
            // It was free when it was dialled, but a caller may have been faster.
            Goal::Line(other) if self.floor.line(other).is_none_or(|o| o.ringable(now.at).is_err()) => None,
            Goal::Line(other) => self.ring_line(now, key, other, RING),
            Goal::Destination(name) => self.ring_destination(now, key, &name),
        };
        let (Some(leg), Some(dialog)) = (leg, dialog) else {
            return self.refuse_consultation(now, key, 480);
        };
        self.enter(now, key, Phase::Offering(Attempts { ticket: None, legs: vec![leg] }));
        self.endpoint.ring(now, dialog, 180);
    }

    /// The colleague has answered, and so the counsellor's phone is. False: it was answered before, or this is no
    /// consultation.
    pub(super) fn answer_consultation(&mut self, now: Now, key: CallKey) -> bool {
        let Some(line) = self.consulting_line(key) else { return false };
        let found = self.state.consultations.get_mut(&line);
        let Some(answer) = found.and_then(|consultation| consultation.answer.take()) else { return false };
        if let Some(asking) = self.calls.get(&key).map(|c| c.caller) {
            self.accept(now, asking, answer);
        }
        true
    }

    /// The phone has confirmed our answer: both hear each other, without the tone, which stands for a caller.
    pub(super) fn join_consultation(&mut self, now: Now, key: CallKey) {
        let waits = |c: &Call| matches!(c.phase, Phase::Together(Together { bridged: false, .. }));
        if !self.calls.get(&key).is_some_and(waits) {
            return;
        }
        self.join_now(now, key);
        if let Some(line) = self.consulting_line(key) {
            self.notice(Notice::Consulted { call: key, line });
        }
    }

    /// The colleague did not take it: true when this was a consultation, which is over then.
    pub(super) fn colleague_lost(&mut self, now: Now, key: CallKey, miss: Miss) -> bool {
        if !self.is_consultation(key) {
            return false;
        }
        let status = match miss {
            Miss::Busy => 486,
            Miss::Declined => 603,
            Miss::NoAnswer | Miss::NotConfirmed | Miss::Unreachable | Miss::Lost => 480,
            Miss::NoRoom => 503,
        };
        self.refuse_consultation(now, key, status);
        true
    }

    /// Ends a consultation with this status, or by BYE when it has been answered.
    fn refuse_consultation(&mut self, now: Now, key: CallKey, status: u16) {
        let asking = self.calls.get(&key).map(|c| c.caller);
        if let Some(dialog) = asking.and_then(|leg| self.legs.get(&leg)).and_then(|leg| leg.dialog) {
            self.endpoint.reject(now, dialog, status, &[]);
        }
        self.end_call(now, key, Outcome::Refused);
    }

    /// Gives the line back that asked.
    pub(super) fn consultation_over(&mut self, now: Now, key: CallKey) {
        let found = self.state.consultations.iter().find(|(_, consultation)| consultation.call == key);
        let Some(line) = found.map(|(line, _)| *line) else { return };
        self.state.consultations.shift_remove(&line);
        if let Some(line) = self.floor.line_mut(line) {
            line.released(now.at, Duration::ZERO);
        }
        self.tell_line(now, line);
    }

    pub(super) fn consulting_line(&self, key: CallKey) -> Option<LineKey> {
        let caller = self.calls.get(&key)?.caller;
        match self.legs.get(&caller)?.role {
            Role::Consulting(line) => Some(line),
            Role::Caller | Role::Line(_) | Role::Destination | Role::Service(_) => None,
        }
    }

    pub(super) fn is_consultation(&self, key: CallKey) -> bool {
        self.consulting_line(key).is_some()
    }

    /// What a leg that we call is shown: the helpline's name; a colleague, the configured name of the line that
    /// asks. What leaves the house by a trunk never names a line.
    pub(super) fn shown_name(&self, leg: &Leg) -> String {
        let inside = matches!(leg.role, Role::Line(_)) && leg.target.as_ref().is_some_and(|t| !t.confirm);
        let asking = self.consulting_line(leg.call).filter(|_| inside);
        let name = asking.and_then(|line| self.policy.line(line)).map(|line| line.name.value.clone());
        name.unwrap_or_else(|| self.policy.config.helpline.name.value.clone())
    }

    // --- attended transfer ----------------------------------------------------------------------------

    /// Judges a REFER whose target is a dialog (RFC 3891 3: the tags are those of who is asked, here ours). It may
    /// come in the dialog with the caller and name the consultation, or the other way round; both must be the same
    /// line's. Who guesses the dialog of another gets 403, and nobody joins two callers.
    pub(super) fn judge_handover(&self, from: LegKey, replaces: &Replaces) -> Result<Handover, u16> {
        let here = self.legs.get(&from).ok_or(481u16)?;
        if !matches!(here.role, Role::Line(_) | Role::Consulting(_)) {
            return Err(403);
        }
        let named = self.endpoint.dialog_named(replaces).and_then(|dialog| self.leg_of(dialog));
        let named = named.ok_or(481u16)?;
        let there = self.legs.get(&named).ok_or(481u16)?;
        let (held, asking) = match (here.role, there.role) {
            (Role::Line(a), Role::Consulting(b)) if a == b => (from, named),
            (Role::Consulting(a), Role::Line(b)) if a == b => (named, from),
            _ => return Err(403),
        };
        if here.call == there.call {
            return Err(403);
        }
        let phase = |leg: LegKey| {
            let call = self.legs.get(&leg).and_then(|leg| self.calls.get(&leg.call));
            call.map(|call| &call.phase).ok_or(481u16)
        };
        let ready = Together::is_plain;
        if !matches!(phase(held)?, Phase::Together(t) if t.other == held && ready(t)) {
            return Err(491);
        }
        match phase(asking)? {
            // RFC 3891 3: asked for only while it rings.
            Phase::Together(_) if replaces.early_only => Err(486),
            Phase::Together(t) if ready(t) => Ok(Handover::Talking { held, asking, colleague: t.other }),
            Phase::Offering(Attempts { legs, .. }) => match legs.as_slice() {
                [colleague] if from == held => Ok(Handover::Ringing { held, asking, colleague: *colleague }),
                _ => Err(491),
            },
            Phase::Arriving
            | Phase::InFlow
            | Phase::Waiting(_)
            | Phase::Together(_)
            | Phase::Parting(_)
            | Phase::Recording(_)
            | Phase::Farewell(_) => Err(491),
        }
    }

    /// Does it. The REFER came in `dialog` and has its 202: its NOTIFY goes before the BYE.
    pub(super) fn hand_over(&mut self, now: Now, dialog: DialogKey, handover: Handover) {
        match handover {
            Handover::Talking { held, asking, colleague } => {
                self.endpoint.refer_progress(now, dialog, 200, true);
                self.join_caller_with(now, held, asking, colleague);
            }
            Handover::Ringing { held, asking, colleague } => {
                self.ring_on_for_caller(now, held, asking, colleague);
            }
        }
    }

    fn join_caller_with(&mut self, now: Now, held: LegKey, asking: LegKey, colleague: LegKey) {
        let call = |leg: &LegKey| self.legs.get(leg).map(|leg| leg.call);
        let (Some(main), Some(second)) = (call(&held), call(&asking)) else { return };
        let Some(caller) = self.calls.get(&main).map(|c| c.caller) else { return };
        self.working_for(main);
        self.media(MediaCommand::Unbridge { leg: caller });
        self.media(MediaCommand::Unbridge { leg: asking });
        // The colleague's leg leaves the consultation, whose end would hang it up.
        self.enter(now, second, Phase::InFlow);
        self.legs.rehome(colleague, main);
        let queue = match self.calls.get(&main).map(|c| &c.phase) {
            Some(Phase::Together(together)) => together.queue.clone(),
            _ => None,
        };
        let together = Together {
            other: colleague,
            queue: queue.clone(),
            ticket: None,
            waited: Duration::ZERO,
            since: now.at,
            // It talks and is booked as such; both hear the tone first all the same.
            bridged: true,
            transfer: None,
            guests: Vec::new(),
            mixed: false,
            room: Vec::new(),
        };
        self.enter(now, main, Phase::Together(together));
        self.release(now, held, queue.as_deref());
        self.end_call(now, second, Outcome::Joined);
        self.working_for(main);
        self.begin_join(now, main, colleague);
    }

    /// The phone let go while the colleague rings ("semi-attended"): the same leg rings on, as for a blind transfer.
    fn ring_on_for_caller(&mut self, now: Now, held: LegKey, asking: LegKey, colleague: LegKey) {
        let call = |leg: &LegKey| self.legs.get(leg).map(|leg| leg.call);
        let (Some(main), Some(second)) = (call(&held), call(&asking)) else { return };
        self.enter(now, second, Phase::InFlow);
        self.legs.rehome(colleague, main);
        if let Some(Phase::Together(together)) = self.calls.get_mut(&main).map(|c| &mut c.phase) {
            together.transfer = Some(colleague);
        }
        self.refuse_consultation(now, second, 487);
    }
}
