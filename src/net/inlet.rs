//! The way from the sockets to the core, in three queues: what comes from hosts that the configuration names (a
//! carrier, a line with a fixed address), datagrams of others, streams of others. So a flood from strangers never
//! stands before a carrier's call, and one connection that sends without end waits alone.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::NetInput;
use crate::base::bounded::BoundedMap;
use crate::base::network::Network;
use crate::base::time::Now;

/// Datagrams that one address may send at once, and each second, while more than half of the queue is taken; and
/// TLS handshakes that it may begin, each of which costs a thousand times as much as a datagram.
const BURST: u32 = 50;
const EACH: Duration = Duration::from_millis(20);
/// Addresses that are measured at a time; past it the one that is measured longest is forgotten.
const MEASURED: usize = 4096;
/// Every so many inputs, those of strangers come first: a carrier that floods us does not lock the phones out.
const FAIR: u32 = 8;

/// Where sockets and connections put what they receive.
#[derive(Clone)]
pub(super) struct Entrance {
    named: mpsc::Sender<NetInput>,
    datagrams: mpsc::Sender<NetInput>,
    streams: mpsc::Sender<NetInput>,
    names: Arc<RwLock<Vec<Network>>>,
    measure: Arc<Mutex<Measure>>,
    handshakes: Arc<Mutex<Measure>>,
}

/// Whether a datagram was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Its queue is full, or its source has had its measure.
    No,
    /// Nobody listens any more.
    Closed,
}

/// Where the core takes it.
pub struct Inlet {
    named: mpsc::Receiver<NetInput>,
    datagrams: mpsc::Receiver<NetInput>,
    streams: mpsc::Receiver<NetInput>,
    turn: u32,
}

/// The two ends; each queue holds so many inputs.
pub(super) fn inlet(capacity: usize, names: Vec<Network>) -> (Entrance, Inlet) {
    let capacity = capacity.max(1);
    let (named, named_out) = mpsc::channel(capacity);
    let (datagrams, datagrams_out) = mpsc::channel(capacity);
    let (streams, streams_out) = mpsc::channel(capacity);
    let (names, measure) = (Arc::new(RwLock::new(names)), Arc::new(Mutex::new(Measure::new())));
    let handshakes = Arc::new(Mutex::new(Measure::new()));
    let entrance = Entrance { named, datagrams, streams, names, measure, handshakes };
    (entrance, Inlet { named: named_out, datagrams: datagrams_out, streams: streams_out, turn: 0 })
}

impl Entrance {
    /// Whether the configuration names this host.
    pub(super) fn is_named(&self, host: IpAddr) -> bool {
        let host = host.to_canonical();
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().any(|network| network.contains(host))
    }

    pub(super) fn name(&self, networks: Vec<Network>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Whether this host may begin one more TLS handshake.
    pub(super) fn may_shake_hands(&self, from: IpAddr) -> bool {
        let now = Now::read().at;
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_named(from) || handshakes.take(now, super::block(from))
    }

    /// Takes a datagram, or leaves it: nothing waits here.
    pub(super) fn datagram(&self, from: IpAddr, input: NetInput) -> Taken {
        let queue = if self.is_named(from) {
            &self.named
        } else if self.is_beyond_measure(from) {
            return Taken::No;
        } else {
            &self.datagrams
        };
        match queue.try_send(input) {
            Ok(()) => Taken::Yes,
            Err(TrySendError::Full(_)) => Taken::No,
            Err(TrySendError::Closed(_)) => Taken::Closed,
        }
    }

    /// Waits until the core has room for what came over a connection. `false`: nobody listens any more.
    /// `named` is asked once a connection, so that its messages and its end keep their order.
    pub(super) async fn stream(&self, named: bool, input: NetInput) -> bool {
        let queue = if named { &self.named } else { &self.streams };
        queue.send(input).await.is_ok()
    }

    /// What net has to tell itself.
    pub(super) async fn report(&self, input: NetInput) -> bool {
        self.named.send(input).await.is_ok()
    }

    fn is_beyond_measure(&self, from: IpAddr) -> bool {
        if self.datagrams.capacity() * 2 > self.datagrams.max_capacity() {
            return false;
        }
        let now = Now::read().at;
        !self.measure.lock().unwrap_or_else(PoisonError::into_inner).take(now, super::block(from))
    }
}

impl Inlet {
    /// The next input; `None` when net has ended and nothing is left.
    pub async fn recv(&mut self) -> Option<NetInput> {
        if let Some(input) = self.try_recv() {
            return Some(input);
        }
        let Self { named, datagrams, streams, .. } = self;
        tokio::select! {
            Some(input) = named.recv() => Some(input),
            Some(input) = datagrams.recv() => Some(input),
            Some(input) = streams.recv() => Some(input),
            else => None,
        }
    }

    /// What is there at once.
    pub fn try_recv(&mut self) -> Option<NetInput> {
        self.turn = self.turn.wrapping_add(1);
        let Self { named, datagrams, streams, turn } = self;
        let strangers_first = turn.is_multiple_of(FAIR);
        let mut queues = if turn.is_multiple_of(2) || strangers_first && (*turn / FAIR).is_multiple_of(2) {
            [named, datagrams, streams]
        } else {
            [named, streams, datagrams]
        };
        if strangers_first {
            queues.rotate_left(1);
        }
        queues.into_iter().find_map(|queue| queue.try_recv().ok())
    }
}

/// A bucket an address.
struct Measure(BoundedMap<IpAddr, Bucket>);

struct Bucket {
    left: u32,
    since: Instant,
}

impl Measure {
    fn new() -> Self {
        Self(BoundedMap::new(MEASURED))
    }

    /// Whether this address may send one more.
    fn take(&mut self, now: Instant, from: IpAddr) -> bool {
        if self.0.is_full() && !self.0.contains_key(&from) {
            if let Some(oldest) = self.0.oldest().map(|(address, _)| *address) {
                self.0.remove(&oldest);
            }
        }
        if !self.0.contains_key(&from) {
            let _ = self.0.insert(from, Bucket { left: BURST, since: now });
        }
        let Some(bucket) = self.0.get_mut(&from) else { return false };
        let earned = now.saturating_duration_since(bucket.since).as_millis() / EACH.as_millis();
        if earned > 0 {
            bucket.left = bucket.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            bucket.since = now;
        }
        let room = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::FlowKey;

    const CARRIER: &str = "192.0.2.7";
    const STRANGER: &str = "198.51.100.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn pair() -> (Entrance, Inlet) {
        inlet(100, vec![Network { address: ip("192.0.2.0"), prefix: 24 }])
    }

    /// An input by which it can be told apart.
    fn number(n: u64) -> NetInput {
        NetInput::Closed { flow: FlowKey(n) }
    }

    fn got(input: Option<NetInput>) -> Option<u64> {
        match input {
            Some(NetInput::Closed { flow }) => Some(flow.0),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn a_flood_of_strangers_neither_holds_up_nor_drops_a_carriers_message() {
        let (entrance, mut inlet) = pair();
        let taken = (0..1000).filter(|_| entrance.datagram(ip(STRANGER), number(1)) == Taken::Yes).count();
        assert!((50..=100).contains(&taken), "its queue, and then its measure: {taken}");
        assert_eq!(entrance.datagram(ip(CARRIER), number(7)), Taken::Yes);
        assert_eq!(got(inlet.try_recv()), Some(7), "before all that waits");
    }

    #[test]
    fn one_address_that_floods_leaves_room_for_another() {
        let (entrance, _inlet) = pair();
        for _ in 0..1000 {
            let _ = entrance.datagram(ip(STRANGER), number(1));
        }
        assert_eq!(entrance.datagram(ip(STRANGER), number(1)), Taken::No);
        assert_eq!(entrance.datagram(ip("203.0.113.4"), number(2)), Taken::No, "the queue itself is full");
        let (entrance, _inlet) = inlet(400, Vec::new());
        for _ in 0..1000 {
            let _ = entrance.datagram(ip(STRANGER), number(1));
        }
        assert_eq!(entrance.datagram(ip(STRANGER), number(1)), Taken::No);
        assert_eq!(entrance.datagram(ip("203.0.113.4"), number(2)), Taken::Yes, "it has its own measure");
    }

    #[test]
    fn one_address_begins_so_many_handshakes_and_the_carrier_as_many_as_it_likes() {
        let (entrance, _inlet) = pair();
        let begun = |from: &str| (0..1000).filter(|_| entrance.may_shake_hands(ip(from))).count();
        // It earns some meanwhile.
        assert!((50..500).contains(&begun(STRANGER)));
        assert_eq!(begun(CARRIER), 1000);
        assert!(entrance.may_shake_hands(ip("203.0.113.4")), "it has its own measure");
    }

    #[test]
    fn a_measure_is_earned_again_and_a_v6_site_has_one() {
        let (now, mut measure) = (Now::read().at, Measure::new());
        let site = super::super::block(ip("2001:db8::1"));
        assert_eq!(site, super::super::block(ip("2001:db8::ffff")));
        let taken = (0..100).filter(|_| measure.take(now, site)).count();
        assert_eq!(taken, BURST as usize);
        assert!(measure.take(now + EACH, site) && !measure.take(now + EACH, site));
        for n in 0..2 * MEASURED as u32 {
            measure.take(now, IpAddr::V4(n.into()));
        }
        assert_eq!(measure.0.len(), MEASURED);
    }

    #[test]
    fn a_carrier_that_floods_does_not_lock_the_phones_out() {
        let (entrance, mut inlet) = pair();
        for _ in 0..100 {
            let _ = entrance.datagram(ip(CARRIER), number(7));
        }
        assert_eq!(entrance.datagram(ip(STRANGER), number(1)), Taken::Yes);
        entrance.streams.try_send(number(2)).expect("room");
        let first: Vec<_> = (0..2 * FAIR).filter_map(|_| got(inlet.try_recv())).collect();
        assert!(first.contains(&1) && first.contains(&2), "{first:?}");
    }

    #[test]
    fn a_reload_changes_who_is_named() {
        let (entrance, mut inlet) = pair();
        entrance.name(vec![Network { address: ip("203.0.113.0"), prefix: 24 }]);
        assert_eq!(entrance.datagram(ip(CARRIER), number(1)), Taken::Yes);
        assert_eq!(entrance.datagram(ip("203.0.113.9"), number(2)), Taken::Yes);
        assert_eq!(
            [got(inlet.try_recv()), got(inlet.try_recv()), got(inlet.try_recv())],
            [Some(2), Some(1), None]
        );
    }
}
