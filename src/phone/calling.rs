//! How calls begin and end.

use std::net::SocketAddr;

use super::call::{Call, Offered, Stage};
use super::happening::{Happening, Summary};
use super::io::{Answering, Dial, Ending};
use super::{Course, FIRST_WHAT, Owner, Phone, What};
use crate::base::id::{DialogKey, LegKey};
use crate::base::time::Now;
use crate::media::command::{LegStats, MediaCommand, Origin};
use crate::sdp::offer_answer::Security;
use crate::sip::digest::Credentials;
use crate::sip::endpoint::{Arrival, EndCause, Invite};
use crate::sip::flow::Flow;
use crate::sip::header::NameAddr;
use crate::sip::uri::{Host, Uri};
use crate::sip::wire::message::Request;

/// Characters of a display that are shown.
const MAX_SHOWN: usize = 120;
/// Failures that mean that nobody took the call, and not that it was refused.
const NOT_ANSWERED: [u16; 2] = [408, 487];

impl Phone {
    // --- calls of ours ----------------------------------------------------------------------------------

    /// The port comes first, since the INVITE names it.
    pub(super) fn dial(&mut self, now: Now, dial: &Dial) {
        self.tell(Happening::Calling { uri: dial.uri.clone() });
        self.open(now, Stage::Calling, dial.at.local, dial.at.to.peer(), dial.at.host.clone());
    }

    fn invite(&mut self, now: Now, sdp: Vec<u8>) {
        let Some(dial) = self.plan.dial.clone() else { return };
        let (user, from) = match &self.plan.account {
            Some(account) => (account.name.clone(), account.aor()),
            None => (dial.from.clone(), address(&dial.from, dial.at.local)),
        };
        let credentials = self.plan.account.as_ref().map(|account| Credentials {
            username: account.name.clone(),
            password: account.password.clone(),
            realm: None,
        });
        let invite = Invite {
            to: dial.at.to,
            local: dial.at.local,
            request_uri: dial.uri.clone(),
            from: format!("<{from}>"),
            to_header: format!("<{}>", dial.uri),
            contact_user: user,
            extra: Vec::new(),
            sdp: Some(sdp),
            credentials,
        };
        match self.endpoint.invite(now, invite) {
            Ok(dialog) => {
                if let Some(call) = &mut self.call {
                    (call.dialog, call.began) = (Some(dialog), now.at);
                }
                self.timers.set(Owner::Call, What::Ring, now.at + dial.ring_limit);
            }
            Err(_) => self.broken_off(now, "the request could not be written"),
        }
    }

    pub(super) fn progress(&mut self, dialog: DialogKey, status: u16, sdp: Option<Vec<u8>>) {
        let Some(call) = self.call_of(dialog) else { return };
        if let Some(sdp) = sdp {
            call.early = Some(sdp);
        }
        self.tell(Happening::Ringing { status });
    }

    pub(super) fn answered(&mut self, now: Now, dialog: DialogKey, sdp: Option<Vec<u8>>) {
        let Some(call) = self.call_of(dialog) else { return };
        let answer = sdp.or(call.early.take()).unwrap_or_default();
        if call.take_answer(&answer).is_err() {
            self.endpoint.hang_up(now, dialog, None);
            return self.broken_off(now, "the answer names no sound that can be spoken");
        }
        call.stage = Stage::Up { confirmed: true };
        self.timers.cancel(Owner::Call, What::Ring);
        self.begin_talk(now);
    }

    pub(super) fn failed(&mut self, now: Now, dialog: DialogKey, status: u16) {
        if self.call_of(dialog).is_none() {
            return;
        }
        let (happening, ending) = match status {
            _ if !self.replied => (Happening::NoReply, Ending::NoReply),
            status if NOT_ANSWERED.contains(&status) => (Happening::Refused { status }, Ending::NoAnswer),
            status => (Happening::Refused { status }, Ending::Refused),
        };
        self.tell(happening);
        self.over(now, ending);
    }

    pub(super) fn rang_out(&mut self, now: Now) {
        let Some(dialog) = self.call.as_ref().and_then(|call| call.dialog) else { return };
        self.endpoint.hang_up(now, dialog, None);
        let (happening, ending) = if self.replied {
            (Happening::GaveUp, Ending::NoAnswer)
        } else {
            (Happening::NoReply, Ending::NoReply)
        };
        self.tell(happening);
        self.over(now, ending);
    }

    // --- calls to us ------------------------------------------------------------------------------------

    pub(super) fn called(&mut self, now: Now, arrival: &Arrival) {
        let Arrival { request, flow, .. } = arrival;
        let switch = self.plan.account.as_ref().map(|account| account.switch.to.peer().ip());
        if switch.is_some_and(|ip| ip != flow.peer.ip()) {
            return self.endpoint.reply(arrival, 403, &[]);
        }
        let Some(dialog) = self.endpoint.admit_call(now, arrival) else { return };
        if self.call.is_some() || self.course != Course::Running || self.calls_left == Some(0) {
            self.tell(Happening::Refusing { status: 486 });
            return self.endpoint.reject(now, dialog, 486, &[]);
        }
        self.timers.cancel(Owner::Phone, What::Patience);
        self.tell(Happening::Rings { shown: shown(request) });
        let status = match self.plan.answering {
            Answering::Busy => 486,
            Answering::Decline => 603,
            Answering::After(_) | Answering::Never => {
                return self.ring(now, dialog, request, *flow);
            }
        };
        self.endpoint.reject(now, dialog, status, &[]);
        self.tell(Happening::Refusing { status });
        self.one_call_less();
        self.wait(now);
    }

    fn ring(&mut self, now: Now, dialog: DialogKey, request: &Request, flow: Flow) {
        self.endpoint.ring(now, dialog, 180);
        self.open(now, Stage::Rings { due: false }, flow.local, flow.peer, flow.peer.to_string());
        let offer = self.endpoint.session(request);
        if let Some(call) = &mut self.call {
            (call.dialog, call.offer) = (Some(dialog), offer);
        }
        if let Answering::After(wait) = self.plan.answering {
            self.timers.set(Owner::Call, What::Answer, now.at + wait);
        }
    }

    pub(super) fn answer_is_due(&mut self, now: Now) {
        let Some(call) = &mut self.call else { return };
        if call.stage == (Stage::Rings { due: false }) {
            call.stage = Stage::Rings { due: true };
            self.answer(now);
        }
    }

    /// Answers when it is time and there is a port.
    fn answer(&mut self, now: Now) {
        let Some(call) = &mut self.call else { return };
        let Some(dialog) =
            call.dialog.filter(|_| call.stage == Stage::Rings { due: true } && call.has_port())
        else {
            return;
        };
        let offer = call.offer.take();
        let described = match &offer {
            Some(offer) => call.make_answer(offer).ok(),
            None => call.make_offer(Offered::Call),
        };
        let Some(sdp) = described else {
            self.endpoint.reject(now, dialog, 488, &[]);
            return self.broken_off(now, "the caller offers no sound that can be spoken");
        };
        call.stage = Stage::Up { confirmed: false };
        self.endpoint.accept(now, dialog, sdp, offer.is_none());
        if offer.is_some() {
            self.begin_sound();
        }
    }

    /// Our answer has arrived, so what is played from now on is heard.
    pub(super) fn acked(&mut self, now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(call) = self.call_of(dialog) else { return };
        if call.stage != (Stage::Up { confirmed: false }) {
            return;
        }
        if call.waits_for_answer() && call.take_answer(sdp.unwrap_or_default()).is_err() {
            self.endpoint.hang_up(now, dialog, None);
            return self.broken_off(now, "the caller names no sound that can be spoken");
        }
        let Some(call) = self.call_of(dialog) else { return };
        call.stage = Stage::Up { confirmed: true };
        self.begin_talk(now);
    }

    pub(super) fn caller_gave_up(&mut self, now: Now, dialog: DialogKey) {
        if self.call_of(dialog).is_some() {
            self.tell(Happening::CallerGaveUp);
            self.over(now, Ending::Fine);
        }
    }

    // --- ports ------------------------------------------------------------------------------------------

    fn open(&mut self, now: Now, stage: Stage, local: SocketAddr, peer: SocketAddr, host: String) {
        let leg = LegKey(self.serial.next());
        self.call = Some(Call::new(leg, peer.ip(), host, stage, now.at));
        let origin = Origin::random(&mut self.rng);
        self.media(MediaCommand::Open { leg, local: local.ip(), origin });
    }

    pub(super) fn media_opened(&mut self, now: Now, local: SocketAddr) {
        let session_id = self.rng.u64() >> 2;
        // Asked for it, the phone offers keys over any transport: it is there to try things with.
        let security = Security::new(self.plan.srtp, true, &[], &mut self.rng);
        let Some(call) = self.call.as_mut().filter(|call| !call.is_over()) else { return };
        call.opened(local.ip(), local.port(), session_id, &self.plan.codecs, security);
        match call.stage {
            Stage::Calling => {
                if let Some(sdp) = call.make_offer(Offered::Call) {
                    self.invite(now, sdp);
                }
            }
            Stage::Rings { .. } => self.answer(now),
            Stage::Up { .. } | Stage::Over => {}
        }
    }

    pub(super) fn media_failed(&mut self, now: Now) {
        let Some(call) = self.call.take() else { return };
        if let Some(dialog) = call.dialog {
            self.endpoint.hang_up(now, dialog, None);
        }
        self.timers.cancel_owner(Owner::Call, FIRST_WHAT);
        self.tell(Happening::BrokenOff { why: "no port is free for its sound" });
        self.judge(Ending::BrokenOff);
        self.after_call(now, &call);
    }

    // --- ends -------------------------------------------------------------------------------------------

    /// Hangs up whatever there is.
    pub(super) fn hang_up(&mut self, now: Now) {
        let Some(call) = self.call.as_ref().filter(|call| !call.is_over()) else { return };
        let ending = if call.stage == Stage::Calling { Ending::NoAnswer } else { Ending::Fine };
        if let Some(dialog) = call.dialog {
            self.endpoint.hang_up(now, dialog, None);
        }
        self.tell(Happening::HungUp);
        self.over(now, ending);
    }

    pub(super) fn dialog_ended(&mut self, now: Now, dialog: DialogKey, cause: EndCause) {
        if self.call_of(dialog).is_none() {
            return;
        }
        match cause {
            EndCause::Bye => {
                self.tell(Happening::OtherHungUp);
                self.over(now, Ending::Fine);
            }
            EndCause::NoAck => self.broken_off(now, "our answer was never acknowledged"),
            EndCause::Gone => self.broken_off(now, "the other side no longer knows the call"),
        }
    }

    pub(super) fn broken_off(&mut self, now: Now, why: &'static str) {
        self.tell(Happening::BrokenOff { why });
        self.over(now, Ending::BrokenOff);
    }

    /// The dialog is gone; what is left is to close the sound and the recording.
    fn over(&mut self, now: Now, ending: Ending) {
        self.timers.cancel_owner(Owner::Call, FIRST_WHAT);
        let Some(call) = self.call.as_mut().filter(|call| !call.is_over()) else { return };
        (call.stage, call.ending, call.ended) = (Stage::Over, ending, Some(now.at));
        let leg = call.leg;
        self.media(MediaCommand::Close { leg });
    }

    /// All is told of the call: what it was, and what comes next.
    pub(super) fn media_closed(&mut self, now: Now, stats: LegStats) {
        let Some(call) = self.call.take() else { return };
        self.timers.cancel_owner(Owner::Call, FIRST_WHAT);
        if let Some(answered) = call.answered {
            let until_answer = answered.saturating_duration_since(call.began);
            let talk = call.ended.unwrap_or(now.at).saturating_duration_since(answered);
            self.tell(Happening::Summary(Summary { until_answer, talk, stats }));
        }
        let silent = self.plan.needs_voice && call.voice == Some(false);
        let ending = match call.ending {
            Ending::Fine if call.answered.is_some() && (!call.heard || silent) => {
                self.tell(if call.heard { Happening::OnlySilence } else { Happening::NothingHeard });
                Ending::NothingHeard
            }
            ending => ending,
        };
        self.judge(ending);
        self.after_call(now, &call);
    }

    fn after_call(&mut self, now: Now, call: &Call) {
        if !call.ours {
            self.one_call_less();
        }
        self.wait(now);
    }

    fn one_call_less(&mut self) {
        self.calls_left = self.calls_left.map(|left| left.saturating_sub(1));
    }

    pub(super) fn call_of(&mut self, dialog: DialogKey) -> Option<&mut Call> {
        self.call.as_mut().filter(|call| call.dialog == Some(dialog) && !call.is_over())
    }
}

/// What the display of a phone shows of an INVITE: name and address of From.
fn shown(request: &Request) -> String {
    let from = request.headers.get("From").and_then(|value| NameAddr::parse(value).ok());
    let text = match from {
        Some(NameAddr { display: Some(name), uri, .. }) => format!("\"{name}\" <{uri}>"),
        Some(NameAddr { uri, .. }) => format!("<{uri}>"),
        None => "nothing".to_owned(),
    };
    // It goes to a terminal.
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// Our own address in From.
fn address(user: &str, local: SocketAddr) -> String {
    Uri::sip(user, Host::Address(local.ip()), None).to_string()
}
