//! Marked secrets: a caller who bears one in every place goes every way, and none is found in anything that leaves
//! the caller's side: the line's and 106's wire, the log at TRACE, metrics, health, files and their names, what the
//! operator's commands print, what any user of the machine sees of the process.

use std::collections::BTreeSet;
use std::process::Command;

use rustix::process::Signal;

use super::caller::Caller;
use super::line_side::forbidden;
use super::marks::Outlet;
use super::scene::{KEYED, Scene};
use super::support::{Dialog, Message, Sdp, Server, Site, server};

/// Every way of a call; then the search.
fn nothing_is_found(json: bool) {
    let mut scene = Scene::new(json);
    scene.talk();
    scene.look("after a talk");
    scene.talk_by_browser();
    scene.talk_with_a_key_in_sdp();
    scene.line_hangs_up();
    scene.abandon();
    scene.transfer();
    scene.refer_to_106();
    scene.leave_message();
    scene.leave_number();
    scene.three_together();
    scene.refusals();
    scene.check_messages();
    let (caller, outlets) = scene.gather();

    has_borne_all(&caller);
    // What is searched is what it is said to be.
    for (name, what) in [
        ("log", "joined"),
        ("log", "brought_together"),
        ("anna's SIP", "sip:anonymous@anonymous.invalid"),
        ("log", "auth_failed"),
        ("log", "message_taken"),
        ("/metrics", "hulplijn_calls_total"),
        ("the line's SIP", "sip:anonymous@anonymous.invalid"),
        ("106's SIP", "sip:anonymous@anonymous.invalid"),
        ("hulplijn.sqlite", "SQLite format"),
        (".wav", "WAVEfmt"),
        ("\"list\"", "TAKEN"),
        ("name of a thread", "hulplijn"),
    ] {
        let has = |o: &Outlet| o.name.contains(name) && String::from_utf8_lossy(&o.bytes).contains(what);
        assert!(outlets.iter().any(has), "no {what} in {name}: {:?}", names(&outlets));
    }

    let finds: Vec<String> = outlets.iter().flat_map(|outlet| caller.marks.find(outlet)).collect();
    assert!(finds.is_empty(), "the caller's words came out:\n{}", finds.join("\n"));
    only_where_it_belongs(&outlets);
}

/// The caller has really borne all these secrets, in all these places.
fn has_borne_all(caller: &Caller) {
    let sent = String::from_utf8_lossy(&caller.sent).to_ascii_lowercase();
    let words: BTreeSet<&str> = sent.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let all = caller.marks.all();
    let unsent = all.iter().filter(|m| !words.contains(m.text.as_str()) && !sent.contains(&m.text));
    let unsent: Vec<&str> = unsent.map(|m| m.place.as_str()).collect();
    assert!(unsent.is_empty(), "never sent: {unsent:?}");
    let kind = |place: &str| place.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let kinds: BTreeSet<String> = all.iter().map(|m| kind(&m.place)).collect();
    assert!(kinds.len() >= 500, "{} kinds of place", kinds.len());
}

/// The number that was keyed in is where counsellors need it, and nowhere else.
fn only_where_it_belongs(outlets: &[Outlet]) {
    let holds = |o: &&Outlet| String::from_utf8_lossy(&o.bytes).contains(KEYED);
    let holders: BTreeSet<&str> = outlets.iter().filter(holds).map(|o| o.name.as_str()).collect();
    assert!(holders.iter().any(|name| name.contains("\"list\"")), "{holders:?}");
    let astray: Vec<&&str> = holders
        .iter()
        .filter(|name| !name.contains("\"list\"") && !name.contains("hulplijn.sqlite"))
        .collect();
    assert!(astray.is_empty(), "{astray:?}");
}

fn names(outlets: &[Outlet]) -> Vec<&str> {
    outlets.iter().map(|o| o.name.as_str()).collect()
}

#[test]
fn a_marked_caller_is_found_nowhere_with_a_log_of_text() {
    nothing_is_found(false);
}

#[test]
fn a_marked_caller_is_found_nowhere_with_a_log_of_json() {
    nothing_is_found(true);
}

/// The test of the test: the line's real INVITE with one header or session line of the caller's copied into it is
/// caught, whichever it is, by the allow-list and by the search.
#[test]
fn one_line_of_the_callers_invite_copied_to_the_line_is_caught() {
    let mut scene = Scene::new(false);
    let mut dialog = scene.caller.dialog("fixed");
    let theirs = scene.caller.invite(&mut dialog, "sendrecv");
    scene.caller.send(&theirs);
    let answer = dialog.await_final(&mut scene.caller.peer, "INVITE");
    dialog.learn(&answer);
    scene.caller.ack(&mut dialog);
    let (_, ours, _) = Dialog::answer(&mut scene.line, &Sdp::pcma(scene.line_ear.local));
    let switch = scene.server.sip().ip();
    assert!(forbidden(&ours, switch).is_empty() && scene.caller.marks.find(&outlet(&ours)).is_empty());

    let (theirs, mut marked, mut strange) = (Message { text: theirs }, 0, 0);
    let copies = theirs.head().lines().skip(1).map(|line| with_header(&ours, line)).chain(
        theirs
            .body()
            .lines()
            .filter(|l| l.contains('='))
            .map(|line| Message { text: format!("{}{line}\r\n", ours.text) }),
    );
    for copy in copies {
        let found = !scene.caller.marks.find(&outlet(&copy)).is_empty();
        let refused = !forbidden(&copy, switch).is_empty();
        assert!(refused || !found, "the allow-list lets this through:\n{}", copy.text);
        (marked, strange) = (marked + u32::from(found), strange + u32::from(refused));
    }
    assert!(marked >= 60 && strange > marked, "{marked} found, {strange} refused");
}

fn outlet(message: &Message) -> Outlet {
    Outlet::new("INVITE", message.text.as_bytes())
}

fn with_header(message: &Message, line: &str) -> Message {
    let (head, body) = message.text.split_once("\r\n\r\n").expect("a message");
    Message { text: format!("{head}\r\n{line}\r\n\r\n{body}") }
}

/// The process dies in the midst of a message: what was flushed is repaired at the next start, and neither the
/// files nor the log of that say who it was.
#[test]
fn a_crash_in_the_midst_of_a_message_tells_nothing() {
    let mut scene = Scene::new(false);
    scene.begin_message();
    let Scene { server, caller, .. } = scene;
    let log = server.err.clone();
    let site = server.kill();
    let server = site.start();
    server.wait_log("message_interrupted");
    let mut outlets =
        vec![Outlet::new("log before", log.text()), Outlet::new("log after", server.err.text())];
    let listed = server.site().command(&["messages", "list", "--json"]).stdout;
    assert!(String::from_utf8_lossy(&listed).contains("interrupted"));
    outlets.push(Outlet::new("list", listed));
    outlets.extend(super::scene::files(&server.site().data(), "after the crash"));
    let finds: Vec<String> = outlets.iter().flat_map(|outlet| caller.marks.find(outlet)).collect();
    assert!(finds.is_empty(), "{finds:?}");
}

/// The memory of the process holds who is calling; no image of it is left behind, whatever the limit was.
#[test]
fn no_core_file_is_written() {
    let site = Site::new(server::HELPLINE);
    let mut command = Command::new("sh");
    command.current_dir(&site.dir).args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"]);
    command.arg(server::binary().get_program()).arg("serve").arg("--config").arg(site.config());
    let mut server = site.spawn_as(command);
    server.wait_started();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("running");
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    server.signal(Signal::ABORT);
    assert_eq!(server.wait_exit(), None, "it has died");
    let left: Vec<_> = std::fs::read_dir(&server.site().dir).expect("a folder").flatten().collect();
    assert!(!left.iter().any(|e| e.file_name().to_string_lossy().contains("core")), "{left:?}");
    drop::<Server>(server);
}
