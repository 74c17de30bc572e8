//! baresip as a counsellor's registered phone. Its audio is held against the caller's sample by sample.
//!
//! It speaks from a WAV (aufile) and writes what it has decoded to another (sndfile), both with its own codec.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::sipp::wait_bound;
use crate::support::certificates::Authority;
use crate::support::rtp::{FRAME, SILENCE, find, in_order};
use crate::support::server::{HELPLINE, Program, wait_until};
use crate::support::{Dialog, Peer, Rtp, Sdp, Server, Site, prompts};
use crate::{hears_counsellor, linear, spoken, with_md5_only};

/// How a phone is set up.
pub struct Account<'a> {
    /// `udp`, `tcp` or `tls`.
    pub transport: &'a str,
    /// `auto` or `manual`.
    pub answers: &'a str,
    pub password: &'a str,
    pub codecs: &'a str,
    /// `mediaenc`; none when empty.
    pub encryption: &'a str,
    /// What its counsellor says, in A-law.
    pub says: fn() -> Vec<u8>,
}

/// A TLS listener.
const SECURE: &str = r#"
[[listen]]
transport = "tls"
address = "NET.1:5061"
certificate = "switch.pem"
key = "switch.key"
"#;

pub const USUAL: Account = Account {
    transport: "udp",
    answers: "auto",
    password: "geheim-anna",
    codecs: "pcma",
    encryption: "",
    says: spoken,
};

/// A running baresip that registers as `anna`.
pub struct Baresip {
    pub program: Program,
    control: TcpStream,
    dir: PathBuf,
}

/// Each phone has a folder of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Baresip {
    pub fn start(server: &Server, account: &Account) -> Self {
        let host = server.place().host(4);
        let dir = server.site().dir.join(format!("baresip-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&dir).expect("a folder");
        prompts::write_wav(&dir.join("say.wav"), &(account.says)());
        let modules = modules();
        let place = dir.display();
        let config = format!(
            "poll_method epoll\nsip_listen {host}:5060\nnet_interface {host}\nrtp_ports 30000-39998\n\
             audio_source aufile,{place}/say.wav\naudio_player aubridge,sink\naudio_alert aubridge,alert\n\
             audio_buffer 20-160\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
             jitter_buffer_delay 2-100\nsip_cafile {}\nsnd_path {place}\nctrl_tcp_listen {host}:4444\n\
             module_path {modules}\n\
             module g711.so\nmodule g722.so\nmodule opus.so\nmodule sndfile.so\nmodule aufile.so\nmodule aubridge.so\nmodule srtp.so\n\
             module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n",
            server.site().config().join("ca.pem").display()
        );
        let port = if account.transport == "tls" { 5061 } else { 5060 };
        let at = SocketAddr::from((server.place().host(1), port));
        let Account { transport, answers, password, codecs, encryption, says: _ } = account;
        let encryption =
            if encryption.is_empty() { String::new() } else { format!(";mediaenc={encryption}") };
        let account = format!(
            "<sip:anna@{at};transport={transport}>;auth_user=anna;auth_pass={password};answermode={answers};\
             regint=60;audio_codecs={codecs}{encryption}\n"
        );
        for (name, text) in [("config", config.as_str()), ("accounts", &account), ("contacts", "")] {
            fs::write(dir.join(name), text).expect("written");
        }
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&dir).arg("-v");
        let program = Program::start(command);
        let control = SocketAddr::from((host, 4444));
        wait_bound("tcp", control);
        let control = TcpStream::connect(control).expect("baresip's control port");
        Self { program, control, dir }
    }

    /// A command of baresip's menu, as a netstring of JSON.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let json = format!(r#"{{"command":"{command}","params":"{parameters}"}}"#);
        write!(self.control, "{}:{json},", json.len()).expect("sent to baresip");
    }

    /// Stops it and reads what it heard.
    pub fn heard(self) -> Vec<i16> {
        self.recordings().iter().flat_map(|dump| prompts::read_wav(dump)).collect()
    }

    /// Stops it; where it wrote what it heard, at the rate and with the channels of its codec.
    pub fn recordings(mut self) -> Vec<PathBuf> {
        self.program.signal(Signal::TERM);
        self.program.wait_exit();
        let mut dumps: Vec<PathBuf> =
            fs::read_dir(&self.dir).expect("a folder").flatten().map(|f| f.path()).collect();
        dumps.retain(|path| path.to_string_lossy().ends_with("dec.wav"));
        dumps.sort();
        assert!(!dumps.is_empty(), "baresip heard nothing:\n{}", self.program.out.text());
        dumps
    }
}

fn modules() -> &'static str {
    let places = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    places.into_iter().find(|p| fs::exists(p).unwrap_or(false)).expect("baresip's modules")
}

/// A switch with a baresip, which knows the authority of its certificate.
fn with_phone(account: &Account) -> (Server, Baresip) {
    with_phone_of(HELPLINE, account)
}

/// The same with another helpline.
pub fn with_phone_of(helpline: &str, account: &Account) -> (Server, Baresip) {
    let site = Site::new(&with_md5_only(&format!("{helpline}{SECURE}")));
    let authority = Authority::new();
    authority.write(&site.config(), "ca.pem");
    authority.sign(&site.config(), "switch", &[&site.place.host(1).to_string()]);
    let server = site.start();
    let phone = Baresip::start(&server, account);
    (server, phone)
}

/// A switch with a registered baresip.
fn with_line(account: &Account) -> (Server, Baresip) {
    let (server, phone) = with_phone(account);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    (server, phone)
}

/// A caller joined with the phone, who hears it.
pub fn joined(server: &Server) -> (Peer, Rtp, Dialog, SocketAddr) {
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    caller.stay_until(to, "the counsellor", hears_counsellor);
    (carrier, caller, dialog, to)
}

pub fn contains(heard: &[i16], said: &[i16]) -> bool {
    heard.windows(said.len()).any(|w| w == said)
}

#[test]
fn counsellor_and_caller_hear_each_other_sample_by_sample() {
    let (server, phone) = with_line(&USUAL);
    let (mut carrier, mut caller, mut dialog, to) = joined(&server);
    let said = prompts::noise("caller", 150 * FRAME);
    caller.say(to, &said);
    // What is last in baresip's jitter buffer is never played.
    caller.say(to, &[SILENCE; 50 * FRAME]);
    dialog.bye(&mut carrier);
    let heard = caller.audio();
    // From where the bridge began: three seconds of the counsellor's own octets without a gap.
    let spoken = spoken();
    let from = (0..1000).find(|n| find(&heard, &spoken[n * FRAME..(n + 1) * FRAME]).is_some());
    let from = from.expect("the counsellor's voice") * FRAME;
    let piece = &spoken[from..from + 150 * FRAME];
    assert!(in_order(&heard, piece), "the caller misses samples of the counsellor");
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    assert!(in_order(&phone.heard(), &linear(&said)), "the counsellor misses samples of the caller");
}

#[test]
fn a_caller_in_mu_law_and_a_counsellor_in_a_law_hear_each_other_converted() {
    let (server, phone) = with_line(&USUAL);
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    caller.payload_type = 0;
    let sdp = Sdp { codecs: "0", ..Sdp::pcma(caller.local) };
    let (mut dialog, to) = Dialog::call(&mut carrier, "1712", &sdp);
    server.wait_log("event=\"joined\"");
    // The octets of a ramp through all mu-law values, in frames.
    let said: Vec<u8> = (0..100 * FRAME).map(|n| (n * 7 % 256) as u8).collect();
    caller.say(to, &[0xff; 50 * FRAME]);
    caller.say(to, &said);
    caller.say(to, &[0xff; 50 * FRAME]);
    dialog.bye(&mut carrier);
    let expected: Vec<i16> =
        said.iter().map(|o| prompts::linear(prompts::alaw_of(prompts::ulaw_linear(*o)))).collect();
    assert!(in_order(&phone.heard(), &expected), "the counsellor hears something else");
}

/// Is called over its connection, heard, hears, holds the caller and takes them back, and hangs up.
fn serves_over(transport: &str) {
    let (server, mut phone) = with_line(&Account { transport, ..USUAL });
    let (mut carrier, mut caller, dialog, to) = joined(&server);
    let said = prompts::noise("caller", 50 * FRAME);
    caller.say(to, &said);
    caller.say(to, &[SILENCE; 50 * FRAME]);
    phone.command("hold", "");
    caller.stay_until(to, "something else than the counsellor", |ear| !hears_counsellor(ear));
    phone.command("resume", "");
    caller.stay_until(to, "the counsellor again", hears_counsellor);
    phone.command("hangup", "");
    dialog.await_bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    assert!(in_order(&phone.heard(), &linear(&said)), "the counsellor misses samples of the caller");
}

#[test]
fn a_counsellor_serves_over_tcp() {
    serves_over("tcp");
}

#[test]
fn a_counsellor_serves_over_tls() {
    serves_over("tls");
}

#[test]
fn a_wrong_password_is_refused_and_counted() {
    let (server, _phone) = with_phone(&Account { password: "geraden", ..USUAL });
    server.wait_metric("hulplijn_auth_failures_total", 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

#[test]
fn a_phone_that_declines_is_passed_over() {
    let (server, mut phone) = with_line(&Account { answers: "manual", ..USUAL });
    let mut carrier = server.carrier();
    let caller = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    server.wait_metric(r#"hulplijn_lines{state="ringing"}"#, 1.0);
    phone.program.out.wait_or(|l| l.to_lowercase().contains("incoming call"), || false);
    phone.command("hangup", "");
    server.wait_log("event=\"missed\"");
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="abandoned"}"#, 1.0);
}

#[test]
fn a_counsellor_on_hold_and_back() {
    let (server, mut phone) = with_line(&USUAL);
    let (mut carrier, mut caller, mut dialog, to) = joined(&server);
    phone.command("hold", "");
    caller.stay_until(to, "something else than the counsellor", |ear| !hears_counsellor(ear));
    phone.command("resume", "");
    caller.stay_until(to, "the counsellor again", hears_counsellor);
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
}

#[test]
fn a_counsellor_logs_out_and_in_by_star_codes_and_hears_so() {
    let (server, phone) = with_line(&USUAL);
    drop(phone);
    let codes = [("*72", "line-logged-out", 1.0), ("*71", "line-logged-in", 0.0)];
    for (before, (code, prompt, logged_out)) in codes.into_iter().enumerate() {
        let mut phone = Baresip::start(&server, &USUAL);
        phone.command("dial", &format!("sip:{code}@{}", server.sip()));
        server.wait_metric_is(r#"hulplijn_lines{state="logged_out"}"#, logged_out);
        // The call is over when its RTP was counted.
        wait_until(
            || server.err.count(|line| line.contains("media_stats")) == before + 1,
            || "the call of a code does not end".to_owned(),
        );
        // baresip's jitter buffer keeps the last frames to itself.
        let beginning = &linear(&prompts::alaw("nl", prompt))[..5 * FRAME];
        assert!(contains(&phone.heard(), beginning), "{prompt} was not heard");
    }
}

#[test]
fn a_counsellor_sends_the_caller_on_to_106() {
    let (server, mut phone) = with_line(&USUAL);
    let (mut carrier, mut caller, dialog, to) = joined(&server);
    phone.command("transfer", &format!("sip:106@{}", server.sip()));
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
