//! The wire layer beside `sipx-sip`, which others wrote from the same RFCs: on the torture set, on bent real messages
//! and on messages put together from odd pieces, both understand the same, or the reason stands in
//! `compare::REASONS`. A failure prints the seed; `FUZZ_SEED=n cargo test --test differential` runs it again.

#[path = "../support/bend.rs"]
mod bend;
mod compare;
mod compose;

use std::collections::BTreeSet;

use hulplijn::base::id::Rng;

/// Messages of each kind.
const ROUNDS: u64 = 10_000;

/// Reads a message as a datagram and as a stream.
fn judge(bytes: &[u8]) -> Result<BTreeSet<&'static str>, String> {
    let reasons = compare::datagram(bytes)?;
    compare::stream(bytes)?;
    Ok(reasons)
}

fn differ(what: &str, mut next: impl FnMut(&mut Rng) -> Vec<u8>) {
    let seed = bend::seed();
    let mut rng = Rng::from_number(seed);
    let mut alike = 0;
    for round in 0..ROUNDS {
        let bytes = next(&mut rng);
        match judge(&bytes) {
            Ok(reasons) => alike += u64::from(reasons.is_empty()),
            Err(how) => panic!("FUZZ_SEED={seed}, {what} {round}: {how}\n{}", bytes.escape_ascii()),
        }
    }
    // Else the comparison would show little.
    assert!(alike > ROUNDS * 3 / 4, "only {alike} of {ROUNDS} {what} were understood alike");
}

fn real() -> Vec<Vec<u8>> {
    bend::messages().into_iter().chain(bend::conversations()).collect()
}

#[test]
fn rfc4475_and_rfc5118_mean_the_same_to_both() {
    let mut wrong = Vec::new();
    let mut reasons = BTreeSet::new();
    for bytes in real() {
        match judge(&bytes) {
            Ok(found) => reasons.extend(found),
            Err(how) => wrong.push(format!("{how}\n{}", bytes.escape_ascii())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(reasons, BTreeSet::from(["blanks-in-brackets"]), "all but badaspec is read alike");
}

#[test]
fn rfc3261_18_3_a_body_that_fills_the_limit_alone_is_too_big_once_its_length_is_said() {
    let request = |length: usize| {
        format!(
            "BYE sip:a@h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\
            To: <sip:a@h>;tag=1\r\nFrom: <sip:b@h>;tag=2\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    for length in [0, 65_000, 65_500, 65_536, 65_537, 100_000] {
        assert_eq!(compare::stream(request(length).as_bytes()), Ok(()), "{length}");
    }
}

#[test]
fn bent_messages_mean_the_same_to_both() {
    let seeds = real();
    differ("bent message", |rng| bend::bend(rng, &seeds));
}

#[test]
fn odd_messages_mean_the_same_to_both() {
    differ("odd message", compose::message);
}

#[test]
fn rfc3261_19_1_4_uris_are_the_same_to_both_or_to_none() {
    let all: Vec<&str> = compose::URIS.iter().chain(EQUALS).copied().collect();
    for one in &all {
        for other in &all {
            if let Some((ours, theirs)) = compare::equal(one, other) {
                assert_eq!(ours, theirs, "{one} and {other}");
            }
        }
    }
}

/// Of RFC 3261 19.1.4 and RFC 3966 4, and what is near them.
const EQUALS: &[&str] = &[
    "sip:%61lice@atlanta.com;transport=TCP",
    "sip:alice@AtlanTa.CoM;Transport=tcp",
    "SIP:ALICE@AtLanTa.CoM;Transport=udp",
    "sip:carol@chicago.com",
    "sip:carol@chicago.com;newparam=5",
    "sip:carol@chicago.com;security=on",
    "sip:carol@chicago.com;security=off",
    "sip:carol@chicago.com:5060",
    "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
    "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
    "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    "sip:alice@atlanta.com?priority=urgent&priority=urgent",
    "sip:%31712@h",
    "sip:a%3Bb@h",
    "sip:a;b@h",
    "sip:a:b@h",
    "sip:a%3ab@h",
    "tel:+32-78-15;phone-context=x",
    "tel:+327815",
];

/// A response or a request with these lines; a line takes the place of the usual one of its name.
fn example(status: bool, lines: &str) -> Vec<u8> {
    let start = if status { "SIP/2.0 200 OK" } else { "OPTIONS sip:b@h SIP/2.0" };
    let usual = [
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        "From: <sip:a@h>;tag=1",
        "To: <sip:b@h>",
        "Call-ID: c",
        "CSeq: 1 OPTIONS",
    ];
    let is_other = |line: &&str| !lines.contains(line.split(':').next().unwrap_or(""));
    let kept: String = usual.into_iter().filter(is_other).map(|line| format!("{line}\r\n")).collect();
    format!("{start}\r\n{kept}{lines}\r\n\r\n").into_bytes()
}

#[test]
fn each_reason_stands_for_a_difference_that_there_is() {
    let vias = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n".repeat(71);
    let long = format!("Subject: {}", "x".repeat(9000));
    let host = format!("From: <sip:a@{}>;tag=1", "x".repeat(300));
    let examples: Vec<(&str, bool, &str)> = vec![
        ("odd-line-of-response", true, "no field"),
        ("empty-line-before", false, "X: y"),
        ("contact-of-response", true, "Contact: <nobody>"),
        ("hops-of-response", true, "Max-Forwards: many"),
        ("odd-parameter", false, "Via: SIP/2.0/UDP h;branch=a|b"),
        ("unquoted-name", false, "From: Caf\u{e9} <sip:a@h>;tag=1"),
        ("blanks-in-brackets", false, "From: < sip:a@h >;tag=1"),
        ("empty-parameter", false, "From: <sip:a@h;>;tag=1"),
        ("repeated-parameter", false, "From: <sip:a@h;lr;lr>;tag=1"),
        ("zeros-of-port", false, "From: <sip:a@h:0005060>;tag=1"),
        ("hash-in-user", false, "From: <sip:#31#1712@h>;tag=1"),
        ("blanks-at-colon", false, "Via: SIP/2.0/UDP h : 5060;branch=z9hG4bK1"),
        ("empty-element", false, "Via: SIP/2.0/UDP h;branch=z9hG4bK1,"),
        ("one-word-call-id", false, "Call-ID: a b"),
        ("said-once", false, "Expires: 1\r\nExpires: 2"),
        ("bare-comma", false, "From: sip:a,b@h;tag=1"),
        ("letter-of-scheme", false, "From: <3ip:a@h>;tag=1"),
        ("via-of-sip", false, "Via: SIP/3.0/UDP h;branch=z9hG4bK1"),
        ("word-of-transport", false, "Via: SIP/2.0/U|P h;branch=z9hG4bK1"),
        ("too-many-vias", false, vias.trim_end()),
        ("long-value", false, &long),
        ("long-host", false, &host),
        ("password-characters", false, "From: <sip:a:[@h>;tag=1"),
        ("header-of-uri-without-value", false, "From: <sip:a@h?x>;tag=1"),
        ("blank-before-fold", false, "Subject: one \r\n two"),
        ("quoted-pair", false, "From: <sip:a@h>;tag=\"a\\b\""),
    ];
    let named: Vec<&str> = examples.iter().map(|(name, _, _)| *name).collect();
    let table: Vec<&str> = compare::REASONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, table);
    for (name, status, lines) in examples {
        let before = if name == "empty-line-before" { "\r\n" } else { "" };
        let bytes = [before.as_bytes(), &example(status, lines)].concat();
        assert_eq!(judge(&bytes), Ok(BTreeSet::from([name])), "{lines}");
    }
}

#[test]
fn a_difference_without_a_reason_is_found() {
    let good = example(false, "Contact: <sip:a@h>\r\nContent-Length: 0");
    assert_eq!(compare::mistaken(&good, &good), Ok(BTreeSet::new()));
    let text = String::from_utf8_lossy(&good).into_owned();
    for (what, instead) in [
        ("OPTIONS sip:b@h", "OPTIONS sip:%62@i"),
        ("branch=z9hG4bK1", "branch=z9hG4bK2"),
        ("UDP h", "UDP h:5060"),
        ("<sip:a@h>;tag=1", "<sip:a@h;tag=1>"),
        ("<sip:a@h>;tag=1", "\"x\" <sip:a@h>;tag=1"),
        ("Call-ID: c", "Call-ID: C"),
        ("CSeq: 1", "CSeq: 2"),
        ("Contact", "Kontact"),
        ("Content-Length: 0\r\n\r\n", "Content-Length: 1\r\n\r\nx"),
        ("To: <sip:b@h>\r\n", ""),
    ] {
        let other = text.replacen(what, instead, 1);
        assert_ne!(other, text);
        assert!(compare::mistaken(&good, other.as_bytes()).is_err(), "{what} taken for {instead}");
        assert!(compare::mistaken(other.as_bytes(), &good).is_err(), "{instead} taken for {what}");
    }
}
