//! The ports for RTP: even, with RTCP on the next. A port that was given back rests, and is used again only
//! when nobody has sent anything to it meanwhile, so that no call hears a former peer.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::base::id::Rng;

/// Expedited forwarding (RFC 3246): voice.
pub const EXPEDITED: u8 = 46;
/// Ports tried for one leg; others may use ports of our range.
const MAX_TRIES: usize = 64;

/// Sockets that are kept open while their ports rest: each takes two of the files that a process may have open. Past
/// it a port rests for its time alone.
const KEPT_OPEN: usize = 2048;
/// Datagrams taken from the socket of a port that rests, when it is looked at; the system keeps no more.
const DRAIN: usize = 8192;

/// A port that no leg has.
#[derive(Debug)]
struct Resting {
    port: u16,
    until: Instant,
    /// Kept open, to see whether a former peer still sends.
    pair: Option<SocketPair>,
}

/// Which ports are free, the one that rested longest first. The order in which they are used is drawn at the
/// start, so that a stranger can't tell where the next call will be.
#[derive(Debug)]
pub struct PortPool {
    free: VecDeque<Resting>,
    quarantine: Duration,
    kept_open: usize,
    dscp: u8,
}

impl PortPool {
    /// The even ports of the range whose next port is in it too.
    pub fn new(now: Instant, range: RangeInclusive<u16>, quarantine: Duration, rng: &mut Rng) -> Self {
        let last = *range.end();
        let even = range.filter(|p| p % 2 == 0 && *p < last && *p > 0);
        let mut free: VecDeque<Resting> = even.map(|port| Resting { port, until: now, pair: None }).collect();
        for at in (1..free.len()).rev() {
            free.swap(at, rng.below(at as u64 + 1) as usize);
        }
        Self { free, quarantine, kept_open: 0, dscp: EXPEDITED }
    }

    /// What is sent bears this mark (RFC 2474).
    #[must_use]
    pub fn marked(self, dscp: u8) -> Self {
        Self { dscp, ..self }
    }

    /// A port that has rested, and at which nobody has sent anything meanwhile.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        for _ in 0..self.free.len() {
            if self.free.front()?.until > now {
                return None;
            }
            let mut resting = self.free.pop_front()?;
            if resting.pair.as_ref().is_some_and(|pair| is_spoken_to(&pair.rtp)) {
                // Its former peer has not noticed the end: another quarantine.
                resting.until = now + self.quarantine;
                self.free.push_back(resting);
                continue;
            }
            self.kept_open -= usize::from(resting.pair.is_some());
            return Some(resting.port);
        }
        None
    }

    /// Gives a port back to rest. All rest equally long, so the queue stays in order.
    pub fn give_back(&mut self, now: Instant, port: u16) {
        self.free.push_back(Resting { port, until: now + self.quarantine, pair: None });
    }

    /// Gives the sockets of a leg back to rest, as [`PortPool::give_back`]; they must not be watched any more.
    pub fn rest(&mut self, now: Instant, pair: SocketPair) {
        let (port, until) = (pair.port, now + self.quarantine);
        let kept = !self.quarantine.is_zero() && self.kept_open < KEPT_OPEN;
        self.kept_open += usize::from(kept);
        let pair = kept.then_some(pair);
        self.free.push_back(Resting { port, until, pair });
    }

    /// Ports that are not in use, resting ones included.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

/// Empties a socket; whether there was anything.
fn is_spoken_to(socket: &UdpSocket) -> bool {
    let mut nothing = [0; 1];
    let mut any = false;
    for _ in 0..DRAIN {
        match socket.recv_from(&mut nothing) {
            Ok(_) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // An ICMP error about what we sent before the end.
            Err(_) => {}
        }
    }
    any
}

/// The two sockets of a leg.
#[derive(Debug)]
pub struct SocketPair {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
}

impl SocketPair {
    /// By which RTCP goes out.
    pub fn control(&self, muxed: bool) -> &UdpSocket {
        if muxed { &self.rtp } else { &self.rtcp }
    }

    /// Binds the next pair that nobody else holds.
    pub fn open(pool: &mut PortPool, now: Instant, local: IpAddr) -> Option<Self> {
        for _ in 0..MAX_TRIES {
            let port = pool.take(now)?;
            let pair =
                bind(local, port, pool.dscp).and_then(|rtp| Ok((rtp, bind(local, port + 1, pool.dscp)?)));
            match pair {
                Ok((rtp, rtcp)) => return Some(Self { rtp, rtcp, port }),
                Err(_) => pool.give_back(now, port),
            }
        }
        None
    }
}

fn bind(local: IpAddr, port: u16, dscp: u8) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(local, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // In the upper six bits. A network that refuses the mark still carries the call.
    let mark = u32::from(dscp) << 2;
    let _marked = if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(mark)
    } else {
        socket.set_tos_v4(mark)
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
        let mut pool = PortPool::new(t0, 9999..=10_004, s(10), &mut Rng::from_number(1));
        let mut first = [pool.take(t0), pool.take(t0)];
        first.sort_unstable();
        assert_eq!((first, pool.take(t0)), ([Some(10_000), Some(10_002)], None));
        pool.give_back(t0 + s(1), 10_002);
        pool.give_back(t0 + s(2), 10_000);
        assert_eq!(pool.take(t0 + s(10)), None);
        assert_eq!(pool.take(t0 + s(11)), Some(10_002));
        assert_eq!(pool.take(t0 + s(11)), None);
        assert_eq!((pool.take(t0 + s(12)), pool.len()), (Some(10_000), 0));
    }

    #[test]
    fn a_port_whose_former_peer_still_sends_rests_on() {
        let local = IpAddr::from([127, 0, 0, 8]);
        let (t0, s) = (Now::read().at, Duration::from_secs);
        let mut pool = PortPool::new(t0, 26_000..=26_001, s(10), &mut Rng::from_number(1));
        let pair = SocketPair::open(&mut pool, t0, local).expect("free");
        let peer = UdpSocket::bind((local, 0)).expect("a port");
        pool.rest(t0, pair);
        peer.send_to(b"still here", (local, 26_000)).expect("sent");
        assert_eq!(pool.take(t0 + s(10)), None, "somebody spoke");
        assert_eq!(pool.take(t0 + s(19)), None, "a whole quarantine more");
        assert_eq!(pool.take(t0 + s(20)), Some(26_000));
    }

    #[test]
    fn where_the_next_call_will_be_is_not_to_be_guessed() {
        let now = Now::read().at;
        let order = |seed| {
            let mut pool = PortPool::new(now, 10_000..=10_999, Duration::ZERO, &mut Rng::from_number(seed));
            std::iter::from_fn(|| pool.take(now)).collect::<Vec<u16>>()
        };
        let (one, two) = (order(1), order(2));
        assert!(one != two && one.len() == 500 && !one.is_sorted());
    }

    #[test]
    fn rfc2474_both_sockets_of_either_family_bear_the_mark_that_was_asked_for() {
        let now = Now::read().at;
        for (dscp, mark) in [(EXPEDITED, 0xb8), (34, 0x88), (0, 0)] {
            for local in [IpAddr::from([127, 0, 0, 8]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)] {
                let pool = PortPool::new(now, 26_010..=26_019, Duration::ZERO, &mut Rng::from_number(1));
                let pair = SocketPair::open(&mut pool.marked(dscp), now, local).expect("free");
                for socket in [&pair.rtp, &pair.rtcp] {
                    let socket = socket2::SockRef::from(socket);
                    let read = if local.is_ipv6() { socket.tclass_v6() } else { socket.tos_v4() };
                    assert_eq!(read.expect("it can be read"), mark, "{local}");
                }
            }
        }
    }

    #[test]
    fn a_port_that_another_holds_is_passed_over() {
        let held = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = held.local_addr().expect("an address").port() & !1;
        let now = Now::read().at;
        let mut pool = PortPool::new(now, port..=port + 1, Duration::ZERO, &mut Rng::from_number(1));
        assert!(SocketPair::open(&mut pool, now, [127, 0, 0, 1].into()).is_none());
        assert_eq!(pool.len(), 1, "it is not lost");
        let mut other = PortPool::new(now, port..=port + 1, Duration::ZERO, &mut Rng::from_number(1));
        let pair = SocketPair::open(&mut other, now, [127, 0, 0, 9].into()).expect("free on another address");
        assert_eq!(pair.rtcp.local_addr().map(|a| a.port()).ok(), Some(pair.port + 1));
    }
}
