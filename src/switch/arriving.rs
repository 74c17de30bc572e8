//! A new call: who may call what, and the answer once there is a port for its audio.

use super::call::{Call, Phase};
use super::leg::{Description, Leg, Role, connect};
use super::{Owner, Switch, What, policy};
use crate::base::id::{CallKey, DialogKey, LegKey};
use crate::base::time::Now;
use crate::callflow::machine::Machine;
use crate::config::raw::Trunk;
use crate::media::command::{Insecure, MediaCommand};
use crate::privacy::screen;
use crate::sdp::offer_answer::{Codec, Local, Security, Srtp};
use crate::sdp::session::SdpError;
use crate::sip::endpoint::Arrival;
use crate::sip::flow::{Flow, Transport};
use crate::sip::header::NameAddr;
use crate::sip::wire::message::Method;
use crate::telemetry::notice::{Miss, Notice, Outcome};
use std::time::Duration;

/// No packet from a leg for so long: its dialog is asked whether it still lives. Silence alone never ends
/// a call: a caller in danger may be silent on purpose.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// What our 200 says, until it is sent.
pub(super) struct Answer {
    sdp: Vec<u8>,
    /// The INVITE had no offer: this is ours.
    offered: bool,
}

impl Switch {
    /// What is in no transaction and no dialog. Only a carrier's call, and what a phone has proven, gets a
    /// transaction. All else is answered once and forgotten (RFC 3261 26.3.2.4): a stranger fills no table, and
    /// who forges an address makes us send there one answer a request, without 100 and without repetitions.
    pub(super) fn at_the_door(&mut self, now: Now, arrival: Arrival) {
        match arrival.request.method {
            Method::INVITE => self.arrive(now, arrival),
            Method::REGISTER => self.register(now, arrival),
            Method::SUBSCRIBE => self.subscribe(now, arrival),
            _ => self.tell_options(&arrival),
        }
    }

    /// Judges a new INVITE. The caller's words are read here once, by `privacy::screen`, and nowhere else.
    fn arrive(&mut self, now: Now, arrival: Arrival) {
        let dialled = screen::dialled(&arrival.request.uri);
        if self.is_code(&dialled) {
            return self.service_call(now, arrival, &dialled);
        }
        let flow = arrival.flow;
        let carried = self.policy.is_trunk(flow.peer.ip())
            || self.trunks.serves(flow.peer.ip())
            || self.trunks.is_certified(flow.key, &self.policy);
        let called = carried.then(|| self.number_called(&arrival, dialled.clone()));
        let number = called.and_then(|called| self.policy.number(&called));
        let Some((number, program)) = number else {
            // Asked for a password whatever it dials, so that nobody learns the lines' names by dialling them.
            if self.gate.registrar.is_bound_at(now.at, flow.source()) {
                return self.consult(now, arrival, &dialled);
            }
            return self.endpoint.reply(&arrival, if carried { 404 } else { 403 }, &[]);
        };
        if self.state.is_draining() || self.calls.is_full() || self.legs.is_full() || !self.admit(now) {
            return self.overloaded(&arrival);
        }
        let Some(dialog) = self.endpoint.admit_call(now, &arrival) else { return };
        let request = arrival.request;
        let (facts, sealed) = screen::screen(&request, &flow, &self.policy.zones);
        let offer = self.endpoint.session(&request);
        // Nothing here uses the identity yet: it is wiped at once, and the message goes with it.
        drop((sealed, request));
        let key = CallKey(self.mint.serial.next());
        self.working_for(key);
        let caller = self.open_leg(now, key, Role::Caller, flow.local, Description::Theirs(offer));
        self.meets(caller, flow.peer);
        let trunks = self.trunks_of(&flow);
        // One of several that share an address: who wants encryption of one of them must not be called in the clear by
        // naming another, so the strictest counts.
        let srtp = trunks.iter().map(|trunk| policy::srtp(trunk.srtp.value)).max().unwrap_or(Srtp::Optional);
        let codecs = trunks.iter().map(|trunk| policy::codecs(&trunk.codecs)).find(|own| !own.is_empty());
        self.secures(caller, srtp, flow.transport);
        self.speaks(caller, codecs.unwrap_or_default());
        self.set_keys(caller, Some(flow.peer.ip()));
        self.attach(caller, dialog);
        let machine = Machine::new(program);
        let call = Call {
            number: Some(number),
            machine: Some(machine),
            ..Call::new(self.policy.clone(), facts, caller, now.at)
        };
        let _ = self.calls.insert(key, call);
        self.timers.set(Owner::Call(key), What::Length, now.at + self.policy.config.limits.call_length.value);
        self.notice(Notice::CallArrived { call: key });
    }

    /// A carrier that we registered with calls our Contact; which of our numbers was called then stands in To.
    fn number_called(&self, arrival: &Arrival, dialled: String) -> String {
        if self.policy.number(&dialled).is_some() || !self.trunks.is_contact(&dialled) {
            return dialled;
        }
        let to = arrival.request.headers.get("To").and_then(|to| NameAddr::parse(to).ok());
        to.map_or(dialled, |to| screen::dialled(&to.uri.to_string()))
    }

    pub(super) fn overloaded(&mut self, arrival: &Arrival) {
        if !self.state.is_draining() {
            self.notice(Notice::Overload);
        }
        self.endpoint.reply(arrival, 503, &[("Retry-After", "10".into())]);
    }

    fn tell_options(&mut self, arrival: &Arrival) {
        if self.state.is_draining() {
            return self.endpoint.reply(arrival, 503, &[]);
        }
        // Allow-Events (RFC 6665 8.2.2) is for who may subscribe, and a stranger gets hardly more than was sent.
        let headers = [("Accept", "application/sdp".to_owned()), ("Allow", self.endpoint.allow().to_owned())];
        self.endpoint.reply(arrival, 200, &headers);
    }

    /// Opens a leg's media; its description follows when the port is there.
    pub(super) fn open_leg(
        &mut self,
        now: Now,
        call: CallKey,
        role: Role,
        signalling: std::net::SocketAddr,
        description: Description,
    ) -> LegKey {
        let key = LegKey(self.mint.serial.next());
        let origin = self.mint.origin();
        let _ = self.legs.insert(key, Leg::new(call, role, signalling, description, now.at));
        let local = self.policy.media_address(signalling.ip());
        self.media(MediaCommand::Open { leg: key, local, origin });
        key
    }

    /// It is known with whom a leg's signalling goes.
    pub(super) fn meets(&mut self, leg: LegKey, peer: std::net::SocketAddr) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        leg.meets(peer.ip());
        if let Some(at) = leg.audio() {
            leg.announce(self.policy.announced(at, peer.ip()));
        }
    }

    /// Whether the audio of a call to us is encrypted, and how its signalling comes.
    pub(super) fn secures(&mut self, leg: LegKey, srtp: Srtp, transport: Transport) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            (leg.srtp, leg.confidential) = (srtp, transport == Transport::Tls);
        }
    }

    /// What is spoken in a call to us; none: what the helpline speaks.
    pub(super) fn speaks(&mut self, leg: LegKey, codecs: Vec<Codec>) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.codecs = codecs;
        }
    }

    /// The carriers whose call this may be: several can share an address.
    fn trunks_of(&self, flow: &Flow) -> Vec<&Trunk> {
        let source = flow.peer.ip();
        let registered = self.trunks.serving(source).chain(self.trunks.certified(flow.key, &self.policy));
        self.policy.trunks_at(source).chain(registered).collect()
    }

    /// The codecs for a leg: first the caller's, unless it is the caller's own leg.
    pub(super) fn codecs_for(&self, key: LegKey) -> Vec<Codec> {
        let Some(leg) = self.legs.get(&key) else { return Vec::new() };
        let caller = self.calls.get(&leg.call).map(|call| call.caller).filter(|caller| *caller != key);
        let spoken = caller.and_then(|caller| self.legs.get(&caller)?.codec);
        self.policy.codecs_after(&leg.codecs, spoken)
    }

    pub(super) fn attach(&mut self, leg: LegKey, dialog: DialogKey) {
        let _ = self.dialogs.insert(dialog, leg);
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.dialog = Some(dialog);
        }
    }

    /// A leg has its port: the caller is answered, a line is called.
    pub(super) fn media_opened(&mut self, now: Now, key: LegKey, local: std::net::SocketAddr) {
        let Some(leg) = self.legs.get_mut(&key) else {
            // Gone in the meantime: the `Close` behind it is under way.
            return;
        };
        let call = leg.call;
        let address = self.policy.announced(local.ip(), leg.peer());
        let session = self.mint.rng.u64() >> 2;
        let (first, last) = self.policy.config.media.ports.value;
        let security = Security::new(leg.srtp, leg.confidential, &self.policy.suites, &mut self.mint.rng);
        let web = self.mint.web();
        let codecs = self.codecs_for(key);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.opened(
            local.ip(),
            Local {
                address,
                port: local.port(),
                session_id: session,
                codecs,
                dtmf: !leg.keys_by_info,
                noise: true,
                rtcp_mux: false,
                security,
                web,
                own_ports: first..=last,
            },
        );
        self.working_for(call);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let leg_consults = matches!(leg.role, Role::Consulting(_));
        match std::mem::replace(&mut leg.description, Description::Settled) {
            Description::Theirs(offer) => match self.describe(now, key, offer.as_deref()) {
                Some(answer) if leg_consults => self.call_colleague(now, key, answer),
                Some(answer) => self.accept(now, key, answer),
                None => {}
            },
            Description::Ours => self.call_out(now, key),
            Description::Settled => {}
        }
    }

    pub(super) fn media_failed(&mut self, now: Now, key: LegKey) {
        self.notice(Notice::MediaFailed);
        let Some(leg) = self.legs.get(&key) else { return };
        match (leg.role, leg.dialog) {
            (Role::Caller | Role::Service(_) | Role::Consulting(_), Some(dialog)) => {
                let call = leg.call;
                self.endpoint.reject(now, dialog, 503, &[("Retry-After", "10".into())]);
                self.end_call(now, call, Outcome::Failed);
            }
            (_, _) => {
                self.attempt_failed(now, key, Miss::NoRoom);
            }
        }
    }

    /// A leg's media is gone by a fault in its code: whoever is on it hears nothing more, so it is as if they
    /// had left. What they recorded is kept.
    pub(super) fn media_broken(&mut self, now: Now, key: LegKey) {
        self.notice(Notice::MediaFailed);
        let Some((call, role)) = self.legs.get(&key).map(|leg| (leg.call, leg.role)) else { return };
        self.working_for(call);
        match role {
            Role::Caller | Role::Service(_) | Role::Consulting(_) => {
                self.end_call(now, call, Outcome::Failed);
            }
            Role::Line(_) | Role::Destination => self.other_left(now, call, key),
        }
    }

    /// A browser came to no keys: as if it had hung up.
    pub(super) fn web_failed(&mut self, now: Now, key: LegKey, why: Insecure) {
        let Some((call, role)) = self.legs.get(&key).map(|leg| (leg.call, leg.role)) else { return };
        let line = self.legs.get(&key).and_then(super::leg::Leg::line);
        self.notice(Notice::WebFailed { line, why: super::leg::web_fault(why) });
        self.working_for(call);
        match role {
            Role::Caller | Role::Service(_) | Role::Consulting(_) => {
                self.end_call(now, call, Outcome::Failed);
            }
            Role::Line(_) | Role::Destination => self.other_left(now, call, key),
        }
    }

    /// Our side of the session, written but not sent. `None`: the offer can't be taken, and the call is refused.
    fn describe(&mut self, now: Now, key: LegKey, offer: Option<&[u8]>) -> Option<Answer> {
        let leg = self.legs.get_mut(&key)?;
        let (dialog, call) = (leg.dialog?, leg.call);
        let described = match offer {
            Some(offer) => leg.make_answer(offer).map(|(sdp, stream)| (sdp, Some(stream))),
            None => leg.make_offer().map(|sdp| (sdp, None)).ok_or(SdpError::NoAudio),
        };
        match described {
            Ok((sdp, stream)) => {
                leg.agreed = stream;
                Some(Answer { sdp, offered: offer.is_none() })
            }
            Err(error) => {
                let status = refusal(error);
                self.endpoint.reject(now, dialog, status, &[]);
                self.notice(Notice::Refused { status });
                self.end_call(now, call, Outcome::Refused);
                None
            }
        }
    }

    /// The 200. What it says was described before.
    pub(super) fn accept(&mut self, now: Now, key: LegKey, answer: Answer) {
        let Some(leg) = self.legs.get(&key) else { return };
        let (Some(dialog), key, role) = (leg.dialog, leg.call, leg.role) else { return };
        self.endpoint.accept(now, dialog, answer.sdp, answer.offered);
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.answered = true;
        // A counsellor's `*` code or word with a colleague is no call to the helpline.
        if role == Role::Caller {
            self.notice(Notice::Answered { call: key });
        }
    }

    /// Our answer has arrived: the script begins, so that its first word is heard.
    pub(super) fn acked(&mut self, now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(key) = self.leg_of(dialog) else { return };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let (call, role) = (leg.call, leg.role);
        self.state.current = Some(call);
        if let Some(stream) = leg.agreed.take() {
            self.media(connect(key, stream));
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if leg.waits_for_answer() {
            match sdp.map(|sdp| leg.take_answer(sdp)) {
                Some(Ok(stream)) => self.media(connect(key, stream)),
                Some(Err(_)) | None => return self.end_call(now, call, Outcome::Failed),
            }
        }
        self.media(MediaCommand::Watch { leg: key, after: Some(SILENCE) });
        if matches!(role, Role::Consulting(_)) {
            return self.join_consultation(now, call);
        }
        if !self.calls.get(&call).is_some_and(|c| matches!(c.phase, Phase::Arriving)) {
            return;
        }
        self.enter(now, call, Phase::InFlow);
        match role {
            Role::Service(line) => self.serve_code(now, call, line),
            Role::Caller | Role::Line(_) | Role::Destination | Role::Consulting(_) => {
                self.start_flow(now, call);
            }
        }
    }

    /// Whether one more call keeps within the calls a second.
    fn admit(&mut self, now: Now) -> bool {
        self.state.admission.take(now.at, self.policy.config.limits.calls_per_second.value)
    }
}

/// RFC 3261 21.4.26 and RFC 3264: what an offer that can't be taken gets.
pub(super) fn refusal(error: SdpError) -> u16 {
    match error {
        SdpError::Form | SdpError::Limit => 400,
        SdpError::NoAudio | SdpError::NoCommonCodec | SdpError::Mismatch | SdpError::Security => 488,
    }
}
