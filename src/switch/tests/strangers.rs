//! What strangers can do: nothing that a carrier, a phone or a call in progress would feel.

use super::*;
use crate::sip::digest::{Credentials, answer};

const STRANGER: &str = "192.0.2.9:5060";
const OFFICE: &str = "192.0.2.10:5060";

impl Bench {
    fn hears(&mut self, peer: &str, text: &str) {
        let [local, peer] = [SWITCH, peer].map(|a| a.parse::<SocketAddr>().unwrap());
        let flow = Flow { key: FlowKey(1), transport: Transport::Udp, local, peer };
        self.give(Input::Sip { flow, bytes: text.as_bytes().to_vec() });
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some((at, _)) = self.switch.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.plus(at.saturating_duration_since(self.now.at));
            self.give(Input::Timeout);
        }
        self.now = self.now.plus(end - self.now.at);
    }

    /// The start lines of what was sent since the last time.
    fn said(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|text| text.lines().next().unwrap_or("").to_owned()).collect()
    }

    fn auth_failures(&self) -> usize {
        self.notices.iter().filter(|n| matches!(n, Notice::AuthFailed { .. })).count()
    }
}

/// A phone that registers, or dials a code.
struct Phone {
    name: &'static str,
    host: &'static str,
    method: &'static str,
    target: &'static str,
    challenges: Vec<String>,
    count: u32,
}

impl Phone {
    fn new(name: &'static str, host: &'static str) -> Self {
        let target = "sip:10.0.0.1:5060";
        Self { name, host, method: "REGISTER", target, challenges: Vec::new(), count: 0 }
    }

    fn asks(&mut self, bench: &mut Bench, more: &str) {
        self.count += 1;
        let (name, count, method) = (self.name, self.count, self.method);
        let id = format!("{name}{count}{method}{}", self.host.len());
        let text = request(method, &id, "", count, "")
            .replace("sip:1712@10.0.0.1:5060 SIP/2.0", &format!("{} SIP/2.0", self.target))
            .replace("To: <sip:1712@", &format!("To: <sip:{name}@"))
            .replace("Max-Forwards", &format!("{more}Max-Forwards"));
        bench.hears(self.host, &text);
    }

    /// Gets a nonce.
    fn challenged(&mut self, bench: &mut Bench) {
        self.asks(bench, "");
        let answer = bench.sent.last().unwrap();
        assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
        let values = answer.lines().filter_map(|l| l.strip_prefix("WWW-Authenticate: "));
        self.challenges = values.map(str::to_owned).collect();
        bench.sent.clear();
    }

    fn says(&mut self, bench: &mut Bench, password: &str) {
        let account = Credentials { username: self.name.into(), password: password.into(), realm: None };
        let challenges = self.challenges.iter().map(String::as_str);
        let value = answer(challenges, self.method, self.target, &account, "c", self.count, &[]).unwrap();
        self.asks(bench, &format!("Authorization: {value}\r\n"));
    }
}

#[test]
fn rfc_3261_26_3_2_4_a_stranger_gets_one_answer_a_request_fills_no_table_and_holds_nobody_up() {
    let mut bench = Bench::new();
    for n in 0..8000 {
        let (method, target) = [
            ("REGISTER", "sip:10.0.0.1"),
            ("OPTIONS", "sip:10.0.0.1"),
            ("INVITE", "sip:1712@10.0.0.1"),
            ("INVITE", "sip:*71@10.0.0.1"),
        ][n % 4];
        let text = request(method, &format!("s{n}"), "", 1, "")
            .replace("sip:1712@10.0.0.1:5060 SIP/2.0", &format!("{target} SIP/2.0"));
        bench.hears(STRANGER, &text);
    }
    let mut said = bench.said();
    assert_eq!(said.len(), 8000);
    said.sort();
    said.dedup();
    assert_eq!(said, ["SIP/2.0 200 OK", "SIP/2.0 401 Unauthorized", "SIP/2.0 403 Forbidden"]);
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!((snapshot.sip.transactions, snapshot.sip.dialogs, snapshot.sip.timers), (0, 0, 0));
    bench.wait(Duration::from_secs(40));
    assert!(bench.said().is_empty(), "nothing is repeated");
    bench.call("one");
    assert_eq!(bench.switch.snapshot(bench.now).calls, 1);
}

#[test]
fn what_a_carrier_is_refused_is_said_once_too_and_the_ack_is_no_stray() {
    let mut bench = Bench::new();
    let unknown = request("INVITE", "one", "", 1, "").replace("sip:1712@", "sip:0900@");
    bench.sip(&unknown);
    let answer = bench.sent.last().unwrap().clone();
    let tag = answer.lines().find_map(|l| l.strip_prefix("To: ")?.split_once(";tag=")).unwrap().1;
    let ack = request("ACK", "one", &format!(";tag={tag}"), 1, "").replace("oneACK1", "oneINVITE1");
    let before = bench.notices.len();
    bench.sip(&ack);
    assert_eq!(bench.notices.len(), before);
    bench.wait(Duration::from_secs(40));
    assert_eq!(bench.said(), ["SIP/2.0 404 Not Found"]);
}

#[test]
fn rfc_7616_5_10_guesses_beside_each_other_wait_for_the_delay_of_the_first() {
    let mut bench = Bench::new();
    let mut thief = Phone::new("anna", STRANGER);
    thief.challenged(&mut bench);
    for delay in [500, 1000, 2000, 4000, 8000, 8000] {
        let failures = bench.auth_failures();
        thief.says(&mut bench, "geraden");
        for guess in 0..50 {
            thief.says(&mut bench, &format!("geraden{guess}"));
        }
        thief.says(&mut bench, "geheim-anna");
        assert_eq!(bench.auth_failures(), failures + 1, "the others were not even judged");
        bench.wait(Duration::from_millis(delay - 1));
        assert!(bench.said().is_empty());
        bench.wait(Duration::from_millis(1));
        assert!(bench.sent.iter().all(|t| !t.contains("stale")));
        assert_eq!(bench.said(), ["SIP/2.0 401 Unauthorized"]);
        thief.challenged(&mut bench);
        thief.count = 0;
    }
    thief.count = 1000;
    thief.challenged(&mut bench);
    thief.count = 1;
    thief.says(&mut bench, "geheim-anna");
    assert_eq!(bench.said(), ["SIP/2.0 200 OK"], "the right password, when nothing is held");
}

#[test]
fn a_phone_with_a_wrong_password_holds_up_no_other_behind_the_same_address() {
    let mut bench = Bench::new();
    let mut wrong = Phone::new("anna", OFFICE);
    wrong.challenged(&mut bench);
    wrong.says(&mut bench, "vergeten");
    let mut right = Phone::new("bart", OFFICE);
    right.challenged(&mut bench);
    right.count = 1;
    right.says(&mut bench, "geheim-bart");
    assert_eq!(bench.said(), ["SIP/2.0 200 OK"]);
}

#[test]
fn a_forged_address_brings_no_delay_upon_it_and_a_nonce_is_good_only_where_it_was_given() {
    let mut bench = Bench::new();
    let mut thief = Phone::new("anna", STRANGER);
    thief.challenged(&mut bench);
    thief.host = OFFICE;
    for password in ["geraden", "geheim-anna"] {
        thief.count = 1;
        thief.says(&mut bench, password);
        assert!(bench.sent.last().unwrap().contains("stale=true"), "whatever the password");
        assert_eq!(bench.said(), ["SIP/2.0 401 Unauthorized"]);
    }
    assert_eq!(bench.auth_failures(), 0);
    let mut phone = Phone::new("anna", OFFICE);
    phone.count = 50;
    phone.challenged(&mut bench);
    phone.count = 1;
    phone.says(&mut bench, "geheim-anna");
    assert_eq!(bench.said(), ["SIP/2.0 200 OK"]);
}

#[test]
fn refusals_that_wait_are_bounded_and_hold_neither_transactions_nor_a_stop() {
    let mut bench = Bench::new();
    let hosts: Vec<&'static str> =
        (0..400).map(|n| &*format!("198.51.{}.{}:5060", n / 250, n % 250).leak()).collect();
    for host in &hosts {
        let mut thief = Phone::new("anna", host);
        (thief.method, thief.target) = ("INVITE", "sip:*71@10.0.0.1:5060");
        thief.challenged(&mut bench);
        thief.count = 1;
        thief.says(&mut bench, "geraden");
    }
    assert!(bench.said().is_empty());
    let snapshot = bench.switch.snapshot(bench.now);
    assert_eq!((snapshot.sip.transactions, snapshot.sip.dialogs), (0, 0));
    bench.wait(Duration::from_secs(40));
    let said = bench.said();
    assert_eq!(said.len(), 256, "each once, without 100 and without repetition");
    assert!(said.iter().all(|line| line == "SIP/2.0 401 Unauthorized"));
    assert!(bench.notices.iter().filter(|n| matches!(n, Notice::Dropped { .. })).count() >= 144);
}
