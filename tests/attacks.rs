//! Attacks by name, each against the running switch: what the attacker gets, and that a call in progress and everybody
//! else are the same as before.
//!
//! | attack | where, when not here |
//! |---|---|
//! | slow-loris headers | `bad_input::connections_that_send_drop_by_drop_are_closed…` |
//! | a client that never reads is parted with | `bad_input::a_client_that_never_reads…` |
//! | one address takes all connections | `bad_input::one_address_can_not_take_all_connections` |
//! | a message without end, or too large | `bad_input::an_oversized_message…`, `torture_endpoint` |
//! | guessed passwords, side by side and in turn | `switch::tests::strangers`, `bad_input::a_wrong_password…` |
//! | a flood of calls; of strangers' requests | `bad_input::a_flood_of_calls…`, `switch::tests::strangers` |
//! | RTP from elsewhere | `bad_input::rtp_from_elsewhere…` |
//! | an identity in a quoted name, a Latin-1 byte, two lengths: what the parser makes of it | `wire_defects` |
//! | what another parser would read otherwise | `differential` |
//! | 302 or REFER by real phones | `interop`, `sim::story_together` |

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use support::peer::connect;
use support::server::HELPLINE;
use support::{
    Algorithm, Challenge, Dialog, Message, PATIENCE, Peer, Registration, Rtp, Sdp, Server, Site, reply,
};

/// In what time others are served whatever goes on, on a machine that is busy with tests; less than the switch waits
/// for a reader.
const PROMPTLY: Duration = Duration::from_secs(5);

const STRANGER: u8 = 200;

/// A call in progress, with a prompt that is heard.
struct Call {
    carrier: Peer,
    dialog: Dialog,
    ear: Rtp,
    to: std::net::SocketAddr,
}

impl Call {
    fn new(server: &Server) -> Self {
        let mut carrier = server.carrier();
        let ear = Rtp::bind(server.place().host(2));
        let (dialog, to) = Dialog::call(&mut carrier, "loop", &Sdp::pcma(ear.local));
        carrier.options();
        Self { carrier, dialog, ear, to }
    }

    /// It goes on as if nothing had happened, and ends when the caller says so.
    fn goes_on(mut self) {
        assert!(
            self.carrier.options().is_empty(),
            "the caller was sent something:\n{}",
            self.carrier.history()
        );
        let heard = self.ear.heard.len();
        self.ear.stay_until(self.to, "the prompt that goes on", |ear| ear.heard.len() > heard + 10);
        self.dialog.bye(&mut self.carrier);
    }
}

/// Asks OPTIONS: how long the answer took. Nothing else came before it.
fn served(peer: &mut Peer) -> Duration {
    let asked = Instant::now();
    assert_eq!(peer.options(), []);
    asked.elapsed()
}

/// The final answer to a request that was sent, and nothing is left of it.
fn answer_to(peer: &mut Peer, text: &str) -> Message {
    let id = Message::new(text.as_bytes()).call_id().to_owned();
    peer.send(text);
    peer.wait("a final answer", |m| m.call_id() == id && m.status().is_some_and(|s| s >= 200))
}

// --- connections ----------------------------------------------------------------------------------------

#[test]
fn tcp_clients_that_send_and_never_read_delay_nobody() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    let mut others = [Peer::tcp(server.place().host(5), server.sip()), server.phone(6)];
    let request = Dialog::to(&others[0], "wait").request("OPTIONS", &[], "");
    let mut deaf: Vec<_> = (0..8u8).map(|n| connect(server.place().host(60 + n), server.sip())).collect();
    deaf.iter().for_each(|stream| stream.set_nonblocking(true).expect("a stream"));
    let deadline = Instant::now() + PATIENCE;
    let mut slowest = Duration::ZERO;
    while !deaf.is_empty() {
        assert!(Instant::now() < deadline, "{} are still connected", deaf.len());
        deaf.retain_mut(|stream| {
            loop {
                match stream.write(request.as_bytes()) {
                    Ok(_) => {}
                    // The switch reads no more of it, since it takes no answers.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
            }
        });
        slowest = others.iter_mut().map(served).fold(slowest, Duration::max);
    }
    assert!(slowest < PROMPTLY, "others waited {slowest:?}");
    server.wait_metric(r#"hulplijn_dropped_total{reason="slow_reader"}"#, 8.0);
    call.goes_on();
}

#[test]
fn five_thousand_idle_connections_leave_everyone_else_served() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as may be");
    let room = limit.maximum.unwrap_or(u64::MAX).saturating_sub(1000);
    let count = 5000.min(room) as usize;
    if count < 5000 {
        eprintln!("skipped: {} of 5000 connections, since no more files may be open here", 5000 - count);
    }
    let limits = "calls = 50\nconnections = 6000\nconnections-per-address = 25";
    let server = Site::new(&HELPLINE.replace("calls = 50", limits)).start();
    let call = Call::new(&server);
    let host = |n: usize| server.place().host(4 + (n / 25) as u8);
    let idle: Vec<_> = (0..count).map(|n| connect(host(n), server.sip())).collect();
    let mut last = Peer::over(connect(server.place().host(240), server.sip()), server.sip());
    let mut others = [server.phone(241), server.carrier_on_another_port()];
    let slowest = others.iter_mut().chain([&mut last]).map(served).max();
    assert!(slowest < Some(PROMPTLY), "others waited {slowest:?}");
    // Each is still there: a double line end is answered by a single one (RFC 5626 3.5.1).
    idle.iter().for_each(|mut stream| stream.write_all(b"\r\n\r\n").expect("still open"));
    for mut stream in &idle {
        stream.set_read_timeout(Some(PATIENCE)).expect("a stream");
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).expect("still open");
        assert_eq!(&pong, b"\r\n");
    }
    let kibibytes = memory(server.pid());
    assert!(kibibytes < 200 * 1024, "{count} idle connections cost {kibibytes} KiB");
    call.goes_on();
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().split(' ').next().and_then(|kib| kib.parse().ok()).expect("a number")
}

// --- smuggling ------------------------------------------------------------------------------------------

/// What says the length, so that two readers could take two.
const LENGTHS: [&str; 11] = [
    "Content-Length: 0\r\nContent-Length: LEN\r\n",
    "Content-Length: LEN\r\nl: 0\r\n",
    "Content-Length: LEN\r\nContent-Length: LEN\r\n",
    "Content-Length: +LEN\r\n",
    "Content-Length: LEN;x\r\n",
    "Content-Length: LEN, LEN\r\n",
    "Content-Length: LEN 0\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0xLEN\r\n",
    "Content-Length: \u{a0}LEN\r\n",
    "Content-Length:\r\n",
];

/// A request with a whole other one for a body.
fn with_a_request_inside(peer: &Peer, length: &str) -> (String, String) {
    let inner = Dialog::to(peer, "wait").request("OPTIONS", &[], "");
    let outer = Dialog::to(peer, "wait").request("OPTIONS", &["Content-Type: text/plain"], &inner);
    let (head, body) = outer.split_once("\r\n\r\n").expect("a message");
    let head: String = head
        .split("\r\n")
        .filter(|line| !line.starts_with("Content-Length"))
        .map(|l| format!("{l}\r\n"))
        .collect();
    let length = length.replace("LEN", &body.len().to_string());
    (format!("{head}{length}\r\n{body}"), Message::new(inner.as_bytes()).call_id().to_owned())
}

#[test]
fn a_request_inside_the_body_of_one_with_two_lengths_is_never_seen_on_udp() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    let mut stranger = server.phone(STRANGER);
    for length in LENGTHS {
        let (text, _) = with_a_request_inside(&stranger, length);
        assert_eq!(answer_to(&mut stranger, &text).status(), Some(400), "{length}");
        assert_eq!(stranger.options(), [], "{length}");
    }
    call.goes_on();
}

#[test]
fn a_request_inside_the_body_of_one_with_two_lengths_ends_the_connection_on_tcp() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    for length in LENGTHS.into_iter().chain([""]) {
        let mut stream = Peer::tcp(server.place().host(STRANGER), server.sip());
        let (text, inner) = with_a_request_inside(&stream, length);
        stream.send(&text);
        stream.wait_closed();
        let seen = stream.wait_for(Duration::ZERO, &|m| m.call_id() == inner);
        assert!(seen.is_none(), "{length}: the request inside was answered");
    }
    call.goes_on();
}

#[test]
fn a_request_inside_a_body_whose_length_is_folded_is_a_body() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    for length in [
        "Content-Length:\r\n LEN\r\n",
        "l\t: \r\n\tLEN\r\n",
        // In a folded line it is no field.
        "Subject: x\r\n Content-Length: 0\r\nContent-Length: LEN\r\n",
    ] {
        for mut peer in [Peer::tcp(server.place().host(STRANGER), server.sip()), server.phone(STRANGER)] {
            let (text, _) = with_a_request_inside(&peer, length);
            assert_eq!(answer_to(&mut peer, &text).status(), Some(200), "{length}");
            assert_eq!(peer.options(), [], "{length}: what was inside was answered too");
        }
    }
    call.goes_on();
}

// --- the words of a message -----------------------------------------------------------------------------

#[test]
fn an_identity_inside_a_quoted_name_is_a_name_and_no_dialog() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let mut dialog = Dialog::to(&carrier, "loop");
    dialog.local = "\"x <sip:evil@e>;tag=evil\" <sip:alice@a>;tag=good".to_owned();
    carrier.send(&dialog.invite(&Sdp::pcma(ear.local)));
    let answer = dialog.await_final(&mut carrier, "INVITE");
    assert_eq!((answer.status(), answer.header("From")), (Some(200), dialog.local.as_str()));
    dialog.learn(&answer);
    carrier.send(&dialog.ack(None));
    let mut evil = Dialog { local: "<sip:evil@e>;tag=evil".to_owned(), ..dialog.clone() };
    assert_eq!(answer_to(&mut carrier, &evil.request("BYE", &[], "")).status(), Some(481));
    // The same tag with another name is the same dialog (RFC 3261 12).
    dialog.local = "<sip:alice@a>;tag=good".to_owned();
    dialog.bye(&mut carrier);
}

#[test]
fn a_latin_1_byte_in_a_header_hides_nothing_behind_it() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let mut dialog = Dialog::to(&carrier, "loop");
    let more = ["X-Name: caf?", "Content-Type: application/sdp", "Max-Breadth: 1"];
    let text = dialog.request("INVITE", &more, &Sdp::pcma(ear.local).text());
    let mut bytes = text.into_bytes();
    let at = bytes.windows(4).position(|w| w == b"caf?").expect("it is there") + 3;
    bytes[at] = 0xe9;
    carrier.send_bytes(&bytes);
    let answer = dialog.await_final(&mut carrier, "INVITE");
    // Had the Content-Type been lost, the offer would have been, too.
    assert_eq!((answer.status(), Sdp::address(answer.body()).ip()), (Some(200), server.place().host(1)));
    dialog.learn(&answer);
    carrier.send(&dialog.ack(None));
    dialog.bye(&mut carrier);
}

#[test]
fn the_tenth_use_of_a_nonce_is_written_a() {
    let server = Server::helpline("");
    let mut phone = server.phone(4);
    let mut registration = Registration::new(&phone, "anna", "geheim-anna");
    let mut challenge = registration.succeed(&mut phone, Algorithm::Sha256);
    for count in 2..=17 {
        let answer = registration.register(&mut phone, Some(&mut challenge));
        assert_eq!((answer.status(), challenge.count), (Some(200), count));
    }
}

// --- credentials ----------------------------------------------------------------------------------------

const ACCOUNT: &str = "target = \"sip:NET.2:5060\"\nusername = \"helpline\"\npassword = \"geheim-trunk\"";

const CHALLENGE: &str = "Digest realm=\"carrier\", nonce=\"a1b2\", algorithm=MD5, qop=\"auth\"";

/// Refuses a request with a challenge.
fn challenge(request: &Message) -> String {
    let refusal = reply(request, 401, None, None);
    refusal.replace("Content-Length", &format!("WWW-Authenticate: {CHALLENGE}\r\nContent-Length"))
}

/// A switch that has an account at its carrier, and a number that leads on to another by it.
fn with_an_account() -> Server {
    let onward = "[[number]]\ndial = \"onward\"\nflow = \"onward\"\n\
        [flow.onward]\nstart = \"go\"\n\
        step.go = { do = \"dial\", destination = \"tele-onthaal\", prompts = [\"refer-106\"], failed = \"bye\" }\n\
        step.bye = { do = \"hangup\", prompts = [\"goodbye\"] }\n";
    Site::new(&format!("{}\n{onward}", HELPLINE.replace("target = \"sip:NET.2:5060\"", ACCOUNT))).start()
}

#[test]
fn a_challenge_within_a_call_that_came_in_gets_no_credentials() {
    let server = with_an_account();
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    ear.hear_until("a prompt", |ear| !ear.heard.is_empty());
    let bye = carrier.wait("BYE", |m| m.is("BYE") && dialog.owns(m));
    carrier.send(&challenge(&bye));
    // It has been told: nothing more comes, least of all an answer to the challenge.
    let came = carrier.options();
    assert!(!came.iter().any(|m| m.method().is_some()), "{came:?}");
    no_credentials(&carrier);
    // Nor to a phone that asks for them.
    let mut line = server.phone(3);
    let (_caller, _) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(ear.local));
    let invite = line.wait("INVITE", |m| m.is("INVITE"));
    line.send(&challenge(&invite));
    line.wait("the ACK of the refusal", |m| m.is("ACK"));
    line.options();
    no_credentials(&line);
    no_credentials(&carrier);
}

fn no_credentials(peer: &Peer) {
    let all = String::from_utf8_lossy(&peer.raw.concat()).into_owned();
    assert!(!all.contains("Authorization") && !all.contains("response="), "{all}");
}

#[test]
fn a_challenge_of_a_call_that_goes_out_by_the_trunk_gets_its_credentials() {
    // What the test before would see, were there anything to see.
    let server = with_an_account();
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let (_caller, _) = Dialog::call(&mut carrier, "onward", &Sdp::pcma(ear.local));
    let invite = carrier.wait("INVITE", |m| m.is("INVITE"));
    carrier.send(&challenge(&invite));
    let again = carrier.wait("INVITE again", |m| m.is("INVITE"));
    let proof = again.header("Authorization");
    assert!(proof.contains("username=\"helpline\"") && proof.contains("realm=\"carrier\""), "{}", again.text);
    assert!(!carrier.raw.concat().windows(12).any(|w| w == b"geheim-trunk"));
}

/// What an answer shows, without what is random in each: tags, nonces, and what the request said itself.
fn shown(answer: &Message) -> Vec<String> {
    let mut lines = vec![answer.start_line().to_owned()];
    for line in answer.head().lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let nonce = value.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        lines.push(match nonce {
            Some(nonce) => format!("{name}: {} of {}", value.replace(nonce, "*"), nonce.len()),
            None if ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name) => {
                format!("{name} of {}", value.len())
            }
            None => format!("{name}: {value}"),
        });
    }
    lines
}

#[test]
fn register_tells_names_that_there_are_from_others_by_nothing() {
    // Who has a password, who has none, and two of the same length who are nobody.
    let names = ["anna", "fixed", "bert", "nobod"];
    let server = Server::helpline("");
    let mut seen: Vec<Vec<Vec<String>>> = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        // Each from an address of its own: delays grow with the faults of one.
        let mut thief = server.phone(100 + n as u8);
        let mut registration = Registration::new(&thief, name, "geraden");
        // Call-IDs of one length, whatever was counted before.
        registration.dialog.call_id = format!("enumeration-{}", 100 + n);
        registration.dialog.local = format!("<sip:{name}@test>;tag=12345");
        let asked = registration.register(&mut thief, None);
        let mut challenge = Challenge::of(&asked, Algorithm::Sha256);
        let wrong = registration.register(&mut thief, Some(&mut challenge));
        challenge.realm = "elsewhere".to_owned();
        let elsewhere = registration.register(&mut thief, Some(&mut challenge));
        let broken = registration.dialog.request(
            "REGISTER",
            &[&format!("Authorization: Digest username=\"{name}\"")],
            "",
        );
        let broken = answer_to(&mut thief, &broken);
        seen.push([asked, wrong, elsewhere, broken].iter().map(shown).map(plain_lengths(name)).collect());
    }
    for (name, other) in names.iter().zip(&seen) {
        assert_eq!(&seen[0], other, "{name} is told from {}", names[0]);
    }
    assert!(seen[0][0][0].starts_with("SIP/2.0 401"));
}

/// Lengths without that of the name itself, and of numbers that were counted up in between.
fn plain_lengths(name: &str) -> impl Fn(Vec<String>) -> Vec<String> {
    let length = name.len();
    move |lines| {
        let plain = |line: String| match line.rsplit_once(" of ") {
            Some((head @ ("From" | "To"), n)) => {
                format!("{head} of {}", n.parse::<usize>().expect("a length") - length)
            }
            Some(("Via", _)) => "Via".to_owned(),
            _ => line,
        };
        lines.into_iter().map(plain).collect()
    }
}

// --- calls of others ------------------------------------------------------------------------------------

#[test]
fn bye_cancel_and_re_invite_with_a_guessed_dialog_leave_the_call_alone() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    let rtp = Rtp::bind(server.place().host(STRANGER));
    let mine = &call.dialog;
    let tagged = |value: &str, tag: &str| format!("{};tag={tag}", tagless(value));
    let guesses = [
        Dialog { call_id: "guessed".to_owned(), ..mine.clone() },
        Dialog { remote: tagged(&mine.remote, "guessed"), ..mine.clone() },
        Dialog { local: tagged(&mine.local, "guessed"), ..mine.clone() },
        Dialog { local: mine.remote.clone(), remote: mine.local.clone(), ..mine.clone() },
        Dialog { remote: tagless(&mine.remote).to_owned(), ..mine.clone() },
    ];
    for mut peer in [server.phone(STRANGER), Peer::tcp(server.place().host(2), server.sip())] {
        for (n, guess) in guesses.iter().enumerate() {
            let mut guess = guess.by(&peer);
            let requests = [
                guess.request("BYE", &[], ""),
                guess.request("CANCEL", &[], ""),
                guess.request("UPDATE", &["Content-Type: application/sdp"], &Sdp::pcma(rtp.local).text()),
                guess.request("INFO", &["Content-Type: application/dtmf-relay"], "Signal=1\r\n"),
            ];
            for text in requests {
                let answer = answer_to(&mut peer, &text);
                assert_eq!(answer.status(), Some(481), "guess {n}: {}", answer.text);
            }
            if guess.remote.contains(";tag=") {
                let refusal = answer_to(&mut peer, &guess.invite(&Sdp::pcma(rtp.local)));
                assert_eq!(refusal.status(), Some(481), "guess {n}: {}", refusal.text);
                peer.send(&guess.ack_refusal(&refusal));
            }
        }
        // The call's own INVITE, cancelled by somebody who does not know its branch; and a tag made longer.
        let mut cancel = Dialog { cseq: 0, remote: tagless(&mine.remote).to_owned(), ..mine.by(&peer) };
        assert_eq!(answer_to(&mut peer, &cancel.request("CANCEL", &[], "")).status(), Some(481));
        assert_eq!(peer.options(), []);
    }
    assert!(server.metric("hulplijn_sip_refused_total{status=\"481\"}") >= 40.0);
    call.goes_on();
}

fn tagless(value: &str) -> &str {
    value.split(";tag=").next().unwrap_or("")
}

#[test]
fn an_invite_with_a_guessed_replaces_takes_over_nothing() {
    let server = Server::helpline("");
    let call = Call::new(&server);
    let tag = |value: &str| value.split(";tag=").nth(1).unwrap_or("").to_owned();
    let (to, from) = (tag(&call.dialog.remote), tag(&call.dialog.local));
    let rtp = Rtp::bind(server.place().host(STRANGER));
    let guessed = "Replaces: guessed;to-tag=1;from-tag=2".to_owned();
    // Even who knows the dialog: Replaces is not said to be supported, so nobody may count on it (RFC 3891 3).
    let known = format!("Replaces: {};to-tag={to};from-tag={from}", call.dialog.call_id);
    for replaces in [guessed, known] {
        let mut stranger = server.phone(STRANGER);
        let (body, kind) = (Sdp::pcma(rtp.local).text(), "Content-Type: application/sdp");
        let mut dialog = Dialog::to(&stranger, "loop");
        for (more, status) in
            [(vec![kind, &replaces], 403), (vec![kind, &replaces, "Require: replaces"], 420)]
        {
            let refusal = answer_to(&mut stranger, &dialog.request("INVITE", &more, &body));
            assert_eq!(refusal.status(), Some(status), "{}", refusal.text);
            stranger.send(&dialog.ack_refusal(&refusal));
        }
        // From the carrier's address it is a call of its own.
        let mut second = Peer::tcp(server.place().host(2), server.sip());
        let mut other = Dialog::to(&second, "loop");
        let answer = answer_to(&mut second, &other.request("INVITE", &[kind, &replaces], &body));
        assert_eq!(answer.status(), Some(200));
        other.learn(&answer);
        second.send(&other.ack(None));
        other.bye(&mut second);
    }
    call.goes_on();
}

// --- toll fraud -----------------------------------------------------------------------------------------

/// Caller and the line with a fixed address, joined.
fn joined(server: &Server) -> (Peer, Dialog, Peer, Dialog, [Rtp; 2]) {
    let (mut carrier, mut line) = (server.carrier(), server.phone(3));
    let ears = [2, 3].map(|host| Rtp::bind(server.place().host(host)));
    let (caller, _) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(ears[0].local));
    let (answered, _, _) = Dialog::answer(&mut line, &Sdp::pcma(ears[1].local));
    server.wait_log("event=\"joined\"");
    (carrier, caller, line, answered, ears)
}

#[test]
fn a_refer_to_an_outside_number_is_refused_and_nothing_is_dialled() {
    let server = Server::helpline("");
    let (mut carrier, mut caller, mut line, mut answered, _ears) = joined(&server);
    let outside = Peer::udp((server.place().host(STRANGER), 5060).into(), server.sip());
    let here = outside.local;
    let targets = [
        "<sip:0900123456@NET>".to_owned(),
        "<tel:+32900123456>".to_owned(),
        format!("<sip:fixed@{here}>"),
        format!("<sip:%2B32900123456@{here};transport=tcp>"),
        format!("<sip:0900@{here}?Route=%3Csip:{here}%3E>"),
        "<http://example.org/>".to_owned(),
    ];
    for target in &targets {
        let target = target.replace("NET", &server.sip().to_string());
        for (peer, dialog) in [(&mut line, &mut answered), (&mut carrier, &mut caller)] {
            let refusal = answer_to(peer, &dialog.request("REFER", &[&format!("Refer-To: {target}")], ""));
            assert!(refusal.status().is_some_and(|s| s >= 400), "{target}: {}", refusal.text);
        }
    }
    // Nor by whoever is in no call.
    let mut stranger = server.phone(STRANGER + 1);
    let refer = Dialog::to(&stranger, "fixed").request("REFER", &["Refer-To: <sip:0900123456@x>"], "");
    assert_eq!(answer_to(&mut stranger, &refer).status(), Some(405));
    let mut peers = [carrier, line, outside];
    for peer in &mut peers {
        let came = peer.options();
        assert!(!came.iter().any(|m| m.is("INVITE") || m.is("BYE")), "{came:?}");
    }
    // A number that is allowed is dialled where the configuration says, whatever host stands behind it.
    let [carrier, line, outside] = &mut peers;
    let refer = answered.request("REFER", &[&format!("Refer-To: <sip:106@{here}>")], "");
    assert_eq!(answer_to(line, &refer).status(), Some(202));
    let invite = carrier.wait("INVITE at the carrier", |m| m.is("INVITE"));
    assert_eq!(invite.request_uri(), format!("sip:106@{}", carrier.local));
    assert_eq!(outside.options(), []);
}

#[test]
fn a_302_to_an_outside_number_is_not_followed() {
    let server = Server::helpline("");
    let (mut carrier, mut line) = (server.carrier(), server.phone(3));
    let mut outside = server.phone(STRANGER);
    let ear = Rtp::bind(server.place().host(2));
    let (mut caller, _) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(ear.local));
    for status in [300, 301, 302, 305, 380] {
        let invite = line.wait("INVITE at a line", |m| m.is("INVITE"));
        let contact = format!("Contact: <sip:0900@{}>, <sip:0900@{}>\r\n", outside.local, carrier.local);
        let moved =
            reply(&invite, status, None, None).replace("Content-Length", &format!("{contact}Content-Length"));
        line.send(&moved);
        line.wait("its ACK", |m| m.is("ACK") && m.call_id() == invite.call_id());
        assert_eq!(outside.options(), [], "{status} was followed");
        assert!(!carrier.options().iter().any(|m| m.is("INVITE")), "{status} was followed to the carrier");
    }
    caller.bye(&mut carrier);
}

#[test]
fn what_is_nearly_1712_is_1712_only_where_the_rfcs_say_so() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    for (user, status) in [
        ("1712", 200),
        // An escaped digit is the digit: neither is reserved (RFC 3261 19.1.4).
        ("%31712", 200),
        ("%31%37%31%32", 200),
        // Parameters of a telephone number are not its digits, nor are visual separators (RFC 3966 3, 5.1.1).
        ("1712;ext", 200),
        ("1712;phone-context=+32", 200),
        ("17-12", 200),
        // An escaped semicolon is part of the name by 19.1.4; it reaches the same flow, since a call is rather taken.
        ("1712%3Bext", 200),
        ("1712:secret", 200),
        ("01712", 404),
        ("+1712", 404),
        ("1712%00", 404),
        ("1712%00;ext", 404),
        ("1712%0D%0AX:", 404),
        ("1712*", 404),
        ("171", 404),
        ("17122", 404),
        ("l712", 404),
        // Digits of other scripts: fullwidth, Arabic-Indic, superscript.
        ("%EF%BC%91%EF%BC%97%EF%BC%91%EF%BC%92", 404),
        ("%D9%A1%D9%A7%D9%A1%D9%A2", 404),
        ("%C2%B9712", 404),
        ("\u{ff11}\u{ff17}\u{ff11}\u{ff12}", 400),
        ("\u{661}\u{667}\u{661}\u{662}", 400),
        ("1712%", 400),
        ("1712%3", 400),
    ] {
        let mut dialog = Dialog::to(&carrier, "1712");
        let invite = dialog.invite(&Sdp::pcma(ear.local));
        let invite = invite.replacen("INVITE sip:1712@", &format!("INVITE sip:{user}@"), 1);
        let answer = answer_to(&mut carrier, &invite);
        assert_eq!(answer.status(), Some(status), "{user}: {}", answer.text);
        if status == 200 {
            dialog.learn(&answer);
            carrier.send(&dialog.ack(None));
            dialog.bye(&mut carrier);
        } else {
            carrier.send(&dialog.ack_refusal(&answer));
        }
    }
}

// --- loops and reflection -------------------------------------------------------------------------------

#[test]
fn max_forwards_0_ends_here_however_it_is_written() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    for (hops, status) in [("0", 483), ("00", 483), (" 000\t", 483), ("256", 400), ("-1", 400), ("0x1", 400)]
    {
        let mut dialog = Dialog::to(&carrier, "loop");
        let invite = dialog
            .invite(&Sdp::pcma(ear.local))
            .replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"));
        let refusal = answer_to(&mut carrier, &invite);
        assert_eq!(refusal.status(), Some(status), "{hops}: {}", refusal.text);
        carrier.send(&dialog.ack_refusal(&refusal));
    }
    assert!(server.metric("hulplijn_calls_arrived_total") < 1.0);
}

#[test]
fn a_call_of_ours_that_comes_back_to_us_is_a_loop() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let mut dialog = Dialog::to(&carrier, "loop");
    let ours = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKours", server.sip());
    let invite =
        dialog.request("INVITE", &[&ours, "Content-Type: application/sdp"], &Sdp::pcma(ear.local).text());
    let refusal = answer_to(&mut carrier, &invite);
    assert_eq!(refusal.status(), Some(482), "{}", refusal.text);
    carrier.send(&dialog.ack_refusal(&refusal));
    assert!(server.metric("hulplijn_calls_arrived_total") < 1.0);
    // With the port of another it is no loop.
    dialog = Dialog::to(&carrier, "loop");
    let theirs = ours.replace(":5060", ":5099");
    let invite =
        dialog.request("INVITE", &[&theirs, "Content-Type: application/sdp"], &Sdp::pcma(ear.local).text());
    assert_eq!(answer_to(&mut carrier, &invite).status(), Some(200));
}

/// A stranger's request of as few octets as can be.
fn shortest(method: &str, target: &str, n: usize, host: IpAddr) -> String {
    format!(
        "{method} {target} SIP/2.0\r\nv:SIP/2.0/UDP {host};branch=z9hG4bK{n}\r\nf:sip:a@b;tag=1\r\nt:sip:a@b\r\ni:{n}\r\n\
         CSeq:1 {method}\r\n\r\n"
    )
}

/// All that comes in answer to a stranger's datagram, in octets, and how many datagrams they are. Nothing is repeated
/// later: `switch::tests::strangers`.
fn comes_for(stranger: &mut Peer, text: &str) -> (usize, usize) {
    let before = stranger.raw.len();
    stranger.send(text);
    stranger.options();
    // The last is the answer to OPTIONS.
    let came = &stranger.raw[before..stranger.raw.len() - 1];
    (came.iter().map(Vec::len).sum(), came.len())
}

#[test]
fn what_is_no_request_makes_the_switch_send_nothing() {
    let server = Server::helpline("");
    let mut stranger = server.phone(STRANGER);
    let host = server.place().host(STRANGER);
    let response =
        shortest("OPTIONS", "sip:h", 1, host).replacen("OPTIONS sip:h SIP/2.0", "SIP/2.0 200 OK", 1);
    let options = shortest("OPTIONS", "sip:h", 2, host);
    for text in [
        "\r\n\r\n",
        "\0\0\0\0",
        "x",
        "OPTIONS sip:h SIP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        &response,
        &shortest("ACK", "sip:h", 3, host),
        &options.replace("v:", "x:"),
        &options.replace("t:", "x:"),
        &options[..options.len() / 2],
    ] {
        assert_eq!(comes_for(&mut stranger, text), (0, 0), "{text}");
    }
}

#[test]
fn a_stranger_gets_one_datagram_for_one_and_no_more_than_was_sent() {
    let server = Server::helpline("");
    let mut stranger = server.phone(STRANGER);
    let host = server.place().host(STRANGER);
    // The shortest requests that are answered, and how many octets more the answer may have: our tag is longer than
    // what a short first line saves, and what RFC 3261 wants besides is said.
    for (n, (method, target, more)) in [
        ("INVITE", "sip:1712@h", 0),
        ("OPTIONS", "sip:h", 8),
        ("BYE", "sip:h", 8),
        ("CANCEL", "sip:h", 8),
        ("DANCE", "sip:h", 8),
        // Allow is a MUST of 405 (8.2.1).
        ("MESSAGE", "sip:h", 120),
        // One challenge.
        ("REGISTER", "sip:h", 150),
        ("SUBSCRIBE", "sip:h", 150),
        ("INVITE", "sip:*71@h", 150),
    ]
    .into_iter()
    .enumerate()
    {
        let text = shortest(method, target, n, host);
        let (bytes, datagrams) = comes_for(&mut stranger, &text);
        println!(
            "{method} {target}: {bytes} octets for {}, {:.2}",
            text.len(),
            bytes as f64 / text.len() as f64
        );
        assert_eq!(datagrams, 1, "{method} {target}");
        assert!(bytes <= text.len() + more, "{method} {target}: {bytes} octets for {}", text.len());
    }
    // As phones and carriers write them, no answer is larger than its request.
    let rtp = Rtp::bind(host);
    let mut dialog = Dialog::to(&stranger, "1712");
    let agent = "User-Agent: a phone as there are many, version 1.2.3";
    let allow = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, REFER, NOTIFY, MESSAGE";
    let usual = [
        dialog.invite(&Sdp::pcma(rtp.local)),
        dialog.request("OPTIONS", &[agent, "Accept: application/sdp", allow], ""),
        dialog.request("BYE", &[agent], ""),
        dialog.request("REGISTER", &[agent, "Expires: 300"], ""),
        dialog.request(
            "REGISTER",
            &[agent, allow, "Supported: path, outbound, replaces", "Expires: 300"],
            "",
        ),
    ];
    for text in &usual {
        let (bytes, datagrams) = comes_for(&mut stranger, text);
        assert!(datagrams == 1 && bytes <= text.len(), "{bytes} octets for {}:\n{text}", text.len());
    }
}

#[test]
fn rfc_8760_2_4_a_phone_whose_register_has_room_for_it_is_offered_every_algorithm() {
    let server = Server::helpline("");
    for transport in ["UDP", "TCP"] {
        let mut phone = match transport {
            "UDP" => server.phone(5),
            _ => Peer::tcp(server.place().host(6), server.sip()),
        };
        let agent = "User-Agent: a phone as there are many, version 1.2.3";
        let allow = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, REFER, NOTIFY, MESSAGE";
        let supported = "Supported: path, outbound, replaces";
        let mut dialog = Dialog::to(&phone, "anna");
        let long = dialog.request("REGISTER", &[agent, allow, supported, "Expires: 300"], "");
        assert_eq!(answer_to(&mut phone, &long).all("WWW-Authenticate").len(), 2, "{transport}");
        let short = dialog.request("REGISTER", &[], "").replace("Max-Forwards: 70\r\n", "");
        let few = answer_to(&mut phone, &short).all("WWW-Authenticate").len();
        assert_eq!(few, if transport == "UDP" { 1 } else { 2 }, "{transport}");
    }
}
