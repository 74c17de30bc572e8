//! JsSIP in a headless Chromium as a counsellor's web phone: SIP over WebSocket from a page, and its sound by WebRTC.

use hulplijn::media::audio;
use hulplijn::media::command::Music;
use hulplijn::media::g711::Law;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use crate::browser::{Browser, PORT, TONES, WEB, hears, tone};
use crate::linear;
use crate::support::certificates::Authority;
use crate::support::prompts;
use crate::support::rtp::FRAME;
use crate::support::server::HELPLINE;
use crate::support::{Dialog, PATIENCE, Peer, Rtp, Sdp, Server, Site};

/// A helpline that pages of this origin may call. JsSIP knows MD5 only and looks at the last challenge, which is that.
fn helpline(origin: &str) -> Server {
    let site = Site::new(&format!("{HELPLINE}{}", WEB.replace("ORIGIN", origin)));
    Authority::new().sign(&site.config(), "switch", &["switch.example"]);
    site.start()
}

/// Registers, is rung by a call without a word of who calls, declines, and unregisters.
fn serves(transport: &str, port: u16) {
    let server = helpline(&format!("http://NET.5:{PORT}"));
    let socket = format!("{transport}://{}:{port}", server.place().host(1));
    let page = Browser::open(&server, &socket, "geheim-anna");
    page.tells("connected");
    page.tells("registered");
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let mut carrier = server.carrier();
    let caller = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    page.tells("called by 1712 sip:anonymous@anonymous.invalid");
    page.does("decline 0");
    page.tells("0 failed by local: Rejected");
    server.wait_log("event=\"missed\"");
    page.does("unregister");
    page.tells("unregistered");
    server.wait_metric_is("hulplijn_lines_registered", 0.0);
    dialog.bye(&mut carrier);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

#[test]
fn a_page_registers_over_ws_and_is_called() {
    serves("ws", 5080);
}

#[test]
fn a_page_registers_over_wss_and_is_called() {
    serves("wss", 5081);
}

#[test]
fn a_page_of_another_origin_gets_no_connection() {
    let server = helpline(&format!("https://NET.5:{PORT}"));
    let socket = format!("ws://{}:5080", server.place().host(1));
    let page = Browser::open(&server, &socket, "geheim-anna");
    page.tells("disconnected");
    server.wait_metric(r#"hulplijn_dropped_total{reason="websocket_upgrade"}"#, 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

#[test]
fn a_page_with_a_wrong_password_is_refused_and_counted() {
    let server = helpline(&format!("http://NET.5:{PORT}"));
    let socket = format!("ws://{}:5080", server.place().host(1));
    let page = Browser::open(&server, &socket, "geraden");
    page.tells("connected");
    page.tells("not registered: Authentication Error");
    server.wait_metric("hulplijn_auth_failures_total", 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

/// What the caller says for a tenth of a second.
fn said(hertz: u32) -> Vec<u8> {
    tone(hertz, 5 * FRAME).into_iter().map(prompts::alaw_of).collect()
}

/// The telephone and the browser's call speak until each has heard the other's tones, and only those.
fn talk(page: &Browser, call: usize, (ear, to): (&mut Rtp, SocketAddr), hertz: u32) {
    ear.heard.clear();
    page.forget(call);
    let deadline = Instant::now() + PATIENCE;
    let enough = |ear: &Rtp| {
        let heard = linear(&ear.audio());
        TONES.iter().all(|hertz| hears(&heard, *hertz) >= 15) && hears(&page.heard(call), hertz) >= 20
    };
    while !enough(ear) {
        ear.say(to, &said(hertz));
        let heard = linear(&ear.audio());
        assert!(
            Instant::now() < deadline,
            "the telephone heard {:?} twentieths of {TONES:?} in {}, the browser {} of {hertz} in {}",
            TONES.map(|hertz| hears(&heard, hertz)),
            heard.len() / 400,
            hears(&page.heard(call), hertz),
            page.heard(call).len() / 400,
        );
    }
    let echo: usize = TONES.iter().map(|own| hears(&page.heard(call), *own)).sum();
    assert_eq!((echo, hears(&linear(&ear.audio()), hertz)), (0, 0), "nobody hears itself");
}

/// A page that is registered over WSS, the carrier, and a caller who is answered by the page.
struct Scene {
    page: Browser,
    carrier: Peer,
    caller: Rtp,
    dialog: Dialog,
    to: SocketAddr,
    server: Server,
}

fn registered() -> (Browser, Server) {
    let server = helpline(&format!("http://NET.5:{PORT}"));
    let socket = format!("wss://{}:5081", server.place().host(1));
    let page = Browser::open(&server, &socket, "geheim-anna");
    page.tells("connected");
    page.tells("registered");
    (page, server)
}

impl Scene {
    fn joined() -> Self {
        let (page, server) = registered();
        let mut carrier = server.carrier();
        let caller = Rtp::bind(server.place().host(2));
        let (dialog, to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
        let mut scene = Self { page, carrier, caller, dialog, to, server };
        scene.answered(0);
        scene
    }

    fn answered(&mut self, call: usize) {
        self.page.tells("called by 1712 sip:anonymous@anonymous.invalid");
        self.page.does(&format!("answer {call}"));
        self.page.tells(&format!("{call} up"));
    }

    fn talk(&mut self, call: usize, hertz: u32) {
        talk(&self.page, call, (&mut self.caller, self.to), hertz);
    }
}

/// This music as it is heard, at its quiet level.
fn on_hold(music: &[u8]) -> Vec<u8> {
    let samples: Vec<i16> = music.iter().map(|octet| prompts::linear(*octet)).collect();
    let music = Music::new(&[audio::clip("music", &samples)], -32.0);
    let frame = |number| {
        let mut frame = [0; FRAME];
        music.bytes(number, Law::A, &mut frame);
        frame
    };
    (0..50).flat_map(frame).collect()
}

#[test]
fn a_browser_answers_over_wss_and_is_heard_and_hears_presses_keys_holds_and_hangs_up() {
    let mut scene = Scene::joined();
    scene.talk(0, 500);
    scene.page.does("press 0 5");
    let to = scene.to;
    scene.caller.stay_until(to, "the key 5 of the browser", |ear| {
        ear.heard
            .iter()
            .any(|p| p.payload_type == 101 && p.payload.first() == Some(&5) && p.payload[1] & 0x80 != 0)
    });
    scene.page.does("hold 0");
    scene.page.tells("0 held by local");
    // The caller hears music, and the browser nothing more of the caller.
    let music = on_hold(&prompts::noise("music", 50 * FRAME));
    scene.caller.heard.clear();
    scene.caller.stay_until(to, "music", |ear| ear.has_heard(&music[10 * FRAME..20 * FRAME]));
    scene.page.forget(0);
    scene.caller.say(to, &said(500).repeat(10));
    assert_eq!(hears(&scene.page.heard(0), 500), 0, "who holds hears nothing");
    scene.page.does("unhold 0");
    scene.page.tells("0 resumed by local");
    scene.talk(0, 1500);
    scene.page.does("restart 0");
    scene.page.tells("0 restarted");
    scene.talk(0, 500);
    scene.page.does("hang 0");
    scene.page.tells("0 ended by local");
    scene.dialog.await_bye(&mut scene.carrier);
    scene.server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    assert!(scene.server.metric(r#"hulplijn_calls_total{outcome="joined"}"#) > 0.0);

    // A second call, which the caller ends.
    let (dialog, to) = Dialog::call(&mut scene.carrier, "1712", &Sdp::pcma(scene.caller.local));
    (scene.dialog, scene.to) = (dialog, to);
    scene.answered(1);
    scene.talk(1, 500);
    scene.dialog.bye(&mut scene.carrier);
    scene.page.tells("1 ended by remote");
    scene.server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    let encrypted = scene.server.metric(r#"hulplijn_media_legs_total{security="none"}"#);
    assert!((encrypted - 2.0).abs() < 0.1, "of four sides the caller's two were in the clear: {encrypted}");
}

#[test]
fn a_browser_calls_in_while_its_caller_is_held_and_both_are_heard() {
    let mut scene = Scene::joined();
    scene.talk(0, 500);
    scene.page.does("hold 0");
    scene.page.tells("0 held by local");
    let mut colleague = scene.server.phone(3);
    let mut ear = Rtp::bind(scene.server.place().host(3));
    scene.page.does("dial - fixed");
    let (mut asked, _, to) = Dialog::answer(&mut colleague, &Sdp::pcma(ear.local));
    scene.page.tells("1 up");
    talk(&scene.page, 1, (&mut ear, to), 1500);
    asked.bye(&mut colleague);
    scene.page.tells("1 ended by remote");
    scene.page.does("unhold 0");
    scene.page.tells("0 resumed by local");
    scene.talk(0, 500);
    scene.page.does("hang 0");
    scene.page.tells("0 ended by local");
    scene.dialog.await_bye(&mut scene.carrier);
}

#[test]
fn a_browser_with_another_certificate_than_it_names_is_hung_up_and_counted() {
    let (page, server) = registered();
    let mut carrier = server.carrier();
    let caller = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    page.tells("called by 1712 sip:anonymous@anonymous.invalid");
    page.does("lie 0");
    page.tells("0 up");
    page.tells("0 ended by remote");
    server.wait_metric(r#"hulplijn_web_failures_total{reason="certificate"}"#, 1.0);
    dialog.bye(&mut carrier);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

/// A STUN check with a signature of nobody, and the hello of a handshake.
fn forged() -> [Vec<u8>; 3] {
    let check = stun(&[(0x0006, b"guessed:guessed"), (0x0025, b""), (0x0008, &[7; 20])]);
    let unsigned = stun(&[(0x0025, b"")]);
    let mut hello =
        vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0, 41, 254, 253];
    hello.extend([7; 38]);
    [check, unsigned, hello]
}

/// A Binding request with these attributes and its fingerprint (RFC 8489 5, 14.7).
fn stun(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], b"twelve bytes"].concat();
    for (kind, value) in attributes {
        bytes.extend([kind.to_be_bytes(), (value.len() as u16).to_be_bytes()].concat());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = (bytes.len() - 20 + 8) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let crc = !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    bytes.extend([0x80, 0x28, 0, 4]);
    bytes.extend((crc ^ 0x5354_554e).to_be_bytes());
    bytes
}

#[test]
fn strangers_on_the_ports_of_a_browsers_call_change_nothing_and_hear_nothing() {
    let mut scene = Scene::joined();
    scene.talk(0, 500);
    let stranger = UdpSocket::bind((scene.server.place().host(9), 0)).expect("a socket");
    let us = scene.server.place().host(1);
    let (forged, rtp) = (forged(), scene.caller.packet(8, false, &[0x2a; FRAME]));
    for _ in 0..5 {
        for port in (20_000..20_400u16).step_by(2) {
            for bytes in forged.iter().chain([&rtp]) {
                stranger.send_to(bytes, (us, port)).expect("sent");
            }
        }
    }
    scene.talk(0, 1500);
    stranger.set_nonblocking(true).expect("a socket");
    let mut answer = [0; 2048];
    let mut refusals = 0;
    while let Ok((length, _)) = stranger.recv_from(&mut answer) {
        refusals += 1;
        // Nothing but the refusal of a check, which is no longer than what it refuses.
        assert_eq!(answer[..2], [0x01, 0x11], "{:?}", &answer[..length]);
        assert!(length <= forged[1].len().max(forged[0].len()), "{length}");
    }
    assert!(refusals <= 10, "{refusals}");
    scene.page.does("hang 0");
    scene.page.tells("0 ended by local");
    scene.dialog.await_bye(&mut scene.carrier);
    assert!(scene.server.metric(r#"hulplijn_rtp_packets_total{kind="foreign"}"#) > 10.0);
}
