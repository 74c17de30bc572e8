//! Lamps: a phone watches the mailbox and other lines (RFC 6665), while callers come and go.

use std::net::SocketAddr;
use std::time::Duration;

use hulplijn::sim::phone::{Deed, Identity, Script};
use hulplijn::sim::world::World;
use hulplijn::sip::digest::{Credentials, answer};
use hulplijn::switch::io::Command;

const DESK: &str = "10.0.2.77:5060";
const SWITCH: &str = "10.0.0.1:5060";

/// A second phone of Anna's that only has lamps. It writes by hand what it says.
struct Desk {
    /// How much of what was sent has been looked at.
    read: usize,
    serial: u32,
    /// All NOTIFYs, each once.
    notified: Vec<String>,
    answers: Vec<String>,
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or("")
}

impl Desk {
    fn new() -> Self {
        Self { read: 0, serial: 0, notified: Vec::new(), answers: Vec::new() }
    }

    fn says(world: &mut World, text: &str) {
        world.inject(DESK.parse().unwrap(), text.as_bytes());
    }

    /// Lets time pass, and answers each NOTIFY at once.
    fn run(&mut self, world: &mut World, time: Duration) {
        let desk: SocketAddr = DESK.parse().unwrap();
        let end = world.elapsed() + time;
        while world.elapsed() < end {
            world.run(Duration::from_millis(50));
            let fresh: Vec<String> = world.wire[self.read..]
                .iter()
                .filter(|wire| wire.to == desk)
                .map(|wire| String::from_utf8_lossy(&wire.bytes).into_owned())
                .collect();
            self.read = world.wire.len();
            for text in fresh {
                if !text.starts_with("NOTIFY") {
                    self.answers.push(text);
                    continue;
                }
                let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"]
                    .iter()
                    .map(|name| format!("{name}: {}\r\n", field(&text, name)))
                    .collect();
                Self::says(world, &format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n"));
                if !self.notified.contains(&text) {
                    self.notified.push(text);
                }
            }
        }
    }

    fn subscribe(&mut self, world: &mut World, target: &str, event: &str, expires: u32) -> String {
        let uri = format!("sip:{target}@{SWITCH}");
        let mut proof = String::new();
        for _ in 0..2 {
            self.serial += 1;
            let n = self.serial;
            Self::says(
                world,
                &format!(
                    "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {DESK};branch=z9hG4bKdesk{n};rport\r\n\
                     Max-Forwards: 70\r\nFrom: <sip:anna@{SWITCH}>;tag=desk{n}\r\nTo: <{uri}>\r\nCall-ID: desk{n}\r\n\
                     CSeq: {n} SUBSCRIBE\r\nContact: <sip:anna@{DESK}>\r\nEvent: {event}\r\nExpires: {expires}\r\n\
                     {proof}Content-Length: 0\r\n\r\n"
                ),
            );
            self.run(world, Duration::from_millis(200));
            let last = self.answers.last().unwrap().clone();
            if !last.starts_with("SIP/2.0 401") {
                return last;
            }
            let fields = last.lines().filter_map(|line| line.split_once(':'));
            let challenges =
                fields.filter(|(name, _)| *name == "WWW-Authenticate").map(|(_, value)| value.trim());
            let anna = Credentials { username: "anna".into(), password: "geheim-anna".into(), realm: None };
            let value = answer(challenges, "SUBSCRIBE", &uri, &anna, "c", 1, &[]).unwrap();
            proof = format!("Authorization: {value}\r\n");
        }
        panic!("the password is not taken");
    }

    /// States of the dialog documents, in order; an empty one is idle.
    fn states(&self) -> Vec<&str> {
        let dialogs = self.notified.iter().filter(|text| field(text, "Event") == "dialog");
        dialogs
            .map(|text| text.split(['<', '>']).skip_while(|w| *w != "state").nth(1).unwrap_or("idle"))
            .collect()
    }

    fn summary(&self) -> &str {
        let last = self.notified.iter().rev().find(|text| field(text, "Event") == "message-summary");
        last.and_then(|text| text.split("\r\n\r\n").nth(1)).unwrap_or("")
    }
}

#[test]
fn a_lamp_shows_the_other_line_ring_talk_and_rest_and_nothing_of_the_caller() {
    let mut world = World::open();
    world.line("bart", Script::answers(3));
    world.run_s(1);
    let mut desk = Desk::new();
    assert!(desk.subscribe(&mut world, "bart", "dialog", 3600).starts_with("SIP/2.0 200"));
    assert!(desk.subscribe(&mut world, "bart", "presence", 3600).starts_with("SIP/2.0 200"));
    assert_eq!(desk.states(), ["idle"]);
    let caller = world.caller("kim", Script::default());
    world.with(caller, |phone, _| {
        phone.identity = Identity {
            user: "0470998877".into(),
            display: "Kim Qzxjvw".into(),
            host: "qzxjvw.invalid".into(),
            user_agent: "qzxjvw".into(),
            headers: "P-Asserted-Identity: <tel:+32470998877>\r\nX-Word: qzxjvw\r\n".into(),
            sdp_session: "i=qzxjvw\r\n".into(),
            sdp_origin: "qzxjvw".into(),
        };
    });
    world.dial("kim", "order");
    desk.run(&mut world, Duration::from_secs(10));
    assert!(world.talk("kim", "bart"));
    world.does("kim", Deed::HangUp);
    desk.run(&mut world, Duration::from_secs(3));
    assert_eq!(desk.states(), ["idle", "early", "confirmed", "terminated"]);
    let notes: Vec<&str> =
        desk.notified.iter().filter_map(|text| text.split("<note>").nth(1)?.split('<').next()).collect();
    assert!(notes.starts_with(&["available", "ringing", "busy"]), "{notes:?}");
    for text in &desk.notified {
        let address = world.at_phone("kim").address.ip().to_string();
        for secret in ["qzxjvw", "Qzxjvw", "998877", "Kim", "kim", address.as_str()] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
    // An hour later the phone has not asked again.
    desk.run(&mut world, Duration::from_secs(3700));
    let last = desk.notified.last().unwrap();
    assert_eq!(field(last, "Subscription-State"), "terminated;reason=timeout");
    world.finish();
}

#[test]
fn a_message_that_a_caller_leaves_lights_the_lamp_until_it_is_done() {
    let mut world = World::open();
    world.line("anna", Script::default());
    world.run_s(1);
    let mut desk = Desk::new();
    assert!(desk.subscribe(&mut world, "anna", "message-summary", 3600).starts_with("SIP/2.0 200"));
    world.operate(Command::Messages { new: 0, done: 0 });
    desk.run(&mut world, Duration::from_secs(2));
    assert_eq!(desk.summary(), "Messages-Waiting: no\r\nVoice-Message: 0/0\r\n");
    world.calls("kim", "vm", Script::default());
    desk.run(&mut world, Duration::from_secs(60));
    world.does("kim", Deed::HangUp);
    desk.run(&mut world, Duration::from_secs(5));
    let new = world.messages().len() as u32;
    assert_eq!(new, 1);
    world.operate(Command::Messages { new, done: 0 });
    desk.run(&mut world, Duration::from_secs(2));
    assert_eq!(desk.summary(), "Messages-Waiting: yes\r\nVoice-Message: 1/0\r\n");
    world.operate(Command::Messages { new: 0, done: new });
    desk.run(&mut world, Duration::from_secs(2));
    assert_eq!(desk.summary(), "Messages-Waiting: no\r\nVoice-Message: 0/1\r\n");
    desk.run(&mut world, Duration::from_secs(3700));
    world.finish();
}

#[test]
fn a_stop_tells_the_lamps_when_the_last_call_is_over() {
    let mut world = World::open();
    world.line("bart", Script::answers(0));
    world.run_s(1);
    let mut desk = Desk::new();
    assert!(desk.subscribe(&mut world, "bart", "dialog", 3600).starts_with("SIP/2.0 200"));
    world.calls("kim", "order", Script::default());
    desk.run(&mut world, Duration::from_secs(5));
    world.operate(Command::Drain);
    desk.run(&mut world, Duration::from_secs(5));
    assert!(!world.drained && desk.states().last() == Some(&"confirmed"));
    world.does("kim", Deed::HangUp);
    desk.run(&mut world, Duration::from_secs(5));
    assert!(world.drained);
    let last = desk.notified.last().unwrap();
    assert_eq!(field(last, "Subscription-State"), "terminated;reason=probation;retry-after=30");
}
