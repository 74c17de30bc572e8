//! One UDP listener: datagrams in, datagrams out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::UdpSocket;
use zeroize::Zeroize as _;

use super::inlet::{Entrance, Taken};
use super::place::Places;
use super::report::Reporter;
use super::{ListenAt, NetInput, bind_error, mark, stun};
use crate::base::id::FlowKey;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::telemetry::notice;

/// Asked of the system for each direction; it gives what it allows. Holds the bursts in which
/// messages come while the core is at work.
const SYSTEM_BUFFER: usize = 8 * 1024 * 1024;
/// The largest datagram there is.
const LARGEST: usize = 65_536;
/// Datagrams read before other tasks of this thread have their turn.
const TURN: usize = 64;

/// Binds one family only, so an IPv6 wildcard leaves IPv4 to its own listener.
pub(super) fn bind(at: &ListenAt) -> io::Result<UdpSocket> {
    let address = at.address;
    let bound = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A smaller buffer is no reason not to start.
        let _ = socket.set_recv_buffer_size(SYSTEM_BUFFER);
        let _ = socket.set_send_buffer_size(SYSTEM_BUFFER);
        mark(&socket, address, at.dscp);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    bound().map_err(|error| bind_error("udp", address, &error))
}

pub(super) struct Socket {
    pub(super) key: FlowKey,
    inner: UdpSocket,
    places: Arc<Places>,
    reporter: Arc<Reporter>,
}

impl Socket {
    pub(super) fn new(key: FlowKey, inner: UdpSocket, places: Arc<Places>, reporter: Arc<Reporter>) -> Self {
        Self { key, inner, places, reporter }
    }

    /// Sends now or not at all; SIP repeats what is lost (RFC 3261 17).
    pub(super) fn send(&self, to: &Destination, bytes: &[u8]) {
        // Past tokio's readiness, which knows nothing before the first wake-up of its driver.
        match SockRef::from(&self.inner).send_to(bytes, &to.peer().into()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.reporter.dropped(notice::Drop::OutputFull);
            }
            Err(_) => self.reporter.failed(*to),
        }
    }

    /// Receives for as long as the core listens.
    pub(super) async fn receive(self: Arc<Self>, inputs: Entrance, limit: usize) {
        let mut buffer = vec![0; LARGEST];
        loop {
            if self.inner.readable().await.is_err() || !self.take_turn(&mut buffer, &inputs, limit) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads what is there. `false`: nobody listens any more.
    fn take_turn(&self, buffer: &mut [u8], inputs: &Entrance, limit: usize) -> bool {
        let mut last = 0;
        for _ in 0..TURN {
            // A message may bear keys, and the next may be a short one.
            buffer.get_mut(..last).unwrap_or_default().zeroize();
            let (length, peer) = match self.inner.try_recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // An ICMP error about something sent before; the next datagram is another matter.
                Err(_) => continue,
            };
            last = length;
            let bytes = buffer.get(..length).unwrap_or_default();
            if is_keep_alive(bytes) {
                continue;
            }
            if length > limit {
                self.reporter.dropped(notice::Drop::TooBig);
                continue;
            }
            let Some(flow) = self.flow(peer) else { continue };
            if stun::is_stun(bytes) {
                if let Some(answer) = stun::answer(bytes, peer) {
                    self.send(&Destination::Flow(flow), answer.bytes());
                }
                continue;
            }
            match inputs.datagram(peer.ip(), NetInput::Message { flow, bytes: bytes.to_vec() }) {
                Taken::Yes => {}
                Taken::No => self.reporter.dropped(notice::Drop::Flood),
                Taken::Closed => return false,
            }
        }
        true
    }

    fn flow(&self, peer: SocketAddr) -> Option<Flow> {
        let place = self.places.by_key(self.key)?;
        let local = self.places.advertised(place, peer);
        Some(Flow { key: self.key, transport: Transport::Udp, local, peer })
    }
}

/// Phones keep a NAT open with empty datagrams, line ends or zeros; they want no answer.
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.len() <= 16 && bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0))
}
