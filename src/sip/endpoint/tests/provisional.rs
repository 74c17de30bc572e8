//! Reliable provisional responses (RFC 3262), ours and theirs.

use super::*;

const CONTACT: &str = "Contact: <sip:x@127.0.0.1>\r\n";

/// A comes to ring at B by an INVITE that requires reliability.
fn required(transport: Transport, loss: u64, seed: u64) -> (Pair, DialogKey, DialogKey) {
    let mut pair = Pair::new(transport, loss, seed);
    let ours = pair.call_with(vec![("Require", "100rel".to_owned())]);
    let theirs = pair.incoming();
    pair.ends[1].ring(pair.now, theirs, 180);
    (pair, ours, theirs)
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A response to A's INVITE as another UAS would write it.
fn response(invite: &str, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let fields = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines: String = invite
        .lines()
        .filter(|l| fields.iter().any(|f| l.starts_with(&format!("{f}: "))))
        .map(|l| if l.starts_with("To: ") { format!("{l};tag={tag}\r\n") } else { format!("{l}\r\n") })
        .collect();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\n{lines}Contact: <sip:{tag}@127.0.0.2>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A has called; what it has sent is the INVITE.
fn calling() -> (Pair, DialogKey, String) {
    let mut pair = Pair::new(Transport::Udp, 0, 52);
    let ours = pair.call();
    let invite = pair.ends[0].poll_transmit().unwrap();
    (pair, ours, String::from_utf8_lossy(&invite.bytes).into_owned())
}

/// What A sends when this comes.
fn hears(pair: &mut Pair, text: &str) -> Vec<String> {
    let flow = pair.flow(0);
    pair.give(0, flow, text.as_bytes());
    let mut sent = Vec::new();
    while let Some(transmit) = pair.ends[0].poll_transmit() {
        sent.push(String::from_utf8_lossy(&transmit.bytes).into_owned());
    }
    sent
}

#[test]
fn rfc_3262_3_ringing_is_confirmed_whatever_is_lost_and_the_call_comes_up() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for seed in 0..20 {
            let loss = if transport == Transport::Udp { 20 } else { 0 };
            let (mut pair, ours, theirs) = required(transport, loss, seed);
            let rings = pair.until(0, |e| matches!(e, Event::Progress { .. }));
            assert!(matches!(rings, Event::Progress { dialog, status: 180, .. } if dialog == ours));
            pair.run(Duration::from_secs(8));
            let rack = pair.sent.iter().find(|(_, t)| t.starts_with("PRACK")).unwrap().1.clone();
            let ringing = pair.sent.iter().find(|(_, t)| t.starts_with("SIP/2.0 180")).unwrap().1.clone();
            let number = header(&ringing, "RSeq").unwrap();
            let invite = header(&ringing, "CSeq").unwrap().to_owned();
            assert_eq!(header(&rack, "RAck").unwrap(), format!("{number} {invite}"), "{transport:?} {seed}");
            assert_eq!(header(&ringing, "Require"), Some("100rel"));
            pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
            pair.until(0, |e| matches!(e, Event::Answered { .. }));
            pair.until(1, |e| matches!(e, Event::Acked { .. }));
            pair.ends[0].hang_up(pair.now, ours, None);
            pair.until(1, |e| matches!(e, Event::Ended { .. }));
            assert!(pair.is_empty(), "{transport:?} {seed}");
        }
    }
}

#[test]
fn rfc_3262_3_a_caller_who_never_confirms_is_refused_and_nothing_is_left() {
    let mut pair = Pair::new(Transport::Tcp, 0, 51);
    let flow = pair.flow(1);
    let invite = raw("INVITE", "sip:1712@z", &format!("{CONTACT}Require: 100rel\r\n"), "");
    pair.give(1, flow, invite.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes());
    let (key, _) = pair.calls_in.pop_front().unwrap();
    pair.ends[1].ring(pair.now, key, 180);
    assert!(
        matches!(pair.event(1, Duration::from_secs(40)), Some(Event::Cancelled { dialog }) if dialog == key)
    );
    assert!((6..=8).contains(&pair.count(1, "SIP/2.0 180")), "repeated at 0.5, 1, 2, 4 ... seconds");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.count(1, "SIP/2.0 500"), 1);
    assert_eq!(pair.ends[1].counts().dialogs, 0);
}

#[test]
fn rfc_3262_3_a_prack_that_confirms_nothing_gets_481() {
    let (mut pair, ours, _) = required(Transport::Tcp, 0, 53);
    pair.until(0, |e| matches!(e, Event::Progress { .. }));
    pair.run(Duration::from_secs(1));
    let prack = pair.sent.iter().find(|(_, t)| t.starts_with("PRACK")).unwrap().1.clone();
    let flow = pair.flow(1);
    for (what, changed) in [
        ("confirmed before", prack.replace("CSeq: ", "CSeq: 1")),
        ("another number", prack.replace("RAck: ", "RAck: 1").replace("CSeq: ", "CSeq: 2")),
    ] {
        let again = changed.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{}", what.replace(' ', "")));
        pair.give(1, flow, again.as_bytes());
        let answer = pair.ends[1].poll_transmit().unwrap();
        assert!(answer.bytes.starts_with(b"SIP/2.0 481 "), "{what}");
    }
    pair.ends[0].hang_up(pair.now, ours, None);
    pair.until(1, |e| matches!(e, Event::Cancelled { .. }));
}

#[test]
fn rfc_3262_4_theirs_are_taken_in_order_and_once() {
    let (mut pair, _, invite) = calling();
    let ring = |number: u32| {
        response(&invite, "183 Progress", "a", &format!("Require: 100rel\r\nRSeq: {number}\r\n"), "")
    };
    let racks = |sent: Vec<String>| -> Vec<String> {
        sent.iter().filter_map(|t| Some(header(t, "RAck")?.split(' ').next()?.to_owned())).collect()
    };
    assert_eq!(racks(hears(&mut pair, &ring(7))), ["7"]);
    assert_eq!(racks(hears(&mut pair, &ring(7))), [""; 0], "its PRACK is repeated by its own transaction");
    assert_eq!(racks(hears(&mut pair, &ring(9))), [""; 0], "the eighth is lost and comes again");
    assert_eq!(racks(hears(&mut pair, &ring(8))), ["8"]);
    assert_eq!(racks(hears(&mut pair, &ring(9))), ["9"]);
    let heard = std::iter::from_fn(|| pair.ends[0].poll_event());
    assert_eq!(heard.filter(|e| matches!(e, Event::Progress { .. })).count(), 3);
}

#[test]
fn a_peer_that_rings_reliably_without_end_takes_no_more_transactions() {
    let (mut pair, _, invite) = calling();
    let pracks: usize = (1..=100)
        .map(|number| {
            let extra = format!("Require: 100rel\r\nRSeq: {number}\r\n");
            hears(&mut pair, &response(&invite, "183 Progress", "a", &extra, "")).len()
        })
        .sum();
    assert_eq!((pracks, pair.ends[0].counts().transactions), (50, 51), "with the INVITE itself");
}

#[test]
fn rfc_3262_5_a_session_that_was_answered_reliably_need_not_be_answered_again() {
    let (mut pair, ours, invite) = calling();
    let early = response(&invite, "183 Progress", "a", "Require: 100rel\r\nRSeq: 1\r\n", "v=0\r\nearly");
    hears(&mut pair, &early);
    let sent = hears(&mut pair, &response(&invite, "200 OK", "a", "", ""));
    assert!(sent.iter().any(|t| t.starts_with("ACK")));
    let answered = std::iter::from_fn(|| pair.ends[0].poll_event())
        .find_map(|e| if let Event::Answered { dialog, sdp } = e { Some((dialog, sdp)) } else { None });
    assert!(answered == Some((ours, Some(b"v=0\r\nearly".to_vec()))));
    // The PRACK had a number of its own: the BYE has the next one (RFC 3261 12.2.1.1).
    let number =
        |text: &str| header(text, "CSeq").unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
    pair.ends[0].hang_up(pair.now, ours, None);
    let bye = pair.ends[0].poll_transmit().unwrap();
    assert_eq!(number(&String::from_utf8_lossy(&bye.bytes)), number(&invite) + 2);
}

#[test]
fn rfc_3261_13_2_2_4_every_branch_of_a_fork_is_confirmed_and_all_but_the_first_ended() {
    let (mut pair, _, invite) = calling();
    for tag in ["a", "b"] {
        let early = response(&invite, "183 Progress", tag, "Require: 100rel\r\nRSeq: 5\r\n", "");
        let sent = hears(&mut pair, &early);
        assert!(sent.len() == 1 && sent[0].starts_with(&format!("PRACK sip:{tag}@127.0.0.2 ")), "{sent:?}");
    }
    hears(&mut pair, &response(&invite, "200 OK", "b", "", "v=0"));
    let sent = hears(&mut pair, &response(&invite, "200 OK", "a", "", "v=0"));
    let bye = sent.iter().find(|t| t.starts_with("BYE sip:a@")).unwrap();
    let number =
        |text: &str| header(text, "CSeq").unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
    assert_eq!(number(bye), number(&invite) + 2, "after the PRACK's");
}

#[test]
fn rfc_3311_5_2_before_the_call_is_up_a_target_may_be_refreshed_and_no_session_offered() {
    let (mut pair, _, invite) = calling();
    hears(&mut pair, &response(&invite, "183 Progress", "a", "Require: 100rel\r\nRSeq: 5\r\n", "v=0"));
    let (from, call_id) = (header(&invite, "From").unwrap(), header(&invite, "Call-ID").unwrap());
    let to = header(&invite, "To").unwrap();
    let request = |method: &str, number: u32, tag: &str, extra: &str, body: &str| {
        format!(
            "{method} sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK{method}{number}{tag}\r\n\
             From: {to};tag={tag}\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n{extra}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let sdp = "Content-Type: application/sdp\r\n";
    for (text, status) in [
        (request("UPDATE", 1, "a", "Contact: <sip:moved@127.0.0.2>\r\n", ""), "200"),
        (request("UPDATE", 2, "a", sdp, "v=0"), "488"),
        (request("UPDATE", 2, "a", "X: y\r\n", ""), "488"),
        (request("INFO", 3, "a", "", ""), "481"),
        (request("UPDATE", 1, "b", "", ""), "481"),
    ] {
        let sent = hears(&mut pair, &text);
        assert!(sent[0].starts_with(&format!("SIP/2.0 {status} ")), "{text}\n{}", sent[0]);
    }
    let sent =
        hears(&mut pair, &response(&invite, "183 Progress", "a", "Require: 100rel\r\nRSeq: 6\r\n", ""));
    assert!(sent[0].starts_with("PRACK sip:moved@127.0.0.2 "), "{}", sent[0]);
}
