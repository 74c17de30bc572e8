//! Linphone (its console, `linphonec`) as a counsellor's registered phone. It takes commands on its standard input,
//! and says on its standard output how its calls go.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, Command};

use crate::support::certificates::Authority;
use crate::support::place::free_port;
use crate::support::rtp::{FRAME, SILENCE};
use crate::support::server::{HELPLINE, Program};
use crate::support::{Dialog, Peer, Rtp, Sdp, Server, Site, prompts};
use crate::{hears_counsellor, linear, spoken};

/// The helpline with a TLS listener.
const SECURE: &str = r#"
[[listen]]
transport = "tls"
address = "127.0.0.1:PORT"
certificate = "switch.pem"
key = "switch.key"
"#;

const PASSWORD: &str = "geheim-anna";

/// A running linphonec that registers as `anna`.
pub struct Linphone {
    program: Program,
    input: ChildStdin,
    dir: PathBuf,
}

impl Linphone {
    fn start(server: &Server, transport: &str, at: &str, password: &str) -> Self {
        Self::start_with(server, transport, at, password, "")
    }

    /// `more`: lines below `[sip]` of its settings.
    fn start_with(server: &Server, transport: &str, at: &str, password: &str, more: &str) -> Self {
        let dir = server.site().dir.join("linphone");
        // For its database; it does not make the folder itself.
        fs::create_dir_all(dir.join(".local/share/linphone")).expect("a folder");
        prompts::write_wav(&dir.join("say.wav"), &spoken());
        let (host, switch, place) = (server.place().host(4), at, dir.display().to_string());
        let authority = server.site().config().join("ca.pem");
        // An account in its own file of settings, and what keeps it off anything but this place.
        let settings = format!(
            "[sip]\nbind_address={host}\nsip_port=5060\nsip_tcp_port=5060\nsip_tls_port=-1\nuse_ipv6=0\n\
             root_ca={}\nverify_server_certs=1\nverify_server_cn=1\ndefault_proxy=0\n{more}\
             [net]\ndns_srv_enabled=0\nmtu=1300\n\
             [rtp]\nbind_address={host}\naudio_rtp_port=7078\n\
             [audio_codec_0]\nmime=PCMA\nrate=8000\nchannels=1\nenabled=1\n\
             [sound]\nechocancellation=0\n\
             [proxy_0]\nreg_proxy=<sip:{switch};transport={transport}>\nreg_identity=sip:anna@{switch}\n\
             reg_expires=600\nreg_sendregister=1\npublish=0\n\
             [auth_info_0]\nusername=anna\npasswd={password}\nrealm=test\n",
            authority.display()
        );
        fs::write(dir.join("linphonerc"), settings).expect("written");
        let mut command = Command::new("linphonec");
        command.env("HOME", &dir).current_dir(&dir).args(["-c", "linphonerc", "-S", "-d", "6", "-l", "log"]);
        let (program, input) = Program::start_listening(command);
        let mut phone = Self { program, input, dir };
        phone.command("soundcard use files");
        phone.command(&format!("play {place}/say.wav"));
        phone.command(&format!("record {place}/heard.wav"));
        phone
    }

    pub fn command(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("linphonec listens");
    }

    pub fn says(&self, words: &str) {
        let said = self.program.out.wait_or(|line| line.contains(words), || false);
        assert!(said.is_some(), "linphonec does not say `{words}`:\n{}", self.program.out.text());
    }

    /// Stops it and reads what it heard.
    pub fn heard(mut self) -> Vec<i16> {
        self.command("quit");
        self.program.wait_exit();
        // The head of its WAV counts itself as samples.
        let wav = fs::read(self.dir.join("heard.wav")).expect("a recording");
        wav[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            eprintln!("--- linphonec said:\n{}{log}", self.program.out.text());
        }
    }
}

/// A helpline with TLS at `localhost` (Linphone's TLS takes no certificate for an address), and that port.
fn site() -> (Site, u16) {
    site_of(HELPLINE)
}

fn site_of(helpline: &str) -> (Site, u16) {
    let port = free_port([127, 0, 0, 1].into());
    let site = Site::new(&format!("{helpline}{}", SECURE.replace("PORT", &port.to_string())));
    let authority = Authority::new();
    authority.write(&site.config(), "ca.pem");
    authority.sign(&site.config(), "switch", &["localhost"]);
    (site, port)
}

/// A switch with a registered Linphone.
fn with_phone(transport: &str) -> (Server, Linphone) {
    with_phone_of(HELPLINE, transport, "")
}

/// The same with another helpline, and more lines below `[sip]` of Linphone's settings.
pub fn with_phone_of(helpline: &str, transport: &str, more: &str) -> (Server, Linphone) {
    let (site, port) = site_of(helpline);
    let server = site.start();
    let at =
        if transport == "tls" { format!("localhost:{port}") } else { server.place().host(1).to_string() };
    let phone = Linphone::start_with(&server, transport, &at, PASSWORD, more);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    (server, phone)
}

/// A caller joined with the phone, who hears it.
pub fn joined(server: &Server, phone: &mut Linphone) -> (Peer, Rtp, Dialog, SocketAddr) {
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    phone.says("Receiving new incoming call from \"1712\" <sip:anonymous@anonymous.invalid>");
    phone.command("answer");
    caller.stay_until(to, "the counsellor", hears_counsellor);
    (carrier, caller, dialog, to)
}

/// Registers, is called, speaks and hears, and hangs up.
fn serves(transport: &str) {
    let (server, mut phone) = with_phone(transport);
    let (mut carrier, mut caller, dialog, to) = joined(&server, &mut phone);
    let said = prompts::noise("caller", 100 * FRAME);
    caller.say(to, &said);
    // What is last in its jitter buffer is never recorded.
    caller.say(to, &[SILENCE; 50 * FRAME]);
    phone.command("terminate");
    dialog.await_bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    // Sample for sample, but its jitter buffer stretches and drops as it settles.
    let (said, heard) = (linear(&said), phone.heard());
    let whole = said.chunks(FRAME).filter(|frame| heard.windows(FRAME).any(|w| w == *frame)).count();
    assert!(whole >= 50, "of the caller's 100 frames the counsellor hears {whole}");
}

#[test]
fn a_counsellor_serves_over_udp() {
    serves("udp");
}

#[test]
fn a_counsellor_serves_over_tcp() {
    serves("tcp");
}

#[test]
fn a_counsellor_serves_over_tls_by_a_certificate_of_an_own_authority() {
    serves("tls");
}

#[test]
fn a_certificate_of_another_authority_is_not_trusted_and_the_line_stays_unregistered() {
    let (site, port) = site();
    Authority::new().write(&site.config(), "ca.pem");
    let server = site.start();
    let _phone = Linphone::start(&server, "tls", &format!("localhost:{port}"), PASSWORD);
    server.wait_metric(r#"hulplijn_dropped_total{reason="tls_handshake"}"#, 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

#[test]
fn a_counsellor_on_hold_and_back() {
    let (server, mut phone) = with_phone("udp");
    let (mut carrier, mut caller, mut dialog, to) = joined(&server, &mut phone);
    phone.command("pause");
    caller.stay_until(to, "something else than the counsellor", |ear| !hears_counsellor(ear));
    phone.command("resume 1");
    caller.stay_until(to, "the counsellor again", hears_counsellor);
    dialog.bye(&mut carrier);
    phone.says("ended");
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
}

#[test]
fn a_counsellor_logs_out_by_star_code_and_hears_so() {
    let (server, mut phone) = with_phone("tcp");
    phone.command(&format!("call sip:*72@{}", server.place().host(1)));
    server.wait_metric_is(r#"hulplijn_lines{state="logged_out"}"#, 1.0);
    phone.says("ended");
    // The recorder begins late and ends early.
    let (prompt, heard) = (linear(&prompts::alaw("nl", "line-logged-out")), phone.heard());
    let is_there = |frame: &[i16]| heard.windows(FRAME).any(|w| w == frame);
    assert!(prompt.chunks(FRAME).any(is_there), "the prompt was not heard");
}

#[test]
fn a_counsellor_sends_the_caller_on_to_106() {
    let (server, mut phone) = with_phone("udp");
    let (mut carrier, mut caller, dialog, to) = joined(&server, &mut phone);
    phone.command(&format!("transfer sip:106@{}", server.place().host(1)));
    let mut listener = Rtp::bind(server.place().host(2));
    let (mut far, invite, far_rtp) = Dialog::answer(&mut carrier, &Sdp::pcma(listener.local));
    assert!(invite.request_uri().starts_with("sip:106@"), "{}", invite.text);
    let words = prompts::noise("106", 25 * FRAME);
    listener.say(far_rtp, &[SILENCE; 50 * FRAME]);
    listener.say(far_rtp, &words);
    caller.stay_until(to, "106", |ear| ear.has_heard(&words[10 * FRAME..15 * FRAME]));
    far.bye(&mut carrier);
    dialog.await_bye(&mut carrier);
}

#[test]
fn a_wrong_password_is_refused_and_counted() {
    let (site, _) = site();
    let server = site.start();
    let at = server.place().host(1).to_string();
    let _phone = Linphone::start(&server, "udp", &at, "geraden");
    server.wait_metric("hulplijn_auth_failures_total", 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

#[test]
fn a_counsellor_asks_106_and_hands_the_caller_over() {
    let (server, mut phone) = with_phone("udp");
    let (mut carrier, mut caller, dialog, to) = joined(&server, &mut phone);
    phone.command("pause");
    caller.stay_until(to, "something else than the counsellor", |ear| !hears_counsellor(ear));
    phone.command(&format!("call sip:106@{}", server.place().host(1)));
    let mut listener = Rtp::bind(server.place().host(2));
    let (mut far, _, far_rtp) = Dialog::answer(&mut carrier, &Sdp::pcma(listener.local));
    listener.stay_until(far_rtp, "the counsellor", hears_counsellor);
    phone.command("transfer 1 --to-call 2");
    server.wait_metric_is(r#"hulplijn_lines{state="busy"}"#, 0.0);
    let words = prompts::noise("106", 25 * FRAME);
    listener.say(far_rtp, &[SILENCE; 50 * FRAME]);
    listener.say(far_rtp, &words);
    caller.stay_until(to, "106", |ear| ear.has_heard(&words[10 * FRAME..15 * FRAME]));
    far.bye(&mut carrier);
    dialog.await_bye(&mut carrier);
}
