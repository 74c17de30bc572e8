//! The messages of RFC 4475 and RFC 5118 through the wire layer. The manifest says what the whole
//! endpoint should answer; here stands what the wire layer alone has to decide.

use std::collections::BTreeMap;
use std::path::Path;

use hulplijn::sip::header::{CSeq, NameAddr, Via, split_list};
use hulplijn::sip::uri::Uri;
use hulplijn::sip::wire::frame::{Frame, StreamFramer};
use hulplijn::sip::wire::message::{Message, Request};
use hulplijn::sip::wire::parse::{Parsed, parse};
use hulplijn::sip::wire::print::print;

/// Where the wire layer's verdict is not what the manifest expects of the whole endpoint, and why. Each
/// verdict is among those that the manifest also allows, or leaves the expected one to an upper layer.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("rfc4475/badaspec", "ok", "blanks inside the angle brackets are taken off, which 3.1.2.14 allows"),
    ("rfc4475/badbranch", "ok", "a branch of only the cookie: the transaction layer matches it by RFC 2543"),
    ("rfc4475/baddn", "bad 400", "a display name that is no token and, in this copy, no blank line either"),
    ("rfc4475/escruri", "ok", "headers in the Request-URI are read and never obeyed, which 3.1.2.11 allows"),
    ("rfc4475/insuf", "unreadable", "without From, To or Call-ID there is nothing to answer with"),
    ("rfc4475/mismatch02", "bad 400", "CSeq says another method: 400 comes before 501"),
    ("rfc4475/scalarlg", "unreadable", "a CSeq past its range names no transaction: discarded at once"),
    ("rfc4475/test", "unreadable", "no Via that could be answered; the RFC does not describe this file"),
    ("rfc4475/unksm2", "ok", "that an AOR must be sip or sips is the registrar's 400"),
];

#[derive(serde::Deserialize)]
struct Entry {
    file: String,
    expected: String,
}

fn manifest() -> Vec<(String, String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let text = std::fs::read_to_string(root.join("manifest.json")).expect("the manifest is there");
    let entries: Vec<Entry> = serde_json::from_str(&text).expect("the manifest is readable");
    let read = |entry: Entry| {
        let bytes = std::fs::read(root.join(&entry.file)).expect("every file of the manifest is there");
        (entry.file.trim_end_matches(".dat").to_owned(), entry.expected, bytes)
    };
    entries.into_iter().map(read).collect()
}

/// What the wire layer has to say when the endpoint is expected to do this. A response that is to be
/// discarded because no transaction waits for it is read all the same.
fn expected_here(reaction: &str) -> &'static str {
    match reaction {
        _ if reaction.starts_with("400") => "bad 400",
        _ if reaction.starts_with("505") => "bad 505",
        "drop" => "unreadable",
        _ => "ok",
    }
}

fn verdict(bytes: &[u8]) -> String {
    match parse(bytes) {
        Parsed::Ok(_) => "ok".into(),
        Parsed::Bad { status, .. } => format!("bad {status}"),
        Parsed::Unreadable => "unreadable".into(),
    }
}

fn messages() -> BTreeMap<String, Vec<u8>> {
    let name = |file: String| file.rsplit('/').next().unwrap_or("").to_owned();
    manifest().into_iter().map(|(file, _, bytes)| (name(file), bytes)).collect()
}

#[test]
fn every_torture_message_gets_what_the_manifest_expects() {
    let messages = manifest();
    assert_eq!(messages.len(), 62);
    let mut wrong = Vec::new();
    for (name, reaction, bytes) in &messages {
        let exception = EXCEPTIONS.iter().find(|(n, _, _)| n == name);
        let expected = exception.map_or(expected_here(reaction), |(_, verdict, _)| verdict);
        let found = verdict(bytes);
        if found != expected {
            wrong.push(format!("{name}: {found} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn request(name: &str) -> Request {
    let found = messages().remove(name).map(|bytes| parse(&bytes));
    match found {
        Some(Parsed::Ok(Message::Request(request))) => request,
        _ => panic!("{name} is not read as a request"),
    }
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn party(request: &Request, name: &str) -> NameAddr {
    let value = request.headers.get(name).expect("it is there");
    NameAddr::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn rfc4475_3_1_1_2_the_whole_range_of_characters_is_kept() {
    let request = request("intmeth");
    assert_eq!(request.method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    let to = request.headers.get("To").expect("it is there");
    assert!(to.contains("BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}"), "quoted control characters are echoed");
    assert_eq!(party(&request, "To").display.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(party(&request, "From").tag(), Some("_token~1'+`*%!-."));
    assert_eq!(request.headers.get("Call-ID"), Some("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
}

#[test]
fn rfc4475_3_1_1_3_escapes_are_resolved_once_and_only_where_they_may_be() {
    let call = request("esc01");
    assert_eq!(uri(&call.uri).user().as_deref(), Some("sips:user@example.com"));
    assert_eq!(party(&call, "To").uri.user().as_deref(), Some("user"));
    let contact = party(&call, "Contact").uri;
    assert_eq!(contact.user().as_deref(), Some("caller"));
    assert!(contact.equivalent(&uri("sip:caller@host5.example.net;lr;name=value%25%34%31")));
    assert!(!contact.equivalent(&uri("sip:caller@host5.example.net;lr;name=valueA")));
    // 3.1.1.5: in a method and a header name an escape is just a percent sign.
    let register = request("esc02");
    assert_eq!(register.method.as_str(), "RE%47IST%45R");
    assert_eq!(register.headers.count("C%6Fntact"), 1);
    assert_eq!(register.headers.count("Contact"), 2);
}

#[test]
fn rfc4475_3_1_1_4_an_escaped_nul_does_not_end_a_user() {
    let request = request("escnull");
    assert_eq!(party(&request, "To").uri.user().as_deref(), Some("null-\0-null"));
    let contacts: Vec<Uri> = request
        .headers
        .all("Contact")
        .map(|v| NameAddr::parse(v).unwrap_or_else(|error| panic!("{v}: {error}")).uri)
        .collect();
    assert_eq!(contacts.iter().filter_map(Uri::user).collect::<Vec<_>>(), ["\0", "\0\0"]);
    assert!(!contacts[0].equivalent(&contacts[1]));
}

#[test]
fn rfc4475_3_1_1_1_folded_fields_and_leading_zeros() {
    let request = request("wsinv");
    assert!(party(&request, "From").display.is_some_and(|d| d == "J Rosenberg \\\""));
    assert!(CSeq::parse(request.headers.get("CSeq").unwrap_or("")).is_ok_and(|c| c.number == 9));
    let branches: Vec<String> = request
        .headers
        .all("Via")
        .flat_map(split_list)
        .filter_map(|v| Via::parse(v).ok()?.branch().map(str::to_owned))
        .collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"], "in order");
}

#[test]
fn rfc4475_3_1_1_8_what_follows_the_declared_body_is_thrown_away() {
    assert_eq!(request("dblreq").method.as_str(), "REGISTER");
    assert!(request("dblreq").body.is_empty());
}

#[test]
fn rfc4475_3_1_1_9_a_semicolon_in_the_user_part() {
    assert_eq!(uri(&request("semiuri").uri).user().as_deref(), Some("user;par=u@example.net"));
}

#[test]
fn rfc4475_3_1_1_10_every_transport_is_kept_in_order() {
    let request = request("transports");
    let known: Vec<bool> = request
        .headers
        .all("Via")
        .flat_map(split_list)
        .map(|v| Via::parse(v).is_ok_and(|via| via.transport.is_some()))
        .collect();
    assert_eq!(known, [true, false, true, false, true], "UDP, SCTP, TLS, UNKNOWN, TCP");
}

#[test]
fn rfc4475_3_1_1_11_a_multipart_body_is_kept_with_its_zeros() {
    let request = request("mpart01");
    let length = request.headers.get("Content-Length").and_then(|l| l.parse().ok());
    assert_eq!(Some(request.body.len()), length);
    assert!(request.body.contains(&0));
}

#[test]
fn rfc4475_3_3_8_parameters_inside_and_outside_of_brackets() {
    let outside = party(&request("cparam01"), "Contact");
    assert!(outside.params.has("unknownparam") && !outside.uri.params.has("unknownparam"));
    let inside = party(&request("cparam02"), "Contact");
    assert!(!inside.params.has("unknownparam") && inside.uri.params.has("unknownparam"));
}

#[test]
fn rfc5118_4_3_the_port_is_after_the_bracket() {
    let ambiguous = uri(&request("port-ambiguous").uri);
    assert_eq!((ambiguous.to_string().as_str(), ambiguous.port), ("sip:[2001:db8::10:5070]", None));
    let clear = uri(&request("port-unambiguous").uri);
    assert_eq!((clear.to_string().as_str(), clear.port), ("sip:[2001:db8::10]:5070", Some(5070)));
}

#[test]
fn rfc5118_4_5_received_with_and_without_brackets() {
    for name in ["via-received-param-no-delim", "via-received-param-with-delim"] {
        let received = request(name).headers.get("Via").and_then(|v| Via::parse(v).ok()?.received());
        assert_eq!(received.map(|a| a.to_string()).as_deref(), Some("2001:db8::9:255"), "{name}");
    }
}

#[test]
fn what_was_read_is_printed_and_read_again_the_same() {
    for (name, bytes) in messages() {
        let Parsed::Ok(first) = parse(&bytes) else { continue };
        let printed = print(&first).unwrap_or_else(|_| panic!("{name} can't be printed"));
        let Parsed::Ok(second) = parse(&printed) else { panic!("{name} is not read again") };
        let fields = |m: &Message| {
            let (headers, body) = match m {
                Message::Request(r) => (&r.headers, &r.body),
                Message::Response(r) => (&r.headers, &r.body),
            };
            let kept = headers.iter().filter(|(n, _)| !n.eq_ignore_ascii_case("Content-Length"));
            (kept.map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>(), body.clone())
        };
        assert!(fields(&first) == fields(&second), "{name}");
    }
}

#[test]
fn every_prefix_of_every_torture_message_is_survived() {
    for bytes in messages().values() {
        for end in (0..bytes.len()).step_by(3) {
            let _ = parse(&bytes[..end]);
            // The same on a stream: nothing whole may come out of a part.
            let mut framer = StreamFramer::new(65_536);
            framer.push(&bytes[..end]);
            for _ in 0..10 {
                let Some(frame) = framer.next() else { break };
                assert!(!matches!(frame, Frame::Message(m) if m.len() > end));
            }
        }
    }
}
