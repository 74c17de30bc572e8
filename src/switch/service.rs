//! `*` codes that a counsellor dials on the own phone: log in, log out, pause, resume. The phone proves
//! who it is; the answer is spoken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::call::Call;
use super::io::Output;
use super::leg::{Description, Role};
use super::{Owner, Switch, What, policy};
use crate::base::id::{CallKey, LegKey, LineKey};
use crate::base::time::Now;
use crate::privacy::screen;
use crate::routing::line::Line;
use crate::sdp::offer_answer::Srtp;
use crate::sip::endpoint::Arrival;
use crate::store::request::StoreRequest;
use crate::telemetry::notice::{LineCode, Notice, Outcome};

/// The call by which a line dials its code.
#[derive(Debug, Clone, Copy)]
pub(super) struct CodeCall {
    pub call: CallKey,
    pub code: LineCode,
}

/// The longest that such a call may last.
const CODE_LENGTH: Duration = Duration::from_secs(60);

impl Switch {
    pub(super) fn is_code(&self, dialled: &str) -> bool {
        self.code(dialled).is_some()
    }

    fn code(&self, dialled: &str) -> Option<LineCode> {
        let helpline = &self.policy.config.helpline;
        let codes = [
            (&helpline.log_in, LineCode::LogIn),
            (&helpline.log_out, LineCode::LogOut),
            (&helpline.pause, LineCode::Pause),
            (&helpline.resume, LineCode::Resume),
        ];
        codes.into_iter().find(|(word, _)| word.value == dialled).map(|(_, code)| code)
    }

    /// A code that a phone dials. One at a time a line: it is one person at one phone.
    pub(super) fn service_call(&mut self, now: Now, arrival: Arrival, dialled: &str) {
        if self.calls.is_full() || self.legs.is_full() || self.state.is_draining() {
            return self.overloaded(&arrival);
        }
        let Some((arrival, line, _)) = self.prove(now, arrival) else { return };
        let Some(code) = self.code(dialled) else { return self.endpoint.reply(&arrival, 404, &[]) };
        if self.state.codes.contains_key(&line) {
            return self.endpoint.reply(&arrival, 486, &[]);
        }
        let Some((key, _)) = self.admit_line(now, arrival, Role::Service(line)) else { return };
        self.state.codes.insert(line, CodeCall { call: key, code });
        self.timers.set(Owner::Call(key), What::Length, now.at + CODE_LENGTH);
    }

    /// Takes in a call that a line's own phone makes: the call, and the phone's leg of it.
    pub(super) fn admit_line(&mut self, now: Now, arrival: Arrival, role: Role) -> Option<(CallKey, LegKey)> {
        let dialog = self.endpoint.admit_call(now, &arrival)?;
        let Arrival { request, flow, .. } = arrival;
        let offer = self.endpoint.session(&request);
        let key = CallKey(self.mint.serial.next());
        self.working_for(key);
        let (facts, _) = screen::screen(&request, &flow, &self.policy.zones);
        let leg = self.open_leg(now, key, role, flow.local, Description::Theirs(offer));
        self.meets(leg, flow.peer);
        let line = match role {
            Role::Service(line) | Role::Consulting(line) | Role::Line(line) => self.policy.line(line),
            Role::Caller | Role::Destination => None,
        };
        let srtp = line.map_or(Srtp::Optional, |line| policy::srtp(line.srtp.value));
        let codecs = line.map(|line| policy::codecs(&line.codecs)).unwrap_or_default();
        self.secures(leg, srtp, flow.transport);
        self.speaks(leg, codecs);
        self.set_keys(leg, None);
        self.attach(leg, dialog);
        let _ = self.calls.insert(key, Call::new(self.policy.clone(), facts, leg, now.at));
        Some((key, leg))
    }

    /// The phone is connected: the code takes effect and is confirmed by voice.
    pub(super) fn serve_code(&mut self, now: Now, key: CallKey, line: LineKey) {
        let Some(CodeCall { code, .. }) = self.state.codes.get(&line).copied() else { return };
        let prompt = match self.floor.line_mut(line) {
            None => "line-refused",
            Some(line) => carry_out(line, code, now.at),
        };
        self.notice(Notice::LineCode { line, code });
        self.remember(line);
        self.farewell(now, key, &[prompt], Outcome::Goodbye);
        self.line_changed(now, line);
    }
}

/// Does what the code asks for; the prompt that confirms it.
fn carry_out(line: &mut Line, code: LineCode, now: Instant) -> &'static str {
    match code {
        LineCode::LogIn => {
            line.log_in(now);
            "line-logged-in"
        }
        LineCode::LogOut => {
            line.log_out();
            "line-logged-out"
        }
        LineCode::Pause => {
            line.pause();
            "line-paused"
        }
        LineCode::Resume => {
            line.resume();
            "line-resumed"
        }
    }
}

/// What is remembered of a line over a restart.
const IN: &str = "in";
const OUT: &str = "out";
const PAUSED: &str = "paused";

fn word_key(name: &str) -> String {
    format!("line.{name}")
}

impl Switch {
    /// Writes down who is logged in, so that a restart changes nothing for the counsellors.
    fn remember(&mut self, key: LineKey) {
        let Some(line) = self.floor.line(key) else { return };
        let word = match (line.is_logged_in(), line.is_paused()) {
            (false, _) => OUT,
            (true, true) => PAUSED,
            (true, false) => IN,
        };
        let key = word_key(&line.settings.name);
        self.outputs.push_back(Output::Store(StoreRequest::SaveWord { key, value: word.to_owned() }));
    }

    /// Puts the lines back as they were before a restart. `words` are those of the store.
    pub fn restore(&mut self, now: Now, words: &BTreeMap<String, String>) {
        let keys: Vec<LineKey> = self.floor.lines().map(|l| l.settings.key).collect();
        for key in keys {
            let Some(line) = self.floor.line_mut(key) else { continue };
            match words.get(&word_key(&line.settings.name)).map(String::as_str) {
                Some(IN) => line.log_in(now.at),
                Some(OUT) => line.log_out(),
                Some(PAUSED) => {
                    line.log_in(now.at);
                    line.pause();
                }
                Some(_) | None => {}
            }
            self.tell_line(now, key);
        }
    }
}
