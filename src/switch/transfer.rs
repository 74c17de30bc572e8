//! Transfer by a line's phone (REFER, RFC 3515 and 5589): blind, to another line or to a destination that
//! the config allows; anything else is refused. The caller stays with the first line until the second
//! answers, or hears music when the first has hung up. With Replaces it is an attended one: `consult`.

use std::time::Duration;

use super::Switch;
use super::call::{Attempts, Phase, Together};
use super::leg::Role;
use crate::base::id::{CallKey, DialogKey, LegKey, LineKey};
use crate::base::time::Now;
use crate::media::command::MediaCommand;
use crate::sip::header_ext::ReferTo;
use crate::sip::wire::message::Method;
use crate::telemetry::notice::Miss;

/// How long the target of a transfer rings.
pub(super) const RING: Duration = Duration::from_secs(30);

/// Where a transfer, or a consultation, may go.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Goal {
    Line(LineKey),
    Destination(String),
}

impl Switch {
    pub(super) fn refer(&mut self, now: Now, dialog: DialogKey, refer_to: &str) {
        let Some(leg) = self.leg_of(dialog) else {
            return self.endpoint.refer_answer(now, dialog, Err(481));
        };
        let target = match ReferTo::parse(refer_to) {
            Ok(target) if target.method == Method::INVITE => target,
            // We send nothing else for somebody (RFC 3515 2.4.2).
            Ok(_) => return self.endpoint.refer_answer(now, dialog, Err(501)),
            Err(_) => return self.endpoint.refer_answer(now, dialog, Err(400)),
        };
        let Some(replaces) = &target.replaces else {
            let ringing = self.begin_transfer(now, leg, &target);
            return self.endpoint.refer_answer(now, dialog, ringing);
        };
        match self.judge_handover(leg, replaces) {
            Ok(handover) => {
                self.endpoint.refer_answer(now, dialog, Ok(()));
                self.hand_over(now, dialog, handover);
            }
            // A phone takes 481 for the end of the dialog that its REFER was in (RFC 5057 5.1), and that is the one
            // with the caller. So it hears as from a target that knows no such dialog: by NOTIFY.
            Err(481) => {
                self.endpoint.refer_answer(now, dialog, Ok(()));
                self.endpoint.refer_progress(now, dialog, 481, true);
            }
            Err(status) => self.endpoint.refer_answer(now, dialog, Err(status)),
        }
    }

    fn begin_transfer(&mut self, now: Now, from: LegKey, target: &ReferTo) -> Result<(), u16> {
        let leg = self.legs.get(&from).ok_or(481u16)?;
        let key = leg.call;
        self.state.current = Some(key);
        if !matches!(self.legs.get(&from).map(|l| l.role), Some(Role::Line(_))) {
            return Err(403);
        }
        let user = target.target.uri.user().ok_or(403u16)?;
        let goal = self.goal_named(&user).ok_or(403u16)?;
        let call = self.calls.get(&key).ok_or(481u16)?;
        let free = matches!(&call.phase, Phase::Together(t) if t.other == from && t.is_plain());
        if !free {
            return Err(491);
        }
        let leg = match goal {
            Goal::Line(line) => {
                let ringable = self.floor.line(line).is_some_and(|l| l.ringable(now.at).is_ok());
                if !ringable {
                    return Err(480);
                }
                self.ring_line(now, key, line, RING)
            }
            Goal::Destination(name) => self.ring_destination(now, key, &name),
        };
        let leg = leg.ok_or(503u16)?;
        if let Some(Phase::Together(together)) = self.calls.get_mut(&key).map(|c| &mut c.phase) {
            together.transfer = Some(leg);
        }
        Ok(())
    }

    /// A user part names a line, or a destination by name or number.
    pub(super) fn goal_named(&self, user: &str) -> Option<Goal> {
        if let Some(line) = self.policy.line_named(user) {
            return Some(Goal::Line(line));
        }
        let destinations = self.policy.config.destinations.iter();
        let mut allowed = destinations.filter(|d| d.transfer.value);
        let found = allowed.find(|d| d.name.value == user || d.number.value == user)?;
        Some(Goal::Destination(found.name.value.clone()))
    }

    /// The target answered: true when this leg was a transfer's.
    pub(super) fn transfer_won(&mut self, now: Now, key: CallKey, leg: LegKey) -> bool {
        let Some(Phase::Together(together)) = self.calls.get(&key).map(|c| &c.phase) else { return false };
        if together.transfer != Some(leg) {
            return false;
        }
        let maker = together.other;
        let queue = together.queue.clone();
        if let Some(dialog) = self.legs.get(&maker).and_then(|l| l.dialog) {
            self.endpoint.refer_progress(now, dialog, 200, true);
        }
        if let Some(caller) = self.calls.get(&key).map(|c| c.caller) {
            self.media(MediaCommand::Unbridge { leg: caller });
        }
        let together = Together {
            other: leg,
            queue: queue.clone(),
            ticket: None,
            waited: Duration::ZERO,
            since: now.at,
            bridged: false,
            transfer: None,
            guests: Vec::new(),
            mixed: false,
            room: Vec::new(),
        };
        self.enter(now, key, Phase::Together(together));
        self.release(now, maker, queue.as_deref());
        self.begin_join(now, key, leg);
        true
    }

    /// The target did not answer: true when this leg was a transfer's. The caller is still with the first.
    pub(super) fn transfer_lost(&mut self, now: Now, key: CallKey, leg: LegKey, miss: Miss) -> bool {
        let Some(Phase::Together(together)) = self.calls.get_mut(&key).map(|c| &mut c.phase) else {
            return false;
        };
        if together.transfer != Some(leg) {
            return false;
        }
        together.transfer = None;
        let status = match miss {
            Miss::Busy => 486,
            Miss::NoAnswer | Miss::NotConfirmed => 408,
            Miss::Declined | Miss::Lost => 603,
            Miss::Unreachable => 480,
            Miss::NoRoom => 503,
        };
        if let Some(dialog) = self.legs.get(&together.other).and_then(|l| l.dialog) {
            self.endpoint.refer_progress(now, dialog, status, true);
        }
        true
    }

    /// The line that asked for a transfer hung up while the target rings: the caller waits for it with music.
    pub(super) fn transfer_maker_left(&mut self, now: Now, key: CallKey) -> bool {
        let Some(Phase::Together(together)) = self.calls.get(&key).map(|c| &c.phase) else { return false };
        let Some(target) = together.transfer else { return false };
        let Some(caller) = self.calls.get(&key).map(|c| c.caller) else { return false };
        self.media(MediaCommand::Unbridge { leg: caller });
        let attempts = Attempts { ticket: None, legs: vec![target] };
        if let Some(Phase::Together(together)) = self.enter(now, key, Phase::Offering(attempts)) {
            self.release(now, together.other, together.queue.as_deref());
        }
        self.music(key);
        true
    }
}
