//! Offers and answers that meet, and responses that are not for us.

use super::*;

/// A call whose INVITE bore no offer: B's 200 has it, and A's ACK is still on its way.
fn late_offer() -> (Pair, DialogKey) {
    let mut pair = Pair::new(Transport::Tcp, 0, 31);
    let flow = pair.flow(1);
    let invite = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1;transport=tcp>\r\n", "")
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    pair.give(1, flow, invite.as_bytes());
    let (key, _) = pair.calls_in.pop_front().unwrap();
    pair.ends[1].accept(pair.now, key, OFFER.to_vec(), true);
    (pair, key)
}

fn last_sent(pair: &mut Pair) -> String {
    let mut last = String::new();
    while let Some(transmit) = pair.ends[1].poll_transmit() {
        last = String::from_utf8_lossy(&transmit.bytes).into_owned();
    }
    last
}

#[test]
fn rfc_3311_5_2_an_offer_by_update_gets_491_while_our_own_waits_for_the_ack() {
    let (mut pair, key) = late_offer();
    let ok = last_sent(&mut pair);
    let to = ok.lines().find(|l| l.starts_with("To: ")).unwrap().to_owned();
    let within = |method: &str, number: u32, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        raw(method, "sip:1712@z", kind, body)
            .replace("To: <sip:1712@z>", &to)
            .replace("CSeq: 1 ", &format!("CSeq: {number} "))
            .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
    };
    let flow = pair.flow(1);
    pair.give(1, flow, within("UPDATE", 2, "v=0").as_bytes());
    assert!(last_sent(&mut pair).starts_with("SIP/2.0 491 "));
    pair.give(1, flow, within("ACK", 1, "v=0").as_bytes());
    assert!(matches!(pair.ends[1].poll_event(), Some(Event::Refused { status: 491 })));
    assert!(
        matches!(pair.ends[1].poll_event(), Some(Event::Acked { dialog, sdp: Some(_) }) if dialog == key),
        "the answer in the ACK is taken"
    );
}

#[test]
fn rfc_3261_11_options_that_may_go_no_further_asks_us() {
    let mut pair = Pair::new(Transport::Udp, 0, 32);
    let flow = pair.flow(1);
    let options = raw("OPTIONS", "sip:1712@z", "Max-Forwards: 0\r\n", "");
    pair.give(1, flow, options.as_bytes());
    assert_eq!(pair.requests_in.len(), 1, "it is let in and not refused with 483");
}

#[test]
fn rfc_3261_18_1_2_a_response_that_names_another_sender_is_dropped() {
    let mut pair = Pair::new(Transport::Udp, 0, 33);
    let key = pair.call();
    let _ = pair.call_in();
    let invite = pair.sent.iter().find(|(_, text)| text.starts_with("INVITE")).unwrap().1.clone();
    let answer = |invite: &str| {
        let fields = ["Via", "From", "To", "Call-ID", "CSeq"];
        let lines = invite.lines().filter(|l| fields.iter().any(|f| l.starts_with(&format!("{f}:"))));
        let lines: String = lines.map(|l| format!("{l}\r\n")).collect();
        format!("SIP/2.0 603 Decline\r\n{lines}Content-Length: 0\r\n\r\n")
            .replace("<sip:1712@127.0.0.2:5060>", "<sip:1712@127.0.0.2:5060>;tag=t")
    };
    let flow = pair.flow(0);
    let theirs = answer(&invite.replace("UDP 127.0.0.1:5060", "UDP 127.0.0.9:5060"));
    pair.give(0, flow, theirs.as_bytes());
    assert!(matches!(pair.ends[0].poll_event(), Some(Event::Dropped { reason: Dropped::StrayResponse })));
    let ours = answer(&invite);
    pair.give(0, flow, ours.as_bytes());
    assert!(
        matches!(pair.ends[0].poll_event(), Some(Event::Failed { dialog, status: 603, .. }) if dialog == key)
    );
}
