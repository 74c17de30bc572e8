//! Our reading of a message beside that of `sipx-sip`, which others wrote from the same RFCs. What differs is
//! either one of `REASONS` or a fault. Also the body of the fuzz target `differential`.

use std::collections::{BTreeMap, BTreeSet};

use hulplijn::sip::header::{CSeq, NameAddr, Params, Via, is_token, split_list};
use hulplijn::sip::uri::{Scheme, Uri, unescape};
use hulplijn::sip::wire::frame::{Frame, StreamFramer};
use hulplijn::sip::wire::message::{Headers, Message};
use hulplijn::sip::wire::parse::{Bounds, MAX_VALUE, MAX_VIAS, Parsed, parse};
use sipx_sip::error::ParseError;
use sipx_sip::headers::{self as their_headers, Address, HeaderParam};
use sipx_sip::{HeaderName, Limits, StreamParser, parse_datagram};

/// Why the two may differ: a name, and what stands behind it. A difference that none of these explains is a fault.
pub const REASONS: &[(&str, &str)] = &[
    // We read what they refuse.
    (
        "odd-line-of-response",
        "an answer with one line that is no field is still an answer; no framing hangs on it",
    ),
    ("empty-line-before", "RFC 3261 7.5 has it ignored on streams; on UDP it does no harm either"),
    (
        "contact-of-response",
        "the Contact of an answer is judged by the dialog that needs it, not by the parser",
    ),
    ("hops-of-response", "Max-Forwards means nothing in an answer"),
    (
        "odd-parameter",
        "phones write `|` or nothing into parameters; they are carried as written and split at `;` alike",
    ),
    (
        "unquoted-name",
        "exchanges write names with other letters and no quotes; what splits a list is refused still",
    ),
    ("blanks-in-brackets", "RFC 4475 3.1.2.14 lets an element ignore them"),
    ("empty-parameter", "`sip:a@h;` is common, and no two readers see two things in it"),
    (
        "repeated-parameter",
        "RFC 3261 19.1.1 forbids it; the first holds, as it does for them in header parameters",
    ),
    ("zeros-of-port", "leading zeros change no number (RFC 4475 3.1.1.1)"),
    ("hash-in-user", "phones dial # without an escape"),
    ("blanks-at-colon", "RFC 3261 25.1: a colon may have blanks around it in sent-by"),
    ("empty-element", "an empty part of a list is passed over"),
    // They read what we refuse.
    ("one-word-call-id", "blanks and commas are not in a Call-ID (25.1); it is compared octet for octet"),
    ("said-once", "Content-Type, Expires, or in an answer Max-Forwards twice: two readers could take two"),
    ("bare-comma", "RFC 3261 20: an address with a comma must be in brackets"),
    ("letter-of-scheme", "a scheme begins with a letter (RFC 3986 3.1)"),
    ("via-of-sip", "a hop that speaks another protocol or version can't be answered"),
    ("word-of-transport", "a transport is a token (25.1)"),
    ("too-many-vias", "more hops than Max-Forwards allows"),
    ("long-value", "a value beyond our limit"),
    ("long-host", "no host name is longer than 255 octets (RFC 1035 2.3.4)"),
    ("password-characters", "what must be escaped in a user must be in its password, too"),
    ("header-of-uri-without-value", "19.1.1: a header in a URI has a value"),
    // Both read it, in other words.
    ("blank-before-fold", "the blank before a fold belongs to the fold (25.1, LWS) and is one with it"),
    ("quoted-pair", "no tag or branch is a quoted string; ours keeps its backslashes"),
];

/// What was understood of a message, piece by piece, under names that both sides share.
type Pieces = BTreeMap<String, String>;

/// Understood, or refused with a word for why.
type Reading = Result<Pieces, String>;

/// Bytes as text: what is not UTF-8 becomes the characters of the same codes, as our parser has it.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn put(pieces: &mut Pieces, name: impl Into<String>, value: impl Into<String>) {
    pieces.insert(name.into(), value.into());
}

// --- ours -----------------------------------------------------------------------------------------------

fn ours(bytes: &[u8]) -> Reading {
    let mut pieces = Pieces::new();
    let (headers, body) = match parse(bytes) {
        Parsed::Ok(Message::Request(request)) => {
            put(&mut pieces, "method", request.method.as_str());
            our_uri(&mut pieces, "target", &Uri::parse(&request.uri).map_err(|e| e.to_string())?);
            (request.headers, request.body)
        }
        Parsed::Ok(Message::Response(response)) => {
            put(&mut pieces, "status", response.status.to_string());
            (response.headers, response.body)
        }
        Parsed::Bad { status, .. } => return Err(status.to_string()),
        Parsed::Unreadable => return Err("unreadable".to_owned()),
    };
    put(&mut pieces, "body", body.escape_ascii().to_string());
    for (index, (name, value)) in headers.iter().enumerate() {
        put(&mut pieces, format!("field {index:03}"), format!("{}: {value}", name.to_ascii_lowercase()));
    }
    our_fields(&mut pieces, &headers);
    Ok(pieces)
}

fn our_fields(pieces: &mut Pieces, headers: &Headers) {
    for (index, value) in headers.all("Via").flat_map(split_list).enumerate() {
        let Ok(via) = Via::parse(value) else { continue };
        let name = |part: &str| format!("via {index} {part}");
        put(pieces, name("transport"), transport_of(&via));
        put(pieces, name("host"), via.host.to_string());
        put(pieces, name("port"), format!("{:?}", via.port));
        put(pieces, name("branch"), format!("{:?}", via.branch()));
        put(pieces, name("params"), our_names(&via.params));
    }
    for name in ["From", "To"] {
        if let Some(Ok(party)) = headers.get(name).map(NameAddr::parse) {
            our_party(pieces, &name.to_ascii_lowercase(), &party);
        }
    }
    for (index, value) in headers.all("Contact").flat_map(split_list).enumerate() {
        match NameAddr::parse(value) {
            Ok(party) => our_party(pieces, &format!("contact {index}"), &party),
            Err(_) => put(pieces, format!("contact {index}"), value),
        }
    }
    if let Some(Ok(cseq)) = headers.get("CSeq").map(CSeq::parse) {
        put(pieces, "cseq", format!("{} {}", cseq.number, cseq.method.as_str()));
    }
    if let Some(number) = headers.get("Max-Forwards").and_then(|value| value.parse::<u8>().ok()) {
        put(pieces, "max-forwards", number.to_string());
    }
}

/// Via does not show the transport of others; its printed form does.
fn transport_of(via: &Via) -> String {
    let printed = via.to_string();
    printed.splitn(3, '/').nth(2).and_then(|rest| rest.split(' ').next()).unwrap_or("").to_owned()
}

fn our_names(params: &Params) -> String {
    params
        .iter()
        .map(|(name, value)| format!(";{}{}", name.to_ascii_lowercase(), sign(value.is_some())))
        .collect()
}

fn sign(has_value: bool) -> &'static str {
    if has_value { "=" } else { "" }
}

fn our_party(pieces: &mut Pieces, name: &str, party: &NameAddr) {
    put(pieces, format!("{name} display"), format!("{:?}", party.display));
    put(pieces, format!("{name} tag"), format!("{:?}", party.tag()));
    put(pieces, format!("{name} params"), our_names(&party.params));
    our_uri(pieces, name, &party.uri);
}

fn our_uri(pieces: &mut Pieces, name: &str, uri: &Uri) {
    if uri.scheme == Scheme::Other {
        return put(pieces, format!("{name} uri"), uri.to_string());
    }
    let scheme = match uri.scheme {
        Scheme::Sip => "sip",
        Scheme::Sips => "sips",
        Scheme::Tel | Scheme::Other => "tel",
    };
    let params = uri.params.iter().map(|(n, v)| format!(";{}{}{}", n, sign(v.is_some()), v.unwrap_or("")));
    let headers = uri.headers.iter().map(|(n, v)| format!("&{n}={v}"));
    put(pieces, format!("{name} scheme"), scheme);
    put(pieces, format!("{name} user"), format!("{:?}", uri.user().filter(|user| !user.is_empty())));
    put(pieces, format!("{name} host"), uri.host().map(ToString::to_string).unwrap_or_default());
    put(pieces, format!("{name} port"), format!("{:?}", uri.port));
    put(pieces, format!("{name} uri params"), params.collect::<String>());
    put(pieces, format!("{name} uri headers"), headers.collect::<String>());
}

// --- theirs ---------------------------------------------------------------------------------------------

fn theirs(bytes: &[u8]) -> Reading {
    let bytes = bytes.to_vec().into();
    let message = parse_datagram(bytes, &limits()).map_err(|error| word(&error))?;
    read_theirs(&message)
}

/// As wide as ours, so that it is the reading that differs.
fn limits() -> Limits {
    Limits {
        max_message_bytes: MESSAGE,
        max_body_bytes: MESSAGE,
        max_headers: Bounds::default().headers,
        max_header_bytes: MESSAGE,
        max_folding_lines: MESSAGE,
    }
}

const MESSAGE: usize = 65_536;

/// A word for a fault, without what the peer wrote.
fn word(error: &ParseError) -> String {
    match error {
        ParseError::HeaderSyntax { kind, .. } => format!("header: {kind}"),
        ParseError::Limit { limit, .. } => format!("limit: {limit}"),
        other => other.to_string(),
    }
}

fn read_theirs(message: &sipx_sip::Message) -> Reading {
    let mut pieces = Pieces::new();
    if let Some(request) = message.as_request() {
        if !request.version.is_supported() {
            return Err("505".to_owned());
        }
        put(&mut pieces, "method", text(request.method.as_bytes()));
        their_uri(&mut pieces, "target", &request.uri);
    }
    if let Some(response) = message.as_response() {
        if !response.version.is_supported() {
            return Err("505".to_owned());
        }
        put(&mut pieces, "status", response.status.code().to_string());
    }
    put(&mut pieces, "body", message.body().escape_ascii().to_string());
    let headers = message.headers();
    for (index, header) in headers.iter().enumerate() {
        let name = text(header.name().canonical()).to_ascii_lowercase();
        put(&mut pieces, format!("field {index:03}"), format!("{name}: {}", text(&header.value())));
    }
    their_fields(&mut pieces, headers)?;
    for finding in sipx_sip::validate(message) {
        use sipx_sip::Finding;
        if !matches!(finding, Finding::MissingRequiredHeader("Max-Forwards") | Finding::RequestUriHasHeaders)
        {
            return Err(format!("{finding:?}"));
        }
    }
    Ok(pieces)
}

fn their_fields(pieces: &mut Pieces, headers: &sipx_sip::Headers) -> Result<(), String> {
    let fault = |error: sipx_sip::HeaderError| error.to_string();
    for (index, via) in headers.typed_all::<their_headers::Via>().enumerate() {
        let via = via.map_err(fault)?;
        let name = |part: &str| format!("via {index} {part}");
        put(pieces, name("transport"), text(&via.transport));
        put(pieces, name("host"), via.host.to_string().to_ascii_lowercase());
        put(pieces, name("port"), format!("{:?}", via.port));
        put(pieces, name("branch"), format!("{:?}", via.branch().map(text)));
        put(pieces, name("params"), their_names(&via.params));
    }
    let parties = [
        ("from", headers.typed::<their_headers::From>().map(|p| p.map(|p| p.0))),
        ("to", headers.typed::<their_headers::To>().map(|p| p.map(|p| p.0))),
    ];
    for (name, party) in parties {
        their_party(pieces, name, &party.ok_or(format!("no {name}"))?.map_err(fault)?);
    }
    for (index, contact) in headers.typed_all::<their_headers::ContactValue>().enumerate() {
        match contact.map_err(fault)? {
            their_headers::ContactValue::Wildcard => put(pieces, format!("contact {index}"), "*"),
            their_headers::ContactValue::Address(party) => {
                their_party(pieces, &format!("contact {index}"), &party);
            }
        }
    }
    if let Some(cseq) = headers.typed::<their_headers::CSeq>() {
        let cseq = cseq.map_err(fault)?;
        put(pieces, "cseq", format!("{} {}", cseq.sequence, text(cseq.method.as_bytes())));
    }
    if let Some(number) = headers.typed::<their_headers::MaxForwards>() {
        put(pieces, "max-forwards", number.map_err(fault)?.0.to_string());
    }
    Ok(())
}

fn their_names(params: &[HeaderParam]) -> String {
    params.iter().map(|p| format!(";{}{}", text(&p.name), sign(p.value.is_some()))).collect()
}

fn their_party(pieces: &mut Pieces, name: &str, party: &Address) {
    put(pieces, format!("{name} display"), format!("{:?}", party.display_name.as_deref().map(text)));
    put(pieces, format!("{name} tag"), format!("{:?}", party.tag().map(text)));
    put(pieces, format!("{name} params"), their_names(&party.params));
    their_uri(pieces, name, &party.uri);
}

fn their_uri(pieces: &mut Pieces, name: &str, uri: &sipx_sip::Uri) {
    let scheme = text(uri.scheme().as_bytes()).to_ascii_lowercase();
    let tel = uri.tel_parts();
    if !uri.scheme().is_sip() && tel.is_none() {
        let opaque = text(uri.opaque().unwrap_or(b""));
        return put(pieces, format!("{name} uri"), format!("{scheme}:{opaque}"));
    }
    let user = match (&tel, uri.user(), uri.password()) {
        (Some(tel), _, _) => text(tel.subscriber()),
        (None, Some(user), Some(password)) => format!("{}:{}", text(user), text(password)),
        (None, user, _) => user.map(text).unwrap_or_default(),
    };
    let param = |p: &sipx_sip::Param, before: char, always: bool| {
        let value = p.value().map(text);
        format!("{before}{}{}{}", text(p.name()), sign(always || value.is_some()), value.unwrap_or_default())
    };
    let params: String = match &tel {
        Some(tel) => tel.parameters().map(|p| format!(";{}", text(p))).unwrap_or_default(),
        None => {
            uri.params().into_iter().flat_map(sipx_sip::Params::iter).map(|p| param(p, ';', false)).collect()
        }
    };
    let headers = uri.headers().into_iter().flat_map(sipx_sip::Params::iter).map(|p| param(p, '&', true));
    put(pieces, format!("{name} scheme"), scheme);
    put(pieces, format!("{name} user"), format!("{:?}", unescape(&user).filter(|user| !user.is_empty())));
    put(
        pieces,
        format!("{name} host"),
        uri.host().map(ToString::to_string).unwrap_or_default().to_ascii_lowercase(),
    );
    put(pieces, format!("{name} port"), format!("{:?}", uri.port()));
    put(pieces, format!("{name} uri params"), params);
    put(pieces, format!("{name} uri headers"), headers.collect::<String>());
}

// --- the two beside each other --------------------------------------------------------------------------

/// Reads a datagram both ways: the reasons for what differs, or the first difference that has none.
pub fn datagram(bytes: &[u8]) -> Result<BTreeSet<&'static str>, String> {
    let mut rest = bytes;
    while let Some(shorter) = rest.strip_prefix(b"\r\n") {
        rest = shorter;
    }
    let mut found = beside(rest, theirs(rest))?;
    if ours(bytes) != ours(rest) {
        return Err("an empty line before a message changes it".to_owned());
    }
    if ours(bytes).is_ok() && theirs(bytes).is_err() && rest.len() < bytes.len() {
        found.insert("empty-line-before");
    }
    Ok(found)
}

/// Our reading of a datagram beside one of theirs.
fn beside(bytes: &[u8], theirs: Reading) -> Result<BTreeSet<&'static str>, String> {
    let ours = ours(bytes);
    let mut found = BTreeSet::new();
    match (&ours, &theirs) {
        (Err(_), Err(_)) => {}
        (Ok(_), Err(why)) => drop(found.insert(only_ours(bytes, why).ok_or(format!("they refuse: {why}"))?)),
        (Err(why), Ok(_)) => {
            found.insert(only_theirs(bytes).ok_or(format!("we refuse: {why}"))?);
        }
        (Ok(ours), Ok(theirs)) => {
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let (one, other) = (ours.get(name), theirs.get(name));
                if one != other {
                    let told = || format!("{name}: {one:?} is {other:?} to them");
                    found.insert(other_piece(bytes, name, one, other).ok_or_else(told)?);
                }
            }
        }
    }
    Ok(found)
}

/// Our reading of one datagram beside theirs of another, as if they had read so.
pub fn mistaken(bytes: &[u8], for_what: &[u8]) -> Result<BTreeSet<&'static str>, String> {
    beside(bytes, theirs(for_what))
}

/// We read it, they do not.
fn only_ours(bytes: &[u8], why: &str) -> Option<&'static str> {
    let Parsed::Ok(message) = parse(bytes) else { return None };
    let (headers, request) = match &message {
        Message::Request(request) => (&request.headers, Some(request)),
        Message::Response(response) => (&response.headers, None),
    };
    if request.is_none() {
        match why {
            _ if why.starts_with("header: ") => return Some("odd-line-of-response"),
            _ if why.contains("Contact header") => return Some("contact-of-response"),
            _ if why.contains("Max-Forwards") => return Some("hops-of-response"),
            _ => {}
        }
    }
    if let Some(reason) = request.filter(|_| why.contains("Request-URI")).map(|r| uri_of_ours(&r.uri)) {
        return reason;
    }
    let (name, is_list) = ["Via", "From", "To", "Contact"].into_iter().find_map(|name| {
        why.contains(&format!("{name} header")).then_some((name, matches!(name, "Via" | "Contact")))
    })?;
    if is_list
        && headers.all(name).any(|line| line.split(',').any(|part| part.trim_matches([' ', '\t']).is_empty()))
    {
        return Some("empty-element");
    }
    let values: Vec<&str> =
        if is_list { headers.all(name).flat_map(split_list).collect() } else { headers.all(name).collect() };
    values.into_iter().find_map(|value| if name == "Via" { via_of_ours(value) } else { party_of_ours(value) })
}

/// What they mind in a Via that we read.
fn via_of_ours(value: &str) -> Option<&'static str> {
    use their_headers::Via as Theirs;
    if Theirs::parse_one(value.as_bytes()).is_ok() {
        return None;
    }
    let via = Via::parse(value).ok()?;
    let bare = value.split(';').next().unwrap_or("");
    let compact =
        format!("SIP/2.0/UDP {}{}", via.host, via.port.map(|p| format!(":{p}")).unwrap_or_default());
    let theirs = |text: &str| Theirs::parse_one(text.as_bytes()).is_ok();
    match () {
        () if theirs(bare) => Some("odd-parameter"),
        () if !theirs(&compact) => None,
        () if bare.contains(" :") || bare.contains(": ") || bare.contains("\t:") || bare.contains(":\t") => {
            Some("blanks-at-colon")
        }
        () => has_long_port(bare).then_some("zeros-of-port"),
    }
}

/// What they mind in an address that we read.
fn party_of_ours(value: &str) -> Option<&'static str> {
    let theirs = |text: &str| Address::parse(text.as_bytes(), "x").is_ok();
    if value == "*" || theirs(value) {
        return None;
    }
    let party = NameAddr::parse(value).ok()?;
    let printed = party.uri.to_string();
    let inside = open_bracket(value).and_then(|at| value.get(at + 1..)?.split('>').next());
    let written = inside.unwrap_or(value.split(';').next().unwrap_or(""));
    if !theirs(&format!("<{written}>")) {
        let plain = written.trim_matches([' ', '\t']);
        return if plain.len() < written.len() { Some("blanks-in-brackets") } else { uri_of_ours(plain) };
    }
    if !theirs(&format!("<{printed}>{}", party.params)) || !theirs(&format!("<{printed}>{}", tail(value))) {
        return Some("odd-parameter");
    }
    party.display.is_some().then_some("unquoted-name")
}

/// Where the first `<` outside quotes is.
fn open_bracket(value: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    value.bytes().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return b == b'<' && !quoted,
        }
        false
    })
}

/// What stands behind the address.
fn tail(value: &str) -> &str {
    let from = open_bracket(value).and_then(|open| Some(open + value.get(open..)?.find('>')?)).unwrap_or(0);
    value.get(from..).and_then(|rest| rest.find(';').and_then(|at| rest.get(at..))).unwrap_or("")
}

/// What they mind in a URI that we read.
fn uri_of_ours(uri: &str) -> Option<&'static str> {
    use sipx_sip::UriError;
    match sipx_sip::Uri::parse(uri.as_bytes().to_vec().into()).err()? {
        UriError::EmptyParameterName => Some("empty-parameter"),
        UriError::DuplicateParameterName => Some("repeated-parameter"),
        UriError::Port => has_long_port(uri).then_some("zeros-of-port"),
        UriError::User => uri.contains('#').then_some("hash-in-user"),
        _ => None,
    }
}

/// Whether a port is written with more than its digits.
fn has_long_port(text: &str) -> bool {
    text.split(':')
        .skip(1)
        .any(|rest| rest.starts_with('0') && rest.bytes().take_while(u8::is_ascii_digit).count() > 5)
}

/// They read it, we do not.
fn only_theirs(bytes: &[u8]) -> Option<&'static str> {
    let message = parse_datagram(bytes.to_vec().into(), &limits()).ok()?;
    let headers = message.headers();
    let values =
        |name: HeaderName| headers.iter().filter(move |h| h.name() == &name).map(|h| text(&h.value()));
    let twice = |name: HeaderName| values(name).nth(1).is_some();
    let vias = || values(HeaderName::Via).collect::<Vec<_>>();
    let uris = || {
        let mut uris: Vec<String> = message.as_request().map(|r| r.uri.to_string()).into_iter().collect();
        for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
            let parties = values(name).filter_map(|v| Address::parse_list(v.as_bytes(), "x").ok()).flatten();
            uris.extend(parties.map(|party| party.uri.to_string()));
        }
        uris
    };
    let is_sip = |via: &str| {
        let Ok(via) = their_headers::Via::parse_list(via.as_bytes()) else { return false };
        via.iter().all(|via| via.protocol.eq_ignore_ascii_case(b"SIP") && via.version == b"2.0")
    };
    let has_token = |via: &str| {
        let Ok(via) = their_headers::Via::parse_list(via.as_bytes()) else { return false };
        via.iter().all(|via| is_token(&text(&via.transport)))
    };
    let long_host = |text: &str| text.split(['@', ';', ':', ' ', '>', '<']).any(|word| word.len() > 255);
    let named = || values(HeaderName::From).chain(values(HeaderName::To));
    let checks: [(&'static str, bool); 11] = [
        ("one-word-call-id", values(HeaderName::CallId).any(|v| v.contains([' ', '\t', ',']))),
        (
            "said-once",
            [HeaderName::ContentType, HeaderName::Expires, HeaderName::MaxForwards].into_iter().any(twice),
        ),
        (
            "bare-comma",
            named()
                .any(|v| open_bracket(&v).is_none() && v.split(';').next().is_some_and(|v| v.contains(','))),
        ),
        ("letter-of-scheme", uris().iter().any(|uri| uri.starts_with(|c: char| !c.is_ascii_alphabetic()))),
        ("via-of-sip", !vias().iter().all(|via| is_sip(via))),
        ("word-of-transport", !vias().iter().all(|via| has_token(via))),
        ("too-many-vias", vias().iter().flat_map(|via| split_list(via)).nth(MAX_VIAS).is_some()),
        ("long-value", headers.iter().any(|h| text(h.raw_value()).len() >= MAX_VALUE)),
        ("long-host", uris().iter().chain(&vias()).any(|text| long_host(text))),
        ("password-characters", uris().iter().any(|uri| has_odd_password(uri))),
        (
            "header-of-uri-without-value",
            uris().iter().any(|uri| {
                uri.split_once('?').is_some_and(|(_, headers)| headers.split('&').any(|h| !h.contains('=')))
            }),
        ),
    ];
    checks.into_iter().find_map(|(name, holds)| holds.then_some(name))
}

fn has_odd_password(uri: &str) -> bool {
    let user = uri.split_once(':').and_then(|(_, rest)| rest.split_once('@')).map_or("", |(user, _)| user);
    let odd = |b: u8| !b.is_ascii_alphanumeric() && !b"-_.!~*'()&=+$,;?/%:#".contains(&b);
    user.split_once(':').is_some_and(|(_, password)| password.bytes().any(odd))
}

/// Both read it and understand something else.
fn other_piece(
    bytes: &[u8],
    name: &str,
    ours: Option<&String>,
    theirs: Option<&String>,
) -> Option<&'static str> {
    if bytes.starts_with(b"SIP/") && name.starts_with("contact") && (ours.is_none() || theirs.is_none()) {
        return Some("contact-of-response");
    }
    let (ours, theirs) = (ours?, theirs?);
    let plain = |text: &str| text.split([' ', '\t']).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    let folded = [b" \r\n".as_slice(), b"\t\r\n"].iter().any(|fold| bytes.windows(3).any(|w| w == *fold));
    if folded && plain(ours) == plain(theirs) {
        return Some("blank-before-fold");
    }
    let quoted = name.ends_with("tag") || name.ends_with("branch");
    (quoted && ours.replace('\\', "") == theirs.replace('\\', "")).then_some("quoted-pair")
}

/// Whether two URIs are the same, to us and to them; `None` when not both read both.
pub fn equal(one: &str, other: &str) -> Option<(bool, bool)> {
    let theirs = |text: &str| sipx_sip::Uri::parse(text.as_bytes().to_vec().into()).ok();
    let ours = Uri::parse(one).ok()?.equivalent(&Uri::parse(other).ok()?);
    Some((ours, theirs(one)?.equivalent(&theirs(other)?)))
}

/// Cuts a stream both ways: as long as they go along, both cut the same octets.
pub fn stream(bytes: &[u8]) -> Result<(), String> {
    let mut framer = StreamFramer::new(MESSAGE);
    framer.push(bytes);
    let ours: Vec<Frame> =
        std::iter::from_fn(|| framer.next()).filter(|frame| *frame != Frame::Ping).collect();
    let mut parser = StreamParser::new(limits());
    let mut theirs = Vec::new();
    // Byte by byte, since a fault takes with it what was whole before it.
    let fault = bytes.iter().find_map(|byte| match parser.push(&[*byte]) {
        Ok(messages) => {
            theirs.extend(messages.iter().map(sipx_sip::Message::to_bytes));
            None
        }
        Err(error) => Some(error),
    });
    for (index, message) in theirs.iter().enumerate() {
        match ours.get(index) {
            Some(Frame::Message(cut)) if cut == message => {}
            other => {
                return Err(format!(
                    "message {index} is {other:?} to us and {} bytes to them",
                    message.len()
                ));
            }
        }
    }
    match (ours.get(theirs.len()), fault) {
        // Or they refuse the head while its body is still to come.
        (None, None | Some(_)) | (Some(Frame::Broken), Some(_)) => Ok(()),
        // They measure the body when it has come, we the whole message as soon as its length is said.
        (Some(Frame::Broken), None) if framer.is_too_big() => Ok(()),
        // They judge the words while they cut, we after; what we cut is refused then or has a reason.
        (Some(Frame::Message(cut)), Some(_)) => datagram(cut).map(drop),
        (ours, _) => Err(format!("then {ours:?} to us, and more is to come to them")),
    }
}
