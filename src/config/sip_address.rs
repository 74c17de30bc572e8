//! A first look at a SIP address that the operator wrote, so that a slip is named with its line. The wire's
//! own reading is `sip::uri`, which this layer does not know.

use std::net::{Ipv4Addr, Ipv6Addr};

const FORM: &str = "sip:name@host:port, such as sip:front@192.0.2.20:5060";

/// What makes two addresses one: host without case, default port spelled out, transport.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub user: Option<String>,
    pub host: String,
    pub port: u16,
    pub transport: Way,
}

/// By what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Udp,
    Tcp,
    Tls,
}

/// Reads an address; the mistake is what would be allowed.
pub(super) fn parse(text: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or(FORM)?;
    if scheme.eq_ignore_ascii_case("tel") {
        return Err("`telephone = \"+32…\"` for a number over a trunk, or sip:…");
    }
    let sips = scheme.eq_ignore_ascii_case("sips");
    if !(sips || scheme.eq_ignore_ascii_case("sip"))
        || text.chars().any(|c| c.is_whitespace() || "<>\"?".contains(c))
    {
        return Err(FORM);
    }
    let (address, params) = rest.split_once(';').unwrap_or((rest, ""));
    let transport = params.split(';').find_map(|param| param.strip_prefix("transport="));
    let transport = match (transport, sips) {
        (None | Some("tcp" | "tls"), true) | (Some("tls"), false) => Way::Tls,
        (None | Some("udp"), false) => Way::Udp,
        (Some("tcp"), false) => Way::Tcp,
        (Some(_), true) => return Err("sips: without a transport, which is TLS"),
        (Some(_), false) => return Err("transport=udp, transport=tcp or transport=tls"),
    };
    let (user, place) = match address.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err("an address without a password in it"),
        Some((user, place)) if !user.is_empty() && !user.contains('@') => (Some(user.to_owned()), place),
        Some(_) => return Err(FORM),
        None => (None, address),
    };
    let (host, port) = split_port(place, if transport == Way::Tls { 5061 } else { 5060 }).ok_or(FORM)?;
    if !host_fits(host) {
        return Err(FORM);
    }
    Ok(Address { user, host: host.to_ascii_lowercase(), port, transport })
}

/// Whether the name service says by which transport and port it is called: a host name with neither (RFC 3263 4.1).
pub(super) fn is_open(text: &str) -> bool {
    let (address, params) = text.split_once(';').unwrap_or((text, ""));
    let place = address.rsplit(['@', ':']).next().unwrap_or_default();
    let is_port = !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit());
    let is_address = place.ends_with(']') || place.parse::<Ipv4Addr>().is_ok();
    !is_port && !is_address && !params.split(';').any(|param| param.starts_with("transport="))
}

/// An address as it may be shown: a password in it (`sip:user:password@host`) is not.
pub(super) fn shown(text: &str) -> String {
    let Some((before, place)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.match_indices(':').nth(1) {
        Some((colon, _)) => format!("{}:…@{place}", before.get(..colon).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Host and port; the host of IPv6 in its brackets.
fn split_port(place: &str, usual: u16) -> Option<(&str, u16)> {
    let behind = place.rfind(']').map_or(0, |end| end + 1);
    match place.get(behind..)?.split_once(':') {
        None => Some((place, usual)),
        Some((name, port)) => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some((place.get(..behind + name.len())?, port))
        }
    }
}

fn host_fits(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    // All digits and dots can only be meant as IPv4.
    if host.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_or_refused() {
        for (text, user, host, port, transport) in [
            ("sip:192.0.2.1", None, "192.0.2.1", 5060, Way::Udp),
            ("sip:front@PBX.example:5080;transport=tcp", Some("front"), "pbx.example", 5080, Way::Tcp),
            ("SIP:a@[2001:db8::1]", Some("a"), "[2001:db8::1]", 5060, Way::Udp),
            ("sip:[::1]:5066;lr", None, "[::1]", 5066, Way::Udp),
            ("sip:carrier.example;transport=tls", None, "carrier.example", 5061, Way::Tls),
            ("sips:a@b", Some("a"), "b", 5061, Way::Tls),
            ("sips:b:5071;transport=tcp", None, "b", 5071, Way::Tls),
        ] {
            let expected = Address { user: user.map(ToOwned::to_owned), host: host.into(), port, transport };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "sip:",
            "192.0.2.1",
            "sip:a@",
            "sip:@b",
            "sip:a@b@c",
            "sip:a b@c",
            "sip:192.0.2",
            "sip:192.0.2.256",
            "sip:[::1",
            "sip:::1",
            "sip:a@b:0",
            "sip:a@b:70000",
            "sip:a@b:",
            "sips:a@b;transport=udp",
            "tel:+321712",
            "<sip:a@b>",
            "sip:a@b;transport=ws",
            "sip:a@b;transport=wss",
            "sip:a@b?Subject=x",
            "sip:a:b@c",
            "sip:a..b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_name_alone_is_open() {
        for text in ["sip:carrier.example", "sip:front@carrier.example", "sips:h;lr"] {
            assert!(is_open(text), "{text}");
        }
        for text in ["sip:h:5060", "sip:192.0.2.1", "sip:[::1]", "sip:[::1]:5060", "sip:h;transport=udp"] {
            assert!(!is_open(text), "{text}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert_eq!(shown("sip:anna:hunter2@h.example"), "sip:anna:…@h.example");
        assert_eq!(shown("sip:anna@[::1]:5060"), "sip:anna@[::1]:5060");
    }
}
