//! Digest authentication (RFC 7616, 8760): challenge and verify as server, answer as client.
//! SHA-512-256, SHA-256 and MD5, `qop` of `auth` and `auth-int`. Nonces live for a time, each count is taken once.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};
use subtle::ConstantTimeEq as _;

use super::header::split_list;
use crate::base::bounded::BoundedMap;
use crate::base::id::Rng;

/// Nonces whose counts are held at a time. Only a right password puts one here, so a flood of strangers
/// can't push out a phone's; past it a right answer is `Stale` until old ones have run out.
const NONCES: usize = 50_000;
/// Hexadecimal digits of a nonce's time in milliseconds, of its random part and of its seal: enough to be neither
/// guessed nor made twice, and no more, since strangers are sent it.
const TIME: usize = 12;
const SALT: usize = 8;
const SEAL: usize = 24;
/// How far a nonce count may run ahead of the highest seen (a lost packet, a second flow).
const WINDOW: u32 = 64;

/// Hash algorithms in the order in which we offer them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha512_256,
    Sha256,
    Md5,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha512_256 => "SHA-512-256",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// From its name in a header or the config, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha512_256, Self::Sha256, Self::Md5].into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }

    fn hash(self, text: impl AsRef<[u8]>) -> String {
        #[cfg(test)]
        tests::HASHES.with(|count| count.set(count.get() + 1));
        match self {
            Self::Sha512_256 => hex(&Sha512_256::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Md5 => hex(&Md5::digest(text)),
        }
    }
}

/// What an account is proven by. No `Debug`.
#[derive(Clone)]
pub enum Secret {
    Password(String),
    /// `H(user:realm:password)` in hex digits, for the algorithms that it was made with: who reads it can prove to be
    /// the account in this realm, but has no password for anything else (RFC 7616 5.12).
    Ha1(Vec<(Algorithm, String)>),
}

/// How a secret of the configuration begins that is no password: `ha1:sha-256:HEX md5:HEX`.
pub const HA1: &str = "ha1:";

impl Secret {
    /// Reads what the configuration has. `None`: it begins as HA1 and is none.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix(HA1) else { return Some(Self::Password(text.to_owned())) };
        let part = |part: &str| {
            let (name, value) = part.split_once(':')?;
            let algorithm = Algorithm::from_name(name)?;
            let digits = if algorithm == Algorithm::Md5 { 32 } else { 64 };
            let sound = value.len() == digits && value.bytes().all(|b| b.is_ascii_hexdigit());
            sound.then(|| (algorithm, value.to_ascii_lowercase()))
        };
        let all: Option<Vec<_>> = rest.split_whitespace().map(part).collect();
        all.filter(|all| !all.is_empty()).map(Self::Ha1)
    }

    /// Whether it can prove an account by this algorithm.
    pub fn has(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Password(_) => true,
            Self::Ha1(all) => all.iter().any(|(a, _)| *a == algorithm),
        }
    }
}

impl From<String> for Secret {
    fn from(password: String) -> Self {
        Self::Password(password)
    }
}

impl Secret {
    fn ha1(&self, algorithm: Algorithm, user: &str, realm: &str) -> Option<String> {
        match self {
            Self::Password(password) => Some(ha1(algorithm, user, realm, password)),
            Self::Ha1(all) => all.iter().find(|(a, _)| *a == algorithm).map(|(_, ha1)| ha1.clone()),
        }
    }
}

/// `H(user:realm:password)` in hex digits (RFC 7616 3.4.2).
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(format!("{user}:{realm}:{password}"))
}

/// What became of an Authorization header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The user name of an account that exists; its password was right.
    Ok(String),
    /// The nonce has run out, was not made here for this source, or its count was seen before: challenge with
    /// `stale=true` (RFC 7616 3.3). The password was not looked at, but for a count.
    Stale,
    /// Unknown user or wrong password; the same for both.
    Wrong,
    Malformed,
}

/// What an answer vouches for: the request that it came with.
#[derive(Clone, Copy)]
pub struct Vouched<'a> {
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    pub body: &'a [u8],
}

impl<'a> Vouched<'a> {
    /// A request without a body.
    pub fn bare(method: &'a str, uri: &'a str) -> Self {
        Self { method, uri, body: &[] }
    }
}

/// The counts of a nonce that was used with a right password.
struct Counts {
    /// Highest count seen, and which of the `WINDOW` counts below it were.
    highest: u32,
    seen: u64,
}

/// The server side for one realm. A nonce carries its time under a keyed seal that also covers whom it was given
/// to (RFC 7616 3.3), so a challenge costs no memory, and only who hears us at an address can answer from it.
/// Only nonces in use are held.
pub struct Authenticator {
    realm: String,
    lifetime: Duration,
    algorithms: Vec<Algorithm>,
    /// `auth-int` is offered and taken beside `auth`.
    bodies: bool,
    key: [u8; 32],
    /// Times in nonces count from the first challenge.
    epoch: Option<Instant>,
    used: BoundedMap<String, Counts>,
    /// Used nonces by the time of their first use, for expiry.
    order: VecDeque<(Instant, String)>,
    rng: Rng,
}

impl Authenticator {
    /// `algorithms` are offered in this order, and no others accepted.
    pub fn new(realm: &str, lifetime: Duration, algorithms: &[Algorithm], mut rng: Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        let (realm, algorithms) = (realm.to_owned(), algorithms.to_vec());
        let used = BoundedMap::new(NONCES);
        Self {
            realm,
            lifetime,
            algorithms,
            bodies: true,
            key,
            epoch: None,
            used,
            order: VecDeque::new(),
            rng,
        }
    }

    /// Whether an answer may vouch for the body too (`auth-int`).
    #[must_use]
    pub fn with_bodies(self, bodies: bool) -> Self {
        Self { bodies, ..self }
    }

    /// Values for `WWW-Authenticate`, one an algorithm, the stronger first (RFC 8760 2.4), for this source.
    pub fn challenge(&mut self, now: Instant, source: IpAddr, stale: bool) -> Vec<String> {
        let epoch = *self.epoch.get_or_insert(now);
        let time = now.saturating_duration_since(epoch).as_millis() as u64;
        let stamp = format!("{time:0TIME$x}{:0SALT$x}", self.rng.u32());
        let nonce = format!("{stamp}{}", self.seal(&stamp, source));
        let stale = if stale { ", stale=true" } else { "" };
        let qop = if self.bodies { "auth,auth-int" } else { "auth" };
        let value = |algorithm: Algorithm| {
            format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"{qop}\"{stale}",
                quoted(&self.realm),
                algorithm.name()
            )
        };
        self.algorithms.iter().copied().map(value).collect()
    }

    /// Whether an `Authorization` value is meant for us: of the Digest scheme, not of another realm (a request may
    /// carry others beside it, RFC 3261 22.1), and of a kind that we offer.
    pub fn concerns(&self, value: &str) -> bool {
        let scheme = value.trim_start().get(..6);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("digest"))
            && Pairs::parse(value).is_none_or(|p| self.may_be_ours(&p))
    }

    fn may_be_ours(&self, pairs: &Pairs) -> bool {
        let answers = pairs.get("response").is_some();
        let offered = pairs.algorithm().is_some_and(|a| self.algorithms.contains(&a))
            && pairs.qop().is_some_and(|qop| self.takes(qop));
        pairs.get("realm").is_none_or(|realm| realm == self.realm) && (offered || !answers)
    }

    fn takes(&self, qop: Qop) -> bool {
        self.bodies || qop == Qop::Auth
    }

    /// The account that a value is for, before anything of it is judged.
    pub fn account(&self, value: &str) -> String {
        Pairs::parse(value).and_then(|pairs| pairs.get("username")).unwrap_or_default()
    }

    /// Judges an `Authorization` value. `password` gives the secret of a user, or `None`; unknown users
    /// take the same path and time as known ones. The nonce is judged first: what it was not given for tells
    /// nothing of a password.
    pub fn verify<S: Into<Secret>>(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: &Vouched<'_>,
        value: &str,
        secret: impl Fn(&str) -> Option<S>,
    ) -> Verdict {
        let Some(fields) = Fields::parse(value) else { return Verdict::Malformed };
        if !self.is_fresh(now, source, &fields.nonce) {
            return Verdict::Stale;
        }
        if fields.realm != self.realm
            || !self.algorithms.contains(&fields.algorithm)
            || !fields.qop.is_some_and(|qop| self.takes(qop))
            || !same_target(&fields.uri, request.uri)
        {
            return Verdict::Wrong;
        }
        let secret = secret(&fields.username).map(Into::into);
        let known = secret.and_then(|secret| secret.ha1(fields.algorithm, &fields.username, &fields.realm));
        // The same work for who does not exist.
        let nobody = || ha1(fields.algorithm, &fields.username, &fields.realm, "no such user has this");
        let ha1 = known.clone().unwrap_or_else(nobody);
        let expected = fields.response_for(&ha1, request.method, request.body);
        let right = expected.as_bytes().ct_eq(fields.response.as_bytes()).unwrap_u8() == 1;
        if !right || known.is_none() {
            return Verdict::Wrong;
        }
        if self.count(now, &fields.nonce, fields.count) {
            Verdict::Ok(fields.username)
        } else {
            Verdict::Stale
        }
    }

    /// Nonces whose counts are held.
    pub fn nonces(&self) -> usize {
        self.used.len()
    }

    /// Whether we made this nonce for this source, less than its lifetime ago.
    fn is_fresh(&self, now: Instant, source: IpAddr, nonce: &str) -> bool {
        let Some((stamp, seal)) = nonce.split_at_checked(TIME + SALT) else { return false };
        let ours = self.seal(stamp, source).as_bytes().ct_eq(seal.as_bytes()).unwrap_u8() == 1;
        let time = stamp.get(..TIME).and_then(|t| u64::from_str_radix(t, 16).ok());
        let (true, Some(time), Some(epoch)) = (ours, time, self.epoch) else { return false };
        let age = now.saturating_duration_since(epoch).saturating_sub(Duration::from_millis(time));
        age <= self.lifetime
    }

    /// Takes a count of a fresh nonce, once.
    fn count(&mut self, now: Instant, nonce: &str, count: u32) -> bool {
        self.expire(now);
        if let Some(counts) = self.used.get_mut(nonce) {
            return counts.take(count);
        }
        let mut counts = Counts { highest: 0, seen: 0 };
        if !counts.take(count) || self.used.insert(nonce.to_owned(), counts).is_err() {
            return false;
        }
        self.order.push_back((now, nonce.to_owned()));
        true
    }

    /// A nonce is older than its first use, so what was first used a lifetime ago is no longer fresh.
    fn expire(&mut self, now: Instant) {
        let lifetime = self.lifetime;
        let old = |at: Instant| now.saturating_duration_since(at) > lifetime;
        while self.order.front().is_some_and(|(at, _)| old(*at)) {
            if let Some((_, nonce)) = self.order.pop_front() {
                self.used.remove(&nonce);
            }
        }
    }

    /// Keyed hash of a stamp and a source. All three have fixed lengths, so a plain prefix key is sound.
    fn seal(&self, stamp: &str, source: IpAddr) -> String {
        let source = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let hash = Sha256::new().chain_update(self.key).chain_update(stamp).chain_update(source.octets());
        let mut seal = hex(&hash.finalize());
        seal.truncate(SEAL);
        seal
    }
}

impl Counts {
    /// Takes a count once; counts far below or far above the highest are refused.
    fn take(&mut self, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if count > self.highest {
            let step = count - self.highest;
            if step > WINDOW {
                return false;
            }
            self.seen = if step >= 64 { 1 } else { self.seen << step | 1 };
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        if back >= WINDOW || self.seen & (1 << back) != 0 {
            return false;
        }
        self.seen |= 1 << back;
        true
    }
}

/// Account at a peer that may challenge us.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// Only this realm gets an answer, when set.
    pub realm: Option<String>,
}

/// Answers the best of the challenges that we understand (values of `WWW-Authenticate` or
/// `Proxy-Authenticate`). `None` when there is none, or none of the realm that the credentials are for.
pub fn answer<'a>(
    challenges: impl Iterator<Item = &'a str>,
    method: &str,
    uri: &str,
    credentials: &Credentials,
    cnonce: &str,
    count: u32,
    body: &[u8],
) -> Option<String> {
    let read = challenges.filter_map(Fields::parse_challenge);
    let ours = read.filter(|c| credentials.realm.as_ref().is_none_or(|r| *r == c.realm));
    let challenge = ours.min_by_key(|c| u8::from(c.algorithm == Algorithm::Md5))?;
    let mut fields = Fields {
        username: credentials.username.clone(),
        uri: uri.to_owned(),
        cnonce: cnonce.to_owned(),
        count,
        nc: format!("{count:08x}"),
        ..challenge
    };
    let ha1 = ha1(fields.algorithm, &fields.username, &fields.realm, &credentials.password);
    fields.response = fields.response_for(&ha1, method, body);
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{}\", algorithm={}",
        quoted(&fields.username),
        quoted(&fields.realm),
        quoted(&fields.nonce),
        fields.response,
        fields.algorithm.name()
    );
    if let Some(qop) = fields.qop {
        let _ = write!(value, ", qop={}, nc={}, cnonce=\"{cnonce}\"", qop.word(), fields.nc);
    }
    if let Some(opaque) = &fields.opaque {
        let _ = write!(value, ", opaque=\"{}\"", quoted(opaque));
    }
    Some(value)
}

/// What an answer vouches for (RFC 7616 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qop {
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

#[derive(Clone)]
struct Fields {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    qop: Option<Qop>,
    cnonce: String,
    nc: String,
    count: u32,
    opaque: Option<String>,
}

impl Fields {
    /// An `Authorization` value; none without a `qop` is taken, since a count is what stops a replay.
    fn parse(value: &str) -> Option<Self> {
        let pairs = Pairs::parse(value)?;
        let nc = pairs.get("nc")?;
        let digits = nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
        let count = digits.then(|| u32::from_str_radix(&nc, 16).ok()).flatten()?;
        let qop = Some(pairs.qop()?);
        Some(Self {
            username: pairs.get("username")?,
            realm: pairs.get("realm")?,
            nonce: pairs.get("nonce")?,
            uri: pairs.get("uri")?,
            response: pairs.get("response")?.to_ascii_lowercase(),
            algorithm: pairs.algorithm()?,
            qop,
            cnonce: pairs.get("cnonce")?,
            nc,
            count,
            opaque: None,
        })
    }

    fn parse_challenge(value: &str) -> Option<Self> {
        let pairs = Pairs::parse(value)?;
        let offered = pairs.get("qop");
        let offers = |qop: &Qop| {
            offered.as_ref().is_some_and(|all| all.split(',').any(|word| word.trim() == qop.word()))
        };
        let qop = [Qop::Auth, Qop::AuthInt].into_iter().find(offers);
        if offered.is_some() && qop.is_none() {
            return None;
        }
        Some(Self {
            username: String::new(),
            realm: pairs.get("realm")?,
            nonce: pairs.get("nonce")?,
            uri: String::new(),
            response: String::new(),
            algorithm: pairs.algorithm()?,
            qop,
            cnonce: String::new(),
            nc: String::new(),
            count: 0,
            opaque: pairs.get("opaque"),
        })
    }

    fn response_for(&self, ha1: &str, method: &str, body: &[u8]) -> String {
        let hash = |text: String| self.algorithm.hash(text);
        let ha2 = match self.qop {
            Some(Qop::AuthInt) => hash(format!("{method}:{}:{}", self.uri, self.algorithm.hash(body))),
            Some(Qop::Auth) | None => hash(format!("{method}:{}", self.uri)),
        };
        match self.qop {
            Some(qop) => {
                hash(format!("{ha1}:{}:{}:{}:{}:{ha2}", self.nonce, self.nc, self.cnonce, qop.word()))
            }
            None => hash(format!("{ha1}:{}:{ha2}", self.nonce)),
        }
    }
}

/// `name=value` pairs of a Digest value; names without case, quotes taken off.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in split_list(rest).take(32) {
            let (name, value) = part.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            if pairs.iter().any(|(n, _)| *n == name) {
                return None; // said twice: two readers could take two values
            }
            pairs.push((name, unquoted(value.trim())));
        }
        Some(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    /// The one of an answer.
    fn qop(&self) -> Option<Qop> {
        let said = self.get("qop")?;
        [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| qop.word().eq_ignore_ascii_case(&said))
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.get("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::from_name(&name))
    }
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.push(if c == '\\' { characters.next().unwrap_or('\\') } else { c });
    }
    out
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The `uri` of the answer must be the Request-URI (RFC 7616 3.4.6); proxies may have changed parameters, and a
/// phone may write the port that goes without saying in one of them alone (RFC 3261 22.4).
fn same_target(answered: &str, requested: &str) -> bool {
    let bare = |uri: &str| uri.split([';', '?']).next().unwrap_or("").to_ascii_lowercase();
    let (answered, requested) = (bare(answered), bare(requested));
    let without = |port: &str| {
        let strip = |uri: &'_ str| uri.strip_suffix(port).unwrap_or(uri).to_owned();
        strip(&answered) == strip(&requested)
    };
    without(":5060") || without(":5061")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 5));

    thread_local! {
        /// Digests computed on this thread.
        pub(super) static HASHES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    fn server() -> Authenticator {
        Authenticator::new(
            "hulplijn",
            Duration::from_secs(300),
            &[Algorithm::Sha256, Algorithm::Md5],
            Rng::from_number(1),
        )
    }

    fn account() -> Credentials {
        Credentials { username: "an".into(), password: "geheim".into(), realm: None }
    }

    fn password(user: &str) -> Option<String> {
        (user == "an").then(|| "geheim".to_owned())
    }

    fn answered(challenges: &[String], account: &Credentials, count: u32) -> String {
        answer(challenges.iter().map(String::as_str), "REGISTER", "sip:h", account, "cn", count, &[])
            .unwrap_or_default()
    }

    #[test]
    fn rfc7616_3_9_1_examples_of_both_algorithms() {
        // The RFC's example, Mufasa and "Circle of Life", qop=auth.
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let mufasa =
                Credentials { username: "Mufasa".into(), password: "Circle of Life".into(), realm: None };
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let value =
                answer([challenge.as_str()].into_iter(), "GET", "/dir/index.html", &mufasa, cnonce, 1, &[]);
            assert!(value.is_some_and(|v| v.contains(response)), "{algorithm}");
        }
    }

    #[test]
    fn rfc_7616_3_3_each_algorithm_proves_an_account() {
        for algorithm in [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5] {
            let now = Now::read().at;
            let mut server =
                Authenticator::new("r", Duration::from_secs(300), &[algorithm], Rng::from_number(1));
            let challenges = server.challenge(now, HERE, false);
            assert!(challenges[0].contains(&format!("algorithm={}", algorithm.name())));
            let value = answered(&challenges, &account(), 1);
            let verdict = server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password);
            assert_eq!(verdict, Verdict::Ok("an".into()));
        }
        // FIPS 180-4, the example of one block.
        let abc = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert_eq!(Algorithm::Sha512_256.hash("abc"), abc);
    }

    #[test]
    fn rfc_7616_3_4_3_a_peer_that_offers_only_auth_int_has_the_body_vouched_for() {
        let challenge = "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\", algorithm=MD5";
        let value = |body: &[u8]| {
            answer([challenge].into_iter(), "INVITE", "sip:h", &account(), "cn", 1, body).unwrap_or_default()
        };
        assert!(value(b"v=0").contains("qop=auth-int, nc=00000001"));
        let md5 = |text: &str| Algorithm::Md5.hash(text);
        let ha2 = md5(&format!("INVITE:sip:h:{}", md5("v=0")));
        let expected = md5(&format!("{}:n:00000001:cn:auth-int:{ha2}", md5("an:r:geheim")));
        assert!(value(b"v=0").contains(&format!("response=\"{expected}\"")));
        assert_ne!(value(b"v=0"), value(b"v=1"));
        let both = "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int,auth\", algorithm=MD5";
        let value = answer([both].into_iter(), "INVITE", "sip:h", &account(), "cn", 1, b"v=0");
        assert!(value.is_some_and(|value| value.contains("qop=auth,")), "auth where it is enough");
    }

    #[test]
    fn rfc_7616_3_4_3_auth_int_is_offered_and_its_body_checked() {
        let (now, mut server) = (Now::read().at, server());
        let mut verdict = |bodies: bool, sent: &[u8], came: &[u8]| {
            let challenges = server.challenge(now, HERE, false);
            let values = challenges.iter().map(|c| c.replace("qop=\"auth,", "qop=\""));
            let values: Vec<String> = values.collect();
            assert!(values[0].contains("qop=\"auth-int\""), "{}", values[0]);
            let strict = values.iter().map(String::as_str);
            let value = answer(strict, "INVITE", "sip:h", &account(), "cn", 1, sent).unwrap_or_default();
            let request = Vouched { method: "INVITE", uri: "sip:h", body: came };
            server.bodies = bodies;
            let verdict = server.verify(now, HERE, &request, &value, password);
            let concerns = server.concerns(&value);
            server.bodies = true;
            (verdict, concerns)
        };
        assert_eq!(verdict(true, b"v=0", b"v=0"), (Verdict::Ok("an".into()), true));
        assert_eq!(verdict(true, b"", b""), (Verdict::Ok("an".into()), true));
        assert_eq!(verdict(true, b"v=0", b"v=1"), (Verdict::Wrong, true), "changed on the way");
        assert_eq!(verdict(false, b"v=0", b"v=0"), (Verdict::Wrong, false), "not offered, not taken");
        let plain = server.with_bodies(false).challenge(now, HERE, false);
        assert!(plain.iter().all(|c| c.contains("qop=\"auth\"")), "{plain:?}");
    }

    #[test]
    fn rfc_3261_22_4_a_port_that_goes_without_saying_may_be_said() {
        let cases = [
            ("sip:h:5060", "sip:h", true),
            ("sip:h", "sip:h:5060", true),
            ("sip:H:5060;transport=udp", "sip:h", true),
            ("sips:a@h:5061", "sips:a@h", true),
            ("sip:[2001:db8::1]:5060", "sip:[2001:db8::1]", true),
            ("sip:h:5060", "sip:h:5061", false),
            ("sip:h:5070", "sip:h", false),
            ("sip:h:15060", "sip:h", false),
            ("sip:other:5060", "sip:h", false),
        ];
        for (answered, requested, same) in cases {
            assert_eq!(same_target(answered, requested), same, "{answered} {requested}");
        }
    }

    #[test]
    fn rfc_7616_5_12_a_secret_that_is_stored_as_ha1_proves_the_account_by_its_algorithms() {
        let (now, mut server) = (Now::read().at, server());
        let kept = ha1(Algorithm::Sha256, "an", "hulplijn", "geheim");
        let secret = |_: &str| Some(Secret::Ha1(vec![(Algorithm::Sha256, kept.clone())]));
        for (algorithm, verdict) in
            [(Algorithm::Sha256, Verdict::Ok("an".into())), (Algorithm::Md5, Verdict::Wrong)]
        {
            let challenges = server.challenge(now, HERE, false);
            let named = |c: &String| c.contains(&format!("algorithm={}", algorithm.name()));
            let challenges: Vec<String> = challenges.into_iter().filter(named).collect();
            let value = answered(&challenges, &account(), 1);
            assert_eq!(
                server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, secret),
                verdict
            );
        }
    }

    #[test]
    fn each_nonce_count_is_taken_once_and_in_hexadecimal() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, false);
        for count in [1, 2, 10, 9, 11] {
            let value = answered(&challenges, &account(), count);
            assert_eq!(
                server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
                Verdict::Ok("an".into()),
                "{count}"
            );
            assert_eq!(
                server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
                Verdict::Stale,
                "{count} again"
            );
        }
        assert!(answered(&challenges, &account(), 10).contains("nc=0000000a"));
    }

    #[test]
    fn an_old_nonce_is_stale_and_a_wrong_password_wrong() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, false);
        let value = answered(&challenges, &account(), 1);
        let late = now + Duration::from_secs(301);
        assert_eq!(
            server.verify(late, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
            Verdict::Stale
        );
        let thief = Credentials { password: "x".into(), ..account() };
        let value = answered(&challenges, &thief, 1);
        assert_eq!(
            server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
            Verdict::Wrong
        );
        let stranger = Credentials { username: "bo".into(), ..account() };
        let value = answered(&challenges, &stranger, 1);
        assert_eq!(
            server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
            Verdict::Wrong
        );
    }

    #[test]
    fn an_unknown_name_costs_the_same_work_as_a_known_one() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, false);
        let mut work = |username: &str, secret: &str| {
            let account = Credentials { username: username.into(), password: secret.into(), realm: None };
            let value = answered(&challenges, &account, 1);
            let (before, asked) = (HASHES.get(), std::cell::Cell::new(0));
            let verdict = server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, |user| {
                asked.set(asked.get() + 1);
                password(user)
            });
            assert_eq!(verdict, Verdict::Wrong, "{username} {secret}");
            (HASHES.get() - before, asked.get())
        };
        let known = work("an", "x");
        assert_eq!(known, (3, 1), "HA1, HA2 and the response of one look-up");
        assert_eq!(work("bo", "x"), known);
        // Not even with what stands in for the password of nobody.
        assert_eq!(work("bo", "no such user has this"), known);
    }

    #[test]
    fn an_answer_for_another_method_target_or_realm_is_wrong() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, false);
        let value = answered(&challenges, &account(), 1);
        assert_eq!(
            server.verify(now, HERE, &Vouched::bare("INVITE", "sip:h"), &value, password),
            Verdict::Wrong
        );
        assert_eq!(
            server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:other"), &value, password),
            Verdict::Wrong
        );
        let elsewhere = Credentials { realm: Some("carrier".into()), ..account() };
        let none =
            answer(challenges.iter().map(String::as_str), "REGISTER", "sip:h", &elsewhere, "cn", 1, &[]);
        assert_eq!(none, None, "credentials go only to the realm that they are for");
    }

    #[test]
    fn strangers_cannot_push_out_a_phones_nonce_and_old_ones_go() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, false);
        for _ in 0..1000 {
            server.challenge(now, HERE, false);
        }
        assert_eq!(server.nonces(), 0, "a challenge costs no memory");
        for (count, verdict) in [(1, Verdict::Ok("an".into())), (1, Verdict::Stale), (100, Verdict::Stale)] {
            let value = answered(&challenges, &account(), count);
            assert_eq!(
                server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
                verdict,
                "{count}"
            );
        }
        assert_eq!(server.nonces(), 1);
        let late = now + Duration::from_secs(301);
        let challenges = server.challenge(late, HERE, false);
        let value = answered(&challenges, &account(), 1);
        assert_eq!(
            server.verify(late, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
            Verdict::Ok("an".into())
        );
        assert_eq!(server.nonces(), 1, "the old one is gone");
    }

    #[test]
    fn a_nonce_that_was_not_made_here_for_this_source_is_stale_whatever_the_password() {
        let (now, mut server) = (Now::read().at, server());
        let mut other = Authenticator::new(
            "hulplijn",
            Duration::from_secs(300),
            &[Algorithm::Sha256, Algorithm::Md5],
            Rng::from_number(2),
        );
        let foreign = other.challenge(now, HERE, false);
        server.challenge(now, HERE, false);
        let mut altered = server.challenge(now, HERE, false);
        altered.iter_mut().for_each(|c| *c = c.replace("nonce=\"0", "nonce=\"1"));
        let given = server.challenge(now, IpAddr::from([192, 0, 2, 6]), false);
        let junk = ["Digest realm=\"hulplijn\", nonce=\"\u{e9}\", qop=\"auth\"".to_owned()];
        let guess = Credentials { password: "geraden".into(), ..account() };
        for challenges in [&foreign[..], &altered, &junk, &given] {
            for account in [account(), guess.clone()] {
                let value = answered(challenges, &account, 1);
                assert_eq!(
                    server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, password),
                    Verdict::Stale
                );
            }
        }
    }

    #[test]
    fn sha_256_is_preferred_and_junk_is_malformed() {
        let (now, mut server) = (Now::read().at, server());
        let challenges = server.challenge(now, HERE, true);
        assert!(challenges.iter().all(|c| c.ends_with("stale=true")));
        assert!(answered(&challenges, &account(), 1).contains("algorithm=SHA-256"));
        for value in ["", "Basic abc", "Digest", "Digest username=\"an\"", "Digest nc=1, nc=2"] {
            assert_eq!(
                server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), value, password),
                Verdict::Malformed,
                "{value}"
            );
        }
    }

    #[test]
    fn rfc_3261_22_1_credentials_of_another_scheme_or_realm_are_not_ours() {
        let server =
            Authenticator::new("1712", Duration::from_secs(60), &[Algorithm::Md5], Rng::from_number(1));
        for ours in ["Digest realm=\"1712\"", "digest", "DIGEST username=\"anna\""] {
            assert!(server.concerns(ours), "{ours}");
        }
        let bare = "Digest username=\"a\", realm=\"1712\", response=\"x\"";
        let other_hash = format!("{bare}, qop=auth, algorithm=SHA-512-256");
        for other in [
            "NoOneKnowsThisScheme opaque-data=here",
            "Basic abc",
            "",
            "Digest realm=\"carrier\"",
            bare,
            &other_hash,
        ] {
            assert!(!server.concerns(other), "{other}");
        }
    }
}
