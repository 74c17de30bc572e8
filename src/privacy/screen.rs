//! Reads the caller's INVITE once: facts that decisions may use, and the identity under seal.

use std::fmt;

use zeroize::Zeroizing;

use super::identity::SealedIdentity;
use crate::sip::flow::Flow;
use crate::sip::header::{NameAddr, split_list};
use crate::sip::header_ext::Privacy;
use crate::sip::uri::{Host, Scheme, Uri};
use crate::sip::wire::message::Request;

/// Country code of Belgium, whose mobile numbers begin like the zone 04 but are a digit longer.
pub const BELGIUM: &str = "32";

/// All that call flow and routing may know of a caller.
#[derive(Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// Which number was dialled, without visual separators and parameters; empty when none was.
    pub dialled: String,
    /// The configured zone (as written there) that the caller's number is in.
    pub zone: Option<String>,
    /// The caller asked for privacy (RFC 3323, 3325) or withheld the number.
    pub wants_privacy: bool,
}

/// `dialled` is from outside until it was found in the config, so it is not printed.
impl fmt::Debug for CallFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFacts")
    }
}

/// The telephone zones that the configuration names.
#[derive(Debug, Clone, Default)]
pub struct ZoneTable {
    country: String,
    /// Zone as configured, and its digits after the trunk prefix `0`; longest first.
    zones: Vec<(String, String)>,
}

impl ZoneTable {
    /// `country` is the code without `+` (`32`); zones are written nationally (`09`).
    pub fn new<'a>(country: &str, zones: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table: Vec<(String, String)> = Vec::new();
        for zone in zones {
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            let prefix = digits.strip_prefix('0').unwrap_or(&digits).to_owned();
            if !prefix.is_empty() && !table.iter().any(|(name, _)| name == zone) {
                table.push((zone.to_owned(), prefix));
            }
        }
        table.sort_by_key(|(_, prefix)| std::cmp::Reverse(prefix.len()));
        Self { country: country.to_owned(), zones: table }
    }

    /// The zone of a number in international (`+329…`, `00329…`) or national form (`09…`).
    pub fn zone_of(&self, number: &str) -> Option<&str> {
        let national = self.national(number)?;
        let mobile = self.country == BELGIUM && national.starts_with('4') && national.len() > 8;
        let fits = |prefix: &str| !mobile && national.starts_with(prefix);
        self.zones.iter().find(|(_, prefix)| fits(prefix)).map(|(zone, _)| zone.as_str())
    }

    /// The number without country code or trunk prefix; `None` when it is of another country.
    fn national<'a>(&self, number: &'a str) -> Option<&'a str> {
        if let Some(international) = number.strip_prefix('+').or_else(|| number.strip_prefix("00")) {
            let rest = international.strip_prefix(self.country.as_str())?;
            return Some(rest.strip_prefix('0').unwrap_or(rest));
        }
        if let Some(national) = number.strip_prefix('0') {
            return Some(national);
        }
        // Some carriers leave out the plus; too short a rest is a subscriber number without zone.
        number.strip_prefix(self.country.as_str()).filter(|rest| rest.len() >= 8)
    }
}

/// Reads a caller's INVITE. Past this point nobody needs it but the caller leg's own dialog.
pub fn screen(request: &Request, flow: &Flow, zones: &ZoneTable) -> (CallFacts, SealedIdentity) {
    let from = request.headers.get("From").and_then(|v| NameAddr::parse(v).ok());
    let wants = request.headers.all("Privacy").map(Privacy::parse).any(Privacy::is_wanted);
    let withheld = from.as_ref().is_none_or(|f| is_anonymous(&f.uri));
    // The network's assertion first (RFC 3325), then what the caller says.
    let asserted = ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"];
    let parties: Vec<NameAddr> = asserted
        .iter()
        .flat_map(|name| request.headers.all(name))
        .flat_map(split_list)
        .take(8)
        .filter_map(|value| NameAddr::parse(value).ok())
        .chain(from)
        .collect();
    let number = Zeroizing::new(parties.iter().find_map(|party| telephone(&party.uri)).unwrap_or_default());
    let name = parties.iter().find_map(|party| party.display.as_deref().filter(|n| !n.is_empty()));
    let facts = CallFacts {
        dialled: dialled(&request.uri),
        zone: zones.zone_of(&number).map(str::to_owned),
        wants_privacy: wants || withheld,
    };
    let identity = SealedIdentity::seal(&number, name.unwrap_or(""), &flow.peer.ip().to_string());
    (facts, identity)
}

/// The user part of a Request-URI, or the number of a `tel:` one.
pub fn dialled(request_uri: &str) -> String {
    let user = Uri::parse(request_uri).ok().filter(|u| u.scheme != Scheme::Other).and_then(|u| u.user());
    let user = user.unwrap_or_default();
    let bare = user.split([';', ':']).next().unwrap_or("");
    plain_number(bare).unwrap_or_else(|| bare.to_owned())
}

/// The telephone number of a URI, without visual separators.
fn telephone(uri: &Uri) -> Option<String> {
    if uri.scheme == Scheme::Other || is_anonymous(uri) {
        return None;
    }
    let user = uri.user()?;
    plain_number(user.split([';', ':']).next()?).filter(|n| n.len() >= 3)
}

/// `+32 (9) 123.45-67` to `+3291234567`; `None` for what is no number.
fn plain_number(text: &str) -> Option<String> {
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => ("+", rest),
        None => ("", text),
    };
    let separator = |c: char| matches!(c, '-' | '.' | '(' | ')' | ' ');
    let digits: String = rest.chars().filter(|c| !separator(*c)).collect();
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'));
    valid.then(|| format!("{plus}{digits}"))
}

/// RFC 3323 4.1.1.3: `anonymous@anonymous.invalid`; carriers also write `anonymous@` their own host.
fn is_anonymous(uri: &Uri) -> bool {
    let host = matches!(uri.host(), Some(Host::Name(name)) if name == "anonymous.invalid");
    let word = |u: String| {
        ["anonymous", "unavailable", "restricted", "unknown"].iter().any(|w| u.eq_ignore_ascii_case(w))
    };
    host || uri.user().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use super::super::identity::{PseudonymKey, ReleaseOrder};
    use super::*;
    use crate::base::id::FlowKey;
    use crate::sip::flow::Transport;
    use crate::sip::wire::message::{Headers, Method};
    use std::net::{Ipv4Addr, SocketAddr};

    fn invite(uri: &str, headers: &[(&str, &str)]) -> (CallFacts, SealedIdentity) {
        let mut list = Headers::new();
        headers.iter().for_each(|(name, value)| list.push(name, *value));
        let request = Request { method: Method::INVITE, uri: uri.into(), headers: list, body: Vec::new() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
        let flow = Flow { key: FlowKey(1), transport: Transport::Udp, local: address, peer: address };
        screen(&request, &flow, &ZoneTable::new(BELGIUM, ["09", "03", "015", "01", "04"]))
    }

    fn number(identity: &SealedIdentity) -> String {
        identity.danger_callback_number().map(|n| n.as_str().to_owned()).unwrap_or_default()
    }

    #[test]
    fn what_was_dialled() {
        for (uri, expected) in [
            ("sip:1712@h", "1712"),
            ("sip:+32-78.15(17)12@h;user=phone", "+3278151712"),
            ("sip:1712;phone-context=+32@h", "1712"),
            ("sip:%31712@h", "1712"),
            ("sips:bridge@[::1]:5061", "bridge"),
            ("tel:+32-78-151712;phone-context=x", "+3278151712"),
            ("sip:h", ""),
            ("urn:service:sos", ""),
            ("nonsense", ""),
        ] {
            assert_eq!(dialled(uri), expected, "{uri}");
        }
    }

    #[test]
    fn zones_by_number_in_every_form() {
        let table = ZoneTable::new(BELGIUM, ["09", "01", "015", "04"]);
        for (number, zone) in [
            ("+3291234567", Some("09")),
            ("003291234567", Some("09")),
            ("091234567", Some("09")),
            ("3291234567", Some("09")),
            ("+32015123456", Some("015")),
            ("+3215123456", Some("015")),
            ("+3214123456", Some("01")),
            ("+3242345678", Some("04")),
            ("+32470123456", None),
            ("0470123456", None),
            ("+31201234567", None),
            ("1712", None),
            ("", None),
        ] {
            assert_eq!(table.zone_of(number), zone, "{number}");
        }
        assert_eq!(ZoneTable::default().zone_of("+3291234567"), None);
    }

    #[test]
    fn rfc3325_9_1_the_networks_assertion_comes_before_the_callers_word() {
        let (facts, identity) = invite(
            "sip:1712@h",
            &[
                ("From", "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1"),
                ("P-Asserted-Identity", "\"An\" <sip:an@h>, <tel:+32-9-123.45.67>"),
                ("Privacy", "id"),
            ],
        );
        assert!(facts.wants_privacy && facts.zone.as_deref() == Some("09"));
        assert_eq!(number(&identity), "+3291234567");
    }

    #[test]
    fn without_privacy_the_number_of_from_is_sealed_all_the_same() {
        let (facts, identity) = invite("sip:1712@h", &[("From", "\"An\" <sip:031234567@h>;tag=1")]);
        assert!(!facts.wants_privacy && facts.zone.as_deref() == Some("03"));
        assert_eq!(number(&identity), "031234567");
        let Some(order) = ReleaseOrder::by_two("a", "b") else { panic!("two people") };
        let released = identity.danger_release(&order);
        assert_eq!((released.name.as_str(), released.origin.as_str()), ("An", "127.0.0.1"));
    }

    #[test]
    fn a_withheld_number_gives_no_zone_and_no_pseudonym() {
        for from in [
            "<sip:anonymous@anonymous.invalid>;tag=1",
            "<sip:Anonymous@carrier>",
            "\"broken <sip:091234567@h>",
        ] {
            let (facts, identity) = invite("sip:1712@h", &[("From", from)]);
            assert!(facts.wants_privacy && facts.zone.is_none(), "{from}");
            assert!(identity.danger_pseudonym(&PseudonymKey::new([0; 32])).is_none(), "{from}");
        }
    }

    #[test]
    fn an_identity_inside_a_quoted_display_name_is_not_the_caller() {
        let from = "\"x <sip:+3291111111@h>;tag=evil\" <sip:+3231234567@h>;tag=1";
        let (facts, identity) = invite("sip:1712@h", &[("From", from)]);
        assert_eq!(facts.zone.as_deref(), Some("03"));
        assert_eq!(number(&identity), "+3231234567");
    }

    #[test]
    fn facts_print_nothing() {
        let (facts, _) = invite("sip:+3291234567@h", &[("From", "<sip:a@h>;tag=1")]);
        assert_eq!(format!("{facts:?}"), "CallFacts");
    }
}
