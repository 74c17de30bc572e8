//! Responses from the network, and what no response means.

use super::call::{self, Cancel, Exchange, OFFER_TRIES, Stage};
use super::outgoing::{copy_authorization, cseq_of, failure_ack, sent_by};
use super::{
    DialogKey, Dropped, EndCause, Ended, Endpoint, Event, Headers, Key, MOST_ENDED, Machine, Method, Now,
    Owner, Request, Response, Retried, Transmit, TxId, User, What, glare_wait, session_in,
};
use crate::sip::dialog::{Dialog, DialogId};
use crate::sip::digest;
use crate::sip::header_ext::retry_after;
use crate::sip::transaction::top_via;

/// Responses to a request within a dialog that say that the peer has forgotten it (12.2.1.2); 408 also for
/// none at all. A network that refuses (503) says nothing of the peer.
const GONE: [u16; 2] = [408, 481];

impl Endpoint {
    pub(super) fn handle_response(&mut self, now: Now, response: Response) {
        let one_via =
            response.headers.all("Via").flat_map(crate::sip::header::split_list).take(2).count() == 1;
        let key = Key::of_response(&response.headers).filter(|_| one_via);
        let id = key.and_then(|k| self.by_key.get(&k).copied());
        // It must name us as the sender too (18.1.2).
        let slot = id.and_then(|id| self.slots.get_mut(&id).map(|s| (id, s)));
        let Some((id, slot)) = slot.filter(|(_, slot)| is_sent_by_us(slot.request.as_deref(), &response))
        else {
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
        let again = match response.status {
            401 | 407 => self.retry_with_credentials(now, id, &response),
            422 => self.retry_with_interval(now, id, user, &response),
            _ => false,
        };
        if again {
            return;
        }
        match user {
            User::Invite(key) => self.invite_answered(now, id, key, response),
            User::Reinvite(key) => self.reinvite_answered(now, id, key, &response),
            User::Minor(key) => self.minor_answered(now, key, response.status),
            User::Refer(key) => self.refer_answered(now, key, response.status),
            User::Refresh(key) => self.refresh_answered(now, key, response.status, &response.headers),
            User::Out(number) if response.status >= 200 => {
                let headers = Box::new(response.headers);
                self.events.push_back(Event::Replied { number, status: response.status, headers });
            }
            User::Notify(key) if response.status >= 200 => self.notified(key, response.status),
            User::Out(_) | User::Notify(_) | User::InDialog(_) | User::Outside(_) | User::Nobody => {}
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
            User::Invite(key) => {
                self.end_call(now, key, Event::Failed { dialog: key, status, retry_after: None });
            }
            User::Reinvite(key) | User::Minor(key) | User::Refer(key) | User::Refresh(key)
                if status == 503 && self.send_elsewhere(now, id, key) => {}
            User::Reinvite(key) => self.offer_failed(now, key, status),
            User::Minor(key) => self.minor_answered(now, key, status),
            User::Refer(key) => self.refer_answered(now, key, status),
            User::Refresh(key) => self.refresh_answered(now, key, status, &Headers::new()),
            User::Out(number) => {
                let headers = Box::new(Headers::new());
                self.events.push_back(Event::Replied { number, status, headers });
            }
            User::Notify(key) => self.notified(key, status),
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
            100..=199 => self.provisional(now, id, key, &response),
            200..=299 => self.accepted(now, id, key, &response),
            status => {
                let retry_after = retry_after(&response.headers);
                self.end_call(now, key, Event::Failed { dialog: key, status, retry_after });
            }
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
        self.end_stranger(now, id, key, &invite, response);
        if self.calls.get(&key).is_some_and(|c| matches!(c.stage, Stage::Outgoing { .. })) {
            self.drop_call(key);
        }
    }

    fn answered(&mut self, now: Now, key: DialogKey, invite: &Request, response: &Response) {
        let dialog = Dialog::from_response(invite, response);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Ok(mut dialog) = dialog else {
            // Answered by something that no dialog can be had with.
            return self.end_call(now, key, Event::Failed { dialog: key, status: 500, retry_after: None });
        };
        let answered_early = call.take_early(&mut dialog, response);
        call.stage = Stage::Up;
        let id = dialog.id.clone();
        call.dialog = Some(dialog);
        for other in &call.early {
            self.by_id.remove(&other.dialog.id);
        }
        let _ = self.by_id.insert(id, key);
        self.session_answered(now, key, &response.headers);
        self.send_ack(key, invite);
        let sdp = session_in(&response.headers, &response.body).unwrap_or(None).or(answered_early);
        self.events.push_back(Event::Answered { dialog: key, sdp });
    }

    /// Acknowledges and ends what a 2xx began, once a branch: a repeated 2xx gets the ACK again.
    fn end_stranger(&mut self, now: Now, id: TxId, key: DialogKey, invite: &Request, response: &Response) {
        let Ok(mut dialog) = Dialog::from_response(invite, response) else { return };
        if let Some(call) = self.calls.get_mut(&key) {
            call.take_early(&mut dialog, response);
        }
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
                self.session_answered(now, key, &response.headers);
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
    pub(super) fn peer_gone(&mut self, now: Now, key: DialogKey) {
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
        let Some(slot) = self.slots.get(&id).filter(|s| !s.retried.challenge) else { return false };
        let (Some(credentials), Some(request)) = (slot.credentials.clone(), slot.request.as_deref()) else {
            return false;
        };
        let (challenge, field) = match response.status {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let cnonce = self.rng.token(16);
        let challenges = response.headers.all(challenge);
        let value = digest::answer(
            challenges,
            request.method.as_str(),
            &request.uri,
            &credentials,
            &cnonce,
            1,
            &request.body,
        );
        let Some(value) = value else { return false };
        let retried = Retried { challenge: true, ..slot.retried };
        self.send_again(now, id, retried, |headers| headers.set(field, value))
    }

    fn retry_with_interval(&mut self, now: Now, id: TxId, user: User, response: &Response) -> bool {
        let (User::Invite(key) | User::Reinvite(key) | User::Refresh(key)) = user else { return false };
        if self.slots.get(&id).is_none_or(|s| s.retried.interval) || !self.heard_too_brief(key, response) {
            return false;
        }
        let fields = self.session_request(self.calls.get(&key).map(|call| &call.session));
        // A digest of the request before is used up; its challenge may come once more.
        self.send_again(now, id, Retried { interval: true, challenge: false }, |headers| {
            headers.remove("Authorization");
            headers.remove("Proxy-Authorization");
            fields.into_iter().for_each(|(name, value)| headers.set(name, value));
        })
    }

    /// The same request under the next number and a new branch (22.2), changed as asked.
    fn send_again(
        &mut self,
        now: Now,
        id: TxId,
        retried: Retried,
        change: impl FnOnce(&mut Headers),
    ) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let (to, user, credentials) = (slot.to, slot.user, slot.credentials.clone());
        let Some(mut again) = slot.request.as_deref().cloned() else { return false };
        if let User::Invite(key) = user {
            let waits = self
                .calls
                .get(&key)
                .is_some_and(|c| matches!(c.stage, Stage::Outgoing { cancel: Cancel::No, .. }));
            if !waits {
                return false;
            }
        }
        let Some(local) = sent_by(&again) else { return false };
        let number = match user {
            User::Reinvite(key) | User::Minor(key) | User::Refer(key) | User::Refresh(key) => {
                self.calls.get_mut(&key).and_then(|c| c.dialog.as_mut()).map(Dialog::next_cseq)
            }
            _ => None,
        };
        let number = number.unwrap_or_else(|| cseq_of(&again).wrapping_add(1));
        again.headers.set("CSeq", format!("{number} {}", again.method.as_str()));
        change(&mut again.headers);
        again.headers.remove("Via");
        self.add_via(&mut again, local, to);
        let Ok(tx) = self.start_client(now, again, to, user, credentials) else { return false };
        if let Some(slot) = self.slots.get_mut(&tx) {
            slot.retried = retried;
        }
        if let User::Invite(key) = user {
            if let Some(call) = self.calls.get_mut(&key) {
                call.stage = Stage::Outgoing { tx, cancel: Cancel::No };
            }
        }
        true
    }
}

/// Whether the response's Via names the sender that its request named.
fn is_sent_by_us(request: Option<&Request>, response: &Response) -> bool {
    let by = |headers: &Headers| {
        let via = top_via(headers)?;
        Some((via.host, via.port))
    };
    request.is_some_and(|request| by(&request.headers) == by(&response.headers))
}
