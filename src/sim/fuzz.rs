//! What the fuzz targets do with bytes: each function takes anything and panics only when a promise is
//! broken. The targets in `fuzz/` call them, and `tests/fuzz_short.rs` does with mutated real messages, so that
//! they are compiled and run in every test.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::id::{FlowKey, LegKey, Rng, TakeKey};
use crate::base::secret::Secret;
use crate::base::time::Now;
use crate::media::command::{Origin, Stream};
use crate::media::leg::{MAX_PACKET, MediaLeg};
use crate::sdp::offer_answer::{self, Local, Negotiation, Security, Srtp};
use crate::sdp::session::{Session, Way};
use crate::sdp::webrtc::OurWeb;
use crate::sip::digest::{Algorithm, Authenticator, Vouched};
use crate::sip::endpoint::{Arrival, Config, Endpoint, Event, News};
use crate::sip::event::{Ending, Wish};
use crate::sip::flow::{Flow, Transport};
use crate::sip::header::{CSeq, NameAddr, Via, split_list};
use crate::sip::header_ext::{Privacy, RAck, Reason, ReferTo, Replaces, SessionExpires};
use crate::sip::uri::Uri;
use crate::sip::wire::frame::{Frame, StreamFramer};
use crate::sip::wire::message::{Message, Method};
use crate::sip::wire::parse::{Bounds, Parsed, parse, parse_within};
use crate::sip::wire::print::print;

/// Bytes of one SIP message, as the shipped configuration has it.
const MESSAGE: usize = 16_384;
/// Transactions of the fuzzed endpoint; it must never hold more.
const TRANSACTIONS: usize = 64;
/// Dialogs of the fuzzed endpoint.
const DIALOGS: usize = 16;
/// And its subscriptions.
const SUBSCRIPTIONS: usize = 8;
const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n";

/// A datagram: what is read and printed is read as the same again, field by field.
pub fn datagram(bytes: &[u8]) {
    let Parsed::Ok(message) = parse(bytes) else { return };
    let headers = match &message {
        Message::Request(request) => {
            uri(request.uri.as_bytes());
            &request.headers
        }
        Message::Response(response) => &response.headers,
    };
    headers.iter().for_each(|(_, value)| header(value.as_bytes()));
    let Ok(printed) = print(&message) else { return };
    // The printer may have written one field more than came.
    let bounds = Bounds { headers: Bounds::default().headers + 1, ..Bounds::default() };
    let Parsed::Ok(again) = parse_within(&printed, bounds) else { panic!("what was printed can't be read") };
    // Only Content-Length, which the printer writes itself, may stand elsewhere than it did.
    assert!(print(&again).is_ok_and(|twice| twice == printed), "a message changes each time it is printed");
}

/// A stream: however it is cut, the same messages come of it. The first two bytes say where it is cut.
pub fn stream(bytes: &[u8]) {
    let [first, second, rest @ ..] = bytes else { return };
    let whole = frames(rest, &[]);
    let at = (usize::from(*first) << 8 | usize::from(*second)) % (rest.len() + 1);
    assert!(frames(rest, &[at]) == whole, "cut at {at}");
    let every: Vec<usize> = (1..rest.len()).collect();
    assert!(frames(rest, &every) == whole, "byte by byte");
}

/// What is cut from a stream that arrives in pieces which end at `cuts`.
fn frames(bytes: &[u8], cuts: &[usize]) -> Vec<Frame> {
    let mut framer = StreamFramer::new(MESSAGE);
    let mut found = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        framer.push(bytes.get(from..to).unwrap_or_default());
        from = to;
        while let Some(frame) = framer.next() {
            found.push(frame);
        }
    }
    found
}

pub use crate::net::websocket_fuzz::websocket;

/// A URI: its printed form is equivalent to it (RFC 3261 19.1.4), and equivalence has two sides.
pub fn uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(parsed) = Uri::parse(text) else { return };
    let _ = (parsed.user(), parsed.transport(), crate::sip::target::plan(&parsed, &[Transport::Udp]));
    let printed = parsed.to_string();
    let Ok(again) = Uri::parse(&printed) else { panic!("a printed URI can't be read") };
    assert!(again.to_string() == printed, "a URI changes each time it is printed");
    assert!(parsed.equivalent(&again) == again.equivalent(&parsed), "equivalence has one side only");
}

/// A header value, read as each kind that there is.
pub fn header(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for value in split_list(text).take(100) {
        name_addr(value.as_bytes());
        if let Ok(via) = Via::parse(value) {
            let Ok(again) = Via::parse(&via.to_string()) else { panic!("a printed Via") };
            assert!(again.branch() == via.branch(), "a branch changes when it is printed");
        }
        let _ = (CSeq::parse(value), RAck::parse(value), SessionExpires::parse(value));
        let _ = (Replaces::parse(value), ReferTo::parse(value), Privacy::parse(value));
        Reason::parse_all(value).for_each(drop);
    }
}

/// An address with or without a name: printed and read again it is the same, and nothing of its name is taken for
/// its address or its parameters.
pub fn name_addr(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(address) = NameAddr::parse(text) else { return };
    let printed = address.to_string();
    let Ok(again) = NameAddr::parse(&printed) else { panic!("a printed name-addr can't be read") };
    assert!(again.to_string() == printed, "a name-addr changes each time it is printed");
    assert!(again.display == address.display, "a name changes when it is printed");
    assert!(again.tag() == address.tag(), "a tag changes when it is printed");
    assert!(again.uri == address.uri, "an address changes when it is printed");
    uri(printed.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or("").as_bytes());
}

/// A session description: as an offer, and as the answer to ours.
pub fn sdp(bytes: &[u8]) {
    let local = || {
        let codecs = vec![offer_answer::Codec::Pcma, offer_answer::Codec::Opus, offer_answer::Codec::G722];
        Negotiation::new(
            Local {
                address: ours().ip(),
                port: 20_000,
                session_id: 1,
                codecs,
                dtmf: true,
                noise: true,
                rtcp_mux: false,
                security: Security::new(Srtp::Optional, true, &[], &mut Rng::from_number(1)),
                web: Some(OurWeb {
                    fingerprint: [7; 32],
                    seed: Secret::random(&mut Rng::from_number(2), 32),
                }),
                own_ports: 20_000..=20_999,
            },
            theirs().ip(),
        )
    };
    let mut answering = local();
    if let Ok((answer, _)) = answering.answer(bytes) {
        // RFC 3264 6: an answer has as many media as its offer, in the same order.
        let (Ok(offer), Ok(answer)) = (Session::parse(bytes), Session::parse(&answer)) else {
            panic!("an answer of ours can't be read")
        };
        assert!(answer.media.len() == offer.media.len(), "an answer has other media than its offer");
    }
    let mut offering = local();
    let (_, pending) = offering.offer(Way::SendRecv);
    let _ = offering.accept_answer(pending, bytes);
}

/// Credentials: none that were not made with the password are taken.
pub fn digest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = beginning();
    let algorithms = [Algorithm::Sha256, Algorithm::Md5];
    let mut door = Authenticator::new("hulplijn", Duration::from_secs(60), &algorithms, Rng::from_number(1));
    let _ = door.challenge(now.at, theirs().ip(), false);
    let verdict = door.verify(now.at, theirs().ip(), &Vouched::bare("REGISTER", "sip:h"), text, |_| {
        Some("never guessed".to_owned())
    });
    assert!(!matches!(verdict, crate::sip::digest::Verdict::Ok(_)), "taken without the password");
    assert!(door.nonces() == 0, "a nonce of somebody unproven is held");
}

/// Datagrams at a leg's RTP and RTCP ports, with the clock between them: `[length][where from][bytes]…`.
pub fn media(bytes: &[u8]) {
    let mut now = beginning();
    let origin = Origin { ssrc: 7, sequence: 1, timestamp: 1, cname: 1 };
    let mut leg = MediaLeg::new(now, LegKey(1), origin);
    let (peer, stranger) = (theirs(), SocketAddr::from(([127, 0, 0, 9], 4000)));
    leg.connect(Stream::g711(peer));
    leg.record(now, TakeKey(1), Duration::from_secs(5), Some(Duration::from_secs(2)), Some('#'));
    leg.bridge();
    let mut rest = bytes;
    let mut out = [0; MAX_PACKET];
    while let [length, whence, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let from = if whence & 1 == 0 { peer } else { stranger };
        if whence & 2 == 0 {
            if let Some(heard) = leg.handle_rtp(now, from, &mut packet.to_vec()) {
                let _ = leg.relay(now, &heard, &mut out);
            }
        } else {
            leg.handle_rtcp(now, from, &mut packet.to_vec());
        }
        now = now.plus(Duration::from_millis(u64::from(whence >> 2)));
        let _ = leg.tick(now, &mut out);
        let mut events = 0;
        while leg.poll_event().is_some() || leg.poll_take().is_some() {
            events += 1;
        }
        assert!(events < 1000, "more events than anything can cause");
    }
}

/// Messages from a stranger, one after the other as a stream brings them: the endpoint stays within its
/// bounds, and forgets everything when they stop.
pub fn endpoint(bytes: &[u8]) {
    let mut now = beginning();
    let config = Config {
        agent: "fuzz",
        bounds: Bounds::default(),
        max_transactions: TRANSACTIONS,
        max_dialogs: DIALOGS,
        max_subscriptions: SUBSCRIPTIONS,
        session: Duration::from_secs(1800),
    };
    let mut endpoint = Endpoint::new(config, Rng::from_number(1));
    let transport = Transport::Udp;
    let flow = Flow { key: FlowKey(1), transport, local: ours(), peer: theirs() };
    for frame in frames(bytes, &[]) {
        let Frame::Message(message) = frame else { continue };
        if let Some(arrival) = endpoint.handle_message(now, flow, &message) {
            take_in(now, &mut endpoint, &arrival);
        }
        serve(now, &mut endpoint);
        let counts = endpoint.counts();
        assert!(counts.transactions <= TRANSACTIONS && counts.dialogs <= DIALOGS, "beyond the bounds");
        assert!(counts.subscriptions <= SUBSCRIPTIONS, "beyond the bounds");
        now = now.plus(Duration::from_millis(200));
        endpoint.handle_timeout(now);
    }
    // An hour and more: every transaction and every call without an ACK is over.
    for _ in 0..200 {
        now = now.plus(Duration::from_secs(20));
        endpoint.handle_timeout(now);
        serve(now, &mut endpoint);
    }
    let counts = endpoint.counts();
    assert!(counts.transactions == 0 && counts.subscriptions == 0, "something that never ends");
}

/// Every call is taken, every other request refused.
fn take_in(now: Now, endpoint: &mut Endpoint, arrival: &Arrival) {
    if arrival.request.method == Method::INVITE {
        if let Some(dialog) = endpoint.admit_call(now, arrival) {
            endpoint.accept(now, dialog, SDP.to_vec(), false);
        }
    } else if arrival.request.method == Method::SUBSCRIBE {
        let Ok(wish) = Wish::read(&arrival.request.headers) else { return };
        if let Some(key) = endpoint.subscribe(now, arrival, &wish) {
            let _ = endpoint.notify(now, key, "text/plain", Vec::new());
        }
    } else if let Some(tx) = endpoint.admit_request(now, arrival) {
        endpoint.respond(now, tx, 404, &[]);
    }
}

/// Declines what is offered.
fn serve(now: Now, endpoint: &mut Endpoint) {
    while let Some(event) = endpoint.poll_event() {
        match event {
            Event::Offer { dialog, .. } => endpoint.answer_offer(now, dialog, Err(488), false),
            Event::Subscription { subscription, news: News::Over } => {
                endpoint.end_subscription(now, subscription, Ending::Timeout, None);
            }
            Event::Refer { dialog, .. } => endpoint.refer_answer(now, dialog, Err(403)),
            _ => {}
        }
    }
    while endpoint.poll_transmit().is_some() {}
}

fn ours() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5060))
}

fn theirs() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], 5060))
}

/// The clocks at the beginning of a run.
pub(super) fn beginning() -> Now {
    Now { utc: chrono::DateTime::UNIX_EPOCH, ..Now::read() }
}
