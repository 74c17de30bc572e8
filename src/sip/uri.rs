//! `sip:`, `sips:` and `tel:` URIs (RFC 3261 19.1, RFC 3966): parse, print, compare.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::flow::Transport;
use super::header::Params;

/// Why a URI could not be read; holds nothing of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("no scheme before a colon")]
    Scheme,
    #[error("no valid host")]
    Host,
    #[error("no valid port")]
    Port,
    #[error("a broken escape or a character that must be escaped")]
    Character,
}

/// The scheme of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any other (`http`, `urn` …): carried, not understood. Answer 416 when it is to be followed.
    Other,
}

/// A host as written: a name in lower case, or a literal address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads `example.org`, `192.0.2.1` or `[2001:db8::1]`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = parse_ipv6(inner.strip_suffix(']')?)?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let valid = !text.is_empty() && text.len() <= 255 && text.bytes().all(name_byte);
        valid.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// An IPv6 address; `:::` before an IPv4 one is read as `::`, since the grammar of RFC 3261 makes it so and
/// RFC 5118 4.10 wants it borne.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (front, embedded) = text.split_once(":::")?;
        embedded.parse::<Ipv4Addr>().ok()?;
        format!("{front}::{embedded}").parse().ok()
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A URI. No `Debug`: it may be a caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    pub scheme: Scheme,
    /// The user part, still escaped (for `tel:` the number; for other schemes all after the colon).
    user: String,
    /// `None` for `tel:` and other schemes.
    host: Option<Host>,
    pub port: Option<u16>,
    pub params: Params,
    /// URI headers after `?`, still escaped.
    pub headers: Vec<(String, String)>,
    other_scheme: String,
}

impl Uri {
    /// A plain `sip:user@host:port`.
    pub fn sip(user: &str, host: Host, port: Option<u16>) -> Self {
        Self {
            scheme: Scheme::Sip,
            user: escape_user(user),
            host: Some(host),
            port,
            params: Params::default(),
            headers: Vec::new(),
            other_scheme: String::new(),
        }
    }

    /// Reads a whole URI.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) || !scheme.bytes().all(letters) {
            return Err(UriError::Scheme);
        }
        // What can't be unescaped is an escape to one reader and text to the next.
        let bare = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
        if !rest.bytes().all(bare) || unescape(rest).is_none() {
            return Err(UriError::Character);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            Self::parse_sip(Scheme::Sip, rest)
        } else if scheme.eq_ignore_ascii_case("sips") {
            Self::parse_sip(Scheme::Sips, rest)
        } else if scheme.eq_ignore_ascii_case("tel") {
            Self::parse_tel(rest)
        } else {
            Ok(Self::opaque(Scheme::Other, rest.to_owned(), scheme.to_ascii_lowercase()))
        }
    }

    /// The user part with escapes resolved; `None` when there is none.
    pub fn user(&self) -> Option<String> {
        if self.user.is_empty() { None } else { unescape(&self.user) }
    }

    /// The host; `None` for `tel:` and unknown schemes.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// The `transport` parameter, when it names one that we know.
    pub fn transport(&self) -> Option<Transport> {
        self.param("transport").and_then(Transport::from_name)
    }

    pub fn is_sips(&self) -> bool {
        self.scheme == Scheme::Sips
    }

    /// A loose router says `;lr` (RFC 3261 19.1.1).
    pub fn is_loose_route(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The value, as written, of a parameter whose name is meant with escapes resolved (RFC 4475
    /// 3.1.1.3); empty for one without value.
    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| same_text(n, name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// Equality of RFC 3261 19.1.4: escapes resolved, host and parameters without case, user with
    /// case; user, ttl, method, maddr and transport must be in both or in neither.
    pub fn equivalent(&self, other: &Self) -> bool {
        if self.scheme != other.scheme || self.host != other.host || self.port != other.port {
            return false;
        }
        let same_user = match self.scheme {
            Scheme::Tel => digits(&self.user).eq(digits(&other.user)),
            _ => comparable(&self.user) == comparable(&other.user),
        };
        same_user && self.same_params(other) && self.same_headers(other)
    }

    fn same_params(&self, other: &Self) -> bool {
        const BOTH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        let matched = |a: &Self, b: &Self| {
            a.params.iter().all(|(name, value)| match b.param(name) {
                Some(found) => same_text(value.unwrap_or(""), found),
                // RFC 3966 4: of a telephone number every parameter counts.
                None => a.scheme != Scheme::Tel && !BOTH.iter().any(|n| same_text(n, name)),
            })
        };
        matched(self, other) && matched(other, self)
    }

    fn same_headers(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| {
            a.headers.iter().all(|(n, v)| b.headers.iter().any(|(m, w)| same_text(n, m) && same_text(v, w)))
        };
        self.headers.len() == other.headers.len() && within(self, other) && within(other, self)
    }

    fn parse_sip(scheme: Scheme, rest: &str) -> Result<Self, UriError> {
        // The last `@` before the host: a user may hold `;` and `?` but no bare `@`.
        let (user, after) = match rest.split_once('@') {
            Some((user, after)) => (user, after),
            None => ("", rest),
        };
        if !user.bytes().all(user_byte) || rest.starts_with(['@', ':']) {
            return Err(UriError::Character);
        }
        let (after, headers) = match after.split_once('?') {
            Some((after, headers)) => (after, parse_headers(headers)?),
            None => (after, Vec::new()),
        };
        let (hostport, params) = match after.split_once(';') {
            Some((hostport, params)) => (hostport, Params::parse(params)),
            None => (after, Params::default()),
        };
        let (host, port) = parse_hostport(hostport)?;
        // The password part of `user:password` is deprecated but part of the identity; kept in `user`.
        Ok(Self {
            scheme,
            user: user.into(),
            host: Some(host),
            port,
            params,
            headers,
            other_scheme: String::new(),
        })
    }

    fn parse_tel(rest: &str) -> Result<Self, UriError> {
        let (number, params) = match rest.split_once(';') {
            Some((number, params)) => (number, Params::parse(params)),
            None => (rest, Params::default()),
        };
        if !is_telephone(number) {
            return Err(UriError::Character);
        }
        Ok(Self { params, ..Self::opaque(Scheme::Tel, number.into(), String::new()) })
    }

    fn opaque(scheme: Scheme, user: String, other_scheme: String) -> Self {
        Self {
            scheme,
            user,
            host: None,
            port: None,
            params: Params::default(),
            headers: Vec::new(),
            other_scheme,
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sip => f.write_str("sip:")?,
            Scheme::Sips => f.write_str("sips:")?,
            Scheme::Tel => f.write_str("tel:")?,
            Scheme::Other => write!(f, "{}:", self.other_scheme)?,
        }
        f.write_str(&self.user)?;
        if let Some(host) = &self.host {
            if !self.user.is_empty() {
                f.write_str("@")?;
            }
            host.fmt(f)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
pub fn parse_hostport(text: &str) -> Result<(Host, Option<u16>), UriError> {
    let split = if text.starts_with('[') {
        let end = text.find(']').ok_or(UriError::Host)? + 1;
        let (host, rest) = text.split_at(end);
        if !rest.is_empty() && !rest.starts_with(':') {
            return Err(UriError::Host);
        }
        (host, rest.strip_prefix(':'))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host = Host::parse(split.0).ok_or(UriError::Host)?;
    let port = match split.1 {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| UriError::Port)?)
        }
        Some(_) => return Err(UriError::Port),
    };
    Ok((host, port))
}

fn parse_headers(text: &str) -> Result<Vec<(String, String)>, UriError> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').ok_or(UriError::Character)?;
        if name.is_empty() {
            return Err(UriError::Character);
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    text.split('&').take(32).map(pair).collect()
}

/// `unreserved`, `user-unreserved`, escapes, and the `:` of a password (RFC 3261 25.1); `#` besides, since phones dial
/// it without an escape.
fn user_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%:#".contains(&b)
}

/// `global-number-digits` behind a plus, else `local-number-digits` (RFC 3966 3).
fn is_telephone(text: &str) -> bool {
    let separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
    let global = text.starts_with('+');
    let digit = |b: u8| b.is_ascii_digit() || !global && (b.is_ascii_hexdigit() || matches!(b, b'*' | b'#'));
    let number = text.strip_prefix('+').unwrap_or(text);
    number.bytes().all(|b| digit(b) || separator(b)) && number.bytes().any(digit)
}

fn escape_user(user: &str) -> String {
    use fmt::Write as _;
    user.bytes().fold(String::with_capacity(user.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

/// Resolves `%XX`; `None` for a broken escape. What is no UTF-8 becomes the characters of the same codes, as in
/// header values: the name of a caller whose exchange writes Latin-1 is no fault.
pub fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let out = resolve(text, |_| true)?;
    Some(String::from_utf8(out).unwrap_or_else(|e| e.as_bytes().iter().map(|b| char::from(*b)).collect()))
}

/// Resolves the escapes of those octets that are `meant`, and writes the others in one form.
fn resolve(text: &str, meant: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let (high, low) = (bytes.next()?, bytes.next()?);
        let digit = |b: u8| char::from(b).to_digit(16);
        let octet = (digit(high)? * 16 + digit(low)?) as u8;
        if meant(octet) {
            out.push(octet);
        } else {
            out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        }
    }
    Some(out)
}

/// The form in which equal texts are the same octets (RFC 3261 19.1.4): a reserved character is not its escape, any
/// other is. The percent sign stands only in escapes.
fn comparable(text: &str) -> Option<Vec<u8>> {
    resolve(text, |octet| !b";/?:@&=+$,%".contains(&octet))
}

fn same_text(a: &str, b: &str) -> bool {
    if !a.contains('%') && !b.contains('%') {
        return a.eq_ignore_ascii_case(b);
    }
    match (comparable(a), comparable(b)) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(&b),
        _ => a == b,
    }
}

/// A telephone number without its visual separators (RFC 3966 5).
fn digits(number: &str) -> impl Iterator<Item = char> {
    number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).map(|c| c.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        match Uri::parse(text) {
            Ok(uri) => uri,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn rfc3261_19_1_3_examples_are_read_and_printed_as_written() {
        for text in [
            "sip:alice@atlanta.com",
            "sip:alice:secretword@atlanta.com;transport=tcp",
            "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            "sips:1212@gateway.com",
            "sip:alice@192.0.2.4",
            "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
            "sip:alice;day=tuesday@atlanta.com",
            "sip:bob.smith@b",
            "sip:[2001:db8::10]:5070",
            "tel:+32-78-15-17-12;phone-context=x",
            "urn:service:sos",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn parts_are_found() {
        let u = uri("sip:%61lice;x=1@[::1]:5070;transport=TCP;lr");
        assert_eq!(u.user().as_deref(), Some("alice;x=1"));
        assert!(u.host() == Some(&Host::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))));
        assert_eq!((u.port, u.transport(), u.is_loose_route()), (Some(5070), Some(Transport::Tcp), true));
        assert!(uri("sip:bob.smith@b").host() == Some(&Host::Name("b".into())));
    }

    #[test]
    fn rfc3261_19_1_4_equality() {
        let same = [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+32-78-15", "tel:+327815"),
        ];
        let different = [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ];
        for (a, b) in same {
            assert!(uri(a).equivalent(&uri(b)) && uri(b).equivalent(&uri(a)), "{a} {b}");
        }
        for (a, b) in different {
            assert!(!uri(a).equivalent(&uri(b)), "{a} {b}");
        }
    }

    #[test]
    fn broken_uris_are_refused() {
        for text in [
            "",
            "alice",
            ":x",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@h:x",
            "sip:a@h:70000",
            "sip:a b@h",
            "sip:%zz@h",
            "sip:a@[::1",
            "sip:a@[::1]x",
            "sip:a@b@c",
            "tel:",
            "tel:abc xyz",
            "1sip:a",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }
}
