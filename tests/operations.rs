//! An operator's day with the running switch: reload, stop, metrics, health, logs, exit codes, prompts that are
//! missing.

mod support;

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::process::Output;

use chrono::Datelike as _;
use rustix::process::Signal;

use support::certificates::Authority;
use support::rtp::{FRAME, SILENCE};
use support::server::{HELPLINE, binary, repository};
use support::{Algorithm, Dialog, Registration, Rtp, Sdp, Server, Site, prompts};

/// The usual configuration in which `say` says another prompt.
fn saying(prompt: &str) -> String {
    HELPLINE.replace(
        "step.say = { do = \"hangup\", prompts = [\"goodbye\"] }",
        &format!("step.say = {{ do = \"hangup\", prompts = [\"{prompt}\"] }}"),
    )
}

/// Calls `say` and hears this to the end.
fn hears(server: &Server, carrier: &mut support::Peer, words: &[u8]) {
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(carrier, "say", &Sdp::pcma(ear.local));
    ear.hear_until("the prompt", |ear| ear.has_heard(words));
    dialog.await_bye(carrier);
}

// --- reload ---------------------------------------------------------------------------------------------

#[test]
fn sighup_takes_a_new_configuration_and_leaves_the_call_in_progress_alone() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (mut call, to) = Dialog::call(&mut carrier, "loop", &Sdp::pcma(ear.local));
    ear.stay_until(to, "the prompt", |ear| !ear.heard.is_empty());
    let changed = saying("queue-full").replace(
        "step.loop = { do = \"loop\", prompts = [\"welcome\"] }",
        "step.loop = { do = \"loop\", prompts = [\"emergency\"] }",
    );
    server.site().write_config(&format!("{changed}\n[[number]]\ndial = \"new\"\nflow = \"say\"\n"));
    server.signal(Signal::HUP);
    server.wait_log("config_applied");
    server.wait_metric("hulplijn_config_generation", 2.0);
    // The call that was there goes on as it began.
    let before = ear.audio().len();
    let welcome = prompts::alaw("nl", "welcome");
    ear.stay_until(to, "the prompt of before", |ear| {
        ear.audio().get(before..).is_some_and(|later| support::rtp::find(later, &welcome).is_some())
    });
    assert!(!ear.has_heard(&prompts::alaw("nl", "emergency")[..FRAME]));
    hears(&server, &mut carrier, &prompts::alaw("nl", "queue-full"));
    let mut listener = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "new", &Sdp::pcma(listener.local));
    listener.hear_until("a new number's prompt", |ear| ear.has_heard(&prompts::alaw("nl", "queue-full")));
    dialog.await_bye(&mut carrier);
    call.bye(&mut carrier);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

#[test]
fn a_broken_configuration_is_refused_with_file_and_line_and_the_old_one_stays() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let (mut call, _) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    // A word that is none, and a prompt that is not there: both are named, as `check` does.
    server.site().write_config(&saying("no-such-prompt").replace("[helpline]", "[helpline]\nstratagy = 1"));
    server.signal(Signal::HUP);
    server.wait_log("config_refused");
    let said = server.err.wait_or(|l| l.contains("no-such-prompt"), || false).expect("the mistake");
    assert!(said.contains("all.toml:") && said.contains("error"), "{said}");
    server
        .err
        .wait_or(|l| l.contains("stratagy") && l.contains("all.toml:"), || false)
        .expect("the other one");
    server.wait_metric("hulplijn_config_refused_total", 1.0);
    let (status, text) = server.get("/health/ready");
    assert!(status == 200 && text.contains("config refused"), "a warning that leaves it ready: {text}");
    hears(&server, &mut carrier, &prompts::alaw("nl", "goodbye"));
    // Put right, it is taken.
    server.site().write_config(&saying("queue-full"));
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 2.0);
    assert_eq!(server.get("/health/ready"), (200, "ready\n".to_owned()));
    hears(&server, &mut carrier, &prompts::alaw("nl", "queue-full"));
    call.bye(&mut carrier);
}

#[test]
fn what_needs_a_restart_is_refused_whole_and_said() {
    let server = Server::helpline("");
    let changes = [
        ("NET.1:9712", "NET.1:9713", "[metrics]"),
        ("ports = \"20000-20399\"", "ports = \"21000-21399\"", "[media]"),
        ("calls = 50", "calls = 60", "[limits]"),
        ("[metrics]", "[dns]\nserver = \"NET.53:53\"\n[metrics]", "[dns]"),
        ("data = \"../data\"", "data = \"../other\"", "[site] data"),
    ];
    for (n, (from, to, what)) in changes.into_iter().enumerate() {
        server.site().write_config(&saying("queue-full").replace(from, to));
        server.signal(Signal::HUP);
        server.wait_metric("hulplijn_config_refused_total", n as f64 + 1.0);
        let said = server.err.wait_or(|l| l.contains(what) && l.contains("restart"), || false);
        assert!(said.is_some(), "{what}:\n{}", server.err.text());
    }
    hears(&server, &mut server.carrier(), &prompts::alaw("nl", "goodbye"));
}

#[test]
fn a_line_that_is_taken_out_of_the_configuration_ends_its_call_in_peace() {
    let server = Server::helpline("");
    let (mut carrier, mut phone) = (server.carrier(), server.phone(4));
    Registration::new(&phone, "anna", "geheim-anna").succeed(&mut phone, Algorithm::Sha256);
    let (mut caller, mut counsellor) = (Rtp::bind(server.place().host(2)), Rtp::bind(server.place().host(4)));
    let (mut dialog, to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    let (_answered, _, line_to) = Dialog::answer(&mut phone, &Sdp::pcma(counsellor.local));
    counsellor.say(line_to, &[SILENCE; 25 * FRAME]);
    let without = HELPLINE.replace(
        "name = \"anna\"\npassword = \"geheim-anna\"",
        "name = \"bart\"\npassword = \"geheim-bart\"",
    );
    server.site().write_config(&without.replace("lines = [\"anna\"]", "lines = [\"bart\"]"));
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 2.0);
    let words = prompts::noise("counsellor", 50 * FRAME);
    counsellor.say(line_to, &words);
    caller.stay_until(to, "the counsellor", |ear| ear.has_heard(&words[40 * FRAME..45 * FRAME]));
    dialog.bye(&mut carrier);
    phone.wait("BYE at the line", |m| m.is("BYE"));
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    // Nobody of that name may register any more.
    let mut late = Registration::new(&phone, "anna", "geheim-anna");
    let refusal = late.register(&mut phone, None);
    let mut challenge = support::Challenge::of(&refusal, Algorithm::Md5);
    assert_eq!(late.register(&mut phone, Some(&mut challenge)).status(), Some(401));
}

// --- stop -----------------------------------------------------------------------------------------------

#[test]
fn sigterm_takes_no_new_calls_waits_for_those_in_progress_and_ends_well() {
    let mut server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (mut call, to) = Dialog::call(&mut carrier, "loop", &Sdp::pcma(ear.local));
    server.signal(Signal::TERM);
    server.wait_log("draining");
    let refusal = Dialog::refused(&mut carrier, "wait", &Sdp::pcma(ear.local));
    assert_eq!(refusal.status(), Some(503));
    assert!(!refusal.header("Retry-After").is_empty(), "{}", refusal.text);
    let (status, text) = server.get("/health/ready");
    assert!(status == 503 && text.contains("draining"), "{text}");
    assert_eq!(server.get("/health/live").0, 200);
    assert!(server.metric("hulplijn_draining") > 0.0);
    let heard = ear.heard.len();
    ear.stay_until(to, "the prompt that goes on", |ear| ear.heard.len() > heard + 50);
    assert!(server.is_running());
    call.bye(&mut carrier);
    assert_eq!(server.wait_exit(), Some(0));
    assert!(server.out.wait_or(|l| l == "stopped", || false).is_some());
}

#[test]
fn when_the_grace_is_over_callers_hear_goodbye_before_the_end() {
    let mut server = Server::helpline("[shutdown]\ngrace = \"1s\"\n");
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    server.signal(Signal::TERM);
    let goodbye = prompts::alaw("nl", "shutdown-goodbye");
    ear.stay_until(to, "goodbye", |ear| ear.has_heard(&goodbye));
    dialog.await_bye(&mut carrier);
    assert_eq!(server.wait_exit(), Some(0));
}

#[test]
fn who_has_logged_out_is_still_logged_out_after_a_restart() {
    let server = Server::helpline("");
    let mut phone = server.phone(4);
    let rtp = Rtp::bind(server.place().host(4));
    let mut dialog = Dialog::to(&phone, "*72");
    phone.send(&dialog.invite(&Sdp::pcma(rtp.local)));
    let refusal = dialog.await_final(&mut phone, "INVITE");
    assert_eq!(refusal.status(), Some(401));
    phone.send(&dialog.ack_refusal(&refusal));
    let proof = support::Challenge::of(&refusal, Algorithm::Sha256).answer(
        "INVITE",
        &dialog.target,
        "anna",
        "geheim-anna",
    );
    let sdp = Sdp::pcma(rtp.local).text();
    phone.send(&dialog.request("INVITE", &[&proof, "Content-Type: application/sdp"], &sdp));
    let answer = dialog.await_final(&mut phone, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    dialog.learn(&answer);
    phone.send(&dialog.ack(None));
    dialog.await_bye(&mut phone);
    server.wait_metric_is(r#"hulplijn_lines{state="logged_out"}"#, 1.0);
    server.signal(Signal::TERM);
    server.out.wait_or(|l| l == "stopped", || false);
    let server = server.kill().start();
    server.wait_metric_is(r#"hulplijn_lines{state="logged_out"}"#, 1.0);
}

#[test]
fn a_phone_that_has_registered_rings_after_a_restart_without_registering_again() {
    for killed in [false, true] {
        let server = Server::helpline("");
        let mut phone = server.phone(4);
        let log = server.site().data().join("hulplijn.sqlite-wal");
        let written = || fs::metadata(&log).map_or(0, |log| log.len());
        let before = written();
        let mut registration = support::Registration::new(&phone, "anna", "geheim-anna");
        registration.succeed(&mut phone, Algorithm::Sha256);
        if killed {
            support::server::wait_until(|| written() > before, || "the registration on the disk".into());
        } else {
            server.signal(Signal::TERM);
            server.out.wait_or(|l| l == "stopped", || false);
        }
        let server = server.kill().start();
        server.wait_metric(r#"hulplijn_lines{state="free"}"#, 1.0);
        let (mut carrier, ear) = (server.carrier(), Rtp::bind(server.place().host(2)));
        let (_call, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(ear.local));
        phone.wait("the call", |m| m.is("INVITE"));
    }
}

#[test]
fn without_calls_sigterm_and_sigint_end_it_at_once_and_a_second_sigterm_waits_for_nobody() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::helpline("");
        server.signal(signal);
        assert_eq!(server.wait_exit(), Some(0));
    }
    let mut server = Server::helpline("[shutdown]\ngrace = \"1h\"\n");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    let (call, _) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    server.signal(Signal::TERM);
    server.wait_log("draining");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(), Some(0));
    carrier.wait("BYE, so that nobody is left with silence", |m| m.is("BYE") && call.owns(m));
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_call() {
    let server = Site::new(HELPLINE).start_unheard("debug");
    let mut carrier = server.carrier();
    let ear = Rtp::bind(server.place().host(2));
    // Each refusal is a line of about a hundred bytes: more than a pipe holds.
    for _ in 0..1500 {
        Dialog::refused(&mut carrier, "0900", &Sdp::pcma(ear.local));
    }
    let (mut call, _) = Dialog::call(&mut carrier, "wait", &Sdp::pcma(ear.local));
    call.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_sip_refused_total{status="404"}"#, 1500.0);
}

// --- what is seen from outside --------------------------------------------------------------------------

#[test]
fn metrics_have_all_families_and_move_with_the_calls() {
    let server = Server::helpline("");
    let (mut carrier, mut line) = (server.carrier(), server.phone(3));
    let (mut caller, mut counsellor) = (Rtp::bind(server.place().host(2)), Rtp::bind(server.place().host(3)));
    let (mut dialog, to) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(caller.local));
    server.wait_metric(r#"hulplijn_queue_length{queue="fixed"}"#, 1.0);
    server.wait_metric(r#"hulplijn_lines{state="ringing"}"#, 1.0);
    let (_answered, _, line_to) = Dialog::answer(&mut line, &Sdp::pcma(counsellor.local));
    server.wait_metric(r#"hulplijn_lines{state="busy"}"#, 1.0);
    server.wait_metric_is(r#"hulplijn_queue_length{queue="fixed"}"#, 0.0);
    server.wait_metric_is("hulplijn_calls_in_progress", 1.0);
    caller.say(to, &[SILENCE; 20 * FRAME]);
    counsellor.say(line_to, &[SILENCE; 20 * FRAME]);
    dialog.bye(&mut carrier);
    line.wait("BYE at the line", |m| m.is("BYE"));
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    Dialog::refused(&mut carrier, "0900", &Sdp::pcma(caller.local));
    for (name, least) in [
        (r#"hulplijn_calls_total{outcome="joined"}"#, 1.0),
        ("hulplijn_calls_arrived_total", 1.0),
        ("hulplijn_calls_answered_total", 1.0),
        (r#"hulplijn_offers_total{line="fixed"}"#, 1.0),
        ("hulplijn_queue_wait_seconds_count", 1.0),
        (r#"hulplijn_ring_seconds_count{result="answered"}"#, 1.0),
        ("hulplijn_talk_seconds_count", 1.0),
        (r#"hulplijn_rtp_packets_total{kind="received"}"#, 38.0),
        (r#"hulplijn_sip_refused_total{status="404"}"#, 1.0),
    ] {
        server.wait_metric(name, least);
    }
    let (_, text) = server.get("/metrics");
    for family in [
        "calls_total",
        "calls_arrived_total",
        "calls_answered_total",
        "calls_in_progress",
        "call_seconds",
        "queue_length",
        "queue_wait_seconds",
        "ring_seconds",
        "talk_seconds",
        "lines",
        "lines_registered",
        "messages_total",
        "rtp_packets_total",
        "sip_refused_total",
        "dropped_total",
        "config_generation",
    ] {
        assert!(text.contains(&format!("# TYPE hulplijn_{family} ")), "{family} is not in\n{text}");
        assert!(text.contains(&format!("# HELP hulplijn_{family} ")), "{family} has no help");
    }
    for kind in ["lost", "late", "foreign", "malformed"] {
        assert!(text.contains(&format!("hulplijn_rtp_packets_total{{kind=\"{kind}\"}}")), "{kind}");
    }
    assert_eq!(server.get("/health/live"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/health/ready"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("/nothing").0, 404);
}

#[test]
fn logs_are_json_when_asked_and_each_line_can_be_read() {
    let toml = HELPLINE.replace("level = \"debug\"", "level = \"trace\"\njson = true");
    let server = Site::new(&toml).start();
    hears(&server, &mut server.carrier(), &prompts::alaw("nl", "goodbye"));
    server.wait_log("\"ended\"");
    let lines = server.err.all();
    let events: Vec<String> = lines
        .iter()
        .map(|line| {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            for field in ["timestamp", "level", "message"] {
                assert!(value.get(field).is_some(), "no {field} in {line}");
            }
            value.get("event").and_then(|e| e.as_str()).unwrap_or("").to_owned()
        })
        .collect();
    for event in ["started", "call_arrived", "answered", "ended"] {
        assert!(events.iter().any(|e| e == event), "no {event} among {events:?}");
    }
}

#[test]
fn a_wrong_password_is_logged_with_the_configured_line_and_never_with_a_name_from_outside() {
    let server = Server::helpline("");
    for (last, name, line) in [(4, "anna", "anna"), (5, "fixed", "fixed"), (6, "jan.peeters", "unknown")] {
        let mut phone = server.phone(last);
        let mut thief = Registration::new(&phone, name, "guessed");
        let refusal = thief.register(&mut phone, None);
        let mut challenge = support::Challenge::of(&refusal, Algorithm::Sha256);
        assert_eq!(thief.register(&mut phone, Some(&mut challenge)).status(), Some(401));
        let said = server.err.wait_or(
            |l| l.contains("event=\"auth_failed\"") && l.contains(&format!("line=\"{line}\"")),
            || false,
        );
        assert!(said.is_some(), "no failure of {line}:\n{}", server.err.text());
    }
    assert!(!server.err.text().contains("peeters"), "{}", server.err.text());
}

// --- exit codes -----------------------------------------------------------------------------------------

/// Runs the binary to its end: exit code and all that it said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = binary().args(arguments).output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn exit_codes_mean_what_the_help_says() {
    let (code, help) = run(&["--help"]);
    assert!(code == Some(0) && help.contains("Exit codes"), "{help}");
    for wrong in [["serve", "--konfig"], ["dance", "now"]] {
        assert_eq!(run(&wrong).0, Some(2), "{wrong:?}");
    }
    let (code, said) = run(&["serve", "--config", "/no/such/directory"]);
    assert!(code == Some(1) && said.contains("/no/such/directory"), "{said}");
    let site = Site::new(&HELPLINE.replace("strategy", "x").replace("dial = \"wait\"", "dail = \"wait\""));
    let config = site.config();
    let (code, said) = run(&["serve", "--config", config.to_str().expect("a path")]);
    assert!(code == Some(1) && said.contains("dail"), "{said}");
}

#[test]
fn a_port_or_data_that_another_has_is_named_and_ends_with_3() {
    let site = Site::new(HELPLINE);
    let taken = UdpSocket::bind(site.place.sip(1)).expect("free");
    let (code, said) = run(&["serve", "--config", site.config().to_str().expect("a path")]);
    assert!(code == Some(3) && said.contains(&site.place.sip(1).to_string()), "{said}");
    drop(taken);
    // An address for audio that no interface has: at the start, and not when the first caller comes.
    let toml = HELPLINE.replacen("[media]\n", "[media]\naddresses = [\"192.0.2.77\"]\n", 1);
    assert!(toml.contains("192.0.2.77"));
    site.write_config(&toml);
    let (code, said) = run(&["serve", "--config", site.config().to_str().expect("a path")]);
    assert!(code == Some(1) && said.contains("has the address `192.0.2.77` for audio"), "{said}");
    let said = String::from_utf8(site.command(&["check"]).stdout).expect("text");
    assert!(
        said.contains("warning: no interface of this machine has") && said.contains("0 errors"),
        "{said}"
    );
    site.write_config(HELPLINE);
    // A second switch on the same data, elsewhere on the network.
    let server = site.start();
    let site = server.site();
    let other = site.dir.join("other");
    fs::create_dir_all(&other).expect("a folder");
    let toml = HELPLINE.replace("NET.1:", "NET.9:");
    fs::write(other.join("all.toml"), site.place.fill(&toml)).expect("written");
    let (code, said) = run(&["serve", "--config", other.to_str().expect("a path")]);
    assert!(code == Some(3) && said.contains("data"), "{said}");
    assert!(TcpStream::connect(server.http()).is_ok());
}

// --- prompts --------------------------------------------------------------------------------------------

/// The built-in words as a PCMA leg hears them.
fn last_resort(language: &str) -> Vec<u8> {
    let samples = prompts::read_wav(&repository(&format!("prompts/{language}/last-resort.wav")));
    samples.iter().map(|sample| prompts::alaw_of(*sample)).collect()
}

#[test]
fn a_missing_prompt_is_heard_in_the_next_language() {
    let site = Site::new(HELPLINE);
    fs::remove_file(site.dir.join("prompts/nl/goodbye.wav")).expect("it was there");
    let server = site.start();
    hears(&server, &mut server.carrier(), &prompts::alaw("fr", "goodbye"));
    let said = server.out.text();
    assert!(
        said.contains("prompt `goodbye` is missing in language `nl`: callers hear that of `fr`"),
        "{said}"
    );
    let (status, text) = server.get("/health/ready");
    assert!(status == 200 && text.contains("prompts missing"), "{text}");
    // What else changes is taken meanwhile.
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 2.0);
    let (status, text) = server.get("/health/ready");
    assert!(status == 200 && text.contains("prompts missing"), "{text}");
    // Once it is there again, a reload puts it in its place.
    prompts::write(&server.site().dir.join("prompts"), &["nl"]);
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 3.0);
    hears(&server, &mut server.carrier(), &prompts::alaw("nl", "goodbye"));
    assert_eq!(server.get("/health/ready"), (200, "ready\n".to_owned()));
}

#[test]
fn a_prompt_that_is_broken_in_every_language_becomes_the_built_in_emergency_numbers() {
    let site = Site::new(HELPLINE);
    for (language, rubbish) in [("nl", &b"RIFF no WAV"[..]), ("fr", b""), ("en", &[0; 4000])] {
        fs::write(site.dir.join(format!("prompts/{language}/goodbye.wav")), rubbish).expect("written");
    }
    let server = site.start();
    hears(&server, &mut server.carrier(), &last_resort("nl"));
    server.wait_metric(r#"hulplijn_failures_total{part="prompt"}"#, 1.0);
    // A reload is not refused for what was missing at the start.
    server.signal(Signal::HUP);
    server.wait_metric("hulplijn_config_generation", 2.0);
    server.wait_metric(r#"hulplijn_failures_total{part="prompt"}"#, 2.0);
    let (status, text) = server.get("/health/ready");
    assert!(status == 200 && text.contains("prompts missing"), "{text}");
}

#[test]
fn without_the_whole_directory_of_prompts_callers_hear_the_emergency_numbers() {
    let toml = HELPLINE.replace("languages = [\"nl\", \"fr\", \"en\"]", "languages = [\"en\"]");
    let site = Site::new(&toml);
    fs::remove_dir_all(site.dir.join("prompts")).expect("it was there");
    let server = site.start();
    hears(&server, &mut server.carrier(), &last_resort("en"));
    let (status, text) = server.get("/health/ready");
    assert!(status == 200 && text.contains("prompts missing"), "{text}");
}

#[test]
fn a_certificate_that_runs_out_is_warned_of_and_shown_until_a_reload_brings_another() {
    let listen = "[[listen]]\ntransport = \"tls\"\naddress = \"NET.1:5061\"\ncertificate = \"sip.pem\"\nkey = \"sip.key\"\n";
    let site = Site::new(&format!("{HELPLINE}\n{listen}"));
    let authority = Authority::new();
    let day = |days| (chrono::Utc::now() + chrono::Duration::days(days)).date_naive();
    let sign = |day: chrono::NaiveDate| {
        let date = (day.year(), day.month() as u8, day.day() as u8);
        authority.sign_until(&site.config(), "sip", &["sip.example"], Some(date));
        day.and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp() as f64
    };
    let check = || String::from_utf8(site.command(&["check"]).stdout).expect("text");
    sign(day(40));
    assert!(!check().contains("runs out"), "{}", check());
    sign(day(-3));
    assert!(check().contains("warning: the certificate `") && check().contains("has run out"), "{}", check());
    let soon = sign(day(10));
    assert!(check().contains("or one of its chain, runs out in 10 days; allowed: a new one"), "{}", check());
    let dir = site.config();
    let server = site.start();
    let metric = "hulplijn_certificate_expires_timestamp_seconds";
    server.wait_metric_is(metric, soon);
    let late = day(400);
    authority.sign_until(
        &dir,
        "sip",
        &["sip.example"],
        Some((late.year(), late.month() as u8, late.day() as u8)),
    );
    server.signal(Signal::HUP);
    let late = late.and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp() as f64;
    server.wait_metric_is(metric, late);
}
