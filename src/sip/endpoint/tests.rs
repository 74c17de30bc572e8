//! Stories between two endpoints over a link that may lose and swap, in virtual time.

mod large;
mod offers;
mod provisional;
mod session_timers;
mod subscriptions;

use super::*;
use crate::sip::flow::Transport;
use crate::sip::transaction::T1;

const A: &str = "127.0.0.1:5060";
const B: &str = "127.0.0.2:5060";
const A_HOST: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OFFER: &[u8] = b"v=0\r\noffer";
const ANSWER: &[u8] = b"v=0\r\nanswer";

/// Two endpoints, the link between them and the clock.
struct Pair {
    now: Now,
    ends: [Endpoint; 2],
    wire: Vec<(Instant, usize, Vec<u8>)>,
    transport: Transport,
    loss_percent: u64,
    rng: Rng,
    /// All that was sent, by the sender.
    sent: Vec<(usize, String)>,
    /// Start lines that do not arrive, once each.
    eat: Vec<&'static str>,
    /// Who was let in at B.
    calls_in: VecDeque<(DialogKey, Arrival)>,
    requests_in: VecDeque<ServerTxKey>,
}

impl Pair {
    fn new(transport: Transport, loss_percent: u64, seed: u64) -> Self {
        let mut rng = Rng::from_number(seed);
        let config = Config {
            agent: "test",
            bounds: Bounds::default(),
            max_transactions: 200,
            max_dialogs: 100,
            max_subscriptions: 0,
            session: Duration::ZERO,
        };
        let ends = [Endpoint::new(config, rng.fork()), Endpoint::new(config, rng.fork())];
        Self {
            now: Now::read(),
            ends,
            wire: Vec::new(),
            transport,
            loss_percent,
            rng,
            sent: Vec::new(),
            eat: Vec::new(),
            calls_in: VecDeque::new(),
            requests_in: VecDeque::new(),
        }
    }

    fn call(&mut self) -> DialogKey {
        self.call_with(Vec::new())
    }

    fn call_with(&mut self, extra: Vec<(&'static str, String)>) -> DialogKey {
        let invite = Invite {
            to: Destination::address(self.transport, B.parse().unwrap()),
            local: A.parse().unwrap(),
            request_uri: format!("sip:1712@{B}"),
            from: "<sip:a@example.org>".into(),
            to_header: format!("<sip:1712@{B}>"),
            contact_user: "a".into(),
            extra,
            sdp: Some(OFFER.to_vec()),
            credentials: Some(Credentials {
                username: "anna".into(),
                password: "geheim".into(),
                realm: None,
            }),
        };
        self.ends[0].invite(self.now, invite).ok().unwrap()
    }

    fn flow(&self, receiver: usize) -> Flow {
        let (local, peer) = if receiver == 0 { (A, B) } else { (B, A) };
        let key = FlowKey(receiver as u64);
        Flow { key, transport: self.transport, local: local.parse().unwrap(), peer: peer.parse().unwrap() }
    }

    /// Lets time pass until an event comes at `end`, or for at most `limit`.
    fn event(&mut self, end: usize, limit: Duration) -> Option<Event> {
        let last = self.now.at + limit;
        loop {
            if let Some(event) = self.ends[end].poll_event() {
                return Some(event);
            }
            if !self.step(last) {
                self.now = self.now.plus(last - self.now.at);
                return None;
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let last = self.now.at + time;
        while self.step(last) {}
        self.now = self.now.plus(last - self.now.at);
    }

    fn step(&mut self, last: Instant) -> bool {
        self.collect();
        let arrival = self.wire.iter().map(|(at, _, _)| *at).min();
        let timers = self.ends.iter().filter_map(Endpoint::next_timeout).min();
        let Some(next) = arrival.into_iter().chain(timers).min().filter(|at| *at <= last) else {
            return false;
        };
        self.now = self.now.plus(next.saturating_duration_since(self.now.at));
        if arrival == Some(next) {
            let at = self.wire.iter().position(|(at, _, _)| *at == next).unwrap();
            let (_, receiver, bytes) = self.wire.remove(at);
            let flow = self.flow(receiver);
            self.give(receiver, flow, &bytes);
        } else {
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
        }
        true
    }

    /// A message comes; whoever it is from is let in.
    fn give(&mut self, end: usize, flow: Flow, bytes: &[u8]) {
        let Some(arrival) = self.ends[end].handle_message(self.now, flow, bytes) else { return };
        if arrival.request.method == Method::INVITE {
            let dialog = self.ends[end].admit_call(self.now, &arrival);
            self.calls_in.extend(dialog.map(|dialog| (dialog, arrival)));
        } else {
            self.requests_in.extend(self.ends[end].admit_request(self.now, &arrival));
        }
    }

    fn collect(&mut self) {
        for end in 0..2 {
            while let Some(transmit) = self.ends[end].poll_transmit() {
                let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                let eaten = self.eat.iter().position(|start| text.starts_with(start));
                let lost = self.transport == Transport::Udp && self.rng.below(100) < self.loss_percent;
                self.sent.push((end, text));
                if let Some(at) = eaten {
                    self.eat.remove(at);
                } else if !lost {
                    // Datagrams may overtake each other; a stream keeps its order.
                    let jitter = if self.transport == Transport::Udp { self.rng.below(40) } else { 0 };
                    let at = self.now.at + Duration::from_millis(10 + jitter);
                    self.wire.push((at, 1 - end, transmit.bytes.to_vec()));
                }
            }
        }
    }

    fn count(&self, end: usize, start: &str) -> usize {
        self.sent.iter().filter(|(e, text)| *e == end && text.starts_with(start)).count()
    }

    fn is_empty(&mut self) -> bool {
        self.run(Duration::from_secs(200));
        self.ends
            .iter()
            .all(|e| e.counts() == Counts::default() && e.pending.is_empty() && e.by_id.is_empty())
    }

    /// A call that is up on both sides: the keys at A and at B.
    fn up(&mut self) -> (DialogKey, DialogKey) {
        let ours = self.call();
        let theirs = self.incoming();
        self.ends[1].ring(self.now, theirs, 180);
        self.ends[1].accept(self.now, theirs, ANSWER.to_vec(), false);
        self.until(0, |e| matches!(e, Event::Answered { .. }));
        self.until(1, |e| matches!(e, Event::Acked { .. }));
        (ours, theirs)
    }

    fn incoming(&mut self) -> DialogKey {
        self.call_in().0
    }

    fn call_in(&mut self) -> (DialogKey, Arrival) {
        let last = self.now.at + LONG;
        while self.calls_in.is_empty() {
            assert!(self.step(last), "the INVITE did not come");
        }
        self.calls_in.pop_front().unwrap()
    }

    fn until(&mut self, end: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            match self.event(end, LONG) {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => panic!("the event did not come"),
            }
        }
    }
}

const LONG: Duration = Duration::from_secs(100);

#[test]
fn a_call_comes_up_and_ends_on_any_transport_whatever_is_lost() {
    for seed in 0..60 {
        let (transport, loss) =
            if seed % 6 == 0 { (Transport::Tcp, 0) } else { (Transport::Udp, seed % 4 * 10) };
        let mut pair = Pair::new(transport, loss, seed);
        let (ours, theirs) = pair.up();
        let (end, key) = if seed % 2 == 0 { (0, ours) } else { (1, theirs) };
        pair.ends[end].hang_up(pair.now, key, None);
        match pair.event(1 - end, LONG) {
            Some(Event::Ended { cause: EndCause::Bye, .. }) => {}
            // Only when every BYE was lost.
            other => assert!(other.is_none() && loss >= 20, "seed {seed}"),
        }
        pair.loss_percent = 0;
        let rest: Vec<DialogKey> = pair.ends[1 - end].calls.keys().copied().collect();
        for key in rest {
            pair.ends[1 - end].hang_up(pair.now, key, None);
        }
        assert!(pair.is_empty(), "seed {seed}");
    }
}

#[test]
fn rfc_3261_9_1_cancel_waits_for_a_provisional_and_ends_with_487() {
    let mut pair = Pair::new(Transport::Udp, 0, 1);
    let ours = pair.call();
    pair.ends[0].hang_up(pair.now, ours, None);
    pair.collect();
    assert_eq!(pair.count(0, "CANCEL"), 0);
    pair.incoming();
    assert!(matches!(pair.event(1, LONG), Some(Event::Cancelled { .. })));
    pair.run(Duration::from_secs(1));
    assert!(pair.count(0, "CANCEL") == 1 && pair.count(1, "SIP/2.0 487") == 1);
    assert!(pair.event(0, LONG).is_none());
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_9_1_a_200_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut pair = Pair::new(Transport::Udp, 0, 2);
    let ours = pair.call();
    let theirs = pair.incoming();
    pair.ends[1].ring(pair.now, theirs, 180);
    pair.until(0, |e| matches!(e, Event::Progress { status: 180, .. }));
    pair.ends[0].hang_up(pair.now, ours, None);
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    let ended = pair.until(1, |e| matches!(e, Event::Ended { .. }));
    assert!(matches!(ended, Event::Ended { cause: EndCause::Bye, .. }));
    assert!(pair.count(0, "ACK") == 1 && pair.count(0, "BYE") == 1);
    assert!(pair.event(0, LONG).is_none());
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_13_2_2_4_a_repeated_200_to_a_call_that_is_over_gets_its_ack_again_and_no_second_bye() {
    let mut pair = Pair::new(Transport::Udp, 0, 2);
    let ours = pair.call();
    let theirs = pair.incoming();
    pair.ends[1].ring(pair.now, theirs, 180);
    pair.until(0, |e| matches!(e, Event::Progress { status: 180, .. }));
    pair.ends[0].hang_up(pair.now, ours, None);
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    pair.eat = [["ACK"; 4], ["BYE"; 4]].concat();
    let ended = pair.until(1, |e| matches!(e, Event::Ended { .. }));
    assert!(matches!(ended, Event::Ended { cause: EndCause::Bye, .. }));
    let sent = |what: &'static str| pair.sent.iter().filter(move |(end, t)| *end == 0 && t.starts_with(what));
    let branch = |text: &str| text.lines().find(|line| line.starts_with("Via:")).unwrap().to_owned();
    assert!(sent("ACK").count() > 3, "each 200 is acknowledged");
    for what in ["ACK", "BYE"] {
        let branches: std::collections::BTreeSet<_> = sent(what).map(|(_, text)| branch(text)).collect();
        assert_eq!(branches.len(), 1, "{what}");
    }
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_13_3_1_4_a_200_is_repeated_and_without_ack_the_call_ends() {
    let mut pair = Pair::new(Transport::Tcp, 0, 3);
    pair.eat = vec!["ACK"; 60];
    pair.call();
    let theirs = pair.incoming();
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    assert!(matches!(pair.event(1, LONG), Some(Event::Ended { cause: EndCause::NoAck, .. })));
    assert_eq!(pair.count(1, "SIP/2.0 200"), 11, "at 0, 0.5, 1.5, 3.5, 7.5, then each 4 s to 31.5");
    assert!(matches!(
        pair.until(0, |e| matches!(e, Event::Ended { .. })),
        Event::Ended { cause: EndCause::Bye, .. }
    ));
    pair.eat.clear();
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_15_a_callee_that_hangs_up_at_once_says_bye_after_the_ack() {
    let mut pair = Pair::new(Transport::Udp, 0, 4);
    pair.call();
    let theirs = pair.incoming();
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    pair.ends[1].hang_up(pair.now, theirs, None);
    pair.until(0, |e| matches!(e, Event::Answered { .. }));
    assert_eq!(pair.count(1, "BYE"), 0);
    pair.until(0, |e| matches!(e, Event::Ended { .. }));
    assert!(pair.event(1, LONG).is_none());
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_14_offers_cross_both_get_491_and_both_come_through() {
    for seed in 0..20 {
        let mut pair = Pair::new(Transport::Udp, 0, seed);
        let (ours, theirs) = pair.up();
        pair.ends[0].offer(pair.now, ours, OFFER.to_vec()).unwrap();
        pair.ends[1].offer(pair.now, theirs, OFFER.to_vec()).unwrap();
        let mut answered = [false; 2];
        for _ in 0..40 {
            for (end, done) in answered.iter_mut().enumerate() {
                match pair.event(end, Duration::from_millis(300)) {
                    Some(Event::Offer { dialog, .. }) => {
                        pair.ends[end].answer_offer(pair.now, dialog, Ok(ANSWER.to_vec()), false);
                    }
                    Some(Event::OfferAnswered { sdp, .. }) => {
                        assert_eq!(sdp.as_deref(), Some(ANSWER));
                        *done = true;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(answered, [true; 2], "seed {seed}");
        pair.ends[0].hang_up(pair.now, ours, None);
        assert!(pair.is_empty(), "seed {seed}");
    }
}

#[test]
fn rfc_3261_20_37_what_is_said_to_be_supported_may_be_required_and_nothing_else_is_said() {
    let mut pair = Pair::new(Transport::Udp, 0, 14);
    let (ours, _) = pair.up();
    pair.ends[0].offer(pair.now, ours, OFFER.to_vec()).unwrap();
    pair.until(1, |e| matches!(e, Event::Offer { .. }));
    let said: Vec<&str> = pair.sent.iter().flat_map(|(_, text)| text.lines()).collect();
    assert!(said.iter().filter_map(|l| l.strip_prefix("Supported: ")).all(|tags| tags == "100rel"));
    pair.ends[1].config.session = Duration::from_secs(1800);
    let flow = pair.flow(1);
    let required = format!("Contact: <sip:x@127.0.0.1>\r\nRequire: {}\r\n", pair.ends[1].supported());
    pair.give(1, flow, raw("INVITE", "sip:1712@z", &required, "").as_bytes());
    assert_eq!(pair.calls_in.len(), 1);
}

#[test]
fn rfc_3261_13_3_1_4_a_reinvite_says_what_a_lost_or_late_ack_would_have_said() {
    let mut pair = Pair::new(Transport::Tcp, 0, 13);
    let ours = pair.call();
    let theirs = pair.incoming();
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    pair.eat.push("ACK");
    pair.until(0, |e| matches!(e, Event::Answered { .. }));
    pair.ends[0].offer(pair.now, ours, OFFER.to_vec()).unwrap();
    assert!(matches!(pair.event(1, LONG), Some(Event::Acked { sdp: None, .. })));
    assert!(matches!(pair.event(1, LONG), Some(Event::Offer { .. })));
    pair.ends[1].answer_offer(pair.now, theirs, Ok(ANSWER.to_vec()), false);
    pair.until(0, |e| matches!(e, Event::OfferAnswered { .. }));
    assert!(pair.event(1, LONG).is_none(), "the call goes on and is not acknowledged twice");
    pair.ends[0].hang_up(pair.now, ours, None);
    pair.until(1, |e| matches!(e, Event::Ended { .. }));
    assert!(pair.is_empty());
}

#[test]
fn bye_against_reinvite_leaves_nothing() {
    for seed in 0..20 {
        let mut pair = Pair::new(Transport::Udp, 0, seed);
        let (ours, theirs) = pair.up();
        pair.ends[0].offer(pair.now, ours, OFFER.to_vec()).unwrap();
        pair.ends[1].hang_up(pair.now, theirs, None);
        pair.until(0, |e| matches!(e, Event::Ended { .. }));
        assert!(pair.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_challenge_is_answered_once() {
    use crate::sip::digest::{Algorithm, Authenticator, Verdict, Vouched};
    let mut pair = Pair::new(Transport::Udp, 0, 5);
    let mut gate =
        Authenticator::new("hulplijn", Duration::from_secs(60), &[Algorithm::Md5], Rng::from_number(1));
    pair.call();
    let first = pair.incoming();
    let challenge = gate.challenge(pair.now.at, A_HOST, false);
    let headers: Vec<(&str, String)> = challenge.into_iter().map(|c| ("WWW-Authenticate", c)).collect();
    pair.ends[1].reject(pair.now, first, 401, &headers);
    let (dialog, arrival) = pair.call_in();
    let request = arrival.request;
    let value = request.headers.get("Authorization").unwrap();
    let vouched = Vouched { method: "INVITE", uri: &request.uri, body: &request.body };
    let verdict = gate.verify(pair.now.at, A_HOST, &vouched, value, |_| Some("geheim".to_owned()));
    assert_eq!(verdict, Verdict::Ok("anna".into()));
    pair.ends[1].reject(pair.now, dialog, 401, &headers);
    assert!(matches!(pair.event(0, LONG), Some(Event::Failed { status: 401, .. })));
    assert!(pair.is_empty());
}

#[test]
fn rfc_3515_a_transfer_is_accepted_and_its_progress_told() {
    let mut pair = Pair::new(Transport::Udp, 0, 6);
    let (ours, theirs) = pair.up();
    let extra = [("Refer-To", "<sip:bart@hulplijn>".to_owned())];
    pair.ends[1].send_within(pair.now, theirs, Method::REFER, &extra, None, User::Nobody);
    let Some(Event::Refer { refer_to, .. }) = pair.event(0, LONG) else { panic!() };
    assert_eq!(refer_to, "<sip:bart@hulplijn>");
    pair.ends[0].refer_answer(pair.now, ours, Ok(()));
    pair.ends[0].refer_progress(pair.now, ours, 200, true);
    pair.run(Duration::from_secs(1));
    let told: Vec<&str> = pair
        .sent
        .iter()
        .filter(|(e, t)| *e == 0 && t.starts_with("NOTIFY"))
        .map(|(_, t)| t.as_str())
        .collect();
    assert!(told[0].ends_with("SIP/2.0 100 Trying\r\n") && told[1].ends_with("SIP/2.0 200 OK\r\n"));
    assert!(pair.count(1, "SIP/2.0 202") == 0 && pair.count(0, "SIP/2.0 202") == 1);
    pair.ends[0].hang_up(pair.now, ours, None);
    assert!(pair.is_empty());
}

#[test]
fn rfc_3515_2_4_4_our_refer_is_answered_and_told_of_until_its_last_notify() {
    for (answer, told) in [(Ok(()), vec![(100, false), (200, true)]), (Err(603), vec![])] {
        let mut pair = Pair::new(Transport::Udp, 0, 6);
        let (ours, theirs) = pair.up();
        pair.ends[0].refer(pair.now, ours, "<sip:bart@hulplijn>");
        let Some(Event::Refer { dialog, refer_to }) = pair.event(1, LONG) else { panic!() };
        assert_eq!((dialog, refer_to.as_str()), (theirs, "<sip:bart@hulplijn>"));
        pair.ends[1].refer_answer(pair.now, theirs, answer);
        let status = answer.map_or_else(|status| status, |()| 202);
        assert!(matches!(pair.event(0, LONG), Some(Event::ReferAnswered { status: s, .. }) if s == status));
        // After the last, or without a REFER that was accepted, a NOTIFY belongs to nothing (RFC 6665 4.1.3).
        for _ in 0..2 {
            pair.run(Duration::from_secs(1));
            pair.ends[1].refer_progress(pair.now, theirs, 200, true);
        }
        pair.run(Duration::from_secs(1));
        let events = std::iter::from_fn(|| pair.ends[0].poll_event());
        let progress = events.filter_map(|event| match event {
            Event::ReferProgress { status, last, .. } => Some((status, last)),
            _ => None,
        });
        assert_eq!(progress.collect::<Vec<_>>(), told);
        assert_eq!(pair.count(0, "SIP/2.0 481"), if answer.is_ok() { 1 } else { 2 });
        pair.ends[0].hang_up(pair.now, ours, None);
        pair.run(Duration::from_secs(1));
        while pair.ends[1].poll_event().is_some() {}
        assert!(pair.is_empty());
    }
}

#[test]
fn a_dialog_that_the_peer_has_forgotten_ends() {
    let mut pair = Pair::new(Transport::Udp, 0, 7);
    let (ours, theirs) = pair.up();
    pair.ends[1].drop_call(theirs);
    pair.ends[0].probe(pair.now, ours);
    assert!(matches!(pair.event(0, LONG), Some(Event::Ended { cause: EndCause::Gone, .. })));
    assert!(pair.is_empty());
}

/// A call over TCP to B whose Contact is at port 7000, acknowledged: its key and its connection.
fn over_tcp(pair: &mut Pair) -> (DialogKey, Flow) {
    let flow = Flow { key: FlowKey(77), peer: "127.0.0.1:40000".parse().unwrap(), ..pair.flow(1) };
    let invite = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1:7000;transport=tcp>\r\n", "");
    pair.give(1, flow, invite.replace("UDP", "TCP").as_bytes());
    let dialog = pair.incoming();
    pair.ends[1].accept(pair.now, dialog, ANSWER.to_vec(), false);
    let tag = std::iter::from_fn(|| pair.ends[1].poll_transmit())
        .filter_map(|t| {
            String::from_utf8_lossy(&t.bytes).split("<sip:1712@z>;tag=").nth(1).map(str::to_owned)
        })
        .find_map(|rest| rest.split("\r\n").next().map(str::to_owned));
    let ack = raw("ACK", "sip:1712@z", "", "")
        .replace("<sip:1712@z>", &format!("<sip:1712@z>;tag={}", tag.unwrap()));
    pair.give(1, flow, ack.as_bytes());
    assert!(matches!(pair.ends[1].poll_event(), Some(Event::Acked { .. })));
    (dialog, flow)
}

fn address(peer: &str) -> Destination {
    Destination::address(Transport::Tcp, peer.parse().unwrap())
}

#[test]
fn rfc_3261_18_1_1_a_bye_opens_another_connection_when_its_own_is_gone() {
    for told in [true, false] {
        let mut pair = Pair::new(Transport::Tcp, 0, 16);
        let (dialog, flow) = over_tcp(&mut pair);
        if told {
            pair.ends[1].handle_flow_closed(pair.now, flow.key);
        }
        pair.ends[1].hang_up(pair.now, dialog, None);
        let mut hops = Vec::new();
        let mut branches = Vec::new();
        while let Some(bye) = pair.ends[1].poll_transmit() {
            let text = String::from_utf8_lossy(&bye.bytes).into_owned();
            assert!(text.starts_with("BYE"), "{text}");
            branches.push(text.split("branch=").nth(1).unwrap()[..20].to_owned());
            hops.push(bye.to);
            pair.ends[1].handle_transmit_failed(pair.now, bye.to);
        }
        // At the port of its Contact; that is also where the caller was seen, so then nowhere.
        assert_eq!(hops, [Destination::Flow(flow), address("127.0.0.1:7000")]);
        branches.dedup();
        assert_eq!(branches.len(), hops.len(), "each hop has its own branch");
        assert!(pair.is_empty());
    }
}

#[test]
fn a_connection_that_is_gone_ends_no_call_and_a_request_over_a_new_one_brings_it_back() {
    let mut pair = Pair::new(Transport::Tcp, 0, 17);
    let (dialog, flow) = over_tcp(&mut pair);
    pair.ends[1].probe(pair.now, dialog);
    let _ = pair.ends[1].poll_transmit();
    pair.ends[1].handle_flow_closed(pair.now, flow.key);
    let again = pair.ends[1].poll_transmit().unwrap();
    assert!(again.bytes.starts_with(b"OPTIONS") && again.to == address("127.0.0.1:7000"));
    pair.ends[1].handle_transmit_failed(pair.now, again.to);
    assert!(pair.ends[1].poll_event().is_none() && pair.ends[1].counts().dialogs == 1);
    pair.ends[1].offer(pair.now, dialog, OFFER.to_vec()).unwrap();
    assert_eq!(pair.ends[1].poll_transmit().unwrap().to, address("127.0.0.1:7000"));
    pair.ends[1].handle_transmit_failed(pair.now, address("127.0.0.1:7000"));
    assert!(matches!(pair.ends[1].poll_event(), Some(Event::OfferFailed { status: 503, .. })));
    while pair.ends[1].poll_transmit().is_some() {}
    let call = pair.ends[1].calls.get(&dialog).unwrap();
    let to = format!("<sip:1712@z>;tag={}", call.dialog.as_ref().unwrap().id.local_tag);
    let info = raw("INFO", "sip:1712@z", "", "").replace("<sip:1712@z>", &to).replace("CSeq: 1", "CSeq: 2");
    let new = Flow { key: FlowKey(78), peer: "127.0.0.1:40001".parse().unwrap(), ..flow };
    pair.give(1, new, info.as_bytes());
    assert!(pair.ends[1].poll_transmit().unwrap().bytes.starts_with(b"SIP/2.0 200"));
    pair.ends[1].hang_up(pair.now, dialog, None);
    assert_eq!(pair.ends[1].poll_transmit().unwrap().to, Destination::Flow(new));
    pair.now = pair.now.plus(LONG);
    pair.ends[1].handle_timeout(pair.now);
    assert!(pair.is_empty());
}

#[test]
fn rfc_3261_18_2_2_an_answer_opens_another_connection_when_its_own_is_gone() {
    let mut pair = Pair::new(Transport::Tcp, 0, 18);
    let flow = Flow { key: FlowKey(77), peer: "127.0.0.1:40000".parse().unwrap(), ..pair.flow(1) };
    let invite = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1:7000;transport=tcp>\r\n", "");
    pair.give(1, flow, invite.replace("UDP 127.0.0.1:5060", "TCP 127.0.0.1:7001").as_bytes());
    let dialog = pair.incoming();
    while pair.ends[1].poll_transmit().is_some() {}
    pair.ends[1].handle_flow_closed(pair.now, flow.key);
    pair.ends[1].reject(pair.now, dialog, 486, &[]);
    assert_eq!(pair.ends[1].poll_transmit().unwrap().to, address("127.0.0.1:7001"));
    assert!(pair.is_empty());
}

/// A request of a stranger at B, written by hand.
fn raw(method: &str, uri: &str, extra: &str, body: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx1{method}\r\n\
         From: <sip:x@y>;tag=1\r\nTo: <sip:1712@z>\r\nCall-ID: raw\r\nCSeq: 1 {method}\r\n{extra}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn rfc_3261_8_2_what_cannot_be_done_is_refused_with_its_status() {
    let contact = "Contact: <sip:x@127.0.0.1>\r\n";
    let uri = "sip:1712@z";
    let to = |tag: &str, text: String| text.replace("<sip:1712@z>", &format!("<sip:1712@z>;tag={tag}"));
    let cases = [
        ("501", raw("DANCE", uri, "", "")),
        ("405", raw("SUBSCRIBE", uri, "", "")),
        ("405", raw("MESSAGE", uri, "", "")),
        ("416", raw("INVITE", "mailto:x@y", contact, "")),
        ("483", raw("INVITE", uri, &format!("{contact}Max-Forwards: 0\r\n"), "")),
        ("420", raw("INVITE", uri, &format!("{contact}Require: 100rel, precondition\r\n"), "")),
        ("420", raw("INVITE", uri, &format!("{contact}Require: replaces\r\n"), "")),
        ("415", raw("INVITE", uri, &format!("{contact}Content-Type: text/plain\r\n"), "hello")),
        (
            "415",
            raw(
                "INVITE",
                uri,
                &format!("{contact}Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n"),
                "v=0",
            ),
        ),
        ("400", raw("INVITE", uri, "", "")),
        ("482", raw("INVITE", uri, contact, "").replace("UDP 127.0.0.1:5060", "UDP 127.0.0.2:5060")),
        ("481", raw("BYE", uri, "", "")),
        ("481", raw("CANCEL", uri, "", "")),
        ("481", to("nobody", raw("BYE", uri, "", ""))),
        ("481", to("nobody", raw("INVITE", uri, contact, ""))),
        ("505", raw("OPTIONS", uri, "", "").replace("z SIP/2.0", "z SIP/7.0")),
    ];
    for (status, text) in cases {
        let mut pair = Pair::new(Transport::Udp, 0, 8);
        let flow = pair.flow(1);
        pair.give(1, flow, text.as_bytes());
        let answer = pair.ends[1].poll_transmit().unwrap_or_else(|| panic!("no answer to {text}"));
        let answer = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{text}\n{answer}");
        assert!(pair.is_empty(), "{text}");
    }
}

#[test]
fn rfc_3261_8_2_2_2_a_merged_request_gets_482_and_a_repeated_one_nothing_new() {
    let mut pair = Pair::new(Transport::Udp, 0, 9);
    let flow = pair.flow(1);
    let text = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1>\r\n", "");
    for _ in 0..3 {
        pair.give(1, flow, text.as_bytes());
    }
    let other_way = text.replace("z9hG4bKx1", "z9hG4bKx2");
    pair.give(1, flow, other_way.as_bytes());
    pair.collect();
    assert_eq!((pair.count(1, "SIP/2.0 100"), pair.count(1, "SIP/2.0 482")), (3, 1));
    assert_eq!(pair.calls_in.len(), 1);
}

#[test]
fn rfc_3261_9_2_the_answers_to_invite_and_cancel_have_the_same_tag() {
    let mut pair = Pair::new(Transport::Udp, 0, 12);
    let flow = pair.flow(1);
    let invite = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1>\r\n", "");
    let branch = invite.split("branch=").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let cancel = raw("CANCEL", "sip:1712@z", "", "");
    let own = cancel.split("branch=").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let cancel = cancel.replace(own, branch);
    let tag =
        |text: &str| text.split(";tag=").nth(2).and_then(|rest| rest.split("\r\n").next()).map(str::to_owned);
    for text in [&invite, &cancel] {
        pair.give(1, flow, text.as_bytes());
    }
    let answers: Vec<String> = std::iter::from_fn(|| pair.ends[1].poll_transmit())
        .map(|transmit| String::from_utf8_lossy(&transmit.bytes).into_owned())
        .collect();
    let tags: Vec<Option<String>> = ["SIP/2.0 200", "SIP/2.0 487"]
        .iter()
        .map(|s| tag(answers.iter().find(|a| a.starts_with(s)).unwrap()))
        .collect();
    assert!(tags[0].is_some() && tags[0] == tags[1], "{answers:?}");
}

#[test]
fn a_full_table_answers_503_and_grows_no_further() {
    let mut pair = Pair::new(Transport::Udp, 0, 10);
    let flow = pair.flow(1);
    for n in 0..300 {
        let text = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1>\r\n", "")
            .replace("z9hG4bKx1", &format!("z9hG4bKx{n}y"))
            .replace("Call-ID: raw", &format!("Call-ID: raw{n}"));
        pair.give(1, flow, text.as_bytes());
    }
    pair.collect();
    assert_eq!(pair.ends[1].counts().dialogs, 100);
    assert_eq!(pair.count(1, "SIP/2.0 503"), 200);
}

#[test]
fn rfc_3261_8_1_1_6_more_vias_than_hops_get_400_and_no_answer_is_larger_than_its_request() {
    for (vias, status) in [(70, "481"), (71, "400"), (500, "400")] {
        let mut pair = Pair::new(Transport::Udp, 0, 15);
        let flow = pair.flow(1);
        let others = ",SIP/2.0/UDP a".repeat(vias - 1);
        let text = raw("BYE", "sip:z", &format!("Subject: {}\r\n", "x".repeat(100)), "");
        let text = text.replace("x1BYE", &format!("x1BYE{others}"));
        pair.give(1, flow, text.as_bytes());
        let answer = pair.ends[1].poll_transmit().unwrap();
        let shown = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(
            shown.starts_with(&format!("SIP/2.0 {status}")) && shown.matches("SIP/2.0/UDP").count() == vias
        );
        assert!(shown.len() < text.len() + vias, "{} for {}", shown.len(), text.len());
        assert!(pair.is_empty());
    }
}

#[test]
fn rfc_3261_8_2_7_what_is_answered_without_a_transaction_is_answered_once_a_request_and_its_ack_is_known() {
    let mut pair = Pair::new(Transport::Udp, 0, 19);
    let flow = pair.flow(1);
    let invite = raw("INVITE", "sip:1712@z", "Contact: <sip:x@127.0.0.1>\r\n", "");
    let mut tags = Vec::new();
    for text in [&invite, &invite, &invite.replace("Call-ID: raw", "Call-ID: other")] {
        let arrival = pair.ends[1].handle_message(pair.now, flow, text.as_bytes()).unwrap();
        pair.ends[1].reply(&arrival, 403, &[]);
        let answer = pair.ends[1].poll_transmit().unwrap();
        let answer = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(answer.starts_with("SIP/2.0 403"), "{answer}");
        tags.push(answer.split("<sip:1712@z>;tag=").nth(1).unwrap().split("\r\n").next().unwrap().to_owned());
        assert!(matches!(pair.ends[1].poll_event(), Some(Event::Refused { status: 403 })));
    }
    assert!(tags[0] == tags[1] && tags[1] != tags[2] && tags[0].len() == 8, "{tags:?}");
    assert_eq!(pair.ends[1].counts(), Counts::default(), "nothing is kept and nothing repeated");
    // The ACK of the hop before us: the INVITE's branch and number.
    let ack = |tag: &str| {
        let to = format!("<sip:1712@z>;tag={tag}");
        raw("ACK", "sip:1712@z", "", "").replace("x1ACK", "x1INVITE").replace("<sip:1712@z>", &to)
    };
    pair.give(1, flow, ack(&tags[0]).as_bytes());
    assert!(pair.ends[1].is_drained());
    pair.give(1, flow, ack(&tags[2]).as_bytes());
    assert!(matches!(pair.ends[1].poll_event(), Some(Event::Dropped { reason: Dropped::StrayAck })));
}

#[test]
fn a_bye_finds_room_when_calls_and_requests_fill_the_table_and_goes_out_even_without() {
    let mut pair = Pair::new(Transport::Udp, 0, 20);
    let (flow, mut last) = (pair.flow(1), None);
    for n in 0..300 {
        let method = if n % 3 == 0 { "INVITE" } else { "REGISTER" };
        let text = raw(method, "sip:1712@z", "Contact: <sip:x@127.0.0.1>\r\n", "")
            .replace("z9hG4bKx1", &format!("z9hG4bKx{n}y"))
            .replace("Call-ID: raw", &format!("Call-ID: raw{n}"));
        pair.give(1, flow, text.as_bytes());
        if let Some((dialog, _)) = pair.calls_in.pop_front() {
            pair.ends[1].accept(pair.now, dialog, ANSWER.to_vec(), false);
            last = Some(dialog);
        }
    }
    pair.collect();
    let full = pair.ends[1].counts().transactions;
    assert!(full == 150 && pair.ends[1].slots.capacity() == 200, "{full}");
    assert!(pair.requests_in.len() < 100 && pair.count(1, "SIP/2.0 503 ") > 100);
    let last = last.unwrap();
    for _ in 0..60 {
        pair.ends[1].calls.get_mut(&last).unwrap().ok = None;
        pair.ends[1].probe(pair.now, last);
    }
    assert_eq!(pair.ends[1].counts().transactions, 200);
    pair.ends[1].hang_up(pair.now, last, None);
    pair.collect();
    assert_eq!(pair.count(1, "BYE"), 1);
}

#[test]
fn rfc_3581_answers_go_to_the_source_port_when_asked_else_to_the_port_of_via() {
    let mut pair = Pair::new(Transport::Udp, 0, 11);
    let flow = Flow { peer: "10.0.0.9:40000".parse().unwrap(), ..pair.flow(1) };
    let plain = raw("OPTIONS", "sip:z", "", "").replace("127.0.0.1:5060", "10.0.0.9:5062");
    let cases =
        [(plain.clone(), "10.0.0.9:5062"), (plain.replace(";branch", ";rport;branch"), "10.0.0.9:40000")];
    for (text, hop) in cases {
        let text = text.replace("x1OPTIONS", hop);
        pair.give(1, flow, text.as_bytes());
        let tx = pair.requests_in.pop_front().unwrap();
        pair.ends[1].respond(pair.now, tx, 200, &[]);
        let answer = pair.ends[1].poll_transmit().unwrap();
        assert_eq!(answer.to.peer(), hop.parse().unwrap());
        // So it is with an answer that nothing is kept of.
        for refused in [text.replace("OPTIONS", "BYE"), text.replace("CSeq: 1", "CSeq: x")] {
            pair.give(1, flow, refused.as_bytes());
            let answer = pair.ends[1].poll_transmit().unwrap();
            while pair.ends[1].poll_event().is_some() {}
            assert!(answer.bytes.starts_with(b"SIP/2.0 4") && answer.to.peer() == hop.parse().unwrap());
        }
    }
}

/// What the network says of the caller is handed on once; the transaction, which lives half a minute longer than
/// it is needed, keeps only what an answer repeats (8.2.6).
#[test]
fn no_transaction_keeps_who_the_network_says_is_calling() {
    let mut pair = Pair::new(Transport::Udp, 0, 1);
    let invite = format!(
        "INVITE sip:1712@{B} SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bK1\r\nVia: SIP/2.0/UDP h\r\n\
         Record-Route: <sip:{A};lr>\r\nFrom: <sip:x@h>;tag=1\r\nTo: <sip:1712@{B}>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{A}>\r\nP-Asserted-Identity: <tel:+3291234567>\r\nSubject: help\r\nX-Other: +3291234567\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let flow = pair.flow(1);
    pair.give(1, flow, invite.as_bytes());
    let (dialog, Arrival { request, .. }) = pair.call_in();
    assert!(request.headers.get("P-Asserted-Identity").is_some(), "handed on");
    let kept: Vec<&Request> =
        pair.ends[1].slots.iter().filter_map(|(_, slot)| slot.request.as_deref()).collect();
    let names: Vec<&str> = kept.iter().flat_map(|r| r.headers.iter().map(|(name, _)| name)).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(names, ["Via", "Via", "Record-Route", "From", "To", "Call-ID", "CSeq", "Contact"]);
    pair.ends[1].accept(pair.now, dialog, ANSWER.to_vec(), false);
    pair.collect();
    let answer = pair.sent.iter().map(|(_, text)| text).find(|t| t.starts_with("SIP/2.0 200")).unwrap();
    assert!(answer.contains("Record-Route: <sip:") && answer.matches("Via: ").count() == 2, "{answer}");
}
