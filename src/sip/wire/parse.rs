//! Bytes to a message (RFC 3261 7, 18.3, 25). Strict where leniency would let two readers see two
//! messages, lenient where the RFC says so (folding, compact names, space before the colon).

use super::message::{Headers, Message, Method, Request, Response};
use crate::sip::header::{
    CSeq, NameAddr, Via, has_empty_params, is_balanced, is_token, number_below, split_list,
};
use crate::sip::uri::Uri;

/// Bytes of one header value, whatever the operator allows.
pub const MAX_VALUE: usize = 8192;

/// What one message may have; past it a request gets 513 and a response is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Header lines.
    pub headers: usize,
    /// Bytes of one header value; [`MAX_VALUE`] at most.
    pub header_length: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { headers: 200, header_length: MAX_VALUE }
    }
}

/// Via values that one message may have: as many as the hops that Max-Forwards allows (RFC 3261 8.1.1.6).
pub const MAX_VIAS: usize = 70;

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

/// Reads one datagram or one framed message, within the usual bounds.
pub fn parse(bytes: &[u8]) -> Parsed {
    parse_within(bytes, Bounds::default())
}

/// Reads one datagram or one framed message.
pub fn parse_within(bytes: &[u8], bounds: Bounds) -> Parsed {
    let bytes = skip_leading_lines(bytes);
    let Some((start, rest)) = next_line(bytes) else { return Parsed::Unreadable };
    let head = read_headers(rest, bounds);
    if start.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"SIP/")) {
        return finish_response(start, head);
    }
    finish_request(start, head)
}

/// The declared length of the body: `Ok(None)` when there is no Content-Length. A second one, signs, parameters and
/// junk are errors, so that no other reader can cut elsewhere.
pub fn content_length(headers: &Headers) -> Result<Option<usize>, ()> {
    let mut length = None;
    for value in headers.all("Content-Length") {
        let number = number_below(value, 1 << 31).map_err(|_| ())? as usize;
        if length.replace(number).is_some() {
            return Err(());
        }
    }
    Ok(length)
}

fn skip_leading_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    bytes
}

/// The first line, without its line end, and what follows it.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|b| *b == b'\n')?;
        match at.checked_sub(1) {
            Some(end) if bytes.get(end) == Some(&b'\r') => {
                return Some((bytes.get(..end)?, bytes.get(at + 1..)?));
            }
            _ => from = at + 1,
        }
    }
}

/// What stands between the start line and the end of the message.
struct Head<'a> {
    headers: Headers,
    body: &'a [u8],
    /// No empty line, or too many fields: the end of the message is not where it seems.
    broken: Option<u16>,
    /// A field could not be read and is not among the headers.
    fault: Option<u16>,
}

fn read_headers(rest: &[u8], bounds: Bounds) -> Head<'_> {
    let mut head = Head { headers: Headers::with_capacity(20), body: b"", broken: None, fault: None };
    let mut fields = Fields { rest };
    for field in &mut fields {
        if head.headers.len() >= bounds.headers {
            head.broken = Some(513);
            return head;
        }
        let named = field_name(field);
        if named.is_some_and(|(_, value)| text_length(value) > bounds.header_length) {
            head.fault = Some(513);
            continue;
        }
        match named.and_then(|(name, value)| Some((name, unfold(value)?))) {
            Some((name, value)) => head.headers.push(name, value),
            None => head.fault = head.fault.or(Some(400)),
        }
    }
    match fields.rest.strip_prefix(b"\r\n") {
        Some(body) => head.body = body,
        None => head.broken = Some(400),
    }
    head
}

/// The header fields one by one, folded lines included (RFC 3261 7.3.1); stops before the empty line.
/// The framer uses it too, so that both see the same Content-Length.
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() || self.rest.starts_with(b"\r\n") {
            return None;
        }
        let whole = self.rest;
        let mut after = whole;
        loop {
            let Some((_, next)) = next_line(after) else {
                self.rest = b"";
                return Some(whole);
            };
            after = next;
            if !matches!(after.first(), Some(b' ' | b'\t')) {
                break;
            }
        }
        self.rest = after;
        whole.get(..whole.len() - after.len() - 2)
    }
}

/// The long name and the raw value of a field.
pub(super) fn field_name(field: &[u8]) -> Option<(&str, &[u8])> {
    let colon = field.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(field.get(..colon)?).ok()?.trim_end_matches([' ', '\t']);
    let value = field.get(colon + 1..)?;
    is_token(name).then(|| (long_name(name), value))
}

/// How long a value is as text, in which it goes out again: a byte that is not UTF-8 takes two there.
fn text_length(value: &[u8]) -> usize {
    match std::str::from_utf8(value) {
        Ok(text) => text.len(),
        Err(_) => value.len() + value.iter().filter(|byte| !byte.is_ascii()).count(),
    }
}

/// Folds become one space; a lone CR or LF is refused. Bytes that are not UTF-8 become the character
/// of the same code, so that nothing is lost and nothing after them is dropped.
pub(super) fn unfold(value: &[u8]) -> Option<Box<str>> {
    let value = trim_blanks(value);
    let latin: String;
    let text = if let Ok(text) = std::str::from_utf8(value) {
        text
    } else {
        latin = value.iter().map(|b| char::from(*b)).collect();
        &latin
    };
    if !value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Some(text.into());
    }
    let parts = || text.split("\r\n").map(|part| part.trim_matches([' ', '\t']));
    if parts().any(|part| part.contains(['\r', '\n'])) {
        return None;
    }
    let kept: Vec<&str> = parts().filter(|part| !part.is_empty()).collect();
    Some(kept.join(" ").into())
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
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
        b'n' => "Identity-Info",
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

/// A field that can't be read is passed over: an answer with one odd line is still an answer. What
/// ends the message or names its transaction must be right.
fn finish_response(start: &[u8], head: Head<'_>) -> Parsed {
    let mut words = start.splitn(3, |b| *b == b' ');
    let version = words.next().unwrap_or(b"");
    let code = words.next().filter(|c| c.len() == 3).and_then(|c| std::str::from_utf8(c).ok());
    let status = code.and_then(|c| number_below(c, 700).ok()).filter(|c| *c >= 100);
    let (Some(status), true, None) = (status, version.eq_ignore_ascii_case(b"SIP/2.0"), head.broken) else {
        return Parsed::Unreadable;
    };
    match check_fields(&head.headers).and_then(|found| cut_body(found.length, head.body)) {
        Some(body) => {
            Parsed::Ok(Message::Response(Response { status: status as u16, headers: head.headers, body }))
        }
        None => Parsed::Unreadable,
    }
}

fn finish_request(start: &[u8], head: Head<'_>) -> Parsed {
    let line = String::from_utf8_lossy(start);
    let mut words = line.split(' ');
    let (method, uri, version) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next());
    let start_fault = match version {
        _ if !is_token(method) => return Parsed::Unreadable,
        Some(v) if words.next().is_none() && v.eq_ignore_ascii_case("SIP/2.0") => None,
        Some(v) if !v.eq_ignore_ascii_case("SIP/2.0") && is_other_version(v) => Some(505),
        _ => Some(400),
    };
    let mut request = Request {
        method: Method::from_name(method),
        uri: uri.to_owned(),
        headers: head.headers,
        body: Vec::new(),
    };
    let fault = start_fault.or(head.broken).or(head.fault);
    let body = check_request(&request).and_then(|found| cut_body(found.length, head.body));
    match (fault, body) {
        (None, Some(body)) => {
            request.body = body;
            Parsed::Ok(Message::Request(request))
        }
        _ if !is_answerable(&request.headers) => Parsed::Unreadable,
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

/// What the check of the fields has read on its way.
struct Essentials {
    cseq: CSeq,
    length: Option<usize>,
}

/// The fields that every message needs: there, once, and readable.
fn check_fields(headers: &Headers) -> Option<Essentials> {
    const ONCE: [&str; 7] = ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Expires"];
    if ONCE.iter().any(|name| headers.count(name) > 1) {
        return None;
    }
    let via = |v: &str| Via::parse(v).is_ok_and(|v| v.is_version_2());
    let party = |name: &str| headers.get(name).is_some_and(|v| is_balanced(v) && NameAddr::parse(v).is_ok());
    let call_id = |v: &str| !v.is_empty() && !v.contains([' ', '\t', ',']);
    let vias = || headers.all("Via").flat_map(split_list);
    let fine = vias().next().is_some()
        && vias().nth(MAX_VIAS).is_none()
        && headers.all("Via").all(is_balanced)
        && vias().all(via)
        && party("From")
        && party("To")
        && headers.get("Call-ID").is_some_and(call_id)
        && headers.all("Contact").all(|v| is_balanced(v) && !has_empty_params(v));
    let cseq = headers.get("CSeq").filter(|_| fine).and_then(|v| CSeq::parse(v).ok())?;
    Some(Essentials { cseq, length: content_length(headers).ok()? })
}

/// What a request needs besides.
fn check_request(request: &Request) -> Option<Essentials> {
    let found = check_fields(&request.headers)?;
    let contact = |v: &str| NameAddr::parse(v).is_ok();
    // `*` is the whole of it or nothing (25.1).
    let all = request.headers.count("Contact") == 1 && request.headers.get("Contact") == Some("*");
    let fine = found.cseq.method == request.method
        && request.headers.get("Max-Forwards").is_none_or(|v| number_below(v, 256).is_ok())
        && (all || request.headers.all("Contact").flat_map(split_list).all(contact))
        && Uri::parse(&request.uri).is_ok();
    fine.then_some(found)
}

/// Cuts the body to Content-Length (RFC 3261 18.3): more is thrown away, less is a fault.
fn cut_body(length: Option<usize>, body: &[u8]) -> Option<Vec<u8>> {
    body.get(..length.unwrap_or(body.len())).map(<[u8]>::to_vec)
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
        said(parse(bytes))
    }

    fn said(parsed: Parsed) -> String {
        match parsed {
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
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc", "bad 400"),
            ("Content-Length:\r\n 3\r\n", "abc", "ok OPTIONS 3"),
            ("X: a\rb\r\n", "", "bad 400"),
            ("X: a\nb\r\n", "", "bad 400"),
            ("X: a\r\r\n", "", "bad 400"),
            ("no colon here\r\n", "", "bad 400"),
            (": nameless\r\n", "", "bad 400"),
            ("Content-Length: 5;x\r\nl: 5\r\n", "abcde", "bad 400"),
            ("Content-Length: 0x3\r\n", "abc", "bad 400"),
            ("Content-Length: 3, 3\r\n", "abc", "bad 400"),
            ("Content-Length: \r\n", "abc", "bad 400"),
            ("Content-Length: 99999999999999999999\r\n", "abc", "bad 400"),
            ("Subject: x\r\n Content-Length: 2\r\n", "abc", "ok OPTIONS 3"),
            ("Contact: \"a;;b\" <sip:a@h>\r\n", "", "ok OPTIONS 0"),
            ("Contact: <sip:a@h>;;;\r\n", "", "bad 400"),
            ("Contact: \"a <sip:a@h>\r\n", "", "bad 400"),
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

    #[test]
    fn header_count_and_value_length_have_limits() {
        let many = |n: usize| request(&"X: y\r\n".repeat(n - 5), "");
        let long = |n: usize| request(&format!("X:{}\r\n", "y".repeat(n)), "");
        for bounds in [Bounds::default(), Bounds { headers: 20, header_length: 300 }] {
            let Bounds { headers, header_length } = bounds;
            let verdict = |bytes: &[u8]| said(parse_within(bytes, bounds));
            assert_eq!(verdict(&many(headers)), "ok OPTIONS 0");
            assert_eq!(verdict(&many(headers + 1)), "bad 513");
            assert_eq!(verdict(&long(header_length)), "ok OPTIONS 0");
            assert_eq!(verdict(&long(header_length + 1)), "bad 513");
            // In Latin-1 each of these letters goes out again as two bytes.
            let latin =
                |n| long(n).into_iter().map(|b| if b == b'y' { 0xe9 } else { b }).collect::<Vec<u8>>();
            assert_eq!(verdict(&latin(header_length / 2)), "ok OPTIONS 0");
            assert_eq!(verdict(&latin(header_length / 2 + 1)), "bad 513");
        }
    }

    #[test]
    fn an_odd_line_in_a_response_is_passed_over_but_a_wrong_length_is_not() {
        let response = |extra: &str, body: &str| {
            format!("SIP/2.0 200 OK\r\n{HEAD}CSeq: 1 INVITE\r\n{extra}\r\n{body}").into_bytes()
        };
        assert_eq!(verdict(&response("no colon\r\nX: a\nb\r\nl: 2\r\n", "abc")), "ok 200 2");
        for extra in ["l: 4\r\n", "l: +2\r\n", "l: 2\r\nl: 3\r\n", "To: <sip:x@h>\r\n"] {
            assert_eq!(verdict(&response(extra, "abc")), "unreadable", "{extra:?}");
        }
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
