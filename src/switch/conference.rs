//! Three or more together: a counsellor who has a caller and asks a colleague presses a code, and all speak with each
//! other. Then anybody may leave: the others go on, as long as the caller is there.
//!
//! The colleague comes into the caller's call as a guest. The counsellor stays with the telephone call in which the code
//! was pressed; the other one ends, so that hanging up means leaving. Who is together hears each other in a room of
//! media; when two are left, these are bridged again.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Parting, Phase, Together};
use super::leg::{Progress, Role};
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, LegKey, LineKey, PlayKey, RoomKey};
use crate::base::time::Now;
use crate::media::command::{Clip, MOST_IN_A_ROOM, MediaCommand};
use crate::routing::line::Load;
use crate::telemetry::notice::{Notice, Outcome};

/// Besides the caller and the counsellor; who would be one more is refused.
const MOST_GUESTS: usize = MOST_IN_A_ROOM - 2;
/// The tone of a leave has reached the ears when this has passed, too.
const SETTLE: Duration = Duration::from_millis(100);

/// A caller's call and the consultation of its counsellor, about to become one.
struct Pair {
    /// The call of the caller, and the counsellor's leg in it.
    main: CallKey,
    held: LegKey,
    /// The consultation, the counsellor's leg in it, and who was asked.
    second: CallKey,
    asking: LegKey,
    colleague: LegKey,
}

impl Together {
    /// Two who hear each other, of whom nobody is on the way in or out.
    pub fn is_plain(&self) -> bool {
        self.bridged && self.transfer.is_none() && self.guests.is_empty() && !self.mixed
    }

    /// All but the caller.
    fn others(&self) -> impl Iterator<Item = LegKey> {
        [self.other].into_iter().chain(self.guests.iter().copied())
    }

    fn has(&self, leg: LegKey) -> bool {
        self.others().any(|other| other == leg)
    }
}

impl Switch {
    // --- keys -----------------------------------------------------------------------------------------

    /// Who hears this leg, and gets the keys that it presses: the other of two, or all others of a room.
    pub(super) fn hearers(&self, leg: LegKey) -> Vec<LegKey> {
        let call = self.legs.get(&leg).and_then(|found| self.calls.get(&found.call));
        match call.map(|call| (&call.phase, call.caller)) {
            Some((Phase::Together(together), caller)) if together.bridged => {
                let all = || together.others().chain([caller]);
                if all().any(|one| one == leg) {
                    all().filter(|one| *one != leg).collect()
                } else {
                    Vec::new()
                }
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// A key of a counsellor's phone: with the last of the code, what it stands for is done, or refused by voice.
    pub(super) fn code_key(&mut self, now: Now, leg: LegKey, digit: char) {
        let code = &self.policy.config.helpline.conference.value;
        let Some(found) = self.legs.get_mut(&leg) else { return };
        let (Role::Line(line) | Role::Consulting(line)) = found.role else { return };
        if !found.types(now.at, digit, code) || self.hearers(leg).is_empty() {
            return;
        }
        if !self.sends_guest_away(now, leg) && !self.bring_together(now, leg, line) {
            let play = PlayKey(self.mint.serial.next());
            let clips = vec![self.policy.own_clip("line-refused")];
            self.media(MediaCommand::Play { leg, play, clips, repeat: false });
        }
    }

    // --- coming ---------------------------------------------------------------------------------------

    /// False when there is nobody to bring together.
    fn bring_together(&mut self, now: Now, pressed: LegKey, line: LineKey) -> bool {
        let Some(pair) = self.pair(pressed, line) else { return false };
        let Pair { main, held, second, asking, colleague } = pair;
        self.working_for(main);
        // What the consultation held is the caller's now, so that its end hangs up nobody but the leg that goes.
        self.enter(now, second, Phase::InFlow);
        self.legs.rehome(colleague, main);
        if pressed == asking {
            self.takes_place_of(now, asking, held, (main, line));
        }
        self.end_call(now, second, Outcome::Joined);
        self.working_for(main);
        let Some(call) = self.calls.get_mut(&main) else { return true };
        let tone = call.policy.join_tone.clone();
        if let Phase::Together(together) = &mut call.phase {
            together.guests.push(colleague);
        }
        let caller = call.caller;
        self.timers.cancel(Owner::Call(main), What::Room);
        self.refresh_room(main);
        self.chime(caller, tone);
        self.notice(Notice::BroughtTogether { call: main, line });
        self.tell_line(now, line);
        true
    }

    /// The counsellor goes on with the leg of the consultation, and the one that was on hold is hung up. The line was
    /// booked for both; the booking of the consultation goes with that.
    fn takes_place_of(&mut self, now: Now, asking: LegKey, held: LegKey, (main, line): (CallKey, LineKey)) {
        self.legs.rehome(asking, main);
        if let Some(leg) = self.legs.get_mut(&asking) {
            (leg.role, leg.progress, leg.load) = (Role::Line(line), Progress::Up, Some(Load::Talking));
        }
        if let Some(Phase::Together(together)) = self.calls.get_mut(&main).map(|call| &mut call.phase) {
            let places = [&mut together.other].into_iter().chain(&mut together.guests);
            places.filter(|leg| **leg == held).for_each(|leg| *leg = asking);
            together.room.retain(|leg| *leg != held);
        }
        self.close_leg(now, held);
    }

    /// The two calls of a line: that with its one caller, and the consultation. A code pressed in a call of a caller
    /// means that one.
    fn pair(&self, pressed: LegKey, line: LineKey) -> Option<Pair> {
        let second = self.state.consultations.get(&line)?.call;
        let consultation = self.calls.get(&second)?;
        let asking = consultation.caller;
        let Phase::Together(together) = &consultation.phase else { return None };
        if !together.is_plain() {
            return None;
        }
        let is_of_line = |leg: &LegKey| self.legs.get(leg).is_some_and(|leg| leg.role == Role::Line(line));
        let takes = |call: &Call| match &call.phase {
            Phase::Together(t) if call.number.is_some() && t.bridged && t.transfer.is_none() => {
                t.others().find(is_of_line).filter(|_| t.guests.len() < MOST_GUESTS)
            }
            _ => None,
        };
        let mut found = self.calls.iter().filter_map(|(key, call)| Some((*key, takes(call)?)));
        let (main, held) = match self.legs.get(&pressed)?.role {
            Role::Line(_) => found.find(|(_, held)| *held == pressed)?,
            // With two callers on hold nobody can know which is meant.
            _ => found.next().filter(|_| found.next().is_none())?,
        };
        let colleague = together.other;
        (pressed == asking || pressed == held).then_some(Pair { main, held, second, asking, colleague })
    }

    // --- who hears whom -------------------------------------------------------------------------------

    /// Who holds is not in the room, so that no phone plays its own music there; and a caller who would be alone hears
    /// ours.
    pub(super) fn refresh_room(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let Phase::Together(together) = &call.phase else { return };
        let (caller, room) = (call.caller, RoomKey(call.caller.0));
        let held = |leg: &LegKey| self.legs.get(leg).is_some_and(|leg| leg.held);
        let mut wanted: Vec<LegKey> = together.others().filter(|leg| !held(leg)).collect();
        let alone = wanted.is_empty();
        wanted.extend((!alone).then_some(caller));
        let (before, mixed) = (together.room.clone(), together.mixed);
        if let Some(call) = self.calls.get_mut(&key) {
            if let Phase::Together(together) = &mut call.phase {
                (together.room, together.mixed) = (wanted.clone(), true);
            }
            call.play = None;
        }
        for leg in before.iter().filter(|leg| !wanted.contains(leg)) {
            self.media(MediaCommand::Unmix { leg: *leg });
        }
        for leg in wanted.into_iter().filter(|leg| !before.contains(leg)) {
            self.media(MediaCommand::Mix { room, leg });
        }
        if alone && (before.contains(&caller) || !mixed) {
            self.media(MediaCommand::Unbridge { leg: caller });
            self.music(key);
        }
    }

    /// Those of a room hear it; who is on hold does not.
    fn chime(&mut self, room: LegKey, clip: Arc<Clip>) {
        self.media(MediaCommand::Chime { room: RoomKey(room.0), clip });
    }

    /// The tone of a leave is over: two who are left are bridged again.
    pub(super) fn room_settles(&mut self, now: Now, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let caller = call.caller;
        match &mut call.phase {
            Phase::Parting(_) => self.end_call(now, key, Outcome::Joined),
            Phase::Together(together) if together.guests.is_empty() => {
                together.mixed = false;
                let (other, room) = (together.other, std::mem::take(&mut together.room));
                // With an empty room the caller is on hold, and hears music.
                if !room.is_empty() {
                    self.refresh_bridge(key, caller, other);
                }
            }
            _ => {}
        }
    }

    // --- leaving --------------------------------------------------------------------------------------

    /// The counsellor's code in a room: the guest who came last goes. False: this leg may not, or there is none.
    fn sends_guest_away(&mut self, now: Now, pressed: LegKey) -> bool {
        let Some(key) = self.legs.get(&pressed).map(|leg| leg.call) else { return false };
        let guest = match self.calls.get(&key).map(|call| &call.phase) {
            // Who asks somebody else meanwhile wants that one in, and nobody out.
            Some(Phase::Together(t)) if t.other == pressed && !self.asks(pressed) => t.guests.last().copied(),
            _ => None,
        };
        guest.is_some_and(|guest| self.left_the_room(now, key, guest))
    }

    fn asks(&self, leg: LegKey) -> bool {
        let line = self.legs.get(&leg).and_then(super::leg::Leg::line);
        line.is_some_and(|line| self.state.consultations.contains_key(&line))
    }

    /// Somebody of three or more has left or is to go, and is not the caller: the others go on. False: there were but
    /// two.
    pub(super) fn left_the_room(&mut self, now: Now, key: CallKey, leg: LegKey) -> bool {
        let Some(Phase::Together(together)) = self.calls.get_mut(&key).map(|call| &mut call.phase) else {
            return false;
        };
        if together.guests.is_empty() || !together.has(leg) {
            return false;
        }
        let lines = |leg: &LegKey| self.legs.get(leg).and_then(super::leg::Leg::line);
        let mut successor = None;
        if together.other == leg {
            // A counsellor rather than a destination has the caller from now on.
            let next = together.guests.iter().position(|guest| lines(guest).is_some()).unwrap_or(0);
            together.other = together.guests.remove(next);
            successor = lines(&together.other);
        } else {
            together.guests.retain(|guest| *guest != leg);
        }
        together.room.retain(|one| *one != leg);
        let (two, queue) = (together.guests.is_empty(), together.queue.clone());
        self.release(now, leg, queue.as_deref());
        if let Some(line) = successor {
            self.notice(Notice::HandedOver { call: key, line });
        }
        self.refresh_room(key);
        let Some(call) = self.calls.get(&key) else { return true };
        let tone = call.policy.leave_tone.clone();
        if two {
            self.timers.set(Owner::Call(key), What::Room, now.at + tone.duration() + SETTLE);
        }
        if matches!(&call.phase, Phase::Together(together) if !together.room.is_empty()) {
            self.chime(call.caller, tone);
        }
        true
    }

    /// The caller has left two or more others: they hear the tone, and then it is over. False: there were not so many.
    pub(super) fn caller_left_the_room(&mut self, now: Now, key: CallKey) -> bool {
        let Some(call) = self.calls.get(&key) else { return false };
        let Phase::Together(together) = &call.phase else { return false };
        if together.guests.is_empty() {
            return false;
        }
        let parting = Parting { legs: together.others().collect(), queue: together.queue.clone() };
        let (caller, tone) = (call.caller, call.policy.leave_tone.clone());
        let over = now.at + tone.duration() + SETTLE;
        let heard = together.room.iter().any(|leg| *leg != caller);
        self.enter(now, key, Phase::Parting(parting));
        self.close_leg(now, caller);
        if heard {
            self.chime(caller, tone);
        }
        self.timers.set(Owner::Call(key), What::Room, over);
        true
    }

    /// One of those whom the caller has left has gone by itself.
    pub(super) fn left_parting(&mut self, now: Now, key: CallKey, leg: LegKey) {
        let Some(Phase::Parting(parting)) = self.calls.get_mut(&key).map(|call| &mut call.phase) else {
            return;
        };
        parting.legs.retain(|one| *one != leg);
        let (nobody, queue) = (parting.legs.is_empty(), parting.queue.clone());
        self.release(now, leg, queue.as_deref());
        if nobody {
            self.end_call(now, key, Outcome::Joined);
        }
    }
}
