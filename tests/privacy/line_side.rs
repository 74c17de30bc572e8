//! What a line, or 106, may get to see: an allow-list of header names, of session lines and of RTCP, and numbers
//! of our own.

use std::net::IpAddr;

use super::caller::{FRAME, SSRC};
use super::support::Message;

/// Header names of requests that the switch sends to a line.
const REQUEST: &[&str] = &[
    "Via",
    "Max-Forwards",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Allow",
    "Supported",
    "Session-Expires",
    "RAck",
    "Privacy",
    "Reason",
    "Event",
    "Subscription-State",
    "Content-Type",
    "User-Agent",
    "Content-Length",
];
/// And of its answers to a line's requests.
const ANSWER: &[&str] = &[
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Allow",
    "Supported",
    "Session-Expires",
    "Require",
    "Server",
    "Accept",
    "Content-Type",
    "Content-Length",
    "WWW-Authenticate",
    "Retry-After",
];
/// Values that never differ. `%` stands for one or more letters and digits, `NET` for the place's network.
const VALUES: &[(&str, &[&str])] = &[
    ("From", &["\"1712\" <sip:anonymous@anonymous.invalid>;tag=%"]),
    (
        "To",
        &[
            "<sip:fixed@NET.3:5060>",
            "<sip:fixed@NET.3:5060>;tag=%",
            "<sip:106@NET.2:5060>",
            "<sip:106@NET.2:5060>;tag=%",
        ],
    ),
    ("Call-ID", &["%"]),
    ("CSeq", &["% INVITE", "% ACK", "% CANCEL", "% BYE", "% NOTIFY", "% OPTIONS", "% PRACK", "% UPDATE"]),
    ("Content-Length", &["%"]),
    ("Via", &["SIP/2.0/UDP NET.1:5060;branch=z9hG4bK%;rport"]),
    ("Contact", &["<sip:anonymous@NET.1:5060>"]),
    ("Max-Forwards", &["70"]),
    ("Privacy", &["id"]),
    ("User-Agent", &["hulplijn"]),
    ("Supported", &["timer, 100rel"]),
    ("Session-Expires", &["1800", "1800;refresher=uac", "1800;refresher=uas"]),
    ("RAck", &["% % INVITE"]),
    ("Allow", &["INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, REGISTER"]),
    ("Reason", &["Q.850;cause=16", "SIP;cause=200"]),
    ("Event", &["refer"]),
    ("Subscription-State", &["active;expires=180", "terminated;reason=noresource"]),
    ("Content-Type", &["application/sdp", "message/sipfrag;version=2.0"]),
];
/// Header names that a phone with lamps gets to see besides, in answers.
const LAMP_ANSWER: &[&str] = &["Expires", "Allow-Events", "Min-Expires"];
/// Values of a NOTIFY to it that never differ.
const LAMP_VALUES: &[(&str, &[&str])] = &[
    ("From", &["<sip:fixed@NET.1:5060>;tag=%", "<sip:anna@NET.1:5060>;tag=%"]),
    ("To", &["<sip:peer@NET.77>;tag=%"]),
    ("Call-ID", &["%"]),
    ("CSeq", &["% NOTIFY"]),
    ("Content-Length", &["%"]),
    ("Via", &["SIP/2.0/UDP NET.1:5060;branch=z9hG4bK%;rport"]),
    ("Contact", &["<sip:hulplijn@NET.1:5060>"]),
    ("Max-Forwards", &["70"]),
    ("User-Agent", &["hulplijn"]),
    ("Event", &["dialog", "presence", "message-summary"]),
    ("Subscription-State", &["active;expires=%", "terminated;reason=probation;retry-after=30"]),
    (
        "Content-Type",
        &["application/dialog-info+xml", "application/pidf+xml", "application/simple-message-summary"],
    ),
];
/// All lines of what it is told.
const LAMP_BODY: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"%\" state=\"full\" entity=\"sip:fixed@NET.1\">",
    "<dialog id=\"%\" direction=\"recipient\">",
    "<state>early</state>",
    "<state>confirmed</state>",
    "<state>terminated</state>",
    "</dialog>",
    "</dialog-info>",
    "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:fixed@NET.1\">",
    "<tuple id=\"line\">",
    "<status><basic>open</basic></status>",
    "<status><basic>closed</basic></status>",
    "<note>available</note>",
    "<note>ringing</note>",
    "<note>busy</note>",
    "<note>wrap-up</note>",
    "<note>resting</note>",
    "</tuple>",
    "</presence>",
    "Messages-Waiting: yes",
    "Messages-Waiting: no",
    "Voice-Message: %/%",
];
/// All lines of a session description of ours; its ports are from 20000 to 20399.
const SESSION: &[&str] = &[
    "v=0",
    "o=- % % IN IP4 NET.1",
    "s=-",
    "c=IN IP4 NET.1",
    "t=0 0",
    "m=audio 20% RTP/AVP 8 0 13 101",
    // The caller's codec first, which is no secret: it is what the sound is in.
    "m=audio 20% RTP/AVP 0 8 13 101",
    "m=audio 20% RTP/AVP 8 101",
    "a=rtpmap:13 CN/8000",
    "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-15",
    "a=ptime:20",
    "a=sendrecv",
    "a=sendonly",
    "a=recvonly",
    "a=inactive",
];

/// What of a message to a line is not allowed.
pub fn forbidden(message: &Message, switch: IpAddr) -> Vec<String> {
    let network = switch.to_string();
    let network = network.strip_suffix(".1").expect("the switch is .1");
    let is_request = message.method().is_some();
    let names = if is_request { REQUEST } else { ANSWER };
    let mut wrong = Vec::new();
    for line in message.head().lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        if !names.contains(&name) {
            wrong.push(format!("header {line}"));
        }
        let fixed = VALUES.iter().find(|(n, _)| *n == name).filter(|_| is_request);
        if fixed.is_some_and(|(_, forms)| !forms.iter().any(|form| fits(form, value, network))) {
            wrong.push(format!("value {line}"));
        }
    }
    let is_session = message.header("Content-Type") == "application/sdp";
    for line in message.body().lines() {
        let known = is_session && SESSION.iter().any(|form| fits(form, line, network));
        let is_progress = message.is("NOTIFY") && line.starts_with("SIP/2.0 ");
        if !known && !is_progress {
            wrong.push(format!("body {line}"));
        }
    }
    wrong
}

/// What of a message to a phone with lamps is not allowed.
pub fn forbidden_at_lamp(message: &Message, switch: IpAddr) -> Vec<String> {
    let network = switch.to_string();
    let network = network.strip_suffix(".1").expect("the switch is .1");
    let is_request = message.method().is_some();
    let mut wrong = Vec::new();
    for line in message.head().lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let allowed = if is_request {
            let forms = LAMP_VALUES.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, forms)| *forms);
            forms.iter().any(|form| fits(form, value, network))
        } else {
            ANSWER.contains(&name) || LAMP_ANSWER.contains(&name)
        };
        if !allowed {
            wrong.push(format!("header {line}"));
        }
    }
    let known = |line: &&str| LAMP_BODY.iter().any(|form| fits(form, line, network));
    wrong.extend(message.body().lines().filter(|line| !known(line)).map(|line| format!("body {line}")));
    wrong
}

/// Whether a text is of a form.
fn fits(form: &str, text: &str, network: &str) -> bool {
    let form = form.replace("NET", network);
    let mut parts = form.split('%');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else { return false };
    for part in parts {
        let length = rest.chars().take_while(char::is_ascii_alphanumeric).count();
        // What follows a wildcard begins with a sign, or nothing follows.
        let Some(after) = rest.get(length..).filter(|_| length > 0) else { return false };
        let Some(after) = after.strip_prefix(part) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// The INVITE of a line or of 106, header by header.
pub fn assert_written_from_nothing(invite: &Message, switch: IpAddr) {
    let wrong = forbidden(invite, switch);
    assert!(wrong.is_empty(), "{wrong:?} in\n{}", invite.text);
    let names: Vec<&str> =
        invite.head().lines().skip(1).filter_map(|l| l.split_once(": ").map(|(n, _)| n)).collect();
    let expected = [
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Allow",
        "Supported",
        "Session-Expires",
        "Privacy",
        "Content-Type",
        "User-Agent",
        "Content-Length",
    ];
    assert_eq!(names, expected, "each once, and no other");
    assert!(invite.body().starts_with("v=0\r\no=- ") && invite.body().contains("\r\na=sendrecv\r\n"));
}

/// All RTP that a line has heard: our own source, whole frames, no extension, no contributing source, no
/// padding; and numbers that are not the caller's. `said` is the payload that the caller sent, and the sequence
/// numbers and timestamps that it was sent with.
pub fn assert_own_rtp(heard: &[Vec<u8>], said: &[u8], with: &[(u16, u32)]) -> [u8; 4] {
    let audio: Vec<&Vec<u8>> = heard.iter().filter(|p| !is_rtcp(p)).collect();
    let ssrc: [u8; 4] = audio.first().expect("heard something")[8..12].try_into().expect("four");
    assert_ne!(ssrc, SSRC);
    let mut relayed = 0;
    for packet in audio {
        let kind = packet[1] & 0x7f;
        assert_eq!(packet[0], 0x80, "no padding, extension or contributing source");
        assert_eq!(packet[8..12], ssrc, "one source");
        assert!(
            matches!((kind, packet.len()), (8, l) if l == 12 + FRAME) || (kind, packet.len()) == (101, 16)
        );
        if kind == 101 {
            assert_eq!(packet[13] & 0x40, 0, "the reserved bit of an event is ours");
        }
        if packet.get(12..) == Some(said) {
            let numbers = (
                u16::from_be_bytes([packet[2], packet[3]]),
                u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            );
            relayed += 1;
            assert!(!with.contains(&numbers), "sequence number and timestamp are our own");
            assert!(!with.iter().any(|(_, timestamp)| *timestamp == numbers.1), "the timestamp is our own");
        }
    }
    assert!(relayed > 0, "the caller was heard at all");
    ssrc
}

fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [_, 192..=223, ..])
}

/// All RTCP that a line has heard: reports about our own stream and the line's, a CNAME of our own and nothing
/// else of SDES, BYE without a reason.
pub fn assert_own_rtcp(control: &[Vec<u8>], ours: [u8; 4]) {
    assert!(!control.is_empty(), "RTCP came at all");
    for compound in control {
        let mut rest = &compound[..];
        while !rest.is_empty() {
            let length = (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1) * 4;
            let (packet, after) = rest.split_at(length);
            assert_eq!(packet[4..8], ours, "about our own stream");
            match (packet[1], packet[0] & 0x1f) {
                // Reports with one block at most, and that about the line itself.
                (200, count @ 0..=1) => assert_eq!(length, 28 + 24 * usize::from(count)),
                (201, count @ 0..=1) => assert_eq!(length, 8 + 24 * usize::from(count)),
                (202, 1) => {
                    assert_eq!((packet[8], packet[9], length), (1, 16, 28), "one item, CNAME");
                    assert!(packet[10..26].iter().all(u8::is_ascii_hexdigit) && packet[26..] == [0, 0]);
                }
                (203, 1) => assert_eq!(length, 8),
                other => panic!("RTCP of type {other:?}"),
            }
            if matches!(packet[1], 200 | 201) && packet[0] & 1 == 1 {
                let block = if packet[1] == 200 { 28 } else { 8 };
                assert_eq!(&packet[block..block + 4], b"line", "about the line itself");
            }
            rest = after;
        }
    }
}

#[test]
fn the_allow_list_refuses_what_it_does_not_know() {
    let switch: IpAddr = "127.9.9.1".parse().expect("an address");
    let head = "INVITE sip:fixed@127.9.9.3 SIP/2.0\r\nVia: SIP/2.0/UDP 127.9.9.1:5060;branch=z9hG4bKab2;rport\r\n\
        From: \"1712\" <sip:anonymous@anonymous.invalid>;tag=a2\r\nCall-ID: abc2\r\nPrivacy: id\r\n";
    let body = "\r\nv=0\r\no=- 12 1 IN IP4 127.9.9.1\r\n";
    let with = |line: &str, more: &str| {
        let text = format!("{head}Content-Type: application/sdp\r\n{line}{body}{more}");
        forbidden(&Message { text }, switch).len()
    };
    assert_eq!(with("", ""), 0);
    for line in [
        "P-Asserted-Identity: <tel:+329>\r\n",
        "X-A: b\r\n",
        "Call-ID: ab@127.9.9.9\r\n",
        "From: \"1712\" <sip:anonymous@anonymous.invalid>;tag=a;x=y\r\n",
        "From: \"An\" <sip:anonymous@anonymous.invalid>;tag=a\r\n",
        "Contact: <sip:anonymous@127.9.9.9:5060>\r\n",
        "Via: SIP/2.0/UDP 127.9.9.9:5060;branch=z9hG4bKab2;rport\r\n",
        "To: \"An\" <sip:fixed@127.9.9.3:5060>\r\n",
        "Reason: SIP;cause=200;text=\"x\"\r\n",
    ] {
        assert_eq!(with(line, ""), 1, "{line}");
    }
    for line in
        ["a=tool:x\r\n", "s=call\r\n", "o=an 12 1 IN IP4 127.9.9.1\r\n", "c=IN IP4 127.9.9.9\r\n", "i=x\r\n"]
    {
        assert_eq!(with("", line), 1, "{line}");
    }
}
