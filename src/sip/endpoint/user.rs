//! What the endpoint's user may ask for. A key of a dialog that is gone is no mistake: the question came
//! too late and nothing happens.

use super::call::{Call, Cancel, Exchange, OkWait, Stage, contact};
use super::refreshing::Session;
use super::{
    ALLOW, DialogKey, Endpoint, Event, Full, Headers, Invite, Machine, Method, Now, OutRequest, Owner,
    Request, ServerTxKey, TxId, User, What, invite_client,
};
use crate::sip::dialog::DialogId;
use crate::sip::header::CSeq;
use crate::sip::header_ext::{Reason, Replaces};
use crate::sip::transaction::T1;
use crate::sip::uri::Uri;

/// An offer was refused because another one is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another offer is under way")]
pub struct OfferPending;

impl Endpoint {
    // --- calls in ------------------------------------------------------------------------------------

    /// Answers a call. The 200 is repeated until its ACK; without one the call ends with `NoAck`.
    pub fn accept(&mut self, now: Now, key: DialogKey, sdp: Vec<u8>, offered: bool) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Stage::Incoming { tx } = call.stage else { return };
        call.stage = Stage::Up;
        call.unconfirmed = None;
        self.accept_invite(now, key, tx, sdp, offered, true);
    }

    /// Refuses a call with a final failure.
    pub fn reject(&mut self, now: Now, key: DialogKey, status: u16, headers: &[(&str, String)]) {
        let Some(Call { stage: Stage::Incoming { tx }, .. }) = self.calls.get(&key) else { return };
        let tx = *tx;
        self.answer(now, tx, status.clamp(300, 699), headers, None);
        self.drop_call(key);
    }

    // --- calls out -----------------------------------------------------------------------------------

    /// Calls. What comes of it is `Progress`, `Answered` or `Failed`.
    pub fn invite(&mut self, now: Now, invite: Invite) -> Result<DialogKey, Full<()>> {
        if !self.has_room() {
            return Err(Full(()));
        }
        let key = DialogKey(self.serial.next());
        let sips = Uri::parse(&invite.request_uri).is_ok_and(|uri| uri.is_sips());
        let our_contact = contact(&invite.contact_user, invite.local, invite.to.transport(), sips);
        let session = Session::new();
        let request = self.write_invite(&invite, &our_contact);
        let user = User::Invite(key);
        let tx = self.start_client(now, request, invite.to, user, invite.credentials.clone())?;
        let call = Call {
            stage: Stage::Outgoing { tx, cancel: Cancel::No },
            dialog: None,
            base: invite.to,
            local: invite.local,
            contact: our_contact,
            silent: false,
            reason: None,
            ok: None,
            exchange: Exchange::Idle,
            resting: None,
            refer: None,
            referring: false,
            credentials: invite.credentials,
            last_ack: None,
            ours: true,
            session,
            wants_reliable: false,
            unconfirmed: None,
            early: Vec::new(),
        };
        let _ = self.calls.insert(key, call);
        Ok(key)
    }

    fn write_invite(&mut self, invite: &Invite, our_contact: &str) -> Request {
        let mut headers = Headers::with_capacity(16);
        headers.push("Max-Forwards", "70");
        headers.push("From", format!("{};tag={}", invite.from, self.rng.token(16)));
        headers.push("To", invite.to_header.as_str());
        headers.push("Call-ID", self.rng.token(28));
        headers.push("CSeq", format!("{} INVITE", 1 + self.rng.below(1 << 16)));
        headers.push("Contact", our_contact);
        headers.push("Allow", ALLOW);
        headers.push("Supported", self.supported());
        for (name, value) in self.session_request(None) {
            headers.push(name, value);
        }
        for (name, value) in &invite.extra {
            headers.push(name, value.as_str());
        }
        let body = invite.sdp.clone().unwrap_or_default();
        if !body.is_empty() {
            headers.push("Content-Type", "application/sdp");
        }
        let mut request = Request { method: Method::INVITE, uri: invite.request_uri.clone(), headers, body };
        self.finish(&mut request, invite.local, invite.to);
        request
    }

    /// Whether a call of ours has had any answer, be it only 100.
    pub fn is_heard(&self, key: DialogKey) -> bool {
        let Some(Call { stage: Stage::Outgoing { tx, .. }, .. }) = self.calls.get(&key) else { return true };
        !matches!(self.slots.get(tx).map(|s| &s.machine),
            Some(Machine::InviteClient(m)) if m.state() == invite_client::State::Calling)
    }

    /// The dialog that a Replaces names: its tags are those of who is asked (RFC 3891 3), so `to-tag` is ours.
    pub fn dialog_named(&self, replaces: &Replaces) -> Option<DialogKey> {
        let Replaces { call_id, to_tag, from_tag, .. } = replaces.clone();
        self.by_id.get(&DialogId { call_id, local_tag: to_tag, remote_tag: from_tag }).copied()
    }

    // --- any call ------------------------------------------------------------------------------------

    /// Ends a call in whatever state: 480, CANCEL, or BYE (also for a 200 that crosses the CANCEL).
    /// Nothing more is told of it.
    pub fn hang_up(&mut self, now: Now, key: DialogKey, reason: Option<Reason>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.silent = true;
        call.reason = reason;
        match &mut call.stage {
            Stage::Incoming { tx } => {
                let tx = *tx;
                self.answer(now, tx, 480, &[], None);
                self.drop_call(key);
            }
            Stage::Outgoing { tx, cancel } => {
                let tx = *tx;
                if *cancel != Cancel::No {
                    return;
                }
                let heard = matches!(self.slots.get(&tx).map(|s| &s.machine),
                    Some(Machine::InviteClient(m)) if m.state() == invite_client::State::Proceeding);
                *cancel = if heard { Cancel::Sent } else { Cancel::Wanted };
                if heard {
                    self.send_cancel(now, key, tx);
                }
            }
            Stage::Up => self.send_bye(now, key),
            Stage::Leaving => {}
        }
    }

    /// Offers a new session by re-INVITE. A clash with the peer's is tried again by itself (14.1).
    pub fn offer(&mut self, now: Now, key: DialogKey, sdp: Vec<u8>) -> Result<(), OfferPending> {
        let Some(call) = self.calls.get(&key) else { return Ok(()) };
        let free = matches!(call.exchange, Exchange::Idle) && call.ok.is_none() && call.resting.is_none();
        if !matches!(call.stage, Stage::Up) || !free || call.silent {
            return Err(OfferPending);
        }
        self.send_offer(now, key, sdp, 1);
        Ok(())
    }

    /// Answers `Event::Offer`: an answer (or our offer, when theirs had none), or a failure status.
    pub fn answer_offer(&mut self, now: Now, key: DialogKey, answer: Result<Vec<u8>, u16>, offered: bool) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Exchange::Theirs { tx, invite } = call.exchange else { return };
        call.exchange = Exchange::Idle;
        match answer {
            Err(status) => {
                self.answer(now, tx, status.clamp(300, 699), &[], None);
            }
            Ok(sdp) => {
                self.refresh_target(key, tx);
                if invite {
                    self.accept_invite(now, key, tx, sdp, offered, false);
                } else {
                    let headers = self.accepting(now, key);
                    self.answer(now, tx, 200, &headers, Some(sdp));
                }
            }
        }
    }

    /// Sends INFO.
    pub fn info(&mut self, now: Now, key: DialogKey, content_type: &str, body: Vec<u8>) {
        if self.calls.get(&key).is_some_and(|c| matches!(c.stage, Stage::Up)) {
            self.send_within(now, key, Method::INFO, &[], Some((content_type, body)), User::Minor(key));
        }
    }

    /// Asks the peer whether it still knows the dialog; `Ended` with `Gone` follows when not.
    pub fn probe(&mut self, now: Now, key: DialogKey) {
        if self.calls.get(&key).is_some_and(|c| matches!(c.stage, Stage::Up) && c.ok.is_none()) {
            self.send_within(now, key, Method::OPTIONS, &[], None, User::Minor(key));
        }
    }

    /// Asks the peer to call somebody else (REFER, RFC 3515); `ReferAnswered` and `ReferProgress` follow.
    pub fn refer(&mut self, now: Now, key: DialogKey, refer_to: &str) {
        let Some(call) = self.calls.get_mut(&key).filter(|c| matches!(c.stage, Stage::Up)) else { return };
        call.referring = true;
        let extra = [("Refer-To", refer_to.to_owned()), ("Contact", call.contact.clone())];
        self.send_within(now, key, Method::REFER, &extra, None, User::Refer(key));
    }

    /// Answers `Event::Refer`: 202, or a failure (RFC 3515 2.4.2).
    pub fn refer_answer(&mut self, now: Now, key: DialogKey, accepted: Result<(), u16>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(tx) = call.refer.take() else { return };
        let contact = call.contact.clone();
        let status = accepted.map_or_else(|status| status.clamp(300, 699), |()| 202);
        self.answer(now, tx, status, &[("Contact", contact)], None);
        if accepted.is_ok() {
            self.refer_progress(now, key, 100, false);
        }
    }

    /// Tells how a transfer goes (RFC 3515 2.4.4, RFC 5589): the status as a `message/sipfrag`.
    pub fn refer_progress(&mut self, now: Now, key: DialogKey, status: u16, last: bool) {
        if !self.calls.get(&key).is_some_and(|c| matches!(c.stage, Stage::Up) && !c.silent) {
            return;
        }
        let state = if last { "terminated;reason=noresource" } else { "active;expires=180" };
        let contact = self.calls.get(&key).map(|c| c.contact.clone()).unwrap_or_default();
        let extra =
            [("Event", "refer".to_owned()), ("Subscription-State", state.to_owned()), ("Contact", contact)];
        let reason = crate::sip::wire::print::reason(status);
        let body = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        let body = Some(("message/sipfrag;version=2.0", body));
        self.send_within(now, key, Method::NOTIFY, &extra, body, User::Nobody);
    }

    // --- outside calls -------------------------------------------------------------------------------

    /// Answers what `admit_request` took in.
    pub fn respond(&mut self, now: Now, tx: ServerTxKey, status: u16, headers: &[(&str, String)]) {
        if let Some(id) = self.outside.remove(&tx) {
            self.answer(now, id, status, headers, None);
            if status >= 300 {
                self.events.push_back(Event::Refused { status });
            }
        }
    }

    /// Sends a request outside a dialog; `Replied` with the number that this gives follows.
    pub fn request(&mut self, now: Now, out: OutRequest) -> Result<u64, Full<()>> {
        let number = self.serial.next();
        let mut headers = Headers::with_capacity(12);
        headers.push("Max-Forwards", "70");
        headers.push("From", format!("{};tag={}", out.from, self.rng.token(16)));
        headers.push("To", out.to_header.as_str());
        headers.push("Call-ID", out.call_id.as_str());
        headers.push("CSeq", format!("{} {}", out.cseq, out.method.as_str()));
        for (name, value) in &out.extra {
            headers.push(name, value.as_str());
        }
        let mut request = Request { method: out.method, uri: out.request_uri, headers, body: Vec::new() };
        self.finish(&mut request, out.local, out.to);
        self.start_client(now, request, out.to, User::Out(number), out.credentials)?;
        Ok(number)
    }

    /// The session description of a request, `None` without one (or with one that was refused before).
    pub fn session(&self, request: &Request) -> Option<Vec<u8>> {
        super::session_of(request).unwrap_or(None)
    }

    /// The methods that are carried out, as `Allow` says it.
    pub fn allow(&self) -> &'static str {
        ALLOW
    }

    /// Nothing waits to be polled.
    pub fn is_drained(&self) -> bool {
        self.events.is_empty() && self.transmits.is_empty()
    }

    // --- parts ---------------------------------------------------------------------------------------

    fn accept_invite(
        &mut self,
        now: Now,
        key: DialogKey,
        tx: TxId,
        sdp: Vec<u8>,
        offered: bool,
        first: bool,
    ) {
        let Some(slot) = self.slots.get(&tx) else { return };
        let cseq = slot.request.as_ref().and_then(|r| CSeq::parse(r.headers.get("CSeq")?).ok());
        let to = slot.to;
        let headers = self.accepting(now, key);
        let Some(bytes) = self.answer(now, tx, 200, &headers, Some(sdp)) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        let cseq = cseq.map_or(0, |c| c.number);
        call.ok = Some(OkWait { bytes, to, cseq, interval: T1, offered, first });
        self.timers.set(Owner::Call(key), What::RepeatOk, now.at + T1);
        self.timers.set(Owner::Call(key), What::NoAck, now.at + 64 * T1);
    }

    /// What a 2xx to INVITE or UPDATE says.
    pub(super) fn accepting(&mut self, now: Now, key: DialogKey) -> Vec<(&'static str, String)> {
        let Some(call) = self.calls.get(&key) else { return Vec::new() };
        let mut headers = vec![("Contact", call.contact.clone()), ("Allow", ALLOW.to_owned())];
        headers.push(("Supported", self.supported().to_owned()));
        headers.extend(self.session_answer(now, key));
        headers
    }

    fn refresh_target(&mut self, key: DialogKey, tx: TxId) {
        let Some(request) = self.slots.get(&tx).and_then(|s| s.request.as_ref()) else { return };
        if let Some(dialog) = self.calls.get_mut(&key).and_then(|c| c.dialog.as_mut()) {
            dialog.refresh_target(&request.headers);
        }
    }
}
