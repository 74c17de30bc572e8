//! `*` codes that a counsellor dials on the own phone: log in, log out, pause, resume. The phone proves
//! who it is; the answer is spoken.

use std::time::Duration;

use super::Switch;
use super::call::{Call, Phase};
use super::leg::{Description, Role};
use super::registering::Proof;
use crate::base::id::{CallKey, DialogKey, LineKey};
use crate::base::time::Now;
use crate::privacy::screen;
use crate::sip::flow::Flow;
use crate::sip::wire::message::Request;
use crate::telemetry::notice::Outcome;

/// What a code asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    LogIn,
    LogOut,
    Pause,
    Resume,
}

impl Switch {
    pub(super) fn is_code(&self, dialled: &str) -> bool {
        self.code(dialled).is_some()
    }

    fn code(&self, dialled: &str) -> Option<Code> {
        let helpline = &self.policy.config.helpline;
        let codes = [
            (&helpline.log_in, Code::LogIn),
            (&helpline.log_out, Code::LogOut),
            (&helpline.pause, Code::Pause),
            (&helpline.resume, Code::Resume),
        ];
        codes.into_iter().find(|(word, _)| word.value == dialled).map(|(_, code)| code)
    }

    pub(super) fn service_call(
        &mut self,
        now: Now,
        dialog: DialogKey,
        request: &Request,
        flow: Flow,
        dialled: &str,
    ) {
        let line = match self.prove(now, request, flow) {
            Proof::Line(line, _) => line,
            Proof::Challenge { stale } => {
                let headers = self.challenge(now, stale);
                return self.refuse(now, dialog, 401, &headers);
            }
            Proof::Wrong => return self.delay_challenge(now, dialog, flow),
            Proof::Malformed => return self.refuse(now, dialog, 400, &[]),
        };
        if self.calls.is_full() || self.legs.is_full() || self.state.is_draining() {
            return self.refuse(now, dialog, 503, &[("Retry-After", "10".into())]);
        }
        let Some(code) = self.code(dialled) else { return self.refuse(now, dialog, 404, &[]) };
        let offer = self.endpoint.session(request);
        let key = CallKey(self.mint.serial.next());
        self.working_for(key);
        let (facts, _) = screen::screen(request, &flow, &self.policy.zones);
        let caller = self.open_leg(now, key, Role::Service(line), flow.local, Description::Theirs(offer));
        self.attach(caller, dialog);
        let call = Call {
            policy: self.policy.clone(),
            facts,
            caller,
            number: None,
            machine: None,
            phase: Phase::Arriving,
            arrived: now.at,
            answered: false,
            outcome: None,
            talked: Duration::ZERO,
            play: None,
            take: None,
            queue: None,
        };
        let _ = self.calls.insert(key, call);
        self.state.codes.insert(key, code);
    }

    /// The phone is connected: the code takes effect and is confirmed by voice.
    pub(super) fn serve_code(&mut self, now: Now, key: CallKey, line: LineKey) {
        let Some(code) = self.state.codes.swap_remove(&key) else { return };
        let known = self.floor.line_mut(line);
        let prompt = match (known, code) {
            (None, _) => "line-refused",
            (Some(line), Code::LogIn) => {
                line.log_in(now.at);
                "line-logged-in"
            }
            (Some(line), Code::LogOut) => {
                line.log_out();
                "line-logged-out"
            }
            (Some(line), Code::Pause) => {
                line.pause();
                "line-paused"
            }
            (Some(line), Code::Resume) => {
                line.resume();
                "line-resumed"
            }
        };
        self.farewell(now, key, &[prompt], Outcome::Goodbye);
        self.line_changed(now, line);
    }
}
