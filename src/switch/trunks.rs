//! The carriers: we register with those that want it, ask each whether it is there (OPTIONS), and know by which of
//! them a call can go out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::leg::Place;
use super::places::Asker;
use super::policy::Policy;
use super::{Owner, Switch, What};
use crate::base::bounded::BoundedMap;
use crate::base::id::{DomainKey, FlowKey};
use crate::base::time::Now;
use crate::config::raw;
use crate::sip::endpoint::OutRequest;
use crate::sip::flow::{Destination, Transport};
use crate::sip::header_ext::retry_after;
use crate::sip::registration::{Account, Registration, Reply};
use crate::sip::uri::{Host, Uri};
use crate::sip::wire::message::{Headers, Method};
use crate::telemetry::notice::{Notice, TrunkWord};

/// For how long a registration is asked.
const EXPIRES: Duration = Duration::from_secs(600);
/// The longest pause between two attempts at a carrier that refuses or does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a carrier's place may be silent when there is another; else the transaction's whole 32 s.
const UNHEARD: Duration = Duration::from_secs(10);
/// Answers that say that nobody is there: none came, or the network refused.
const GONE: [u16; 2] = [408, 503];

/// All carriers, in the order of the configuration.
pub(super) struct Trunks {
    list: Vec<Trunk>,
    /// Connections whose peer has shown a certificate of a configured name. As many as there may be connections.
    named: BoundedMap<(FlowKey, DomainKey), ()>,
}

struct Trunk {
    config: raw::Trunk,
    /// Where its target is, once that is known; several with a host name.
    peers: Vec<SocketAddr>,
    /// Of them those that are still to be tried, the first of them now, with our addresses towards them.
    ways: VecDeque<(Destination, SocketAddr)>,
    registration: Option<Registration>,
    /// An OPTIONS that waits for its answer.
    probe: Option<u64>,
    /// How it was last; `None`: it was not asked yet.
    state: Option<TrunkWord>,
}

impl Trunks {
    pub(super) fn new(connections: usize) -> Self {
        Self { list: Vec::new(), named: BoundedMap::new(connections) }
    }

    pub(super) fn named(&mut self, flow: FlowKey, domain: DomainKey) {
        let _ = self.named.insert((flow, domain), ());
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, flow: FlowKey) {
        let gone: Vec<_> = self.named.keys().filter(|(key, _)| *key == flow).copied().collect();
        for key in gone {
            self.named.remove(&key);
        }
    }

    /// Whether the peer of this connection is a carrier by its certificate.
    pub(super) fn is_certified(&self, flow: FlowKey, policy: &Policy) -> bool {
        self.certified(flow, policy).next().is_some()
    }

    /// The carriers that the peer of this connection is by its certificate.
    pub(super) fn certified<'a>(
        &'a self,
        flow: FlowKey,
        policy: &'a Policy,
    ) -> impl Iterator<Item = &'a raw::Trunk> {
        let is_named = move |trunk: &&raw::Trunk| {
            let domain = trunk.certificate_name.as_ref().and_then(|name| policy.domains().key(&name.value));
            domain.is_some_and(|domain| self.named.contains_key(&(flow, domain)))
        };
        policy.config.trunks.iter().filter(is_named)
    }

    /// Whether calls from this address are those of a carrier that we have registered with.
    pub(super) fn serves(&self, source: IpAddr) -> bool {
        self.serving(source).next().is_some()
    }

    /// The carriers that we have registered with and whose calls come from this address.
    pub(super) fn serving(&self, source: IpAddr) -> impl Iterator<Item = &raw::Trunk> {
        let held = self.list.iter().filter(|t| t.registration.as_ref().is_some_and(Registration::is_held));
        let is_there = move |peer: &SocketAddr| peer.ip().to_canonical() == source.to_canonical();
        held.filter(move |trunk| trunk.peers.iter().any(is_there)).map(|trunk| &trunk.config)
    }

    /// Whether the user part is the Contact that we gave to a carrier: the number called is then in To.
    pub(super) fn is_contact(&self, user: &str) -> bool {
        let mut registered = self.list.iter().filter(|trunk| trunk.registration.is_some());
        registered.any(|trunk| trunk.config.username.as_ref().is_some_and(|name| name.value == user))
    }

    /// Whether a call may go out that way; one that was never asked may.
    pub(super) fn is_up(&self, name: &str) -> bool {
        self.list
            .iter()
            .find(|t| t.config.name.value == name)
            .is_none_or(|t| matches!(t.state, None | Some(TrunkWord::Up)))
    }

    fn same(&self, policy: &Policy) -> bool {
        self.list.iter().map(|trunk| &trunk.config).eq(policy.config.trunks.iter())
    }
}

impl Trunk {
    fn is_watched(&self) -> bool {
        self.config.register.value || !self.config.options.value.is_zero()
    }
}

impl Switch {
    /// At the start, and when the configuration has changed: carriers that are as they were go on.
    pub(super) fn apply_trunks(&mut self, now: Now) {
        if self.trunks.same(&self.policy) {
            return;
        }
        self.leave_trunks(now);
        self.places.forget_trunks();
        let configs = self.policy.config.trunks.clone();
        let fresh = |config| Trunk {
            config,
            peers: Vec::new(),
            ways: VecDeque::new(),
            registration: None,
            probe: None,
            state: None,
        };
        self.trunks.list = configs.into_iter().map(fresh).collect();
        for index in 0..self.trunks.list.len() {
            self.timers.cancel_owner(Owner::Trunk(index as u32), super::FIRST_WHAT);
            self.find_trunk(now, index as u32);
        }
    }

    /// Takes every registration back: calls are to go elsewhere.
    pub(super) fn leave_trunks(&mut self, now: Now) {
        for trunk in &mut self.trunks.list {
            let Some(registration) = &mut trunk.registration else { continue };
            if let Some(request) = registration.leave() {
                registration.left(self.endpoint.request(now, request).ok());
            }
        }
        for index in 0..self.trunks.list.len() {
            self.timers.cancel_owner(Owner::Trunk(index as u32), super::FIRST_WHAT);
        }
    }

    /// Looks where the target is; by a name, anew at each attempt.
    fn find_trunk(&mut self, now: Now, index: u32) {
        let Some(trunk) = self.trunks.list.get(index as usize).filter(|trunk| trunk.is_watched()) else {
            return;
        };
        let target = trunk.config.target.as_ref().and_then(|target| Uri::parse(&target.value).ok());
        match target.and_then(|uri| self.place(&uri)) {
            Some(Place::Known(to)) => self.trunk_found(now, index, vec![to]),
            Some(Place::Named(search)) => self.search(now, Asker::Trunk(index), search),
            None => {}
        }
    }

    /// The name service has answered, or the address was known. Where it is registered it stays, as long as that
    /// is one of its places; those that failed a short while ago come last.
    pub(super) fn trunk_found(&mut self, now: Now, index: u32, places: Vec<Destination>) {
        let held = self.trunks.list.get(index as usize).and_then(|trunk| trunk.registration.as_ref());
        let held = held.filter(|registration| registration.is_held()).map(|r| r.account().to);
        let local = |to: Destination| Some((to, self.policy.signalling(to.transport(), to.peer().ip())?));
        let peers = places.iter().map(Destination::peer).collect();
        let mut ways: Vec<_> = places.into_iter().filter_map(local).collect();
        ways.sort_by_key(|(to, _)| (self.places.is_set_aside(now, to), Some(*to) != held));
        let Some(trunk) = self.trunks.list.get_mut(index as usize) else { return };
        if ways.is_empty() {
            trunk.ways.clear();
            return self.trunk_failed(now, index, TrunkWord::NotFound);
        }
        trunk.peers = peers;
        trunk.ways = ways.into();
        self.try_trunk(now, index);
    }

    /// The first of the places that are left.
    fn try_trunk(&mut self, now: Now, index: u32) {
        let Some(trunk) = self.trunks.list.get_mut(index as usize) else { return };
        let Some((to, local)) = trunk.ways.front().copied() else {
            return self.trunk_failed(now, index, TrunkWord::NoAnswer);
        };
        if trunk.ways.len() > 1 {
            self.timers.set(Owner::Trunk(index), What::Heard, now.at + UNHEARD);
        }
        if !trunk.config.register.value {
            return self.ask_trunk(now, index, to, local);
        }
        match (&mut trunk.registration, account(&trunk.config, to, local)) {
            (Some(registration), Some(account)) => registration.move_to(account),
            (None, Some(account)) => {
                let rng = &mut self.mint.rng;
                trunk.registration = Some(Registration::new(account, EXPIRES, LONGEST_PAUSE, rng));
            }
            (_, None) => {}
        }
        self.register_trunk(now, index);
    }

    fn trunk_answers(&mut self, index: u32) {
        let way = self.trunks.list.get(index as usize).and_then(|trunk| trunk.ways.front().copied());
        if let Some((to, _)) = way {
            self.place_answers(&to);
        }
        self.tell_trunk(index, TrunkWord::Up);
    }

    /// Nobody was reached at a place: the next one is tried at once (RFC 3263 4.3).
    fn trunk_gone(&mut self, now: Now, index: u32, retry_after: Option<Duration>) {
        let way = self.trunks.list.get_mut(index as usize).and_then(|trunk| trunk.ways.pop_front());
        if let Some((to, _)) = way {
            self.place_failed(now, &to, retry_after);
        }
        self.try_trunk(now, index);
    }

    /// A place is silent, and there is another. What it may say yet is nobody's answer any more.
    pub(super) fn trunk_unheard(&mut self, now: Now, index: u32) {
        if let Some(trunk) = self.trunks.list.get_mut(index as usize) {
            trunk.probe = None;
            self.trunk_gone(now, index, None);
        }
    }

    fn register_trunk(&mut self, now: Now, index: u32) {
        let trunk = self.trunks.list.get_mut(index as usize);
        let Some(registration) = trunk.and_then(|trunk| trunk.registration.as_mut()) else { return };
        let request = registration.ask();
        let sent = self.endpoint.request(now, request).ok();
        registration.asked(sent);
        if sent.is_none() {
            self.trunk_failed(now, index, TrunkWord::NoRoom);
        }
    }

    fn ask_trunk(&mut self, now: Now, index: u32, to: Destination, local: SocketAddr) {
        let Some(trunk) = self.trunks.list.get_mut(index as usize) else { return };
        let Some(host) = trunk.config.target.as_ref().map(|target| target.value.trim().to_owned()) else {
            return;
        };
        let us = format!("<{}>", Uri::sip("hulplijn", Host::Address(local.ip()), Some(local.port())));
        let request = OutRequest {
            to,
            local,
            method: Method::OPTIONS,
            request_uri: host.clone(),
            from: us.clone(),
            to_header: format!("<{host}>"),
            call_id: self.mint.rng.token(28),
            cseq: 1,
            extra: vec![("Contact", us), ("Accept", "application/sdp".to_owned())],
            credentials: None,
        };
        trunk.probe = self.endpoint.request(now, request).ok();
        if trunk.probe.is_none() {
            self.trunk_failed(now, index, TrunkWord::NoRoom);
        }
    }

    /// An answer to a request outside a dialog.
    pub(super) fn trunk_replied(&mut self, now: Now, number: u64, status: u16, headers: &Headers) {
        for index in 0..self.trunks.list.len() {
            let Some(trunk) = self.trunks.list.get_mut(index) else { return };
            let (index, options) = (index as u32, trunk.config.options.value);
            if trunk.probe == Some(number) {
                self.timers.cancel(Owner::Trunk(index), What::Heard);
                trunk.probe = None;
                if GONE.contains(&status) {
                    return self.trunk_gone(now, index, retry_after(headers));
                }
                self.trunk_answers(index);
                return self.timers.set(Owner::Trunk(index), What::Trunk, now.at + options);
            }
            let Some(registration) = &mut trunk.registration else { continue };
            let reply = registration.replied(number, status, headers);
            if reply != Reply::NotOurs {
                self.timers.cancel(Owner::Trunk(index), What::Heard);
            }
            match reply {
                Reply::NotOurs => {}
                Reply::Held { granted, .. } => {
                    self.trunk_answers(index);
                    // The OPTIONS between two registrations would only say the same later.
                    let next = Registration::refresh_in(granted);
                    let next = if options.is_zero() { next } else { next.min(options) };
                    return self.timers.set(Owner::Trunk(index), What::Trunk, now.at + next);
                }
                Reply::Again => return self.register_trunk(now, index),
                Reply::Refused { status } if GONE.contains(&status) => {
                    return self.trunk_gone(now, index, retry_after(headers));
                }
                Reply::Refused { status } => {
                    return self.trunk_failed(now, index, TrunkWord::Refused { status });
                }
                Reply::Left { .. } => return,
            }
        }
    }

    /// It does not answer, or refuses us: tried again after a pause that grows.
    fn trunk_failed(&mut self, now: Now, index: u32, why: TrunkWord) {
        let Some(trunk) = self.trunks.list.get_mut(index as usize) else { return };
        let pause = match &mut trunk.registration {
            Some(registration) => registration.lost(),
            None => trunk.config.options.value.max(Duration::from_secs(2)),
        };
        self.tell_trunk(index, why);
        self.timers.set(Owner::Trunk(index), What::Trunk, now.at + pause);
    }

    fn tell_trunk(&mut self, index: u32, state: TrunkWord) {
        let Some(trunk) = self.trunks.list.get_mut(index as usize) else { return };
        if trunk.state.replace(state) != Some(state) {
            self.notice(Notice::Trunk { trunk: index, state });
        }
    }

    /// Time to refresh, or to ask again.
    pub(super) fn trunk_due(&mut self, now: Now, index: u32) {
        if !self.state.is_draining() {
            self.find_trunk(now, index);
        }
    }
}

/// What we register with the carrier.
fn account(config: &raw::Trunk, to: Destination, local: SocketAddr) -> Option<Account> {
    let username = &config.username.as_ref()?.value;
    let registrar = config.target.as_ref()?.value.trim().to_owned();
    let aor = Uri::sip(username, Uri::parse(&registrar).ok()?.host()?.clone(), None);
    let transport = to.transport();
    let mut contact = Uri::sip(username, Host::Address(local.ip()), Some(local.port()));
    if transport != Transport::Udp {
        contact.params.set("transport", Some(transport.as_param()));
    }
    Some(Account {
        registrar,
        aor: aor.to_string(),
        contact: contact.to_string(),
        to,
        local,
        credentials: super::line_invite::credentials(config),
    })
}
