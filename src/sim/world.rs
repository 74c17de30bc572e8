//! The virtual world: one switch, phones, a network with weather, a simulated media plane, store and name
//! service, under one clock. One seed gives one history.
//!
//! [`World::step`] takes the earliest thing that is to happen; [`World::run`] goes on for a time and
//! fails at the first broken invariant of `check`. `story` has the words that stories use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::check::{Check, Limits};
use super::fault::Faults;
use super::link::{Link, Weather};
use super::media::Media;
use super::phone::{Deed, Phone};
use super::trace::Trace;
use crate::base::id::{FlowKey, QueryKey, Rng};
use crate::base::time::Now;
use crate::media::command::MediaCommand;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::sip::target::{Answer, Question};
use crate::store::request::{StoreReply, StoreRequest};
use crate::switch::io::{Command, Input, Output};
use crate::switch::policy::Policy;
use crate::switch::{Snapshot, Switch};
use crate::telemetry::notice::Notice;

/// Where the switch listens, as `tests/config/sim.toml` has it.
pub const SWITCH: &str = "10.0.0.1:5060";
const DATAGRAMS: FlowKey = FlowKey(1);
/// Time to the store and back, and to the name service.
const STORE: Duration = Duration::from_millis(10);
const NAMES: Duration = Duration::from_millis(40);
/// Steps that one `run` may take: past it the world goes round in a circle.
const MOST_STEPS: usize = 2_000_000;

/// What a world begins with.
pub struct Setup {
    pub policy: Arc<Policy>,
    pub start: DateTime<Utc>,
    pub seed: u64,
    pub weather: Weather,
    /// Keeps a line of text for every event.
    pub traced: bool,
    /// Keeps every message that the switch sends, and every command to media.
    pub wired: bool,
}

/// A message that the switch sent.
pub struct Wire {
    pub at: Duration,
    pub to: SocketAddr,
    /// The phone's name; empty when nobody is there.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Something on its way.
enum Arrival {
    ToSwitch { flow: Flow, bytes: Vec<u8> },
    ToPhone { phone: usize, bytes: Vec<u8> },
    Input(Input),
}

/// The world.
pub struct World {
    pub now: Now,
    pub began: Instant,
    pub switch: Switch,
    pub policy: Arc<Policy>,
    pub phones: Vec<(String, Phone)>,
    pub media: Media,
    pub check: Check,
    pub faults: Faults,
    /// What the name service knows; of all else it has no record.
    pub names: BTreeMap<Question, Answer>,
    pub notices: Vec<(Duration, Notice)>,
    pub stored: Vec<StoreRequest>,
    pub wire: Vec<Wire>,
    pub commands: Vec<(Duration, MediaCommand)>,
    pub trace: Trace,
    /// `Output::Drained` has come.
    pub drained: bool,
    /// Nobody is there, and the network says so (ICMP).
    pub unreachable: BTreeSet<SocketAddr>,
    pub(super) rng: Rng,
    wired: bool,
    /// One link to each phone and one back, so that one caller's packets do not steer another's.
    links: Vec<(Link, Link)>,
    weather: Weather,
    flows: BTreeMap<usize, FlowKey>,
    next_flow: u64,
    coming: BTreeMap<(Instant, u64), Arrival>,
    serial: u64,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        let mut rng = Rng::from_number(setup.seed);
        let now = Now { utc: setup.start, ..Now::read() };
        let switch = Switch::new(now, setup.policy.clone(), rng.fork());
        let mut check = Check::default();
        check.learn(&setup.policy.config);
        let mut world = Self {
            now,
            began: now.at,
            switch,
            policy: setup.policy,
            phones: Vec::new(),
            media: Media::new(),
            check,
            faults: Faults::new(rng.fork()),
            names: BTreeMap::new(),
            notices: Vec::new(),
            stored: Vec::new(),
            wire: Vec::new(),
            commands: Vec::new(),
            trace: Trace::new(setup.traced),
            drained: false,
            unreachable: BTreeSet::new(),
            rng,
            wired: setup.wired,
            links: Vec::new(),
            weather: setup.weather,
            flows: BTreeMap::new(),
            next_flow: 100,
            coming: BTreeMap::new(),
            serial: 0,
        };
        world.take_outputs();
        world
    }

    /// Puts a phone into the world and switches it on.
    pub fn add(&mut self, name: &str, phone: Phone) -> usize {
        let links = (Link::new(self.weather, self.rng.fork()), Link::new(self.weather, self.rng.fork()));
        self.links.push(links);
        self.phones.push((name.to_owned(), phone));
        let index = self.phones.len() - 1;
        self.with(index, Phone::start);
        index
    }

    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        for (there, back) in &mut self.links {
            there.set_weather(weather);
            back.set_weather(weather);
        }
    }

    /// Time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.now.at.saturating_duration_since(self.began)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.switch.snapshot(self.now)
    }

    // --- what is done to it ---------------------------------------------------------------------------

    /// A new configuration, at once.
    pub fn reload(&mut self, policy: Arc<Policy>) {
        self.check.learn(&policy.config);
        self.policy = policy.clone();
        self.give(Input::Policy(policy));
    }

    pub fn operate(&mut self, command: Command) {
        self.give(Input::Operator(command));
    }

    /// Does something with a phone and sends what comes of it.
    pub fn with(&mut self, index: usize, act: impl FnOnce(&mut Phone, Instant)) {
        let now = self.now.at;
        if let Some((_, phone)) = self.phones.get_mut(index) {
            act(phone, now);
        }
        self.collect(index);
    }

    /// Bytes to the switch from any address, past all phones.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        let flow = self.datagram_flow(from);
        self.arrive_after(Duration::from_millis(1), Arrival::ToSwitch { flow, bytes: bytes.to_vec() });
    }

    /// The phone's stream breaks; both sides notice.
    pub fn cut_stream(&mut self, index: usize) {
        if let Some(flow) = self.flows.remove(&index) {
            self.give(Input::FlowClosed { flow });
        }
    }

    // --- time -----------------------------------------------------------------------------------------

    /// Goes on for so long; stops at the first thing that is broken.
    pub fn try_run(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now.at + time;
        for _ in 0..MOST_STEPS {
            if let Some(broken) = self.check.broken.first() {
                return Err(broken.clone());
            }
            match self.next() {
                Some(at) if at <= end => self.step(at),
                _ => {
                    self.advance(end);
                    return Ok(());
                }
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// As [`Self::try_run`], for stories: what is broken ends the test.
    pub fn run(&mut self, time: Duration) {
        if let Err(broken) = self.try_run(time) {
            panic!("after {:.3} s: {broken}", self.elapsed().as_secs_f64());
        }
    }

    /// When the next thing happens.
    fn next(&self) -> Option<Instant> {
        let coming = self.coming.keys().next().map(|(at, _)| *at);
        let switch = self.switch.next_timeout().map(|(at, _)| at);
        let phones = self.phones.iter().filter_map(|(_, p)| p.next_timeout()).min();
        [coming, switch, phones, self.media.next_timeout()].into_iter().flatten().min()
    }

    /// All that happens at one moment, in a fixed order: what arrives, phones, media, the switch's timers.
    fn step(&mut self, at: Instant) {
        self.advance(at);
        while let Some(entry) = self.coming.first_entry() {
            if entry.key().0 > at {
                break;
            }
            let arrival = entry.remove();
            self.arrive(arrival);
        }
        for index in 0..self.phones.len() {
            if self.phones.get(index).and_then(|(_, p)| p.next_timeout()).is_some_and(|due| due <= at) {
                self.with(index, Phone::handle_timeout);
            }
        }
        let phones = &self.phones;
        let lives = |remote| phones.iter().any(|(_, p)| p.owns_audio(remote) && p.is_sending_audio());
        self.media.handle_timeout(at, lives);
        self.take_media_events();
        if self.switch.next_timeout().is_some_and(|(due, _)| due <= at) {
            self.give(Input::Timeout);
        }
    }

    fn advance(&mut self, at: Instant) {
        self.now = self.now.plus(at.saturating_duration_since(self.now.at));
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::ToSwitch { flow, bytes } => {
                self.trace.message(self.elapsed(), '>', &name_of(&self.phones, flow.peer, &bytes), &bytes);
                self.check.arrives(self.now.at, &bytes);
                self.give(Input::Sip { flow, bytes });
            }
            Arrival::ToPhone { phone, bytes } => self.with(phone, |phone, now| phone.handle(now, &bytes)),
            Arrival::Input(input) => self.give(input),
        }
    }

    /// One input to the switch, all that it wants done for it, and the look at whether all is well.
    pub fn give(&mut self, input: Input) {
        self.trace.input(self.elapsed(), &input);
        self.switch.handle(self.now, input);
        self.take_outputs();
        let limits = &self.policy.config.limits;
        let limits = Limits {
            calls: limits.calls.value as usize,
            registrations: limits.registrations.value as usize,
            subscriptions: limits.subscriptions.value as usize,
        };
        let snapshot = self.switch.snapshot(self.now);
        self.check.step(self.now.at, &snapshot, &mut self.media, &limits);
    }

    // --- what the switch wants ------------------------------------------------------------------------

    fn take_outputs(&mut self) {
        while let Some(output) = self.switch.poll() {
            self.check.leaves(self.now.at, &output, &self.media);
            match output {
                Output::Transmit { to, bytes } => self.transmit(to, bytes.to_vec()),
                Output::Resolve { query, question, .. } => self.resolve(query, &question),
                Output::Media(command) => self.command(command),
                Output::Store(request) => self.store(request),
                Output::Notice(notice) => {
                    self.trace.notice(self.elapsed(), &notice);
                    let at = self.elapsed();
                    self.notices.push((at, notice));
                }
                Output::Proven { .. } => {}
                Output::Drained => self.drained = true,
            }
        }
        self.take_media_events();
    }

    fn transmit(&mut self, to: Destination, bytes: Vec<u8>) {
        let peer = to.peer();
        let index = self.phones.iter().position(|(_, p)| p.address == peer && p.is_for(&bytes));
        let name = index.and_then(|i| self.phones.get(i)).map_or(String::new(), |(name, _)| name.clone());
        self.trace.message(self.elapsed(), '<', &name, &bytes);
        if self.wired {
            self.wire.push(Wire { at: self.elapsed(), to: peer, name, bytes: bytes.clone() });
        }
        if self.unreachable.contains(&peer) || self.is_closed(&to, index) {
            self.arrive_after(Duration::from_millis(2), Arrival::Input(Input::TransmitFailed { to }));
            return;
        }
        let Some(index) = index else { return };
        for delay in self.delays(index, to.transport(), true) {
            self.arrive_after(delay, Arrival::ToPhone { phone: index, bytes: bytes.clone() });
        }
    }

    /// A stream that is no longer there.
    fn is_closed(&self, to: &Destination, index: Option<usize>) -> bool {
        match to {
            Destination::Flow(flow) if flow.transport.is_reliable() => {
                index.is_none_or(|i| self.flows.get(&i) != Some(&flow.key))
            }
            Destination::Flow(_) | Destination::Address { .. } => false,
        }
    }

    fn delays(&mut self, index: usize, transport: Transport, there: bool) -> Vec<Duration> {
        let Some((out, back)) = self.links.get_mut(index) else { return Vec::new() };
        if transport.is_reliable() {
            return vec![Duration::from_millis(5)];
        }
        if there { out.datagram() } else { back.datagram() }
    }

    fn resolve(&mut self, query: QueryKey, question: &Question) {
        let failed = self.faults.dns();
        let (kind, name, none) = match question {
            Question::Addresses(name) => ("addresses", name, Answer::Addresses(Vec::new())),
            Question::Services(name) => ("services", name, Answer::Services(Vec::new())),
            Question::Pointers(name) => ("pointers", name, Answer::Pointers(Vec::new())),
        };
        let known = self.names.get(question).cloned().unwrap_or(none);
        let answer = if failed { Answer::Failed } else { known };
        self.trace.line(self.elapsed(), format!("dns {kind} {name}{}", if failed { " fails" } else { "" }));
        self.arrive_after(NAMES, Arrival::Input(Input::Resolved { query, answer }));
    }

    fn command(&mut self, command: MediaCommand) {
        let fails = self.faults.media(&command);
        if self.wired {
            self.commands.push((self.elapsed(), command.clone()));
        }
        self.trace.command(self.elapsed(), &command, fails);
        let speech = self.speech(&command);
        self.media.handle(self.now.at, command, speech, fails);
    }

    /// How long whoever is recorded speaks.
    fn speech(&self, command: &MediaCommand) -> Duration {
        let MediaCommand::Record { leg, .. } = command else { return Duration::ZERO };
        let remote = self.media.side(*leg).and_then(|side| side.stream.as_ref()).map(|stream| stream.remote);
        let phone = self.phones.iter().find(|(_, p)| remote.is_some_and(|r| p.owns_audio(r)));
        phone.map_or(Duration::ZERO, |(_, p)| p.script.speaks)
    }

    fn store(&mut self, request: StoreRequest) {
        let failed = self.faults.store();
        self.trace.line(self.elapsed(), format!("store{}", if failed { " fails" } else { "" }));
        if let StoreRequest::SaveMessage(row) = &request {
            let id = row.id.clone();
            let reply = if failed { StoreReply::Failed { id } } else { StoreReply::Saved { id } };
            self.arrive_after(STORE, Arrival::Input(Input::Stored(reply)));
        }
        self.stored.push(request);
    }

    fn take_media_events(&mut self) {
        while let Some((after, event)) = self.media.poll() {
            self.arrive_after(after, Arrival::Input(Input::Media(event)));
        }
    }

    // --- what phones want -----------------------------------------------------------------------------

    /// Sends what a phone has to send, and presses its keys.
    fn collect(&mut self, index: usize) {
        loop {
            let Some((_, phone)) = self.phones.get_mut(index) else { return };
            if let Some((peer, digit)) = phone.keys.pop_front() {
                self.media.key(self.now.at, peer, digit);
                continue;
            }
            if let Some((peer, speaks)) = phone.voices.pop_front() {
                self.media.speech(peer, speaks);
                continue;
            }
            let Some(bytes) = phone.poll() else { break };
            let flow = self.flow_of(index);
            for delay in self.delays(index, flow.transport, false) {
                self.arrive_after(delay, Arrival::ToSwitch { flow, bytes: bytes.clone() });
            }
        }
        self.take_media_events();
    }

    fn flow_of(&mut self, index: usize) -> Flow {
        let (transport, peer) = self
            .phones
            .get(index)
            .map_or((Transport::Udp, self.address()), |(_, p)| (p.transport, p.address));
        if transport == Transport::Udp {
            return self.datagram_flow(peer);
        }
        let next = &mut self.next_flow;
        let key = *self.flows.entry(index).or_insert_with(|| {
            *next += 1;
            FlowKey(*next)
        });
        Flow { key, transport, local: self.address(), peer }
    }

    fn datagram_flow(&self, peer: SocketAddr) -> Flow {
        Flow { key: DATAGRAMS, transport: Transport::Udp, local: self.address(), peer }
    }

    fn address(&self) -> SocketAddr {
        self.policy.own_addresses().first().copied().unwrap_or(SocketAddr::from(([10, 0, 0, 1], 5060)))
    }

    fn arrive_after(&mut self, delay: Duration, arrival: Arrival) {
        self.serial += 1;
        self.coming.insert((self.now.at + delay, self.serial), arrival);
    }

    // --- the end --------------------------------------------------------------------------------------

    /// Everybody hangs up in fair weather; then nothing may be left within ten minutes.
    pub fn try_finish(&mut self) -> Result<(), String> {
        self.faults.stop();
        self.set_weather(Weather::FAIR);
        self.unreachable.clear();
        for index in 0..self.phones.len() {
            self.with(index, Phone::hang_up_all);
        }
        for _ in 0..60 {
            self.try_run(Duration::from_secs(10))?;
            if self.left().is_empty() && self.coming.is_empty() {
                return Ok(());
            }
            // A phone that rang while others hung up may have answered.
            for index in 0..self.phones.len() {
                self.with(index, |phone, now| phone.act(now, Deed::HangUp));
            }
        }
        Err(format!("left at the end: {}", self.left().join(", ")))
    }

    pub fn left(&self) -> Vec<String> {
        let registered = self.phones.iter().filter(|(_, p)| p.script.registers.is_some()).count();
        let mut left = self.check.left(&self.snapshot(), &self.media, registered);
        let phones = self.phones.iter().filter(|(_, p)| p.calls_alive() > 0);
        left.extend(phones.map(|(name, _)| format!("{name} still thinks of a call")));
        left
    }

    pub fn finish(&mut self) {
        if let Err(left) = self.try_finish() {
            panic!("{left}");
        }
    }
}

/// Whose message it is.
fn name_of(phones: &[(String, Phone)], address: SocketAddr, bytes: &[u8]) -> String {
    let mut there = phones.iter().filter(|(_, p)| p.address == address);
    let one = there.clone().find(|(_, p)| p.is_for(bytes)).or_else(|| there.next());
    one.map_or_else(|| address.to_string(), |(name, _)| name.clone())
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trace.print();
        }
    }
}
