//! Calls over TLS and WebSocket with the running switch: phones, carriers, browsers, and what is refused.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use support::certificates::{Authority, Wire, answer, certificate};
use support::dns::NameServer;
use support::peer::{accepted, connect};
use support::rtp::FRAME;
use support::server::HELPLINE;
use support::{Algorithm, Dialog, Peer, Registration, Rtp, Sdp, Server, Site, prompts};

const ORIGIN: &str = "https://phone.example";

/// The usual helpline with TLS and WebSocket, and a line that is called by name over TLS at PORT.
const MORE: &str = r#"
[[listen]]
transport = "tls"
address = "NET.1:5061"
certificate = "switch.pem"
key = "switch.key"

[[listen]]
transport = "ws"
address = "NET.1:5080"
origins = ["https://phone.example"]

[[listen]]
transport = "wss"
address = "NET.1:5081"
certificate = "switch.pem"
key = "switch.key"
origins = ["https://phone.example"]

[tls]
ca = "ca.pem"

[[line]]
name = "centre"
uri = "sip:centre@localhost:PORT;transport=tls"
logged-in = true

[[number]]
dial = "centre"
flow = "centre"

[[number]]
dial = "direct"
flow = "direct"

[flow.centre]
start = "line"
step.line = { do = "line", line = "centre", failed = "end" }
step.end = { do = "hangup", prompts = ["nobody-there"] }

[flow.direct]
start = "queue"
step.queue = { do = "queue", queue = "1712", full = "end", nobody = "end", too-long = "end" }
step.end = { do = "hangup", prompts = ["nobody-there"] }
"#;

fn site(authority: &Authority, centre: u16) -> Site {
    let more = MORE.replace("PORT", &centre.to_string());
    let site = Site::new(&format!("{HELPLINE}\n{more}"));
    authority.write(&site.config(), "ca.pem");
    authority.sign(&site.config(), "switch", &["switch.example"]);
    site
}

fn secure(
    authority: &Authority,
    server: &Server,
    last: u8,
    version: &'static SupportedProtocolVersion,
) -> Peer {
    let to = SocketAddr::new(server.place().host(1), 5061);
    let (wire, socket, _) = authority.connect(server.place().host(last), to, version);
    Peer::tls((wire, socket), to)
}

/// Registers as anna, is called through the queue, and speaks with the caller. The INVITE as it came to her.
fn serves(server: &Server, phone: &mut Peer) -> support::Message {
    let mut carrier = server.carrier();
    Registration::new(phone, "anna", "geheim-anna").succeed(phone, Algorithm::Sha256);
    let (mut caller, mut counsellor) = (Rtp::bind(server.place().host(2)), Rtp::bind(server.place().host(4)));
    let (mut dialog, to) = Dialog::call(&mut carrier, "direct", &Sdp::pcma(caller.local));
    let (_answered, invite, line_to) = Dialog::answer(phone, &Sdp::pcma(counsellor.local));
    let words = prompts::noise("counsellor", 50 * FRAME);
    counsellor.say(line_to, &words);
    caller.stay_until(to, "the counsellor", |ear| ear.has_heard(&words[40 * FRAME..45 * FRAME]));
    dialog.bye(&mut carrier);
    let bye = phone.wait("BYE at the line", |m| m.is("BYE"));
    phone.send(&support::reply(&bye, 200, None, None));
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    invite
}

/// Registers the phone, lets it ring, and the caller hangs up; the INVITE that it got.
fn rings(server: &Server, phone: &mut Peer) -> support::Message {
    let mut carrier = server.carrier();
    Registration::new(phone, "anna", "geheim-anna").succeed(phone, Algorithm::Sha256);
    let ear = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "direct", &Sdp::pcma(ear.local));
    let invite = phone.wait("INVITE at a page", |m| m.is("INVITE"));
    phone.send(&support::reply(&invite, 100, None, None));
    dialog.bye(&mut carrier);
    let cancel = phone.wait("CANCEL at a page", |m| m.is("CANCEL"));
    phone.send(&support::reply(&cancel, 200, None, None));
    phone.send(&support::reply(&invite, 487, None, None));
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    invite
}

#[test]
fn rfc_3261_26_3_1_a_phone_registers_and_is_called_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let server = site(&authority, 5066).start();
    for version in [&TLS12, &TLS13] {
        let mut phone = secure(&authority, &server, 4, version);
        let invite = serves(&server, &mut phone);
        assert!(invite.header("Via").starts_with("SIP/2.0/TLS "), "{}", invite.text);
        assert!(invite.header("Contact").contains(":5061;transport=tls>"), "{}", invite.text);
    }
}

#[test]
fn rfc_7118_a_browser_registers_and_is_called_over_ws_and_wss() {
    let authority = Authority::new();
    let server = site(&authority, 5066).start();
    let host = server.place().host(4);
    for (transport, port) in [("WS", 5080), ("WSS", 5081)] {
        let to = SocketAddr::new(server.place().host(1), port);
        let wire: (Box<dyn Wire>, _) = if transport == "WS" {
            let socket = connect(host, to);
            (Box::new(socket.try_clone().expect("a socket")), socket)
        } else {
            let (wire, socket, _) = authority.connect(host, to, &TLS13);
            (wire, socket)
        };
        let mut phone = Peer::web(wire, to, transport, ORIGIN);
        let invite = rings(&server, &mut phone);
        // Its sound is tried with a real browser: `interop`, jssip.
        assert!(invite.text.contains(" UDP/TLS/RTP/SAVPF "), "{}", invite.text);
        assert!(invite.header("Via").starts_with(&format!("SIP/2.0/{transport} ")), "{}", invite.text);
        assert!(invite.header("Contact").contains(&format!(":{port};transport=ws>")), "{}", invite.text);
        assert!(invite.text.starts_with("INVITE sip:peer@"), "{}", invite.text);
    }
}

#[test]
fn rfc_3261_12_1_1_a_carrier_calls_over_tls_and_sips_is_answered_with_sips() {
    let authority = Authority::new();
    let server = site(&authority, 5066).start();
    let mut carrier = secure(&authority, &server, 2, &TLS13);
    let ear = Rtp::bind(server.place().host(2));
    let (mut call, _) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    assert!(call.target.contains(":5061;transport=tls"), "{}", call.target);
    call.bye(&mut carrier);
    let mut dialog = Dialog::to(&carrier, "wait");
    dialog.target = dialog.target.replace("sip:", "sips:");
    carrier.send(&dialog.invite(&Sdp::pcma(ear.local)));
    let answer = dialog.await_final(&mut carrier, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert!(answer.contact().starts_with("sips:"), "{}", answer.text);
    dialog.learn(&answer);
    carrier.send(&dialog.ack(None));
    dialog.bye(&mut carrier);
}

#[test]
fn rfc_5922_a_carrier_proves_itself_by_its_certificate_and_a_name_beside_it_does_not() {
    let authority = Authority::new();
    let site = site(&authority, 5066);
    for name in ["sip.carrier.example", "elsewhere.example"] {
        authority.sign(&site.config(), name, &[name]);
    }
    let trunk = "\n[[trunk]]\nname = \"certified\"\ncertificate-name = \"sip.carrier.example\"\n";
    let text = format!("{HELPLINE}\n{}{trunk}", MORE.replace("PORT", "5066"));
    site.write_config(&text.replacen(
        "key = \"switch.key\"",
        "key = \"switch.key\"\nclient-ca = \"ca.pem\"",
        1,
    ));
    let server = site.start();
    let to = SocketAddr::new(server.place().host(1), 5061);
    let ear = Rtp::bind(server.place().host(9));
    let from = |own: Option<&str>| {
        let folder = server.site().config();
        let own = own.map(|file| (folder.as_path(), file));
        let (wire, socket, _) = authority.connect_as(server.place().host(9), to, &TLS13, own);
        Peer::tls((wire, socket), to)
    };
    for own in [None, Some("elsewhere.example")] {
        let refused = Dialog::refused(&mut from(own), "wait", &Sdp::pcma(ear.local));
        assert_eq!(refused.status(), Some(403), "{own:?}");
    }
    let mut carrier = from(Some("sip.carrier.example"));
    let (mut call, _) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    call.bye(&mut carrier);
}

#[test]
fn rfc_5922_a_line_is_called_by_its_name_and_only_who_bears_it_hears_of_the_call() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let site = site(&authority, listener.local_addr().expect("bound").port());
    let folder = site.config();
    authority.sign(&folder, "wrong-name", &["elsewhere.example"]);
    stranger.sign(&folder, "wrong-authority", &["localhost"]);
    authority.sign(&folder, "right", &["localhost"]);
    let server = site.start();
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    for (count, file) in ["wrong-name", "wrong-authority"].into_iter().enumerate() {
        let (dialog, _) = Dialog::call(&mut carrier, "centre", &Sdp::pcma(ear.local));
        assert!(answer(accepted(&listener).0, &folder, file).is_none(), "{file} is taken");
        server.wait_metric(r#"hulplijn_dropped_total{reason="peer_certificate"}"#, count as f64 + 1.0);
        dialog.await_bye(&mut carrier);
    }
    let (mut dialog, _) = Dialog::call(&mut carrier, "centre", &Sdp::pcma(ear.local));
    let (socket, from) = accepted(&listener);
    assert_eq!(from.ip(), server.place().host(1));
    let mut centre = Peer::tls(answer(socket, &folder, "right").expect("a handshake"), from);
    let (_, invite, _) = Dialog::answer(&mut centre, &Sdp::pcma(ear.local));
    assert!(invite.text.starts_with("INVITE sip:centre@localhost:"), "{}", invite.text);
    assert!(invite.header("Via").starts_with("SIP/2.0/TLS "), "{}", invite.text);
    dialog.bye(&mut carrier);
    centre.wait("BYE over the same connection", |m| m.is("BYE"));
}

#[test]
fn rfc_5922_4_the_name_of_the_address_counts_wherever_naptr_and_srv_lead() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    let more = MORE.replace("sip:centre@localhost:PORT;transport=tls", "sip:centre@centre.test");
    let site = Site::new(&format!("{HELPLINE}\n{more}\n[dns]\nserver = \"NET.53:5353\"\n"));
    let folder = site.config();
    authority.write(&folder, "ca.pem");
    authority.sign(&folder, "switch", &["switch.example"]);
    authority.sign(&folder, "of-srv", &["a.centre.test"]);
    authority.sign(&folder, "of-address", &["centre.test"]);
    let records = format!(
        "centre.test NAPTR 1 1 SIPS+D2T _sips._tcp.centre.test\n\
         _sips._tcp.centre.test SRV 1 1 {port} a.centre.test\na.centre.test A 127.0.0.1"
    );
    let _names = NameServer::start((site.place.host(53), 5353).into(), &records);
    let server = site.start();
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "centre", &Sdp::pcma(ear.local));
    assert!(answer(accepted(&listener).0, &folder, "of-srv").is_none(), "a name that DNS gave is taken");
    server.wait_metric(r#"hulplijn_dropped_total{reason="peer_certificate"}"#, 1.0);
    dialog.await_bye(&mut carrier);
    let (mut dialog, _) = Dialog::call(&mut carrier, "centre", &Sdp::pcma(ear.local));
    let (socket, from) = accepted(&listener);
    let mut centre = Peer::tls(answer(socket, &folder, "of-address").expect("a handshake"), from);
    let (_, invite, _) = Dialog::answer(&mut centre, &Sdp::pcma(ear.local));
    assert!(invite.text.starts_with("INVITE sip:centre@centre.test SIP"), "{}", invite.text);
    dialog.bye(&mut carrier);
    centre.wait("BYE over the same connection", |m| m.is("BYE"));
}

#[test]
fn sighup_shows_another_certificate_while_a_call_over_the_old_one_goes_on() {
    let authority = Authority::new();
    let server = site(&authority, 5066).start();
    let folder = server.site().config();
    let mut carrier = secure(&authority, &server, 2, &TLS13);
    let mut ear = Rtp::bind(server.place().host(2));
    let (mut call, to) = Dialog::call(&mut carrier, "loop", &Sdp::pcma(ear.local));
    let shown = || authority.connect(server.place().host(4), (server.place().host(1), 5061).into(), &TLS12).2;
    let old = shown();
    authority.sign(&folder, "switch", &["switch.example"]);
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 2.0);
    let new = certificate(&folder, "switch");
    assert!(old != new && shown() == new);
    // One that can't be used changes nothing.
    fs::write(folder.join("switch.pem"), "not PEM").expect("written");
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_refused_total", 1.0);
    assert!(shown() == new);
    let before = ear.audio().len();
    ear.stay_until(to, "the loop", |ear| ear.audio().len() > before + 10 * FRAME);
    call.bye(&mut carrier);
}

#[test]
fn check_names_a_certificate_and_a_key_that_can_not_be_used() {
    let authority = Authority::new();
    let site = site(&authority, 5066);
    let text = fs::read_to_string(site.config().join("all.toml")).expect("written");
    let line = |what: &str| text.lines().position(|line| line == what).expect("a line") + 1;
    let key = fs::read(site.config().join("switch.key")).expect("a key");
    let finds = |words: &str, at: usize| {
        let output = site.command(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = format!("all.toml:{at}: error: ");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.lines().any(|l| l.contains(&place) && l.contains(words) && l.contains("allowed:")),
            "{said}"
        );
    };
    assert_eq!(site.command(&["check"]).status.code(), Some(0));
    authority.sign(&site.config(), "switch", &["switch.example"]);
    fs::write(site.config().join("switch.key"), key).expect("written");
    finds("the key is not the certificate's", line("key = \"switch.key\""));
    fs::remove_file(site.config().join("switch.pem")).expect("removed");
    finds("it can't be read", line("certificate = \"switch.pem\""));
    authority.sign(&site.config(), "switch", &["switch.example"]);
    fs::write(site.config().join("ca.pem"), "nothing").expect("written");
    finds("it holds no certificate in PEM form", line("ca = \"ca.pem\""));
    // Nor does it start.
    assert_eq!(site.spawn().wait_exit(), Some(1));
}
