//! Provisional responses to INVITE, ours and the peer's, also the reliable ones (RFC 3262).

use std::time::Duration;

use super::call::{Call, Cancel, Stage};
use super::outgoing::{cseq_of, sent_by};
use super::{
    ALLOW, Bytes, DialogKey, Endpoint, Event, Flow, Key, Method, Now, Owner, Request, Response, Transmit,
    TxId, User, What, call, session_in,
};
use crate::sip::dialog::Dialog;
use crate::sip::flow::Destination;
use crate::sip::header::{CSeq, split_list};
use crate::sip::header_ext::{RAck, rseq};
use crate::sip::transaction::T1;
use crate::sip::wire::message::Headers;

/// The option tag.
pub(super) const TAG: &str = "100rel";

/// Branches of one INVITE of ours that may ring at once; provisional responses of further ones are not confirmed.
const MOST_EARLY: usize = 8;
/// Provisional responses of one branch that are confirmed: each takes a transaction, and a peer may send them without end.
const MOST_CONFIRMED: u32 = 50;

/// A branch of our INVITE that has answered reliably and not finally (RFC 3261 12.1.2).
pub(super) struct Early {
    pub dialog: Dialog,
    /// Whose order the peer keeps (RFC 3262 4).
    last: u32,
    confirmed: u32,
    /// The answer to our offer, should the 2xx not repeat it (RFC 3262 5).
    pub sdp: Option<Vec<u8>>,
}

/// A provisional response of ours that is repeated until its PRACK (RFC 3262 3).
pub(super) struct Unconfirmed {
    number: u32,
    bytes: Bytes,
    to: Destination,
    interval: Duration,
}

/// Whether the caller wants every provisional response to be reliable.
pub(super) fn wants_reliable(headers: &Headers) -> bool {
    headers.all("Require").flat_map(split_list).any(is_tag)
}

fn is_tag(tag: &str) -> bool {
    tag.trim().eq_ignore_ascii_case(TAG)
}

impl Endpoint {
    // --- ours -----------------------------------------------------------------------------------------

    /// A provisional answer, 101 to 199. One that the caller wants confirmed is followed by no other until it is.
    pub fn ring(&mut self, now: Now, key: DialogKey, status: u16) {
        let Some(call) = self.calls.get(&key) else { return };
        let Stage::Incoming { tx } = call.stage else { return };
        let mut headers = vec![("Contact", call.contact.clone()), ("Allow", ALLOW.into())];
        if !call.wants_reliable {
            self.answer(now, tx, status.clamp(101, 199), &headers, None);
            return;
        }
        if call.unconfirmed.is_some() {
            return;
        }
        let number = 1 + self.rng.u32() / 2 % 0x7fff_fffe;
        headers.extend([("Require", TAG.to_owned()), ("RSeq", number.to_string())]);
        let Some(to) = self.slots.get(&tx).map(|slot| slot.to) else { return };
        let Some(bytes) = self.answer(now, tx, status.clamp(101, 199), &headers, None) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.unconfirmed = Some(Unconfirmed { number, bytes, to, interval: T1 });
        self.timers.set(Owner::Call(key), What::RepeatRing, now.at + T1);
        self.timers.set(Owner::Call(key), What::NoPrack, now.at + 64 * T1);
    }

    pub(super) fn repeat_ring(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(ring) = call.unconfirmed.as_mut().filter(|_| matches!(call.stage, Stage::Incoming { .. }))
        else {
            return;
        };
        ring.interval *= 2;
        self.transmits.push_back(Transmit { to: ring.to, bytes: ring.bytes.clone() });
        self.timers.set(Owner::Call(key), What::RepeatRing, now.at + ring.interval);
    }

    /// The caller does not hear us: the call is refused (RFC 3262 3).
    pub(super) fn no_prack(&mut self, now: Now, key: DialogKey) {
        let Some(Call { stage: Stage::Incoming { tx }, .. }) = self.calls.get(&key) else { return };
        let tx = *tx;
        self.answer(now, tx, 500, &[], None);
        self.end_call(now, key, Event::Cancelled { dialog: key });
    }

    /// PRACK: 200 when it confirms what waits for it, else 481 (RFC 3262 3).
    pub(super) fn prack(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let rack = request.headers.get("RAck").and_then(|value| RAck::parse(value).ok());
        let Some(call) = self.calls.get_mut(&name) else { return };
        let invite = match call.stage {
            Stage::Incoming { tx } => {
                self.slots.get(&tx).and_then(|slot| slot.request.as_deref()).map(cseq_of)
            }
            Stage::Outgoing { .. } | Stage::Up | Stage::Leaving => None,
        };
        let fits = |ring: &mut Unconfirmed| {
            rack.as_ref().is_some_and(|rack| {
                rack.rseq == ring.number && Some(rack.cseq) == invite && rack.method == Method::INVITE
            })
        };
        let status = match call.unconfirmed.take_if(fits) {
            None => 481,
            // We have offered nothing that it could answer, and its INVITE's offer still waits (RFC 3262 5).
            Some(_) if !request.body.is_empty() => 488,
            Some(_) => 200,
        };
        if status != 481 {
            self.timers.cancel(Owner::Call(name), What::RepeatRing);
            self.timers.cancel(Owner::Call(name), What::NoPrack);
        }
        self.serve(now, flow, key, request, User::Nobody, status, &[]);
    }

    // --- theirs ---------------------------------------------------------------------------------------

    pub(super) fn provisional(&mut self, now: Now, id: TxId, key: DialogKey, response: &Response) {
        let wanted = match self.calls.get_mut(&key).map(|call| &mut call.stage) {
            Some(Stage::Outgoing { cancel, .. }) if *cancel == Cancel::Wanted => {
                *cancel = Cancel::Sent;
                true
            }
            Some(Stage::Outgoing { .. }) => false,
            _ => return,
        };
        let fresh = self.confirm(now, id, key, response);
        if wanted {
            return self.send_cancel(now, key, id);
        }
        let silent = self.calls.get(&key).is_none_or(|call| call.silent);
        if fresh && !silent && response.status > 100 {
            let sdp = session_in(&response.headers, &response.body).unwrap_or(None);
            self.events.push_back(Event::Progress { dialog: key, status: response.status, sdp });
        }
    }

    /// Sends the PRACK that a reliable response asks for. False: it was heard before, or one before it was lost
    /// (RFC 3262 4).
    fn confirm(&mut self, now: Now, id: TxId, key: DialogKey, response: &Response) -> bool {
        let reliable = response.status > 100 && wants_reliable(&response.headers);
        let number = response.headers.get("RSeq").and_then(|value| rseq(value).ok());
        let (true, Some(number)) = (reliable, number) else { return true };
        let Some(invite) = self.slots.get(&id).and_then(|slot| slot.request.as_deref()) else { return false };
        let Ok(dialog) = Dialog::from_response(invite, response) else { return true };
        let (cseq, local, to) = (cseq_of(invite), sent_by(invite), self.slots.get(&id).map(|slot| slot.to));
        let (Some(local), Some(to)) = (local, to) else { return true };
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let known = call.early.iter().position(|early| early.dialog.id == dialog.id);
        if known.is_none() {
            if call.early.len() >= MOST_EARLY {
                return true;
            }
            let _ = self.by_id.insert(dialog.id.clone(), key);
            call.early.push(Early { dialog, last: number - 1, confirmed: 0, sdp: None });
        }
        let at = known.unwrap_or(call.early.len().saturating_sub(1));
        let early = call.early.get_mut(at);
        let next = |early: &&mut Early| number == early.last + 1 && early.confirmed < MOST_CONFIRMED;
        let Some(early) = early.filter(next) else { return false };
        (early.last, early.confirmed) = (number, early.confirmed + 1);
        if early.sdp.is_none() {
            early.sdp = session_in(&response.headers, &response.body).unwrap_or(None);
        }
        let hop = call::hop(early.dialog.next_hop(), to);
        let mut prack = early.dialog.request(Method::PRACK);
        let rack = RAck { rseq: number, cseq, method: Method::INVITE };
        prack.headers.push("RAck", rack.to_string());
        let credentials = call.credentials.clone();
        self.finish(&mut prack, local, hop);
        // Without an answer to it the INVITE's own timers decide.
        let _ = self.start_client(now, prack, hop, User::Nobody, credentials);
        true
    }

    /// A request within a dialog of ours that is not yet confirmed: only its target may be refreshed, or it may be
    /// asked after (RFC 3311 5.2: our offer has its answer, and another one is not taken before the call is up).
    pub(super) fn within_early(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let cseq = request.headers.get("CSeq").and_then(|value| CSeq::parse(value).ok());
        let tag = request.headers.get("From").and_then(crate::sip::header::tag).unwrap_or_default();
        let Some(call) = self.calls.get_mut(&name) else { return };
        let early = call.early.iter_mut().find(|early| early.dialog.id.remote_tag == tag);
        let (Some(early), Some(cseq)) = (early, cseq) else {
            return self.refuse_stateless(flow, &request, 481, &[]);
        };
        if early.dialog.on_request(&cseq) == crate::sip::dialog::Order::Old {
            return self.serve(now, flow, key, request, User::Nobody, 500, &[("Retry-After", "1".into())]);
        }
        let status = match request.method {
            Method::UPDATE if request.body.is_empty() => {
                early.dialog.refresh_target(&request.headers);
                200
            }
            Method::UPDATE => 488,
            Method::OPTIONS => 200,
            _ => 481,
        };
        let contact = call.contact.clone();
        self.serve(
            now,
            flow,
            key,
            request,
            User::Nobody,
            status,
            &[("Contact", contact), ("Allow", ALLOW.into())],
        );
    }
}
