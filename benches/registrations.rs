//! Registered phones: what each costs in memory while it is idle, and what a registration costs in CPU time. The
//! core alone, in this process and in its own time, with REGISTER, 401, REGISTER, 200 and then refreshes, beside what no
//! registrar can do without: to keep who is where, and to read both messages and compute the digest.
//!
//! `PHONES` (50,000) can be set in the environment.

mod support;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hulplijn::base::id::{FlowKey, Rng};
use hulplijn::base::time::Now;
use hulplijn::config::raw::{At, Keys, Line, Reach, Secret, Srtp};
use hulplijn::sim::story::policy;
use hulplijn::sip::digest::{self, Credentials};
use hulplijn::sip::flow::{Flow, Transport};
use hulplijn::sip::wire::message::Message;
use hulplijn::sip::wire::parse::{Parsed, parse};
use hulplijn::switch::Switch;
use hulplijn::switch::io::{Input, Output};
use support::{cpu, number};

/// The mark: an idle phone takes less.
const MARK: f64 = 4096.0;
const PASSWORD: &str = "geheim";
/// Between two phones that register.
const PACE: Duration = Duration::from_millis(20);

fn main() {
    if !support::is_asked_for() {
        return;
    }
    let phones = number("PHONES", 50_000);
    let lines = (0..phones).map(line);
    let policy = policy(1, None, |config| {
        config.lines.extend(lines);
        config.limits.registrations.value = phones as u32;
        config.registrar.nonce_lifetime.value = Duration::from_secs(24 * 3600);
    });
    let pid = std::process::id();
    let mut world = World {
        now: Now::read(),
        switch: Switch::new(Now::read(), policy, Rng::from_number(1)),
        sent: Vec::new(),
    };
    world.drain();
    let before = cpu::resident(pid);
    let started = Instant::now();
    for phone in 0..phones {
        world.register(phone);
        world.now = world.now.plus(PACE);
        world.time();
    }
    let busy = started.elapsed();
    // Transactions and everything of the moment are over; the registrations stand.
    world.rest(Duration::from_secs(40));
    let registered = cpu::resident(pid) - before;
    let held = world.switch.snapshot(world.now);
    println!("{phones} registered phones, idle (transactions left: {})", held.sip.transactions);
    let floor_before = cpu::resident(pid);
    let floor: Vec<(String, String, SocketAddr, SocketAddr)> =
        (0..phones).map(|phone| (name(phone), contact(phone), address(phone), switch())).collect();
    let kept = cpu::resident(pid) - floor_before;
    black_box(&floor);
    let each = |bytes: f64| bytes / phones as f64;
    println!("{:<44}{:>10}", "", "bytes each");
    println!("{:<44}{:>10.0}", "name, contact and both addresses, alone", each(kept));
    println!("{:<44}{:>10.0}", "the switch", each(registered));
    println!("mark: under {MARK:.0}; ratio to the floor: {:.1}", registered / kept);

    let (read, rounds) = (world.sample(), phones);
    let started = Instant::now();
    for _ in 0..rounds {
        black_box(needed(black_box(&read)));
    }
    let needed = started.elapsed();
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / phones as f64;
    println!("{:<44}{:>10}", "", "µs each");
    println!("{:<44}{:>10.1}", "reading both messages and the digest, alone", micros(needed));
    println!("{:<44}{:>10.1}", "a registration: two requests, two answers", micros(busy));
    println!("ratio to the floor: {:.1}", busy.as_secs_f64() / needed.as_secs_f64());
    assert!(each(registered) < MARK, "an idle phone takes {:.0} bytes", each(registered));
}

struct World {
    now: Now,
    switch: Switch,
    sent: Vec<Vec<u8>>,
}

impl World {
    fn register(&mut self, phone: usize) {
        let refusal = self.ask(phone, &request(phone, 1, None));
        let value = proof(&refusal, phone);
        let answer = self.ask(phone, &request(phone, 2, Some(&value)));
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }

    fn ask(&mut self, phone: usize, text: &str) -> String {
        self.sent.clear();
        let input = Input::Sip { flow: flow(phone), bytes: text.as_bytes().to_vec() };
        self.switch.handle(self.now, input);
        self.drain();
        String::from_utf8_lossy(self.sent.first().expect("answered")).into_owned()
    }

    fn time(&mut self) {
        while self.switch.next_timeout().is_some_and(|(at, _)| at <= self.now.at) {
            self.switch.handle(self.now, Input::Timeout);
            self.drain();
        }
    }

    fn rest(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some((at, _)) = self.switch.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.plus(at.saturating_duration_since(self.now.at));
            self.time();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.switch.poll() {
            if let Output::Transmit { bytes, .. } = output {
                self.sent.push(bytes.to_vec());
            }
        }
    }

    /// Both requests of a phone, as they were sent.
    fn sample(&mut self) -> [String; 2] {
        let refusal = self.ask(0, &request(0, 3, None));
        [request(0, 3, None), request(0, 4, Some(&proof(&refusal, 0)))]
    }
}

/// What cannot be done without: both messages are read, and the digest of the second computed.
fn needed(requests: &[String; 2]) -> usize {
    let read = requests
        .iter()
        .filter(|text| matches!(parse(text.as_bytes()), Parsed::Ok(Message::Request(_))))
        .count();
    let challenge = "Digest realm=\"hulplijn\", nonce=\"0123456789abcdef0123456789abcdef\", algorithm=SHA-256, qop=\"auth\"";
    let account = Credentials { username: name(0), password: PASSWORD.to_owned(), realm: None };
    let answer = digest::answer([challenge].into_iter(), "REGISTER", "sip:10.0.0.1", &account, "c", 1, &[]);
    read + answer.map_or(0, |answer| answer.len())
}

fn proof(refusal: &str, phone: usize) -> String {
    let challenges = refusal.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: "));
    let account = Credentials { username: name(phone), password: PASSWORD.to_owned(), realm: None };
    digest::answer(challenges, "REGISTER", "sip:10.0.0.1", &account, "c", 1, &[])
        .unwrap_or_else(|| panic!("no challenge in {refusal}"))
}

/// As a phone writes it; over UDP the answer has no more room than the request had.
fn request(phone: usize, cseq: u32, proof: Option<&str>) -> String {
    let (name, at) = (name(phone), address(phone));
    let proof = proof.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!(
        "REGISTER sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {at};rport;branch=z9hG4bK{name}x{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:{name}@10.0.0.1>;tag={name}\r\nTo: <sip:{name}@10.0.0.1>\r\nCall-ID: {name}-a84b4c76e66710\r\n\
         CSeq: {cseq} REGISTER\r\nContact: {}\r\nExpires: 3600\r\nUser-Agent: a phone as there are many, version 1.2.3\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE, MESSAGE\r\n\
         Allow-Events: talk, hold, conference, refer, check-sync\r\nSupported: path, outbound, replaces\r\n\
         {proof}Content-Length: 0\r\n\r\n",
        contact(phone)
    )
}

fn contact(phone: usize) -> String {
    format!("<sip:{}@{};ob>", name(phone), address(phone))
}

fn name(phone: usize) -> String {
    format!("counsellor-{phone}")
}

/// One address a phone, so that no two share a penalty.
fn address(phone: usize) -> SocketAddr {
    let number = u32::from(Ipv4Addr::new(10, 1, 0, 0)) + phone as u32;
    SocketAddr::new(IpAddr::V4(number.into()), 5060)
}

fn switch() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn flow(phone: usize) -> Flow {
    Flow { key: FlowKey(1), transport: Transport::Udp, local: switch(), peer: address(phone) }
}

fn line(phone: usize) -> Line {
    fn at<T>(value: T) -> At<T> {
        At { value, place: hulplijn::config::raw::Place::default() }
    }
    Line {
        name: at(name(phone)),
        reach: Reach::Registers { password: at(Secret(PASSWORD.to_owned())) },
        capacity: at(1),
        zones: Vec::new(),
        penalty: at(0),
        logged_in: at(true),
        srtp: at(Srtp::Optional),
        keys: at(Keys::Auto),
        inband_dtmf: at(false),
        codecs: Vec::new(),
    }
}
