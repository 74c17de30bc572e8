//! Sockets and DNS: bytes in and out of the core, bounded everywhere.
//!
//! * `udp`: one socket a listener, datagrams in and out.
//! * `stream`: connections, their table, their bounded output; `link` is one connection's state, `connection` its
//!   life, `carrier` TCP or TLS below it.
//! * `tls`: certificates, and whom we trust; `expiry`: when they run out; `websocket`: SIP in the frames of a browser.
//! * `inlet`: the queues to the core; a flood from strangers never stands before a carrier's call.
//! * `stun`: keeps flows of datagrams alive.
//! * `place`: which of our addresses a peer sees, and which listener speaks to it.
//! * `report`: drops and failures on their way to the core, counted together when the core is behind.
//! * `dns`: answers `sip::target`'s questions.
//!
//! What happens at each limit is written beside the number, in [`NetConfig`] and [`Timing`].

mod carrier;
mod connection;
pub mod dns;
mod dns_query;
mod expiry;
mod inlet;
mod link;
mod place;
mod report;
mod stream;
mod stun;
#[cfg(test)]
mod tests;
pub mod tls;
#[cfg(test)]
mod tls_tests;
mod udp;
mod websocket;
pub mod websocket_fuzz;
#[cfg(test)]
mod websocket_tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::base::id::{DomainKey, FlowKey};
use crate::base::network::Network;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::telemetry::notice;
use inlet::Entrance;
pub use inlet::Inlet;
use place::Places;
use report::Reporter;
use stream::{Listening, Streams};
use tls::Security;

/// One `[[listen]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAt {
    pub transport: Transport,
    /// Port 0 takes a free one (tests).
    pub address: SocketAddr,
    /// What peers are told instead of `address` (behind NAT).
    pub external: Option<SocketAddr>,
    /// Whom we call from here when there are several; empty: who belongs to no other.
    pub networks: Vec<Network>,
    /// The mark of what is sent from here, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

impl ListenAt {
    /// For everybody, and not marked.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, external: None, networks: Vec::new(), dscp: 0 }
    }
}

/// Marks what the socket sends, in the upper six bits. A network that refuses the mark still carries the call.
fn mark(socket: &socket2::Socket, address: SocketAddr, dscp: u8) {
    let class = u32::from(dscp) << 2;
    let _marked = if address.is_ipv6() { socket.set_tclass_v6(class) } else { socket.set_tos_v4(class) };
}

/// What the sockets may do.
#[derive(Clone)]
pub struct NetConfig {
    pub listen: Vec<ListenAt>,
    /// Certificates and names, which [`Net::secure`] changes.
    pub security: Security,
    /// Bytes of one message. A longer datagram is dropped, a stream with a longer message closed.
    pub message_size: usize,
    /// Hosts of which we expect calls, such as the carrier: they have a queue and connections of their own.
    pub named: Vec<Network>,
    /// Who is on our side of address translation and is told no `external`.
    pub local: Vec<Network>,
    /// Connections in all. Past it the oldest that never sent a message goes, else the one that is idle longest
    /// and whose peer has proven nothing, else the new one is refused.
    pub connections: usize,
    /// Connections that one address (IPv6: one /64) may open. Past it a new one is refused.
    pub connections_per_address: usize,
    /// Inputs that wait for the core, in each of the queues. Past it datagrams are dropped and connections are not read.
    pub inputs: usize,
    /// Bytes that wait for one connection's reader. Past it the connection is closed.
    pub output: usize,
    /// Bytes that wait for all readers together. Past it the connection with most is closed.
    pub output_total: usize,
    pub timing: Timing,
}

impl NetConfig {
    /// The configured limits with the house's own for the rest.
    pub fn new(listen: Vec<ListenAt>, message_size: usize, connections: usize, per_address: usize) -> Self {
        Self {
            listen,
            security: Security::default(),
            named: Vec::new(),
            local: Vec::new(),
            message_size,
            connections,
            connections_per_address: per_address,
            inputs: 4096,
            output: 512 * 1024,
            output_total: 64 * 1024 * 1024,
            timing: Timing::default(),
        }
    }
}

/// How long a peer on a connection may take. Past each the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From a message's first byte to its last.
    pub message: Duration,
    /// From the connection's begin to the end of its first message; keep-alives don't count.
    pub first: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// The same for a peer that has proven nothing yet.
    pub unproven: Duration,
    /// To open a connection.
    pub connect: Duration,
    /// To agree on TLS and, to us, on a WebSocket.
    pub handshake: Duration,
    /// Between our pings over a WebSocket whose peer is known; without a byte from it until the next it is gone.
    pub ping: Duration,
    /// To take what is written, at most 64 KiB at a time.
    pub write: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let s = Duration::from_secs;
        // `idle` is longer than the hour for which most phones register.
        Self {
            message: s(10),
            first: s(30),
            idle: s(2 * 3600),
            unproven: s(120),
            connect: s(5),
            handshake: s(10),
            ping: s(30),
            write: s(10),
        }
    }
}

/// What comes from the network.
pub enum NetInput {
    /// One datagram, or one message cut from a stream.
    Message { flow: Flow, bytes: Vec<u8> },
    /// Who has opened this connection has shown a certificate of this name.
    Named { flow: FlowKey, domain: DomainKey },
    /// A connection that has brought a message is gone.
    Closed { flow: FlowKey },
    /// Dropped without an answer, `count` times since the last report of this reason.
    Dropped { reason: notice::Drop, count: u64 },
    /// A message to `to` could not be sent, or its connection could not be opened.
    Failed { to: Destination },
}

/// Says what kind it is: a message may hold anybody's words.
impl fmt::Debug for NetInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { flow, bytes } => write!(f, "Message({flow:?} {} bytes)", bytes.len()),
            Self::Named { flow, domain } => write!(f, "Named({flow} {domain})"),
            Self::Closed { flow } => write!(f, "Closed({flow})"),
            Self::Dropped { reason, count } => write!(f, "Dropped({reason:?} {count})"),
            Self::Failed { to } => write!(f, "Failed({to:?})"),
        }
    }
}

/// An address on which we listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    pub transport: Transport,
    pub bound: SocketAddr,
    /// What to write in Via and Contact: `external`, or a real address for a wildcard.
    pub advertised: SocketAddr,
}

/// The sockets. Dropping it closes them all.
pub struct Net {
    places: Arc<Places>,
    sockets: Vec<Arc<udp::Socket>>,
    streams: Arc<Streams>,
    reporter: Arc<Reporter>,
    tasks: Vec<AbortHandle>,
    entrance: Entrance,
}

/// Binds every listener and begins to receive. Must be called within a tokio runtime. An error names
/// the address and what to do about it.
pub fn start(config: NetConfig) -> io::Result<(Net, Inlet)> {
    let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    let (inputs, receiver) = inlet::inlet(config.inputs, config.named.clone());
    let reporter = Arc::new(Reporter::new());
    let keys = Arc::new(Keys::default());
    let (mut datagrams, mut listeners, mut places) =
        (Vec::new(), Vec::new(), Places::new(config.local.clone()));
    for (number, listen) in config.listen.iter().enumerate() {
        let key = keys.next();
        let bound = match listen.transport {
            Transport::Udp => {
                let socket = udp::bind(listen)?;
                let bound = socket.local_addr()?;
                datagrams.push((key, socket));
                bound
            }
            transport => {
                let listener = stream::bind(listen)?;
                let bound = listener.local_addr()?;
                listeners.push((Listening { key, transport, number }, listener));
                bound
            }
        };
        places.add(key, bound, listen);
    }
    let places = Arc::new(places);
    let streams =
        Arc::new(Streams::new(&config, inputs.clone(), reporter.clone(), places.clone(), keys, runtime));
    let mut tasks = vec![tokio::spawn(reporter.clone().run(inputs.clone())).abort_handle()];
    let mut sockets = Vec::new();
    for (key, socket) in datagrams {
        let socket = Arc::new(udp::Socket::new(key, socket, places.clone(), reporter.clone()));
        tasks.push(tokio::spawn(socket.clone().receive(inputs.clone(), config.message_size)).abort_handle());
        sockets.push(socket);
    }
    for (at, listener) in listeners {
        tasks.push(tokio::spawn(streams.clone().accept(at, listener)).abort_handle());
    }
    Ok((Net { places, sockets, streams, reporter, tasks, entrance: inputs }, receiver))
}

impl Net {
    /// Sends one message; never blocks. What can't be sent comes back as [`NetInput::Failed`], or as
    /// [`NetInput::Closed`] of its flow.
    pub fn send(&self, to: &Destination, bytes: Vec<u8>) {
        if !is_host(to.peer()) {
            return self.reporter.failed(*to);
        }
        match to.transport() {
            Transport::Udp => self.send_datagram(to, &bytes),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => self.streams.send(to, bytes),
        }
    }

    /// Every address on which we listen, in the order of the configuration.
    pub fn local_addresses(&self) -> Vec<LocalAddress> {
        self.places.all()
    }

    /// What to write in Via and Contact of a message to `peer`.
    pub fn address_towards(&self, transport: Transport, peer: SocketAddr) -> Option<SocketAddr> {
        self.places.towards(transport, peer).map(|place| self.places.advertised(place, peer))
    }

    /// The flow of datagrams between a listener of ours, by the address that peers are told or that it is bound to, and
    /// a peer. `None`: there is no such listener.
    pub fn flow(&self, local: SocketAddr, peer: SocketAddr) -> Option<Flow> {
        let transport = Transport::Udp;
        let key = self.places.listener(transport, local, peer)?;
        Some(Flow { key, transport, local, peer })
    }

    /// A new configuration names other hosts. Connections that are open stay what they are.
    pub fn name(&self, networks: Vec<Network>) {
        self.entrance.name(networks);
    }

    /// A new configuration, or the same with other certificates. Connections that are open go on with theirs.
    pub fn secure(&self, security: Security) {
        self.streams.secure(security);
    }

    /// The peer of this connection has proven who it is: its connection is kept while others make room.
    pub fn keep(&self, flow: FlowKey) {
        self.streams.keep(flow);
    }

    /// Open connections, those of ours included.
    pub fn connections(&self) -> usize {
        self.streams.count()
    }

    /// Waits until all that was sent has been handed to the system: before the end of the process.
    pub async fn flushed(&self) {
        self.streams.flushed().await;
    }

    fn send_datagram(&self, to: &Destination, bytes: &[u8]) {
        let key = match to {
            Destination::Flow(flow) => Some(flow.key),
            Destination::Address { transport, peer, .. } => {
                self.places.towards(*transport, *peer).map(|place| place.key)
            }
        };
        match self.sockets.iter().find(|socket| Some(socket.key) == key) {
            Some(socket) => socket.send(to, bytes),
            None => self.reporter.failed(*to),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.streams.shut_down();
    }
}

/// Keys of listeners and connections, never reused.
#[derive(Debug, Default)]
struct Keys(AtomicU64);

impl Keys {
    fn next(&self) -> FlowKey {
        FlowKey(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Whether the address can belong to one host; we send to no other.
fn is_host(peer: SocketAddr) -> bool {
    let all = match peer.ip() {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    peer.port() != 0 && !all && !peer.ip().is_unspecified() && !peer.ip().is_multicast()
}

/// An error of binding that says where and what to do.
pub fn bind_error(what: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program holds this port: stop it or configure another port",
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address: configure one that it has, or 0.0.0.0 or [::]"
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted: configure a port from 1024 up, or give the process CAP_NET_BIND_SERVICE"
        }
        _ => "check the address in the configuration",
    };
    io::Error::new(error.kind(), format!("cannot listen on {what} {address} ({error}): {advice}"))
}

/// What counts as one address: a site can have a whole IPv6 /64 to itself.
fn block(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}
