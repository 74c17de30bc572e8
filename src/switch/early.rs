//! What a carrier plays before anybody answers (183 with a session): ringing of its own, an announcement. A caller who
//! is put through to a destination hears it when the operator says so (`early-media`), and music otherwise. What a
//! counsellor's line sends before it has answered is never heard: nobody may be listened in on by a phone that rings.

use super::Switch;
use super::call::{Attempts, Phase};
use super::leg::{Progress, Role, connect};
use crate::base::id::{CallKey, DialogKey, LegKey};
use crate::media::command::MediaCommand;

impl Switch {
    /// A leg that we call rings, with what it may have to be heard.
    pub(super) fn progress(&mut self, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(key) = self.leg_of(dialog) else { return };
        if let Some(to) = self.place_of(key) {
            self.place_answers(&to);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if leg.progress == Progress::Calling {
            leg.progress = Progress::Ringing;
        }
        if let Some(sdp) = sdp {
            self.heard_early(key, sdp);
        }
    }

    fn heard_early(&mut self, key: LegKey, sdp: &[u8]) {
        let Some(leg) = self.legs.get(&key) else { return };
        let call = leg.call;
        if leg.early || !self.may_be_heard_early(call, key) {
            return;
        }
        let Ok(stream) = leg.early_answer(sdp) else { return };
        let Some(caller) = self.calls.get_mut(&call).map(|call| {
            call.play = None;
            call.caller
        }) else {
            return;
        };
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.early = true;
        }
        self.media(connect(key, stream));
        self.media(MediaCommand::Stop { leg: caller });
        self.media(MediaCommand::Bridge { a: caller, b: key });
    }

    /// Whether it is the one leg that this caller waits for, to a destination whose sounds are let through.
    fn may_be_heard_early(&self, call: CallKey, key: LegKey) -> bool {
        let Some(leg) = self.legs.get(&key).filter(|leg| leg.role == Role::Destination) else { return false };
        let Some(call) = self.calls.get(&call) else { return false };
        let alone = matches!(&call.phase, Phase::Offering(Attempts { ticket: None, legs }) if *legs == [key]);
        alone && leg.target.as_ref().is_some_and(|target| target.early)
    }

    /// It was not that place after all, or somebody has answered: the caller hears it no more.
    pub(super) fn early_ends(&mut self, key: LegKey) -> bool {
        let Some(leg) = self.legs.get_mut(&key) else { return false };
        let was = std::mem::replace(&mut leg.early, false);
        let call = leg.call;
        if let Some(caller) = self.calls.get(&call).map(|call| call.caller).filter(|_| was) {
            self.media(MediaCommand::Unbridge { leg: caller });
        }
        was
    }
}
