//! SIPp as the carrier and as counsellors' phones. The scenarios are in `sipp/`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::support::server::{HELPLINE, Program, repository, wait_until};
use crate::support::{Peer, Server, Site};

/// How a SIPp is started.
pub struct Sipp<'a> {
    pub scenario: &'a str,
    /// `u1` (UDP) or `t1` (TCP).
    pub transport: &'a str,
    pub at: SocketAddr,
    pub calls: u32,
}

impl Sipp<'_> {
    /// Begins; the scenario decides whether it calls or is called.
    fn start(&self, dir: &Path, to: Option<(SocketAddr, &str)>) -> Program {
        let scenario = repository("tests/interop/sipp").join(self.scenario).with_extension("xml");
        self.start_as(dir, to, &scenario, &[])
    }

    /// The same with this file and these arguments.
    pub fn start_as(
        &self,
        dir: &Path,
        to: Option<(SocketAddr, &str)>,
        scenario: &Path,
        more: &[&str],
    ) -> Program {
        let mut command = Command::new("sipp");
        if let Some((server, number)) = to {
            command.arg(server.to_string()).args(["-s", number]);
        }
        let errors = dir.join(format!("{}-{}.log", self.scenario, self.at.port()));
        command
            .env("TERM", "xterm")
            .current_dir(dir)
            .arg("-sf")
            .arg(scenario)
            .args(more)
            .args(["-t", self.transport, "-i", &bare(self.at.ip()), "-p", &self.at.port().to_string()])
            .args(["-mi", &self.at.ip().to_string(), "-m", &self.calls.to_string(), "-nostdin"])
            .args(["-r", "20", "-timeout", "100", "-timeout_error", "-trace_err", "-error_file"])
            .arg(errors);
        Program::start(command)
    }
}

/// SIPp writes IPv6 addresses in brackets.
fn bare(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// Waits for all; every call must have gone as the scenario says.
pub fn must_succeed(dir: &Path, programs: &mut [Program]) {
    for program in programs {
        let code = program.wait_exit();
        assert_eq!(
            code,
            Some(0),
            "SIPp failed:\n{}{}{}",
            errors(dir),
            program.err.text(),
            program.out.text()
        );
    }
}

fn errors(dir: &Path) -> String {
    let files = std::fs::read_dir(dir).expect("the scratch directory").flatten();
    let logs = files.filter(|f| f.path().extension().is_some_and(|e| e == "log"));
    logs.map(|log| std::fs::read_to_string(log.path()).unwrap_or_default()).collect()
}

/// The carrier's SIPp, calling this number.
fn carrier(server: &Server, scenario: &str, number: &str) -> Program {
    let at = server.place().sip(2);
    Sipp { scenario, transport: "u1", at, calls: 1 }.start(&server.site().dir, Some((server.sip(), number)))
}

/// A SIPp at the line with the fixed address.
fn line(server: &Server, scenario: &str) -> Program {
    let sipp = Sipp { scenario, transport: "u1", at: server.place().sip(3), calls: 1 };
    let program = sipp.start(&server.site().dir, None);
    wait_bound("udp", sipp.at);
    program
}

/// Waits until a program has bound this address, by the kernel's own table.
pub fn wait_bound(table: &str, at: SocketAddr) {
    let ip = match at.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_le_bytes(ip.octets())),
        IpAddr::V6(ip) => {
            let words = ip.octets();
            words.chunks(4).map(|w| format!("{:08X}", u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect()
        }
    };
    // An unconnected socket has nobody on the other side: a listening one, not the rest of an old connection.
    let (local, nobody) = (format!(" {ip}:{:04X} ", at.port()), ":0000 ");
    let path = format!("/proc/net/{table}");
    wait_until(
        || {
            let table = std::fs::read_to_string(&path).expect("a table of sockets");
            table.lines().any(|l| l.split_once(&local).is_some_and(|(_, rest)| rest.contains(nobody)))
        },
        || format!("nobody listens at {at}"),
    );
}

pub fn outcome(word: &str) -> String {
    format!("hulplijn_calls_total{{outcome=\"{word}\"}}")
}

/// One carrier's call without a line; how the switch counted it.
fn alone(scenario: &str, number: &str, counted: &str) {
    let server = Server::helpline("");
    let program = carrier(&server, scenario, number);
    must_succeed(&server.site().dir, &mut [program]);
    server.wait_metric(&outcome(counted), 1.0);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

/// One carrier's call that reaches the line with the fixed address.
fn with_line(caller: &str, callee: &str, counted: &str) -> Server {
    let server = Server::helpline("");
    let callee = line(&server, callee);
    let caller = carrier(&server, caller, "fixed");
    must_succeed(&server.site().dir, &mut [caller, callee]);
    server.wait_metric(&outcome(counted), 1.0);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    server
}

#[test]
fn a_caller_is_answered_and_hangs_up() {
    alone("caller", "wait", "hung_up");
}

#[test]
fn the_switch_hangs_up_after_its_last_words() {
    alone("hung_up_on", "say", "goodbye");
}

#[test]
fn a_200_is_repeated_until_the_late_ack() {
    let server = Server::helpline("");
    let mut program = carrier(&server, "late_ack", "wait");
    must_succeed(&server.site().dir, std::slice::from_mut(&mut program));
    // SIPp counts messages and retransmissions of each step: `200 <---------- E-RTD1 1 2 0 0`.
    let shown = program.out.wait_or(|line| line.contains("E-RTD1"), || false).expect("the last screen");
    let counts: Vec<u32> = shown.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(counts[..], [200, 1, again, ..] if again >= 1), "{shown}");
    server.wait_metric(&outcome("hung_up"), 1.0);
}

#[test]
fn a_call_without_any_ack_is_ended_by_bye_after_64_t1() {
    alone("no_ack", "wait", "cancelled");
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    alone("late_offer", "say", "goodbye");
}

#[test]
fn a_caller_holds_and_takes_back() {
    alone("hold", "wait", "hung_up");
}

#[test]
fn a_cancel_at_once_ends_the_call_whichever_came_first() {
    let server = Server::helpline("");
    let program = carrier(&server, "cancel", "wait");
    must_succeed(&server.site().dir, &mut [program]);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    let ended = server.metric(&outcome("cancelled")) + server.metric(&outcome("hung_up"));
    assert!((ended - 1.0).abs() < 0.1, "{}", server.get("/metrics").1);
}

#[test]
fn without_a_common_codec_488_for_a_strange_number_404_and_for_a_stranger_403() {
    let server = Server::helpline("");
    let dir = &server.site().dir;
    must_succeed(dir, &mut [carrier(&server, "no_codec", "wait")]);
    must_succeed(dir, &mut [carrier(&server, "unknown_number", "1713")]);
    let at = server.place().sip(200);
    let stranger = Sipp { scenario: "stranger", transport: "u1", at, calls: 1 };
    must_succeed(dir, &mut [stranger.start(dir, Some((server.sip(), "wait")))]);
    for status in [488, 404, 403] {
        server.wait_metric(&format!("hulplijn_sip_refused_total{{status=\"{status}\"}}"), 1.0);
    }
}

#[test]
fn a_line_rings_and_answers_and_the_caller_hangs_up() {
    with_line("caller", "line", "joined");
}

#[test]
fn a_line_hangs_up_first_and_the_caller_gets_bye() {
    with_line("hung_up_on", "line_hangs_up", "joined");
}

#[test]
fn a_caller_on_hold_stays_joined_with_the_line() {
    with_line("hold", "line", "joined");
}

#[test]
fn a_busy_line_is_passed_over_and_the_caller_waits_on() {
    let server = with_line("caller", "line_busy", "abandoned");
    server.wait_metric(r#"hulplijn_missed_total{line="fixed",reason="busy"}"#, 1.0);
}

#[test]
fn a_diverted_phone_never_gets_the_caller_to_its_mobile() {
    let server = Server::helpline("");
    let mut mobile = Peer::udp((server.place().host(3), 5090).into(), server.sip());
    let callee = line(&server, "line_moved");
    let caller = carrier(&server, "caller", "fixed");
    must_succeed(&server.site().dir, &mut [caller, callee]);
    server.wait_metric(&outcome("abandoned"), 1.0);
    assert_eq!(mobile.options(), []);
}

#[test]
fn a_ringing_line_is_cancelled_when_the_caller_gives_up() {
    let server = with_line("caller", "line_cancelled", "abandoned");
    server.wait_metric(r#"hulplijn_missed_total{line="fixed",reason="lost"}"#, 1.0);
}

#[test]
fn over_tcp_as_over_udp() {
    let server = Server::helpline("");
    let dir = &server.site().dir;
    for (scenario, number, counted) in [("caller", "wait", "hung_up"), ("hung_up_on", "say", "goodbye")] {
        let at = server.place().sip(2);
        let sipp = Sipp { scenario, transport: "t1", at, calls: 1 };
        must_succeed(dir, &mut [sipp.start(dir, Some((server.sip(), number)))]);
        server.wait_metric(&outcome(counted), 1.0);
    }
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

#[test]
fn a_line_over_tcp() {
    let toml = HELPLINE.replace("sip:fixed@NET.3:5060", "sip:fixed@NET.3:5060;transport=tcp");
    let server = Site::new(&toml).start();
    let dir = &server.site().dir;
    let callee = Sipp { scenario: "line", transport: "t1", at: server.place().sip(3), calls: 1 };
    let callee = callee.start(dir, None);
    wait_bound("tcp", server.place().sip(3));
    let caller = carrier(&server, "caller", "fixed");
    must_succeed(dir, &mut [caller, callee]);
    server.wait_metric(&outcome("joined"), 1.0);
}

#[test]
fn a_line_registers_with_its_password_over_udp_and_tcp() {
    let server = Site::new(&crate::with_md5_only(HELPLINE)).start();
    let dir = &server.site().dir;
    for (count, transport) in ["u1", "t1"].into_iter().enumerate() {
        let sipp = Sipp { scenario: "registers", transport, at: server.place().sip(4), calls: 1 };
        must_succeed(dir, &mut [sipp.start(dir, Some((server.sip(), "anna")))]);
        let is_gone = |line: &str| line.contains("event=\"unregistered\"");
        wait_until(|| server.err.count(is_gone) > count, || "the line stays registered".to_owned());
    }
}

#[test]
fn over_ipv6_with_a_line_on_ipv6() {
    let ip: IpAddr = "::1".parse().expect("an address");
    let [sip, carrier, phone] = [0; 3].map(|_| crate::support::place::free_port(ip));
    let listen = format!("[[listen]]\ntransport = \"udp\"\naddress = \"[::1]:{sip}\"\n");
    let toml = HELPLINE
        .replace("sources = [\"NET.2\"]", "sources = [\"NET.2\", \"::1\"]")
        .replace("sip:fixed@NET.3:5060", &format!("sip:fixed@[::1]:{phone}"));
    let server = Site::new(&format!("{toml}\n{listen}")).start();
    let dir = &server.site().dir;
    let to: SocketAddr = (ip, sip).into();
    let at = |port| (ip, port).into();
    let alone = Sipp { scenario: "hung_up_on", transport: "u1", at: at(carrier), calls: 1 };
    must_succeed(dir, &mut [alone.start(dir, Some((to, "say")))]);
    let callee = Sipp { scenario: "line", transport: "u1", at: at(phone), calls: 1 }.start(dir, None);
    wait_bound("udp6", at(phone));
    let caller = Sipp { scenario: "caller", transport: "u1", at: at(carrier), calls: 1 };
    must_succeed(dir, &mut [caller.start(dir, Some((to, "fixed"))), callee]);
    server.wait_metric(&outcome("joined"), 1.0);
}

#[test]
fn a_hundred_calls_and_a_centre_with_room_for_ten() {
    let toml = HELPLINE.replace(
        "logged-in = true\n\n[[line]]\nname = \"anna\"",
        "logged-in = true\ncapacity = 10\n\n[[line]]\nname = \"anna\"",
    );
    let server = Site::new(&toml).start();
    let dir = &server.site().dir;
    let at = |last| server.place().sip(last);
    let many = Sipp { scenario: "hung_up_on", transport: "u1", at: at(2), calls: 100 };
    must_succeed(dir, &mut [many.start(dir, Some((server.sip(), "say")))]);
    server.wait_metric(&outcome("goodbye"), 100.0);
    let callee = Sipp { scenario: "line", transport: "u1", at: at(3), calls: 10 }.start(dir, None);
    wait_bound("udp", at(3));
    let callers = Sipp { scenario: "caller", transport: "u1", at: at(2), calls: 10 };
    must_succeed(dir, &mut [callers.start(dir, Some((server.sip(), "fixed"))), callee]);
    server.wait_metric(&outcome("joined"), 10.0);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

/// No scenario lies about unused.
#[test]
fn every_scenario_is_used() {
    let source = include_str!("sipp.rs");
    for entry in std::fs::read_dir(repository("tests/interop/sipp")).expect("scenarios").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let stem = name.trim_end_matches(".xml");
        assert!(source.contains(&format!("\"{stem}\"")), "{name} is not run by any test");
    }
}
