//! Faults that were measured in other stacks (DESIGN section 4), each as a test of ours; and at the end those of our own
//! that reading beside another parser showed (`tests/differential`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hulplijn::base::id::Rng;
use hulplijn::base::time::Now;
use hulplijn::sip::digest::{Algorithm, Authenticator, Credentials, Verdict, Vouched, answer};
use hulplijn::sip::flow::Transport;
use hulplijn::sip::header::{NameAddr, Via, split_list};
use hulplijn::sip::uri::{Host, Scheme, Uri};
use hulplijn::sip::wire::message::{Headers, Message, Method, Request, Response};
use hulplijn::sip::wire::parse::{Parsed, parse};
use hulplijn::sip::wire::print::{print, print_request, print_response, reason};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const HEAD: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
    Call-ID: c\r\nCSeq: 1 MESSAGE\r\n";

fn message(extra: &str, body: &[u8]) -> Vec<u8> {
    [format!("MESSAGE sip:b@h SIP/2.0\r\n{HEAD}{extra}\r\n").as_bytes(), body].concat()
}

fn read(bytes: &[u8]) -> Request {
    match parse(bytes) {
        Parsed::Ok(Message::Request(request)) => request,
        Parsed::Bad { status, .. } => panic!("refused with {status}"),
        _ => panic!("not read"),
    }
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn rsip_ignores_compact_header_names() {
    let text = "MESSAGE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\n\
        i: c\r\nCSeq: 1 MESSAGE\r\nm: <sip:a@h>\r\nk: timer\r\nl: 2\r\nc: text/plain\r\ne: x\r\ns: y\r\n\
        o: z\r\nr: <sip:x@h>\r\nb: <sip:y@h>\r\nu: w\r\nx: 90\r\n\r\nhi";
    let request = read(text.as_bytes());
    for name in [
        "Via",
        "From",
        "To",
        "Call-ID",
        "Contact",
        "Supported",
        "Content-Length",
        "Content-Type",
        "Content-Encoding",
        "Subject",
        "Event",
        "Refer-To",
        "Referred-By",
        "Allow-Events",
        "Session-Expires",
    ] {
        assert_eq!(request.headers.count(name), 1, "{name}");
    }
    assert_eq!(request.body, b"hi");
}

#[test]
fn rsip_rejects_folding_and_a_space_before_the_colon() {
    let request = read(&message("Subject : one\r\n\ttwo\r\n   three\r\n", b""));
    assert_eq!(request.headers.get("Subject"), Some("one two three"));
}

#[test]
fn rsip_reads_the_host_of_a_dotted_user_as_the_whole() {
    let bob = uri("sip:bob.smith@b");
    assert!(bob.host() == Some(&Host::Name("b".into())));
    assert_eq!(bob.user().as_deref(), Some("bob.smith"));
}

#[test]
fn rsip_rejects_ipv6() {
    let uri = uri("sip:a@[::1]:5070;transport=tcp");
    assert!(uri.host() == Some(&Host::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))));
    let via = Via::parse("SIP/2.0/UDP [::1]:5070;branch=z9hG4bK1").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((via.host.to_string().as_str(), via.port), ("[::1]", Some(5070)));
}

#[test]
fn rsip_rejects_tel_and_unknown_schemes() {
    assert!(uri("tel:+32-78-15-17-12").scheme == Scheme::Tel);
    assert!(uri("urn:service:sos").scheme == Scheme::Other);
    let text = String::from_utf8_lossy(&message("", b"")).replacen("sip:b@h", "tel:1712", 1);
    assert_eq!(read(text.as_bytes()).uri, "tel:1712");
}

#[test]
fn rsip_rejects_unknown_methods_and_transports() {
    let text =
        String::from_utf8_lossy(&message("", b"")).replace("MESSAGE", "DANCE").replace("/UDP", "/DOVE");
    let request = read(text.as_bytes());
    assert!(request.method == Method::Other("DANCE".into()));
    let via = Via::parse(request.headers.get("Via").unwrap_or("")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((via.transport, via.to_string().as_str()), (None, "SIP/2.0/DOVE h;branch=z9hG4bK1"));
}

#[test]
fn rsip_fails_on_sip_instance() {
    let value = "<sip:a@h>;+sip.instance=\"<urn:uuid:0-1-2>\";reg-id=1;expires=60";
    let contact = NameAddr::parse(value).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(contact.params.get("+sip.instance"), Some("<urn:uuid:0-1-2>"));
    assert_eq!(contact.params.get("expires"), Some("60"));
    assert_eq!(contact.to_string(), value);
}

#[test]
fn rsip_fails_on_quoted_names_with_an_angle_bracket() {
    let value = "\"a < b\" <sip:a@h>;tag=1";
    let party = NameAddr::parse(value).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((party.display.as_deref(), party.tag()), (Some("a < b"), Some("1")));
}

#[test]
fn rsip_keeps_only_the_first_via_of_a_list() {
    let text = String::from_utf8_lossy(&message("Via: SIP/2.0/TLS z\r\n", b"")).replacen(
        "z9hG4bK1",
        "z9hG4bK1, SIP/2.0/TCP y;branch=z9hG4bK2",
        1,
    );
    let request = read(text.as_bytes());
    let hosts: Vec<String> = request
        .headers
        .all("Via")
        .flat_map(split_list)
        .map(|v| Via::parse(v).map(|v| v.host.to_string()).unwrap_or_default())
        .collect();
    assert_eq!(hosts, ["h", "y", "z"]);
}

#[test]
fn rsip_ignores_content_length() {
    assert_eq!(read(&message("Content-Length: 2\r\n", b"hi and more")).body, b"hi");
    assert!(matches!(parse(&message("Content-Length: 9\r\n", b"hi")), Parsed::Bad { status: 400, .. }));
}

#[test]
fn rsip_accepts_a_message_without_blank_line() {
    let whole = message("", b"");
    assert!(matches!(parse(&whole[..whole.len() - 2]), Parsed::Bad { status: 400, .. }));
}

#[test]
fn rsip_corrupts_binary_bodies_on_output() {
    let body: Vec<u8> = (0..=255).collect();
    let request = read(&message("", &body));
    let printed = print(&Message::Request(request)).unwrap_or_default();
    assert!(printed.ends_with(&body));
    assert_eq!(read(&printed).body, body);
}

#[test]
fn rsip_prints_reason_phrases_without_spaces() {
    let response = Response { status: 486, headers: Headers::new(), body: Vec::new() };
    let bytes = print_response(&response).unwrap_or_default();
    assert!(bytes.starts_with(b"SIP/2.0 486 Busy Here\r\n"));
    assert_eq!(reason(481), "Call/Transaction Does Not Exist");
    assert!((100..700).all(|status| !reason(status).is_empty()));
}

#[test]
fn rsip_lets_line_breaks_through_header_constructors() {
    for (name, value) in [("Subject", "a\r\nb: c"), ("Subject", "a\nb"), ("Subject", "a\r"), ("S\r\nx", "a")]
    {
        let mut headers = Headers::new();
        headers.push(name, value);
        let request = Request { method: Method::INVITE, uri: "sip:a@h".into(), headers, body: Vec::new() };
        assert!(print_request(&request).is_err(), "{name:?} {value:?}");
    }
    let uri = "sip:a@h\r\nX: y".to_owned();
    let request = Request { method: Method::INVITE, uri, headers: Headers::new(), body: Vec::new() };
    assert!(print_request(&request).is_err());
}

fn account() -> Credentials {
    Credentials { username: "an".into(), password: "geheim".into(), realm: None }
}

#[test]
fn rsip_digest_is_wrong_for_a_count_of_ten() {
    let now = Now::read().at;
    let mut server = Authenticator::new(
        "r",
        Duration::from_secs(60),
        &[Algorithm::Sha256, Algorithm::Md5],
        Rng::from_number(1),
    );
    let challenges = server.challenge(now, HERE, false);
    let value = answer(challenges.iter().map(String::as_str), "REGISTER", "sip:h", &account(), "c", 10, &[]);
    let value = value.unwrap_or_default();
    assert!(value.contains("nc=0000000a"));
    let verdict =
        server.verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, |_| Some("geheim".to_owned()));
    assert_eq!(verdict, Verdict::Ok("an".into()));
}

#[test]
fn rsip_digest_fails_on_sha_256_qop_lists_and_uris_with_parameters() {
    let challenge =
        "Digest realm=\"r\", nonce=\"n,1\", qop=\"auth-int, auth\", algorithm=SHA-256, opaque=\"o\"";
    let target = "sip:h;transport=tcp;lr";
    let value =
        answer([challenge].into_iter(), "REGISTER", target, &account(), "c", 1, &[]).unwrap_or_default();
    for part in
        ["algorithm=SHA-256", "qop=auth,", "uri=\"sip:h;transport=tcp;lr\"", "nonce=\"n,1\"", "opaque=\"o\""]
    {
        assert!(value.contains(part), "{part} in {value}");
    }
    let now = Now::read().at;
    let mut server = Authenticator::new(
        "r",
        Duration::from_secs(60),
        &[Algorithm::Sha256, Algorithm::Md5],
        Rng::from_number(1),
    );
    let challenges = server.challenge(now, HERE, false);
    let value = answer(challenges.iter().map(String::as_str), "REGISTER", target, &account(), "c", 1, &[]);
    let password = |_: &str| Some("geheim".to_owned());
    let verdict =
        server.verify(now, HERE, &Vouched::bare("REGISTER", target), &value.unwrap_or_default(), password);
    assert_eq!(verdict, Verdict::Ok("an".into()));
}

#[test]
fn a_full_stack_took_the_identity_from_inside_a_quoted_display_name() {
    let value = "\"Bob <sip:victim@h>;tag=9, \\\" <sip:other@h>\" <sip:caller@h>;tag=1";
    let text = String::from_utf8_lossy(&message("", b"")).replacen("<sip:a@h>;tag=1", value, 1);
    let request = read(text.as_bytes());
    let from = NameAddr::parse(request.headers.get("From").unwrap_or("")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((from.uri.to_string().as_str(), from.tag()), ("sip:caller@h", Some("1")));
}

#[test]
fn a_full_stack_dropped_every_header_after_a_latin_1_byte() {
    let mut bytes = message("Subject: caf? X\r\nOrganization: Z\u{fc}rich\r\nX-Last: here\r\n", b"");
    let at = bytes.windows(4).position(|w| w == b"caf?").unwrap_or(0) + 3;
    bytes[at] = 0xe9;
    let request = read(&bytes);
    assert_eq!(request.headers.get("Subject"), Some("caf\u{e9} X"));
    assert_eq!(request.headers.get("Organization"), Some("Z\u{fc}rich"));
    assert_eq!(request.headers.get("X-Last"), Some("here"));
}

#[test]
fn two_readers_never_see_two_lengths() {
    for length in ["+5", "5;x", "5,5", "-5", "5 5", "0x5", "\"5\"", ""] {
        let bytes = message(&format!("Content-Length: {length}\r\n"), b"hello");
        assert!(matches!(parse(&bytes), Parsed::Bad { status: 400, .. }), "{length}");
    }
    let twice = message("Content-Length: 5\r\nl: 4\r\n", b"hello");
    assert!(matches!(parse(&twice), Parsed::Bad { status: 400, .. }));
}

#[test]
fn transport_words_compare_without_case() {
    assert_eq!(uri("sip:h;TRANSPORT=TcP").transport(), Some(Transport::Tcp));
}

fn is_refused(extra: &str) -> bool {
    !matches!(parse(&message(extra, b"")), Parsed::Ok(_))
}

/// The message with this line instead of the one of its name.
fn with(line: &str) -> Vec<u8> {
    let name = line.split(':').next().unwrap_or("");
    let lines = HEAD.lines().map(|old| if old.starts_with(name) { line } else { old });
    let head: String = lines.map(|l| format!("{l}\r\n")).collect();
    format!("MESSAGE sip:b@h SIP/2.0\r\n{head}\r\n").into_bytes()
}

#[test]
fn rfc3261_25_1_only_space_and_tab_are_blanks() {
    for blank in ["\u{a0}", "\u{85}", "\u{b}", "\u{c}", "\u{2003}"] {
        for line in [
            format!("CSeq: {blank}1 MESSAGE"),
            format!("CSeq: 1{blank}MESSAGE"),
            format!("Via: SIP/2.0/UDP{blank}h;branch=z9hG4bK1"),
            format!("Via: SIP/2.0/UDP h{blank};branch=z9hG4bK1"),
            format!("From: <{blank}sip:a@h>;tag=1"),
        ] {
            assert!(!matches!(parse(&with(&line)), Parsed::Ok(_)), "{}", line.escape_debug());
        }
        assert!(is_refused(&format!("Content-Length: {blank}0\r\n")));
        assert!(is_refused(&format!("Max-Forwards: 7{blank}\r\n")));
    }
    // A tag that ends in one is another tag.
    let from = NameAddr::parse("<sip:a@h>;tag=1\u{a0}").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(from.tag(), Some("1\u{a0}"));
}

#[test]
fn a_length_said_twice_is_refused_even_when_both_agree() {
    assert!(matches!(
        parse(&message("Content-Length: 5\r\nl: 5\r\n", b"hello")),
        Parsed::Bad { status: 400, .. }
    ));
}

#[test]
fn blanks_in_sent_by_stand_at_its_colon_only() {
    for (text, host) in
        [("h : 5060", Some("h")), ("[::1] :5060", Some("[::1]")), ("ho st", None), ("[::1 ]", None)]
    {
        let via = Via::parse(&format!("SIP/2.0/UDP {text};branch=z9hG4bK1")).ok();
        assert_eq!(via.map(|via| via.host.to_string()).as_deref(), host, "{text}");
    }
}

#[test]
fn a_via_without_a_hop_or_with_an_open_quote_is_no_via() {
    for line in ["Via: ", "Via: ,", "Via: SIP/2.0/UDP h;branch=z9hG4bK1;x=\", SIP/2.0/UDP other"] {
        assert!(!matches!(parse(&with(line)), Parsed::Ok(_)), "{line}");
    }
}

#[test]
fn an_open_quote_behind_an_address_is_refused() {
    assert!(!matches!(parse(&with("From: <sip:a@h>;tag=1;x=\"")), Parsed::Ok(_)));
}

#[test]
fn an_address_without_brackets_may_have_a_quoted_one_in_a_parameter() {
    let text = "sip:a@h;expires=60;+sip.instance=\"<urn:uuid:0-1-2>\"";
    let contact = NameAddr::parse(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((contact.display.as_deref(), contact.uri.to_string().as_str()), (None, "sip:a@h"));
    assert_eq!(contact.params.get("+sip.instance"), Some("<urn:uuid:0-1-2>"));
}

#[test]
fn rfc3261_25_1_a_star_is_the_whole_contact_or_none() {
    assert!(!is_refused("Contact: *\r\n"));
    assert!(is_refused("Contact: *, <sip:a@h>\r\n"));
    assert!(is_refused("Contact: *\r\nContact: <sip:a@h>\r\n"));
}

#[test]
fn a_user_whose_escapes_are_latin_1_is_read() {
    // A caller's exchange may write so; the call must not fail on it.
    assert_eq!(uri("sip:caf%E9@h").user().as_deref(), Some("caf\u{e9}"));
    assert_eq!(uri("sip:caf%C3%A9@h").user().as_deref(), Some("caf\u{e9}"));
    assert!(!uri("sip:caf%E9@h").equivalent(&uri("sip:caf%C3%A9@h")));
}

#[test]
fn rfc3261_19_1_4_a_reserved_character_is_not_its_escape_and_any_other_is() {
    for (one, other, same) in [
        ("sip:%31712@h", "sip:1712@h", true),
        ("sip:a%2Db@h", "sip:a-b@h", true),
        ("sip:a%3bb@h", "sip:a%3Bb@h", true),
        ("sip:a%3Bb@h", "sip:a;b@h", false),
        ("sip:a%3Ab@h", "sip:a:b@h", false),
        ("sip:a%253Bb@h", "sip:a%3Bb@h", false),
        ("sip:h;x=a%2Bb", "sip:h;x=a+b", false),
        // RFC 3966 4.
        ("tel:12-3;phone-context=x", "tel:123;PHONE-CONTEXT=X", true),
        ("tel:123;phone-context=x", "tel:123", false),
    ] {
        assert_eq!(uri(one).equivalent(&uri(other)), same, "{one} and {other}");
    }
}

#[test]
fn rfc5118_4_10_three_colons_before_an_ipv4_address_are_borne() {
    assert!(uri("sip:[2001:db8:::192.0.2.1]").equivalent(&uri("sip:[2001:db8::192.0.2.1]")));
    for text in ["sip:[2001:db8:::10]", "sip:[::::192.0.2.1]", "sip:[1:::2:::192.0.2.1]"] {
        assert!(Uri::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_uri() {
    for text in [
        "sip:a@h;x=\"y\"",
        "sip::secret@h",
        "sip:a[b@h",
        "sip:h;x=100%",
        "sip:h;x=%4",
        "urn:a%%",
        "tel:+",
        "tel:-.()",
        "tel:+ABC",
    ] {
        assert!(Uri::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_nonce_count_is_eight_digits_and_no_sign() {
    let now = Now::read().at;
    let mut server =
        Authenticator::new("r", Duration::from_secs(60), &[Algorithm::Sha256], Rng::from_number(1));
    let challenges = server.challenge(now, HERE, false);
    let value = answer(challenges.iter().map(String::as_str), "REGISTER", "sip:h", &account(), "c", 10, &[]);
    for (count, is_count) in
        [("0000000a", true), ("+000000a", false), ("000000a", false), (" 000000a", false)]
    {
        let value = value.clone().unwrap_or_default().replace("0000000a", count);
        let verdict = server
            .verify(now, HERE, &Vouched::bare("REGISTER", "sip:h"), &value, |_| Some("geheim".to_owned()));
        assert_eq!(verdict != Verdict::Malformed, is_count, "{count}");
    }
}
