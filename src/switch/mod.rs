//! The core: one owner of calls, legs, lines and queues. No I/O, no clock, no await, no randomness of its
//! own. `io` is the whole contract; `call` has the phases of a caller's matter.
//!
//! Each input goes to one function of the file named for it; what the endpoint has to say about it is
//! drained in the same step and becomes an event of a call.

pub mod domains;
pub mod io;
pub mod leg;
pub mod policy;

mod addresses;
mod arriving;
mod bridge;
mod call;
mod conference;
mod consult;
mod early;
mod event_body;
mod events;
mod floor;
mod flowing;
mod hold_music;
mod keys;
mod legs;
mod line_invite;
mod message_taking;
mod offering;
mod penalty;
mod places;
mod recovery;
mod registering;
mod service;
mod snapshot;
#[cfg(test)]
mod tests;
mod transfer;
mod trunks;
mod watching;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::base::bounded::BoundedMap;
use crate::base::id::{CallKey, DialogKey, LegKey, LineKey, Rng, Serial, SubscriptionKey, TakeKey};
use crate::base::secret::Secret;
use crate::base::time::{Now, TimerQueue};
use crate::media::command::{MediaCommand, MediaEvent, Origin};
use crate::sdp::webrtc::OurWeb;
use crate::sip::endpoint::{Config as EndpointConfig, Dropped, Endpoint, Event};
use crate::telemetry::notice::{self, Notice};
use call::Call;
use events::Watchers;
use floor::Floor;
use io::{Command, Input, Output, Why};
use legs::Legs;
use message_taking::Take;
use places::Places;
use policy::Policy;
use registering::Gate;
use trunks::Trunks;

pub use snapshot::Snapshot;

/// Legs that one call may have at a time, on average; the bound of the table of legs.
const LEGS_PER_CALL: usize = 3;

/// What a timer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Switch,
    Call(CallKey),
    Leg(LegKey),
    Line(LineKey),
    /// A REGISTER or INVITE that is refused late.
    Late(u64),
    /// A carrier, by its place in the configuration.
    Trunk(u32),
    /// Who has subscribed.
    Watcher(SubscriptionKey),
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The callflow's own timeout.
    Flow,
    /// The longest wait in a queue.
    MaxWait,
    /// Another round of the lines that missed this caller.
    Round,
    /// The longest that a call may last.
    Length,
    /// The tone before two are joined has ended.
    Join,
    /// The tone of who left a room has ended.
    Room,
    /// A leg has rung long enough.
    Ring,
    /// A peer has given no sign of life to our INVITE, or a carrier none to a request.
    Heard,
    /// A telephone has not pressed 1.
    Confirm,
    /// A line's rest or wrap-up ends.
    Line,
    /// Bindings run out.
    Bindings,
    /// The calendar or the floor may have changed for those who wait.
    Refuse,
    /// A carrier is registered with, or asked, again.
    Trunk,
    /// A subscription may be told again.
    Notify,
    /// The end of a graceful stop.
    Drain,
}

const FIRST_WHAT: What = What::Flow;

/// Everything random and every new number.
struct Mint {
    rng: Rng,
    serial: Serial,
    /// SHA-256 of the certificate that the media plane shows to browsers.
    certificate: Option<[u8; 32]>,
}

impl Mint {
    fn origin(&mut self) -> Origin {
        Origin::random(&mut self.rng)
    }

    /// What one browser is told, should there be one.
    fn web(&mut self) -> Option<OurWeb> {
        let fingerprint = self.certificate?;
        Some(OurWeb { fingerprint, seed: Secret::random(&mut self.rng, 32) })
    }
}

/// The switch. See the head of the file.
pub struct Switch {
    endpoint: Endpoint,
    policy: Arc<Policy>,
    calls: BoundedMap<CallKey, Call>,
    legs: Legs,
    dialogs: BoundedMap<DialogKey, LegKey>,
    places: Places,
    trunks: Trunks,
    takes: BoundedMap<TakeKey, Take>,
    floor: Floor,
    gate: Gate,
    watchers: Watchers,
    timers: TimerQueue<Owner, What>,
    mint: Mint,
    state: recovery::State,
    outputs: VecDeque<Output>,
}

impl Switch {
    /// A switch with this configuration. `rng` is the only source of randomness.
    pub fn new(now: Now, policy: Arc<Policy>, mut rng: Rng) -> Self {
        let calls = policy.config.limits.calls.value as usize;
        let legs = calls * LEGS_PER_CALL;
        let subscriptions = policy.config.limits.subscriptions.value as usize;
        let config = EndpointConfig {
            agent: "hulplijn",
            bounds: policy.bounds(),
            max_transactions: policy.transactions(),
            max_dialogs: legs,
            max_subscriptions: subscriptions,
            session: policy.config.limits.session_expires.value,
        };
        let endpoint = Endpoint::new(config, rng.fork());
        let gate = Gate::new(&policy, rng.fork());
        let floor = Floor::new(now.at, &policy);
        let mut switch = Self {
            endpoint,
            calls: BoundedMap::new(calls),
            legs: Legs::new(legs),
            dialogs: BoundedMap::new(legs),
            places: Places::new(legs + policy.config.trunks.len()),
            trunks: Trunks::new(policy.config.limits.connections.value as usize),
            takes: BoundedMap::new(calls),
            floor,
            gate,
            watchers: Watchers::new(subscriptions),
            timers: TimerQueue::new(),
            mint: Mint { rng, serial: Serial::default(), certificate: None },
            state: recovery::State::new(now.at),
            outputs: VecDeque::new(),
            policy,
        };
        switch.endpoint.listens_on_tcp(switch.policy.tcp_addresses());
        switch.notice(Notice::Started { generation: switch.policy.generation });
        switch.tell_lines(now);
        switch.apply_trunks(now);
        switch.drain_endpoint(now);
        switch
    }

    /// Calls with browsers can be held: the media plane shows them a certificate with this SHA-256.
    pub fn show(&mut self, certificate: [u8; 32]) {
        self.mint.certificate = Some(certificate);
    }

    /// Takes one input. Never blocks, and never panics whatever the input: a fault in one call's code ends
    /// that call alone.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.guarded(now, |switch| switch.take(now, input));
        loop {
            self.guarded(now, |switch| switch.drain_endpoint(now));
            self.guarded(now, |switch| switch.look_around(now));
            if self.endpoint.is_drained() && self.floor.is_looked_over() {
                break;
            }
        }
        self.check_drained(now);
    }

    /// What has to happen next; call until `None` after every `handle`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with `Input::Timeout` at the latest, and what for.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        let sip = self.endpoint.next_timeout().map(|at| (at, Why::Sip));
        let own = self.timers.next().map(|(at, _, _)| (at, Why::Call));
        sip.into_iter().chain(own).min_by_key(|(at, _)| *at)
    }

    // --- inputs -------------------------------------------------------------------------------------

    fn take(&mut self, now: Now, input: Input) {
        match input {
            Input::Sip { flow, bytes } => {
                if let Some(arrival) = self.endpoint.handle_message(now, flow, &bytes) {
                    self.at_the_door(now, arrival);
                }
            }
            Input::FlowNamed { flow, domain } => self.trunks.named(flow, domain),
            Input::FlowClosed { flow } => {
                self.trunks.forget(flow);
                self.endpoint.handle_flow_closed(now, flow);
                self.bindings_closed(now, flow);
            }
            Input::TransmitFailed { to } => self.endpoint.handle_transmit_failed(now, to),
            Input::NetDropped { reason, count } => self.notice(Notice::Dropped { reason, count }),
            Input::Resolved { query, answer } => self.resolved(now, query, answer),
            Input::Media(event) => self.media_event(now, event),
            Input::Stored(reply) => self.stored(&reply),
            Input::Policy(policy) => self.apply_policy(now, policy),
            Input::Operator(command) => self.command(now, command),
            Input::Timeout => self.timeouts(now),
        }
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Drain => self.drain(now),
            Command::CutOff => self.cut_off(now),
            Command::ConfigRefused { mistakes } => self.notice(Notice::ConfigRefused { mistakes }),
            Command::FreeSpace { mebibytes } => self.state.free_mebibytes = Some(mebibytes),
            Command::Messages { new, done } => self.mailbox_counted(now, (new, done)),
        }
    }

    fn timeouts(&mut self, now: Now) {
        self.endpoint.handle_timeout(now);
        while let Some((owner, what)) = self.timers.pop(now.at) {
            match (owner, what) {
                (Owner::Call(call), What::Join) => self.join_now(now, call),
                (Owner::Call(call), What::Room) => self.room_settles(now, call),
                (Owner::Call(call), What::Length) => self.too_long_a_call(now, call),
                (Owner::Call(call), What::MaxWait) => self.waited_too_long(now, call),
                (Owner::Call(call), What::Round) => self.new_round(call),
                (Owner::Call(call), _) => self.flow_timeout(now, call),
                (Owner::Leg(leg), What::Confirm) => self.not_confirmed(now, leg),
                (Owner::Leg(leg), What::Heard) => self.unheard(now, leg),
                (Owner::Leg(leg), _) => self.rang_out(now, leg),
                (Owner::Line(line), _) => self.line_changed(now, line),
                (Owner::Late(number), _) => self.refuse_late(now, number),
                (Owner::Trunk(trunk), What::Heard) => self.trunk_unheard(now, trunk),
                (Owner::Trunk(trunk), _) => self.trunk_due(now, trunk),
                (Owner::Watcher(key), _) => self.tell_watcher(now, key),
                (Owner::Switch, What::Drain) => self.drain_over(now),
                (Owner::Switch, _) => self.bindings_due(now),
            }
        }
    }

    fn media_event(&mut self, now: Now, event: MediaEvent) {
        match event {
            MediaEvent::Opened { leg, local } => self.media_opened(now, leg, local),
            MediaEvent::OpenFailed { leg } => self.media_failed(now, leg),
            MediaEvent::Digit { leg, digit } => self.event_digit(now, leg, digit),
            MediaEvent::PlayEnded { leg, play } => self.play_ended(now, leg, play),
            MediaEvent::Recorded { take, length, end, voice, .. } => {
                self.recorded(now, take, length, end, voice);
            }
            MediaEvent::Silent { leg, .. } => self.leg_is_silent(now, leg),
            MediaEvent::Flowing { leg } => self.leg_flows(leg),
            MediaEvent::Speaking { leg } => self.speech(now, leg, true),
            MediaEvent::Quiet { leg } => self.speech(now, leg, false),
            MediaEvent::Insecure { leg, why } => self.web_failed(now, leg, why),
            MediaEvent::Broken { leg } => self.media_broken(now, leg),
            MediaEvent::Closed { stats, .. } => {
                self.notice(Notice::MediaStats {
                    received: stats.received,
                    lost: stats.lost,
                    late: stats.late,
                    foreign: stats.foreign,
                    malformed: stats.malformed,
                    flood: stats.flood,
                    forged: stats.forged,
                    replayed: stats.replayed,
                    security: leg::security(stats.security),
                });
                if let Some(mos) = stats.mos {
                    self.notice(Notice::Quality { mos });
                }
            }
        }
    }

    fn drain_endpoint(&mut self, now: Now) {
        while let Some(event) = self.endpoint.poll_event() {
            self.endpoint_event(now, event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.outputs.push_back(Output::Transmit { to: transmit.to, bytes: transmit.bytes });
        }
    }

    fn endpoint_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Cancelled { dialog } => self.cancelled(now, dialog),
            Event::Acked { dialog, sdp } => self.acked(now, dialog, sdp.as_deref()),
            Event::Progress { dialog, sdp, .. } => self.progress(dialog, sdp.as_deref()),
            Event::Answered { dialog, sdp } => self.answered(now, dialog, sdp.as_deref()),
            Event::Failed { dialog, status, retry_after } => self.failed(now, dialog, status, retry_after),
            Event::Offer { dialog, sdp } => self.offered(now, dialog, sdp.as_deref()),
            Event::OfferAnswered { dialog, sdp } => self.offer_answered(now, dialog, sdp.as_deref()),
            Event::OfferFailed { dialog, .. } => self.offer_failed(dialog),
            Event::RefreshDue { dialog } => self.offer_again(now, dialog),
            Event::Info { dialog, content_type, body } => self.info(now, dialog, &content_type, &body),
            Event::Refer { dialog, refer_to } => self.refer(now, dialog, &refer_to),
            // The switch asks nobody to transfer.
            Event::ReferAnswered { .. } | Event::ReferProgress { .. } => {}
            Event::Ended { dialog, .. } => self.dialog_ended(now, dialog),
            Event::Subscription { subscription, news } => self.subscription_news(now, subscription, news),
            Event::Replied { number, status, headers } => self.trunk_replied(now, number, status, &headers),
            Event::Refused { status } => self.notice(Notice::Refused { status }),
            Event::Dropped { reason } => self.notice(Notice::Dropped { reason: dropped(reason), count: 1 }),
        }
    }

    // --- helpers of every file ------------------------------------------------------------------------

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    fn leg_of(&self, dialog: DialogKey) -> Option<LegKey> {
        self.dialogs.get(&dialog).copied()
    }

    /// The call that code works for now, should it panic.
    fn working_for(&mut self, call: CallKey) {
        self.state.current = Some(call);
    }

    #[cfg(test)]
    fn hang_up_for_test(&mut self, now: Now, leg: LegKey) {
        if let Some(dialog) = self.legs.get(&leg).and_then(|l| l.dialog) {
            self.endpoint.hang_up(now, dialog, None);
            self.dialog_ended(now, dialog);
        }
        while self.poll().is_some() {}
    }

    /// Runs a step; a panic in it ends the call that it worked for, and nothing else.
    fn guarded(&mut self, now: Now, step: impl FnOnce(&mut Self)) {
        self.state.current = None;
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_ok() {
            return;
        }
        if let Some(call) = self.state.current.take() {
            self.notice(Notice::CallPanicked { call });
            if catch_unwind(AssertUnwindSafe(|| self.abandon(now, call))).is_err() {
                self.calls.remove(&call);
            }
        }
    }
}

fn dropped(reason: Dropped) -> notice::Drop {
    match reason {
        Dropped::Unreadable => notice::Drop::Unreadable,
        Dropped::StrayResponse => notice::Drop::StrayResponse,
        Dropped::StrayAck => notice::Drop::StrayAck,
        Dropped::Full => notice::Drop::Flood,
    }
}
