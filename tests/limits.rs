//! `[limits]`: each bites where it is set, says so, is counted, and leaves others served.

mod support;

use support::server::HELPLINE;
use support::{Algorithm, Dialog, Message, Peer, Registration, Rtp, Sdp, Server, Site};

/// A switch with these lines in `[limits]`.
fn within(limits: &str) -> Server {
    Site::new(&HELPLINE.replace("calls = 50\ncalls-per-second = 1000", limits)).start()
}

/// The answer to OPTIONS with these lines; `None`: another OPTIONS was answered, and this was not.
fn asked(peer: &mut Peer, lines: &[&str]) -> Option<Message> {
    let mut dialog = Dialog::to(peer, "anybody");
    let text = dialog.request("OPTIONS", lines, "");
    let id = Message::new(text.as_bytes()).call_id().to_owned();
    peer.send(&text);
    peer.options().into_iter().find(|message| message.call_id() == id)
}

fn refused(server: &Server, status: u16, count: f64) {
    server.wait_metric(&format!("hulplijn_sip_refused_total{{status=\"{status}\"}}"), count);
}

/// It has 503 and says when to come again.
fn overloaded(answer: &Message) {
    assert_eq!(answer.status(), Some(503), "{}", answer.text);
    assert!(!answer.header("Retry-After").is_empty(), "{}", answer.text);
}

#[test]
fn headers_and_header_length_refuse_what_has_more_with_513() {
    let server = within("headers = 20\nheader-length = 256");
    let mut peer = server.phone(5);
    let fine = asked(&mut peer, &["X-More: y"; 8]).expect("an answer");
    assert_eq!(fine.status(), Some(200), "{}", fine.text);
    let many = asked(&mut peer, &["X-More: y"; 20]).expect("an answer");
    assert_eq!(many.status(), Some(513), "{}", many.text);
    let long = format!("X-Long: {}", "y".repeat(257));
    let long = asked(&mut peer, &[&long]).expect("an answer");
    assert_eq!(long.status(), Some(513), "{}", long.text);
    refused(&server, 513, 2.0);
}

#[test]
fn message_size_drops_a_longer_datagram_and_closes_a_connection_with_a_longer_message() {
    let server = within("message-size = 2048");
    let long = format!("X-Long: {}", "y".repeat(2048));
    let mut peer = server.phone(5);
    assert!(asked(&mut peer, &[&long]).is_none());
    let dropped = r#"hulplijn_dropped_total{reason="too_big"}"#;
    server.wait_metric(dropped, 1.0);
    let mut stream = Peer::tcp(server.place().host(6), server.sip());
    let text = Dialog::to(&stream, "anybody").request("OPTIONS", &[&long], "");
    stream.send(&text);
    stream.wait_closed();
    server.wait_metric(dropped, 2.0);
    assert_eq!(peer.options(), []);
}

#[test]
fn transactions_leave_room_for_the_calls_that_are_and_refuse_new_ones() {
    let server = within("transactions = 8");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    // Three quarters of them may be calls that come in; each keeps its own for 32 seconds.
    let mut calls: Vec<Dialog> =
        (0..6).map(|_| Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local)).0).collect();
    overloaded(&Dialog::refused(&mut carrier, "wait", &Sdp::pcma(ear.local)));
    refused(&server, 503, 1.0);
    for call in &mut calls[..2] {
        call.bye(&mut carrier);
    }
}

#[test]
fn calls_and_calls_per_second_refuse_the_next() {
    for limits in ["calls = 1", "calls-per-second = 1"] {
        let server = within(limits);
        let mut carrier = server.carrier();
        let ear = Rtp::bind(server.place().host(2));
        let mut answers = Vec::new();
        for _ in 0..5 {
            let mut dialog = Dialog::to(&carrier, "wait");
            carrier.send(&dialog.invite(&Sdp::pcma(ear.local)));
            answers.push(dialog);
        }
        let answers: Vec<Message> =
            answers.iter().map(|dialog| dialog.await_final(&mut carrier, "INVITE")).collect();
        assert!(answers.iter().any(|answer| answer.status() == Some(200)), "{limits}");
        overloaded(answers.iter().find(|answer| answer.status() != Some(200)).expect("a refusal"));
        server.wait_metric(r#"hulplijn_failures_total{part="overload"}"#, 1.0);
    }
}

#[test]
fn registrations_refuse_the_phone_for_which_there_is_no_room() {
    let more = "[[line]]\nname = \"bea\"\npassword = \"geheim-bea\"\n";
    let toml = HELPLINE.replace("calls = 50", "calls = 50\nregistrations = 1");
    let server = Site::new(&format!("{toml}\n{more}")).start();
    let (mut first, mut second) = (server.phone(5), server.phone(6));
    let mut anna = Registration::new(&first, "anna", "geheim-anna");
    let mut challenge = anna.succeed(&mut first, Algorithm::Sha256);
    let mut bea = Registration::new(&second, "bea", "geheim-bea");
    let refusal = bea.register(&mut second, None);
    let mut other = support::Challenge::of(&refusal, Algorithm::Sha256);
    overloaded(&bea.register(&mut second, Some(&mut other)));
    server.wait_metric(r#"hulplijn_failures_total{part="overload"}"#, 1.0);
    let again = anna.register(&mut first, Some(&mut challenge));
    assert_eq!(again.status(), Some(200), "who is there may stay: {}", again.text);
}

#[test]
fn connections_close_the_next() {
    let server = within("connections = 4\nconnections-per-address = 2");
    let mut same: Vec<Peer> = (0..3).map(|_| Peer::tcp(server.place().host(66), server.sip())).collect();
    let dropped = r#"hulplijn_dropped_total{reason="too_many_connections"}"#;
    same[2].wait_closed();
    server.wait_metric(dropped, 1.0);
    // Who has proven nothing makes room for who comes.
    let mut others: Vec<Peer> = (70..73).map(|n| Peer::tcp(server.place().host(n), server.sip())).collect();
    server.wait_metric(dropped, 2.0);
    assert_eq!(others[2].options(), []);
}
