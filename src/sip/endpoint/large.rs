//! Requests that are too large for a datagram leave UDP (RFC 3261 18.1.1): they are tried over TCP to the same
//! place, and come back to UDP when TCP leads nowhere.
//!
//! Three things keep theirs. A flow (RFC 5626): the phone behind it opened that way and TCP would not reach it.
//! A next hop whose URI says `transport=udp`: whoever wrote it knows. And everything while we have no TCP
//! listener of that address: an answer to a connection that broke would find nobody (18.2.2).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{
    Destination, Endpoint, Host, Machine, Now, Owner, Request, TxId, Via, What, invite_client, non_invite,
};
use crate::base::bounded::BoundedMap;
use crate::sip::flow::Transport;
use crate::sip::header::{NameAddr, split_list};
use crate::sip::uri::Uri;

/// The largest request that goes by a datagram where nothing is known of the path (18.1.1).
const LARGEST: usize = 1300;
/// How long a peer has for a first word over TCP. A firewall that swallows the connection must not cost the
/// caller the whole time in which a leg has to be heard of.
const TRIED: Duration = Duration::from_secs(2);
/// How long a peer that had nothing to say over TCP is spared it, so that one call pays and not each.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Such peers. Past it the one that is remembered longest makes room.
const MOST: usize = 256;

/// What is known of TCP. See the head of the file.
pub(super) struct Large {
    listeners: Vec<SocketAddr>,
    silent: BoundedMap<SocketAddr, Instant>,
}

/// The way back: where a request goes as a datagram, and the Via that it then has.
pub(super) struct Datagram {
    to: Destination,
    via: String,
}

impl Large {
    pub(super) fn new() -> Self {
        Self { listeners: Vec::new(), silent: BoundedMap::new(MOST) }
    }

    /// Our TCP address beside this one of UDP; the same port when there is one.
    fn beside(&self, ip: IpAddr, port: u16) -> Option<SocketAddr> {
        let here = || self.listeners.iter().filter(|at| at.ip() == ip);
        here().find(|at| at.port() == port).or_else(|| here().next()).copied()
    }

    fn is_silent(&self, now: Now, peer: SocketAddr) -> bool {
        self.silent.get(&peer).is_some_and(|until| now.at < *until)
    }

    fn was_silent(&mut self, now: Now, peer: SocketAddr) {
        self.silent.remove(&peer);
        if self.silent.is_full() {
            if let Some(oldest) = self.silent.oldest().map(|(peer, _)| *peer) {
                self.silent.remove(&oldest);
            }
        }
        let _ = self.silent.insert(peer, now.at + REMEMBERED);
    }
}

impl Endpoint {
    /// The addresses at which connections over TCP find us, as peers are told them.
    pub fn listens_on_tcp(&mut self, listeners: Vec<SocketAddr>) {
        self.large.listeners = listeners;
    }

    /// Turns a request of this size to TCP if it must leave UDP. Gives the way back.
    pub(super) fn leave_udp(
        &self,
        now: Now,
        request: &mut Request,
        to: &mut Destination,
        size: usize,
    ) -> Option<Datagram> {
        let Destination::Address { transport: Transport::Udp, peer, .. } = *to else { return None };
        if size <= LARGEST || says_udp(request) || self.large.is_silent(now, peer) {
            return None;
        }
        let text = request.headers.get("Via")?.to_owned();
        let via = Via::parse(&text).ok()?;
        let Host::Address(ip) = via.host else { return None };
        let here = self.large.beside(ip, via.port.unwrap_or(Transport::Udp.default_port()))?;
        let mut other = Via::new(Transport::Tcp, via.host.clone(), Some(here.port()), via.branch()?);
        other.params.set("rport", None);
        request.headers.set("Via", other.to_string());
        let back = Datagram { to: *to, via: text };
        *to = Destination::address(Transport::Tcp, peer);
        Some(back)
    }

    /// A request that left UDP has its time to be heard of over TCP.
    pub(super) fn watch_stream(&mut self, now: Now, id: TxId) {
        self.timers.set(Owner::Tx(id), What::Datagram, now.at + TRIED);
    }

    /// TCP was refused, or brought no word in time: the same request goes as a datagram. It keeps its branch, so
    /// that a peer who did get it takes this for a repetition (17.2.3).
    pub(super) fn as_datagram(&mut self, now: Now, id: TxId) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let unanswered = match &slot.machine {
            Machine::InviteClient(machine) => machine.state() == invite_client::State::Calling,
            Machine::Client(machine) => machine.state() == non_invite::State::Trying,
            Machine::InviteServer(_) | Machine::Server(_) => false,
        };
        let (Some(back), true) = (slot.datagram.take(), unanswered) else { return false };
        let Some(request) = slot.request.as_deref_mut() else { return false };
        request.headers.set("Via", back.via);
        let Some(bytes) = Self::print(request) else { return false };
        let actions = match &mut slot.machine {
            Machine::InviteClient(machine) => {
                let (again, actions) = invite_client::InviteClient::start(bytes, false);
                *machine = again;
                actions
            }
            Machine::Client(machine) => {
                let (again, actions) = non_invite::Client::start(bytes, false);
                *machine = again;
                actions
            }
            Machine::InviteServer(_) | Machine::Server(_) => return false,
        };
        let old = std::mem::replace(&mut slot.to, back.to);
        self.ways.remove(old, id);
        self.ways.add(back.to, id);
        self.large.was_silent(now, back.to.peer());
        self.timers.cancel(Owner::Tx(id), What::Datagram);
        self.perform(now, id, actions, None);
        true
    }
}

/// Whether the URI of the next hop says UDP in so many words.
fn says_udp(request: &Request) -> bool {
    let route = request.headers.get("Route").and_then(|value| split_list(value).next());
    let hop = match route {
        Some(route) => NameAddr::parse(route).ok().map(|route| route.uri),
        None => Uri::parse(&request.uri).ok(),
    };
    hop.is_some_and(|uri| uri.transport() == Some(Transport::Udp))
}
