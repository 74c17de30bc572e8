//! Carriers: registering with one, seeing that one is gone, calling out over another.

mod support;

use std::net::{IpAddr, TcpListener};

use rustix::process::Signal;

use support::dialog::reply;
use support::dns::NameServer;
use support::message::Message;
use support::server::HELPLINE;
use support::{Dialog, Peer, Rtp, Sdp, Server, Site};

/// A carrier that knows us by an account. Its addresses are not in `sources`.
const ACCOUNT: &str = r#"
[[trunk]]
name = "account"
target = "sip:NET.7:5060"
username = "0781712"
password = "geheim"
realm = "carrier"
register = true
"#;

/// A number that refers at once, over the trunk `first`.
fn refers(trunks: &str) -> String {
    let destination = "[destination.tele-onthaal]\nnumber = \"106\"\ntrunk = \"carrier\"";
    assert!(HELPLINE.contains(destination));
    let helpline = HELPLINE.replace(destination, &destination.replace("carrier", "first"));
    format!(
        "{helpline}\n{trunks}\n[[number]]\ndial = \"refer\"\nflow = \"refer\"\n[flow.refer]\nstart = \"refer\"\n\
         step.refer = {{ do = \"dial\", destination = \"tele-onthaal\", prompts = [\"refer-106\"], failed = \"sorry\" }}\n\
         step.sorry = {{ do = \"hangup\", prompts = [\"refer-failed\"] }}\n"
    )
}

/// The carrier takes a REGISTER: challenge, answer, 200. The REGISTER that was taken.
fn takes_registration(carrier: &mut Peer) -> Message {
    let first = carrier.wait("REGISTER", |m| m.is("REGISTER"));
    let challenge =
        "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n";
    carrier.send(
        &reply(&first, 401, None, None).replace("Content-Length", &format!("{challenge}Content-Length")),
    );
    let second = carrier
        .wait("REGISTER with an answer", |m| m.is("REGISTER") && !m.header("Authorization").is_empty());
    accept(carrier, &second, 600);
    second
}

fn accept(carrier: &mut Peer, register: &Message, seconds: u32) {
    let contact = format!("Contact: {};expires={seconds}\r\n", register.header("Contact"));
    carrier.send(
        &reply(register, 200, None, None).replace("Content-Length", &format!("{contact}Content-Length")),
    );
}

#[test]
fn rfc_3261_10_2_the_switch_registers_with_its_carrier_and_takes_calls_to_its_contact() {
    let server = Server::helpline(ACCOUNT);
    let mut carrier = server.phone(7);
    let ear = Rtp::bind(server.place().host(7));
    let stranger = Dialog::refused(&mut carrier, "say", &Sdp::pcma(ear.local));
    assert_eq!(stranger.status(), Some(403), "before it is registered it is nobody");
    let register = takes_registration(&mut carrier);
    let net = server.place().host(1);
    assert_eq!(register.request_uri(), format!("sip:{}:5060", server.place().host(7)));
    assert_eq!(register.header("Contact"), format!("<sip:0781712@{net}:5060>"));
    assert!(register.header("Authorization").contains("username=\"0781712\", realm=\"carrier\""));
    assert!(!register.text.contains("geheim"));
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="account"}"#, 1.0);
    // The carrier calls the account; the number that was dialled stands in To.
    let mut call = Dialog::to(&carrier, "0781712");
    call.remote = format!("<sip:say@{net}>");
    carrier.send(&call.invite(&Sdp::pcma(ear.local)));
    let answer = call.await_final(&mut carrier, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    call.learn(&answer);
    carrier.send(&call.ack(None));
    call.await_bye(&mut carrier);
    // A number that is not ours stays one.
    assert_eq!(Dialog::refused(&mut carrier, "0781713", &Sdp::pcma(ear.local)).status(), Some(404));
    server.signal(Signal::TERM);
    let last =
        carrier.wait("the registration taken back", |m| m.is("REGISTER") && m.header("Expires") == "0");
    assert_eq!(last.call_id(), register.call_id());
}

#[test]
fn a_carrier_that_refuses_our_registration_is_told_and_tried_again() {
    let server = Server::helpline(ACCOUNT);
    let mut carrier = server.phone(7);
    let first = carrier.wait("REGISTER", |m| m.is("REGISTER"));
    carrier.send(&reply(&first, 403, None, None));
    let told = server.wait_log("event=\"trunk\" trunk=\"account\" what=\"refused\"");
    assert!(told.contains("status=403") && told.contains("`username`"), "{told}");
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="account"}"#, 0.0);
    takes_registration(&mut carrier);
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="account"}"#, 1.0);
}

#[test]
fn the_carriers_own_realm_alone_gets_our_answer() {
    let server = Server::helpline(ACCOUNT);
    let mut carrier = server.phone(7);
    let first = carrier.wait("REGISTER", |m| m.is("REGISTER"));
    let challenge = "WWW-Authenticate: Digest realm=\"elsewhere\", nonce=\"n\", algorithm=MD5\r\n";
    carrier.send(
        &reply(&first, 401, None, None).replace("Content-Length", &format!("{challenge}Content-Length")),
    );
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="account"}"#, 0.0);
    let again =
        carrier.wait("another attempt", |m| m.is("REGISTER") && m.header("CSeq") != first.header("CSeq"));
    assert!(again.header("Authorization").is_empty());
}

#[test]
fn options_tell_whether_a_carrier_is_there() {
    let more =
        "[[trunk]]\nname = \"asked\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\noptions = \"5s\"\n";
    let server = Server::helpline(more);
    let mut carrier = server.phone(8);
    let options = carrier.wait("OPTIONS", |m| m.is("OPTIONS"));
    carrier.send(&reply(&options, 200, None, None));
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="asked"}"#, 1.0);
    let next = carrier.wait("OPTIONS again", |m| m.is("OPTIONS") && m.call_id() != options.call_id());
    carrier.send(&reply(&next, 503, None, None));
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="asked"}"#, 0.0);
    server.wait_log("event=\"trunk\" trunk=\"asked\" what=\"no_answer\"");
}

#[test]
fn a_carrier_whose_name_nobody_knows_is_told_as_that() {
    let more = "[dns]\nserver = \"NET.9:53\"\n\
                [[trunk]]\nname = \"asked\"\nsources = [\"NET.8\"]\ntarget = \"sip:carrier.invalid\"\noptions = \"5s\"\n";
    let server = Server::helpline(more);
    let told = server.wait_log("event=\"trunk\" trunk=\"asked\" what=\"name_not_found\"");
    assert!(told.contains("spelling") && !told.contains("carrier.invalid"), "{told}");
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="asked"}"#, 0.0);
}

#[test]
fn a_call_goes_out_by_the_backup_of_a_trunk_that_does_not_take_it() {
    let trunks = "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\nbackup = \"second\"\n\
                  [[trunk]]\nname = \"second\"\nsources = [\"NET.9\"]\ntarget = \"sip:NET.9:5060\"\nidentity = \"0781712\"\n";
    let server = Site::new(&refers(trunks)).start();
    let (mut caller, mut first, mut second) = (server.carrier(), server.phone(8), server.phone(9));
    let ear = Rtp::bind(server.place().host(2));
    let (mut call, _) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
    let refused = first.wait("INVITE at the first", |m| m.is("INVITE"));
    assert!(refused.header("P-Preferred-Identity").is_empty());
    first.send(&reply(&refused, 503, None, None).replace("\r\nCall-ID", ";tag=no\r\nCall-ID"));
    let there = Rtp::bind(server.place().host(9));
    let (_dialog, invite, _) = Dialog::answer(&mut second, &Sdp::pcma(there.local));
    assert!(invite.request_uri().starts_with("sip:106@"));
    let own = format!("<sip:0781712@{}>", server.place().host(9));
    assert_eq!(invite.header("P-Preferred-Identity"), own, "the account is told to the carrier");
    assert!(invite.header("From").contains("anonymous.invalid"), "and nobody else");
    call.bye(&mut caller);
    second.wait("BYE", |m| m.is("BYE"));
}

#[test]
fn a_carrier_that_is_known_not_to_answer_is_called_last() {
    let trunks = "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\nbackup = \"second\"\n\
                  username = \"u\"\npassword = \"p\"\nregister = true\n\
                  [[trunk]]\nname = \"second\"\nsources = [\"NET.9\"]\ntarget = \"sip:NET.9:5060\"\n";
    let server = Site::new(&refers(trunks)).start();
    let (mut caller, mut first, mut second) = (server.carrier(), server.phone(8), server.phone(9));
    let register = first.wait("REGISTER", |m| m.is("REGISTER"));
    first.send(&reply(&register, 403, None, None));
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="first"}"#, 0.0);
    let ear = Rtp::bind(server.place().host(2));
    let (mut call, _) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
    second.wait("INVITE at the second at once", |m| m.is("INVITE"));
    assert!(!first.history().contains("INVITE sip:106"), "{}", first.history());
    call.bye(&mut caller);
}

/// A carrier whose name service is a server of the test's own.
fn by_name(records: &str, trunk: &str) -> (Site, NameServer) {
    let toml = format!("{}\n[dns]\nserver = \"NET.53:5353\"\n", refers(trunk));
    let site = Site::new(&toml);
    let at = (site.place.host(53), 5353).into();
    let names = NameServer::start(at, &site.place.fill(records));
    (site, names)
}

#[test]
fn rfc_3263_4_3_a_carrier_is_found_by_srv_and_the_second_port_has_the_call_when_the_first_is_closed() {
    let records = "_sip._udp.carrier.test SRV 10 5 5070 a.carrier.test\n\
                   _sip._udp.carrier.test SRV 20 5 5080 b.carrier.test\n\
                   a.carrier.test A NET.8\nb.carrier.test A NET.9";
    let trunk = "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:carrier.test\"\n";
    let (site, names) = by_name(records, trunk);
    let server = site.start();
    let second = (server.place().host(9), 5080).into();
    let (mut caller, mut second) = (server.carrier(), Peer::udp(second, server.sip()));
    for n in 1..=2 {
        let ear = Rtp::bind(server.place().host(2));
        let (mut call, _) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
        let there = Rtp::bind(server.place().host(9));
        let (_dialog, invite, _) = Dialog::answer(&mut second, &Sdp::pcma(there.local));
        assert_eq!(invite.request_uri(), "sip:106@carrier.test", "{n}");
        call.bye(&mut caller);
        second.wait("BYE", |m| m.is("BYE"));
    }
    let asked = names.asked();
    for question in
        ["NAPTR carrier.test", "SRV _sip._udp.carrier.test", "A a.carrier.test", "A b.carrier.test"]
    {
        assert!(asked.iter().any(|line| line == question), "{question}: {asked:?}");
    }
    server.wait_metric_is("hulplijn_places_set_aside_total", 1.0);
    server.wait_log("event=\"set_aside\"");
}

#[test]
fn rfc_3263_a_registration_goes_to_the_next_place_when_the_first_is_silent() {
    let records = "_sip._udp.carrier.test SRV 10 5 5070 a.carrier.test\n\
                   _sip._udp.carrier.test SRV 20 5 5080 b.carrier.test\n\
                   a.carrier.test A NET.8\nb.carrier.test A NET.9";
    let trunk = "[[trunk]]\nname = \"first\"\ntarget = \"sip:carrier.test\"\nusername = \"0781712\"\npassword = \"geheim\"\n\
                 register = true\n";
    let (site, _names) = by_name(records, trunk);
    let server = site.start();
    let peer = |last, port| Peer::udp((server.place().host(last), port).into(), server.sip());
    let mut second = peer(9, 5080);
    let register = second.wait("REGISTER", |m| m.is("REGISTER"));
    assert_eq!(register.request_uri(), "sip:carrier.test");
    accept(&mut second, &register, 600);
    server.wait_metric_is(r#"hulplijn_trunk_up{trunk="first"}"#, 1.0);
}

#[test]
fn rfc_3263_4_3_the_next_place_may_be_of_another_transport() {
    let records = "carrier.test NAPTR 10 10 SIP+D2T _sip._tcp.carrier.test\n\
                   carrier.test NAPTR 20 10 SIP+D2U _sip._udp.carrier.test\n\
                   _sip._tcp.carrier.test SRV 10 5 5070 a.carrier.test\n\
                   _sip._udp.carrier.test SRV 10 5 5080 a.carrier.test\n\
                   a.carrier.test A NET.8";
    let trunk = "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:carrier.test\"\n";
    let (site, _names) = by_name(records, trunk);
    let server = site.start();
    let mut datagrams = Peer::udp((server.place().host(8), 5080).into(), server.sip());
    let mut caller = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let (mut call, _) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
    let there = Rtp::bind(server.place().host(8));
    let (_dialog, invite, _) = Dialog::answer(&mut datagrams, &Sdp::pcma(there.local));
    assert!(invite.header("Via").contains("SIP/2.0/UDP"), "the connection was refused: {}", invite.text);
    server.wait_metric_is("hulplijn_places_set_aside_total", 1.0);
    call.bye(&mut caller);
    datagrams.wait("BYE", |m| m.is("BYE"));
}

#[test]
fn rfc_3261_18_1_1_a_long_invite_goes_over_tcp_to_a_carrier_that_takes_it_and_else_over_udp() {
    let long = "x".repeat(1000);
    let trunk = format!(
        "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\nidentity = \"sip:{long}@NET.1\"\n"
    );
    for takes in [true, false] {
        let server = Site::new(&refers(&trunk)).start();
        let mut caller = server.carrier();
        let at = (server.place().host(8), 5060);
        let listener = takes.then(|| TcpListener::bind(at).expect("a listener"));
        let mut datagrams = Peer::udp(at.into(), server.sip());
        let ear = Rtp::bind(server.place().host(2));
        let (mut call, _) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
        let mut stream = listener.as_ref().map(Peer::accept);
        let carrier = stream.as_mut().unwrap_or(&mut datagrams);
        let there = Rtp::bind(server.place().host(8));
        let (_dialog, invite, _) = Dialog::answer(carrier, &Sdp::pcma(there.local));
        assert!(invite.text.len() > 1300, "{}", invite.text);
        let via = if takes { "SIP/2.0/TCP" } else { "SIP/2.0/UDP" };
        assert!(invite.header("Via").starts_with(via), "{}", invite.text);
        call.bye(&mut caller);
        carrier.wait("BYE", |m| m.is("BYE"));
        if takes {
            assert!(!datagrams.history().contains("INVITE"), "{}", datagrams.history());
        }
    }
}

#[test]
fn rfc_3263_4_3_the_next_place_may_be_of_the_other_family_and_has_its_audio_there() {
    let ip: IpAddr = "::1".parse().expect("an address");
    let [sip, carrier] = [0; 2].map(|_| support::place::free_port(ip));
    let trunks = format!(
        "[[trunk]]\nname = \"first\"\nsources = [\"NET.8\"]\ntarget = \"sip:NET.8:5060\"\nbackup = \"second\"\n\
         [[trunk]]\nname = \"second\"\nsources = [\"::1\"]\ntarget = \"sip:[::1]:{carrier}\"\n\
         [[listen]]\ntransport = \"udp\"\naddress = \"[::1]:{sip}\"\n"
    );
    let server = Site::new(&refers(&trunks)).start();
    let (mut caller, mut first) = (server.carrier(), server.phone(8));
    let mut second = Peer::udp((ip, carrier).into(), (ip, sip).into());
    let mut ear = Rtp::bind(server.place().host(2));
    let (mut call, to) = Dialog::call(&mut caller, "refer", &Sdp::pcma(ear.local));
    let refused = first.wait("INVITE at the first", |m| m.is("INVITE"));
    first.send(&reply(&refused, 503, None, None).replace("\r\nCall-ID", ";tag=no\r\nCall-ID"));
    let mut there = Rtp::bind(ip);
    let (_dialog, invite, back) = Dialog::answer(&mut second, &Sdp::pcma(there.local));
    assert!(invite.header("Via").contains(&format!("[::1]:{sip}")), "{}", invite.text);
    assert_eq!(back.ip(), ip, "{}", invite.text);
    let words = support::prompts::noise("words", 20 * support::rtp::FRAME);
    let heard = |ear: &Rtp| words.chunks(support::rtp::FRAME).any(|frame| ear.has_heard(frame));
    for _ in 0..40 {
        for frame in words.chunks(support::rtp::FRAME) {
            there.say(back, frame);
            ear.say(to, &[support::rtp::SILENCE; support::rtp::FRAME]);
        }
        if heard(&ear) {
            break;
        }
    }
    assert!(heard(&ear), "{} packets came", ear.heard.len());
    call.bye(&mut caller);
    second.wait("BYE", |m| m.is("BYE"));
}

/// The first that is found for an address says nothing of the others, and a call does not say whose it is.
#[test]
fn of_two_carriers_at_one_address_the_stricter_says_whether_a_call_may_come_in_the_clear() {
    const FIRST: &str = "sources = [\"NET.2\"]\n";
    let second = |srtp: &str| {
        format!(
            "[[trunk]]\nname = \"second\"\nsources = [\"NET.0/24\"]\ntarget = \"sip:NET.2:5060\"\nsrtp = \"{srtp}\"\n"
        )
    };
    for (first, other, clear, encrypted) in [
        ("optional", "mandatory", 488, 200),
        ("mandatory", "optional", 488, 200),
        ("never", "mandatory", 488, 200),
        ("never", "optional", 200, 200),
        ("never", "never", 200, 488),
    ] {
        let helpline = HELPLINE.replace(FIRST, &format!("{FIRST}srtp = \"{first}\"\n"));
        let server = Site::new(&format!("{helpline}\n{}", second(other))).start();
        let mut carrier = server.carrier();
        let ear = Rtp::bind(server.place().host(2));
        let plain = Sdp::pcma(ear.local).text();
        let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n";
        let keyed = plain.replace("RTP/AVP", "RTP/SAVP") + key;
        for (sdp, status) in [(plain, clear), (keyed, encrypted)] {
            let mut dialog = Dialog::to(&carrier, "say");
            carrier.send(&dialog.request("INVITE", &["Content-Type: application/sdp"], &sdp));
            let answer = dialog.await_final(&mut carrier, "INVITE");
            assert_eq!(answer.status(), Some(status), "{first}, {other}: {sdp}");
            if status == 200 {
                dialog.learn(&answer);
                carrier.send(&dialog.ack(None));
                dialog.bye(&mut carrier);
            } else {
                carrier.send(&dialog.ack_refusal(&answer));
            }
        }
    }
}
