//! Bytes to a message (RFC 3261 7, 18.3, 25). Strict where leniency would let two readers see two
//! messages, lenient where the RFC says so (folding, compact names, space before the colon).

use super::message::{Headers, Message, Method, Request, Response};
use crate::sip::header::{CSeq, NameAddr, Via, is_balanced, is_token, number_below, split_list};
use crate::sip::uri::Uri;

/// Header lines that one message may have.
pub const MAX_HEADERS: usize = 200;
/// Bytes of one header value.
pub const MAX_VALUE: usize = 8192;

/// What the bytes were.
pub enum Parsed {
    Ok(Message),
    /// A request that can't be followed but can be answered with this status: it has Via, From, To,
    /// Call-ID and CSeq.
    Bad {
        request: Box<Request>,
        status: u16,
    },
    /// To be dropped and counted.
    Unreadable,
}

/// Reads one datagram or one framed message.
pub fn parse(bytes: &[u8]) -> Parsed {
    let bytes = skip_leading_lines(bytes);
    let (head, body, ended) = split_head(bytes);
    let Some((start, lines)) = split_line(head) else { return Parsed::Unreadable };
    let (headers, mut fault) = read_headers(lines);
    if !ended {
        fault = fault.or(Some(400));
    }
    if start.starts_with(b"SIP/") || start.starts_with(b"sip/") {
        return finish_response(start, headers, body, fault);
    }
    finish_request(start, headers, body, fault)
}

/// The declared length of the body: `Ok(None)` when there is no Content-Length. Two different ones,
/// signs, parameters and junk are errors, so that no other reader can cut elsewhere.
pub fn content_length(headers: &Headers) -> Result<Option<usize>, ()> {
    let mut length = None;
    for value in headers.all("Content-Length") {
        let number = number_below(value, 1 << 31).map_err(|_| ())? as usize;
        if length.is_some_and(|l| l != number) {
            return Err(());
        }
        length = Some(number);
    }
    Ok(length)
}

fn skip_leading_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    bytes
}

/// Head, body, and whether there was an empty line between them.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8], bool) {
    match bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        Some(at) => (bytes.get(..at + 2).unwrap_or(b""), bytes.get(at + 4..).unwrap_or(b""), true),
        None => (bytes, b"", false),
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).position(|w| w == b"\r\n")?;
    Some((bytes.get(..at)?, bytes.get(at + 2..)?))
}

/// All header lines, and the status of the first fault.
fn read_headers(mut rest: &[u8]) -> (Headers, Option<u16>) {
    let mut headers = Headers::new();
    let mut fault = None;
    while !rest.is_empty() {
        let end = field_end(rest);
        let (field, after) = rest.split_at(end);
        rest = after.strip_prefix(b"\r\n").unwrap_or(b"");
        if headers.len() >= MAX_HEADERS {
            return (headers, Some(513));
        }
        match read_field(field) {
            Some((name, value)) => headers.push(name, value),
            None => fault = fault.or(Some(400)),
        }
    }
    (headers, fault)
}

/// Where the field ends, folded lines included (RFC 3261 7.3.1).
fn field_end(bytes: &[u8]) -> usize {
    let mut from = 0;
    loop {
        let tail = bytes.get(from..).unwrap_or(b"");
        match tail.windows(2).position(|w| w == b"\r\n") {
            None => return bytes.len(),
            Some(at) => match bytes.get(from + at + 2) {
                Some(b' ' | b'\t') => from += at + 2,
                _ => return from + at,
            },
        }
    }
}

fn read_field(field: &[u8]) -> Option<(&str, String)> {
    let colon = field.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(field.get(..colon)?).ok()?.trim_end_matches([' ', '\t']);
    if !is_token(name) {
        return None;
    }
    let value = field.get(colon + 1..)?;
    if value.len() > MAX_VALUE {
        return None;
    }
    let value = unfold(value)?;
    Some((long_name(name), value))
}

/// Folds become one space; a lone CR or LF is refused. Bytes that are not UTF-8 become the character
/// of the same code, so that nothing is lost and nothing after them is dropped.
fn unfold(value: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|b| char::from(*b)).collect(),
    };
    if !text.contains(['\r', '\n']) {
        return Some(text.trim_matches([' ', '\t']).to_owned());
    }
    let parts: Vec<&str> = text.split("\r\n").map(|part| part.trim_matches([' ', '\t'])).collect();
    if parts.iter().any(|part| part.contains(['\r', '\n'])) {
        return None;
    }
    let kept: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Some(kept.join(" "))
}

/// Compact forms (RFC 3261 7.3.3 and the registry) to the long name.
fn long_name(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

fn finish_response(start: &[u8], headers: Headers, body: &[u8], fault: Option<u16>) -> Parsed {
    let line = String::from_utf8_lossy(start);
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or("");
    let code = words.next().unwrap_or("");
    let status = match (code.len(), code.parse::<u16>()) {
        (3, Ok(status)) if (100..700).contains(&status) => status,
        _ => return Parsed::Unreadable,
    };
    if fault.is_some() || !version.eq_ignore_ascii_case("SIP/2.0") || check_fields(&headers).is_some() {
        return Parsed::Unreadable;
    }
    match cut_body(&headers, body) {
        Some(body) => Parsed::Ok(Message::Response(Response { status, headers, body })),
        None => Parsed::Unreadable,
    }
}

fn finish_request(start: &[u8], headers: Headers, body: &[u8], fault: Option<u16>) -> Parsed {
    let line = String::from_utf8_lossy(start);
    let mut words = line.split(' ');
    let (method, uri, version) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next());
    let start_fault = match version {
        _ if !is_token(method) => return Parsed::Unreadable,
        Some(v) if words.next().is_none() && v.eq_ignore_ascii_case("SIP/2.0") => None,
        Some(v) if !v.eq_ignore_ascii_case("SIP/2.0") && is_other_version(v) => Some(505),
        _ => Some(400),
    };
    let mut request =
        Request { method: Method::from_name(method), uri: uri.to_owned(), headers, body: Vec::new() };
    if !is_answerable(&request.headers) {
        return Parsed::Unreadable;
    }
    let fault =
        start_fault.or(fault).or_else(|| check_fields(&request.headers)).or_else(|| check_request(&request));
    match (fault, cut_body(&request.headers, body)) {
        (None, Some(body)) => {
            request.body = body;
            Parsed::Ok(Message::Request(request))
        }
        (fault, _) => Parsed::Bad { status: fault.unwrap_or(400), request: Box::new(request) },
    }
}

fn is_other_version(version: &str) -> bool {
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let dotted = version.get(..4).filter(|p| p.eq_ignore_ascii_case("SIP/")).and_then(|_| version.get(4..));
    dotted.and_then(|d| d.split_once('.')).is_some_and(|(a, b)| number(a) && number(b))
}

/// Whether a response could be built and sent: the five fields are there and the top Via is one.
fn is_answerable(headers: &Headers) -> bool {
    let top = headers.get("Via").and_then(|v| split_list(v).next()).map(Via::parse);
    matches!(top, Some(Ok(_)))
        && ["From", "To", "Call-ID", "CSeq"]
            .iter()
            .all(|name| headers.get(name).is_some_and(|v| !v.is_empty()))
}

/// Faults of the fields that every message needs.
fn check_fields(headers: &Headers) -> Option<u16> {
    const ONCE: [&str; 7] = ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Expires"];
    if ONCE.iter().any(|name| headers.count(name) > 1) {
        return Some(400);
    }
    let via = headers.all("Via").flat_map(split_list).all(|v| Via::parse(v).is_ok_and(|v| v.is_version_2()));
    let parties = ["From", "To"].iter().all(|n| headers.get(n).is_some_and(|v| NameAddr::parse(v).is_ok()));
    let call_id = headers.get("Call-ID").is_some_and(|v| !v.is_empty() && !v.contains([' ', '\t', ',']));
    let cseq = headers.get("CSeq").is_some_and(|v| CSeq::parse(v).is_ok());
    let length = content_length(headers).is_ok();
    let contacts = headers.all("Contact").all(|v| is_balanced(v) && !v.contains(";;"));
    let fine = via && headers.get("Via").is_some() && parties && call_id && cseq && length && contacts;
    (!fine).then_some(400)
}

fn check_request(request: &Request) -> Option<u16> {
    let cseq = request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok());
    if cseq.is_none_or(|c| c.method != request.method) {
        return Some(400);
    }
    let hops = request.headers.get("Max-Forwards").map(|v| number_below(v, 256));
    let bad_hops = matches!(hops, Some(Err(_)));
    (bad_hops || Uri::parse(&request.uri).is_err()).then_some(400)
}

/// Cuts the body to Content-Length (RFC 3261 18.3): more is thrown away, less is a fault.
fn cut_body(headers: &Headers, body: &[u8]) -> Option<Vec<u8>> {
    match content_length(headers) {
        Ok(None) => Some(body.to_vec()),
        Ok(Some(length)) => body.get(..length).map(<[u8]>::to_vec),
        Err(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\n";

    fn request(extra: &str, body: &str) -> Vec<u8> {
        format!("OPTIONS sip:b@h SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n{extra}\r\n{body}").into_bytes()
    }

    fn verdict(bytes: &[u8]) -> String {
        match parse(bytes) {
            Parsed::Ok(Message::Request(r)) => format!("ok {} {}", r.method.as_str(), r.body.len()),
            Parsed::Ok(Message::Response(r)) => format!("ok {} {}", r.status, r.body.len()),
            Parsed::Bad { status, .. } => format!("bad {status}"),
            Parsed::Unreadable => "unreadable".into(),
        }
    }

    #[test]
    fn what_is_read_and_what_is_refused() {
        for (extra, body, expected) in [
            ("", "", "ok OPTIONS 0"),
            ("Content-Length: 3\r\n", "abc", "ok OPTIONS 3"),
            ("l: 3\r\n", "abcdef", "ok OPTIONS 3"),
            ("Content-Length: 4\r\n", "abc", "bad 400"),
            ("Content-Length: +3\r\n", "abc", "bad 400"),
            ("Content-Length: 3;x\r\n", "abc", "bad 400"),
            ("Content-Length: -3\r\n", "abc", "bad 400"),
            ("Content-Length: 3\r\nl: 2\r\n", "abc", "bad 400"),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc", "ok OPTIONS 3"),
            ("Content-Length:\r\n 3\r\n", "abc", "ok OPTIONS 3"),
            ("X: a\rb\r\n", "", "bad 400"),
            ("X: a\nb\r\n", "", "bad 400"),
            ("no colon here\r\n", "", "bad 400"),
            ("Max-Forwards: 300\r\n", "", "bad 400"),
            ("To: <sip:x@h>\r\n", "", "bad 400"),
        ] {
            assert_eq!(verdict(&request(extra, body)), expected, "{extra:?}");
        }
    }

    #[test]
    fn a_latin_1_byte_drops_nothing_after_it() {
        let mut bytes = request("", "");
        let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0);
        bytes.splice(at + 2..at + 2, b"Subject: caf\xe9\r\nX-After: here\r\n".iter().copied());
        match parse(&bytes) {
            Parsed::Ok(Message::Request(r)) => {
                assert_eq!(r.headers.get("subject"), Some("caf\u{e9}"));
                assert_eq!(r.headers.get("x-after"), Some("here"));
            }
            _ => panic!("not read"),
        }
    }

    #[test]
    fn compact_names_folding_and_space_before_the_colon() {
        let bytes =
            b"INVITE sip:b@[::1];x SIP/2.0\r\nv : SIP/2.0/TCP\r\n h;branch=z9hG4bK1\r\nf:<sip:a@h>;tag=1\r\n\
            t:\r\n\t<sip:b@h>\r\ni: c\r\nCSEQ: 1\r\n INVITE\r\n\r\n";
        match parse(bytes) {
            Parsed::Ok(Message::Request(r)) => {
                assert_eq!(r.headers.get("Via"), Some("SIP/2.0/TCP h;branch=z9hG4bK1"));
                assert_eq!(r.headers.get("To"), Some("<sip:b@h>"));
            }
            _ => panic!("not read"),
        }
    }

    #[test]
    fn a_message_without_blank_line_is_not_taken() {
        let text = format!("OPTIONS sip:b@h SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\n");
        assert_eq!(verdict(text.as_bytes()), "bad 400");
    }

    #[test]
    fn what_cannot_be_answered_is_unreadable() {
        for text in [
            "",
            "\r\n\r\n",
            "hello\r\n\r\n",
            "INVITE sip:a@h SIP/2.0\r\nCall-ID: c\r\n\r\n",
            "SIP/2.0 99 x\r\n\r\n",
        ] {
            assert_eq!(verdict(text.as_bytes()), "unreadable", "{text:?}");
        }
    }

    #[test]
    fn other_versions_get_505_and_broken_start_lines_400() {
        let with = |start: &str| format!("{start}\r\n{HEAD}CSeq: 1 OPTIONS\r\n\r\n").into_bytes();
        assert_eq!(verdict(&with("OPTIONS sip:b@h SIP/7.0")), "bad 505");
        assert_eq!(verdict(&with("OPTIONS sip:b@h HTTP/1.1")), "bad 400");
        assert_eq!(verdict(&with("OPTIONS <sip:b@h> SIP/2.0")), "bad 400");
        assert_eq!(verdict(&with("OPTIONS  sip:b@h SIP/2.0")), "bad 400");
        assert_eq!(verdict(&with("OPTIONS sip:b@h SIP/2.0 ")), "bad 400");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_on_a_damaged_message(at in 0usize..200, byte: u8) {
            let mut bytes = request("Contact: \"x\" <sip:a@h>;q=0.5\r\nContent-Length: 3\r\n", "abc");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse(&bytes);
        }
    }
}
