//! From a TOML value to a typed one. Each function says what it found and what it would take.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime};

use super::raw::{Interval, Keys, ListenTransport, MediaIo, Network, Srtp, Strategy};
use super::tree::{Node, Value};

/// Why a value is not taken.
pub(super) struct Wrong {
    /// As in "`ring` is …".
    pub found: String,
    pub allowed: String,
    /// What was written and the words among which it may have been meant.
    pub words: Option<(String, &'static [&'static str])>,
}

pub(super) type Parsed<T> = Result<T, Wrong>;

/// The longest name or word that is taken.
const MAX_NAME: usize = 64;

fn wrong<T>(found: impl Into<String>, allowed: impl Into<String>) -> Parsed<T> {
    Err(Wrong { found: found.into(), allowed: allowed.into(), words: None })
}

fn not<T>(text: &str, allowed: impl Into<String>) -> Parsed<T> {
    wrong(format!("`{}`", text.escape_debug()), allowed)
}

/// The text of a value that must be one.
fn quoted<'a>(node: &'a Node, allowed: &str) -> Parsed<&'a str> {
    match &node.value {
        Value::Text(text) => Ok(text),
        other => wrong(other.kind(), format!("{allowed}, in quotes")),
    }
}

/// Any text that is not empty and has no control characters.
pub(super) fn text(node: &Node) -> Parsed<String> {
    let allowed = "a text of one line";
    let text = quoted(node, allowed)?;
    match text.trim() {
        "" => wrong("empty", allowed),
        trimmed if trimmed.chars().any(char::is_control) => wrong("of several lines", allowed),
        trimmed => Ok(trimmed.to_owned()),
    }
}

/// A name of the operator's: of a line, queue, flow, step, prompt, trunk.
pub(super) fn name(node: &Node) -> Parsed<String> {
    let text = quoted(node, NAME)?;
    check_name(text).map(|()| text.to_owned())
}

const NAME: &str = "a name of at most 64 letters, digits and - _ . +";

/// Whether a text can be a name. Names go into metrics and SIP addresses, so their letters are few.
pub(super) fn check_name(text: &str) -> Parsed<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if text.is_empty() {
        wrong("empty", NAME)
    } else if text.len() > MAX_NAME || !text.chars().all(fits) {
        not(text, NAME)
    } else {
        Ok(())
    }
}

/// What is dialled: digits, `+`, `*`, `#`, or a name such as `demo`.
pub(super) fn dialled(node: &Node) -> Parsed<String> {
    let allowed = "a telephone number such as 106 or +3278151712, or a name, without spaces";
    let text = quoted(node, allowed)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '*' | '#');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(fits) {
        return not(text, allowed);
    }
    Ok(text.to_owned())
}

/// A number that a telephone can call.
pub(super) fn telephone(node: &Node) -> Parsed<String> {
    let allowed = "a telephone number such as 106 or +32470123456, without spaces";
    let text = quoted(node, allowed)?;
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !(1..=32).contains(&digits.len()) || !digits.chars().all(|c| c.is_ascii_digit()) {
        return not(text, allowed);
    }
    Ok(text.to_owned())
}

/// A code that a line's phone dials: `*` and one to four digits.
pub(super) fn star_code(node: &Node) -> Parsed<String> {
    let allowed = "a star and one to four digits, such as *71";
    let text = quoted(node, allowed)?;
    let digits = text.strip_prefix('*').unwrap_or_default();
    if !(1..=4).contains(&digits.len()) || !digits.chars().all(|c| c.is_ascii_digit()) {
        return not(text, allowed);
    }
    Ok(text.to_owned())
}

/// A telephone zone: a zero and one or two digits.
pub(super) fn zone_code(node: &Node) -> Parsed<String> {
    let allowed = "a telephone zone such as 09 or 050";
    let text = quoted(node, allowed)?;
    if !(2..=4).contains(&text.len()) || !text.starts_with('0') || !text.chars().all(|c| c.is_ascii_digit()) {
        return not(text, allowed);
    }
    Ok(text.to_owned())
}

/// A language as in the folders of `prompts/`: `nl`, `fr`, `nl-BE`.
pub(super) fn language(node: &Node) -> Parsed<String> {
    let allowed = "a language code such as nl, fr or en";
    let text = quoted(node, allowed)?;
    let mut parts = text.split('-');
    let first = parts.next().is_some_and(|p| matches!(p.len(), 2 | 3) && lower(p));
    let rest = parts.all(|p| (2..=8).contains(&p.len()) && p.chars().all(|c| c.is_ascii_alphanumeric()));
    if first && rest { Ok(text.to_owned()) } else { not(text, allowed) }
}

fn lower(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase())
}

pub(super) fn truth(node: &Node) -> Parsed<bool> {
    match &node.value {
        Value::Truth(truth) => Ok(*truth),
        other => wrong(other.kind(), "true or false, without quotes"),
    }
}

/// A whole number between two bounds, both included.
pub(super) fn number(least: u32, most: u32) -> impl Fn(&Node) -> Parsed<u32> {
    move |node| {
        let allowed = format!("a whole number from {least} to {most}, without quotes");
        match &node.value {
            Value::Number(Some(number)) => match u32::try_from(*number) {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => wrong(number.to_string(), allowed),
            },
            Value::Number(None) => wrong("too large a number", allowed),
            other => wrong(other.kind(), allowed),
        }
    }
}

/// A level with its unit, in dB below full scale: `-32dBov`.
pub(super) fn level(node: &Node) -> Parsed<i32> {
    let allowed = "a level from -60dBov to -10dBov; speech has -26dBov";
    let text = quoted(node, allowed)?;
    let number = text.strip_suffix("dBov").and_then(|number| number.trim_end().parse().ok());
    match number {
        Some(level) if (-60..=-10).contains(&level) => Ok(level),
        _ => not(text, allowed),
    }
}

/// A loudness with its unit (EBU R 128): `-23LUFS`.
pub(super) fn loudness(node: &Node) -> Parsed<i32> {
    let allowed = "a loudness from -36LUFS to -14LUFS, such as -23LUFS (EBU R 128)";
    let text = quoted(node, allowed)?;
    let number = text.strip_suffix("LUFS").and_then(|number| number.trim_end().parse().ok());
    match number {
        Some(lufs) if (-36..=-14).contains(&lufs) => Ok(lufs),
        _ => not(text, allowed),
    }
}

const MILLIS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A duration with its unit, between two bounds (both included): `20s`, `1h30m`.
pub(super) fn duration(least: Duration, most: Duration) -> impl Fn(&Node) -> Parsed<Duration> {
    move |node| {
        let allowed = "a duration with its unit, such as 250ms, 20s, 5m, 1h or 30d";
        let text = quoted(node, allowed)?;
        let Some(duration) = parse_duration(text) else { return not(text, allowed) };
        if duration < least || duration > most {
            return not(text, format!("from {} to {}", spoken(least), spoken(most)));
        }
        Ok(duration)
    }
}

/// How often a carrier is asked whether it is there.
pub(super) fn options_interval(node: &Node) -> Parsed<Duration> {
    let interval = duration(Duration::ZERO, Duration::from_secs(3600))(node)?;
    if !interval.is_zero() && interval < Duration::from_secs(5) {
        return not(&spoken(interval), "0s (never), or from 5s to 1h");
    }
    Ok(interval)
}

/// The interval of session timers: none, or not less than RFC 4028 4 allows.
pub(super) fn session_interval(node: &Node) -> Parsed<Duration> {
    let interval = duration(Duration::ZERO, Duration::from_secs(24 * 3600))(node)?;
    if !interval.is_zero() && interval < Duration::from_secs(90) {
        return not(&spoken(interval), "0s (no session timers), or from 90s to 1d");
    }
    Ok(interval)
}

/// A duration with its unit: `20s`, `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (digits, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let millis = MILLIS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis)?;
        // Larger units stand first, each once: `1h30m`, not `30m1h`.
        if millis >= smallest {
            return None;
        }
        smallest = millis;
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(millis)?)?;
        rest = behind;
    }
    (smallest != u64::MAX).then(|| Duration::from_millis(total))
}

/// A duration as the operator would write it.
fn spoken(duration: Duration) -> String {
    let total = duration.as_millis() as u64;
    let unit = MILLIS.iter().rev().find(|(_, millis)| total >= *millis && total.is_multiple_of(*millis));
    unit.map_or_else(|| "0s".to_owned(), |(name, millis)| format!("{}{name}", total / millis))
}

/// One of a few words.
pub(super) fn word(words: &'static [&'static str]) -> impl Fn(&Node) -> Parsed<String> {
    move |node| choose(node, words).map(|index| words.get(index).copied().unwrap_or_default().to_owned())
}

fn choose(node: &Node, words: &'static [&'static str]) -> Parsed<usize> {
    let allowed = words.join(", ");
    let text = quoted(node, &allowed)?;
    words.iter().position(|word| *word == text).ok_or_else(|| Wrong {
        found: format!("`{}`", text.escape_debug()),
        allowed,
        words: Some((text.to_owned(), words)),
    })
}

pub(super) fn transport(node: &Node) -> Parsed<ListenTransport> {
    use ListenTransport::{Tcp, Tls, Udp, Ws, Wss};
    let transports = [Udp, Tcp, Tls, Ws, Wss];
    choose(node, &["udp", "tcp", "tls", "ws", "wss"])
        .map(|at| transports.get(at).copied().unwrap_or(ListenTransport::Udp))
}

pub(super) fn media_io(node: &Node) -> Parsed<MediaIo> {
    let ways = [MediaIo::Auto, MediaIo::Epoll, MediaIo::IoUring];
    choose(node, &["auto", "epoll", "io-uring"]).map(|at| ways.get(at).copied().unwrap_or(MediaIo::Auto))
}

/// The origin of a web page as a browser writes it (RFC 6454 6.2): scheme, host, and a port that is not the usual.
pub(super) fn origin(node: &Node) -> Parsed<String> {
    let allowed = "scheme and host of a web page, such as https://phone.example or http://192.0.2.9:8080";
    let text = quoted(node, allowed)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']');
    if host.is_empty() || host.len() > 255 || !host.chars().all(fits) {
        return not(text, allowed);
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn strategy(node: &Node) -> Parsed<Strategy> {
    let strategies = [Strategy::LongestIdle, Strategy::InOrder, Strategy::RoundRobin, Strategy::RingAll];
    choose(node, &["longest-idle", "in-order", "round-robin", "ring-all"])
        .map(|at| strategies.get(at).copied().unwrap_or(Strategy::LongestIdle))
}

pub(super) fn srtp(node: &Node) -> Parsed<Srtp> {
    let all = [Srtp::Never, Srtp::Optional, Srtp::Mandatory];
    choose(node, &["never", "optional", "mandatory"]).map(|at| all.get(at).copied().unwrap_or(Srtp::Optional))
}

pub(super) fn keys(node: &Node) -> Parsed<Keys> {
    choose(node, &["auto", "info"]).map(|at| if at == 0 { Keys::Auto } else { Keys::Info })
}

pub(super) fn address(node: &Node) -> Parsed<IpAddr> {
    let allowed = "an IP address such as 192.0.2.10 or 2001:db8::10";
    let text = quoted(node, allowed)?;
    text.parse().or_else(|_| not(text, allowed))
}

pub(super) fn socket(node: &Node) -> Parsed<SocketAddr> {
    let allowed = "an IP address and a port, such as 192.0.2.10:5060 or [2001:db8::10]:5060";
    let text = quoted(node, allowed)?;
    text.parse().or_else(|_| not(text, allowed))
}

/// An address, or a network whose address has nothing behind its prefix.
pub(super) fn network(node: &Node) -> Parsed<Network> {
    let allowed = "an IP address or network, such as 192.0.2.10, 192.0.2.0/24 or 2001:db8::/32";
    let text = quoted(node, allowed)?;
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let Ok(address) = address.parse::<IpAddr>() else { return not(text, allowed) };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        "" if !text.contains('/') => longest,
        prefix => match prefix.parse::<u8>() {
            Ok(prefix) if prefix <= longest => prefix,
            _ => return not(text, allowed),
        },
    };
    let base = network_base(address, prefix);
    if base != address {
        return not(text, format!("the whole network {base}/{prefix}, or the one address {address}"));
    }
    Ok(Network { address, prefix })
}

fn network_base(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// `20000-29999`, both included.
pub(super) fn ports(node: &Node) -> Parsed<(u16, u16)> {
    let allowed = "a first and a last port, such as 20000-29999";
    let text = quoted(node, allowed)?;
    let pair = text
        .split_once('-')
        .and_then(|(from, to)| Some((from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?)));
    match pair {
        Some((from, to)) if from < to && from >= 1024 => Ok((from, to)),
        Some((from, _)) if from < 1024 => not(text, "ports from 1024 on"),
        _ => not(text, allowed),
    }
}

/// One key of a telephone.
pub(super) fn key(node: &Node) -> Parsed<char> {
    let allowed = "one key: 0 to 9, * or #";
    check_key(quoted(node, allowed)?)
}

/// Whether a text is one key of a telephone.
pub(super) fn check_key(text: &str) -> Parsed<char> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(key), None) if key.is_ascii_digit() || matches!(key, '*' | '#') => Ok(key),
        _ => not(text, "one key: 0 to 9, * or #"),
    }
}

/// `09:00-17:00`; when it ends before it begins, it ends on the next day.
pub(super) fn interval(node: &Node) -> Parsed<Interval> {
    let allowed = "hours such as 09:00-17:00, 22:00-06:00 or 00:00-24:00";
    let text = quoted(node, allowed)?;
    let pair = text.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
    match pair {
        Some((from, to)) if from < to => Ok(Interval { from, to }),
        Some((from, to)) if from > to && from < 1440 => Ok(Interval { from, to: to + 1440 }),
        _ => not(text, allowed),
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = hour.chars().chain(minute.chars()).all(|c| c.is_ascii_digit());
    if !digits || hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= 1440).then_some(total)
}

pub(super) fn date(node: &Node) -> Parsed<NaiveDate> {
    let allowed = "a date such as 2026-12-24";
    let text = moment(node, allowed)?;
    NaiveDate::parse_from_str(text, "%Y-%m-%d").or_else(|_| not(text, allowed))
}

pub(super) fn date_time(node: &Node) -> Parsed<NaiveDateTime> {
    let allowed = "a local date and time such as 2026-12-01T09:00";
    let text = moment(node, allowed)?;
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map_or_else(|| not(text, allowed), Ok)
}

/// With quotes or without: TOML has dates of its own.
fn moment<'a>(node: &'a Node, allowed: &str) -> Parsed<&'a str> {
    match &node.value {
        Value::Text(text) | Value::Moment(text) => Ok(text),
        other => wrong(other.kind(), allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Place;

    fn node(text: &str) -> Node {
        Node { place: Place::default(), value: Value::Text(text.to_owned()) }
    }

    #[test]
    fn durations_have_units_the_larger_first() {
        for (text, millis) in [
            ("20s", 20_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1s500ms", 1500),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "20",
            "s",
            "20 s",
            "-5s",
            "1.5h",
            "30m1h",
            "5m5m",
            "1x",
            "20S",
            "99999999999999999999s",
            "1h30",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for (millis, text) in
            [(90_000, "90s"), (3_600_000, "1h"), (250, "250ms"), (0, "0s"), (86_400_000, "1d")]
        {
            assert_eq!(spoken(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn hours_may_pass_midnight_but_not_be_empty() {
        for (text, from, to) in [
            ("09:00-17:00", 540, 1020),
            ("9:00 - 17:30", 540, 1050),
            ("22:00-06:00", 1320, 1800),
            ("00:00-24:00", 0, 1440),
            ("20:00-00:00", 1200, 1440),
        ] {
            assert_eq!(interval(&node(text)).ok(), Some(Interval { from, to }), "{text}");
        }
        for text in [
            "09:00",
            "09:00-09:00",
            "24:00-06:00",
            "09:60-10:00",
            "25:00-26:00",
            "9-17",
            "+9:00-10:00",
            "09:0-10:00",
        ] {
            assert!(interval(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_end_where_their_prefix_says() {
        for (text, prefix) in
            [("192.0.2.1", 32), ("10.0.0.0/8", 8), ("0.0.0.0/0", 0), ("::1", 128), ("::/0", 0)]
        {
            assert_eq!(network(&node(text)).ok().map(|n| n.prefix), Some(prefix), "{text}");
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "2001:db8::1/32", "::/129", "host.example"]
        {
            assert!(network(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn names_have_few_letters() {
        for text in ["anna", "1712", "tele-onthaal", "a.b_c", "+3278151712"] {
            assert!(check_name(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "a@b", "anna\r\n", "é", &"a".repeat(65)] {
            assert!(check_name(text).is_err(), "{text}");
        }
    }
}
