//! Subscriptions of phones (RFC 6665): who may, what they hear and how often, and how they end.

use super::*;
use crate::routing::line::Line;
use crate::sip::digest::{Credentials, answer};
use crate::switch::io::Command;

const DESK: &str = "192.0.2.20:5060";
const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    fn hears_at(&mut self, transport: Transport, text: &str) {
        let [local, peer] = [SWITCH, DESK].map(|a| a.parse::<SocketAddr>().unwrap());
        self.give(Input::Sip {
            flow: Flow { key: FlowKey(9), transport, local, peer },
            bytes: text.as_bytes().to_vec(),
        });
    }

    fn lasts(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some((at, _)) = self.switch.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.plus(at.saturating_duration_since(self.now.at));
            self.give(Input::Timeout);
        }
        self.now = self.now.plus(end.saturating_duration_since(self.now.at));
    }

    /// Something happens at a line.
    fn line(&mut self, name: &str, change: impl FnOnce(&mut Line, std::time::Instant)) {
        let key = self.switch.policy.line_named(name).unwrap();
        change(self.switch.floor.line_mut(key).unwrap(), self.now.at);
        self.switch.line_changed(self.now, key);
        self.switch.drain_endpoint(self.now);
        self.drain();
    }

    fn subscriptions(&self) -> usize {
        self.switch.snapshot(self.now).sip.subscriptions
    }

    /// NOTIFYs since the last time, each answered with 200.
    fn notified(&mut self) -> Vec<String> {
        self.notified_and(200)
    }

    fn notified_and(&mut self, status: u16) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let sent = std::mem::take(&mut self.sent);
            let fresh: Vec<String> = sent.into_iter().filter(|text| text.starts_with("NOTIFY")).collect();
            if fresh.is_empty() {
                return seen;
            }
            for notify in fresh {
                let names = ["Via", "From", "To", "Call-ID", "CSeq"];
                let copied: String =
                    names.iter().map(|name| format!("{name}: {}\r\n", field(&notify, name))).collect();
                self.hears_at(
                    Transport::Udp,
                    &format!("SIP/2.0 {status} Word\r\n{copied}Content-Length: 0\r\n\r\n"),
                );
                seen.push(notify);
            }
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or("")
}

/// A phone of a line, with what a 401 told it.
struct Desk {
    name: &'static str,
    challenges: Vec<String>,
    count: u32,
    transport: Transport,
}

/// A subscription as its phone sees it.
struct Key {
    to: String,
    call_id: String,
    event: String,
    cseq: u32,
}

impl Desk {
    fn new(name: &'static str) -> Self {
        Self { name, challenges: Vec::new(), count: 0, transport: Transport::Udp }
    }

    fn request(&mut self, method: &str, target: &str, more: &str) -> String {
        self.count += 1;
        let (name, count) = (self.name, self.count);
        let transport = self.transport.as_str();
        format!(
            "{method} sip:{target}@{SWITCH} SIP/2.0\r\nVia: SIP/2.0/{transport} {DESK};branch=z9hG4bK{name}{count}{method}\r\n\
             From: <sip:{name}@{SWITCH}>;tag={name}{count}\r\nTo: <sip:{target}@{SWITCH}>\r\nCall-ID: {name}{count}\r\n\
             CSeq: {count} {method}\r\nContact: <sip:{name}@{DESK}>\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
        )
    }

    /// SUBSCRIBE with the right password: the answer.
    fn asks(&mut self, bench: &mut Bench, target: &str, more: &str) -> String {
        if self.challenges.is_empty() {
            let text = self.request("SUBSCRIBE", target, more);
            bench.hears_at(self.transport, &text);
            let refusal = bench.sent.pop().unwrap();
            assert!(refusal.starts_with("SIP/2.0 401"), "{refusal}");
            let values = refusal.lines().filter_map(|l| l.strip_prefix("WWW-Authenticate: "));
            self.challenges = values.map(str::to_owned).collect();
            self.count = 0;
        }
        let password = format!("geheim-{}", self.name);
        let account = Credentials { username: self.name.into(), password, realm: None };
        let challenges = self.challenges.iter().map(String::as_str);
        let uri = format!("sip:{target}@{SWITCH}");
        let value = answer(challenges, "SUBSCRIBE", &uri, &account, "c", self.count + 1, &[]).unwrap();
        self.count += 100;
        let text = self.request("SUBSCRIBE", target, &format!("Authorization: {value}\r\n{more}"));
        self.count -= 100;
        bench.hears_at(self.transport, &text);
        let at = bench.sent.iter().position(|t| t.starts_with("SIP/2.0")).unwrap();
        bench.sent.remove(at)
    }

    fn subscribes(&mut self, bench: &mut Bench, target: &str, event: &str) -> Key {
        let ok = self.asks(bench, target, &format!("Event: {event}\r\nExpires: 600\r\n"));
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        assert_eq!(field(&ok, "Expires"), "600");
        assert!(field(&ok, "Contact").starts_with("<sip:hulplijn@10.0.0.1:5060"), "{ok}");
        let (to, call_id) = (field(&ok, "To").to_owned(), field(&ok, "Call-ID").to_owned());
        Key { to, call_id, event: event.to_owned(), cseq: 1000 }
    }

    /// A request in the dialog of a subscription: the answer.
    fn within(&mut self, bench: &mut Bench, key: &mut Key, method: &str, more: &str) -> String {
        key.cseq += 1;
        let (name, cseq) = (self.name, key.cseq);
        let text = format!(
            "{method} sip:hulplijn@{SWITCH} SIP/2.0\r\nVia: SIP/2.0/UDP {DESK};branch=z9hG4bK{}{cseq}\r\n\
             From: <sip:{name}@{SWITCH}>;tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{name}@{DESK}>\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n",
            key.call_id, key.call_id, key.to, key.call_id
        );
        bench.hears_at(self.transport, &text);
        let at = bench.sent.iter().position(|t| t.starts_with("SIP/2.0")).unwrap();
        bench.sent.remove(at)
    }

    fn refreshes(&mut self, bench: &mut Bench, key: &mut Key, expires: u32) -> String {
        let more = format!("Event: {}\r\nExpires: {expires}\r\n", key.event);
        self.within(bench, key, "SUBSCRIBE", &more)
    }
}

fn first(notified: &[String]) -> &str {
    notified.first().map_or("", String::as_str)
}

#[test]
fn rfc_6665_4_2_1_1_who_proves_nothing_learns_nothing_and_fills_no_table() {
    let mut bench = Bench::new();
    let mut stranger = Desk::new("anna");
    for target in ["anna", "nobody", "1712"] {
        for event in ["Event: message-summary\r\n", "Event: odd\r\n", ""] {
            let text = stranger.request("SUBSCRIBE", target, event);
            bench.hears_at(Transport::Udp, &text);
        }
    }
    let sent = std::mem::take(&mut bench.sent);
    assert_eq!(sent.len(), 9);
    assert!(sent.iter().all(|text| text.starts_with("SIP/2.0 401")), "{sent:?}");
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!((snapshot.sip.transactions, snapshot.sip.subscriptions, snapshot.sip.timers), (0, 0, 0));
}

#[test]
fn rfc_6665_4_2_1_1_what_can_not_be_had_is_refused_with_its_reason() {
    let cases = [
        ("anna", "Event: conference\r\n", "489", "Allow-Events", "message-summary, dialog, presence"),
        ("anna", "", "489", "Allow-Events", "message-summary, dialog, presence"),
        ("anna", "Event: dialog\r\nExpires: 30\r\n", "423", "Min-Expires", "60"),
        ("nobody", "Event: dialog\r\n", "404", "Expires", ""),
        ("1712", "Event: presence\r\n", "404", "Expires", ""),
        ("bart", "Event: message-summary\r\n", "403", "Expires", ""),
        ("anna", "Event: dialog\r\nAccept: text/plain\r\n", "406", "Expires", ""),
        ("anna", "Event: dialog\r\nExpires: soon\r\n", "400", "Expires", ""),
    ];
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    for (target, more, status, name, value) in cases {
        let answer = desk.asks(&mut bench, target, more);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{target} {more}: {answer}");
        assert_eq!(field(&answer, name), value, "{target} {more}");
        desk.count += 1;
    }
    assert_eq!(bench.subscriptions(), 0);
    assert!(bench.notified().is_empty());
}

#[test]
fn rfc_3842_the_own_mailbox_is_told_at_once_and_whenever_it_changes() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    let mut key = desk.subscribes(&mut bench, "anna", "message-summary;id=7");
    let notified = bench.notified();
    let notify = first(&notified);
    assert_eq!(notified.len(), 1);
    assert!(notify.starts_with("NOTIFY sip:anna@192.0.2.20:5060 SIP/2.0"), "{notify}");
    assert_eq!(field(notify, "Event"), "message-summary;id=7");
    assert_eq!(field(notify, "Subscription-State"), "active;expires=600");
    assert_eq!(field(notify, "Content-Type"), "application/simple-message-summary");
    assert!(notify.ends_with("\r\n\r\nMessages-Waiting: no\r\n"), "{notify}");
    bench.lasts(SECOND);
    bench.give(Input::Operator(Command::Messages { new: 1, done: 0 }));
    assert!(first(&bench.notified()).ends_with("Messages-Waiting: yes\r\nVoice-Message: 1/0\r\n"));
    bench.lasts(SECOND);
    bench.give(Input::Operator(Command::Messages { new: 1, done: 0 }));
    assert!(bench.notified().is_empty(), "nothing has changed");
    bench.give(Input::Operator(Command::Messages { new: 0, done: 1 }));
    assert!(first(&bench.notified()).ends_with("Messages-Waiting: no\r\nVoice-Message: 0/1\r\n"));
    bench.lasts(SECOND);
    assert!(desk.refreshes(&mut bench, &mut key, 600).starts_with("SIP/2.0 200"));
    assert_eq!(bench.notified().len(), 1, "a refresh is answered by a NOTIFY in any case");
}

#[test]
fn rfc_4235_a_line_is_seen_ringing_talking_and_idle_and_its_dialog_has_a_name_of_ours() {
    let mut bench = Bench::new();
    bench.line("bart", |line, _| line.set_reachable(true));
    let mut desk = Desk::new("anna");
    let _key = desk.subscribes(&mut bench, "bart", "dialog");
    let idle = first(&bench.notified()).to_owned();
    assert!(idle.contains("version=\"0\" state=\"full\" entity=\"sip:bart@10.0.0.1\""), "{idle}");
    assert!(!idle.contains("<dialog "), "{idle}");
    let mut ids = Vec::new();
    for (version, state) in [(1, "early"), (2, "confirmed"), (3, "terminated"), (4, "early")] {
        bench.lasts(SECOND);
        bench.line("bart", |line, now| match state {
            "early" => line.offered(),
            "confirmed" => line.answered(),
            _ => line.released(now, Duration::ZERO),
        });
        let notify = first(&bench.notified()).to_owned();
        assert!(notify.contains(&format!("version=\"{version}\"")), "{notify}");
        assert!(notify.contains(&format!("<state>{state}</state>")), "{notify}");
        ids.push(notify.split("<dialog id=\"").nth(1).and_then(|t| t.split('"').next()).unwrap().to_owned());
    }
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3] && ids[0].len() == 16, "{ids:?}");
}

#[test]
fn rfc_3863_presence_says_open_or_closed_with_a_word() {
    let mut bench = Bench::new();
    bench.line("bart", |line, now| {
        line.set_reachable(true);
        line.log_in(now);
    });
    let mut desk = Desk::new("anna");
    let _key = desk.subscribes(&mut bench, "bart", "presence");
    let open = first(&bench.notified()).to_owned();
    assert!(open.contains("<basic>open</basic>") && open.contains("<note>available</note>"), "{open}");
    bench.lasts(SECOND);
    bench.line("bart", |line, _| line.pause());
    let paused = first(&bench.notified()).to_owned();
    assert!(paused.contains("<basic>closed</basic>") && paused.contains("<note>paused</note>"), "{paused}");
}

#[test]
fn rfc_6665_4_2_3_changes_within_a_second_are_told_together() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    let _key = desk.subscribes(&mut bench, "anna", "message-summary");
    assert_eq!(bench.notified().len(), 1);
    for new in 1..=50 {
        bench.give(Input::Operator(Command::Messages { new, done: 0 }));
        bench.lasts(Duration::from_millis(10));
    }
    assert!(bench.notified().is_empty());
    bench.lasts(Duration::from_millis(600));
    let notified = bench.notified();
    assert_eq!(notified.len(), 1);
    assert!(first(&notified).ends_with("Voice-Message: 50/0\r\n"));
    // And none overtakes one that waits for its answer.
    bench.lasts(SECOND);
    bench.give(Input::Operator(Command::Messages { new: 51, done: 0 }));
    bench.lasts(Duration::from_millis(100));
    bench.give(Input::Operator(Command::Messages { new: 52, done: 0 }));
    bench.lasts(Duration::from_millis(3300));
    let numbers: std::collections::BTreeSet<String> =
        bench.sent.iter().filter(|t| t.starts_with("NOTIFY")).map(|t| field(t, "CSeq").to_owned()).collect();
    assert_eq!(numbers.len(), 1, "only repetitions: {numbers:?}");
    bench.sent.truncate(1);
    assert!(bench.notified().last().unwrap().ends_with("Voice-Message: 52/0\r\n"));
}

#[test]
fn rfc_6665_4_4_1_subscriptions_end_by_the_phone_by_time_and_by_question() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    let mut key = desk.subscribes(&mut bench, "anna", "message-summary");
    assert_eq!((bench.notified().len(), bench.subscriptions()), (1, 1));
    assert!(bench.notices.contains(&Notice::Subscriptions { open: 1 }));
    let ok = desk.refreshes(&mut bench, &mut key, 0);
    assert!(ok.starts_with("SIP/2.0 200") && field(&ok, "Expires") == "0", "{ok}");
    let notified = bench.notified();
    assert_eq!(field(first(&notified), "Subscription-State"), "terminated;reason=timeout");
    assert_eq!((notified.len(), bench.subscriptions()), (1, 0));
    assert!(desk.refreshes(&mut bench, &mut key, 600).starts_with("SIP/2.0 481"));

    desk.count += 1;
    let _key = desk.subscribes(&mut bench, "bart", "dialog");
    assert_eq!(bench.notified().len(), 1);
    bench.lasts(Duration::from_secs(599));
    assert_eq!(bench.subscriptions(), 1);
    bench.lasts(SECOND);
    assert_eq!(field(first(&bench.notified()), "Subscription-State"), "terminated;reason=timeout");
    assert_eq!(bench.subscriptions(), 0);

    // RFC 6665 4.4.3: one answer, and nothing more.
    let mut desk = Desk::new("anna");
    let ok = desk.asks(&mut bench, "bart", "Event: presence\r\nExpires: 0\r\n");
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    let notified = bench.notified();
    assert!(first(&notified).contains("terminated;reason=timeout") && first(&notified).contains("<basic>"));
    bench.lasts(Duration::from_secs(40));
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!((snapshot.sip.subscriptions, snapshot.sip.transactions, snapshot.sip.timers), (0, 0, 0));
}

#[test]
fn rfc_6665_4_2_2_a_phone_that_has_forgotten_or_is_gone_is_told_no_more() {
    for status in [481, 408, 489] {
        let mut bench = Bench::new();
        let mut desk = Desk::new("anna");
        let _key = desk.subscribes(&mut bench, "anna", "message-summary");
        assert_eq!(bench.notified_and(status).len(), 1);
        assert_eq!(bench.subscriptions(), 0, "{status}");
        bench.give(Input::Operator(Command::Messages { new: 1, done: 0 }));
        assert!(bench.notified().is_empty(), "{status}");
    }
    // No answer at all: Timer F.
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    let _key = desk.subscribes(&mut bench, "anna", "message-summary");
    bench.lasts(Duration::from_secs(33));
    assert_eq!(bench.subscriptions(), 0);
    // Its connection was closed.
    let mut bench = Bench::new();
    let mut desk = Desk { transport: Transport::Tcp, ..Desk::new("anna") };
    let _key = desk.subscribes(&mut bench, "anna", "message-summary");
    bench.give(Input::FlowClosed { flow: FlowKey(9) });
    assert_eq!(bench.subscriptions(), 0);
    assert!(bench.notices.contains(&Notice::Subscriptions { open: 0 }));
}

#[test]
fn rfc_6665_4_5_2_in_its_dialog_only_the_same_subscription_goes_on() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    let mut key = desk.subscribes(&mut bench, "anna", "message-summary");
    assert_eq!(bench.notified().len(), 1);
    let cases = [
        ("SUBSCRIBE", "Event: dialog\r\n", "403"),
        ("SUBSCRIBE", "Event: message-summary\r\nExpires: 5\r\n", "423"),
        ("SUBSCRIBE", "Event: odd\r\n", "489"),
        ("MESSAGE", "", "405"),
        ("PUBLISH", "", "405"),
        ("OPTIONS", "", "200"),
    ];
    for (method, more, status) in cases {
        let answer = desk.within(&mut bench, &mut key, method, more);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{method} {more}: {answer}");
    }
    // RFC 3261 12.2.2: a number that was passed over is out of order.
    key.cseq = 500;
    let old = desk.refreshes(&mut bench, &mut key, 600);
    assert!(old.starts_with("SIP/2.0 500"), "{old}");
    assert_eq!(bench.subscriptions(), 1);
}

#[test]
fn the_table_is_bounded_by_line_and_in_all() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    for n in 0..32 {
        let _key = desk.subscribes(&mut bench, "bart", &format!("dialog;id={n}"));
        assert_eq!(bench.notified().len(), 1);
        desk.count += 1;
    }
    let full = desk.asks(&mut bench, "bart", "Event: dialog\r\n");
    assert!(full.starts_with("SIP/2.0 503") && field(&full, "Retry-After") == "30", "{full}");
    let mut other = Desk::new("bart");
    let _key = other.subscribes(&mut bench, "anna", "dialog");
    assert_eq!(bench.subscriptions(), 33);
}

#[test]
fn rfc_6665_4_1_3_a_reload_ends_what_is_gone_and_a_stop_ends_all() {
    let mut bench = Bench::new();
    let (mut anna, mut bart) = (Desk::new("anna"), Desk::new("bart"));
    let _keys = [
        anna.subscribes(&mut bench, "bart", "dialog"),
        bart.subscribes(&mut bench, "bart", "message-summary"),
    ];
    anna.count += 1;
    let _kept = anna.subscribes(&mut bench, "anna", "presence");
    assert_eq!(bench.notified().len(), 3);
    let old = bench.switch.policy.clone();
    let mut config = old.config.clone();
    config.lines.retain(|line| line.name.value != "bart");
    config.queues.iter_mut().for_each(|queue| queue.lines.retain(|line| line.value != "bart"));
    let Ok((policy, _)) = Policy::compile(config, old.prompts.clone(), 2, Some(&old)) else {
        panic!("the policy")
    };
    bench.give(Input::Policy(Arc::new(policy)));
    let notified = bench.notified();
    let mut ends: Vec<&str> = notified.iter().map(|text| field(text, "Subscription-State")).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["terminated;reason=noresource", "terminated;reason=rejected"]);
    assert_eq!(bench.subscriptions(), 1, "the others survive");
    bench.give(Input::Operator(Command::Drain));
    assert!(bench.drained);
    let notified = bench.notified();
    assert_eq!(field(first(&notified), "Subscription-State"), "terminated;reason=probation;retry-after=30");
    assert_eq!(bench.subscriptions(), 0);
}

#[test]
fn rfc_3428_and_3903_message_and_publish_are_refused_politely_whoever_sends_them() {
    let mut bench = Bench::new();
    let mut desk = Desk::new("anna");
    for method in ["MESSAGE", "PUBLISH"] {
        let text = desk.request(method, "anna", "Event: presence\r\n");
        bench.hears_at(Transport::Udp, &text);
        bench.sip(&request(method, "stranger", "", 1, ""));
        for answer in std::mem::take(&mut bench.sent) {
            assert!(answer.starts_with("SIP/2.0 405"), "{answer}");
            assert!(field(&answer, "Allow").ends_with(", SUBSCRIBE"), "{answer}");
            assert!(!field(&answer, "Allow").contains(method), "{answer}");
        }
    }
    // In a call, too.
    let tag = bench.answered("1712", "one");
    bench.sip(&request("ACK", "one", &format!(";tag={tag}"), 1, ""));
    bench.sent.clear();
    bench.sip(&request("MESSAGE", "one", &format!(";tag={tag}"), 2, ""));
    let answer = bench.sent.remove(0);
    assert!(answer.starts_with("SIP/2.0 405") && !field(&answer, "Allow").is_empty(), "{answer}");
    bench.sip(&request("SUBSCRIBE", "one", &format!(";tag={tag}"), 3, ""));
    assert!(bench.sent.remove(0).starts_with("SIP/2.0 405"), "nobody subscribes within a call");
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!(snapshot.calls, 1, "the call goes on");
}

#[test]
fn rfc_3261_11_2_options_says_that_one_can_subscribe() {
    let mut bench = Bench::new();
    let usual = "Max-Forwards: 70\r\nAccept: application/sdp\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY\r\n\
                 User-Agent: a carrier's session border controller, version 12.3.4";
    bench.sip(&request("OPTIONS", "who", "", 1, "").replace("Max-Forwards: 70", usual));
    assert!(field(&bench.sent[0], "Allow").ends_with(", SUBSCRIBE"), "{:?}", bench.sent);
}
