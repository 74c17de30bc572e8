//! "Bad input, and what it gets", of the running switch: what a stranger, a broken carrier or a broken phone may
//! send, and that nobody else is the worse for it.

mod support;

use std::io::{ErrorKind, Write as _};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use support::peer::connect;
use support::rtp::{FRAME, SILENCE, in_order};
use support::server::{HELPLINE, wait_until};
use support::{
    Algorithm, Challenge, Dialog, Message, PATIENCE, Peer, Registration, Rtp, Sdp, Server, Site, prompts,
};

/// An INVITE for `wait` with some more header lines and this body.
fn invite(dialog: &mut Dialog, more: &[&str], body: &str) -> String {
    dialog.request("INVITE", more, body)
}

/// Sends a request of a new call and gives its final answer.
fn reaction(carrier: &mut Peer, write: impl FnOnce(&mut Dialog) -> String) -> Message {
    let mut dialog = Dialog::to(carrier, "wait");
    let request = write(&mut dialog);
    carrier.send(&request);
    let owns = |m: &Message| m.call_id() == dialog.call_id;
    let answer = carrier.wait("a final answer", |m| owns(m) && m.status().is_some_and(|s| s >= 200));
    if answer.cseq_method() == "INVITE" {
        carrier.send(&dialog.ack_refusal(&answer));
    }
    carrier.options();
    answer
}

/// The status, a header that must come with it, and the request.
type Case<'a> = (u16, &'a str, Box<dyn Fn(&mut Dialog) -> String + 'a>);

const SDP: &str = "Content-Type: application/sdp";

#[test]
fn each_kind_of_bad_request_gets_its_status_and_the_header_that_explains_it() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let rtp = Rtp::bind(server.place().host(2));
    let good = Sdp::pcma(rtp.local).text();
    let g729 = Sdp { codecs: "18", ..Sdp::pcma(rtp.local) }.text();
    let video = good.replace("m=audio", "m=video");
    let cut = |text: String, line: &str| {
        let kept = text.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\r\n"));
        kept.collect::<String>()
    };
    let plain = |method: &'static str| move |d: &mut Dialog| d.request(method, &[], "");
    let cases: Vec<Case> = vec![
        (400, "", Box::new(|d| cut(d.request("INVITE", &[SDP], &good), "Contact"))),
        (400, "", Box::new(|d| d.request("OPTIONS", &[], "").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"))),
        (
            400,
            "",
            Box::new(|d| d.request("OPTIONS", &[], "").replace("Content-Length: 0", "Content-Length: 9")),
        ),
        (400, "", Box::new(|d| d.request("OPTIONS", &["no colon in this line"], ""))),
        (400, "", Box::new(|d| invite(d, &[SDP], "this is no SDP"))),
        (401, "WWW-Authenticate: Digest", Box::new(plain("SUBSCRIBE"))),
        (405, "Allow: INVITE", Box::new(plain("MESSAGE"))),
        (405, "Allow: INVITE", Box::new(plain("PUBLISH"))),
        (
            501,
            "Allow: INVITE",
            Box::new(|d| {
                d.request(
                    "DANCE",
                    &["User-Agent: a phone that has a name as long as its answer is to be"; 2],
                    "",
                )
            }),
        ),
        (505, "", Box::new(|d| d.request("OPTIONS", &[], "").replacen(" SIP/2.0", " SIP/3.0", 1))),
        (415, "Accept: application/sdp", Box::new(|d| invite(d, &["Content-Type: text/plain"], "hello"))),
        (488, "", Box::new(|d| invite(d, &[SDP], &g729))),
        (488, "", Box::new(|d| invite(d, &[SDP], &video))),
        (416, "", Box::new(|d| invite(d, &[SDP], &good).replacen("sip:wait@", "http:wait@", 1))),
        (420, "Unsupported: teleport", Box::new(|d| invite(d, &["Require: teleport", SDP], &good))),
        (483, "", Box::new(|d| invite(d, &[SDP], &good).replace("Max-Forwards: 70", "Max-Forwards: 0"))),
        (404, "", Box::new(|d| invite(d, &[SDP], &good).replacen("sip:wait@", "sip:0900@", 1))),
        (481, "", Box::new(plain("BYE"))),
        (481, "", Box::new(plain("INFO"))),
        (481, "", Box::new(plain("CANCEL"))),
        (
            481,
            "",
            Box::new(|d| invite(d, &[SDP], &good).replacen("\r\nCall-ID", ";tag=nobody\r\nCall-ID", 1)),
        ),
    ];
    let mut refused = 0.0;
    for (status, header, write) in cases {
        let answer = reaction(&mut carrier, write);
        assert_eq!(answer.status(), Some(status), "{}", answer.text);
        let (name, value) = header.split_once(": ").unwrap_or(("Via", "SIP/2.0"));
        assert!(answer.header(name).contains(value), "{header} is not in {}", answer.text);
        refused += 1.0;
    }
    let (_, text) = server.get("/metrics");
    let counts = text.lines().filter(|l| l.starts_with("hulplijn_sip_refused_total"));
    let counted: f64 = counts.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(counted >= refused, "{refused} were refused, but:\n{text}");
    let mut ear = Rtp::bind(server.place().host(2));
    let (_, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    ear.hear_until("a prompt", |ear| !ear.heard.is_empty());
}

#[test]
fn what_can_not_be_read_is_dropped_and_counted() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let good = Dialog::to(&carrier, "wait").request("OPTIONS", &[], "");
    let garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 500],
        (0..=255).collect(),
        good.replace("Via:", "Vie:").into_bytes(),
        good.replace("Call-ID:", "Call:").into_bytes(),
        b"OPTIONS sip:x SIP/2.0\r\n\r\n".to_vec(),
    ];
    for bytes in &garbage {
        carrier.send_bytes(bytes);
        assert_eq!(carrier.options(), []);
    }
    server.wait_metric(r#"hulplijn_dropped_total{reason="unreadable"}"#, garbage.len() as f64);
    // Keep-alives (RFC 5626) are no faults; responses and ACKs of nothing are.
    for text in ["\r\n\r\n", "\r\n", "\0\0\0\0"] {
        carrier.send(text);
    }
    carrier.send(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKno\r\nFrom: <sip:a@b>;tag=1\r\n\
                  To: <sip:c@d>;tag=2\r\nCall-ID: nothing\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    );
    let mut dialog = Dialog::to(&carrier, "wait");
    carrier.send(&dialog.request("ACK", &[], ""));
    assert_eq!(carrier.options(), []);
    server.wait_metric(r#"hulplijn_dropped_total{reason="stray_response"}"#, 1.0);
    server.wait_metric(r#"hulplijn_dropped_total{reason="stray_ack"}"#, 1.0);
}

#[test]
fn a_request_that_comes_by_two_ways_gets_482_on_the_second() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let rtp = Rtp::bind(server.place().host(2));
    let mut dialog = Dialog::to(&carrier, "wait");
    let first = dialog.invite(&Sdp::pcma(rtp.local));
    let second = first.replace(&dialog.branch, "z9hG4bKotherway");
    carrier.send(&first);
    carrier.send(&second);
    let merged = carrier.wait("482", |m| m.header("Via").contains("otherway") && m.answers("INVITE", 482));
    assert!(dialog.owns(&merged));
    let answer = carrier.wait("200", |m| m.answers("INVITE", 200));
    assert!(answer.header("Via").contains(&dialog.branch));
}

#[test]
fn only_the_carrier_may_call_and_a_code_asks_anybody_for_a_password() {
    let server = Server::helpline("");
    let mut stranger = server.phone(200);
    let rtp = Rtp::bind(server.place().host(200));
    for (number, status) in [("wait", 403), ("anna", 403), ("0900", 403), ("*72", 401)] {
        let refusal = Dialog::refused(&mut stranger, number, &Sdp::pcma(rtp.local));
        assert_eq!(refusal.status(), Some(status), "{number}");
    }
    assert!(server.metric("hulplijn_calls_arrived_total") < 1.0);
}

#[test]
fn md5_and_sha_256_are_offered_and_a_used_or_strange_nonce_is_not_taken_again() {
    let server = Server::helpline("");
    for (host, algorithm) in [(4, Algorithm::Sha256), (5, Algorithm::Md5)] {
        let mut phone = server.phone(host);
        let mut registration = Registration::new(&phone, "anna", "geheim-anna");
        let mut challenge = registration.succeed(&mut phone, algorithm);
        server.wait_metric("hulplijn_lines_registered", 1.0);
        // A refresh with the next count is taken; the same count again is a replay.
        assert_eq!(registration.register(&mut phone, Some(&mut challenge)).status(), Some(200));
        challenge.count -= 1;
        assert_eq!(registration.register(&mut phone, Some(&mut challenge)).status(), Some(401));
        // A nonce that is not ours: 401 with `stale` is a challenge, no accusation.
        let mut made_up = Challenge { nonce: challenge.nonce.replace('0', "1"), ..challenge.clone() };
        assert_eq!(registration.register(&mut phone, Some(&mut made_up)).status(), Some(401));
        registration.expires = 0;
        registration.succeed(&mut phone, algorithm);
        server.wait_metric_is("hulplijn_lines_registered", 0.0);
    }
}

#[test]
fn a_wrong_password_gets_401_again_after_a_delay_that_grows_and_others_wait_for_nothing() {
    let server = Server::helpline("");
    let mut thief = server.phone(66);
    let mut phone = server.phone(4);
    for (name, fault) in [("anna", 1), ("nobody", 2), ("anna", 3)] {
        let mut registration = Registration::new(&thief, name, "geraden");
        let refusal = registration.register(&mut thief, None);
        let mut challenge = Challenge::of(&refusal, Algorithm::Sha256);
        let asked = Instant::now();
        let expires = format!("Expires: {}", registration.expires);
        let target = registration.dialog.target.clone();
        let proof = challenge.answer("REGISTER", &target, name, "geraden");
        thief.send(&registration.dialog.request("REGISTER", &[&expires, &proof], ""));
        // Nothing of it for now; everybody else, and everything else, is served at once.
        assert_eq!(phone.options(), []);
        assert_eq!(thief.options(), []);
        let answer = registration.dialog.await_final(&mut thief, "REGISTER");
        assert_eq!(answer.status(), Some(401), "{name}");
        let least = Duration::from_millis(500) * 2u32.pow(fault - 1);
        assert!(asked.elapsed() >= least, "{name}: refused after {:?} already", asked.elapsed());
    }
    server.wait_metric("hulplijn_auth_failures_total", 3.0);
    Registration::new(&phone, "anna", "geheim-anna").succeed(&mut phone, Algorithm::Sha256);
    server.wait_metric("hulplijn_lines_registered", 1.0);
}

#[test]
fn a_flood_of_calls_gets_503_with_retry_after_and_the_call_in_progress_goes_on() {
    let toml = HELPLINE.replace("calls-per-second = 1000", "calls-per-second = 5");
    let server = Site::new(&toml).start();
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (mut call, to) = Dialog::call(&mut carrier, "loop", &Sdp::pcma(ear.local));
    let mut flood: Vec<Dialog> = (0..100).map(|_| Dialog::to(&carrier, "wait")).collect();
    for dialog in &mut flood {
        let text = dialog.invite(&Sdp::pcma(ear.local));
        carrier.send(&text);
    }
    let mut refused = 0;
    for dialog in &mut flood {
        let answer = dialog.await_final(&mut carrier, "INVITE");
        if answer.status() == Some(503) {
            assert!(!answer.header("Retry-After").is_empty(), "{}", answer.text);
            carrier.send(&dialog.ack_refusal(&answer));
            refused += 1;
        } else {
            dialog.learn(&answer);
            carrier.send(&dialog.ack(None));
        }
    }
    assert!(refused > 0, "none of 100 calls at once was refused");
    assert!(server.metric(r#"hulplijn_failures_total{part="overload"}"#) >= f64::from(refused));
    let heard = ear.heard.len();
    ear.stay_until(to, "the prompt that goes on", |ear| ear.heard.len() > heard + 20);
    call.bye(&mut carrier);
}

#[test]
fn past_the_limit_of_calls_the_next_gets_503_until_one_has_ended() {
    let server = Site::new(&HELPLINE.replace("calls = 50", "calls = 2")).start();
    let mut carrier = server.carrier();
    let rtp = Rtp::bind(server.place().host(2));
    let sdp = Sdp::pcma(rtp.local);
    let (mut first, _) = Dialog::call(&mut carrier, "wait", &sdp);
    let (_second, _) = Dialog::call(&mut carrier, "wait", &sdp);
    let refusal = Dialog::refused(&mut carrier, "wait", &sdp);
    assert_eq!(refusal.status(), Some(503));
    assert!(!refusal.header("Retry-After").is_empty());
    first.bye(&mut carrier);
    Dialog::call(&mut carrier, "wait", &sdp);
}

#[test]
fn rtp_from_elsewhere_and_broken_rtp_are_dropped_and_counted_and_nobody_hears_them() {
    let server = Server::helpline("");
    let (mut carrier, mut line) = (server.carrier(), server.phone(3));
    let mut caller = Rtp::bind(server.place().host(2));
    let mut counsellor = Rtp::bind(server.place().host(3));
    let mut thief = Rtp::bind(server.place().host(66));
    thief.ssrc = 0xbad;
    let (mut dialog, to) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(caller.local));
    let (_answered, _, line_to) = Dialog::answer(&mut line, &Sdp::pcma(counsellor.local));
    let [voice, words, lies] = ["caller", "counsellor", "thief"].map(|n| prompts::noise(n, 100 * FRAME));
    // Both speak until the bridge is there.
    let silence = [SILENCE; FRAME];
    wait_until(
        || {
            caller.say(to, &silence);
            counsellor.say(line_to, &silence);
            !counsellor.heard.is_empty() && server.err.count(|l| l.contains("event=\"joined\"")) == 1
        },
        || "no bridge".to_owned(),
    );
    let bad_packets: [&[u8]; 5] = [&[0x80], &[0; 12], &[0xff; 40], &[0x80, 8, 0, 1], &[]];
    for n in 0..100 {
        let frame = n * FRAME..(n + 1) * FRAME;
        thief.send(to, &lies[frame.clone()]);
        thief.send(line_to, &lies[frame.clone()]);
        caller.send_raw(to, bad_packets[n % bad_packets.len()]);
        caller.say(to, &voice[frame.clone()]);
        counsellor.say(line_to, &words[frame]);
    }
    caller.stay_until(to, "the counsellor", |ear| in_order(&ear.audio(), &words[20 * FRAME..]));
    counsellor.stay_until(line_to, "the caller", |ear| in_order(&ear.audio(), &voice[20 * FRAME..]));
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_rtp_packets_total{kind="foreign"}"#, 200.0);
    server.wait_metric(r#"hulplijn_rtp_packets_total{kind="malformed"}"#, 60.0);
    for ear in [&caller, &counsellor] {
        assert!(!(0..100).any(|n| ear.has_heard(&lies[n * FRAME..(n + 1) * FRAME])), "the thief was heard");
    }
    assert!(!thief.hear(Instant::now() + Duration::from_millis(1)), "the thief was sent audio");
}

#[test]
fn an_oversized_message_is_dropped_on_udp_and_ends_the_connection_on_tcp() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let big = "x".repeat(64_000);
    let request = Dialog::to(&carrier, "wait").request("OPTIONS", &[&format!("X-Big: {big}")], "");
    carrier.send(&request);
    assert_eq!(carrier.options(), [], "larger than a phone or carrier ever sends");
    let mut stream = Peer::tcp(server.place().host(2), server.sip());
    stream.send("INVITE sip:wait@x SIP/2.0\r\nContent-Length: 900000000\r\n");
    stream.send(&format!("Subject: {big}{big}\r\n"));
    stream.wait_closed();
    server.wait_metric(r#"hulplijn_dropped_total{reason="too_big"}"#, 2.0);
    assert_eq!(carrier.options(), []);
}

#[test]
fn a_client_that_never_reads_is_parted_with_and_leaves_everyone_else_served() {
    let server = Server::helpline("");
    let mut other = Peer::tcp(server.place().host(5), server.sip());
    let mut stream = connect(server.place().host(66), server.sip());
    stream.set_nonblocking(true).expect("a stream");
    let request = Dialog::to(&other, "wait").request("OPTIONS", &[], "");
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    loop {
        assert!(Instant::now() < deadline, "still connected after {written} bytes");
        match stream.write(request.as_bytes()) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // The switch has stopped reading: exactly now others must be served.
                assert_eq!(other.options(), []);
            }
            Err(_) => break,
        }
    }
    server.wait_metric(r#"hulplijn_dropped_total{reason="slow_reader"}"#, 1.0);
    assert_eq!(other.options(), []);
}

#[test]
fn connections_that_send_drop_by_drop_are_closed_and_leave_everyone_else_served() {
    let server = Server::helpline("");
    let mut slow: Vec<Peer> = (0..20).map(|n| Peer::tcp(server.place().host(60 + n), server.sip())).collect();
    for peer in &mut slow {
        peer.send("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2");
    }
    let mut other = Peer::tcp(server.place().host(5), server.sip());
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    ear.hear_until("a prompt", |ear| !ear.heard.is_empty());
    dialog.await_bye(&mut carrier);
    for peer in &mut slow {
        peer.send("0");
        assert_eq!(other.options(), []);
        peer.wait_closed();
    }
    server.wait_metric(r#"hulplijn_dropped_total{reason="bad_start"}"#, 20.0);
    assert_eq!(other.options(), []);
}

#[test]
fn one_address_can_not_take_all_connections() {
    let toml = HELPLINE.replace("calls = 50", "calls = 50\nconnections = 12\nconnections-per-address = 4");
    let server = Site::new(&toml).start();
    let mut greedy: Vec<Peer> = (0..10).map(|_| Peer::tcp(server.place().host(66), server.sip())).collect();
    server.wait_metric(r#"hulplijn_dropped_total{reason="too_many_connections"}"#, 6.0);
    let mut other = Peer::tcp(server.place().host(5), server.sip());
    assert_eq!(other.options(), []);
    let open = greedy
        .iter_mut()
        .filter_map(|peer| peer.wait_for(Duration::from_millis(1), &|_| true).is_none().then_some(peer))
        .filter(|peer| !peer.is_closed())
        .count();
    assert!(open <= 4, "{open} connections of one address are open");
}

#[test]
fn datagrams_to_the_ports_of_audio_and_of_metrics_harm_nothing() {
    let server = Server::helpline("");
    let stranger = UdpSocket::bind((server.place().host(66), 0)).expect("a socket");
    for port in (20_000..20_400).chain([9712]) {
        let _ =
            stranger.send_to(&[0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3], (server.place().host(1), port));
    }
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    ear.hear_until("a prompt", |ear| !ear.heard.is_empty());
    dialog.await_bye(&mut carrier);
}
