//! Headers of the extensions: session timers (RFC 4028), reliable provisional responses (3262), REFER
//! and Replaces (3515, 3891), Reason (3326), Privacy (3323, 3325).

use std::fmt;
use std::time::Duration;

use super::header::{HeaderError, NameAddr, Params, is_token, number_below, split_list, trim, words};
use super::uri::unescape;
use super::wire::message::{Headers, Method};

/// `delta-seconds` end below this (RFC 3261 25.1 gives no bound; 2**32 is the usual one).
const SECONDS: u64 = 1 << 32;
/// Bound of RSeq and CSeq numbers (RFC 3262 3, RFC 3261 8.1.1.5).
const SEQUENCE: u64 = 1 << 31;

/// Who refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    Uac,
    Uas,
}

/// `Session-Expires: 1800;refresher=uas` (RFC 4028 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    pub seconds: u32,
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let (seconds, params) = with_params(text);
        let refresher = match params.get("refresher") {
            Some(word) if word.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(word) if word.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(HeaderError::Form),
            None => None,
        };
        Ok(Self { seconds: number_below(seconds, SECONDS)? as u32, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}

/// `Min-SE: 90` (RFC 4028 5), also `Expires`, `Min-Expires`: seconds, generic parameters passed over.
pub fn seconds(text: &str) -> Result<u32, HeaderError> {
    Ok(number_below(with_params(text).0, SECONDS)? as u32)
}

/// `Retry-After: 120 (in a meeting);duration=60` (RFC 3261 20.33); none when it says nothing that can be read.
pub fn retry_after(headers: &Headers) -> Option<Duration> {
    let value = headers.get("Retry-After")?;
    let end = value.find(['(', ';']).unwrap_or(value.len());
    Some(Duration::from_secs(number_below(value.get(..end)?, SECONDS).ok()?))
}

/// `RSeq: 988789` (RFC 3262 7.1); from 1.
pub fn rseq(text: &str) -> Result<u32, HeaderError> {
    match number_below(text, SEQUENCE)? {
        0 => Err(HeaderError::Number),
        number => Ok(number as u32),
    }
}

/// `RAck: 776656 1 INVITE` (RFC 3262 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    pub rseq: u32,
    pub cseq: u32,
    pub method: Method,
}

impl RAck {
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let mut words = words(text);
        let mut word = || words.next().ok_or(HeaderError::Form);
        let (number, cseq, method) = (word()?, word()?, word()?);
        if words.next().is_some() || !is_token(method) {
            return Err(HeaderError::Form);
        }
        let cseq = number_below(cseq, SEQUENCE)? as u32;
        Ok(Self { rseq: rseq(number)?, cseq, method: Method::from_name(method) })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method.as_str())
    }
}

/// `Replaces: call-id;to-tag=1;from-tag=2` (RFC 3891 6.1). Tags are those of who is asked.
/// No `Debug`: a Call-ID may be a caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct Replaces {
    pub call_id: String,
    pub to_tag: String,
    pub from_tag: String,
    pub early_only: bool,
}

impl Replaces {
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let (call_id, params) = with_params(text);
        let once = |name: &str| params.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count() == 1;
        let tag = |name: &str| {
            let value = params.get(name).filter(|t| once(name) && is_token(t));
            value.map(str::to_owned).ok_or(HeaderError::Form)
        };
        if call_id.is_empty() || call_id.contains([' ', '\t', ',']) {
            return Err(HeaderError::Form);
        }
        Ok(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

/// `Refer-To` (RFC 3515 2.1): one target, perhaps with a method and a Replaces inside its URI.
#[derive(Clone, PartialEq, Eq)]
pub struct ReferTo {
    /// The target without URI headers and without `method`.
    pub target: NameAddr,
    /// `INVITE` when left out.
    pub method: Method,
    /// An attended transfer (RFC 3891).
    pub replaces: Option<Replaces>,
}

impl ReferTo {
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let mut values = split_list(text);
        let (Some(value), None) = (values.next(), values.next()) else { return Err(HeaderError::Form) };
        let mut target = NameAddr::parse(value)?;
        let method = target.uri.params.get("method").map_or(Method::INVITE, Method::from_name);
        target.uri.params.remove("method");
        let mut replaces = None;
        for (name, value) in std::mem::take(&mut target.uri.headers) {
            if name.eq_ignore_ascii_case("Replaces") {
                if replaces.is_some() {
                    return Err(HeaderError::Form);
                }
                replaces = Some(Replaces::parse(&unescape(&value).ok_or(HeaderError::Form)?)?);
            }
        }
        Ok(Self { target, method, replaces })
    }
}

/// One value of `Reason` (RFC 3326): protocol and cause. The text of a peer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    pub protocol: ReasonProtocol,
    pub cause: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonProtocol {
    Sip,
    Q850,
}

impl Reason {
    /// The values of a `Reason` header that have a known protocol and a cause in its range.
    pub fn parse_all(text: &str) -> impl Iterator<Item = Self> {
        split_list(text).take(16).filter_map(|value| {
            let (word, params) = with_params(value);
            let (protocol, bound) = match word {
                _ if word.eq_ignore_ascii_case("SIP") => (ReasonProtocol::Sip, 700),
                _ if word.eq_ignore_ascii_case("Q.850") => (ReasonProtocol::Q850, 128),
                _ => return None,
            };
            Some(Self { protocol, cause: number_below(params.get("cause")?, bound).ok()? as u16 })
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            ReasonProtocol::Sip => "SIP",
            ReasonProtocol::Q850 => "Q.850",
        };
        write!(f, "{protocol};cause={}", self.cause)
    }
}

/// `Privacy` (RFC 3323 4.2, RFC 3325 9.3): which kinds are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy {
    pub none: bool,
    pub id: bool,
    pub user: bool,
    pub header: bool,
    pub session: bool,
    pub critical: bool,
    /// A kind that we don't know: taken as a wish for privacy.
    pub other: bool,
}

impl Privacy {
    /// Reads values split by `;`, and by the comma that some write. There is no broken Privacy: what
    /// can't be read is a wish for privacy.
    pub fn parse(text: &str) -> Self {
        let mut privacy = Self::default();
        for word in text.split([';', ',']).map(str::trim).filter(|word| !word.is_empty()) {
            let flag = match word.to_ascii_lowercase().as_str() {
                "none" => &mut privacy.none,
                "id" => &mut privacy.id,
                "user" => &mut privacy.user,
                "header" => &mut privacy.header,
                "session" => &mut privacy.session,
                "critical" => &mut privacy.critical,
                _ => &mut privacy.other,
            };
            *flag = true;
        }
        privacy
    }

    /// Whether any kind is asked for (`critical` alone asks for nothing).
    pub fn is_wanted(self) -> bool {
        self.id || self.user || self.header || self.session || self.other
    }
}

/// The values of `P-Asserted-Identity` (RFC 3325 9.1). Only from a peer in the trust domain (a trunk).
pub fn asserted_identities(headers: &Headers) -> impl Iterator<Item = NameAddr> {
    let values = headers.all("P-Asserted-Identity").flat_map(split_list).take(4);
    values.filter_map(|value| NameAddr::parse(value).ok())
}

fn with_params(text: &str) -> (&str, Params) {
    match text.split_once(';') {
        Some((value, params)) => (trim(value), Params::parse(params)),
        None => (trim(text), Params::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4028_4_session_expires() {
        for (text, seconds, refresher) in [
            ("1800", 1800, None),
            (" 90 ; refresher=UAS;x=1", 90, Some(Refresher::Uas)),
            ("4294967295;refresher=uac", u32::MAX, Some(Refresher::Uac)),
        ] {
            assert_eq!(SessionExpires::parse(text), Ok(SessionExpires { seconds, refresher }), "{text}");
        }
        for text in ["", "-1", "+90", "4294967296", "90;refresher=me", "90 91", "ninety"] {
            assert!(SessionExpires::parse(text).is_err(), "{text}");
        }
        let value = SessionExpires { seconds: 90, refresher: Some(Refresher::Uac) };
        assert_eq!(value.to_string(), "90;refresher=uac");
        assert_eq!(seconds("90;lr"), Ok(90));
    }

    #[test]
    fn rfc3261_20_33_retry_after() {
        let read = |text: &str| {
            let mut headers = Headers::new();
            headers.push("Retry-After", text);
            retry_after(&headers)
        };
        for text in ["18000;duration=3600", "18000", " 18000 (I'm in a meeting)"] {
            assert_eq!(read(text), Some(Duration::from_secs(18_000)), "{text}");
        }
        for text in ["", "soon", "-1", "99999999999999999999", "(5)"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn rfc3262_7_rseq_and_rack() {
        assert_eq!(rseq("988789"), Ok(988_789));
        for text in ["0", "", "+1", "2147483648"] {
            assert!(rseq(text).is_err(), "{text}");
        }
        let rack = RAck::parse("776656  1 INVITE");
        assert_eq!(rack.as_ref().map(ToString::to_string).as_deref(), Ok("776656 1 INVITE"));
        for text in ["1 INVITE", "0 1 INVITE", "1 1 INVITE x", "1 1 B{D", "1 -1 INVITE"] {
            assert!(RAck::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rfc3891_6_1_replaces() {
        let value = Replaces::parse("425928@bobster.example.org;to-tag=7743;from-tag=6472;early-only").ok();
        let value = value.as_ref();
        assert_eq!(value.map(|r| (r.to_tag.as_str(), r.from_tag.as_str())), Some(("7743", "6472")));
        assert_eq!(
            value.map(ToString::to_string).as_deref(),
            Some("425928@bobster.example.org;to-tag=7743;from-tag=6472;early-only")
        );
        for text in [
            "",
            ";to-tag=1;from-tag=2",
            "a;to-tag=1",
            "a;from-tag=1",
            "a;to-tag=1;to-tag=2;from-tag=3",
            "a,b;to-tag=1;from-tag=2",
        ] {
            assert!(Replaces::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rfc3515_2_1_refer_to() {
        let value = ReferTo::parse(
            "<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>",
        );
        let Ok(value) = value else { panic!("readable") };
        assert_eq!(value.target.uri.to_string(), "sip:dave@denver.example.org");
        assert!(
            value.replaces.is_some_and(|r| r.call_id == "12345@192.168.118.3" && r.from_tag == "5FFE-3994")
        );
        let other = ReferTo::parse("<sip:a@h;method=SUBSCRIBE?Accept-Contact=x>");
        assert!(other.is_ok_and(|r| r.method == Method::SUBSCRIBE && r.replaces.is_none()));
        assert!(ReferTo::parse("sip:104@h").is_ok_and(|r| r.method == Method::INVITE));
        for text in ["", "<sip:a@h>, <sip:b@h>", "<sip:a@h?Replaces=x>", "\"a <sip:a@h>", "a@h"] {
            assert!(ReferTo::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rfc3326_2_reason_keeps_causes_and_no_text() {
        let text = "SIP ;cause=200 ;text=\"Call completed, elsewhere\", Q.850;cause=16;text=\"x\", X;cause=1, SIP;cause=9999";
        let found: Vec<String> = Reason::parse_all(text).map(|r| r.to_string()).collect();
        assert_eq!(found, ["SIP;cause=200", "Q.850;cause=16"]);
    }

    #[test]
    fn rfc3323_4_2_privacy() {
        for (text, wanted) in [
            ("id", true),
            ("ID;critical", true),
            ("header, session", true),
            ("none", false),
            ("critical", false),
            ("", false),
            ("history", true),
        ] {
            assert_eq!(Privacy::parse(text).is_wanted(), wanted, "{text}");
        }
    }

    #[test]
    fn rfc3325_9_1_asserted_identities_one_or_many_lines() {
        let mut headers = Headers::new();
        headers.push("P-Asserted-Identity", "\"C, J\" <sip:fluffy@cisco.com>, <tel:+14085264000>");
        headers.push("p-asserted-identity", "broken");
        let found: Vec<String> = asserted_identities(&headers).map(|i| i.uri.to_string()).collect();
        assert_eq!(found, ["sip:fluffy@cisco.com", "tel:+14085264000"]);
    }
}
