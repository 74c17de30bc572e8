//! REGISTER: phones say where they are, after they have proven who they are. Unknown names and wrong passwords
//! get the same answer after the same, growing, delay.
//!
//! While such an answer waits, nothing else that this address says for this account is judged or answered: the
//! delay holds for guesses beside each other, too. A phone repeats its request and is heard when the delay is
//! over. Other accounts behind the same address (an office) are not held up by it. Only who was given a
//! nonce at an address can bring a delay upon it, so a forged address locks nobody out. All of it is bounded: past
//! a bound, an answer does not come, and the right password is taken still.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::io::Output;
use super::policy::Policy;
use super::{Owner, Switch, What};
use crate::base::bounded::BoundedMap;
use crate::base::id::{FlowKey, LineKey, Rng};
use crate::base::time::Now;
use crate::config::raw::Reach;
use crate::sip::digest::{Algorithm, Authenticator, Secret, Verdict, Vouched};
use crate::sip::endpoint::Arrival;
use crate::sip::flow::Flow;
use crate::sip::header::{NameAddr, split_list};
use crate::sip::registrar::{Limits, Refusal, Registered, Registrar};
use crate::sip::uri::Scheme;
use crate::sip::wire::message::Request;
use crate::store::request::{BindingRow, StoreRequest};
use crate::telemetry::notice::{self, Notice};

/// How often a phone is asked to keep its flow alive (RFC 5626 4.4.1): below what most address translators forget.
const FLOW_TIMER: Duration = Duration::from_secs(120);
/// Addresses with wrong passwords that are remembered.
const PENALTIES: usize = 4096;
/// Accounts of one address that are held at a time; while they are, it is heard for no other.
const HELD: usize = 4;
/// Answers that wait for their delay; what is refused past it is not answered.
const LATE: usize = 256;
/// The first delay, and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// After so long without a fault an address begins anew.
const FORGIVEN: Duration = Duration::from_secs(300);

/// Who may register, and who has.
pub(super) struct Gate {
    pub registrar: Registrar,
    authenticator: Authenticator,
    penalties: BoundedMap<IpAddr, Penalty>,
    late: BoundedMap<u64, Arrival>,
}

struct Penalty {
    faults: u32,
    last: Instant,
    /// Accounts, and until when nothing of them is judged.
    held: Vec<(u64, Instant)>,
}

/// What became of proving a name.
pub(super) enum Proof {
    Line(LineKey, String),
    /// 401 now: no credentials yet, or a stale nonce.
    Challenge {
        stale: bool,
    },
    /// 401 after this delay.
    Wrong(Duration),
    /// Not judged: silence until a delay is over.
    Held,
    Malformed,
}

impl Gate {
    pub(super) fn new(policy: &Policy, rng: Rng) -> Self {
        let registrar = &policy.config.registrar;
        let limits =
            Limits { min_expires: registrar.min_expires.value, max_expires: registrar.max_expires.value };
        Self {
            registrar: Registrar::new(policy.config.limits.registrations.value as usize, limits),
            authenticator: Authenticator::new(
                &registrar.realm.value,
                registrar.nonce_lifetime.value,
                &registrar
                    .algorithms
                    .iter()
                    .filter_map(|a| Algorithm::from_name(&a.value))
                    .collect::<Vec<_>>(),
                rng,
            )
            .with_bodies(registrar.auth_int.value),
            penalties: BoundedMap::new(PENALTIES),
            late: BoundedMap::new(LATE),
        }
    }

    fn is_held(&mut self, now: Instant, source: IpAddr, account: u64) -> bool {
        let Some(penalty) = self.penalties.get_mut(&source) else { return false };
        penalty.held.retain(|(_, until)| *until > now);
        penalty.held.len() >= HELD || penalty.held.iter().any(|(held, _)| *held == account)
    }

    /// How long the refusal waits, doubled with each fault of that address; until then the account is held.
    fn fault(&mut self, now: Instant, source: IpAddr, account: u64) -> Duration {
        if self.penalties.is_full() && !self.penalties.contains_key(&source) {
            if let Some(oldest) = self.penalties.oldest().map(|(source, _)| *source) {
                self.penalties.remove(&oldest);
            }
        }
        let mut penalty = self
            .penalties
            .remove(&source)
            .filter(|p| now.saturating_duration_since(p.last) < FORGIVEN)
            .unwrap_or(Penalty { faults: 0, last: now, held: Vec::new() });
        let delay = (FIRST_DELAY * 2u32.pow(penalty.faults.min(5))).min(LONGEST_DELAY);
        penalty.faults = penalty.faults.saturating_add(1);
        penalty.last = now;
        penalty.held.push((account, now + delay));
        let _ = self.penalties.insert(source, penalty);
        delay
    }

    /// A right password; what is held stays so.
    fn forgive(&mut self, source: IpAddr) {
        if let Some(penalty) = self.penalties.get_mut(&source) {
            penalty.faults = 0;
        }
    }
}

/// What the 200 says: the bindings, and of RFC 3327 and 5626 what the phone asks for.
fn registered(request: &Request, listed: Registered) -> Vec<(&'static str, String)> {
    let mut headers: Vec<(&str, String)> = listed.contacts.into_iter().map(|c| ("Contact", c)).collect();
    let knows_path = request.headers.all("Supported").flat_map(split_list).any(|tag| tag.trim() == "path");
    let path = request.headers.all("Path").filter(|_| knows_path);
    headers.extend(path.map(|value| ("Path", value.to_owned())));
    if listed.outbound {
        headers.push(("Require", "outbound".to_owned()));
        headers.push(("Flow-Timer", FLOW_TIMER.as_secs().to_string()));
    }
    headers.push(("Supported", "path, outbound".to_owned()));
    headers
}

/// An account by a number, for the time that it is held.
fn account_number(name: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Switch {
    pub(super) fn register(&mut self, now: Now, arrival: Arrival) {
        let to = arrival.request.headers.get("To").and_then(|v| NameAddr::parse(v).ok()).map(|to| to.uri);
        let Some(aor) = to.filter(|aor| matches!(aor.scheme, Scheme::Sip | Scheme::Sips)) else {
            // What is registered is a SIP address (RFC 3261 10.3).
            return self.endpoint.reply(&arrival, 400, &[]);
        };
        let Some((arrival, line, name)) = self.prove(now, arrival) else { return };
        if aor.user().as_deref() != Some(name.as_str()) {
            return self.endpoint.reply(&arrival, 403, &[]);
        }
        let Some(tx) = self.endpoint.admit_request(now, &arrival) else { return };
        let Arrival { request, flow, .. } = arrival;
        let ours = self.policy.own_addresses();
        match self.gate.registrar.register(now.at, &name, &request, flow, &ours) {
            Ok(listed) => {
                let reachable = !listed.contacts.is_empty();
                self.endpoint.respond(now, tx, 200, &registered(&request, listed));
                self.keep_bindings(now, &name);
                if flow.transport.is_reliable() {
                    self.outputs.push_back(Output::Proven { flow: flow.key });
                }
                self.reachable(now, line, reachable);
                self.plan_expiry();
            }
            Err(refusal) => {
                let seconds = self.policy.config.registrar.min_expires.value.as_secs().to_string();
                let headers: &[(&str, String)] = match refusal {
                    Refusal::TooBrief => &[("Min-Expires", seconds)],
                    Refusal::Full => &[("Retry-After", "30".into())],
                    _ => &[],
                };
                if refusal == Refusal::Full {
                    self.notice(Notice::Overload);
                }
                self.endpoint.respond(now, tx, refusal.status(), headers);
            }
        }
    }

    /// Bindings over datagrams outlive us: their phones don't notice a restart. Connections end with us, and their phones
    /// open others (RFC 5626 4.4).
    fn keep_bindings(&mut self, now: Now, line: &str) {
        let bindings = self.gate.registrar.bindings(line, now.at);
        let lasting = bindings.into_iter().rev().filter(|b| !b.flow.transport.is_reliable());
        let rows = lasting.map(|binding| BindingRow {
            contact: binding.contact.to_string(),
            path: binding.path,
            local: binding.flow.local,
            peer: binding.flow.peer,
            expires_at: now.utc + binding.expires.saturating_duration_since(now.at),
        });
        let rows = rows.collect();
        self.outputs.push_back(Output::Store(StoreRequest::SaveBindings { line: line.to_owned(), rows }));
    }

    /// Puts back where lines were reached before a restart. `flow` tells by which listener of ours, if it is still there.
    pub fn restore_bindings(
        &mut self,
        now: Now,
        bindings: &BTreeMap<String, Vec<BindingRow>>,
        flow: impl Fn(&BindingRow) -> Option<Flow>,
    ) {
        for (name, rows) in bindings {
            let Some(key) = self.policy.line_named(name) else { continue };
            if !self.policy.line(key).is_some_and(|line| matches!(line.reach, Reach::Registers { .. })) {
                continue;
            }
            for row in rows {
                let left = (row.expires_at - now.utc).to_std().ok().filter(|left| !left.is_zero());
                let (Some(left), Some(flow)) = (left, flow(row)) else { continue };
                self.gate.registrar.restore(name, &row.contact, row.path.clone(), flow, now.at + left);
            }
            if !self.gate.registrar.bindings(name, now.at).is_empty() {
                self.reachable(now, key, true);
            }
        }
        self.plan_expiry();
    }

    /// The line that sends this, and its name. `None`: it has proven nothing and is answered, or will be.
    pub(super) fn prove(&mut self, now: Now, arrival: Arrival) -> Option<(Arrival, LineKey, String)> {
        match self.judge(now, &arrival) {
            Proof::Line(line, name) => return Some((arrival, line, name)),
            Proof::Challenge { stale } => self.challenge(now, &arrival, stale),
            Proof::Wrong(delay) => self.challenge_late(now, arrival, delay),
            Proof::Held => {}
            Proof::Malformed => self.endpoint.reply(&arrival, 400, &[]),
        }
        None
    }

    fn judge(&mut self, now: Now, arrival: &Arrival) -> Proof {
        let Arrival { request, flow, .. } = arrival;
        let mut values = request.headers.all("Authorization");
        let Some(value) = values.find(|value| self.gate.authenticator.concerns(value)) else {
            return Proof::Challenge { stale: false };
        };
        let source = flow.source();
        let name = self.gate.authenticator.account(value);
        let account = account_number(&name);
        if self.gate.is_held(now.at, source, account) {
            return Proof::Held;
        }
        let policy = self.policy.clone();
        let password = |name: &str| {
            let line = policy.line(policy.line_named(name)?)?;
            match &line.reach {
                Reach::Registers { password } => Secret::parse(&password.value.0),
                Reach::Fixed { .. } | Reach::Telephone { .. } => None,
            }
        };
        let method = request.method.as_str();
        let vouched = Vouched { method, uri: &request.uri, body: &request.body };
        match self.gate.authenticator.verify(now.at, source, &vouched, value, password) {
            Verdict::Ok(name) => {
                self.gate.forgive(source);
                let line = self.policy.line_named(&name);
                line.map_or(Proof::Malformed, |line| Proof::Line(line, name))
            }
            Verdict::Stale => Proof::Challenge { stale: true },
            Verdict::Wrong => {
                let line = self.policy.line_named(&name);
                self.notice(Notice::AuthFailed { line });
                Proof::Wrong(self.gate.fault(now.at, source, account))
            }
            Verdict::Malformed => Proof::Malformed,
        }
    }

    fn challenge(&mut self, now: Now, arrival: &Arrival, stale: bool) {
        let challenges = self.gate.authenticator.challenge(now.at, arrival.flow.source(), stale);
        let headers: Vec<_> = challenges.into_iter().map(|c| ("WWW-Authenticate", c)).collect();
        self.endpoint.reply(arrival, 401, &headers);
    }

    fn challenge_late(&mut self, now: Now, arrival: Arrival, delay: Duration) {
        let number = self.mint.serial.next();
        if self.gate.late.insert(number, arrival.essence()).is_err() {
            return self.notice(Notice::Dropped { reason: notice::Drop::Flood, count: 1 });
        }
        self.timers.set(Owner::Late(number), What::Refuse, now.at + delay);
    }

    pub(super) fn refuse_late(&mut self, now: Now, number: u64) {
        if let Some(arrival) = self.gate.late.remove(&number) {
            self.challenge(now, &arrival, false);
        }
    }

    fn reachable(&mut self, now: Now, key: LineKey, reachable: bool) {
        let Some(line) = self.floor.line_mut(key) else { return };
        let was = line.is_reachable();
        line.set_reachable(reachable);
        if was != reachable {
            self.notice(if reachable {
                Notice::Registered { line: key }
            } else {
                Notice::Unregistered { line: key }
            });
        }
        self.line_changed(now, key);
    }

    /// A stream was closed: phones behind it can't be reached (RFC 5626 4.2).
    pub(super) fn bindings_closed(&mut self, now: Now, flow: FlowKey) {
        let gone = self.gate.registrar.flow_closed(flow);
        self.unreachable(now, &gone);
    }

    pub(super) fn bindings_due(&mut self, now: Now) {
        let gone = self.gate.registrar.expire(now.at);
        self.unreachable(now, &gone);
        self.plan_expiry();
    }

    fn unreachable(&mut self, now: Now, names: &[String]) {
        for name in names {
            if let Some(line) = self.policy.line_named(name) {
                self.reachable(now, line, false);
            }
        }
    }

    fn plan_expiry(&mut self) {
        match self.gate.registrar.next_expiry() {
            Some(at) => self.timers.set(Owner::Switch, What::Bindings, at),
            None => self.timers.cancel(Owner::Switch, What::Bindings),
        }
    }
}
