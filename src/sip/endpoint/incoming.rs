//! Requests from the network: the checks of RFC 3261 8.2 in their order, then the dialog or the user.

use super::call::{Call, Exchange, Stage, answer_hop, contact};
use super::provisional::wants_reliable;
use super::refreshing::{Session, too_brief};
use super::response::{ANSWERED, essence, fill, note_source, response_to};
use super::{
    ALLOW, Action, Arrival, Bytes, Destination, DialogKey, Dropped, EndCause, Endpoint, Event, Flow, Full,
    Headers, Key, Machine, Method, Now, Owner, Request, Retried, ServerTxKey, Slot, TxId, User, Via, What,
    invite_server, merge_key, non_invite, print_response, session_of,
};
use crate::sip::dialog::session_timer::TooBrief;
use crate::sip::dialog::{Dialog, DialogId, Order};
use crate::sip::flow::Transport;
use crate::sip::header::{CSeq, number_below, split_list};
use crate::sip::uri::{Host, Scheme, Uri};

/// INFO bodies that carry a key.
const KEY_TYPES: [&str; 2] = ["application/dtmf-relay", "application/dtmf"];

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: Now, flow: Flow, mut request: Request) -> Option<Arrival> {
        note_source(&mut request.headers, flow);
        let Some(key) = Key::server(&request.method, &request.headers) else {
            self.drop_it(Dropped::Unreadable);
            return None;
        };
        if request.method == Method::ACK {
            self.handle_ack(now, flow, &key, &request);
        } else if let Some(&id) = self.by_key.get(&key) {
            self.repeat_answer(now, id);
        } else if request.method == Method::CANCEL {
            self.handle_cancel(now, flow, key, request);
        } else if let Some((status, header)) = refusal(&request, self.supported(), self.allow()) {
            self.refuse_stateless(flow, &request, status, header.as_slice());
        } else if crate::sip::header::tag(request.headers.get("To").unwrap_or("")).is_some() {
            self.within_dialog(now, flow, key, request);
        } else {
            return self.outside_dialog(flow, key, request);
        }
        None
    }

    fn repeat_answer(&mut self, now: Now, id: TxId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let actions = match &mut slot.machine {
            Machine::InviteServer(m) => m.on_retransmission(),
            Machine::Server(m) => m.on_retransmission(),
            Machine::InviteClient(_) | Machine::Client(_) => Vec::new(),
        };
        self.perform(now, id, actions, None);
    }

    fn handle_ack(&mut self, now: Now, flow: Flow, key: &Key, request: &Request) {
        let slot = self.by_key.get(key).copied().and_then(|id| self.slots.get_mut(&id).map(|s| (id, s)));
        if let Some((id, Slot { machine: Machine::InviteServer(machine), .. })) = slot {
            let actions = machine.on_ack();
            if !actions.contains(&Action::Deliver) {
                return self.perform(now, id, actions, None);
            }
        }
        let dialog = DialogId::of_request(&request.headers).and_then(|id| self.by_id.get(&id).copied());
        let cseq = request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok());
        match (dialog, cseq) {
            (Some(key), Some(cseq)) => self.acked(now, flow, key, cseq.number, request),
            // For a refusal that nothing was kept of.
            _ if self.is_ack_of_stateless(&request.headers) => {}
            _ => self.drop_it(Dropped::StrayAck),
        }
    }

    fn is_ack_of_stateless(&self, headers: &Headers) -> bool {
        headers.get("To").and_then(crate::sip::header::tag) == Some(self.stateless_tag(headers))
    }

    fn acked(&mut self, now: Now, flow: Flow, key: DialogKey, cseq: u32, request: &Request) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(ok) = call.ok.take_if(|ok| ok.cseq == cseq) else { return };
        call.came_by(flow);
        self.timers.cancel(Owner::Call(key), What::RepeatOk);
        self.timers.cancel(Owner::Call(key), What::NoAck);
        if call.silent {
            return self.send_bye(now, key);
        }
        let sdp = session_of(request).unwrap_or(None);
        if ok.first {
            self.events.push_back(Event::Acked { dialog: key, sdp });
        } else if ok.offered {
            self.events.push_back(Event::OfferAnswered { dialog: key, sdp });
        }
    }

    fn handle_cancel(&mut self, now: Now, flow: Flow, key: Key, request: Request) {
        let invite = Key::for_cancelled(&request.headers).and_then(|k| self.by_key.get(&k).copied());
        let Some(invite) = invite else {
            return self.refuse_stateless(flow, &request, 481, &[]);
        };
        let Some(slot) = self.slots.get(&invite) else { return };
        let (user, pending) = (
            slot.user,
            matches!(&slot.machine, Machine::InviteServer(m) if m.state() == invite_server::State::Proceeding),
        );
        // The same To tag as in the INVITE's answer (9.2): some callers read it from here.
        let tag = slot.our_tag.clone();
        let machine = Machine::Server(non_invite::Server::start(flow.transport.is_reliable()));
        if let Some(id) = self.open(now, flow, key, request, tag, User::Nobody, machine, Vec::new()) {
            self.answer(now, id, 200, &[], None);
        }
        if !pending {
            return;
        }
        self.answer(now, invite, 487, &[], None);
        match user {
            User::Invite(dialog) => {
                self.drop_call(dialog);
                self.events.push_back(Event::Cancelled { dialog });
            }
            User::Reinvite(dialog) => {
                if let Some(call) = self.calls.get_mut(&dialog) {
                    call.exchange = Exchange::Idle;
                }
            }
            User::InDialog(_)
            | User::Minor(_)
            | User::Refer(_)
            | User::Refresh(_)
            | User::Outside(_)
            | User::Out(_)
            | User::Notify(_)
            | User::Nobody => {}
        }
    }

    // --- outside a dialog ---------------------------------------------------------------------------

    fn outside_dialog(&mut self, flow: Flow, key: Key, request: Request) -> Option<Arrival> {
        match request.method {
            Method::INVITE | Method::REGISTER | Method::OPTIONS => {
                return Some(Arrival { request: Box::new(request), flow, key, size: self.asked });
            }
            Method::SUBSCRIBE if self.subscriptions.capacity() > 0 => {
                return Some(Arrival { request: Box::new(request), flow, key, size: self.asked });
            }
            Method::BYE | Method::INFO | Method::UPDATE | Method::PRACK | Method::NOTIFY => {
                self.refuse_stateless(flow, &request, 481, &[]);
            }
            // MESSAGE (RFC 3428) and PUBLISH (RFC 3903) among them, whoever sends them.
            Method::Known(_) => self.refuse_stateless(flow, &request, 405, &[("Allow", self.allow().into())]),
            Method::Other(_) => self.refuse_stateless(flow, &request, 501, &[("Allow", self.allow().into())]),
        }
        None
    }

    /// Takes an INVITE in: 100 is sent, and `ring`, `accept` or `reject` answer it. `None`: it was refused here.
    pub fn admit_call(&mut self, now: Now, arrival: &Arrival) -> Option<DialogKey> {
        let Arrival { request, flow, key, .. } = arrival;
        let flow = *flow;
        if self.by_key.contains_key(key) {
            return None;
        }
        let Some(merge) = merge_key(&request.headers) else {
            self.reply(arrival, 400, &[]);
            return None;
        };
        // The same request by another way (8.2.2.2), or one that we have sent ourselves.
        if self.pending.contains_key(&merge) || is_own(request, flow) {
            self.reply(arrival, 482, &[]);
            return None;
        }
        if !self.has_room() {
            self.reply(arrival, 503, &[("Retry-After", "5".into())]);
            return None;
        }
        let mut session = Session::new();
        if let Err(brief) = session.hear(&request.headers, self.config.session) {
            self.reply(arrival, 422, &[too_brief(brief)]);
            return None;
        }
        let (dialog, tag, is_sips) = self.begin_dialog(arrival)?;
        let name = DialogKey(self.serial.next());
        let user = User::Invite(name);
        let tx = self.open_invite_server(now, flow, key.clone(), essence(request), tag, user)?;
        let _ = self.pending.insert(merge, tx);
        let _ = self.by_id.insert(dialog.id.clone(), name);
        let call = Call {
            stage: Stage::Incoming { tx },
            dialog: Some(dialog),
            base: Destination::Flow(flow),
            local: flow.local,
            contact: contact(self.config.agent, flow.local, flow.transport, is_sips),
            silent: false,
            reason: None,
            ok: None,
            exchange: Exchange::Idle,
            resting: None,
            refer: None,
            referring: false,
            credentials: None,
            last_ack: None,
            ours: false,
            session,
            wants_reliable: wants_reliable(&request.headers),
            unconfirmed: None,
            early: Vec::new(),
        };
        let _ = self.calls.insert(name, call);
        Some(name)
    }

    /// The dialog that an arrival asks for, our tag in it, and whether our Contact is to be `sips:` (12.1.1). `None`: it
    /// was refused here.
    pub(super) fn begin_dialog(&mut self, arrival: &Arrival) -> Option<(Dialog, String, bool)> {
        let Arrival { request, flow, .. } = arrival;
        let tag = self.rng.token(16);
        let first_cseq = 1 + self.rng.u32() / 4;
        let Ok(dialog) = Dialog::from_invite(request, &tag, first_cseq) else {
            self.reply(arrival, 400, &[]);
            return None;
        };
        let secure = flow.transport != Transport::Udp;
        let is_sips = secure && Uri::parse(&request.uri).is_ok_and(|uri| uri.is_sips());
        Some((dialog, tag, is_sips))
    }

    /// Takes a REGISTER or OPTIONS in; `respond` answers it. `None`: it was refused here.
    pub fn admit_request(&mut self, now: Now, arrival: &Arrival) -> Option<ServerTxKey> {
        if self.by_key.contains_key(&arrival.key) {
            return None;
        }
        if !self.has_room_outside() {
            self.reply(arrival, 503, &[("Retry-After", "5".into())]);
            return None;
        }
        let tx = ServerTxKey(self.serial.next());
        let request = essence(&arrival.request);
        let id = self.open_server(now, arrival.flow, arrival.key.clone(), request, User::Outside(tx))?;
        let _ = self.outside.insert(tx, id);
        Some(tx)
    }

    // --- within a dialog ----------------------------------------------------------------------------

    fn within_dialog(&mut self, now: Now, flow: Flow, key: Key, request: Request) {
        if let Some(name) = self.subscription_of(&request) {
            return self.within_subscription(now, flow, key, request, name);
        }
        let name = DialogId::of_request(&request.headers).and_then(|id| self.by_id.get(&id).copied());
        let cseq = request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok());
        let (Some(name), Some(cseq)) = (name, cseq) else {
            return self.refuse_stateless(flow, &request, 481, &[]);
        };
        let Some(call) = self.calls.get_mut(&name) else { return };
        if call.dialog.is_none() {
            return self.within_early(now, flow, key, request, name);
        }
        let order = call.dialog.as_mut().map_or(Order::Old, |d| d.on_request(&cseq));
        if order == Order::Old {
            return self.serve(now, flow, key, request, User::Nobody, 500, &[("Retry-After", "1".into())]);
        }
        call.came_by(flow);
        match request.method {
            Method::BYE => self.bye(now, flow, key, request, name),
            Method::INVITE => self.reinvite(now, flow, key, request, name),
            Method::UPDATE => self.update(now, flow, key, request, name),
            Method::PRACK => self.prack(now, flow, key, request, name),
            Method::INFO => self.info_in(now, flow, key, request, name),
            Method::REFER => self.refer_in(now, flow, key, request, name),
            Method::OPTIONS => {
                self.serve(now, flow, key, request, User::Nobody, 200, &[("Allow", ALLOW.into())]);
            }
            Method::Other(_) => {
                self.serve(now, flow, key, request, User::Nobody, 501, &[("Allow", ALLOW.into())]);
            }
            Method::NOTIFY => self.notify_in(now, flow, key, request, name),
            Method::Known(_) => {
                self.serve(now, flow, key, request, User::Nobody, 405, &[("Allow", ALLOW.into())]);
            }
        }
    }

    fn bye(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        self.serve(now, flow, key, request, User::Nobody, 200, &[]);
        let Some(call) = self.calls.get(&name) else { return };
        let event = match call.stage {
            // BYE in an early dialog (15): like CANCEL.
            Stage::Incoming { tx } => {
                self.answer(now, tx, 487, &[], None);
                Event::Cancelled { dialog: name }
            }
            Stage::Outgoing { .. } | Stage::Up | Stage::Leaving => {
                Event::Ended { dialog: name, cause: EndCause::Bye }
            }
        };
        self.end_call(now, name, event);
    }

    fn reinvite(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let Some(call) = self.calls.get(&name) else { return };
        let busy = match (&call.stage, &call.exchange) {
            (Stage::Leaving, _) => Some(481),
            // A second INVITE before the first has its final answer (14.2).
            (Stage::Incoming { .. }, _) | (_, Exchange::Theirs { .. }) => Some(500),
            (_, Exchange::Ours { .. }) => Some(491),
            (_, Exchange::Idle) if call.ok.as_ref().is_some_and(|ok| ok.offered) => Some(491),
            (_, Exchange::Idle) => None,
        };
        let silent = call.silent;
        if let Some(status) = busy.or(silent.then_some(481)) {
            let wait = format!("{}", self.rng.below(11));
            let headers = if status == 500 { vec![("Retry-After", wait)] } else { Vec::new() };
            let tag = String::new();
            let Some(tx) = self.open_invite_server(now, flow, key, request, tag, User::Nobody) else {
                return;
            };
            self.answer(now, tx, status, &headers, None);
            return;
        }
        let Ok(sdp) = session_of(&request) else {
            return self.refuse_stateless(flow, &request, 415, &[("Accept", "application/sdp".into())]);
        };
        if let Err(brief) = self.hear_session(name, &request) {
            return self.serve(now, flow, key, request, User::Nobody, 422, &[too_brief(brief)]);
        }
        let Some(tx) = self.open_invite_server(now, flow, key, request, String::new(), User::Reinvite(name))
        else {
            return;
        };
        let Some(call) = self.calls.get_mut(&name) else { return };
        // A new INVITE proves that the last 200 arrived, whether its ACK is lost or only overtaken.
        if call.ok.take().is_some_and(|ok| ok.first) {
            self.events.push_back(Event::Acked { dialog: name, sdp: None });
        }
        call.exchange = Exchange::Theirs { tx, invite: true };
        self.timers.cancel(Owner::Call(name), What::RepeatOk);
        self.timers.cancel(Owner::Call(name), What::NoAck);
        self.events.push_back(Event::Offer { dialog: name, sdp });
    }

    fn update(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let Ok(sdp) = session_of(&request) else {
            return self.refuse_stateless(flow, &request, 415, &[("Accept", "application/sdp".into())]);
        };
        let Some(call) = self.calls.get_mut(&name) else { return };
        let refused = match (&sdp, &call.stage, &call.exchange) {
            (_, Stage::Leaving, _) => Some(481),
            (None, _, _) => None,
            (Some(_), Stage::Incoming { .. } | Stage::Outgoing { .. }, _) => Some(488),
            (Some(_), Stage::Up, Exchange::Ours { .. }) => Some(491),
            (Some(_), Stage::Up, Exchange::Theirs { .. }) => Some(500),
            // Our offer stands in a 200 whose ACK bears the answer (RFC 3311 5.2).
            (Some(_), Stage::Up, Exchange::Idle) if call.ok.as_ref().is_some_and(|ok| ok.offered) => {
                Some(491)
            }
            (Some(_), Stage::Up, Exchange::Idle) => None,
        };
        if let Some(status) = refused.or(call.silent.then_some(481)) {
            let headers = if status == 500 { vec![("Retry-After", "2".to_owned())] } else { Vec::new() };
            return self.serve(now, flow, key, request, User::Nobody, status, &headers);
        }
        if let Err(brief) = self.hear_session(name, &request) {
            return self.serve(now, flow, key, request, User::Nobody, 422, &[too_brief(brief)]);
        }
        if sdp.is_none() {
            // A target or session refresh without a new session (RFC 3311 5.1, RFC 4028 7.4).
            if let Some(dialog) = self.calls.get_mut(&name).and_then(|call| call.dialog.as_mut()) {
                dialog.refresh_target(&request.headers);
            }
            let headers = self.accepting(now, name);
            return self.serve(now, flow, key, request, User::Nobody, 200, &headers);
        }
        let Some(tx) = self.open_server(now, flow, key, request, User::InDialog(name)) else { return };
        let Some(call) = self.calls.get_mut(&name) else { return };
        call.exchange = Exchange::Theirs { tx, invite: false };
        self.events.push_back(Event::Offer { dialog: name, sdp });
    }

    fn hear_session(&mut self, name: DialogKey, request: &Request) -> Result<(), TooBrief> {
        let wish = self.config.session;
        self.calls.get_mut(&name).map_or(Ok(()), |call| call.session.hear(&request.headers, wish))
    }

    fn info_in(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let kind = media_type(request.headers.get("Content-Type").unwrap_or(""));
        let silent = self.calls.get(&name).is_none_or(|c| c.silent);
        // INFO without a body was a keep-alive before RFC 6086 and is harmless.
        if request.body.is_empty() {
            return self.serve(now, flow, key, request, User::Nobody, 200, &[]);
        }
        if !KEY_TYPES.contains(&kind.as_str()) {
            return self.serve(
                now,
                flow,
                key,
                request,
                User::Nobody,
                415,
                &[("Accept", KEY_TYPES.join(", "))],
            );
        }
        let body = request.body.clone();
        self.serve(now, flow, key, request, User::Nobody, 200, &[]);
        if !silent {
            self.events.push_back(Event::Info { dialog: name, content_type: kind, body });
        }
    }

    fn refer_in(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let targets: Vec<&str> = request.headers.all("Refer-To").flat_map(split_list).take(2).collect();
        let refer_to = match targets.as_slice() {
            [one] => (*one).to_owned(),
            _ => return self.serve(now, flow, key, request, User::Nobody, 400, &[]),
        };
        let Some(call) = self.calls.get(&name) else { return };
        let status = match call.stage {
            Stage::Up if call.silent => Some(481),
            Stage::Up if call.refer.is_some() => Some(491),
            Stage::Up => None,
            Stage::Incoming { .. } | Stage::Outgoing { .. } | Stage::Leaving => Some(481),
        };
        if let Some(status) = status {
            return self.serve(now, flow, key, request, User::Nobody, status, &[]);
        }
        let Some(tx) = self.open_server(now, flow, key, request, User::InDialog(name)) else { return };
        if let Some(call) = self.calls.get_mut(&name) {
            call.refer = Some(tx);
        }
        self.events.push_back(Event::Refer { dialog: name, refer_to });
    }

    /// How the call goes that our REFER asked for (RFC 3515 2.4.4); no other subscription is known (RFC 6665).
    fn notify_in(&mut self, now: Now, flow: Flow, key: Key, request: Request, name: DialogKey) {
        let known = self.calls.get(&name).is_some_and(|call| call.referring);
        let Some(status) = sipfrag_status(&request.body).filter(|_| known) else {
            return self.serve(now, flow, key, request, User::Nobody, 481, &[]);
        };
        let state = request.headers.get("Subscription-State").unwrap_or("").trim_start();
        let last = state.get(..10).is_some_and(|word| word.eq_ignore_ascii_case("terminated"));
        self.serve(now, flow, key, request, User::Nobody, 200, &[]);
        let Some(call) = self.calls.get_mut(&name) else { return };
        call.referring = !last;
        if !call.silent {
            self.events.push_back(Event::ReferProgress { dialog: name, status, last });
        }
    }

    // --- server transactions ------------------------------------------------------------------------

    fn open_invite_server(
        &mut self,
        now: Now,
        flow: Flow,
        key: Key,
        request: Request,
        our_tag: String,
        user: User,
    ) -> Option<TxId> {
        let mut trying = response_to(&request, 100, None);
        fill(&mut trying, self.config.agent, &[], None);
        let bytes: Bytes = print_response(&trying).ok()?.into();
        let (machine, actions) = invite_server::InviteServer::start(bytes, flow.transport.is_reliable());
        self.open(now, flow, key, request, our_tag, user, Machine::InviteServer(machine), actions)
    }

    fn open_server(&mut self, now: Now, flow: Flow, key: Key, request: Request, user: User) -> Option<TxId> {
        let machine = Machine::Server(non_invite::Server::start(flow.transport.is_reliable()));
        let tag = self.rng.token(16);
        self.open(now, flow, key, request, tag, user, machine, Vec::new())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn open(
        &mut self,
        now: Now,
        flow: Flow,
        key: Key,
        mut request: Request,
        our_tag: String,
        user: User,
        machine: Machine,
        actions: Vec<Action>,
    ) -> Option<TxId> {
        let to = answer_hop(&request.headers, flow);
        // The message was handed on; only what an answer repeats and a dialog is made of is kept.
        request.body = Vec::new();
        request.headers.keep(&ANSWERED);
        let request = Some(Box::new(request));
        let slot = Slot {
            key,
            machine,
            to,
            user,
            request,
            our_tag,
            credentials: None,
            retried: Retried::default(),
            datagram: None,
            ended: Vec::new(),
        };
        match self.add(now, slot, actions) {
            Ok(id) => Some(id),
            Err(Full(slot)) => {
                if let Some(request) = slot.request {
                    self.refuse_stateless(flow, &request, 503, &[("Retry-After", "5".into())]);
                }
                None
            }
        }
    }

    /// Answers a non-INVITE request with its final response at once.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn serve(
        &mut self,
        now: Now,
        flow: Flow,
        key: Key,
        request: Request,
        user: User,
        status: u16,
        headers: &[(&str, String)],
    ) {
        if request.method == Method::INVITE {
            if let Some(id) = self.open_invite_server(now, flow, key, request, String::new(), user) {
                self.answer(now, id, status, headers, None);
            }
            return;
        }
        if let Some(id) = self.open_server(now, flow, key, request, user) {
            self.answer(now, id, status, headers, None);
        }
        if status >= 300 {
            self.events.push_back(Event::Refused { status });
        }
    }
}

/// What RFC 3261 8.2 refuses before anything else is looked at.
fn refusal(request: &Request, supported: &str, allow: &str) -> Option<(u16, Option<(&'static str, String)>)> {
    let headers = &request.headers;
    if matches!(request.method, Method::Other(_)) {
        return Some((501, Some(("Allow", allow.into()))));
    }
    if Uri::parse(&request.uri).map_or(true, |uri| uri.scheme == Scheme::Other) {
        return Some((416, None));
    }
    // An OPTIONS that may go no further asks us (11).
    let last_hop = headers.get("Max-Forwards").is_some_and(|hops| number_below(hops, 1).is_ok());
    if last_hop && request.method != Method::OPTIONS {
        return Some((483, None));
    }
    // Two that only a registrar carries out (RFC 3327, RFC 5626).
    let registrars: &[&str] = if request.method == Method::REGISTER { &["path", "outbound"] } else { &[] };
    let ours = |tag: &str| {
        let mut known = split_list(supported).map(str::trim).chain(registrars.iter().copied());
        known.any(|known| known.eq_ignore_ascii_case(tag.trim()))
    };
    let unknown: Vec<&str> = headers.all("Require").flat_map(split_list).filter(|tag| !ours(tag)).collect();
    if !unknown.is_empty() {
        return Some((420, Some(("Unsupported", unknown.join(", ")))));
    }
    let session = matches!(request.method, Method::INVITE | Method::UPDATE);
    if session && session_of(request).is_err() {
        return Some((415, Some(("Accept", "application/sdp".into()))));
    }
    None
}

/// The status of a `message/sipfrag` that is the start line of a response (RFC 3420).
fn sipfrag_status(body: &[u8]) -> Option<u16> {
    let line = body.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(line).ok()?.parse().ok().filter(|status| (100..700).contains(status))
}

/// Whether one of the Vias is ours: the request has come round.
fn is_own(request: &Request, flow: Flow) -> bool {
    let vias = request.headers.all("Via").flat_map(split_list).filter_map(|v| Via::parse(v).ok());
    let ours = |via: Via| {
        let port = via.port.unwrap_or(flow.transport.default_port());
        via.host == Host::Address(flow.local.ip()) && port == flow.local.port()
    };
    vias.into_iter().any(ours)
}

/// `text/plain;x=y` to `text/plain`.
fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}
