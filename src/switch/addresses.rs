//! Which of our addresses goes where: the listener that a call goes out by, what is written in Via and Contact, where
//! audio is taken and what SDP says of it. Behind address translation that is `external`, but for those who are on our
//! side of it.

use std::net::{IpAddr, SocketAddr};

use super::policy::{Policy, network};
use crate::config::raw::{At, Listen, ListenTransport, Network};
use crate::sip::flow::Transport;

impl Policy {
    /// Whether the other side reaches our own addresses: it is told those, whatever `external` says.
    pub fn is_local(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || holds(&self.config.site.local_networks, peer)
    }

    /// Our address for requests to `peer`: of the listener of that transport and family that is for it.
    pub fn signalling(&self, transport: Transport, peer: IpAddr) -> Option<SocketAddr> {
        let kind = match transport {
            Transport::Udp => ListenTransport::Udp,
            Transport::Tcp => ListenTransport::Tcp,
            Transport::Tls => ListenTransport::Tls,
            Transport::Ws | Transport::Wss => return None,
        };
        let fits = |l: &&Listen| l.transport.value == kind && l.address.value.is_ipv4() == peer.is_ipv4();
        let all = || self.config.listen.iter().filter(fits);
        let own = all().find(|listen| holds(&listen.networks, peer));
        let listen =
            own.or_else(|| all().find(|listen| listen.networks.is_empty())).or_else(|| all().next())?;
        let external = listen.external.as_ref().filter(|_| !self.is_local(peer));
        Some(external.map_or(listen.address.value, |external| external.value))
    }

    /// The RTP address for a leg whose signalling runs over `local`, by whichever of its names.
    pub fn media_address(&self, local: IpAddr) -> IpAddr {
        let same = |a: &&At<IpAddr>| a.value.is_ipv4() == local.is_ipv4();
        self.config.media.addresses.iter().find(same).map_or_else(|| self.home(local), |a| a.value)
    }

    /// The address that the listener has here, when `local` is what it has outside.
    fn home(&self, local: IpAddr) -> IpAddr {
        let outside = |l: &&Listen| l.external.as_ref().is_some_and(|external| external.value.ip() == local);
        let here = self.config.listen.iter().find(outside).map(|listen| listen.address.value.ip());
        here.filter(|here| !here.is_unspecified()).unwrap_or(local)
    }

    /// The RTP address that SDP names to this peer (behind NAT it is another one).
    pub fn announced(&self, local: IpAddr, peer: IpAddr) -> IpAddr {
        let external = self.config.media.external.as_ref().map(|external| external.value);
        let applies = |external: &IpAddr| {
            external.is_ipv4() == local.is_ipv4() && !local.is_loopback() && !self.is_local(peer)
        };
        external.filter(applies).unwrap_or(local)
    }

    /// Every address that we listen on.
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        self.config.listen.iter().flat_map(names).collect()
    }

    /// Those of them that take connections over TCP.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.config.listen.iter().filter(|l| l.transport.value == ListenTransport::Tcp);
        tcp.flat_map(names).collect()
    }
}

fn names(listen: &Listen) -> impl Iterator<Item = SocketAddr> {
    [Some(listen.address.value), listen.external.as_ref().map(|external| external.value)]
        .into_iter()
        .flatten()
}

fn holds(networks: &[At<Network>], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|each| network(each.value).contains(peer))
}
