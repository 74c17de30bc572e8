//! The running binary answers: the first thing that must be so, and the harness's own test.

mod support;

use support::rtp::FRAME;
use support::{Algorithm, Dialog, Peer, Registration, Rtp, Sdp, Server, prompts, reply};

#[test]
fn a_caller_hears_the_prompt_octet_for_octet_and_is_hung_up_on() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    let goodbye = prompts::alaw("nl", "goodbye");
    ear.hear_until("the goodbye", |ear| ear.has_heard(&goodbye));
    dialog.await_bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="goodbye"}"#, 1.0);
    assert_eq!(server.get("/health/ready"), (200, "ready\n".to_owned()));
}

/// A side of a call: where it hears, and where the switch wants its audio.
type Side<'a> = (&'a mut Rtp, std::net::SocketAddr);

/// Both hear each other, word for word.
fn talk<'a>(mut one: Side<'a>, mut other: Side<'a>, name: &str) {
    for way in ["there", "back"] {
        let words = prompts::noise(&format!("{name} {way}"), 50 * FRAME);
        one.0.say(one.1, &words);
        other.0.stay_until(other.1, name, |ear| ear.has_heard(&words[40 * FRAME..45 * FRAME]));
        std::mem::swap(&mut one, &mut other);
    }
}

/// A call from a registered phone, with its password.
fn ask(phone: &mut Peer, whom: &str, ear: &Rtp) -> Dialog {
    let mut asking = Dialog::to(phone, whom);
    phone.send(&asking.invite(&Sdp::pcma(ear.local)));
    let refusal = asking.await_final(phone, "INVITE");
    assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
    phone.send(&asking.ack_refusal(&refusal));
    let mut challenge = support::Challenge::of(&refusal, Algorithm::Sha256);
    let proof = challenge.answer("INVITE", &asking.target, "anna", "geheim-anna");
    let more = ["Content-Type: application/sdp", proof.as_str()];
    phone.send(&asking.request("INVITE", &more, &Sdp::pcma(ear.local).text()));
    asking
}

#[test]
fn a_counsellor_asks_a_colleague_and_hands_the_caller_over_with_audio_both_ways() {
    let server = Server::helpline("");
    let place = server.place();
    let (mut carrier, mut colleague, mut phone) = (server.carrier(), server.phone(3), server.phone(4));
    let mut caller_ear = Rtp::bind(place.host(2));
    let mut colleague_ear = Rtp::bind(place.host(3));
    let (mut held_ear, mut asking_ear) = (Rtp::bind(place.host(4)), Rtp::bind(place.host(4)));
    Registration::new(&phone, "anna", "geheim-anna").succeed(&mut phone, Algorithm::Sha256);
    let (call, caller_to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller_ear.local));
    let (mut held, _, held_to) = Dialog::answer(&mut phone, &Sdp::pcma(held_ear.local));
    talk((&mut caller_ear, caller_to), (&mut held_ear, held_to), "caller and counsellor");
    // On hold, and the colleague is called from the same phone.
    let hold = Sdp { direction: "sendonly", version: 2, ..Sdp::pcma(held_ear.local) };
    phone.send(&held.invite(&hold));
    assert_eq!(held.await_final(&mut phone, "INVITE").status(), Some(200));
    phone.send(&held.ack(None));
    let mut asking = ask(&mut phone, "fixed", &asking_ear);
    let (mut asked, invite, colleague_to) = Dialog::answer(&mut colleague, &Sdp::pcma(colleague_ear.local));
    assert!(
        invite.header("From").starts_with("\"anna\" <sip:anonymous@anonymous.invalid>"),
        "{}",
        invite.text
    );
    let answer = asking.await_final(&mut phone, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let asking_to = Sdp::address(answer.body());
    asking.learn(&answer);
    phone.send(&asking.ack(None));
    talk((&mut asking_ear, asking_to), (&mut colleague_ear, colleague_to), "counsellor and colleague");
    // The caller goes over (RFC 5589 7): the tags are those of the switch and of the phone.
    let tag = |name| answer.tag(name).unwrap_or_default();
    let refer = format!(
        "Refer-To: <sip:fixed@{}?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
        server.sip(),
        asking.call_id,
        tag("To"),
        tag("From")
    );
    phone.send(&held.request("REFER", &[&refer], ""));
    assert_eq!(held.await_final(&mut phone, "REFER").status(), Some(202));
    for said in ["SIP/2.0 100 ", "SIP/2.0 200 "] {
        let notify = phone.wait(said, |m| m.is("NOTIFY") && held.owns(m) && m.body().starts_with(said));
        phone.send(&reply(&notify, 200, None, None));
    }
    held.await_bye(&mut phone);
    asking.await_bye(&mut phone);
    talk((&mut caller_ear, caller_to), (&mut colleague_ear, colleague_to), "caller and colleague");
    asked.bye(&mut colleague);
    call.await_bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    server.wait_log("handed_over");
}
