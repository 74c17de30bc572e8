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
        let rest = || all().filter(|listen| listen.networks.is_empty());
        let home = |l: &&Listen| l.address.value.ip().is_loopback() == peer.to_canonical().is_loopback();
        let listen = own.or_else(|| rest().find(home)).or_else(|| rest().next()).or_else(|| all().next())?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::callflow::example::{self, at};
    use crate::config::raw::Config;
    use crate::media::prompt_bank::PromptBank;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn networks(text: &str, prefix: u8) -> Vec<At<Network>> {
        vec![at(Network { address: ip(text), prefix })]
    }

    fn policy(change: impl FnOnce(&mut Config)) -> Policy {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let (prompts, _) = PromptBank::load(&dir, &["nl".to_owned()]);
        let mut config = example::config();
        config.helpline.languages.truncate(1);
        config.flows.retain(|f| f.name.value != "languages");
        change(&mut config);
        let Ok((policy, _)) = Policy::compile(config, Arc::new(prompts), 1, None) else {
            panic!("the policy")
        };
        policy
    }

    #[test]
    fn who_is_local_is_told_our_own_address_and_who_is_not_the_external_one() {
        let policy = policy(|config| {
            config.site.local_networks = networks("192.168.0.0", 16);
            config.media.external = Some(at(ip("203.0.113.5")));
            for listen in &mut config.listen {
                listen.external = Some(at("203.0.113.5:5062".parse().expect("an address")));
            }
        });
        for (peer, signalling, audio) in [
            ("198.51.100.1", "203.0.113.5:5062", "203.0.113.5"),
            ("192.168.1.20", "10.0.0.1:5060", "10.0.0.1"),
            ("127.0.0.1", "10.0.0.1:5060", "10.0.0.1"),
        ] {
            let told = policy.signalling(Transport::Udp, ip(peer)).map(|at| at.to_string());
            assert_eq!(told.as_deref(), Some(signalling), "{peer}");
            assert_eq!(policy.announced(ip("10.0.0.1"), ip(peer)), ip(audio), "{peer}");
        }
        assert_eq!(policy.media_address(ip("203.0.113.5")), ip("10.0.0.1"), "the port is open at home");
    }

    #[test]
    fn a_call_goes_out_by_the_listener_that_is_for_its_peer_and_has_its_audio_there() {
        let policy = policy(|config| {
            let mut second = config.listen[0].clone();
            second.address = at("10.20.0.2:5080".parse().expect("an address"));
            second.networks = networks("10.20.0.0", 24);
            config.listen.insert(0, second);
        });
        for (peer, from) in [("10.20.0.9", "10.20.0.2:5080"), ("10.0.1.1", "10.0.0.1:5060")] {
            let local = policy.signalling(Transport::Udp, ip(peer)).expect("a listener");
            assert_eq!(local.to_string(), from, "{peer}");
            assert_eq!(policy.media_address(local.ip()), local.ip());
        }
    }

    #[test]
    fn a_listener_of_this_machine_alone_is_named_to_nobody_elsewhere() {
        let policy = policy(|config| {
            let mut inside = config.listen[0].clone();
            inside.address = at("127.0.0.1:5060".parse().expect("an address"));
            config.listen.insert(0, inside);
        });
        for (peer, from) in [("127.0.0.1", "127.0.0.1:5060"), ("192.0.2.7", "10.0.0.1:5060")] {
            let local = policy.signalling(Transport::Udp, ip(peer)).map(|at| at.to_string());
            assert_eq!(local.as_deref(), Some(from), "{peer}");
        }
    }
}
