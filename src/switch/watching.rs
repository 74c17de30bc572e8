//! What media notices of a leg besides keys: that nothing comes from it, and whether its caller speaks.

use super::Switch;
use super::call::Phase;
use crate::base::id::{CallKey, LegKey};
use crate::base::time::Now;
use crate::callflow::machine::FlowEvent;
use crate::media::command::MediaCommand;
use crate::telemetry::notice::Notice;

impl Switch {
    /// No packet for a while: ask the peer whether it still knows the dialog.
    pub(super) fn leg_is_silent(&mut self, now: Now, key: LegKey) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.silent = true;
            let call = leg.call;
            self.look_for_one_way(call, key);
        }
        if let Some(dialog) = self.legs.get(&key).and_then(|l| l.dialog) {
            self.endpoint.probe(now, dialog);
        }
    }

    pub(super) fn leg_flows(&mut self, key: LegKey) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.silent = false;
        }
    }

    /// Two are joined and only one of them is heard: told once a call.
    fn look_for_one_way(&mut self, key: CallKey, silent: LegKey) {
        // Of three and more, one may well have nothing to say.
        let [other] = self.hearers(silent)[..] else { return };
        let held = |leg: &LegKey| self.legs.get(leg).is_some_and(|l| l.held);
        let other_is_heard = self.legs.get(&other).is_some_and(|leg| !leg.silent);
        if held(&silent) || held(&other) || !other_is_heard {
            return;
        }
        let Some(call) = self.calls.get_mut(&key).filter(|call| !call.one_way) else { return };
        call.one_way = true;
        self.notice(Notice::OneWay { call: key });
    }

    /// Media listens for speech where the script asks whether the caller speaks.
    pub(super) fn listen_for_speech(&mut self, key: CallKey, on: bool) {
        let Some(call) = self.calls.get(&key) else { return };
        if call.machine.as_ref().is_some_and(crate::callflow::machine::Machine::asks_for_speech) {
            let leg = call.caller;
            self.media(MediaCommand::Voice { leg, on });
        }
    }

    pub(super) fn speech(&mut self, now: Now, leg: LegKey, speaks: bool) {
        let Some(key) = self.legs.get(&leg).map(|l| l.call) else { return };
        let Some(call) = self.calls.get(&key).filter(|call| call.caller == leg) else { return };
        if !matches!(call.phase, Phase::Together(_)) {
            self.flow(now, key, if speaks { FlowEvent::Speaking } else { FlowEvent::Quiet });
        }
    }
}
