//! Requests of ours, timers of calls, and their ends.

use super::call::{Exchange, Stage};
use super::{
    ALLOW, Credentials, Destination, DialogKey, EndCause, Endpoint, Event, FIRST_WHAT, Full, Headers, Host,
    Key, Machine, Method, Now, Owner, Request, Response, Retried, Slot, SocketAddr, Transmit, TxId, User,
    Via, What, invite_client, non_invite,
};
use crate::sip::header::CSeq;
use crate::sip::transaction::{MAGIC, T1, T2};

impl Endpoint {
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
            What::Session => self.session_due(now, key),
            What::RepeatRing => self.repeat_ring(now, key),
            What::NoPrack => self.no_prack(now, key),
            What::Expiry | What::Datagram | What::Tx(_) => {}
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
        let mut extra = vec![("Contact", call.contact.clone()), ("Allow", ALLOW.to_owned())];
        extra.push(("Supported", self.supported().to_owned()));
        extra.extend(self.session_request(Some(&call.session)));
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

    pub(super) fn send_ack(&mut self, key: DialogKey, invite: &Request) {
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
        let (mut request, mut to) = (request, to);
        let mut bytes = Self::print(&request).ok_or(Full(()))?;
        let datagram = self.leave_udp(now, &mut request, &mut to, bytes.len());
        if datagram.is_some() {
            bytes = Self::print(&request).ok_or(Full(()))?;
        }
        let (reliable, left_udp) = (to.transport().is_reliable(), datagram.is_some());
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
            retried: Retried::default(),
            datagram,
            ended: Vec::new(),
        };
        let last_word = method == Method::BYE;
        let added = self.add(now, slot, actions).map_err(|Full(_)| {
            if last_word {
                // Without room it is said once: better than a peer who is never told.
                self.transmits.push_back(Transmit { to, bytes });
            }
            Full(())
        });
        if let (Ok(id), true) = (&added, left_udp) {
            self.watch_stream(now, *id);
        }
        added
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
        let Some(call) = self.calls.remove(&key) else { return };
        for dialog in call.dialog.into_iter().chain(call.early.into_iter().map(|early| early.dialog)) {
            if self.by_id.get(&dialog.id) == Some(&key) {
                self.by_id.remove(&dialog.id);
            }
        }
    }
}

/// The ACK for a failure (17.1.1.3): the INVITE's Via, the response's To.
pub(super) fn failure_ack(invite: &Request, response: &Response) -> Request {
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
pub(super) fn copy_authorization(from: &Request, to: &mut Request) {
    for name in ["Authorization", "Proxy-Authorization"] {
        if let Some(value) = from.headers.get(name) {
            to.headers.push(name, value);
        }
    }
}

pub(super) fn cseq_of(request: &Request) -> u32 {
    request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok()).map_or(0, |c| c.number)
}

fn branch_of(request: &Request) -> Option<String> {
    Via::parse(request.headers.get("Via")?).ok()?.branch().map(str::to_owned)
}

/// Our own address, as the Via of a request of ours says it.
pub(super) fn sent_by(request: &Request) -> Option<SocketAddr> {
    let via = Via::parse(request.headers.get("Via")?).ok()?;
    match via.host {
        Host::Address(address) => Some(SocketAddr::new(address, via.port.unwrap_or(5060))),
        Host::Name(_) => None,
    }
}
