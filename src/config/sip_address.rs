//! A first look at a SIP address that the operator wrote, so that a slip is named with its line. The wire's
//! own reading is `sip::uri`, which this layer does not know.

use std::net::{Ipv4Addr, Ipv6Addr};

const FORM: &str = "sip:name@host:port, such as sip:front@192.0.2.20:5060";

/// What makes two addresses one: host without case, default port spelled out, no parameters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub user: Option<String>,
    pub host: String,
    pub port: u16,
}

/// Reads an address; the mistake is what would be allowed.
pub(super) fn parse(text: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or(FORM)?;
    if scheme.eq_ignore_ascii_case("sips") {
        return Err("sip: over udp or tcp; TLS is not built yet");
    }
    if scheme.eq_ignore_ascii_case("tel") {
        return Err("`telephone = \"+32…\"` for a number over a trunk, or sip:…");
    }
    if !scheme.eq_ignore_ascii_case("sip") || text.chars().any(|c| c.is_whitespace() || "<>\"?".contains(c)) {
        return Err(FORM);
    }
    let (address, params) = rest.split_once(';').unwrap_or((rest, ""));
    let transport = params.split(';').find_map(|param| param.strip_prefix("transport="));
    if transport.is_some_and(|word| !matches!(word, "udp" | "tcp")) {
        return Err("transport=udp or transport=tcp");
    }
    let (user, place) = match address.rsplit_once('@') {
        Some((user, place)) if !user.is_empty() && !user.contains('@') => (Some(user.to_owned()), place),
        Some(_) => return Err(FORM),
        None => (None, address),
    };
    let (host, port) = split_port(place).ok_or(FORM)?;
    if !host_fits(host) {
        return Err(FORM);
    }
    Ok(Address { user, host: host.to_ascii_lowercase(), port })
}

/// Host and port; the host of IPv6 in its brackets.
fn split_port(place: &str) -> Option<(&str, u16)> {
    let behind = place.rfind(']').map_or(0, |end| end + 1);
    match place.get(behind..)?.split_once(':') {
        None => Some((place, 5060)),
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
