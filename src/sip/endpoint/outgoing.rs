//! Requests of ours and the answers to them.

use super::call::{Call, Cancel, Exchange, OFFER_TRIES, Stage};
use super::{
    ALLOW, Credentials, Destination, DialogKey, Dropped, EndCause, Ended, Endpoint, Event, FIRST_WHAT, Full,
    Headers, Host, Key, MOST_ENDED, Machine, Method, Now, Owner, Request, Response, Slot, SocketAddr,
    Transmit, TxId, User, Via, What, call, glare_wait, invite_client, non_invite, session_in,
};
use crate::sip::dialog::{Dialog, DialogId};
use crate::sip::digest;
use crate::sip::header::CSeq;
use crate::sip::transaction::{MAGIC, T1, T2};

/// Responses to a request within a dialog that say that the peer has forgotten it (12.2.1.2); 408 also for
/// none at all. A network that refuses (503) says nothing of the peer.
const GONE: [u16; 2] = [408, 481];

impl Endpoint {
    // --- answers from the network -------------------------------------------------------------------

    pub(super) fn handle_response(&mut self, now: Now, response: Response) {
        let one_via =
            response.headers.all("Via").flat_map(crate::sip::header::split_list).take(2).count() == 1;
        let key = Key::of_response(&response.headers).filter(|_| one_via);
        let id = key.and_then(|k| self.by_key.get(&k).copied());
        let Some((id, slot)) = id.and_then(|id| self.slots.get_mut(&id).map(|s| (id, s))) else {
            return self.drop_it(Dropped::StrayResponse);
        };
        let actions = match &mut slot.machine {
            Machine::InviteClient(machine) => {
                let request = slot.request.as_deref();
                machine.on_response(response.status, || Self::print(&failure_ack(request?, &response)))
            }
            Machine::Client(machine) => machine.on_response(response.status),
            Machine::InviteServer(_) | Machine::Server(_) => return,
        };
        self.perform(now, id, actions, Some(response));
    }

    /// A response that its transaction hands on.
    pub(super) fn deliver(&mut self, now: Now, id: TxId, user: User, response: Response) {
        if matches!(response.status, 401 | 407) && self.retry_with_credentials(now, id, &response) {
            return;
        }
        match user {
            User::Invite(key) => self.invite_answered(now, id, key, response),
            User::Reinvite(key) => self.reinvite_answered(now, id, key, &response),
            User::Minor(key) => self.minor_answered(now, key, response.status),
            User::Refer(key) => self.refer_answered(now, key, response.status),
            User::Out(number) if response.status >= 200 => {
                let headers = Box::new(response.headers);
                self.events.push_back(Event::Replied { number, status: response.status, headers });
            }
            User::Out(_) | User::InDialog(_) | User::Outside(_) | User::Nobody => {}
        }
    }

    /// No final response came (408), or the network refused (503); both as if a peer had said so (8.1.3.1).
    pub(super) fn no_response(&mut self, now: Now, id: TxId, user: User, status: u16) {
        if matches!(
            self.slots.get(&id).map(|s| &s.machine),
            Some(Machine::InviteServer(_) | Machine::Server(_))
        ) {
            return;
        }
        match user {
            User::Invite(key) => self.end_call(now, key, Event::Failed { dialog: key, status }),
            User::Reinvite(key) | User::Minor(key) | User::Refer(key)
                if status == 503 && self.send_elsewhere(now, id, key) => {}
            User::Reinvite(key) => self.offer_failed(now, key, status),
            User::Minor(key) => self.minor_answered(now, key, status),
            User::Refer(key) => self.refer_answered(now, key, status),
            User::Out(number) => {
                let headers = Box::new(Headers::new());
                self.events.push_back(Event::Replied { number, status, headers });
            }
            User::InDialog(_) | User::Outside(_) | User::Nobody => {}
        }
    }

    /// The same request to the next place where the peer may be, under a new branch (RFC 3263 4.3).
    fn send_elsewhere(&mut self, now: Now, id: TxId, key: DialogKey) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let Some(to) = self.calls.get_mut(&key).and_then(|call| call.hop_after(slot.to)) else {
            return false;
        };
        let (user, credentials, retried) = (slot.user, slot.credentials.clone(), slot.retried);
        let Some(mut request) = slot.request.as_deref().cloned() else { return false };
        let Some(local) = sent_by(&request) else { return false };
        request.headers.remove("Via");
        self.add_via(&mut request, local, to);
        let Ok(tx) = self.start_client(now, request, to, user, credentials) else { return false };
        if let Some(slot) = self.slots.get_mut(&tx) {
            slot.retried = retried;
        }
        true
    }

    fn invite_answered(&mut self, now: Now, id: TxId, key: DialogKey, response: Response) {
        match response.status {
            100..=199 => self.provisional(now, key, &response),
            200..=299 => self.accepted(now, id, key, &response),
            status => self.end_call(now, key, Event::Failed { dialog: key, status }),
        }
    }

    fn provisional(&mut self, now: Now, key: DialogKey, response: &Response) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Stage::Outgoing { tx, cancel } = &mut call.stage else { return };
        let (tx, wanted) = (*tx, *cancel == Cancel::Wanted);
        if wanted {
            *cancel = Cancel::Sent;
            return self.send_cancel(now, key, tx);
        }
        if !call.silent && response.status > 100 {
            let sdp = session_in(&response.headers, &response.body).unwrap_or(None);
            self.events.push_back(Event::Progress { dialog: key, status: response.status, sdp });
        }
    }

    fn accepted(&mut self, now: Now, id: TxId, key: DialogKey, response: &Response) {
        let Some(invite) = self.slots.get(&id).and_then(|s| s.request.clone()) else { return };
        let ours = self.calls.get(&key).is_some_and(|call| match &call.stage {
            Stage::Outgoing { cancel, .. } => *cancel == Cancel::No,
            _ => false,
        });
        if ours {
            return self.answered(now, key, &invite, response);
        }
        let known = DialogId::of_response(&response.headers).and_then(|id| self.by_id.get(&id).copied());
        if known == Some(key) {
            let repeated =
                self.calls.get(&key).and_then(|c| c.last_ack.clone().map(|(_, ack)| (c.hop(), ack)));
            if let Some((to, bytes)) = repeated {
                self.transmits.push_back(Transmit { to, bytes });
            }
            return;
        }
        // A second branch of a fork, or a 200 that crossed our CANCEL: acknowledged and ended (13.2.2.4, 9.1).
        self.end_stranger(now, id, &invite, response);
        if self.calls.get(&key).is_some_and(|c| matches!(c.stage, Stage::Outgoing { .. })) {
            self.drop_call(key);
        }
    }

    fn answered(&mut self, now: Now, key: DialogKey, invite: &Request, response: &Response) {
        let dialog = Dialog::from_response(invite, response);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Ok(dialog) = dialog else {
            // Answered by something that no dialog can be had with.
            return self.end_call(now, key, Event::Failed { dialog: key, status: 500 });
        };
        call.stage = Stage::Up;
        let id = dialog.id.clone();
        call.dialog = Some(dialog);
        let _ = self.by_id.insert(id, key);
        self.send_ack(key, invite);
        let sdp = session_in(&response.headers, &response.body).unwrap_or(None);
        self.events.push_back(Event::Answered { dialog: key, sdp });
    }

    /// Acknowledges and ends what a 2xx began, once a branch: a repeated 2xx gets the ACK again.
    fn end_stranger(&mut self, now: Now, id: TxId, invite: &Request, response: &Response) {
        let Ok(mut dialog) = Dialog::from_response(invite, response) else { return };
        let Some(slot) = self.slots.get(&id) else { return };
        if let Some(ended) = slot.ended.iter().find(|ended| ended.their_tag == dialog.id.remote_tag) {
            let (to, bytes) = (ended.to, ended.ack.clone());
            return self.transmits.push_back(Transmit { to, bytes });
        }
        let Some(local) = sent_by(invite).filter(|_| slot.ended.len() < MOST_ENDED) else { return };
        let to = call::hop(dialog.next_hop(), slot.to);
        let their_tag = dialog.id.remote_tag.clone();
        let mut ack = dialog.ack(cseq_of(invite));
        self.add_via(&mut ack, local, to);
        copy_authorization(invite, &mut ack);
        let Some(ack) = Self::print(&ack) else { return };
        self.transmits.push_back(Transmit { to, bytes: ack.clone() });
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.ended.push(Ended { their_tag, to, ack });
        }
        let mut bye = dialog.request(Method::BYE);
        self.finish(&mut bye, local, to);
        let _ = self.start_client(now, bye, to, User::Nobody, None);
    }

    fn reinvite_answered(&mut self, now: Now, id: TxId, key: DialogKey, response: &Response) {
        let Some(invite) = self.slots.get(&id).and_then(|s| s.request.clone()) else { return };
        let number = cseq_of(&invite);
        let Some(call) = self.calls.get_mut(&key) else { return };
        match response.status {
            100..=199 => {}
            200..=299 => {
                if let Some((_, bytes)) = call.last_ack.clone().filter(|(n, _)| *n == number) {
                    let to = call.hop();
                    self.transmits.push_back(Transmit { to, bytes });
                    return;
                }
                if let Some(dialog) = call.dialog.as_mut() {
                    dialog.refresh_target(&response.headers);
                }
                call.exchange = Exchange::Idle;
                let silent = call.silent;
                self.send_ack(key, &invite);
                if !silent {
                    let sdp = session_in(&response.headers, &response.body).unwrap_or(None);
                    self.events.push_back(Event::OfferAnswered { dialog: key, sdp });
                }
            }
            491 => self.rest_offer(now, key),
            status => self.offer_failed(now, key, status),
        }
    }

    fn offer_failed(&mut self, now: Now, key: DialogKey, status: u16) {
        if GONE.contains(&status) {
            return self.peer_gone(now, key);
        }
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.exchange = Exchange::Idle;
        if !call.silent {
            self.events.push_back(Event::OfferFailed { dialog: key, status });
        }
    }

    /// Both sides offered at once: wait as 14.1 says and offer again.
    fn rest_offer(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Exchange::Ours { sdp, tries } = std::mem::replace(&mut call.exchange, Exchange::Idle) else {
            return;
        };
        if tries >= OFFER_TRIES {
            return self.events.push_back(Event::OfferFailed { dialog: key, status: 491 });
        }
        let wait = glare_wait(&mut self.rng, call.ours);
        call.resting = Some((sdp, tries));
        self.timers.set(Owner::Call(key), What::RetryOffer, now.at + wait);
    }

    fn minor_answered(&mut self, now: Now, key: DialogKey, status: u16) {
        let Some(call) = self.calls.get(&key) else { return };
        if status < 200 {
            return;
        }
        match call.stage {
            Stage::Leaving => self.drop_call(key),
            Stage::Incoming { .. } | Stage::Outgoing { .. } | Stage::Up if GONE.contains(&status) => {
                self.peer_gone(now, key);
            }
            Stage::Incoming { .. } | Stage::Outgoing { .. } | Stage::Up => {}
        }
    }

    fn refer_answered(&mut self, now: Now, key: DialogKey, status: u16) {
        if GONE.contains(&status) {
            return self.peer_gone(now, key);
        }
        let Some(call) = self.calls.get_mut(&key).filter(|_| status >= 200) else { return };
        call.referring &= status < 300;
        if !call.silent {
            self.events.push_back(Event::ReferAnswered { dialog: key, status });
        }
    }

    /// The peer no longer knows the dialog or no longer answers.
    fn peer_gone(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get(&key) else { return };
        if matches!(call.stage, Stage::Leaving) {
            return self.drop_call(key);
        }
        let event = (!call.silent).then_some(Event::Ended { dialog: key, cause: EndCause::Gone });
        if let Some(call) = self.calls.get_mut(&key) {
            call.silent = true;
        }
        self.send_bye(now, key);
        self.events.extend(event);
    }

    fn retry_with_credentials(&mut self, now: Now, id: TxId, response: &Response) -> bool {
        let Some(slot) = self.slots.get(&id).filter(|s| !s.retried) else { return false };
        let (Some(credentials), Some(request)) = (slot.credentials.clone(), slot.request.clone()) else {
            return false;
        };
        let (to, user) = (slot.to, slot.user);
        if let User::Invite(key) = user {
            let waits = self
                .calls
                .get(&key)
                .is_some_and(|c| matches!(c.stage, Stage::Outgoing { cancel: Cancel::No, .. }));
            if !waits {
                return false;
            }
        }
        let (challenge, field) = match response.status {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let cnonce = self.rng.token(16);
        let challenges = response.headers.all(challenge);
        let value =
            digest::answer(challenges, request.method.as_str(), &request.uri, &credentials, &cnonce, 1);
        let (Some(value), Some(local)) = (value, sent_by(&request)) else { return false };
        let mut again = *request;
        let number = match user {
            User::Reinvite(key) | User::Minor(key) | User::Refer(key) => {
                self.calls.get_mut(&key).and_then(|c| c.dialog.as_mut()).map(Dialog::next_cseq)
            }
            _ => None,
        };
        let number = number.unwrap_or_else(|| cseq_of(&again).wrapping_add(1));
        again.headers.set("CSeq", format!("{number} {}", again.method.as_str()));
        again.headers.set(field, value);
        again.headers.remove("Via");
        self.add_via(&mut again, local, to);
        let Ok(tx) = self.start_client(now, again, to, user, Some(credentials)) else { return false };
        if let Some(slot) = self.slots.get_mut(&tx) {
            slot.retried = true;
        }
        if let User::Invite(key) = user {
            if let Some(call) = self.calls.get_mut(&key) {
                call.stage = Stage::Outgoing { tx, cancel: Cancel::No };
            }
        }
        true
    }

    // --- timers of calls ----------------------------------------------------------------------------

    pub(super) fn call_timer(&mut self, now: Now, key: DialogKey, what: What) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match what {
            What::RepeatOk => {
                let Some(ok) = call.ok.as_mut() else { return };
                ok.interval = (ok.interval * 2).min(T2);
                self.transmits.push_back(Transmit { to: ok.to, bytes: ok.bytes.clone() });
                self.timers.set(Owner::Call(key), What::RepeatOk, now.at + ok.interval);
            }
            What::NoAck => {
                call.ok = None;
                self.timers.cancel(Owner::Call(key), What::RepeatOk);
                let silent = std::mem::replace(&mut call.silent, true);
                self.send_bye(now, key);
                if !silent {
                    self.events.push_back(Event::Ended { dialog: key, cause: EndCause::NoAck });
                }
            }
            What::RetryOffer => {
                if !matches!(call.exchange, Exchange::Idle) || call.ok.is_some() {
                    self.timers.set(Owner::Call(key), What::RetryOffer, now.at + T1);
                } else if let Some((sdp, tries)) = call.resting.take() {
                    self.send_offer(now, key, sdp, tries + 1);
                }
            }
            What::AbandonInvite => {
                if let Stage::Outgoing { tx, .. } = call.stage {
                    self.drop_call(key);
                    self.forget(tx);
                }
            }
            What::Tx(_) => {}
        }
    }

    // --- requests of ours ---------------------------------------------------------------------------

    /// Ends the dialog, or remembers to when the ACK that must come first is here (15).
    pub(super) fn send_bye(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.ok.is_some() || matches!(call.stage, Stage::Leaving) {
            return;
        }
        call.stage = Stage::Leaving;
        let extra: Vec<_> = call.reason.map(|r| ("Reason", r.to_string())).into_iter().collect();
        self.timers.cancel_owner(Owner::Call(key), FIRST_WHAT);
        self.close_exchange(now, key);
        if self.send_within(now, key, Method::BYE, &extra, None, User::Minor(key)).is_none() {
            self.drop_call(key);
        }
    }

    pub(super) fn send_offer(&mut self, now: Now, key: DialogKey, sdp: Vec<u8>, tries: u32) {
        let Some(call) = self.calls.get(&key) else { return };
        let extra = [("Contact", call.contact.clone()), ("Allow", ALLOW.into())];
        let body = Some(("application/sdp", sdp.clone()));
        let sent = self.send_within(now, key, Method::INVITE, &extra, body, User::Reinvite(key));
        match (sent, self.calls.get_mut(&key)) {
            (Some(_), Some(call)) => call.exchange = Exchange::Ours { sdp, tries },
            (None, Some(_)) => self.events.push_back(Event::OfferFailed { dialog: key, status: 503 }),
            (_, None) => {}
        }
    }

    /// A request within a dialog.
    pub(super) fn send_within(
        &mut self,
        now: Now,
        key: DialogKey,
        method: Method,
        extra: &[(&'static str, String)],
        body: Option<(&str, Vec<u8>)>,
        user: User,
    ) -> Option<TxId> {
        let call = self.calls.get_mut(&key)?;
        let mut request = call.dialog.as_mut()?.request(method);
        let (to, local, credentials) = (call.hop(), call.local, call.credentials.clone());
        for (name, value) in extra {
            request.headers.push(name, value.as_str());
        }
        if let Some((kind, body)) = body {
            request.headers.push("Content-Type", kind);
            request.body = body;
        }
        self.finish(&mut request, local, to);
        self.start_client(now, request, to, user, credentials).ok()
    }

    fn send_ack(&mut self, key: DialogKey, invite: &Request) {
        let Some(call) = self.calls.get(&key) else { return };
        let Some(dialog) = call.dialog.as_ref() else { return };
        let number = cseq_of(invite);
        let mut ack = dialog.ack(number);
        let (to, local) = (call.hop(), call.local);
        copy_authorization(invite, &mut ack);
        self.finish(&mut ack, local, to);
        let Some(bytes) = Self::print(&ack) else { return };
        if let Some(call) = self.calls.get_mut(&key) {
            call.last_ack = Some((number, bytes.clone()));
        }
        self.transmits.push_back(Transmit { to, bytes });
    }

    /// CANCEL has the INVITE's branch, target and number (9.1).
    pub(super) fn send_cancel(&mut self, now: Now, key: DialogKey, tx: TxId) {
        let Some(slot) = self.slots.get(&tx) else { return };
        let Some(invite) = slot.request.as_deref() else { return };
        let to = slot.to;
        let mut cancel = hop_request(invite, Method::CANCEL, invite.headers.get("To").unwrap_or(""));
        if let Some(reason) = self.calls.get(&key).and_then(|c| c.reason.as_ref()) {
            // RFC 3326 2: why, so that a phone need not show a missed call.
            cancel.headers.push("Reason", reason.to_string());
        }
        let Some(branch) = branch_of(invite) else { return };
        let _ = self.start_with_branch(now, cancel, &branch, to, User::Nobody, None);
        self.timers.set(Owner::Call(key), What::AbandonInvite, now.at + 64 * T1);
    }

    /// Via, User-Agent; what every request of ours ends with.
    pub(super) fn finish(&mut self, request: &mut Request, local: SocketAddr, to: Destination) {
        self.add_via(request, local, to);
        request.headers.push("User-Agent", self.config.agent);
    }

    pub(super) fn add_via(&mut self, request: &mut Request, local: SocketAddr, to: Destination) {
        let branch = format!("{MAGIC}{}", self.rng.token(20));
        let mut via = Via::new(to.transport(), Host::Address(local.ip()), Some(local.port()), &branch);
        via.params.set("rport", None);
        request.headers.push_front("Via", via.to_string());
    }

    pub(super) fn start_client(
        &mut self,
        now: Now,
        request: Request,
        to: Destination,
        user: User,
        credentials: Option<Credentials>,
    ) -> Result<TxId, Full<()>> {
        let branch = branch_of(&request).ok_or(Full(()))?;
        self.start_with_branch(now, request, &branch, to, user, credentials)
    }

    fn start_with_branch(
        &mut self,
        now: Now,
        request: Request,
        branch: &str,
        to: Destination,
        user: User,
        credentials: Option<Credentials>,
    ) -> Result<TxId, Full<()>> {
        let bytes = Self::print(&request).ok_or(Full(()))?;
        let reliable = to.transport().is_reliable();
        let (machine, actions) = if request.method == Method::INVITE {
            let (machine, actions) = invite_client::InviteClient::start(bytes.clone(), reliable);
            (Machine::InviteClient(machine), actions)
        } else {
            let (machine, actions) = non_invite::Client::start(bytes.clone(), reliable);
            (Machine::Client(machine), actions)
        };
        let (key, method) = (Key::client(branch, &request.method), request.method.clone());
        let request = Some(Box::new(request));
        let slot = Slot {
            key,
            machine,
            to,
            user,
            request,
            our_tag: String::new(),
            credentials,
            retried: false,
            ended: Vec::new(),
        };
        let last_word = method == Method::BYE;
        self.add(now, slot, actions).map_err(|Full(_)| {
            if last_word {
                // Without room it is said once: better than a peer who is never told.
                self.transmits.push_back(Transmit { to, bytes });
            }
            Full(())
        })
    }

    // --- ends ---------------------------------------------------------------------------------------

    /// Takes a call out and tells the user, unless the user has hung up.
    pub(super) fn end_call(&mut self, now: Now, key: DialogKey, event: Event) {
        let Some(call) = self.calls.get(&key) else { return };
        let silent = call.silent;
        self.close_exchange(now, key);
        self.drop_call(key);
        if !silent {
            self.events.push_back(event);
        }
    }

    /// Requests of the peer that still wait for us are answered (15.1.2: pending ones get 487).
    fn close_exchange(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let refer = call.refer.take();
        let theirs = match std::mem::replace(&mut call.exchange, Exchange::Idle) {
            Exchange::Theirs { tx, .. } => Some(tx),
            Exchange::Idle | Exchange::Ours { .. } => None,
        };
        for tx in theirs.into_iter().chain(refer) {
            self.answer(now, tx, 487, &[], None);
        }
    }

    pub(super) fn drop_call(&mut self, key: DialogKey) {
        self.timers.cancel_owner(Owner::Call(key), FIRST_WHAT);
        let Some(Call { dialog: Some(dialog), .. }) = self.calls.remove(&key) else { return };
        if self.by_id.get(&dialog.id) == Some(&key) {
            self.by_id.remove(&dialog.id);
        }
    }
}

/// The ACK for a failure (17.1.1.3): the INVITE's Via, the response's To.
fn failure_ack(invite: &Request, response: &Response) -> Request {
    hop_request(invite, Method::ACK, response.headers.get("To").unwrap_or(""))
}

/// ACK for a failure and CANCEL: same Via, target, From, Call-ID, number and routes as the INVITE.
fn hop_request(invite: &Request, method: Method, to: &str) -> Request {
    let mut headers = Headers::new();
    headers.push("Via", invite.headers.get("Via").unwrap_or(""));
    headers.push("Max-Forwards", "70");
    for route in invite.headers.all("Route") {
        headers.push("Route", route);
    }
    headers.push("From", invite.headers.get("From").unwrap_or(""));
    headers.push("To", to);
    headers.push("Call-ID", invite.headers.get("Call-ID").unwrap_or(""));
    headers.push("CSeq", format!("{} {}", cseq_of(invite), method.as_str()));
    let mut request = Request { method, uri: invite.uri.clone(), headers, body: Vec::new() };
    copy_authorization(invite, &mut request);
    request
}

/// The ACK bears the INVITE's credentials (22.1).
fn copy_authorization(from: &Request, to: &mut Request) {
    for name in ["Authorization", "Proxy-Authorization"] {
        if let Some(value) = from.headers.get(name) {
            to.headers.push(name, value);
        }
    }
}

fn cseq_of(request: &Request) -> u32 {
    request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok()).map_or(0, |c| c.number)
}

fn branch_of(request: &Request) -> Option<String> {
    Via::parse(request.headers.get("Via")?).ok()?.branch().map(str::to_owned)
}

/// Our own address, as the Via of a request of ours says it.
fn sent_by(request: &Request) -> Option<SocketAddr> {
    let via = Via::parse(request.headers.get("Via")?).ok()?;
    match via.host {
        Host::Address(address) => Some(SocketAddr::new(address, via.port.unwrap_or(5060))),
        Host::Name(_) => None,
    }
}
