//! RFC 3261 18.1.1: what is too large for a datagram.

use super::*;

const TCP_A: &str = "127.0.0.1:5062";

/// Who calls with an INVITE of more than 1300 bytes, or with one that is just small enough.
fn calling(extra: usize) -> Pair {
    let mut pair = Pair::new(Transport::Udp, 0, 41);
    pair.ends[0].listens_on_tcp(vec!["127.0.0.9:5060".parse().unwrap(), TCP_A.parse().unwrap()]);
    pair.call_with(vec![("Subject", "x".repeat(extra))]);
    pair
}

fn sent(pair: &mut Pair) -> Vec<(Destination, String)> {
    let text = |t: Transmit| (t.to, String::from_utf8_lossy(&t.bytes).into_owned());
    std::iter::from_fn(|| pair.ends[0].poll_transmit()).map(text).collect()
}

fn udp() -> Destination {
    Destination::address(Transport::Udp, B.parse().unwrap())
}

fn branch(text: &str) -> &str {
    text.split("branch=").nth(1).and_then(|rest| rest.split([';', '\r']).next()).unwrap()
}

#[test]
fn rfc_3261_18_1_1_a_request_over_1300_bytes_is_tried_over_tcp_and_one_of_1300_is_not() {
    let mut pair = calling(1);
    let base = sent(&mut pair)[0].1.len() - 1;
    for (size, transport) in [(1300, Transport::Udp), (1301, Transport::Tcp)] {
        let mut pair = calling(size - base);
        let sent = sent(&mut pair);
        assert_eq!(sent.len(), 1);
        let (to, text) = &sent[0];
        assert_eq!((to.transport(), to.peer()), (transport, B.parse().unwrap()), "{size}");
        let via = match transport {
            Transport::Udp => format!("Via: SIP/2.0/UDP {A};"),
            _ => format!("Via: SIP/2.0/TCP {TCP_A};"),
        };
        assert!(text.contains(&via), "its Via says how it went: {text}");
        assert!(text.contains(&format!("Contact: <sip:a@{A}>")), "the dialog stays where it was");
    }
}

#[test]
fn rfc_3261_18_1_1_tcp_that_is_refused_or_says_nothing_gives_the_request_back_to_udp_once_for_all_calls() {
    for refused in [true, false] {
        let mut pair = calling(1300);
        let first = sent(&mut pair).remove(0);
        if refused {
            pair.ends[0].handle_transmit_failed(pair.now, first.0);
        } else {
            pair.now = pair.now.plus(Duration::from_secs(2));
            pair.ends[0].handle_timeout(pair.now);
        }
        let again = sent(&mut pair).remove(0);
        assert_eq!(again.0, udp());
        assert!(again.1.contains(&format!("Via: SIP/2.0/UDP {A};")), "{}", again.1);
        assert_eq!(branch(&again.1), branch(&first.1), "to a peer that did get it, a repetition");
        pair.now = pair.now.plus(T1);
        pair.ends[0].handle_timeout(pair.now);
        assert_eq!(sent(&mut pair).len(), 1, "and repeated as datagrams are");
        assert!(pair.ends[0].poll_event().is_none(), "nothing has failed");
        pair.call_with(vec![("Subject", "x".repeat(1300))]);
        assert_eq!(sent(&mut pair).remove(0).0, udp(), "the next call goes there at once");
        pair.now = pair.now.plus(Duration::from_secs(601));
        pair.call_with(vec![("Subject", "x".repeat(1300))]);
        assert_eq!(sent(&mut pair).remove(0).0, address(B), "and after a while TCP has another chance");
    }
}

#[test]
fn a_call_over_tcp_for_its_size_comes_up_and_ends_over_udp() {
    let mut pair = calling(1300);
    let theirs = pair.incoming();
    pair.ends[1].ring(pair.now, theirs, 180);
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    let answered = pair.until(0, |event| matches!(event, Event::Answered { .. }));
    let Event::Answered { dialog, .. } = answered else { unreachable!() };
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.count(0, "INVITE"), 1, "once it is heard of, it is not sent as a datagram too");
    pair.ends[0].hang_up(pair.now, dialog, None);
    pair.run(Duration::from_secs(1));
    let bye = pair.sent.iter().find(|(_, text)| text.starts_with("BYE")).unwrap();
    assert!(bye.1.contains("Via: SIP/2.0/UDP"), "{}", bye.1);
    assert!(pair.is_empty());
}

#[test]
fn a_flow_and_a_uri_that_says_udp_stay_there_and_so_does_all_without_a_tcp_listener() {
    let flow = Destination::Flow(Pair::new(Transport::Udp, 0, 1).flow(0));
    let plain = format!("sip:1712@{B}");
    let cases =
        [(flow, plain.clone(), true), (udp(), format!("{plain};transport=udp"), true), (udp(), plain, false)];
    for (to, request_uri, listens) in cases {
        let mut pair = Pair::new(Transport::Udp, 0, 42);
        if listens {
            pair.ends[0].listens_on_tcp(vec![TCP_A.parse().unwrap()]);
        }
        let invite = Invite {
            to,
            local: A.parse().unwrap(),
            request_uri,
            from: "<sip:a@example.org>".into(),
            to_header: "<sip:1712@z>".into(),
            contact_user: "a".into(),
            extra: vec![("Subject", "x".repeat(1300))],
            sdp: Some(OFFER.to_vec()),
            credentials: None,
        };
        assert!(pair.ends[0].invite(pair.now, invite).is_ok());
        assert_eq!(sent(&mut pair).remove(0).0, to);
    }
}
