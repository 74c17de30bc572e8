//! The user agent core: finds the transaction and the dialog of each message, answers what nobody owns,
//! and tells its user (the switch, or the built-in phone) what happened in that user's words.
//!
//! What belongs to no transaction and no dialog is an [`Arrival`]: the user says whether it may have a
//! transaction, and until then nothing is kept of it, so that strangers can fill no table.
//!
//! `incoming` takes requests, `answered` responses, `outgoing` writes requests, `large` takes those of them to TCP
//! that UDP can't carry, `call` holds what one INVITE dialog knows. Time, randomness and bytes come from outside; [`Endpoint::poll_transmit`] and
//! [`Endpoint::poll_event`] are drained after every call.

mod answered;
mod body;
mod call;
mod incoming;
mod large;
mod notifier;
mod outgoing;
mod provisional;
mod refreshing;
mod response;
mod small;
#[cfg(test)]
mod tests;
mod user;
mod ways;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::digest::Credentials;
use super::flow::{Destination, Flow};
use super::header::Via;
use super::transaction::{Action, Bytes, Key, Timer, invite_client, invite_server, non_invite};
use super::uri::Host;
use super::wire::message::{Headers, Message, Method, Request, Response};
use super::wire::parse::{Bounds, Parsed, parse_within};
use super::wire::print::{print_request, print_response};
use crate::base::bounded::{BoundedMap, Full};
use crate::base::id::{DialogKey, FlowKey, Rng, Serial, ServerTxKey, SubscriptionKey};
use crate::base::time::{Now, TimerQueue};
use body::{session_in, session_of};
use call::Call;
use large::{Datagram, Large};
pub use notifier::News;
use notifier::Subscription;
use response::{essence, note_source};
pub use user::OfferPending;
use ways::Ways;

/// Methods that are carried out in a call, and by an endpoint that is no notifier.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, REGISTER";
/// The same of a notifier; within a call nobody subscribes (RFC 6665 4.5.2).
const ALLOW_OUTSIDE: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, REGISTER, SUBSCRIBE";

/// What an endpoint is made with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Written in Server and User-Agent.
    pub agent: &'static str,
    /// Of one message.
    pub bounds: Bounds,
    pub max_transactions: usize,
    pub max_dialogs: usize,
    /// Zero: SUBSCRIBE is not known here.
    pub max_subscriptions: usize,
    /// The interval of session timers that we ask for (RFC 4028); zero: none are asked for or taken.
    pub session: Duration,
}

/// Bytes to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    pub to: Destination,
    pub bytes: Bytes,
}

/// How a dialog that was up came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The peer said BYE.
    Bye,
    /// Our 200 was never acknowledged.
    NoAck,
    /// The peer no longer answers within the dialog (408, 481).
    Gone,
}

/// A request that belongs to nothing that we know: an INVITE, REGISTER, OPTIONS or SUBSCRIBE outside a dialog. Nothing is
/// kept of it. `admit_call` or `admit_request` gives it a transaction; `reply` answers it without one.
#[must_use = "it is neither taken in nor answered"]
pub struct Arrival {
    pub request: Box<Request>,
    pub flow: Flow,
    key: Key,
    /// How many octets it had.
    size: usize,
}

impl Arrival {
    /// What `reply` needs, to be kept for a late answer.
    pub fn essence(self) -> Self {
        Self { request: Box::new(essence(&self.request)), ..self }
    }
}

/// What happened. All keys of a dialog are dead after `Cancelled`, `Failed` and `Ended`.
pub enum Event {
    /// The caller gave up before an answer, or never confirmed that it rings; its INVITE has been refused.
    Cancelled {
        dialog: DialogKey,
    },
    /// Our 200 was acknowledged.
    Acked {
        dialog: DialogKey,
        sdp: Option<Vec<u8>>,
    },
    Progress {
        dialog: DialogKey,
        status: u16,
        sdp: Option<Vec<u8>>,
    },
    /// Our INVITE was answered; the ACK has been sent.
    Answered {
        dialog: DialogKey,
        sdp: Option<Vec<u8>>,
    },
    /// Our INVITE failed: the status, 408 without an answer, 503 when the network refused.
    /// `retry_after`: when the peer wants to be asked again (RFC 3261 20.33).
    Failed {
        dialog: DialogKey,
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The peer offers a new session (or asks for our offer, without a body): `answer_offer`.
    Offer {
        dialog: DialogKey,
        sdp: Option<Vec<u8>>,
    },
    OfferAnswered {
        dialog: DialogKey,
        sdp: Option<Vec<u8>>,
    },
    OfferFailed {
        dialog: DialogKey,
        status: u16,
    },
    /// The session is to be offered anew, as it is: the peer wants to hear that it goes on (RFC 4028 7.4).
    RefreshDue {
        dialog: DialogKey,
    },
    /// Answered with 200 already.
    Info {
        dialog: DialogKey,
        content_type: String,
        body: Vec<u8>,
    },
    /// Answer with `refer_answer`.
    Refer {
        dialog: DialogKey,
        refer_to: String,
    },
    /// The answer to `refer`.
    ReferAnswered {
        dialog: DialogKey,
        status: u16,
    },
    /// How far the call is that our REFER asked for; nothing follows the `last`.
    ReferProgress {
        dialog: DialogKey,
        status: u16,
        last: bool,
    },
    Ended {
        dialog: DialogKey,
        cause: EndCause,
    },
    Subscription {
        subscription: SubscriptionKey,
        news: News,
    },
    /// The answer to `request`: the number that it gave, and the final status.
    Replied {
        number: u64,
        status: u16,
        headers: Box<Headers>,
    },
    /// Refused by the endpoint itself.
    Refused {
        status: u16,
    },
    /// Nobody to answer.
    Dropped {
        reason: Dropped,
    },
}

/// Why something was dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Unreadable,
    StrayResponse,
    StrayAck,
    /// The transaction table is full and the answer would need a transaction.
    Full,
}

/// A call out.
pub struct Invite {
    pub to: Destination,
    /// Host and port written in Via and Contact.
    pub local: SocketAddr,
    pub request_uri: String,
    /// name-addr without tag.
    pub from: String,
    pub to_header: String,
    pub contact_user: String,
    pub extra: Vec<(&'static str, String)>,
    pub sdp: Option<Vec<u8>>,
    pub credentials: Option<Credentials>,
}

/// A request outside a dialog (REGISTER, OPTIONS).
pub struct OutRequest {
    pub to: Destination,
    pub local: SocketAddr,
    pub method: Method,
    pub request_uri: String,
    pub from: String,
    pub to_header: String,
    /// Kept over refreshes of one registration.
    pub call_id: String,
    pub cseq: u32,
    pub extra: Vec<(&'static str, String)>,
    pub credentials: Option<Credentials>,
}

/// What is in the tables; all zero when nothing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub transactions: usize,
    pub dialogs: usize,
    pub subscriptions: usize,
    pub timers: usize,
}

/// A transaction's serial number: timers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TxId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Tx(TxId),
    Call(DialogKey),
    Subscription(SubscriptionKey),
}

/// Timers of transactions by their letter, and those of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Tx(Timer),
    /// The 200 is repeated (RFC 3261 13.3.1.4).
    RepeatOk,
    /// No ACK within 64*T1.
    NoAck,
    /// Our re-INVITE met theirs (14.1).
    RetryOffer,
    /// A cancelled INVITE without a final response (9.1).
    AbandonInvite,
    /// The session timer (RFC 4028 10).
    Session,
    /// A reliable provisional response is repeated, or was never confirmed (RFC 3262 3).
    RepeatRing,
    NoPrack,
    /// A subscription runs out (RFC 6665 4.2.2).
    Expiry,
    /// A request that left UDP for its size has had its time over TCP (RFC 3261 18.1.1).
    Datagram,
}

const FIRST_WHAT: What = What::Tx(Timer::A);

enum Machine {
    InviteClient(invite_client::InviteClient),
    InviteServer(invite_server::InviteServer),
    Client(non_invite::Client),
    Server(non_invite::Server),
}

impl Machine {
    fn is_client(&self) -> bool {
        matches!(self, Self::InviteClient(_) | Self::Client(_))
    }
}

/// Whose transaction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// The first INVITE of a call.
    Invite(DialogKey),
    Reinvite(DialogKey),
    /// UPDATE or REFER from the peer that waits for its answer.
    InDialog(DialogKey),
    /// A request of ours within a dialog whose answer only matters when the peer has forgotten the dialog.
    Minor(DialogKey),
    /// Our REFER.
    Refer(DialogKey),
    /// Our UPDATE for the session timer.
    Refresh(DialogKey),
    Outside(ServerTxKey),
    Out(u64),
    Notify(SubscriptionKey),
    Nobody,
}

struct Slot {
    key: Key,
    machine: Machine,
    to: Destination,
    user: User,
    /// Server: the fields that a response repeats. Client: the request itself, for ACK and CANCEL.
    request: Option<Box<Request>>,
    /// Server: our tag in To, empty within a dialog.
    our_tag: String,
    /// Client: what a challenge is answered with, once.
    credentials: Option<Credentials>,
    retried: Retried,
    /// Client: a request that left UDP for its size, and how it goes back there.
    datagram: Option<Datagram>,
    /// Client: 2xx to an INVITE that were acknowledged and ended at once, so that their repetitions get the
    /// same ACK and nothing else (13.2.2.4).
    ended: Vec<Ended>,
}

/// For what a request was sent again under another number, each once.
#[derive(Debug, Clone, Copy, Default)]
struct Retried {
    /// With credentials.
    challenge: bool,
    /// With a longer session interval (RFC 4028 7.3).
    interval: bool,
}

/// A dialog that a 2xx made when nobody wanted it any more.
struct Ended {
    their_tag: String,
    to: Destination,
    ack: Bytes,
}

/// Branches of one INVITE that are ended so; further ones are left to their own timers.
const MOST_ENDED: usize = 4;

/// The endpoint. See the head of the file.
pub struct Endpoint {
    config: Config,
    rng: Rng,
    /// Tags of answers that nothing is kept of are a hash under this key (8.2.7).
    tag_key: [u8; 32],
    serial: Serial,
    slots: BoundedMap<TxId, Slot>,
    by_key: BoundedMap<Key, TxId>,
    ways: Ways,
    large: Large,
    calls: BoundedMap<DialogKey, Call>,
    by_id: BoundedMap<super::dialog::DialogId, DialogKey>,
    subscriptions: BoundedMap<SubscriptionKey, Subscription>,
    watched: BoundedMap<super::dialog::DialogId, SubscriptionKey>,
    /// Call-ID, From tag and CSeq of pending INVITEs, to find merged requests (8.2.2.2).
    pending: BoundedMap<String, TxId>,
    outside: BoundedMap<ServerTxKey, TxId>,
    timers: TimerQueue<Owner, What>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// Octets of the message that is being answered.
    asked: usize,
}

impl Endpoint {
    pub fn new(config: Config, mut rng: Rng) -> Self {
        let (transactions, dialogs) = (config.max_transactions, config.max_dialogs);
        let mut tag_key = [0; 32];
        rng.fill(&mut tag_key);
        Self {
            config,
            rng,
            tag_key,
            serial: Serial::default(),
            slots: BoundedMap::new(transactions),
            by_key: BoundedMap::new(transactions),
            ways: Ways::default(),
            large: Large::new(),
            calls: BoundedMap::new(dialogs),
            by_id: BoundedMap::new(dialogs),
            subscriptions: BoundedMap::new(config.max_subscriptions),
            watched: BoundedMap::new(config.max_subscriptions),
            pending: BoundedMap::new(transactions),
            outside: BoundedMap::new(transactions),
            timers: TimerQueue::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            asked: 0,
        }
    }

    /// Takes one datagram or one framed message.
    pub fn handle_message(&mut self, now: Now, flow: Flow, bytes: &[u8]) -> Option<Arrival> {
        self.asked = bytes.len();
        match parse_within(bytes, self.config.bounds) {
            Parsed::Ok(Message::Request(request)) => return self.handle_request(now, flow, request),
            Parsed::Ok(Message::Response(response)) => self.handle_response(now, response),
            Parsed::Bad { mut request, status } if request.method != Method::ACK => {
                note_source(&mut request.headers, flow);
                self.refuse_stateless(flow, &request, status, &[]);
            }
            Parsed::Bad { .. } | Parsed::Unreadable => self.drop_it(Dropped::Unreadable),
        }
        None
    }

    /// A stream was closed: what was to go over it opens another (RFC 3261 18.1.1, 18.2.2).
    pub fn handle_flow_closed(&mut self, now: Now, flow: FlowKey) {
        self.fail_transport(now, self.ways.over(flow));
        self.lose_subscriptions_over(flow);
    }

    /// Nothing could be sent there.
    pub fn handle_transmit_failed(&mut self, now: Now, destination: Destination) {
        self.fail_transport(now, self.ways.to(destination));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((owner, what)) = self.timers.pop(now.at) {
            match (owner, what) {
                (Owner::Tx(id), What::Tx(timer)) => self.transaction_timer(now, id, timer),
                (Owner::Tx(id), What::Datagram) => drop(self.as_datagram(now, id)),
                (Owner::Call(key), what) => self.call_timer(now, key, what),
                (Owner::Subscription(key), _) => self.subscription_due(key),
                (Owner::Tx(_), _) => {}
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next().map(|(at, _, _)| at)
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn counts(&self) -> Counts {
        Counts {
            transactions: self.slots.len(),
            dialogs: self.calls.len(),
            subscriptions: self.subscriptions.len(),
            timers: self.timers.len(),
        }
    }

    /// Whether another call may be taken. A quarter of the transactions is for the dialogs that are: a BYE must
    /// always find room.
    pub fn has_room(&self) -> bool {
        !self.calls.is_full() && self.slots.len() < self.config.max_transactions.div_ceil(4) * 3
    }

    /// Whether another request outside a dialog may be taken in: these never have more than half.
    fn has_room_outside(&self) -> bool {
        self.slots.len() < self.config.max_transactions.div_ceil(2)
    }

    /// The extensions that are carried out (20.37).
    fn supported(&self) -> &'static str {
        if self.config.session.is_zero() { "100rel" } else { "timer, 100rel" }
    }

    // --- transactions -----------------------------------------------------------------------------

    #[allow(clippy::result_large_err)] // a full table is rare, and the slot goes back to be answered
    fn add(&mut self, now: Now, slot: Slot, actions: Vec<Action>) -> Result<TxId, Full<Slot>> {
        let id = TxId(self.serial.next());
        let (key, to) = (slot.key.clone(), slot.to);
        let has_way = slot.machine.is_client() || to.transport().is_reliable();
        self.slots.insert(id, slot)?;
        if has_way {
            self.ways.add(to, id);
        }
        let _ = self.by_key.insert(key, id);
        self.perform(now, id, actions, None);
        Ok(id)
    }

    /// Does what a machine wants. `message` is what `Deliver` hands on.
    fn perform(&mut self, now: Now, id: TxId, actions: Vec<Action>, message: Option<Response>) {
        let Some((to, user)) = self.slots.get(&id).map(|s| (s.to, s.user)) else { return };
        let mut message = message;
        for action in actions {
            match action {
                Action::Send(bytes) => self.transmits.push_back(Transmit { to, bytes }),
                Action::Set(timer, after) => self.timers.set(Owner::Tx(id), What::Tx(timer), now.at + after),
                Action::Stop(timer) => self.timers.cancel(Owner::Tx(id), What::Tx(timer)),
                Action::Deliver => {
                    if let Some(response) = message.take() {
                        self.deliver(now, id, user, response);
                    }
                }
                Action::TimedOut => self.no_response(now, id, user, 408),
                Action::TransportFailed => self.no_response(now, id, user, 503),
                Action::Done => self.forget(id),
            }
        }
    }

    fn forget(&mut self, id: TxId) {
        self.timers.cancel_owner(Owner::Tx(id), FIRST_WHAT);
        let Some(slot) = self.slots.remove(&id) else { return };
        self.ways.remove(slot.to, id);
        if self.by_key.get(&slot.key) == Some(&id) {
            self.by_key.remove(&slot.key);
        }
        match slot.user {
            User::Outside(tx) => {
                self.outside.remove(&tx);
            }
            User::Invite(_) => {
                if let Some(merge) = slot.request.as_ref().and_then(|r| merge_key(&r.headers)) {
                    if self.pending.get(&merge) == Some(&id) {
                        self.pending.remove(&merge);
                    }
                }
            }
            User::Reinvite(_)
            | User::InDialog(_)
            | User::Minor(_)
            | User::Refer(_)
            | User::Refresh(_)
            | User::Out(_)
            | User::Notify(_)
            | User::Nobody => {}
        }
    }

    fn transaction_timer(&mut self, now: Now, id: TxId, timer: Timer) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let actions = match &mut slot.machine {
            Machine::InviteClient(m) => m.on_timer(timer),
            Machine::InviteServer(m) => m.on_timer(timer),
            Machine::Client(m) => m.on_timer(timer),
            Machine::Server(m) => m.on_timer(timer),
        };
        self.perform(now, id, actions, None);
    }

    fn drop_it(&mut self, reason: Dropped) {
        self.events.push_back(Event::Dropped { reason });
    }

    fn print(request: &Request) -> Option<Bytes> {
        print_request(request).ok().map(Into::into)
    }
}

fn merge_key(headers: &Headers) -> Option<String> {
    let from = super::header::tag(headers.get("From")?).unwrap_or_default();
    Some(format!("{}|{from}|{}", headers.get("Call-ID")?, headers.get("CSeq")?))
}

/// Back-off after 491 (14.1): the side that owns the Call-ID waits longer.
fn glare_wait(rng: &mut Rng, owns_call_id: bool) -> Duration {
    let step = Duration::from_millis(10);
    if owns_call_id { step * (210 + rng.below(191) as u32) } else { step * rng.below(201) as u32 }
}
