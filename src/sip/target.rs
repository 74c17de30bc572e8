//! From a URI to where a request goes (RFC 3263 4): an address at once, or a search of questions to the name
//! service, which ends in places to be tried one after the other.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::flow::{Destination, Transport};
use super::uri::{Host, Scheme, Uri};
use crate::base::id::Rng;

/// Places that a search finds at most; what comes after them in its order is left out.
pub const MOST_PLACES: usize = 16;
/// Records of one answer that are followed, first things first.
const MOST_RECORDS: usize = 8;
/// Failed questions for services after which the name service is taken to know none: what is left is the
/// host's own address, which a file of hosts may have.
const MOST_FAILURES: usize = 2;

/// Where a URI leads.
#[derive(Clone, PartialEq, Eq)]
pub enum Plan {
    Known(Destination),
    Search(Search),
}

/// A URI that no request can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sip: URI with a host, or a transport that is not spoken")]
pub struct Unreachable;

/// What the name service is asked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// A and AAAA of a host.
    Addresses(String),
    /// SRV of a service's name, such as `_sip._udp.carrier.example`.
    Services(String),
    /// NAPTR of a domain.
    Pointers(String),
}

/// What the name service says. An empty list is an answer: there are none.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    Services(Vec<Srv>),
    Pointers(Vec<Naptr>),
    /// It gave none in time, or an error.
    Failed,
}

/// An SRV record (RFC 2782).
#[derive(Clone, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// `.` or empty: decidedly not offered here.
    pub target: String,
}

/// A NAPTR record (RFC 3403 4).
#[derive(Clone, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub services: String,
    pub replacement: String,
}

/// One place to try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    pub transport: Transport,
    pub peer: SocketAddr,
}

/// How a search goes on.
pub enum Step {
    Ask(Question),
    /// In the order in which they are to be tried; empty when the name leads nowhere.
    Found(Vec<Hop>),
}

/// The procedure for one host name. Rounds are gone through until one finds something.
#[derive(Clone, PartialEq, Eq)]
pub struct Search {
    host: String,
    secure: bool,
    /// Transports that may be found; those of our listeners, in the order in which we like them.
    spoken: Vec<Transport>,
    now: VecDeque<Job>,
    later: VecDeque<Vec<Job>>,
    found: Vec<Hop>,
    /// There are SRV records: the host's own address counts for nothing (RFC 3263 4.2).
    is_served: bool,
    failures: usize,
}

/// One question, and what it is for.
#[derive(Clone, PartialEq, Eq)]
enum Job {
    Pointers,
    Services {
        transport: Transport,
        name: String,
    },
    Addresses {
        transport: Transport,
        host: String,
        port: u16,
    },
    /// Of the host itself, by the usual port: only when there is no SRV record.
    Plain {
        transport: Transport,
    },
}

/// Plans a request to `uri`; `spoken`: the transports of our listeners. `sips:` is TLS, and never less (RFC 3263 4.1).
pub fn plan(uri: &Uri, spoken: &[Transport]) -> Result<Plan, Unreachable> {
    let secure = uri.scheme == Scheme::Sips;
    let chosen = match (&uri.scheme, uri.transport()) {
        (Scheme::Sip, Some(transport @ (Transport::Udp | Transport::Tcp | Transport::Tls))) => {
            Some(transport)
        }
        (Scheme::Sips, Some(Transport::Tcp | Transport::Tls)) => Some(Transport::Tls),
        (Scheme::Sip | Scheme::Sips, None) => None,
        _ => return Err(Unreachable),
    };
    let usual = chosen.unwrap_or(if secure { Transport::Tls } else { Transport::Udp });
    match uri.host().ok_or(Unreachable)? {
        Host::Address(address) => {
            let peer = SocketAddr::new(*address, uri.port.unwrap_or(usual.default_port()));
            Ok(Plan::Known(Destination::address(usual, peer)))
        }
        Host::Name(host) => Ok(Plan::Search(Search::new(host, secure, chosen, usual, uri.port, spoken))),
    }
}

impl Search {
    fn new(
        host: &str,
        secure: bool,
        chosen: Option<Transport>,
        usual: Transport,
        port: Option<u16>,
        spoken: &[Transport],
    ) -> Self {
        let services = |transport| Job::Services { transport, name: service(host, secure, transport) };
        let rounds = match (port, chosen) {
            (Some(port), _) => vec![vec![Job::Addresses { transport: usual, host: host.to_owned(), port }]],
            (None, Some(transport)) => vec![vec![services(transport)], vec![Job::Plain { transport }]],
            (None, None) => {
                let fits = |t: &Transport| if secure { *t == Transport::Tls } else { *t != Transport::Tls };
                let each = spoken.iter().copied().filter(fits).map(services).collect();
                vec![vec![Job::Pointers], each, vec![Job::Plain { transport: usual }]]
            }
        };
        let spoken = match (port, chosen) {
            (None, None) if !secure => spoken.to_vec(),
            _ => vec![usual],
        };
        Self {
            host: host.to_owned(),
            secure,
            spoken,
            now: VecDeque::new(),
            later: rounds.into(),
            found: Vec::new(),
            is_served: false,
            failures: 0,
        }
    }

    /// The URI's host: whom a certificate must name, wherever DNS leads (RFC 5922 4).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Transports that may come of it; the first is the likeliest.
    pub fn transports(&self) -> &[Transport] {
        &self.spoken
    }

    /// Whether the one transport is TLS, whatever the name service says.
    pub fn is_secure(&self) -> bool {
        self.secure || self.spoken == [Transport::Tls]
    }

    /// The first question; those after it come from [`Self::answer`].
    pub fn step(&mut self) -> Step {
        loop {
            if self.found.len() >= MOST_PLACES {
                return self.give_up();
            }
            match self.now.front() {
                Some(Job::Plain { .. }) if self.is_served => drop(self.now.pop_front()),
                Some(job) => return Step::Ask(self.question(job)),
                None => match self.later.pop_front().filter(|_| self.found.is_empty()) {
                    Some(round) => self.now = round.into(),
                    None => return self.give_up(),
                },
            }
        }
    }

    /// What the last question brought; the next step follows.
    pub fn answer(&mut self, answer: Answer, rng: &mut Rng) -> Step {
        match (self.now.pop_front(), answer) {
            (Some(Job::Pointers), Answer::Pointers(pointers)) => self.follow(pointers),
            (Some(Job::Services { transport, .. }), Answer::Services(services)) => {
                self.serve(transport, services, rng);
            }
            (Some(Job::Addresses { transport, port, .. }), Answer::Addresses(addresses)) => {
                self.find(transport, port, &addresses);
            }
            (Some(Job::Plain { transport }), Answer::Addresses(addresses)) => {
                self.find(transport, transport.default_port(), &addresses);
            }
            (Some(Job::Pointers | Job::Services { .. }), _) => self.failed(),
            (Some(Job::Addresses { .. } | Job::Plain { .. }) | None, _) => {}
        }
        self.step()
    }

    /// Ends it with what was found so far.
    pub fn give_up(&mut self) -> Step {
        Step::Found(std::mem::take(&mut self.found))
    }

    fn question(&self, job: &Job) -> Question {
        match job {
            Job::Pointers => Question::Pointers(self.host.clone()),
            Job::Services { name, .. } => Question::Services(name.clone()),
            Job::Addresses { host, .. } => Question::Addresses(host.clone()),
            Job::Plain { .. } => Question::Addresses(self.host.clone()),
        }
    }

    /// RFC 3263 4.1: the services that we speak, the lowest order first and in it the lowest preference. Those
    /// that come after the first are for when it fails (4.3).
    fn follow(&mut self, mut pointers: Vec<Naptr>) {
        pointers.sort_by_key(|pointer| (pointer.order, pointer.preference));
        let transport = |pointer: &Naptr| {
            let kind = match pointer.services.to_ascii_uppercase().as_str() {
                "SIPS+D2T" => Transport::Tls,
                "SIP+D2U" if !self.secure => Transport::Udp,
                "SIP+D2T" if !self.secure => Transport::Tcp,
                _ => return None,
            };
            let fits = pointer.flags.eq_ignore_ascii_case("s") && is_name(&pointer.replacement);
            (fits && self.spoken.contains(&kind)).then_some(kind)
        };
        let jobs = pointers.iter().filter_map(|pointer| {
            Some(Job::Services { transport: transport(pointer)?, name: pointer.replacement.clone() })
        });
        self.now = jobs.take(MOST_RECORDS).collect();
    }

    fn serve(&mut self, transport: Transport, services: Vec<Srv>, rng: &mut Rng) {
        self.is_served |= !services.is_empty();
        let chosen = in_turn(services, rng).into_iter();
        let fits = chosen.filter(|service| is_name(&service.target) && service.port != 0);
        let jobs: Vec<Job> = fits
            .take(MOST_RECORDS)
            .map(|service| Job::Addresses { transport, host: service.target, port: service.port })
            .collect();
        for job in jobs.into_iter().rev() {
            self.now.push_front(job);
        }
    }

    fn find(&mut self, transport: Transport, port: u16, addresses: &[IpAddr]) {
        for address in addresses.iter().take(MOST_RECORDS) {
            let hop = Hop { transport, peer: SocketAddr::new(*address, port) };
            if self.found.len() < MOST_PLACES && !self.found.contains(&hop) {
                self.found.push(hop);
            }
        }
    }

    fn failed(&mut self) {
        self.failures += 1;
        if self.failures >= MOST_FAILURES {
            let is_service = |job: &Job| matches!(job, Job::Pointers | Job::Services { .. });
            self.now.retain(|job| !is_service(job));
            self.later.retain(|round| !round.iter().any(is_service));
        }
    }
}

/// The name of a service (RFC 3263 4.2). `sip:` over TLS asks as `sips:` does: there is no other name for it.
fn service(host: &str, secure: bool, transport: Transport) -> String {
    let prefix = match transport {
        Transport::Tls => "_sips._tcp",
        Transport::Tcp if secure => "_sips._tcp",
        Transport::Udp => "_sip._udp",
        Transport::Tcp | Transport::Ws | Transport::Wss => "_sip._tcp",
    };
    format!("{prefix}.{host}")
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | ".")
}

/// SRV records in the order in which they are to be tried: the lowest priority first, and in it a draw
/// without putting back in which each has the chance of its weight (RFC 2782, "Usage rules").
fn in_turn(mut services: Vec<Srv>, rng: &mut Rng) -> Vec<Srv> {
    // A weight of 0 stands first, so that it has a small chance beside others.
    services.sort_by_key(|service| (service.priority, service.weight != 0));
    let mut chosen = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|service| service.priority) {
        let same = || services.iter().take_while(|service| service.priority == priority);
        let sum: u64 = same().map(|service| u64::from(service.weight)).sum();
        let mark = rng.below(sum + 1);
        let mut run = 0;
        let at = same().position(|service| {
            run += u64::from(service.weight);
            run >= mark
        });
        chosen.push(services.remove(at.unwrap_or(0)));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    /// A name service: one record a line, `host A address`, `name SRV priority weight port target`,
    /// `name NAPTR order preference service replacement`, or `name fails KIND`.
    struct Names(BTreeMap<Question, Answer>);

    impl Names {
        fn new(records: &[&str]) -> Self {
            let mut names = BTreeMap::new();
            for record in records {
                let words: Vec<&str> = record.split(' ').collect();
                let number = |at: usize| words[at].parse().unwrap();
                let name = words[0].to_owned();
                let text = |at: usize| words[at].to_owned();
                match words[1] {
                    "A" => {
                        match names.entry(Question::Addresses(name)).or_insert(Answer::Addresses(vec![])) {
                            Answer::Addresses(list) => list.push(words[2].parse().unwrap()),
                            _ => unreachable!(),
                        }
                    }
                    "SRV" => {
                        match names.entry(Question::Services(name)).or_insert(Answer::Services(vec![])) {
                            Answer::Services(list) => list.push(Srv {
                                priority: number(2),
                                weight: number(3),
                                port: number(4),
                                target: text(5),
                            }),
                            _ => unreachable!(),
                        }
                    }
                    "NAPTR" => {
                        match names.entry(Question::Pointers(name)).or_insert(Answer::Pointers(vec![])) {
                            Answer::Pointers(list) => list.push(Naptr {
                                order: number(2),
                                preference: number(3),
                                flags: "s".into(),
                                services: text(4),
                                replacement: text(5),
                            }),
                            _ => unreachable!(),
                        }
                    }
                    kind => {
                        let question = match kind {
                            "fails-srv" => Question::Services(name),
                            _ => Question::Pointers(name),
                        };
                        names.insert(question, Answer::Failed);
                    }
                }
            }
            Self(names)
        }

        /// What was asked, and what was found, as text.
        fn search(&self, uri: &str, spoken: &[Transport], rng: &mut Rng) -> (String, String) {
            let mut search = match plan(&Uri::parse(uri).unwrap(), spoken) {
                Ok(Plan::Search(search)) => search,
                Ok(Plan::Known(to)) => {
                    return (String::new(), format!("{} {}", to.transport().as_str(), to.peer()));
                }
                Err(Unreachable) => return (String::new(), "-".into()),
            };
            let mut asked = Vec::new();
            let mut step = search.step();
            loop {
                match step {
                    Step::Found(hops) => {
                        let hop = |hop: &Hop| format!("{} {}", hop.transport.as_str(), hop.peer);
                        let hops: Vec<String> = hops.iter().map(hop).collect();
                        return (asked.join(" "), hops.join(", "));
                    }
                    Step::Ask(question) => {
                        let (none, name) = match &question {
                            Question::Addresses(name) => (Answer::Addresses(vec![]), name.clone()),
                            Question::Services(name) => (Answer::Services(vec![]), name.clone()),
                            Question::Pointers(name) => (Answer::Pointers(vec![]), format!("{name}?")),
                        };
                        asked.push(name);
                        let answer = self.0.get(&question).cloned().unwrap_or(none);
                        step = search.answer(answer, rng);
                    }
                }
            }
        }
    }

    fn check(records: &[&str], cases: &[(&str, &[Transport], &str, &str)]) {
        let names = Names::new(records);
        for (uri, spoken, asked, found) in cases {
            let got = names.search(uri, spoken, &mut Rng::from_number(1));
            assert_eq!(got, ((*asked).to_owned(), (*found).to_owned()), "{uri}");
        }
    }

    #[test]
    fn rfc_3263_4_addresses_are_known_and_names_with_a_port_have_their_addresses() {
        let records = ["h A 192.0.2.1", "h A 2001:db8::1", "_sip._udp.h SRV 1 1 5099 h"];
        check(
            &records,
            &[
                ("sip:a@127.0.0.3:5070", &ALL, "", "UDP 127.0.0.3:5070"),
                ("sip:a@127.0.0.3;transport=tcp", &ALL, "", "TCP 127.0.0.3:5060"),
                ("sip:[::1]", &ALL, "", "UDP [::1]:5060"),
                ("sip:a@127.0.0.3;transport=tls", &ALL, "", "TLS 127.0.0.3:5061"),
                ("sips:a@127.0.0.3;transport=tcp", &ALL, "", "TLS 127.0.0.3:5061"),
                ("sip:a@h:5070", &ALL, "h", "UDP 192.0.2.1:5070, UDP [2001:db8::1]:5070"),
                ("sip:a@h:5070;transport=tcp", &ALL, "h", "TCP 192.0.2.1:5070, TCP [2001:db8::1]:5070"),
                ("sips:a@h:5071", &ALL, "h", "TLS 192.0.2.1:5071, TLS [2001:db8::1]:5071"),
                ("sip:a@h;transport=ws", &ALL, "", "-"),
                ("sip:a@h;transport=wss", &ALL, "", "-"),
                ("sips:a@h;transport=udp", &ALL, "", "-"),
                ("tel:106", &ALL, "", "-"),
            ],
        );
    }

    #[test]
    fn rfc_3263_4_2_a_transport_without_a_port_asks_for_its_service_and_else_for_the_host() {
        let records = [
            "_sip._tcp.h SRV 20 0 5070 two.h",
            "_sip._tcp.h SRV 10 0 5080 one.h",
            "_sips._tcp.h SRV 1 0 5081 one.h",
            "one.h A 192.0.2.1",
            "two.h A 192.0.2.2",
            "h A 192.0.2.9",
            "no.h A 192.0.2.9",
            "_sip._udp.no.h SRV 0 0 0 .",
            "_sip._udp.lost.h SRV 0 0 5060 gone.h",
            "lost.h A 192.0.2.9",
        ];
        let tcp = "TCP 192.0.2.1:5080, TCP 192.0.2.2:5070";
        check(
            &records,
            &[
                ("sip:h;transport=tcp", &ALL, "_sip._tcp.h one.h two.h", tcp),
                ("sip:h;transport=udp", &ALL, "_sip._udp.h h", "UDP 192.0.2.9:5060"),
                ("sip:h;transport=tls", &ALL, "_sips._tcp.h one.h", "TLS 192.0.2.1:5081"),
                ("sips:h;transport=tcp", &ALL, "_sips._tcp.h one.h", "TLS 192.0.2.1:5081"),
                ("sips:two.h;transport=tls", &ALL, "_sips._tcp.two.h two.h", "TLS 192.0.2.2:5061"),
                // RFC 2782: `.` is a decided no; and where there is SRV, the host's own address is none.
                ("sip:no.h;transport=udp", &ALL, "_sip._udp.no.h", ""),
                ("sip:lost.h;transport=udp", &ALL, "_sip._udp.lost.h gone.h", ""),
                ("sip:nowhere;transport=udp", &ALL, "_sip._udp.nowhere nowhere", ""),
            ],
        );
    }

    #[test]
    fn rfc_3263_4_1_without_transport_and_port_naptr_chooses_what_we_speak() {
        // The records of RFC 3263 4.1 and 4.2.
        let records = [
            "example.com NAPTR 50 50 SIPS+D2T _sips._tcp.example.com",
            "example.com NAPTR 90 50 SIP+D2T _sip._tcp.example.com",
            "example.com NAPTR 100 50 SIP+D2U _sip._udp.example.com",
            "example.com NAPTR 1 1 E2U+sip _x.example.com",
            "_sip._tcp.example.com SRV 0 1 5060 server1.example.com",
            "_sip._tcp.example.com SRV 1 2 5060 server2.example.com",
            "_sip._udp.example.com SRV 0 1 5062 server1.example.com",
            "_sips._tcp.example.com SRV 0 1 5061 server3.example.com",
            "server1.example.com A 192.0.2.1",
            "server2.example.com A 192.0.2.2",
            "server3.example.com A 192.0.2.3",
        ];
        let tls = ("_sips._tcp.example.com server3.example.com", "TLS 192.0.2.3:5061");
        let tcp = (
            "_sip._tcp.example.com server1.example.com server2.example.com",
            "TCP 192.0.2.1:5060, TCP 192.0.2.2:5060",
        );
        let udp = ("_sip._udp.example.com server1.example.com", "UDP 192.0.2.1:5062");
        let names = Names::new(&records);
        let cases = [
            ("sip:example.com", ALL.to_vec(), vec![tls, tcp, udp]),
            ("sip:example.com", vec![Transport::Udp, Transport::Tcp], vec![tcp, udp]),
            ("sip:example.com", vec![Transport::Udp], vec![udp]),
            ("sips:example.com", ALL.to_vec(), vec![tls]),
        ];
        for (uri, spoken, parts) in cases {
            let asked: Vec<&str> = parts.iter().map(|part| part.0).collect();
            let found = parts.iter().map(|part| part.1).collect::<Vec<_>>().join(", ");
            // One job after the other: a service, then the addresses of its targets.
            let got = names.search(uri, &spoken, &mut Rng::from_number(1));
            assert_eq!(got, (format!("example.com? {}", asked.join(" ")), found), "{uri} {}", spoken.len());
        }
    }

    #[test]
    fn rfc_3263_4_1_without_naptr_each_transport_is_asked_for_and_else_the_host() {
        let records = [
            "_sip._udp.h SRV 1 0 5070 one.h",
            "_sip._tcp.h SRV 1 0 5080 one.h",
            "_sips._tcp.h SRV 1 0 5081 one.h",
            "one.h A 192.0.2.1",
            "plain A 192.0.2.9",
            "odd NAPTR 1 1 SIP+D2S _sip._sctp.odd",
            "odd A 192.0.2.8",
        ];
        let both = "UDP 192.0.2.1:5070, TCP 192.0.2.1:5080";
        check(
            &records,
            &[
                ("sip:h", &ALL, "h? _sip._udp.h one.h _sip._tcp.h one.h", both),
                ("sip:h", &[Transport::Tcp], "h? _sip._tcp.h one.h", "TCP 192.0.2.1:5080"),
                ("sips:h", &ALL, "h? _sips._tcp.h one.h", "TLS 192.0.2.1:5081"),
                ("sip:plain", &ALL, "plain? _sip._udp.plain _sip._tcp.plain plain", "UDP 192.0.2.9:5060"),
                ("sips:plain", &ALL, "plain? _sips._tcp.plain plain", "TLS 192.0.2.9:5061"),
                ("sip:odd", &[Transport::Udp], "odd? _sip._udp.odd odd", "UDP 192.0.2.8:5060"),
            ],
        );
    }

    #[test]
    fn a_broken_name_service_is_asked_twice_and_then_only_for_the_host() {
        let records =
            ["h fails-naptr", "_sip._udp.h fails-srv", "h A 192.0.2.9", "_sip._tcp.h SRV 1 1 5060 h"];
        check(&records, &[("sip:h", &ALL, "h? _sip._udp.h h", "UDP 192.0.2.9:5060")]);
        let no_naptr = ["h fails-naptr", "_sip._udp.h SRV 1 1 5070 h", "h A 192.0.2.9"];
        check(&no_naptr, &[("sip:h", &[Transport::Udp], "h? _sip._udp.h h", "UDP 192.0.2.9:5070")]);
    }

    #[test]
    fn a_flood_of_records_comes_to_sixteen_places() {
        let mut records = Vec::new();
        for n in 0..40 {
            records.push(format!("_sip._udp.h SRV 1 1 {} h", 5000 + n));
            records.push(format!("h A 192.0.2.{n}"));
        }
        let names = Names::new(&records.iter().map(String::as_str).collect::<Vec<_>>());
        let (asked, found) = names.search("sip:h", &ALL, &mut Rng::from_number(1));
        assert_eq!((asked, found.split(", ").count()), ("h? _sip._udp.h h h".to_owned(), MOST_PLACES));
    }

    #[test]
    fn rfc_2782_the_first_of_a_priority_is_drawn_by_weight() {
        let service =
            |priority, weight, target: &str| Srv { priority, weight, port: 5060, target: target.to_owned() };
        let all = vec![
            service(2, 100, "later"),
            service(1, 60, "a"),
            service(1, 30, "b"),
            service(1, 10, "c"),
            service(1, 0, "never"),
        ];
        let mut rng = Rng::from_number(7);
        let mut first = BTreeMap::new();
        for _ in 0..10_000 {
            let turn = in_turn(all.clone(), &mut rng);
            assert_eq!((turn.len(), turn[4].target.as_str()), (5, "later"), "priority before weight");
            *first.entry(turn[0].target.clone()).or_insert(0) += 1;
        }
        for (target, share) in [("a", 6000), ("b", 3000), ("c", 1000)] {
            let times = first[target];
            assert!((share - 200..share + 200).contains(&times), "{target} {times}");
        }
        assert!(first["never"] < 200, "a weight of 0 has a very small chance");
    }
}
