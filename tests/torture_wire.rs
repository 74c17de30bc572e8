//! The messages of RFC 4475 and RFC 5118 through the wire layer. The manifest says what the whole
//! endpoint should answer; here stands what the wire layer alone has to decide.

use std::collections::BTreeMap;
use std::path::Path;

use hulplijn::sip::wire::message::Message;
use hulplijn::sip::wire::parse::{Parsed, parse};
use hulplijn::sip::wire::print::print;

/// Messages whose expected reaction is decided by the wire layer, and its verdict; every other message
/// of the manifest must be read (its reaction belongs to the endpoint or the registrar).
const DECIDED_HERE: &[(&str, &str)] = &[
    // Spaces inside the angle brackets are taken off, which the RFC allows.
    ("badaspec", "ok"),
    ("baddn", "bad 400"),
    ("badinv01", "bad 400"),
    ("badvers", "bad 505"),
    ("bigcode", "unreadable"),
    ("clerr", "bad 400"),
    ("escruri", "ok"),
    ("insuf", "unreadable"),
    ("ltgtruri", "bad 400"),
    ("lwsruri", "bad 400"),
    ("lwsstart", "bad 400"),
    ("mcl01", "bad 400"),
    ("mismatch01", "bad 400"),
    ("mismatch02", "bad 400"),
    ("multi01", "bad 400"),
    ("ncl", "bad 400"),
    ("quotbal", "bad 400"),
    ("regbadct", "ok"),
    ("scalar02", "bad 400"),
    ("scalarlg", "unreadable"),
    // To without scheme, a line without colon and no usable Via: nobody to answer.
    ("test", "unreadable"),
    ("trws", "bad 400"),
    ("ipv6-bad", "bad 400"),
    ("ipv6-bug-abnf-3-colons", "bad 400"),
    ("via-received-param-no-delim", "ok"),
];

fn verdict(bytes: &[u8]) -> String {
    match parse(bytes) {
        Parsed::Ok(_) => "ok".into(),
        Parsed::Bad { status, .. } => format!("bad {status}"),
        Parsed::Unreadable => "unreadable".into(),
    }
}

fn messages() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut found = BTreeMap::new();
    for folder in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the torture folder is there") {
            let path = entry.expect("readable").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path).expect("readable"));
        }
    }
    found
}

#[test]
fn every_torture_message_gets_the_verdict_of_its_table() {
    let messages = messages();
    assert_eq!(messages.len(), 62);
    let mut wrong = Vec::new();
    for (name, bytes) in &messages {
        let expected = DECIDED_HERE.iter().find(|(n, _)| n == name).map_or("ok", |(_, v)| v);
        let found = verdict(bytes);
        if found != expected {
            wrong.push(format!("{name}: {found} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
        }
    }
}
