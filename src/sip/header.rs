//! Header values: lists, parameters, name-addr, Via, CSeq (RFC 3261 7.3, 20, 25).

use std::fmt;
use std::net::IpAddr;

use super::flow::Transport;
use super::uri::{Host, Uri, UriError, parse_hostport};
use super::wire::message::Method;

/// Why a header value could not be read; holds nothing of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("unbalanced quotes or angle brackets")]
    Unbalanced,
    #[error("not of the form that the header has")]
    Form,
    #[error("a number is out of its range")]
    Number,
    #[error(transparent)]
    Uri(#[from] UriError),
}

/// Parameters after `;` in order. Names compare without case. Values keep their quotes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `a=1;b;c="x;y"` (without the first `;`). Empty parts are passed over.
    pub fn parse(text: &str) -> Self {
        let part = |part: &str| match part.split_once('=') {
            Some((name, value)) => (trim(name).to_owned(), Some(trim(value).to_owned())),
            None => (trim(part).to_owned(), None),
        };
        Self(split_outside(text, b';').map(part).filter(|(name, _)| !name.is_empty()).take(64).collect())
    }

    /// The value of a parameter that has one, quotes taken off.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).flatten().map(|v| v.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(v))
    }

    /// `Some(None)` for a parameter without value.
    pub fn find(&self, name: &str) -> Option<Option<&str>> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_deref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Sets or replaces. `None` makes a parameter without value.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(n, v)| (&**n, v.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// From, To, Contact, Route, Refer-To and the like: a URI with an optional display name.
/// No `Debug`: it may be a caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Unquoted.
    pub display: Option<String>,
    pub uri: Uri,
    /// Header parameters, not those of the URI.
    pub params: Params,
}

impl NameAddr {
    /// Reads one value. A display name in quotes may hold anything, also `<` and `;tag=`.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let text = trim(text);
        let (display, rest) = split_display(text)?;
        if let Some(rest) = rest.strip_prefix('<') {
            let (uri, after) = rest.split_once('>').ok_or(HeaderError::Unbalanced)?;
            let after = after.trim_start_matches(BLANKS);
            let params = match after.strip_prefix(';') {
                Some(params) => Params::parse(params),
                None if after.is_empty() => Params::default(),
                None => return Err(HeaderError::Form),
            };
            return Ok(Self { display, uri: Uri::parse(trim(uri))?, params });
        }
        if display.is_some() {
            return Err(HeaderError::Form);
        }
        // addr-spec without brackets: parameters belong to the header (RFC 3261 20).
        let (uri, params) = match rest.split_once(';') {
            Some((uri, params)) => (uri, Params::parse(params)),
            None => (rest, Params::default()),
        };
        if uri.contains(['?', ',', '"']) {
            return Err(HeaderError::Form);
        }
        Ok(Self { display: None, uri: Uri::parse(trim(uri))?, params })
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            f.write_str("\"")?;
            for c in display.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// The `tag` of a From or To value.
pub fn tag(value: &str) -> Option<String> {
    NameAddr::parse(value).ok()?.tag().map(str::to_owned)
}

/// One Via (RFC 3261 20.42).
#[derive(Clone, PartialEq, Eq)]
pub struct Via {
    /// `None` for a transport that we do not know.
    pub transport: Option<Transport>,
    transport_name: String,
    /// `2.0`, else a version that gets 505 or 400.
    version: String,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    pub fn new(transport: Transport, host: Host, port: Option<u16>, branch: &str) -> Self {
        let mut params = Params::default();
        params.set("branch", Some(branch));
        Self {
            transport: Some(transport),
            transport_name: transport.as_str().into(),
            version: "2.0".into(),
            host,
            port,
            params,
        }
    }

    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let (head, params) = match text.split_once(';') {
            Some((head, params)) => (head, Params::parse(params)),
            None => (text, Params::default()),
        };
        let mut parts = head.splitn(3, '/').map(trim);
        let (name, version, rest) = (parts.next(), parts.next(), parts.next());
        let version = version.filter(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.')).unwrap_or("");
        if !name.is_some_and(|n| n.eq_ignore_ascii_case("SIP")) || version.is_empty() {
            return Err(HeaderError::Form);
        }
        let (transport, sent_by) = trim(rest.unwrap_or("")).split_once(BLANKS).ok_or(HeaderError::Form)?;
        if !is_token(transport) {
            return Err(HeaderError::Form);
        }
        let (host, port) = parse_hostport(&without_blanks(sent_by)?)?;
        Ok(Self {
            transport: Transport::from_name(transport),
            transport_name: transport.to_owned(),
            version: version.to_owned(),
            host,
            port,
            params,
        })
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// Whether it says `SIP/2.0`.
    pub fn is_version_2(&self) -> bool {
        self.version == "2.0"
    }

    /// Where RFC 3261 18.2.2 and RFC 3581 send the response when no flow is known.
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    pub fn rport(&self) -> Option<u16> {
        self.params.get("rport")?.parse().ok()
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/{}/{} {}", self.version, self.transport_name, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

/// A `sent-by` without the blanks that may stand around its colon, and nowhere else (RFC 3261 25.1).
fn without_blanks(sent_by: &str) -> Result<String, HeaderError> {
    let parts: Vec<&str> = words(sent_by).collect();
    let at_colon = parts.windows(2).all(|w| matches!(w, [a, b] if a.ends_with(':') || b.starts_with(':')));
    let whole = parts.iter().all(|part| part.starts_with('[') == part.contains(']'));
    if at_colon && whole { Ok(parts.concat()) } else { Err(HeaderError::Form) }
}

/// CSeq (RFC 3261 20.16): the number is below 2**31.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let mut words = words(text);
        let (number, method) =
            (words.next().ok_or(HeaderError::Form)?, words.next().ok_or(HeaderError::Form)?);
        if words.next().is_some() || !is_token(method) {
            return Err(HeaderError::Form);
        }
        let number = number_below(number, 1 << 31)?;
        Ok(Self { number: number as u32, method: Method::from_name(method) })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method.as_str())
    }
}

/// The only blanks within a value, folds being gone (RFC 3261 25.1). What Unicode calls white space besides is
/// a character like others: another reader does not take it off either.
const BLANKS: [char; 2] = [' ', '\t'];

/// Takes the blanks off both ends.
pub fn trim(text: &str) -> &str {
    text.trim_matches(BLANKS)
}

/// What stands between blanks.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(BLANKS).filter(|word| !word.is_empty())
}

/// Digits only and below `bound`.
pub fn number_below(text: &str, bound: u64) -> Result<u64, HeaderError> {
    let text = trim(text);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HeaderError::Form);
    }
    text.parse().ok().filter(|n| *n < bound).ok_or(HeaderError::Number)
}

/// Splits a comma list; commas in quotes and angle brackets do not count. Parts are trimmed.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    split_outside(text, b',').map(trim).filter(|part| !part.is_empty())
}

/// `token` of RFC 3261 25.1.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// Whether quotes and angle brackets are closed.
pub fn is_balanced(text: &str) -> bool {
    let (mut quoted, mut angle, mut escaped) = (false, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            _ => {}
        }
    }
    !quoted && !angle
}

/// Whether two `;` stand with nothing between them, outside quotes and brackets. (One at the very end
/// is common and harmless.)
pub fn has_empty_params(text: &str) -> bool {
    let mut empty = split_outside(text, b';').skip(1).map(|part| trim(part).is_empty()).peekable();
    while let Some(this) = empty.next() {
        if this && empty.peek().is_some() {
            return true;
        }
    }
    false
}

/// Where a byte first stands outside quotes: a parameter of an address without brackets may hold any in them.
fn find_outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return b == wanted && !quoted,
        }
        false
    })
}

fn split_outside(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let (mut quoted, mut angle, mut escaped) = (false, false, false);
        for (index, b) in current.bytes().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' if !angle => quoted = !quoted,
                b'<' if !quoted => angle = true,
                b'>' if !quoted => angle = false,
                _ if b == separator && !quoted && !angle => {
                    rest = current.get(index + 1..);
                    return current.get(..index);
                }
                _ => {}
            }
        }
        rest = None;
        Some(current)
    })
}

/// Takes the display name off the front, unquoted.
fn split_display(text: &str) -> Result<(Option<String>, &str), HeaderError> {
    if let Some(inner) = text.strip_prefix('"') {
        let mut display = String::new();
        let mut characters = inner.char_indices();
        while let Some((index, c)) = characters.next() {
            match c {
                '\\' => display.push(characters.next().ok_or(HeaderError::Unbalanced)?.1),
                '"' => {
                    return Ok((
                        Some(display),
                        inner.get(index + 1..).unwrap_or("").trim_start_matches(BLANKS),
                    ));
                }
                _ => display.push(c),
            }
        }
        return Err(HeaderError::Unbalanced);
    }
    match find_outside_quotes(text, b'<') {
        Some(0) => Ok((None, text)),
        Some(at) => {
            let (name, rest) = text.split_at(at);
            let name = trim(name);
            // Without quotes only tokens (RFC 3261 25.1); `"` and `,` mean a broken value.
            if name.contains(['"', ',', ';', ':', '@']) {
                return Err(HeaderError::Form);
            }
            Ok((Some(name.to_owned()), rest))
        }
        None => Ok((None, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_addr(text: &str) -> NameAddr {
        match NameAddr::parse(text) {
            Ok(value) => value,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn an_identity_inside_a_quoted_display_name_is_only_a_name() {
        let value = name_addr("\"x <sip:evil@e>;tag=evil\" <sip:alice@a>;tag=good");
        assert_eq!(value.uri.to_string(), "sip:alice@a");
        assert_eq!(value.tag(), Some("good"));
        assert_eq!(value.display.as_deref(), Some("x <sip:evil@e>;tag=evil"));
    }

    #[test]
    fn name_addr_forms() {
        for (text, display, uri, tag) in [
            ("sip:a@h;tag=1", None, "sip:a@h", Some("1")),
            ("<sip:a@h;x=2>;tag=1", None, "sip:a@h;x=2", Some("1")),
            ("A. G. Bell <sip:a@h> ;tag = 1", Some("A. G. Bell"), "sip:a@h", Some("1")),
            ("\"a \\\"b\\\\\" <sip:a@h>", Some("a \"b\\"), "sip:a@h", None),
            ("<tel:+3278151712>", None, "tel:+3278151712", None),
        ] {
            let value = name_addr(text);
            assert_eq!(
                (value.display.as_deref(), value.uri.to_string().as_str(), value.tag()),
                (display, uri, tag),
                "{text}"
            );
        }
        for text in ["", "\"a <sip:a@h>", "<sip:a@h", "Bell, A. <sip:a@h>", "<sip:a@h>x", "sip:a@h?x=1"] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        let parts: Vec<&str> = split_list("\"a,b\" <sip:x@h;p=1,2>, , <sip:y@h>").collect();
        assert_eq!(parts, ["\"a,b\" <sip:x@h;p=1,2>", "<sip:y@h>"]);
    }

    #[test]
    fn rfc3261_20_42_via_forms() {
        let via =
            Via::parse("SIP / 2.0 / UDP [2001:db8::9:1]:5061;received=192.0.2.1 ; branch=z9hG4bKas3").ok();
        let via = via.as_ref();
        assert_eq!(via.and_then(Via::branch), Some("z9hG4bKas3"));
        assert_eq!(via.and_then(|v| v.port), Some(5061));
        assert_eq!(via.and_then(Via::received).map(|a| a.to_string()).as_deref(), Some("192.0.2.1"));
        assert!(Via::parse("SIP/2.0/UNKNOWN h;branch=x").is_ok_and(|v| v.transport.is_none()));
        for text in [
            "",
            "SIP/x/UDP h",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/U<P h",
            "SIP/2.0//UDP h",
        ] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cseq_is_below_two_to_the_31st() {
        assert!(CSeq::parse(" 0009  INVITE ").is_ok_and(|c| c.number == 9 && c.method == Method::INVITE));
        for text in ["36893488147419103232 REGISTER", "2147483648 BYE", "+5 BYE", "5", "BYE 5", "5 B{E"] {
            assert!(CSeq::parse(text).is_err(), "{text}");
        }
    }
}
