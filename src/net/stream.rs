//! TCP and all that lies over it: the table of connections, and how each comes and goes. `connection` is its life
//! between.
//!
//! A connection is found by its flow, or by the remote address that it really has. What a peer claims
//! in Via or Contact never leads to a connection (RFC 5923's alias is not done).
//! Lock order: the table, then one link's output. Neither is held across an await.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::carrier::Carrier;
use super::inlet::Entrance;
use super::link::{Backlog, End, Link, Way};
use super::place::{Place, Places};
use super::report::Reporter;
use super::tls::Security;
use super::{Keys, ListenAt, NetConfig, NetInput, Timing, bind_error, block, mark, websocket};
use crate::base::id::FlowKey;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::telemetry::notice;

/// Connections that the system holds for us until they are accepted.
const ACCEPT_BACKLOG: i32 = 1024;
/// Memory of the system a connection and direction, so that a peer that never reads is felt early.
const SYSTEM_BUFFER: usize = 256 * 1024;
/// Rest when the system can't give us a connection (no file descriptors left).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Binds one family only, as for datagrams.
pub(super) fn bind(at: &ListenAt) -> io::Result<TcpListener> {
    let address = at.address;
    let bound = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the last run's connections to be forgotten.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit the mark and these; the system's own sizes would do too.
        mark(&socket, address, at.dscp);
        let _ = socket.set_send_buffer_size(SYSTEM_BUFFER);
        let _ = socket.set_recv_buffer_size(SYSTEM_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| bind_error(&at.transport.as_str().to_ascii_lowercase(), address, &error))
}

/// A socket to connect from, at the address and with the mark of this listener.
fn caller(place: Option<&Place>, peer: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let _ = socket.set_send_buffer_size(SYSTEM_BUFFER as u32);
    if let Some(place) = place {
        mark(&SockRef::from(&socket), peer, place.dscp);
        if !place.bound.ip().is_unspecified() {
            socket.bind(SocketAddr::new(place.bound.ip(), 0))?;
        }
    }
    Ok(socket)
}

/// A listener: its key, and its number in the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) key: FlowKey,
    pub(super) transport: Transport,
    pub(super) number: usize,
}

pub(super) struct Streams {
    table: Mutex<Table>,
    backlog: Arc<Backlog>,
    security: RwLock<Arc<Security>>,
    pub(super) limits: Limits,
    pub(super) inputs: Entrance,
    reporter: Arc<Reporter>,
    places: Arc<Places>,
    keys: Arc<Keys>,
    runtime: Handle,
}

pub(super) struct Limits {
    pub(super) message_size: usize,
    connections: usize,
    connections_per_address: usize,
    output: usize,
    output_total: usize,
    pub(super) timing: Timing,
}

#[derive(Default)]
struct Table {
    /// In order of age.
    links: BTreeMap<FlowKey, Arc<Link>>,
    /// By the remote address that the connection really has, and who is there; the newest when there are several.
    by_way: BTreeMap<Way, FlowKey>,
    /// Accepted connections an address block.
    accepted: BTreeMap<IpAddr, usize>,
    closed: bool,
}

impl Streams {
    pub(super) fn new(
        config: &NetConfig,
        inputs: Entrance,
        reporter: Arc<Reporter>,
        places: Arc<Places>,
        keys: Arc<Keys>,
        runtime: Handle,
    ) -> Self {
        let limits = Limits {
            message_size: config.message_size,
            connections: config.connections,
            connections_per_address: config.connections_per_address,
            output: config.output,
            output_total: config.output_total,
            timing: config.timing,
        };
        let (table, backlog) = (Mutex::default(), Arc::default());
        let security = RwLock::new(Arc::new(config.security.clone()));
        Self { table, backlog, security, limits, inputs, reporter, places, keys, runtime }
    }

    /// Accepts connections for as long as the listener lives.
    pub(super) async fn accept(self: Arc<Self>, at: Listening, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(at, stream, peer),
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
    }

    /// Queues a message on the flow's connection, or on one to the address, which is opened if need be.
    pub(super) fn send(self: &Arc<Self>, to: &Destination, bytes: Vec<u8>) {
        let link = match to {
            Destination::Flow(flow) => self.table().links.get(&flow.key).cloned(),
            Destination::Address { transport, peer, domain } => self.link_to((*transport, *peer, *domain)),
        };
        let taken = link.is_some_and(|link| {
            let bytes = if link.transport.is_websocket() { websocket::framed(bytes) } else { bytes };
            !link.is_stopped() && self.push(&link, bytes)
        });
        if !taken {
            self.reporter.failed(*to);
        }
    }

    /// Takes other certificates and names, for connections from now on.
    pub(super) fn secure(&self, security: Security) {
        *self.security.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(security);
    }

    pub(super) fn security(&self) -> Arc<Security> {
        self.security.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self) -> usize {
        self.table().links.len()
    }

    pub(super) async fn flushed(&self) {
        self.backlog.emptied().await;
    }

    /// Keeps this connection when room is made.
    pub(super) fn keep(&self, flow: FlowKey) {
        if let Some(link) = self.table().links.get(&flow) {
            link.proves();
        }
    }

    /// Ends every connection.
    pub(super) fn shut_down(&self) {
        let mut table = self.table();
        table.closed = true;
        table.links.values().for_each(|link| link.stop(End::ShutDown));
    }

    fn admit(self: &Arc<Self>, at: Listening, stream: TcpStream, peer: SocketAddr) {
        if matches!(at.transport, Transport::Tls | Transport::Wss) && !self.inputs.may_shake_hands(peer.ip())
        {
            self.reporter.dropped(notice::Drop::Flood);
            return reset(&stream);
        }
        let mut table = self.table();
        let here = table.accepted.get(&block(peer.ip())).copied().unwrap_or_default();
        if here >= self.limits.connections_per_address || !self.has_room(&table) {
            drop(table);
            self.reporter.dropped(notice::Drop::TooManyConnections);
            return reset(&stream);
        }
        let link = self.enter(&mut table, (at.transport, peer, None), false);
        drop(table);
        let local = self.places.by_key(at.key).map(|place| self.places.advertised(place, peer));
        let Some(local) = local.or_else(|| stream.local_addr().ok()) else {
            return self.leave(&link);
        };
        let flow = Flow { key: link.key, transport: at.transport, local, peer };
        let streams = self.clone();
        self.runtime.spawn(async move {
            let opened = tokio::select! {
                opened = streams.receive(at, stream) => opened,
                end = link.stopped() => Err(end),
            };
            streams.live(&link, flow, opened).await;
        });
    }

    /// An open connection to exactly this address, or a new one. `None`: no room, or shut down.
    fn link_to(self: &Arc<Self>, way: Way) -> Option<Arc<Link>> {
        let (transport, peer, domain) = way;
        let mut table = self.table();
        let known = table.by_way.get(&way).and_then(|key| table.links.get(key));
        if let Some(link) = known.filter(|link| !link.is_stopped()) {
            return Some(link.clone());
        }
        if !transport.is_opened() || !self.has_room(&table) {
            return None;
        }
        let link = self.enter(&mut table, way, true);
        drop(table);
        let (streams, opened) = (self.clone(), link.clone());
        self.runtime.spawn(async move {
            let connected = tokio::select! {
                connected = timeout(streams.limits.timing.connect, streams.connect(transport, peer)) => connected,
                end = opened.stopped() => return streams.finish(&opened, end, None).await,
            };
            let Ok(Ok((stream, local))) = connected else {
                return streams.finish(&opened, End::NotOpened, None).await;
            };
            let carrier = tokio::select! {
                carrier = streams.call(transport, stream, peer, domain) => carrier,
                end = opened.stopped() => Err(end),
            };
            let flow = Flow { key: opened.key, transport, local, peer };
            streams.live(&opened, flow, carrier).await;
        });
        Some(link)
    }

    /// Room for one more: if the table is full, the oldest accepted connection that has never sent a message makes
    /// it, else the one that is idle longest; but none of ours and none whose peer is known.
    fn has_room(&self, table: &Table) -> bool {
        if table.closed || table.links.len() < self.limits.connections {
            return !table.closed;
        }
        let open = || table.links.values().filter(|link| !link.is_proven() && !link.is_stopped());
        let silent = open().find(|link| !link.has_spoken());
        let goes = silent.or_else(|| open().min_by_key(|link| link.touched()));
        if let Some(link) = goes {
            link.stop(End::Evicted);
        }
        goes.is_some()
    }

    fn enter(&self, table: &mut Table, way: Way, ours: bool) -> Arc<Link> {
        let peer = way.1;
        let link = Arc::new(Link::new(self.keys.next(), way, ours, self.limits.output, self.backlog.clone()));
        if self.inputs.is_named(peer.ip()) {
            link.name();
        }
        table.links.insert(link.key, link.clone());
        if let Some(way) = link.way() {
            table.by_way.insert(way, link.key);
        }
        if !ours {
            *table.accepted.entry(block(peer.ip())).or_default() += 1;
        }
        link
    }

    fn leave(&self, link: &Link) {
        let mut table = self.table();
        if table.links.remove(&link.key).is_none() {
            return;
        }
        if let Some(way) = link.way().filter(|way| table.by_way.get(way) == Some(&link.key)) {
            table.by_way.remove(&way);
        }
        if link.ours {
            return;
        }
        let block = block(link.peer.ip());
        let left = table.accepted.get(&block).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            table.accepted.remove(&block);
        } else {
            table.accepted.insert(block, left);
        }
    }

    /// Connects from the address on which we listen, so that the peer knows who calls.
    async fn connect(&self, transport: Transport, peer: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        let place = self.places.towards(transport, peer);
        let stream = caller(place, peer)?.connect(peer).await?;
        let local = match place {
            Some(place) => self.places.advertised(place, peer),
            None => stream.local_addr()?,
        };
        Ok((stream, local))
    }

    pub(super) fn push(&self, link: &Link, bytes: Vec<u8>) -> bool {
        let taken = link.push(bytes);
        if self.backlog.bytes() > self.limits.output_total {
            let table = self.table();
            let slowest = table.links.values().filter(|l| !l.is_stopped()).max_by_key(|l| l.waiting());
            if let Some(slowest) = slowest {
                slowest.stop(End::SlowReader);
            }
        }
        taken
    }

    /// The core hears of it only if it knows the flow. The entry stays until then, so that ends that
    /// wait for a busy core are bounded as connections are.
    pub(super) async fn finish(&self, link: &Link, end: End, carrier: Option<Carrier>) {
        link.stop(end);
        if let Some(reason) = end.drop_reason() {
            self.reporter.dropped(reason);
        }
        let unwritten = link.close();
        if let Some(carrier) = carrier {
            if end == End::SlowReader {
                reset(carrier.socket());
            } else {
                // Half a frame is no place for another.
                let whole = link.transport.is_websocket() && unwritten == 0;
                carrier.close(whole.then(|| websocket::farewell(end))).await;
            }
        }
        // What was asked over it is not answered any more; what is over already does not mind.
        if link.ours && end != End::ShutDown {
            let (transport, peer, domain) = (link.transport, link.peer, link.domain);
            self.reporter.failed(Destination::Address { transport, peer, domain });
        }
        if link.has_spoken() {
            let _ = self.inputs.stream(link.is_named(), NetInput::Closed { flow: link.key }).await;
        }
        self.leave(link);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closing then sends RST, and the system forgets at once what was not read.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::super::udp;
    use super::*;

    #[tokio::test]
    async fn rfc2474_what_a_listener_sends_answers_and_connects_bears_its_mark() {
        for (dscp, class) in [(24, 0x60), (40, 0xa0), (0, 0)] {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let address: SocketAddr = address.parse().expect("an address");
                let at = |transport| ListenAt { dscp, ..ListenAt::new(transport, address) };
                let read = |socket: &socket2::Socket| {
                    let read = if address.is_ipv6() { socket.tclass_v6() } else { socket.tos_v4() };
                    read.expect("it can be read")
                };
                let datagrams = udp::bind(&at(Transport::Udp)).expect("bound");
                assert_eq!(read(&SockRef::from(&datagrams)), class, "{address}");

                let listener = super::bind(&at(Transport::Tcp)).expect("bound");
                let bound = listener.local_addr().expect("an address");
                let mut places = Places::new(Vec::new());
                places.add(Keys::default().next(), bound, &at(Transport::Tcp));
                let ours = caller(places.towards(Transport::Tcp, bound), bound).expect("a socket");
                assert_eq!(read(&SockRef::from(&ours)), class, "{address}");
                let (theirs, accepted) = tokio::join!(ours.connect(bound), listener.accept());
                let (_theirs, (accepted, _)) = (theirs.expect("connected"), accepted.expect("accepted"));
                assert_eq!(read(&SockRef::from(&accepted)), class, "{address}");
            }
        }
    }
}
