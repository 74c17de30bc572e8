//! The ports for RTP: even, with RTCP on the next. A port that was given back rests before it is used
//! again, so that no call hears a former peer.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Expedited forwarding (RFC 3246) in the upper six bits.
const EXPEDITED: u32 = 46 << 2;
/// Ports tried for one leg; others may use ports of our range.
const MAX_TRIES: usize = 64;

/// Which ports are free, the one that rested longest first.
#[derive(Debug)]
pub struct PortPool {
    free: VecDeque<(u16, Instant)>,
    quarantine: Duration,
}

impl PortPool {
    /// The even ports of the range whose next port is in it too.
    pub fn new(now: Instant, range: RangeInclusive<u16>, quarantine: Duration) -> Self {
        let last = *range.end();
        let free = range.filter(|p| p % 2 == 0 && *p < last && *p > 0).map(|p| (p, now)).collect();
        Self { free, quarantine }
    }

    /// A port that has rested.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        let (port, since) = *self.free.front()?;
        if since > now {
            return None;
        }
        self.free.pop_front();
        Some(port)
    }

    /// Gives a port back to rest. All rest equally long, so the queue stays in order.
    pub fn give_back(&mut self, now: Instant, port: u16) {
        self.free.push_back((port, now + self.quarantine));
    }

    /// Ports that are not in use, resting ones included.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

/// The two sockets of a leg.
#[derive(Debug)]
pub struct SocketPair {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
}

impl SocketPair {
    /// Binds the next pair that nobody else holds.
    pub fn open(pool: &mut PortPool, now: Instant, local: IpAddr) -> Option<Self> {
        for _ in 0..MAX_TRIES {
            let port = pool.take(now)?;
            let pair = bind(local, port).and_then(|rtp| Ok((rtp, bind(local, port + 1)?)));
            match pair {
                Ok((rtp, rtcp)) => return Some(Self { rtp, rtcp, port }),
                Err(_) => pool.give_back(now, port),
            }
        }
        None
    }
}

fn bind(local: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(local, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A network that refuses the mark still carries the call.
    let _marked = if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(EXPEDITED)
    } else {
        socket.set_tos_v4(EXPEDITED)
    };
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let t0 = Now::read().at;
        let s = Duration::from_secs;
        let mut pool = PortPool::new(t0, 9999..=10_004, s(10));
        assert_eq!((pool.take(t0), pool.take(t0), pool.take(t0)), (Some(10_000), Some(10_002), None));
        pool.give_back(t0 + s(1), 10_002);
        pool.give_back(t0 + s(2), 10_000);
        assert_eq!(pool.take(t0 + s(10)), None);
        assert_eq!(pool.take(t0 + s(11)), Some(10_002));
        assert_eq!(pool.take(t0 + s(11)), None);
        assert_eq!((pool.take(t0 + s(12)), pool.len()), (Some(10_000), 0));
    }

    #[test]
    fn a_port_that_another_holds_is_passed_over() {
        let held = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = held.local_addr().expect("an address").port() & !1;
        let now = Now::read().at;
        let mut pool = PortPool::new(now, port..=port + 1, Duration::ZERO);
        assert!(SocketPair::open(&mut pool, now, [127, 0, 0, 1].into()).is_none());
        assert_eq!(pool.len(), 1, "it is not lost");
        let mut other = PortPool::new(now, port..=port + 1, Duration::ZERO);
        let pair = SocketPair::open(&mut other, now, [127, 0, 0, 9].into()).expect("free on another address");
        assert_eq!(pair.rtcp.local_addr().map(|a| a.port()).ok(), Some(pair.port + 1));
    }
}
