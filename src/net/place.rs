//! Our addresses: which listener speaks to a peer, and what address of ours the peer sees.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{ListenAt, LocalAddress};
use crate::base::id::FlowKey;
use crate::base::network::Network;
use crate::sip::flow::Transport;

/// How long the system's answer about a route is believed.
const ROUTE_AGE: Duration = Duration::from_secs(30);
/// Routes remembered; past it all are asked anew.
const ROUTES: usize = 1024;

/// One listener's address.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) key: FlowKey,
    pub(super) transport: Transport,
    pub(super) bound: SocketAddr,
    external: Option<SocketAddr>,
    /// The mark of what is sent.
    pub(super) dscp: u8,
    /// Whom it is for; empty: who belongs to no other.
    networks: Vec<Network>,
}

#[derive(Debug)]
pub(super) struct Places {
    listening: Vec<Place>,
    /// Who is told no `external`.
    local: Vec<Network>,
    routes: Mutex<BTreeMap<IpAddr, (Instant, Option<IpAddr>)>>,
}

impl Places {
    pub(super) fn new(local: Vec<Network>) -> Self {
        Self { listening: Vec::new(), local, routes: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn add(&mut self, key: FlowKey, bound: SocketAddr, listen: &ListenAt) {
        let ListenAt { transport, external, networks, dscp, .. } = listen.clone();
        self.listening.push(Place { key, transport, bound, external, dscp, networks });
    }

    pub(super) fn by_key(&self, key: FlowKey) -> Option<&Place> {
        self.listening.iter().find(|place| place.key == key)
    }

    /// The listener for a peer to whom no flow exists: of its family, and when there are several the one that is
    /// for it, else the one whose address the system would send from.
    pub(super) fn towards(&self, transport: Transport, peer: SocketAddr) -> Option<&Place> {
        let family = || {
            self.listening.iter().filter(|p| p.transport == transport && p.bound.is_ipv4() == peer.is_ipv4())
        };
        if let Some(own) = family().find(|place| holds(&place.networks, peer)) {
            return Some(own);
        }
        let others = family().any(|place| place.networks.is_empty());
        let mut fit = family().filter(|place| place.networks.is_empty() || !others);
        let first = fit.next()?;
        let rest: Vec<&Place> = fit.collect();
        if rest.is_empty() {
            return Some(first);
        }
        let source = self.source(peer.ip());
        let all = || std::iter::once(first).chain(rest.iter().copied());
        all()
            .find(|p| Some(p.bound.ip()) == source)
            .or_else(|| all().find(|p| p.bound.ip().is_unspecified()))
            .or_else(|| all().find(|p| p.bound.ip().is_loopback() == peer.ip().to_canonical().is_loopback()))
            .or(Some(first))
    }

    /// The listener that this peer knows by this address.
    pub(super) fn listener(
        &self,
        transport: Transport,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<FlowKey> {
        let known = |p: &&Place| p.bound == local || self.advertised(p, peer) == local;
        self.listening.iter().filter(|p| p.transport == transport).find(known).map(|p| p.key)
    }

    /// What the peer should be told. On a wildcard listener the system says which address it sends from.
    pub(super) fn advertised(&self, place: &Place, peer: SocketAddr) -> SocketAddr {
        match place.external.filter(|_| !holds(&self.local, peer)) {
            Some(external) => external,
            None if !place.bound.ip().is_unspecified() => place.bound,
            None => self
                .source(peer.ip())
                .map_or(place.bound, |source| SocketAddr::new(source, place.bound.port())),
        }
    }

    pub(super) fn all(&self) -> Vec<LocalAddress> {
        self.listening.iter().map(|place| self.local_address(place)).collect()
    }

    fn local_address(&self, place: &Place) -> LocalAddress {
        // Documentation addresses (RFC 5737, RFC 3849) take the default route; nothing is sent.
        let (abroad, home) = if place.bound.is_ipv4() {
            (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            let abroad = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            (IpAddr::V6(abroad), IpAddr::V6(Ipv6Addr::LOCALHOST))
        };
        let mut advertised = self.advertised(place, SocketAddr::new(abroad, 9));
        if advertised.ip().is_unspecified() {
            advertised.set_ip(home);
        }
        LocalAddress { transport: place.transport, bound: place.bound, advertised }
    }

    fn source(&self, peer: IpAddr) -> Option<IpAddr> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, source)) = routes.get(&peer)
            && asked.elapsed() < ROUTE_AGE
        {
            return *source;
        }
        let source = ask(peer);
        if routes.len() >= ROUTES {
            routes.clear();
        }
        routes.insert(peer, (Instant::now(), source));
        source
    }
}

fn holds(networks: &[Network], peer: SocketAddr) -> bool {
    networks.iter().any(|network| network.contains(peer.ip().to_canonical()))
}

/// Asks the system for the source address towards `peer`: connecting a datagram socket sends nothing.
fn ask(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn listening(transport: Transport, external: Option<&str>) -> ListenAt {
        ListenAt { external: external.map(address), ..ListenAt::new(transport, address("0.0.0.0:0")) }
    }

    fn network(text: &str, prefix: u8) -> Vec<Network> {
        vec![Network { address: text.parse().expect("an address"), prefix }]
    }

    #[test]
    fn a_listener_may_be_for_some_networks_and_who_is_local_is_told_no_external() {
        let mut places = Places::new(network("192.168.0.0", 16));
        let lan = ListenAt { networks: network("192.168.0.0", 16), ..listening(Transport::Udp, None) };
        let wan = listening(Transport::Udp, Some("203.0.113.5:5060"));
        places.add(FlowKey(1), address("192.168.1.1:5060"), &lan);
        places.add(FlowKey(2), address("10.0.0.1:5060"), &wan);
        let told = |peer: &str| {
            let place = places.towards(Transport::Udp, address(peer)).expect("a listener");
            (place.key.0, places.advertised(place, address(peer)))
        };
        assert_eq!(told("192.168.7.7:5060"), (1, address("192.168.1.1:5060")));
        assert_eq!(told("198.51.100.1:5060"), (2, address("203.0.113.5:5060")));
        // One listener for both sides: a phone of the house reaches it where it is.
        let here = places.by_key(FlowKey(2)).expect("place");
        assert_eq!(places.advertised(here, address("192.168.7.7:9")), address("10.0.0.1:5060"));
        let known = |local: &str| places.listener(Transport::Udp, address(local), address("192.168.7.7:9"));
        assert_eq!(known("10.0.0.1:5060"), Some(FlowKey(2)));
    }

    #[test]
    fn the_listener_is_of_the_peers_family_and_on_the_way_to_it() {
        let mut places = Places::new(Vec::new());
        for (key, bound) in [(1, "192.0.2.200:5060"), (2, "127.0.0.1:5070"), (3, "[::1]:5060")] {
            places.add(FlowKey(key), address(bound), &listening(Transport::Udp, None));
        }
        let towards = |peer: &str| places.towards(Transport::Udp, address(peer)).map(|p| p.key.0);
        assert_eq!(towards("127.0.0.3:5060"), Some(2));
        assert_eq!(towards("[::1]:9"), Some(3));
        assert_eq!(places.towards(Transport::Tcp, address("127.0.0.1:1")).map(|p| p.key.0), None);
    }

    #[test]
    fn a_wildcard_tells_the_address_it_sends_from_and_external_comes_first() {
        let mut places = Places::new(Vec::new());
        places.add(FlowKey(1), address("0.0.0.0:5060"), &listening(Transport::Udp, None));
        let outside = listening(Transport::Tcp, Some("203.0.113.5:5062"));
        places.add(FlowKey(2), address("0.0.0.0:5060"), &outside);
        let told = |key| {
            let place = places.by_key(FlowKey(key)).expect("place");
            places.advertised(place, address("127.0.0.1:9"))
        };
        assert_eq!(told(1), address("127.0.0.1:5060"));
        assert_eq!(told(2), address("203.0.113.5:5062"));
        let known = |transport, local: &str| {
            places.listener(transport, address(local), address("127.0.0.1:9")).map(|key| key.0)
        };
        assert_eq!(known(Transport::Udp, "127.0.0.1:5060"), Some(1));
        assert_eq!(known(Transport::Tcp, "203.0.113.5:5062"), Some(2));
        assert_eq!(known(Transport::Udp, "127.0.0.1:5070"), None, "no listener any more");
        assert!(places.all().iter().all(|local| !local.advertised.ip().is_unspecified()));
    }
}
