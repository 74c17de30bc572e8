//! What a carrier plays before anybody answers: heard by the caller where the operator says so, and never of a line.

mod support;

use support::dialog::reply;
use support::rtp::FRAME;
use support::server::HELPLINE;
use support::{Dialog, Message, Peer, Rtp, Sdp, Server, Site, prompts};

/// A number that refers at once over the trunk `first`, and one that rings the line `fixed`.
fn refers(early: bool) -> Server {
    let destination = "[destination.tele-onthaal]\nnumber = \"106\"\ntrunk = \"carrier\"";
    let helpline = HELPLINE
        .replace(destination, &format!("{}\nearly-media = {early}", destination.replace("carrier", "first")));
    let toml = format!(
        "{helpline}\n[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\n\
         [[number]]\ndial = \"refer\"\nflow = \"refer\"\n[flow.refer]\nstart = \"refer\"\n\
         step.refer = {{ do = \"dial\", destination = \"tele-onthaal\", prompts = [\"refer-106\"], failed = \"sorry\" }}\n\
         step.sorry = {{ do = \"loop\", prompts = [\"refer-failed\"] }}\n"
    );
    Site::new(&toml).start()
}

/// The callee answers 183 with its session and speaks.
fn announces(callee: &mut Peer, there: &Rtp) -> (Dialog, Message, std::net::SocketAddr) {
    let invite = callee.wait("INVITE", |m| m.is("INVITE"));
    let dialog = Dialog::answering(callee, &invite, "early");
    callee.send(&reply(&invite, 183, Some(&dialog), Some(&Sdp::pcma(there.local))));
    let to = Sdp::address(invite.body());
    (dialog, invite, to)
}

/// Both speak for as long as it takes, or for a second and a half when nothing is to come of it.
fn speak(ear: &mut Rtp, to: std::net::SocketAddr, there: &mut Rtp, back: std::net::SocketAddr, heard: bool) {
    let words = prompts::noise("announcement", 50 * FRAME);
    for round in 0..if heard { 40 } else { 2 } {
        for frame in words.chunks(FRAME) {
            there.say(back, frame);
            ear.say(to, &[support::rtp::SILENCE; FRAME]);
        }
        let came = words.chunks(FRAME).filter(|frame| ear.has_heard(frame)).count();
        if heard && came > 25 {
            return;
        }
        assert!(heard || came == 0, "{came} frames were heard in round {round}");
    }
    assert!(!heard, "the announcement was not heard");
}

#[test]
fn an_announcement_before_the_answer_is_heard_where_the_operator_lets_it_and_music_elsewhere() {
    for early in [true, false] {
        let server = refers(early);
        let (mut caller, mut carrier) = (server.carrier(), server.phone(8));
        let mut ear = Rtp::bind(server.place().host(2));
        let mut there = Rtp::bind(server.place().host(8));
        let (mut call, to) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
        let (dialog, invite, back) = announces(&mut carrier, &there);
        speak(&mut ear, to, &mut there, back, early);
        // The answer joins them either way.
        carrier.send(&reply(&invite, 200, Some(&dialog), Some(&Sdp::pcma(there.local))));
        carrier.wait("ACK", |m| m.is("ACK"));
        speak(&mut ear, to, &mut there, back, true);
        call.bye(&mut caller);
        carrier.wait("BYE", |m| m.is("BYE"));
    }
}

#[test]
fn after_an_announcement_and_a_refusal_the_script_goes_on() {
    let server = refers(true);
    let (mut caller, mut carrier) = (server.carrier(), server.phone(8));
    let mut ear = Rtp::bind(server.place().host(2));
    let mut there = Rtp::bind(server.place().host(8));
    let (mut call, to) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
    let (dialog, invite, back) = announces(&mut carrier, &there);
    speak(&mut ear, to, &mut there, back, true);
    carrier.send(&reply(&invite, 480, Some(&dialog), None));
    carrier.wait("ACK", |m| m.is("ACK"));
    let failed = prompts::alaw("nl", "refer-failed");
    ear.stay_until(to, "the prompt of the refusal", |ear| ear.has_heard(&failed));
    call.bye(&mut caller);
}

#[test]
fn a_counsellors_phone_is_never_heard_before_it_has_answered() {
    let server = refers(true);
    let (mut caller, mut line) = (server.carrier(), server.phone(3));
    let mut ear = Rtp::bind(server.place().host(2));
    let mut there = Rtp::bind(server.place().host(3));
    let (mut call, to) = Dialog::call(&mut caller, "fixed", &Sdp::pcma(ear.local));
    let (_dialog, _invite, back) = announces(&mut line, &there);
    speak(&mut ear, to, &mut there, back, false);
    call.bye(&mut caller);
}
