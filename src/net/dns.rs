//! Answers `sip::target`'s questions: the addresses of a host, and which services a domain offers (SRV, NAPTR).
//!
//! Never blocks and never owes an answer: who may ask has an answer's place reserved. `dns_query` does the asking.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::dns_query::Library;
use crate::base::bounded::Full;
use crate::base::id::QueryKey;
use crate::sip::target::{Answer, Question};

/// Records of one answer; more are left out.
pub(super) const RECORDS: usize = 32;
/// Addresses of one answer; more are left out.
const ADDRESSES: usize = 8;
/// Questions remembered; past it all are asked anew.
const NAMES: usize = 256;
/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(30);
/// How long an old answer is used before the name service, which gave none, is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer is better than none, when nobody answers any more.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The answer to one question. No `Debug`: what a name service says is nobody's to print.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    pub query: QueryKey,
    pub answer: Answer,
}

#[derive(Clone, Copy)]
pub struct DnsConfig {
    /// Questions unanswered at a time. Past it a question comes back at once.
    pub questions: usize,
    /// Look-ups at a time; of addresses by the system, each on a thread of the runtime. More wait their turn.
    pub lookups: usize,
    /// This name server alone is asked, instead of those of the system.
    pub server: Option<SocketAddr>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { questions: 1024, lookups: 16, server: None }
    }
}

/// Asks the system's resolver for addresses, and its name servers for services.
pub struct Dns {
    answers: mpsc::Sender<Resolved>,
    resolver: Arc<Resolver>,
    runtime: Handle,
}

type Asked = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// Answers with all there is; keeps the turn for as long as the question costs something.
type Lookup = dyn Fn(Question, OwnedSemaphorePermit) -> Asked + Send + Sync;

struct Resolver {
    turns: Arc<Semaphore>,
    known: Mutex<Memory>,
    lookup: Arc<Lookup>,
}

/// Answers that were given.
#[derive(Default)]
struct Memory(BTreeMap<Question, Known>);

struct Known {
    answer: Answer,
    at: Instant,
    /// Till then it is used without asking.
    until: Instant,
}

impl Dns {
    /// Must be called within a tokio runtime.
    pub fn start(config: DnsConfig) -> std::io::Result<(Self, mpsc::Receiver<Resolved>)> {
        let library = Arc::new(Library::new(config.server));
        let lookup = move |question, turn| -> Asked {
            let library = library.clone();
            Box::pin(async move { library.ask(question, turn).await })
        };
        Self::with_lookup(config, Arc::new(lookup))
    }

    fn with_lookup(
        config: DnsConfig,
        lookup: Arc<Lookup>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Resolved>)> {
        let runtime = Handle::try_current().map_err(std::io::Error::other)?;
        let (answers, receiver) = mpsc::channel(config.questions.max(1));
        let turns = Arc::new(Semaphore::new(config.lookups.max(1)));
        let resolver = Arc::new(Resolver { turns, known: Mutex::default(), lookup });
        Ok((Self { answers, resolver, runtime }, receiver))
    }

    /// Asks. The answer comes as [`Resolved`], always, and `within` that time; unless too many questions wait,
    /// then the key comes back. The host of [`Question::Addresses`] may be a literal, with or without brackets.
    pub fn resolve(
        &self,
        query: QueryKey,
        question: Question,
        within: Duration,
    ) -> Result<(), Full<QueryKey>> {
        let place = self.answers.clone().try_reserve_owned().map_err(|_| Full(query))?;
        let question = match checked(question) {
            Ok(question) => question,
            Err(answer) => {
                place.send(Resolved { query, answer });
                return Ok(());
            }
        };
        if let Some(answer) = self.resolver.fresh(&question) {
            place.send(Resolved { query, answer });
            return Ok(());
        }
        let resolver = self.resolver.clone();
        self.runtime.spawn(async move {
            let answer = resolver.answer(question, within).await;
            place.send(Resolved { query, answer });
        });
        Ok(())
    }
}

impl Resolver {
    async fn answer(&self, question: Question, within: Duration) -> Answer {
        match timeout(within, self.look_up(&question)).await {
            Ok(answer) if answer != Answer::Failed => answer,
            Ok(_) | Err(_) => self.known().stale(Instant::now(), question),
        }
    }

    async fn look_up(&self, question: &Question) -> Answer {
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return Answer::Failed };
        // Whoever had the turn before may have asked the same.
        if let Some(answer) = self.fresh(question) {
            return answer;
        }
        let answer = bounded((self.lookup)(question.clone(), turn).await);
        if answer != Answer::Failed {
            self.known().remember(Instant::now(), question, &answer);
        }
        answer
    }

    fn fresh(&self, question: &Question) -> Option<Answer> {
        self.known().fresh(Instant::now(), question)
    }

    fn known(&self) -> MutexGuard<'_, Memory> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn fresh(&self, now: Instant, question: &Question) -> Option<Answer> {
        self.0.get(question).filter(|known| now < known.until).map(|known| known.answer.clone())
    }

    /// What was known before the name service failed, for a while without asking it. That there is nothing counts
    /// as known, too, or every call would wait for services that nobody tells; a host is asked for each time.
    fn stale(&mut self, now: Instant, question: Question) -> Answer {
        let until = now + AGAIN;
        if let Some(old) = self.0.get_mut(&question).filter(|old| now < old.at + STALE) {
            old.until = until;
            return old.answer.clone();
        }
        let is_host = matches!(question, Question::Addresses(_));
        if !is_host {
            self.keep(question, Known { answer: Answer::Failed, at: now, until });
        }
        Answer::Failed
    }

    fn remember(&mut self, now: Instant, question: &Question, answer: &Answer) {
        // That a host has no address may be a slip, or the outage itself: better what it had a while ago.
        if !matches!(answer, Answer::Addresses(list) if list.is_empty()) {
            let known = Known { answer: answer.clone(), at: now, until: now + FRESH };
            self.keep(question.clone(), known);
        }
    }

    fn keep(&mut self, question: Question, known: Known) {
        if self.0.len() >= NAMES && !self.0.contains_key(&question) {
            self.0.clear();
        }
        self.0.insert(question, known);
    }
}

/// A question that can be asked; else its answer: a literal is its own address, and nonsense has nothing.
fn checked(question: Question) -> Result<Question, Answer> {
    match question {
        Question::Addresses(host) => match checked_name(&host) {
            Some(name) => Ok(Question::Addresses(name)),
            None => Err(Answer::Addresses(literal(&host).into_iter().collect())),
        },
        Question::Services(name) => {
            checked_name(&name).map(Question::Services).ok_or(Answer::Services(Vec::new()))
        }
        Question::Pointers(name) => {
            checked_name(&name).map(Question::Pointers).ok_or(Answer::Pointers(Vec::new()))
        }
    }
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

fn bounded(answer: Answer) -> Answer {
    match answer {
        Answer::Addresses(list) => {
            let mut seen = Vec::new();
            for ip in list {
                if !seen.contains(&ip) && seen.len() < ADDRESSES {
                    seen.push(ip);
                }
            }
            Answer::Addresses(seen)
        }
        Answer::Services(mut list) => {
            list.truncate(RECORDS);
            Answer::Services(list)
        }
        Answer::Pointers(mut list) => {
            list.truncate(RECORDS);
            Answer::Pointers(list)
        }
        Answer::Failed => Answer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sip::target::Srv;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(10);

    async fn next(answers: &mut mpsc::Receiver<Resolved>) -> Resolved {
        timeout(Duration::from_secs(10), answers.recv()).await.expect("in time").expect("an answer")
    }

    fn dns(
        config: DnsConfig,
        lookup: impl Fn(&Question) -> Answer + Send + Sync + 'static,
    ) -> (Dns, mpsc::Receiver<Resolved>) {
        let lookup = Arc::new(lookup);
        let asked = move |question: Question, turn: OwnedSemaphorePermit| -> Asked {
            let lookup = lookup.clone();
            Box::pin(async move {
                let thread = tokio::task::spawn_blocking(move || {
                    let answer = lookup(&question);
                    drop(turn);
                    answer
                });
                thread.await.unwrap_or(Answer::Failed)
            })
        };
        Dns::with_lookup(config, Arc::new(asked)).expect("runtime")
    }

    fn addresses(host: &str) -> Question {
        Question::Addresses(host.to_owned())
    }

    fn list(answer: Answer) -> Vec<IpAddr> {
        match answer {
            Answer::Addresses(list) => list,
            _ => panic!("no addresses"),
        }
    }

    #[tokio::test]
    async fn literals_and_names_are_answered_and_nonsense_gets_nothing() {
        let (dns, mut answers) = Dns::start(DnsConfig::default()).expect("runtime");
        let cases = [
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("127.1", ""),
            ("0x7f000001", ""),
            ("a b", ""),
            ("a..b", ""),
            ("-a", ""),
            ("", ""),
        ];
        for (number, (host, expected)) in cases.into_iter().enumerate() {
            let query = QueryKey(number as u64);
            dns.resolve(query, addresses(host), LATE).expect("room");
            let expected: Vec<IpAddr> = expected.parse().into_iter().collect();
            let answer = next(&mut answers).await;
            assert_eq!((answer.query, list(answer.answer)), (query, expected), "{host}");
        }
        dns.resolve(QueryKey(99), addresses("localhost"), LATE).expect("room");
        let local = list(next(&mut answers).await.answer);
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn an_answer_has_at_most_eight_addresses_and_is_remembered() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let (dns, mut answers) = dns(DnsConfig::default(), move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Answer::Addresses((0..20).map(|n| IpAddr::from([192, 0, 2, n / 2])).collect())
        });
        for query in 1..=3 {
            dns.resolve(QueryKey(query), addresses("Trunk.example."), LATE).expect("room");
            let answer = next(&mut answers).await;
            assert_eq!((answer.query, list(answer.answer).len()), (QueryKey(query), 8));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_costs_its_turn_and_nobody_waits_longer_than_it_wants() {
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let config = DnsConfig { questions: 3, lookups: 1, server: None };
        let (dns, mut answers) = dns(config, move |_| {
            let _ = held.lock().expect("lock").recv();
            Answer::Failed
        });
        for query in 1..=3 {
            dns.resolve(QueryKey(query), addresses("gone.example"), SOON).expect("room");
        }
        assert_eq!(dns.resolve(QueryKey(4), addresses("gone.example"), SOON), Err(Full(QueryKey(4))));
        for _ in 0..3 {
            assert!(next(&mut answers).await.answer == Answer::Failed);
        }
        drop(let_go);
    }

    #[test]
    fn an_old_answer_is_better_than_none_and_none_is_remembered_for_services() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let services = Question::Services("_sip._udp.example".to_owned());
        let service = Srv { priority: 1, weight: 1, port: 5060, target: "a.example".to_owned() };
        let answer = Answer::Services(vec![service]);
        memory.remember(at(0), &services, &answer);
        assert!(memory.fresh(at(29), &services).is_some() && memory.fresh(at(30), &services).is_none());
        assert!(memory.stale(at(30), services.clone()) == answer);
        assert!(memory.fresh(at(39), &services).is_some(), "the silent name service is left alone");
        assert!(memory.fresh(at(40), &services).is_none());
        assert!(memory.stale(at(86_400), services.clone()) == Answer::Failed, "a day later");
        assert!(memory.fresh(at(86_409), &services) == Some(Answer::Failed));
        assert!(memory.stale(at(0), addresses("gone.example")) == Answer::Failed);
        assert!(memory.fresh(at(1), &addresses("gone.example")).is_none(), "a host is asked for each time");
        for n in 0..1000 {
            memory.remember(at(0), &Question::Services(format!("n{n}.example")), &answer);
        }
        assert!(memory.0.len() <= NAMES);
    }
}
