//! Where a name leads: its search, question by question, and what failed there a short while ago.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::Switch;
use super::io::Output;
use super::leg::Place;
use super::penalty::Penalties;
use crate::base::bounded::{BoundedMap, Full};
use crate::base::id::{LegKey, QueryKey};
use crate::base::time::Now;
use crate::sip::flow::{Destination, Transport};
use crate::sip::target::{Answer, Hop, Plan, Question, Search, Step, plan};
use crate::sip::uri::Uri;
use crate::telemetry::notice::Notice;

/// How long a name may take in all: what is found by then is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of it for one question after services; a name service that knows no such question must leave time for the
/// address.
const FOR_SERVICES: Duration = Duration::from_millis(1500);
/// And for one after an address, since there may be others.
const FOR_ADDRESSES: Duration = Duration::from_secs(2);

/// Who waits for a name to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Leg(LegKey),
    Trunk(u32),
}

/// Searches under way, and places that failed.
pub(super) struct Places {
    lookups: BoundedMap<QueryKey, Lookup>,
    penalties: Penalties,
}

struct Lookup {
    asker: Asker,
    search: Search,
    until: Instant,
}

impl Places {
    pub(super) fn new(lookups: usize) -> Self {
        Self { lookups: BoundedMap::new(lookups), penalties: Penalties::new() }
    }

    /// No carrier waits for an answer any more.
    pub(super) fn forget_trunks(&mut self) {
        let of_trunk =
            |(key, lookup): (&QueryKey, &Lookup)| matches!(lookup.asker, Asker::Trunk(_)).then_some(*key);
        let keys: Vec<QueryKey> = self.lookups.iter().filter_map(of_trunk).collect();
        for key in keys {
            self.lookups.remove(&key);
        }
    }

    /// Names that are being looked up.
    pub(super) fn searches(&self) -> usize {
        self.lookups.len()
    }

    pub(super) fn is_set_aside(&self, now: Now, to: &Destination) -> bool {
        self.penalties.is_set_aside(now.at, to)
    }
}

impl Switch {
    /// Where a URI of the configuration leads.
    pub(super) fn place(&self, uri: &Uri) -> Option<Place> {
        match plan(uri, &self.policy.spoken()).ok()? {
            Plan::Known(to) => Some(Place::Known(to)),
            Plan::Search(search) => Some(Place::Named(search)),
        }
    }

    /// Our address towards it. Of a name it is a guess, until the name service has answered.
    pub(super) fn signalling_for(&self, place: &Place) -> Option<SocketAddr> {
        match place {
            Place::Known(Destination::Flow(flow)) => Some(flow.local),
            Place::Known(Destination::Address { transport, peer, .. }) => {
                self.policy.signalling(*transport, peer.ip())
            }
            Place::Named(search) => {
                let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
                let mut each = any.iter().flat_map(|ip| search.transports().iter().map(move |t| (*t, *ip)));
                each.find_map(|(transport, ip)| self.policy.signalling(transport, ip))
            }
        }
    }

    /// Looks a name up; `leg_found` or `trunk_found` follows.
    pub(super) fn search(&mut self, now: Now, asker: Asker, mut search: Search) {
        let step = search.step();
        self.go_on(now, Lookup { asker, search, until: now.at + PATIENCE }, step);
    }

    /// The name service has answered.
    pub(super) fn resolved(&mut self, now: Now, query: QueryKey, answer: Answer) {
        let Some(mut lookup) = self.places.lookups.remove(&query) else { return };
        if matches!(lookup.asker, Asker::Leg(leg) if self.legs.get(&leg).is_none()) {
            return;
        }
        let step = lookup.search.answer(answer, &mut self.mint.rng);
        self.go_on(now, lookup, step);
    }

    fn go_on(&mut self, now: Now, mut lookup: Lookup, step: Step) {
        let left = lookup.until.saturating_duration_since(now.at);
        let step = match step {
            Step::Ask(_) if left.is_zero() => lookup.search.give_up(),
            step => step,
        };
        let question = match step {
            Step::Ask(question) => question,
            Step::Found(hops) => return self.found(now, lookup.asker, lookup.search.host(), &hops),
        };
        let most = match question {
            Question::Addresses(_) => FOR_ADDRESSES,
            Question::Services(_) | Question::Pointers(_) => FOR_SERVICES,
        };
        let query = QueryKey(self.mint.serial.next());
        match self.places.lookups.insert(query, lookup) {
            Ok(_) => self.outputs.push_back(Output::Resolve { query, question, within: left.min(most) }),
            Err(Full(mut lookup)) => {
                if let Step::Found(hops) = lookup.search.give_up() {
                    self.found(now, lookup.asker, lookup.search.host(), &hops);
                }
            }
        }
    }

    fn found(&mut self, now: Now, asker: Asker, host: &str, hops: &[Hop]) {
        let domain = self.policy.domains().key(host);
        let place = |hop: &Hop| {
            // Over TLS the certificate must name the host: an address that DNS gave is nobody's name (RFC 5922 4).
            let domain = match hop.transport {
                Transport::Tls => Some(domain?),
                Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
            };
            Some(Destination::Address { transport: hop.transport, peer: hop.peer, domain })
        };
        let places: Vec<Destination> = hops.iter().filter_map(place).collect();
        match asker {
            Asker::Leg(leg) => self.leg_found(now, leg, places),
            Asker::Trunk(trunk) => self.trunk_found(now, trunk, places),
        }
    }

    /// Nobody was reached there.
    pub(super) fn place_failed(&mut self, now: Now, to: &Destination, retry_after: Option<Duration>) {
        if self.places.penalties.failed(now.at, to, retry_after) {
            self.notice(Notice::SetAside { places: self.places.penalties.count(now.at) });
        }
    }

    /// Somebody is there.
    pub(super) fn place_answers(&mut self, to: &Destination) {
        self.places.penalties.answered(to);
    }
}
