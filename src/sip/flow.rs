//! Where bytes came from and go to: RFC 5626's flow as a plain value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::base::id::{DomainKey, FlowKey};

/// Transport of a flow, as written in Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    /// Reliable transports need no retransmission (RFC 3261 17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// As written in Via and in `;transport=` (upper case in Via).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// As written in `;transport=` of our URIs: WebSocket is `ws` also over TLS (RFC 7118 5.2.3).
    pub fn as_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether we open connections by it: a browser can't be connected to (RFC 7118 6).
    pub fn is_opened(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// From Via or a URI parameter, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|t| t.as_str().eq_ignore_ascii_case(name))
    }

    /// 5060, or 5061 with TLS (RFC 3261 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// One flow: for datagrams the listener's key plus the peer, for streams the connection's key.
/// Not printable by accident: the peer's address may be a caller's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub key: FlowKey,
    pub transport: Transport,
    /// Our address on this flow.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Flow {
    /// Whom to hold to account: the other end's address, or the IPv6 /64 that a site has to itself.
    pub fn source(&self) -> IpAddr {
        match self.peer.ip().to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
            v4 @ IpAddr::V4(_) => v4,
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({} {})", self.transport.as_str(), self.key)
    }
}

/// Where a message is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Back over a flow that exists.
    Flow(Flow),
    /// To an address; a stream is opened (or an open one of ours reused) for reliable transports.
    Address {
        transport: Transport,
        peer: SocketAddr,
        /// Over TLS: whom the certificate must name (RFC 5922). `None`: the address itself.
        domain: Option<DomainKey>,
    },
}

impl Destination {
    /// To an address as such.
    pub fn address(transport: Transport, peer: SocketAddr) -> Self {
        Self::Address { transport, peer, domain: None }
    }

    pub fn transport(&self) -> Transport {
        match self {
            Self::Flow(flow) => flow.transport,
            Self::Address { transport, .. } => *transport,
        }
    }

    pub fn peer(&self) -> SocketAddr {
        match self {
            Self::Flow(flow) => flow.peer,
            Self::Address { peer, .. } => *peer,
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(flow) => flow.fmt(f),
            Self::Address { transport, .. } => write!(f, "Address({})", transport.as_str()),
        }
    }
}
