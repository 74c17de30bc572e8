//! Two legs together: the tone, the bridge, hold and resume, and either side leaving.

use super::arriving::refusal;
use super::call::{Phase, Together};
use super::leg::{Role, connect};
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, DialogKey, LegKey, PlayKey};
use crate::base::time::Now;
use crate::callflow::machine::FlowEvent;
use crate::media::command::MediaCommand;
use crate::routing::line::Load;
use crate::telemetry::notice::{Miss, Notice, Outcome};

impl Switch {
    /// Both hear a short tone, then each other.
    pub(super) fn begin_join(&mut self, now: Now, key: CallKey, other: LegKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.play = None;
        let (caller, tone) = (call.caller, call.policy.join_tone.clone());
        for leg in [caller, other] {
            let play = PlayKey(self.mint.serial.next());
            self.media(MediaCommand::Play { leg, play, clips: vec![tone.clone()], repeat: false });
        }
        self.timers.set(Owner::Call(key), What::Join, now.at + tone.duration());
    }

    /// The tone is over: the line is booked, the script has done its work, and both hear each other.
    pub(super) fn join_now(&mut self, now: Now, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let caller = call.caller;
        let Phase::Together(together) = &mut call.phase else { return };
        together.bridged = true;
        together.ticket = None;
        let (other, waited, since) = (together.other, together.waited, together.since);
        let Some(leg) = self.legs.get(&other) else { return };
        let (role, rang) = (leg.role, since.saturating_duration_since(leg.since));
        self.timers.cancel(Owner::Call(key), What::Flow);
        self.listen_for_speech(key, false);
        self.flow(now, key, FlowEvent::Connected);
        let outcome = match role {
            Role::Line(line) => {
                // A colleague who was asked first talks already.
                let asked = self.legs.get(&other).is_some_and(|leg| leg.load == Some(Load::Talking));
                if let Some(line) = self.floor.line_mut(line).filter(|_| !asked) {
                    line.answered();
                }
                if let Some(leg) = self.legs.get_mut(&other) {
                    leg.load = Some(Load::Talking);
                }
                if asked {
                    self.notice(Notice::HandedOver { call: key, line });
                } else if !self.is_consultation(key) {
                    self.notice(Notice::Joined { call: key, line, waited, rang });
                }
                self.tell_line(now, line);
                Outcome::Joined
            }
            Role::Destination | Role::Caller | Role::Service(_) | Role::Consulting(_) => Outcome::Referred,
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.outcome = Some(outcome);
        }
        self.refresh_bridge(key, caller, other);
    }

    /// Bridged, or music for a caller whom the counsellor holds, and for a colleague who waits.
    pub(super) fn refresh_bridge(&mut self, key: CallKey, caller: LegKey, other: LegKey) {
        let held = |leg: &LegKey| self.legs.get(leg).is_some_and(|l| l.held);
        if held(&other) {
            self.media(MediaCommand::Unbridge { leg: caller });
            self.music(key);
        } else if held(&caller) && self.is_consultation(key) {
            self.media(MediaCommand::Unbridge { leg: caller });
            let music = self.policy.music(None);
            self.media(MediaCommand::Hold { leg: other, music });
        } else {
            self.media(MediaCommand::Bridge { a: caller, b: other });
        }
    }

    /// A new session from a peer: hold, resume, another codec, another address. Each leg settles its own;
    /// the other side is not troubled, since media converts between them.
    pub(super) fn offered(&mut self, now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(key) = self.leg_of(dialog) else { return };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let was_held = leg.held;
        let Some(offer) = sdp else {
            // They want our offer; their answer comes with the ACK (14.2).
            let ours = leg.make_offer().ok_or(488);
            return self.endpoint.answer_offer(now, dialog, ours, true);
        };
        match leg.make_answer(offer) {
            Ok((answer, stream)) => {
                leg.agreed = None;
                self.endpoint.answer_offer(now, dialog, Ok(answer), false);
                self.media(connect(key, stream));
                self.hold_changed(key, was_held);
            }
            Err(error) => self.endpoint.answer_offer(now, dialog, Err(refusal(error)), false),
        }
    }

    /// The answer to an offer of ours within a dialog.
    pub(super) fn offer_answered(&mut self, _now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(key) = self.leg_of(dialog) else { return };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let was_held = leg.held;
        if let Some(Ok(stream)) = sdp.map(|sdp| leg.take_answer(sdp)) {
            self.media(connect(key, stream));
            self.hold_changed(key, was_held);
        }
    }

    /// The session as it is, offered anew so that the peer knows that it goes on (RFC 4028 7.4).
    pub(super) fn offer_again(&mut self, now: Now, dialog: DialogKey) {
        let Some(leg) = self.leg_of(dialog).and_then(|key| self.legs.get_mut(&key)) else { return };
        if leg.waits_for_answer() {
            return;
        }
        let Some(sdp) = leg.make_offer() else { return };
        if self.endpoint.offer(now, dialog, sdp).is_err() {
            leg.forget_offer();
        }
    }

    /// What was before stays in force (RFC 3261 14.1).
    pub(super) fn offer_failed(&mut self, dialog: DialogKey) {
        if let Some(leg) = self.leg_of(dialog).and_then(|key| self.legs.get_mut(&key)) {
            leg.forget_offer();
        }
    }

    fn hold_changed(&mut self, key: LegKey, was_held: bool) {
        let Some(leg) = self.legs.get(&key) else { return };
        let (call_key, held) = (leg.call, leg.held);
        let Some(call) = self.calls.get(&call_key) else { return };
        let caller = call.caller;
        if matches!(&call.phase, Phase::Together(Together { mixed: true, .. })) {
            return self.refresh_room(call_key);
        }
        if let Phase::Together(Together { other, bridged: true, .. }) = &call.phase {
            let concerns = *other == key || (caller == key && self.is_consultation(call_key));
            if concerns && held != was_held {
                let other = *other;
                self.refresh_bridge(call_key, caller, other);
            }
        }
    }

    /// A line or destination hung up, or is gone.
    pub(super) fn other_left(&mut self, now: Now, key: CallKey, leg: LegKey) {
        if self.left_the_room(now, key, leg) {
            return;
        }
        let Some(call) = self.calls.get(&key) else { return self.close_leg(now, leg) };
        match &call.phase {
            Phase::Parting(_) => self.left_parting(now, key, leg),
            Phase::Together(together) if together.other == leg => {
                if !together.bridged && self.is_consultation(key) {
                    return self.end_call(now, key, Outcome::Joined);
                }
                if !together.bridged {
                    return self.fell_through(now, key);
                }
                if self.transfer_maker_left(now, key) {
                    return;
                }
                self.end_call(now, key, Outcome::Joined);
            }
            Phase::Together(_) | Phase::Offering(_) => self.attempt_failed(now, leg, Miss::Declined),
            Phase::Arriving
            | Phase::InFlow
            | Phase::Waiting(_)
            | Phase::Recording(_)
            | Phase::Farewell(_) => {
                self.close_leg(now, leg);
            }
        }
    }

    /// Gives a joined leg's line back and hangs the leg up.
    pub(super) fn release(&mut self, now: Now, leg: LegKey, queue: Option<&str>) {
        let line = self.legs.get(&leg).and_then(super::leg::Leg::line);
        self.close_leg(now, leg);
        let Some(key) = line else { return };
        let wrap_up = self.floor.wrap_up(queue);
        if let Some(line) = self.floor.line_mut(key) {
            line.released(now.at, wrap_up);
        }
        self.tell_line(now, key);
    }
}
