//! TCP: the table of connections, and the one task that each connection has.
//!
//! A connection is found by its flow, or by the remote address that it really has. What a peer claims
//! in Via or Contact never leads to a connection (RFC 5923's alias is not done).
//! Lock order: the table, then one link's output. Neither is held across an await.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::inlet::Entrance;
use super::link::{Backlog, End, Link};
use super::place::Places;
use super::report::Reporter;
use super::{Keys, NetConfig, NetInput, Timing, bind_error, block};
use crate::base::id::FlowKey;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::sip::wire::frame::{Frame, StreamFramer};
use crate::telemetry::notice;

/// Connections that the system holds for us until they are accepted.
const ACCEPT_BACKLOG: i32 = 1024;
/// Memory of the system a connection and direction, so that a peer that never reads is felt early.
const SYSTEM_BUFFER: usize = 256 * 1024;
/// Read at a time; the buffer is on the stack, so idle connections cost none.
const READ: usize = 16 * 1024;
/// Rest when the system can't give us a connection (no file descriptors left).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Binds one family only, as for datagrams.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the last run's connections to be forgotten.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit these; the system's own sizes would do too.
        let _ = socket.set_send_buffer_size(SYSTEM_BUFFER);
        let _ = socket.set_recv_buffer_size(SYSTEM_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| bind_error("tcp", address, &error))
}

pub(super) struct Streams {
    table: Mutex<Table>,
    backlog: Arc<Backlog>,
    limits: Limits,
    inputs: Entrance,
    reporter: Arc<Reporter>,
    places: Arc<Places>,
    keys: Arc<Keys>,
    runtime: Handle,
}

struct Limits {
    message_size: usize,
    connections: usize,
    connections_per_address: usize,
    output: usize,
    output_total: usize,
    timing: Timing,
}

#[derive(Default)]
struct Table {
    /// In order of age.
    links: BTreeMap<FlowKey, Arc<Link>>,
    /// By the remote address that the connection really has; the newest when there are several.
    by_peer: BTreeMap<SocketAddr, FlowKey>,
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
        Self { table, backlog, limits, inputs, reporter, places, keys, runtime }
    }

    /// Accepts connections for as long as the listener lives.
    pub(super) async fn accept(self: Arc<Self>, listener_key: FlowKey, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(listener_key, stream, peer),
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
    }

    /// Queues a message on the flow's connection, or on one to the address, which is opened if need be.
    pub(super) fn send(self: &Arc<Self>, to: &Destination, bytes: Vec<u8>) {
        let link = match to {
            Destination::Flow(flow) => self.table().links.get(&flow.key).cloned(),
            Destination::Address { peer, .. } => self.link_to(*peer),
        };
        if !link.is_some_and(|link| !link.is_stopped() && self.push(&link, bytes)) {
            self.reporter.failed(*to);
        }
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

    fn admit(self: &Arc<Self>, listener_key: FlowKey, stream: TcpStream, peer: SocketAddr) {
        let mut table = self.table();
        let here = table.accepted.get(&block(peer.ip())).copied().unwrap_or_default();
        if here >= self.limits.connections_per_address || !self.has_room(&table) {
            drop(table);
            self.reporter.dropped(notice::Drop::TooManyConnections);
            return reset(&stream);
        }
        let link = self.enter(&mut table, peer, false);
        drop(table);
        let local = self.places.by_key(listener_key).map(|place| self.places.advertised(place, peer));
        let Some(local) = local.or_else(|| stream.local_addr().ok()) else {
            return self.leave(&link);
        };
        let flow = Flow { key: link.key, transport: Transport::Tcp, local, peer };
        let streams = self.clone();
        self.runtime.spawn(async move {
            let end = streams.serve(&link, flow, &stream).await;
            streams.finish(&link, end, Some(stream)).await;
        });
    }

    /// An open connection to exactly this address, or a new one. `None`: no room, or shut down.
    fn link_to(self: &Arc<Self>, peer: SocketAddr) -> Option<Arc<Link>> {
        let mut table = self.table();
        let known = table.by_peer.get(&peer).and_then(|key| table.links.get(key));
        if let Some(link) = known.filter(|link| !link.is_stopped()) {
            return Some(link.clone());
        }
        if !self.has_room(&table) {
            return None;
        }
        let link = self.enter(&mut table, peer, true);
        drop(table);
        let (streams, opened) = (self.clone(), link.clone());
        self.runtime.spawn(async move {
            let connected = tokio::select! {
                connected = timeout(streams.limits.timing.connect, streams.connect(peer)) => connected,
                end = opened.stopped() => return streams.finish(&opened, end, None).await,
            };
            let Ok(Ok((stream, local))) = connected else {
                return streams.finish(&opened, End::NotOpened, None).await;
            };
            let flow = Flow { key: opened.key, transport: Transport::Tcp, local, peer };
            let end = streams.serve(&opened, flow, &stream).await;
            streams.finish(&opened, end, Some(stream)).await;
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

    fn enter(&self, table: &mut Table, peer: SocketAddr, ours: bool) -> Arc<Link> {
        let link =
            Arc::new(Link::new(self.keys.next(), peer, ours, self.limits.output, self.backlog.clone()));
        if self.inputs.is_named(peer.ip()) {
            link.name();
        }
        table.links.insert(link.key, link.clone());
        table.by_peer.insert(peer, link.key);
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
        if table.by_peer.get(&link.peer) == Some(&link.key) {
            table.by_peer.remove(&link.peer);
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
    async fn connect(&self, peer: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let _ = socket.set_send_buffer_size(SYSTEM_BUFFER as u32);
        let place = self.places.towards(Transport::Tcp, peer);
        if let Some(place) = place.filter(|place| !place.bound.ip().is_unspecified()) {
            socket.bind(SocketAddr::new(place.bound.ip(), 0))?;
        }
        let stream = socket.connect(peer).await?;
        let local = match place {
            Some(place) => self.places.advertised(place, peer),
            None => stream.local_addr()?,
        };
        Ok((stream, local))
    }

    fn push(&self, link: &Link, bytes: Vec<u8>) -> bool {
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

    /// One connection's life once it is open.
    async fn serve(&self, link: &Link, flow: Flow, stream: &TcpStream) -> End {
        let _ = stream.set_nodelay(true);
        tokio::select! {
            end = self.read(link, flow, stream) => end,
            end = self.write(link, stream) => end,
            end = link.stopped() => end,
        }
    }

    /// The core hears of it only if it knows the flow. The entry stays until then, so that ends that
    /// wait for a busy core are bounded as connections are.
    async fn finish(&self, link: &Link, end: End, stream: Option<TcpStream>) {
        link.stop(end);
        if let Some(reason) = end.drop_reason() {
            self.reporter.dropped(reason);
        }
        let unwritten = link.close();
        if let Some(stream) = stream {
            if end == End::SlowReader {
                reset(&stream);
            }
            drop(stream);
        }
        if link.ours && end != End::ShutDown && (unwritten > 0 || end == End::NotOpened) {
            self.reporter.failed(Destination::Address { transport: Transport::Tcp, peer: link.peer });
        }
        if link.has_spoken() {
            let _ = self.inputs.stream(link.is_named(), NetInput::Closed { flow: link.key }).await;
        }
        self.leave(link);
    }

    async fn read(&self, link: &Link, flow: Flow, stream: &TcpStream) -> End {
        let mut framer = StreamFramer::new(self.limits.message_size);
        let opened = Instant::now();
        let mut begun = None;
        loop {
            let (deadline, end) = self.deadline(link, opened, begun);
            match timeout_at(deadline, stream.readable()).await {
                // What was sent meanwhile may have moved the deadline.
                Err(_) if self.deadline(link, opened, begun).0 > deadline => continue,
                Err(_) => return end,
                Ok(Err(_)) => return End::Peer,
                Ok(Ok(())) => {}
            }
            match fill(stream, &mut framer) {
                Ok(0) => return End::Peer,
                Ok(_) => link.touch(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return End::Peer,
            }
            while let Some(frame) = framer.next() {
                begun = None;
                match frame {
                    Frame::Message(bytes) => {
                        link.speaks();
                        if !self.inputs.stream(link.is_named(), NetInput::Message { flow, bytes }).await {
                            return End::ShutDown;
                        }
                    }
                    // RFC 5626 3.5.1: a single CRLF in answer.
                    Frame::Ping if !self.push(link, b"\r\n".to_vec()) => return End::SlowReader,
                    Frame::Ping => {}
                    Frame::Broken if framer.is_too_big() => return End::TooBig,
                    Frame::Broken => return End::Unreadable,
                }
            }
            begun = if framer.is_waiting() { begun.or_else(|| Some(Instant::now())) } else { None };
        }
    }

    /// When to give up reading, and why.
    fn deadline(&self, link: &Link, opened: Instant, begun: Option<Instant>) -> (Instant, End) {
        let timing = self.limits.timing;
        let idle = if link.is_proven() { timing.idle } else { timing.unproven };
        let idle = (link.touched() + idle, End::Idle);
        let first = (!link.ours && !link.has_spoken()).then(|| (opened + timing.first, End::Unfinished));
        let message = begun.map(|begun| (begun + timing.message, End::Unfinished));
        [first, message].into_iter().flatten().fold(idle, |a, b| if b.0 < a.0 { b } else { a })
    }

    async fn write(&self, link: &Link, stream: &TcpStream) -> End {
        loop {
            let chunk = link.next_chunk().await;
            match timeout(self.limits.timing.write, write_all(stream, &chunk)).await {
                Ok(Ok(())) => link.written(chunk.len()),
                Ok(Err(_)) => return End::Peer,
                Err(_) => return End::SlowReader,
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(stream: &TcpStream, framer: &mut StreamFramer) -> io::Result<usize> {
    let mut buffer = [0; READ];
    let length = stream.try_read(&mut buffer)?;
    framer.push(buffer.get(..length).unwrap_or_default());
    Ok(length)
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Closing then sends RST, and the system forgets at once what was not read.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
