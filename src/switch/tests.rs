//! Faults inside the switch, which no story from outside can bring about.

mod events;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::io::{Input, Output};
use super::leg::KeyWay;
use super::policy::Policy;
use super::{Switch, What};
use crate::base::id::{FlowKey, LegKey, PlayKey, Rng};
use crate::base::time::Now;
use crate::callflow::example;
use crate::callflow::machine::FlowEvent;
use crate::config::raw::{Config, Network};
use crate::media::command::{MediaCommand, MediaEvent, RecordEnd};
use crate::media::prompt_bank::PromptBank;
use crate::sip::flow::{Flow, Transport};
use crate::sip::wire::message::Message;
use crate::sip::wire::parse::{Parsed, parse};
use crate::sip::wire::print::print_response;
use crate::telemetry::notice::{Notice, Outcome};

const SWITCH: &str = "10.0.0.1:5060";
const CARRIER: &str = "10.0.1.1:5060";

struct Bench {
    now: Now,
    switch: Switch,
    sent: Vec<String>,
    notices: Vec<Notice>,
    opened: Vec<LegKey>,
    closed: Vec<LegKey>,
    plays: Vec<PlayKey>,
    saved: usize,
    drained: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let (prompts, _) = PromptBank::load(&dir, &["nl".to_owned()]);
        let mut config = example::config();
        config.helpline.languages.truncate(1);
        config.flows.retain(|f| f.name.value != "languages");
        change(&mut config);
        let Ok((policy, _)) = Policy::compile(config, Arc::new(prompts), 1, None) else {
            panic!("the policy")
        };
        let now = Now { utc: "2026-11-24T10:00:00Z".parse().unwrap(), ..Now::read() };
        let switch = Switch::new(now, Arc::new(policy), Rng::from_number(1));
        let (sent, notices) = (Vec::new(), Vec::new());
        let mut bench = Self {
            now,
            switch,
            sent,
            notices,
            opened: Vec::new(),
            closed: Vec::new(),
            plays: Vec::new(),
            saved: 0,
            drained: false,
        };
        bench.drain();
        bench
    }

    fn give(&mut self, input: Input) {
        self.switch.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.switch.poll() {
            match output {
                Output::Transmit { bytes, .. } => self.sent.push(written(&bytes)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Media(MediaCommand::Open { leg, .. }) => self.opened.push(leg),
                Output::Media(MediaCommand::Close { leg }) => self.closed.push(leg),
                Output::Media(MediaCommand::Play { play, .. }) => self.plays.push(play),
                Output::Store(_) => self.saved += 1,
                Output::Drained => self.drained = true,
                Output::Media(_) | Output::Resolve { .. } | Output::Proven { .. } => {}
            }
        }
    }

    fn sip(&mut self, text: &str) {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (local, peer) = (address(SWITCH), address(CARRIER));
        let flow = Flow { key: FlowKey(1), transport: Transport::Udp, local, peer };
        self.give(Input::Sip { flow, bytes: text.as_bytes().to_vec() });
    }

    /// An answered and acknowledged call.
    fn call(&mut self, id: &str) {
        self.call_number("1712", id);
    }

    fn call_number(&mut self, number: &str, id: &str) {
        let tag = self.answered(number, id);
        self.sip(&request("ACK", id, &format!(";tag={tag}"), 1, ""));
    }

    /// An answered call whose ACK is still on its way, by our tag.
    fn answered(&mut self, number: &str, id: &str) -> String {
        let sdp = "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
        self.sip(&request("INVITE", id, "", 1, sdp).replace("sip:1712@", &format!("sip:{number}@")));
        let leg = *self.opened.last().unwrap();
        self.give(Input::Media(MediaEvent::Opened { leg, local: "10.0.0.1:20000".parse().unwrap() }));
        let ok = self.sent.iter().rev().find(|t| t.starts_with("SIP/2.0 200")).unwrap();
        ok.lines().find_map(|l| l.strip_prefix("To: ")?.split_once(";tag=")).unwrap().1.to_owned()
    }

    fn hung_up(&self, id: &str) -> bool {
        self.sent.iter().any(|t| t.starts_with("BYE") && t.contains(&format!("Call-ID: {id}\r")))
    }

    /// Lets time pass as long as there is something to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some((at, _)) = self.switch.next_timeout() else { return };
            self.now = self.now.plus(at.saturating_duration_since(self.now.at));
            self.give(Input::Timeout);
        }
        panic!("it never comes to rest");
    }
}

/// A message as it is usually written: an answer to a stranger may be in short.
fn written(bytes: &[u8]) -> String {
    let whole = match parse(bytes) {
        Parsed::Ok(Message::Response(response)) => print_response(&response).ok(),
        _ => None,
    };
    String::from_utf8_lossy(whole.as_deref().unwrap_or(bytes)).into_owned()
}

#[test]
fn behind_address_translation_each_side_is_told_the_address_that_it_reaches() {
    let mut bench = Bench::with(|config| {
        let phones = Network { address: "10.0.2.0".parse().unwrap(), prefix: 24 };
        config.site.local_networks = vec![example::at(phones)];
        config.media.external = Some(example::at("203.0.113.5".parse().unwrap()));
        for listen in &mut config.listen {
            listen.external = Some(example::at("203.0.113.5:5060".parse().unwrap()));
        }
    });
    bench.call_number("direct", "c1");
    let sdp_of = |bench: &Bench, start: &str| {
        let text = bench.sent.iter().rev().find(|text| text.starts_with(start)).unwrap();
        let audio = text.lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap();
        let contact = text.lines().find_map(|line| line.strip_prefix("Contact: ")).unwrap();
        (audio.to_owned(), contact.to_owned())
    };
    assert_eq!(sdp_of(&bench, "SIP/2.0 200").0, "203.0.113.5", "the carrier");
    let leg = *bench.opened.last().unwrap();
    bench.give(Input::Media(MediaEvent::Opened { leg, local: "10.0.0.1:20002".parse().unwrap() }));
    let (audio, contact) = sdp_of(&bench, "INVITE sip:centre");
    assert_eq!(
        (audio.as_str(), contact.as_str()),
        ("10.0.0.1", "<sip:anonymous@10.0.0.1:5060>"),
        "a phone of ours"
    );
}

fn request(method: &str, id: &str, to_tag: &str, cseq: u32, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:1712@{SWITCH} SIP/2.0\r\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bK{id}{method}{cseq}\r\n\
         From: <sip:x@{CARRIER}>;tag={id}\r\nTo: <sip:1712@{SWITCH}>{to_tag}\r\nCall-ID: {id}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:x@{CARRIER}>\r\nMax-Forwards: 70\r\n{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_panic_in_one_calls_code_ends_that_call_and_no_other() {
    let mut bench = Bench::new();
    bench.call("one");
    bench.call("two");
    let keys: Vec<_> = bench.switch.calls.keys().copied().collect();
    let caller = bench.switch.calls.get(&keys[0]).unwrap().caller;
    bench.switch.state.breaks = Some(keys[0]);
    bench.give(Input::Media(MediaEvent::Digit { leg: caller, digit: '5' }));
    assert!(bench.notices.contains(&Notice::CallPanicked { call: keys[0] }));
    let failed =
        |n: &Notice| matches!(n, Notice::Ended { call, outcome: Outcome::Failed, .. } if *call == keys[0]);
    assert!(bench.notices.iter().any(failed));
    assert_eq!(bench.closed, [caller]);
    assert!(bench.sent.iter().any(|t| t.starts_with("BYE") && t.contains("Call-ID: one")));
    assert_eq!(bench.switch.calls.keys().copied().collect::<Vec<_>>(), keys[1..]);
    let other = bench.switch.calls.get(&keys[1]).unwrap().caller;
    bench.switch.hang_up_for_test(bench.now, other);
    bench.settle();
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!(
        (snapshot.calls, snapshot.legs, snapshot.sip.dialogs, snapshot.sip.transactions),
        (0, 0, 0, 0)
    );
}

#[test]
fn a_panic_costs_nobody_the_message_that_was_spoken() {
    for spoken_already in [false, true] {
        let mut bench = Bench::new();
        bench.call_number("vm", "one");
        let key = *bench.switch.calls.keys().next().unwrap();
        let leg = bench.opened[0];
        let play = *bench.plays.last().unwrap();
        bench.give(Input::Media(MediaEvent::PlayEnded { leg, play }));
        let take = *bench.switch.takes.keys().next().unwrap();
        let length = Duration::from_secs(20);
        let recorded =
            || Input::Media(MediaEvent::Recorded { leg, take, length, end: RecordEnd::Stopped, voice: true });
        if spoken_already {
            bench.give(recorded());
        }
        bench.switch.state.breaks = Some(key);
        bench.switch.guarded(bench.now, |switch| switch.flow(bench.now, key, FlowEvent::TimedOut));
        bench.drain();
        if !spoken_already {
            bench.give(recorded());
        }
        assert_eq!((bench.saved, bench.switch.takes.len()), (1, 0), "spoken already: {spoken_already}");
    }
}

#[test]
fn a_call_may_not_last_for_ever() {
    let mut bench = Bench::new();
    bench.call("one");
    let (at, owner) = bench.switch.timers.next().map(|(at, owner, _)| (at, owner)).unwrap();
    assert!(bench.switch.timers.is_set(owner, What::Length) && at > bench.now.at + Duration::from_secs(3600));
    bench.now = bench.now.plus(at - bench.now.at);
    bench.give(Input::Timeout);
    assert!(bench.switch.calls.iter().all(|(_, c)| matches!(c.phase, super::call::Phase::Farewell(_))));
}

#[test]
fn a_disk_that_does_not_answer_leaves_no_caller_in_silence_and_what_it_takes_later_is_kept() {
    let mut bench = Bench::new();
    bench.call_number("vm", "one");
    let leg = bench.opened[0];
    let play = *bench.plays.last().unwrap();
    bench.give(Input::Media(MediaEvent::PlayEnded { leg, play }));
    let take = *bench.switch.takes.keys().next().unwrap();
    bench.now = bench.now.plus(Duration::from_secs(20));
    let (spoken, pressed) = (bench.plays.len(), bench.now.at);
    bench.give(Input::Media(MediaEvent::Digit { leg, digit: '#' }));
    while bench.plays.len() == spoken {
        let (at, _) = bench.switch.next_timeout().expect("the caller is not left alone");
        bench.now = bench.now.plus(at.saturating_duration_since(bench.now.at));
        bench.give(Input::Timeout);
    }
    assert_eq!(bench.now.at - pressed, Duration::from_secs(5));
    assert_eq!(bench.notices.iter().filter(|n| **n == Notice::DiskFull).count(), 1);
    assert_eq!(bench.saved, 0);
    let (length, end) = (Duration::from_secs(20), RecordEnd::Key);
    bench.give(Input::Media(MediaEvent::Recorded { leg, take, length, end, voice: true }));
    assert_eq!((bench.saved, bench.switch.takes.len()), (1, 0));
}

#[test]
fn the_last_word_is_heard_before_the_call_ends() {
    // Said by the switch, and by the script.
    for (number, id) in [("1712", "one"), ("vm", "two")] {
        let mut bench = Bench::new();
        bench.call_number(number, id);
        let leg = bench.opened[0];
        if number == "vm" {
            let play = *bench.plays.last().unwrap();
            bench.give(Input::Media(MediaEvent::PlayEnded { leg, play }));
            let take = *bench.switch.takes.keys().next().unwrap();
            let length = Duration::from_secs(20);
            let end = RecordEnd::Stopped;
            bench.give(Input::Media(MediaEvent::Recorded { leg, take, length, end, voice: true }));
        } else {
            let key = *bench.switch.calls.keys().next().unwrap();
            bench.switch.too_long_a_call(bench.now, key);
            bench.drain();
        }
        let (mut said, mut ended) = (bench.now.at, None);
        while !bench.hung_up(id) {
            let play = *bench.plays.last().unwrap();
            if ended.replace(play) != Some(play) {
                said = bench.now.at;
                bench.give(Input::Media(MediaEvent::PlayEnded { leg, play }));
                continue;
            }
            let (at, _) = bench.switch.next_timeout().expect("it is to end");
            bench.now = bench.now.plus(at.saturating_duration_since(bench.now.at));
            bench.give(Input::Timeout);
        }
        assert_eq!(bench.now.at - said, Duration::from_millis(200), "{id}");
    }
}

#[test]
fn the_end_of_a_stop_does_not_wait_for_who_never_confirms() {
    let mut bench = Bench::new();
    bench.call("one");
    let begun = bench.now.at;
    bench.give(Input::Operator(super::io::Command::Drain));
    while !bench.drained {
        let (at, _) = bench.switch.next_timeout().expect("something is still to come");
        bench.now = bench.now.plus(at.saturating_duration_since(bench.now.at));
        bench.give(Input::Timeout);
    }
    let grace = bench.switch.policy.config.shutdown.grace.value;
    let most = grace + Duration::from_secs(15 + 10);
    assert!(bench.now.at.saturating_duration_since(begun) <= most);
}

#[test]
fn a_stop_asked_for_twice_hangs_up_and_waits_two_seconds_at_most() {
    use super::io::Command;
    let mut bench = Bench::new();
    bench.call("one");
    let tag = bench.answered("1712", "two");
    bench.give(Input::Operator(Command::Drain));
    bench.give(Input::Operator(Command::CutOff));
    assert!(bench.hung_up("one") && !bench.hung_up("two"), "no BYE before the ACK, RFC 3261 15");
    bench.sip(&request("ACK", "two", &format!(";tag={tag}"), 1, ""));
    assert!(bench.hung_up("two") && !bench.drained);
    bench.now = bench.now.plus(Duration::from_secs(2));
    bench.give(Input::Timeout);
    assert!(bench.drained, "who never confirms is not waited for");
}

#[test]
fn a_stop_asked_for_three_times_waits_for_nobody() {
    use super::io::Command;
    let mut bench = Bench::new();
    bench.call("one");
    for command in [Command::Drain, Command::CutOff, Command::CutOff] {
        bench.give(Input::Operator(command));
    }
    bench.give(Input::Timeout);
    assert!(bench.hung_up("one") && bench.drained);
}

#[test]
fn a_leg_whose_media_broke_ends_its_call_and_is_told() {
    let mut bench = Bench::new();
    bench.call("one");
    let leg = bench.opened[0];
    bench.give(Input::Media(MediaEvent::Broken { leg }));
    assert!(bench.notices.contains(&Notice::MediaFailed));
    assert!(bench.notices.iter().any(|n| matches!(n, Notice::Ended { outcome: Outcome::Failed, .. })));
    assert!(bench.sent.iter().any(|t| t.starts_with("BYE") && t.contains("Call-ID: one")));
    assert!(bench.switch.calls.is_empty());
}

#[test]
fn a_key_by_rfc_4733_and_by_info_counts_once() {
    let mut bench = Bench::new();
    bench.call("one");
    let key = bench.opened[0];
    let now = bench.now.at;
    let leg = bench.switch.legs.get_mut(&key).unwrap();
    let later = |ms| now + Duration::from_millis(ms);
    let presses = [
        (0, KeyWay::Info, '1', true),
        (100, KeyWay::Event, '1', false),
        (300, KeyWay::Event, '2', true),
        (320, KeyWay::Event, '2', true),
        (340, KeyWay::Info, '2', false),
        (360, KeyWay::Info, '2', false),
        (380, KeyWay::Info, '7', true),
        (3000, KeyWay::Event, '7', true),
    ];
    for (ms, way, digit, counts) in presses {
        assert_eq!(leg.pressed(later(ms), way, digit), counts, "{digit} at {ms} ms by {way:?}");
    }
}
