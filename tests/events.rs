//! Lamps of real telephones, on the running switch: a phone subscribes to the mailbox and to another line (RFC 6665),
//! and hears nothing of who calls.

mod support;

use support::digest::{AGENT, ALLOW, SUPPORTED};
use support::rtp::FRAME;
use support::server::wait_until;
use support::{Algorithm, Challenge, Dialog, Message, Peer, Rtp, Sdp, Server, prompts, reply};

/// A phone of Anna's that has subscribed; its first NOTIFY.
fn subscribe(phone: &mut Peer, user: &str, event: &str) -> (Dialog, Message) {
    let mut dialog = Dialog::to(phone, user);
    let event = format!("Event: {event}");
    phone.send(&dialog.request("SUBSCRIBE", &[&event, "Expires: 600", AGENT, ALLOW, SUPPORTED], ""));
    let refusal = dialog.await_final(phone, "SUBSCRIBE");
    assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
    let mut challenge = Challenge::of(&refusal, Algorithm::Sha256);
    let proof = challenge.answer("SUBSCRIBE", &dialog.target, "anna", "geheim-anna");
    phone.send(&dialog.request("SUBSCRIBE", &[&event, "Expires: 600", &proof], ""));
    let answer = dialog.await_final(phone, "SUBSCRIBE");
    assert_eq!((answer.status(), answer.header("Expires")), (Some(200), "600"), "{}", answer.text);
    dialog.learn(&answer);
    let first = notified(phone, &dialog, "at once", |_| true);
    (dialog, first)
}

/// The next NOTIFY of a subscription that is meant; all until then are answered.
fn notified(phone: &mut Peer, dialog: &Dialog, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
    loop {
        let notify = phone.wait(&format!("NOTIFY {what}"), |m| m.is("NOTIFY") && dialog.owns(m));
        phone.send(&reply(&notify, 200, None, None));
        if is_meant(&notify) {
            return notify;
        }
    }
}

/// Marks of a caller in every place that could be copied.
const MARK: &str = "qzxjvw";

fn marked_call(carrier: &mut Peer, number: &str, sdp: &Sdp) -> Dialog {
    let mut dialog = Dialog::to(carrier, number);
    dialog.call_id = format!("{MARK}{}", dialog.call_id);
    dialog.local = format!("\"{MARK}\" <sip:{MARK}@{MARK}.invalid>;tag={MARK}1");
    dialog.contact = format!("<sip:{MARK}@{}>", carrier.local);
    let identity = format!("P-Asserted-Identity: \"{MARK}\" <sip:{MARK}@{MARK}.invalid>");
    let agent = format!("User-Agent: {MARK}");
    let subject = format!("Subject: {MARK}");
    let body = sdp.text().replace("s=-", &format!("s={MARK}"));
    let more = ["Content-Type: application/sdp", &identity, &agent, &subject];
    carrier.send(&dialog.request("INVITE", &more, &body));
    let answer = dialog.await_final(carrier, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    dialog.learn(&answer);
    carrier.send(&dialog.ack(None));
    dialog
}

#[test]
fn a_lamp_shows_another_line_ring_talk_and_rest_and_nothing_of_the_caller() {
    let server = Server::helpline("");
    let (mut carrier, mut line, mut phone) = (server.carrier(), server.phone(3), server.phone(4));
    let (caller, counsellor) = (Rtp::bind(server.place().host(2)), Rtp::bind(server.place().host(3)));
    let (lamp, idle) = subscribe(&mut phone, "fixed", "dialog");
    assert!(!idle.body().contains("<dialog "), "{}", idle.text);
    server.wait_metric_is("hulplijn_subscriptions", 1.0);
    let mut call = marked_call(&mut carrier, "fixed", &Sdp::pcma(caller.local));
    notified(&mut phone, &lamp, "while it rings", |m| m.body().contains("<state>early</state>"));
    let _answered = Dialog::answer(&mut line, &Sdp::pcma(counsellor.local));
    notified(&mut phone, &lamp, "while they talk", |m| m.body().contains("<state>confirmed</state>"));
    call.bye(&mut carrier);
    notified(&mut phone, &lamp, "at the end", |m| m.body().contains("<state>terminated</state>"));
    assert!(phone.raw.len() >= 6);
    let (address, media) = (carrier.local.to_string(), caller.local.port().to_string());
    for datagram in &phone.raw {
        let text = String::from_utf8_lossy(datagram).to_ascii_lowercase();
        for secret in [MARK, address.as_str()] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        let body = text.split("\r\n\r\n").nth(1).unwrap_or("");
        assert!(!body.contains(&media) && !body.contains("remote") && !body.contains("<target"), "{text}");
    }
    assert!(!server.out.text().contains(MARK) && !server.err.text().contains(MARK));
}

#[test]
fn the_message_lamp_goes_on_when_a_message_is_left_and_off_when_it_is_done() {
    let server = Server::helpline("");
    let (mut carrier, mut phone) = (server.carrier(), server.phone(4));
    let (lamp, _) = subscribe(&mut phone, "anna", "message-summary");
    let mut caller = Rtp::bind(server.place().host(2));
    let (mut dialog, to) = Dialog::call(&mut carrier, "message", &Sdp::pcma(caller.local));
    let intro = prompts::alaw("nl", "message-intro");
    caller.stay_until(to, "the introduction", |ear| ear.has_heard(&intro));
    let folder = server.site().data().join("messages");
    let records = || std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    wait_until(records, || "no recording has begun".to_owned());
    caller.say(to, &prompts::noise("message", 100 * FRAME));
    dialog.bye(&mut carrier);
    let on = notified(&mut phone, &lamp, "of a new message", |m| m.body().contains("Voice-Message: 1/0"));
    assert_eq!(on.header("Content-Type"), "application/simple-message-summary");
    assert_eq!(on.body(), "Messages-Waiting: yes\r\nVoice-Message: 1/0\r\n");
    let list = server.site().command(&["messages", "list", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout).expect("a list");
    let id = list[0].get("id").and_then(serde_json::Value::as_str).expect("an id").to_owned();
    // Another process, which tells the switch nothing.
    assert!(server.site().command(&["messages", "done", &id]).status.success());
    let off = notified(&mut phone, &lamp, "of no new message", |m| m.body().contains("Voice-Message: 0/1"));
    assert_eq!(off.body(), "Messages-Waiting: no\r\nVoice-Message: 0/1\r\n");
}

#[test]
fn rfc_3428_a_text_message_is_refused_and_its_words_are_in_no_log() {
    let server = Server::helpline("");
    for mut peer in [server.carrier(), server.phone(4), server.phone(9)] {
        let mut dialog = Dialog::to(&peer, "anna");
        let words = format!("I am {MARK}");
        peer.send(&dialog.request("MESSAGE", &["Content-Type: text/plain"], &words));
        let answer = dialog.await_final(&mut peer, "MESSAGE");
        assert_eq!(answer.status(), Some(405), "{}", answer.text);
        assert!(answer.header("Allow").contains("INVITE") && !answer.header("Allow").contains("MESSAGE"));
        peer.send(&dialog.request("PUBLISH", &["Event: presence"], ""));
        assert_eq!(dialog.await_final(&mut peer, "PUBLISH").status(), Some(405));
    }
    server.wait_metric(r#"hulplijn_sip_refused_total{status="405"}"#, 6.0);
    assert!(!server.out.text().contains(MARK) && !server.err.text().contains(MARK));
}

#[test]
fn a_stop_ends_the_subscriptions() {
    let mut server = Server::helpline("");
    let mut phone = server.phone(4);
    let (lamp, _) = subscribe(&mut phone, "anna", "presence");
    server.signal(rustix::process::Signal::TERM);
    let last = notified(&mut phone, &lamp, "at the stop", |m| {
        m.header("Subscription-State").starts_with("terminated")
    });
    assert_eq!(last.header("Subscription-State"), "terminated;reason=probation;retry-after=30");
    assert_eq!(server.wait_exit(), Some(0));
}
