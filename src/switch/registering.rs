//! REGISTER and OPTIONS: phones say where they are, after they have proven who they are. Unknown names and
//! wrong passwords get the same answer after the same, growing, delay.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::policy::Policy;
use super::{Owner, Switch, What};
use crate::base::bounded::BoundedMap;
use crate::base::id::{DialogKey, FlowKey, LineKey, Rng, ServerTxKey};
use crate::base::time::Now;
use crate::config::raw::Reach;
use crate::sip::digest::{Algorithm, Authenticator, Verdict};
use crate::sip::flow::Flow;
use crate::sip::header::NameAddr;
use crate::sip::registrar::{Limits, Refusal, Registrar};
use crate::sip::uri::Scheme;
use crate::sip::wire::message::{Method, Request};
use crate::telemetry::notice::Notice;

/// Addresses with wrong passwords that are remembered.
const PENALTIES: usize = 4096;
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
}

struct Penalty {
    faults: u32,
    last: Instant,
}

/// What became of proving a name.
pub(super) enum Proof {
    Line(LineKey, String),
    /// 401 now: no credentials yet, or a stale nonce.
    Challenge {
        stale: bool,
    },
    /// 401 later.
    Wrong,
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
            ),
            penalties: BoundedMap::new(PENALTIES),
        }
    }

    /// How long the next refusal waits: doubled with each fault of that address.
    fn delay(&mut self, now: Instant, source: IpAddr) -> Duration {
        if self.penalties.is_full() && !self.penalties.contains_key(&source) {
            let oldest = self.penalties.iter().min_by_key(|(_, p)| p.last).map(|(k, _)| *k);
            if let Some(oldest) = oldest {
                self.penalties.remove(&oldest);
            }
        }
        let faults = match self.penalties.get_mut(&source) {
            Some(penalty) if now.saturating_duration_since(penalty.last) < FORGIVEN => {
                penalty.faults = penalty.faults.saturating_add(1);
                penalty.last = now;
                penalty.faults
            }
            _ => {
                let _ = self.penalties.insert(source, Penalty { faults: 1, last: now });
                1
            }
        };
        (FIRST_DELAY * 2u32.pow((faults - 1).min(5))).min(LONGEST_DELAY)
    }

    fn forgive(&mut self, source: IpAddr) {
        self.penalties.remove(&source);
    }
}

impl Switch {
    /// A request outside a call.
    pub(super) fn request(&mut self, now: Now, tx: ServerTxKey, request: &Request, flow: Flow) {
        match request.method {
            Method::REGISTER => self.register(now, tx, request, flow),
            Method::OPTIONS if self.state.is_draining() => self.endpoint.respond(now, tx, 503, &[]),
            _ => {
                let headers =
                    [("Accept", "application/sdp".to_owned()), ("Allow", self.endpoint.allow().to_owned())];
                self.endpoint.respond(now, tx, 200, &headers);
            }
        }
    }

    fn register(&mut self, now: Now, tx: ServerTxKey, request: &Request, flow: Flow) {
        let to = request.headers.get("To").and_then(|v| NameAddr::parse(v).ok()).map(|to| to.uri);
        let Some(aor) = to.filter(|aor| matches!(aor.scheme, Scheme::Sip | Scheme::Sips)) else {
            // What is registered is a SIP address (RFC 3261 10.3).
            return self.endpoint.respond(now, tx, 400, &[]);
        };
        let (line, name) = match self.prove(now, request, flow) {
            Proof::Line(line, name) => (line, name),
            Proof::Challenge { stale } => {
                let headers = self.challenge(now, stale);
                return self.endpoint.respond(now, tx, 401, &headers);
            }
            Proof::Wrong => {
                let delay = self.gate.delay(now.at, flow.peer.ip());
                return self.timers.set(Owner::Request(tx), What::Refuse, now.at + delay);
            }
            Proof::Malformed => return self.endpoint.respond(now, tx, 400, &[]),
        };
        if aor.user().as_deref() != Some(name.as_str()) {
            return self.endpoint.respond(now, tx, 403, &[]);
        }
        let ours = self.policy.own_addresses();
        match self.gate.registrar.register(now.at, &name, request, flow, &ours) {
            Ok(contacts) => {
                let headers: Vec<(&str, String)> = contacts.into_iter().map(|c| ("Contact", c)).collect();
                let reachable = !headers.is_empty();
                self.endpoint.respond(now, tx, 200, &headers);
                self.reachable(now, line, reachable);
                self.plan_expiry();
            }
            Err(refusal) => {
                let seconds = self.policy.config.registrar.min_expires.value.as_secs().to_string();
                let headers: &[(&str, String)] =
                    if refusal == Refusal::TooBrief { &[("Min-Expires", seconds)] } else { &[] };
                self.endpoint.respond(now, tx, refusal.status(), headers);
            }
        }
    }

    /// Judges the credentials of a phone.
    pub(super) fn prove(&mut self, now: Now, request: &Request, flow: Flow) -> Proof {
        let mut values = request.headers.all("Authorization");
        let Some(value) = values.find(|value| self.gate.authenticator.concerns(value)) else {
            return Proof::Challenge { stale: false };
        };
        let policy = self.policy.clone();
        let password = |name: &str| {
            let line = policy.line(policy.line_named(name)?)?;
            match &line.reach {
                Reach::Registers { password } => Some(password.value.0.clone()),
                Reach::Fixed { .. } | Reach::Telephone { .. } => None,
            }
        };
        let method = request.method.as_str();
        match self.gate.authenticator.verify(now.at, method, &request.uri, value, password) {
            Verdict::Ok(name) => {
                self.gate.forgive(flow.peer.ip());
                self.policy.line_named(&name).map_or(Proof::Wrong, |line| Proof::Line(line, name))
            }
            Verdict::Stale => Proof::Challenge { stale: true },
            Verdict::Wrong => {
                self.notice(Notice::AuthFailed);
                Proof::Wrong
            }
            Verdict::Malformed => Proof::Malformed,
        }
    }

    pub(super) fn challenge(&mut self, now: Now, stale: bool) -> Vec<(&'static str, String)> {
        let challenges = self.gate.authenticator.challenge(now.at, stale);
        challenges.into_iter().map(|c| ("WWW-Authenticate", c)).collect()
    }

    pub(super) fn delay_challenge(&mut self, now: Now, dialog: DialogKey, flow: Flow) {
        let delay = self.gate.delay(now.at, flow.peer.ip());
        self.timers.set(Owner::Dialog(dialog), What::Refuse, now.at + delay);
    }

    pub(super) fn refuse_late(&mut self, now: Now, tx: ServerTxKey) {
        let headers = self.challenge(now, false);
        self.endpoint.respond(now, tx, 401, &headers);
    }

    pub(super) fn challenge_late(&mut self, now: Now, dialog: DialogKey) {
        let headers = self.challenge(now, false);
        self.endpoint.reject(now, dialog, 401, &headers);
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
