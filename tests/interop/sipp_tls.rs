//! SIPp over TLS, by way of a tunnel: the scenarios of `sipp.rs`, whose messages say TLS.

use std::path::PathBuf;

use crate::sipp::{Sipp, must_succeed, outcome, wait_bound};
use crate::support::certificates::Authority;
use crate::support::server::{HELPLINE, Program, repository, wait_until};
use crate::support::{Server, Site};
use crate::tunnel;

const SECURE: &str = "\n[[listen]]\ntransport = \"tls\"\naddress = \"NET.1:5061\"\ncertificate = \"switch.pem\"\n\
                      key = \"switch.key\"\n[tls]\nca = \"ca.pem\"\n";

/// A switch whose fixed line is called over TLS, and the authority that both sides trust.
fn secure() -> (Server, Authority) {
    let toml = HELPLINE.replace("sip:fixed@NET.3:5060", "sip:fixed@NET.3:5061;transport=tls");
    let site = Site::new(&crate::with_md5_only(&format!("{toml}{SECURE}")));
    let authority = Authority::new();
    authority.write(&site.config(), "ca.pem");
    authority.sign(&site.config(), "switch", &["switch.example"]);
    authority.sign(&site.config(), "line", &[&site.place.host(3).to_string()]);
    (site.start(), authority)
}

/// The scenario with TLS in its Via and Contact.
fn over_tls(server: &Server, scenario: &str) -> PathBuf {
    let path = repository("tests/interop/sipp").join(scenario).with_extension("xml");
    let text = std::fs::read_to_string(path).expect("a scenario").replace("[transport]", "TLS");
    let path = server.site().dir.join(format!("{scenario}-tls.xml"));
    std::fs::write(&path, text).expect("written");
    path
}

/// A SIPp at this host, whose connection goes to the switch over TLS.
fn calls(server: &Server, authority: Authority, last: u8, scenario: &str, number: &str) -> Program {
    let (host, switch) = (server.place().host(last), (server.place().host(1), 5061).into());
    let door = tunnel::to_switch(authority, host, switch);
    let sipp = Sipp { scenario, transport: "t1", at: server.place().sip(last), calls: 1 };
    let (path, door) = (over_tls(server, scenario), door.to_string());
    sipp.start_as(&server.site().dir, Some((switch, number)), &path, &["-rsa", &door])
}

#[test]
fn a_line_registers_over_tls_and_takes_itself_off() {
    let (server, authority) = secure();
    let program = calls(&server, authority, 4, "registers", "anna");
    must_succeed(&server.site().dir, &mut [program]);
    let event = |what: &str| format!("event=\"{what}\"");
    let told = |what: &str| server.err.count(|line| line.contains(&event(what))) == 1;
    wait_until(|| told("registered") && told("unregistered"), || "the line was not there".to_owned());
}

#[test]
fn a_caller_calls_holds_takes_back_and_hangs_up_over_tls() {
    for (scenario, number, counted) in
        [("caller", "wait", "hung_up"), ("hung_up_on", "say", "goodbye"), ("hold", "wait", "hung_up")]
    {
        let (server, authority) = secure();
        let program = calls(&server, authority, 2, scenario, number);
        must_succeed(&server.site().dir, &mut [program]);
        server.wait_metric(&outcome(counted), 1.0);
    }
}

#[test]
fn a_line_is_called_over_tls_by_a_caller_who_holds_over_tls() {
    let (server, authority) = secure();
    let (dir, at) = (server.site().dir.clone(), server.place().sip(3));
    let line = Sipp { scenario: "line", transport: "t1", at, calls: 1 };
    let line = line.start_as(&dir, None, &over_tls(&server, "line"), &[]);
    wait_bound("tcp", at);
    tunnel::from_switch((server.place().host(3), 5061).into(), server.site().config(), "line", at);
    let caller = calls(&server, authority, 2, "hold", "fixed");
    must_succeed(&dir, &mut [caller, line]);
    server.wait_metric(&outcome("joined"), 1.0);
}
