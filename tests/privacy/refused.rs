//! Calls and requests that come to nothing, each full of secrets: what is refused is reported, but not what it said.

use super::caller::{Caller, with_lines};
use super::scene::Scene;
use super::support::{Dialog, Message, Peer};

impl Scene {
    pub fn refusals(&mut self) {
        let caller = &mut self.caller;
        calls(caller);
        malformed(caller);
        outside(caller);
        let mut stranger = self.server.phone(200);
        refused(caller, &mut stranger, "1712", 403);
        wrong_passwords(caller, &mut stranger);
        over_a_stream(caller);
        caller.peer.options();
    }
}

/// A call that is refused, from any peer.
fn refused(caller: &mut Caller, peer: &mut Peer, user: &str, status: u16) {
    let dialog = Dialog::to(peer, user);
    let mut dialog = caller.mark(dialog, peer.local);
    let invite = caller.invite(&mut dialog, "sendrecv");
    caller.send_by(peer, &invite);
    let answer = dialog.await_final(peer, "INVITE");
    assert_eq!(answer.status(), Some(status), "{user}: {}", answer.text);
    let ack = with_lines(&dialog.ack_refusal(&answer), &caller.headers("ACK"));
    caller.send_by(peer, &ack);
}

/// An INVITE that is changed, and what it gets.
fn changed(caller: &mut Caller, what: &str, status: u16, change: impl FnOnce(&mut Caller, String) -> String) {
    let mut dialog = caller.dialog("1712");
    let invite = caller.invite(&mut dialog, "sendrecv");
    let invite = measured(&change(caller, invite));
    caller.send(&invite);
    let call_id = dialog.call_id.clone();
    let is_meant = |m: &Message| m.call_id() == call_id && m.status().is_some_and(|s| s >= 200);
    let answer = caller.peer.wait(what, is_meant);
    assert_eq!(answer.status(), Some(status), "{what}: {}", answer.text);
    caller.send(&dialog.ack_refusal(&answer));
}

/// With the Content-Length that its body has.
fn measured(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").expect("a message");
    let head = head.rsplit_once("\r\nContent-Length: ").expect("the last header").0;
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn calls(caller: &mut Caller) {
    let number = caller.marks.number("a number that is not ours");
    changed(caller, "404", 404, |_, invite| invite.replacen("sip:1712@", &format!("sip:+{number}@"), 1));
    changed(caller, "404 to a word", 404, |caller, invite| {
        invite.replacen("sip:1712@", &format!("sip:{}@", caller.marks.word("dialled")), 1)
    });
    changed(caller, "488", 488, |_, invite| {
        invite.replace("AVP 8 101", "AVP 18").replace("8 PCMA", "18 G729")
    });
    changed(caller, "400 to a session that is none", 400, |_, invite| invite.replace("v=0\r\n", "v=7\r\n"));
    changed(caller, "415", 415, |_, invite| invite.replace("multipart/mixed", "multipart-mixed"));
    changed(caller, "416", 416, |caller, invite| {
        let urn = format!("INVITE urn:{}", caller.marks.word("Request-URI"));
        let rest = invite.split_once(" SIP/2.0").expect("a request").1;
        format!("{urn} SIP/2.0{rest}")
    });
    changed(caller, "420", 420, |caller, invite| {
        with_lines(&invite, &[format!("Require: {}", caller.marks.word("Require"))])
    });
    changed(caller, "483", 483, |_, invite| invite.replacen("Max-Forwards: 70", "Max-Forwards: 0", 1));
    cancelled(caller);
}

/// INVITE and CANCEL in one breath: whichever wins.
fn cancelled(caller: &mut Caller) {
    let mut dialog = caller.dialog("wait");
    let invite = caller.invite(&mut dialog, "sendrecv");
    let lines = caller.headers("CANCEL");
    let cancel = with_lines(&dialog.same_branch("CANCEL", &[], ""), &lines);
    caller.send(&invite);
    caller.send(&cancel);
    let answer = dialog.await_final(&mut caller.peer, "INVITE");
    if answer.status() == Some(200) {
        dialog.learn(&answer);
        caller.ack(&mut dialog);
        caller.hang_up(&mut dialog);
    } else {
        assert_eq!(answer.status(), Some(487));
        caller.send(&dialog.ack_refusal(&answer));
    }
}

fn malformed(caller: &mut Caller) {
    changed(caller, "400 to a broken CSeq", 400, |caller, invite| {
        // Still readable enough to be answered.
        let word = caller.marks.word("broken header");
        invite.replacen("Max-Forwards: 70", &format!("Max-Forwards: {word}"), 1)
    });
    changed(caller, "505", 505, |_, invite| invite.replacen(" SIP/2.0", " SIP/3.0", 1));
    for (what, begin) in [
        ("no SIP", ""),
        ("half an INVITE", "INVITE sip:1712@h SIP/2.0\r\nVia: "),
        ("a response", "SIP/2.0 200 "),
    ] {
        let word = caller.marks.word(what);
        caller.send(&format!("{begin}{word}\r\nFrom: <sip:{word}@h>\r\n\r\n"));
    }
}

/// Requests that belong to no call.
fn outside(caller: &mut Caller) {
    for (method, status) in [
        ("BYE", 481),
        ("INFO", 481),
        ("MESSAGE", 405),
        ("SUBSCRIBE", 401),
        ("PUBLISH", 405),
        ("OPTIONS", 200),
        ("CANCEL", 481),
    ] {
        let mut dialog = caller.dialog("1712");
        let word = caller.marks.word(&format!("{method} body"));
        let request = caller.request(&mut dialog, method, "Content-Type: text/plain", &word);
        caller.send(&request);
        let answer = dialog.await_final(&mut caller.peer, method);
        assert_eq!(answer.status(), Some(status), "{}", answer.text);
    }
    let mut dialog = caller.dialog("1712");
    let stray = caller.request(&mut dialog, "ACK", "", "");
    caller.send(&stray);
}

/// A phone, or somebody who would be one, with a wrong name and password: REGISTER and a `*` code.
fn wrong_passwords(caller: &mut Caller, peer: &mut Peer) {
    for (method, user) in [("REGISTER", "anna"), ("REGISTER", "nobody"), ("INVITE", "*71")] {
        let dialog = Dialog::to(peer, user);
        let mut dialog = caller.mark(dialog, peer.local);
        let mut lines = Vec::new();
        for attempt in 0..2 {
            let mut request = match method {
                "INVITE" => caller.invite(&mut dialog, "sendrecv"),
                _ => caller.request(&mut dialog, method, "Expires: 600", ""),
            };
            request = with_lines(&request, &lines);
            caller.send_by(peer, &request);
            let answer = dialog.await_final(peer, method);
            assert_eq!(answer.status(), Some(401), "{}", answer.text);
            if method == "INVITE" {
                let ack = dialog.ack_refusal(&answer);
                caller.send_by(peer, &ack);
            }
            if attempt == 0 {
                lines = vec![credentials(caller, &answer, user)];
            }
        }
    }
}

fn credentials(caller: &mut Caller, challenge: &Message, user: &str) -> String {
    let nonce =
        challenge.header("WWW-Authenticate").split("nonce=\"").nth(1).and_then(|r| r.split('"').next());
    let mut word = |place: &str| caller.marks.word(&format!("Authorization {place}"));
    let name = if user == "anna" { user.to_owned() } else { word("username") };
    format!(
        "Authorization: Digest username=\"{name}\", realm=\"test\", nonce=\"{}\", uri=\"sip:{}\", algorithm=MD5, \
         qop=auth, nc=00000001, cnonce=\"{}\", opaque=\"{}\", response=\"0123456789abcdef0123456789abcdef\"",
        nonce.expect("a nonce"),
        word("uri"),
        word("cnonce"),
        word("opaque"),
    )
}

/// A call over TCP, and a stream that is no SIP.
fn over_a_stream(caller: &mut Caller) {
    let mut stream = Peer::tcp(caller.peer.local.ip(), caller.peer.server);
    let dialog = Dialog::to(&stream, "say");
    let mut dialog = caller.mark(dialog, stream.local);
    let invite = caller.invite(&mut dialog, "sendrecv");
    caller.send_by(&mut stream, &invite);
    let answer = dialog.await_final(&mut stream, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    dialog.learn(&answer);
    let ack = with_lines(&dialog.ack(None), &caller.headers("ACK"));
    caller.send_by(&mut stream, &ack);
    dialog.await_bye(&mut stream);
    let nonsense = format!("{} is no SIP\r\n\r\n", caller.marks.word("a stream that is no SIP"));
    caller.send_by(&mut stream, &nonsense);
    stream.wait_closed();
}
