//! The dialog of a subscription (RFC 6665): routes, one NOTIFY at a time, and a table that is bounded.

use super::*;
use crate::sip::event::{Ending, Wish};

fn notifier(most: usize) -> Endpoint {
    let config = Config {
        agent: "test",
        bounds: Bounds::default(),
        max_transactions: 200,
        max_dialogs: 10,
        max_subscriptions: most,
        session: Duration::ZERO,
    };
    Endpoint::new(config, Rng::from_number(1))
}

fn flow(transport: Transport) -> Flow {
    Flow { key: FlowKey(7), transport, local: B.parse().unwrap(), peer: "192.0.2.7:40000".parse().unwrap() }
}

fn subscribe(id: &str) -> String {
    format!(
        "SUBSCRIBE sip:bart@{B} SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.9.9:5060;branch=z9hG4bK{id};rport\r\n\
         Record-Route: <sip:p1.example;lr>\r\nFrom: <sip:anna@{B}>;tag={id}\r\nTo: <sip:bart@{B}>\r\nCall-ID: {id}\r\n\
         CSeq: 1 SUBSCRIBE\r\nContact: <sip:anna@10.9.9.9:5060>\r\nEvent: dialog\r\nContent-Length: 0\r\n\r\n"
    )
}

fn sent(endpoint: &mut Endpoint) -> Vec<(Destination, String)> {
    let all = std::iter::from_fn(|| endpoint.poll_transmit());
    all.map(|t| (t.to, String::from_utf8_lossy(&t.bytes).into_owned())).collect()
}

#[test]
fn rfc_6665_4_4_1_the_200_makes_the_dialog_and_notify_goes_back_over_the_flow_by_its_routes() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Wss] {
        let (mut endpoint, now) = (notifier(4), Now::read());
        let arrival = endpoint.handle_message(now, flow(transport), subscribe("a").as_bytes()).unwrap();
        let Ok(wish) = Wish::read(&arrival.request.headers) else { panic!("the wish") };
        let key = endpoint.subscribe(now, &arrival, &wish).unwrap();
        let (_, ok) = sent(&mut endpoint).remove(0);
        assert!(ok.starts_with("SIP/2.0 200") && ok.contains("Record-Route: <sip:p1.example;lr>"), "{ok}");
        assert!(endpoint.notify(now, key, "text/plain", b"one".to_vec()).is_ok());
        let (to, notify) = sent(&mut endpoint).remove(0);
        // Its Contact is a private address: what stands behind it is reached as it came.
        assert_eq!(to, Destination::Flow(flow(transport)));
        assert!(notify.starts_with("NOTIFY sip:anna@10.9.9.9:5060 SIP/2.0"), "{notify}");
        assert!(
            notify.contains("Route: <sip:p1.example;lr>") && notify.contains("Event: dialog\r\n"),
            "{notify}"
        );
        assert!(endpoint.notify(now, key, "text/plain", b"two".to_vec()).is_err(), "the first waits");
        endpoint.end_subscription(now, key, Ending::NoResource, None);
        let (_, last) = sent(&mut endpoint).remove(0);
        assert!(last.contains("Subscription-State: terminated;reason=noresource\r\n"), "{last}");
        assert_eq!(endpoint.counts().subscriptions, 0);
        assert!(endpoint.watched.is_empty());
    }
}

#[test]
fn rfc_6665_4_2_1_1_past_the_bound_it_is_503_and_repetitions_of_what_was_taken_are_answered_alike() {
    let (mut endpoint, now) = (notifier(1), Now::read());
    let arrival = endpoint.handle_message(now, flow(Transport::Udp), subscribe("a").as_bytes()).unwrap();
    let Ok(wish) = Wish::read(&arrival.request.headers) else { panic!("the wish") };
    assert!(endpoint.subscribe(now, &arrival, &wish).is_some());
    let first = sent(&mut endpoint);
    assert!(endpoint.handle_message(now, flow(Transport::Udp), subscribe("a").as_bytes()).is_none());
    assert!(sent(&mut endpoint) == first, "the same 200");
    let other = endpoint.handle_message(now, flow(Transport::Udp), subscribe("b").as_bytes()).unwrap();
    assert!(endpoint.subscribe(now, &other, &wish).is_none());
    assert!(sent(&mut endpoint).remove(0).1.starts_with("SIP/2.0 503"));
    assert_eq!(endpoint.counts().subscriptions, 1);
}
