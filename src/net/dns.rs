//! Answers `sip::target`'s questions: the addresses of a host name (A and AAAA, by the system's resolver).
//!
//! Never blocks and never owes an answer: who may ask has an answer's place reserved.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::base::bounded::Full;
use crate::base::id::QueryKey;

/// Addresses of one answer; more are left out.
const ADDRESSES: usize = 8;
/// Names remembered; past it all are asked anew.
const NAMES: usize = 256;
/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(30);
/// How long an answer is better than none, when nobody answers any more.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The answer to one question; no addresses when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub query: QueryKey,
    pub addresses: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
pub struct DnsConfig {
    /// Questions unanswered at a time. Past it a question comes back at once.
    pub questions: usize,
    /// Look-ups at a time, each on a thread of the runtime. More wait their turn.
    pub lookups: usize,
    /// From question to answer.
    pub timeout: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { questions: 1024, lookups: 16, timeout: Duration::from_secs(4) }
    }
}

/// Asks the system's resolver.
pub struct Dns {
    answers: mpsc::Sender<Resolved>,
    resolver: Arc<Resolver>,
    runtime: Handle,
}

type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

struct Resolver {
    turns: Arc<Semaphore>,
    timeout: Duration,
    known: Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>,
    lookup: Arc<Lookup>,
}

impl Dns {
    /// Must be called within a tokio runtime.
    pub fn start(config: DnsConfig) -> std::io::Result<(Self, mpsc::Receiver<Resolved>)> {
        Self::with_lookup(config, Arc::new(ask_system))
    }

    fn with_lookup(
        config: DnsConfig,
        lookup: Arc<Lookup>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Resolved>)> {
        let runtime = Handle::try_current().map_err(std::io::Error::other)?;
        let (answers, receiver) = mpsc::channel(config.questions.max(1));
        let resolver = Arc::new(Resolver {
            turns: Arc::new(Semaphore::new(config.lookups.max(1))),
            timeout: config.timeout,
            known: Mutex::default(),
            lookup,
        });
        Ok((Self { answers, resolver, runtime }, receiver))
    }

    /// Asks for the addresses of `host` (a name, or a literal with or without brackets). The answer
    /// comes as [`Resolved`], always; unless too many questions wait, then the key comes back.
    pub fn resolve(&self, query: QueryKey, host: &str, port: u16) -> Result<(), Full<QueryKey>> {
        let answer = self.answers.clone().try_reserve_owned().map_err(|_| Full(query))?;
        let at_port = move |ips: Vec<IpAddr>| {
            let addresses = ips.into_iter().take(ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect();
            Resolved { query, addresses }
        };
        let Some(name) = checked_name(host) else {
            answer.send(at_port(literal(host).into_iter().collect()));
            return Ok(());
        };
        if let Some(ips) = self.resolver.remembered(&name, FRESH) {
            answer.send(at_port(ips));
            return Ok(());
        }
        let resolver = self.resolver.clone();
        self.runtime.spawn(async move {
            answer.send(at_port(resolver.addresses(name).await));
        });
        Ok(())
    }
}

impl Resolver {
    async fn addresses(&self, name: String) -> Vec<IpAddr> {
        let found = timeout(self.timeout, self.look_up(&name)).await.unwrap_or_default();
        if found.is_empty() { self.remembered(&name, STALE).unwrap_or_default() } else { found }
    }

    /// The turn goes with the thread: a look-up that hangs past our patience still counts.
    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return Vec::new() };
        // Whoever had the turn before may have asked the same.
        if let Some(ips) = self.remembered(name, FRESH) {
            return ips;
        }
        let (lookup, asked) = (self.lookup.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let ips = lookup(&asked);
            drop(turn);
            ips
        });
        let found = unique(found.await.unwrap_or_default());
        if !found.is_empty() {
            self.remember(name, &found);
        }
        found
    }

    fn remembered(&self, name: &str, age: Duration) -> Option<Vec<IpAddr>> {
        let known = self.known();
        known.get(name).filter(|(at, _)| at.elapsed() < age).map(|(_, ips)| ips.clone())
    }

    fn remember(&self, name: &str, ips: &[IpAddr]) {
        let mut known = self.known();
        if known.len() >= NAMES && !known.contains_key(name) {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), ips.to_vec()));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Vec<IpAddr>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask_system(name: &str) -> Vec<IpAddr> {
    (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// A host name (RFC 3261 25.1) in lower case. Its last label begins with a letter: resolvers take
/// `127.1` and `0x7f000001` for addresses, SIP does not.
fn checked_name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        label.len() <= 63
            && edge(bytes.last())
            && (edge(bytes.first()) || bytes.first() == Some(&b'_'))
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = name.rsplit('.').next()?;
    let good = name.len() <= 253
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.split('.').all(label);
    good.then(|| name.to_ascii_lowercase())
}

fn unique(ips: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for ip in ips {
        if !seen.contains(&ip) && seen.len() < ADDRESSES {
            seen.push(ip);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn next(answers: &mut mpsc::Receiver<Resolved>) -> Resolved {
        timeout(Duration::from_secs(10), answers.recv()).await.expect("in time").expect("an answer")
    }

    fn dns(
        config: DnsConfig,
        lookup: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> (Dns, mpsc::Receiver<Resolved>) {
        Dns::with_lookup(config, Arc::new(lookup)).expect("runtime")
    }

    #[tokio::test]
    async fn literals_and_names_are_answered_and_nonsense_gets_nothing() {
        let (dns, mut answers) = Dns::start(DnsConfig::default()).expect("runtime");
        let cases = [
            ("192.0.2.7", "192.0.2.7:5062"),
            ("[2001:db8::7]", "[2001:db8::7]:5062"),
            ("2001:db8::7", "[2001:db8::7]:5062"),
            ("127.1", ""),
            ("0x7f000001", ""),
            ("a b", ""),
            ("a..b", ""),
            ("-a", ""),
            ("", ""),
        ];
        for (number, (host, expected)) in cases.into_iter().enumerate() {
            let query = QueryKey(number as u64);
            dns.resolve(query, host, 5062).expect("room");
            let addresses = expected.parse().into_iter().collect();
            assert_eq!(next(&mut answers).await, Resolved { query, addresses }, "{host}");
        }
        dns.resolve(QueryKey(99), "localhost", 5060).expect("room");
        let local = next(&mut answers).await.addresses;
        assert!(!local.is_empty() && local.iter().all(|a| a.ip().is_loopback() && a.port() == 5060));
    }

    #[tokio::test]
    async fn an_answer_has_at_most_eight_addresses_and_is_remembered() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let (dns, mut answers) = dns(DnsConfig::default(), move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            (0..20).map(|n| IpAddr::from([192, 0, 2, n / 2])).collect()
        });
        for query in 1..=3 {
            dns.resolve(QueryKey(query), "Trunk.example.", 5060).expect("room");
            let answer = next(&mut answers).await;
            assert_eq!((answer.query, answer.addresses.len()), (QueryKey(query), 8));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_costs_its_turn_and_nobody_waits_longer_than_the_timeout() {
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let config = DnsConfig { questions: 3, lookups: 1, timeout: Duration::from_millis(20) };
        let (dns, mut answers) = dns(config, move |_| {
            let _ = held.lock().expect("lock").recv();
            Vec::new()
        });
        for query in 1..=3 {
            dns.resolve(QueryKey(query), "gone.example", 5060).expect("room");
        }
        assert_eq!(dns.resolve(QueryKey(4), "gone.example", 5060), Err(Full(QueryKey(4))));
        for _ in 0..3 {
            assert_eq!(next(&mut answers).await.addresses, []);
        }
        drop(let_go);
    }
}
