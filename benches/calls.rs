//! Calls answered per second on one core: INVITE, 200, ACK, BYE, 200 against the running binary, beside a bare
//! UDP echo of the same messages in the same run. First mark: 1,000 calls a second with no failed call.
//!
//! `IN_FLIGHT` (64) calls at a time, and `SECONDS` (6) of a round, can be set in the environment.

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::cpu::{self, Cores};
use support::message::Message;
use support::server::{CARRIER, SWITCH, Server};
use support::sip::Side;
use support::{number, quantile};

/// First mark of the project.
const MARK: f64 = 1000.0;
/// RFC 3261 T1: what is not answered is said again.
const T1: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(8);
/// Digits of a call's number in its Call-ID; the floor writes them into its answers.
const DIGITS: usize = 9;
const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (window, length) = (number("IN_FLIGHT", 64), Duration::from_secs(number("SECONDS", 6) as u64));
    let server = Server::start(&cores);
    let mut carrier = Carrier::new();
    let floor = Floor::start(&cores, carrier.sample());
    println!("calls answered: INVITE, 100, 200, ACK, BYE, 200; {}", cores.describe());
    println!("{:<26}{:>10}{:>8}{:>8}{:>14}", "", "calls/s", "failed", "resent", "CPU µs/call");

    carrier.run(floor.at, &Load::Window(window), WARM_UP);
    let before = carrier.measure(floor.at, window, length / 2, || cpu::of_thread(Floor::NAME));
    before.print("bare UDP echo");
    carrier.run(SWITCH, &Load::Window(window), WARM_UP);
    let switch = carrier.measure(SWITCH, window, length, || server.cpu());
    switch.print("the switch, as it can");
    let after = carrier.measure(floor.at, window, length / 2, || cpu::of_thread(Floor::NAME));
    after.print("bare UDP echo again");
    let floor_cpu = f64::midpoint(before.micros(), after.micros());
    println!("ratio to the floor, by CPU a call: {:.1}", switch.micros() / floor_cpu);

    let mut failed = switch.round.failed;
    for (name, rate) in [("half of that", switch.rate() / 2.0), ("the mark", MARK)] {
        let started = server.cpu();
        let round = carrier.run(SWITCH, &Load::Rate(rate), length);
        round.print_set_up(name, rate, server.cpu().saturating_sub(started));
        failed += round.failed;
    }
    let memory = server.resident() / 1024.0 / 1024.0;
    println!("memory at the end, with the transactions of the last 32 s: {memory:.0} MiB");
    let reached = if switch.rate() >= MARK && failed == 0 { "reached" } else { "MISSED" };
    println!("mark: {MARK} calls a second answered with no failed call: {reached}");
    assert!(server.stop(), "the switch did not end well");
    assert_eq!(failed, 0, "calls failed");
}

// --- the carrier --------------------------------------------------------------------------------------

enum Load {
    /// So many calls at a time, the next as soon as one is over.
    Window(usize),
    /// So many new calls a second, however the others fare.
    Rate(f64),
}

/// What came of a round.
struct Round {
    answered: usize,
    failed: usize,
    resent: usize,
    took: Duration,
    /// INVITE to 200 in milliseconds, from when the INVITE was due.
    set_up: Vec<f64>,
}

struct Measured {
    round: Round,
    cpu: Duration,
}

/// The side that calls: one socket, as a trunk has.
struct Carrier {
    socket: UdpSocket,
    side: Side,
    /// Bound and never read: what is said there is lost on arrival.
    _deaf: Vec<UdpSocket>,
    calls: BTreeMap<usize, Open>,
    next: usize,
}

/// A call under way.
struct Open {
    began: Instant,
    sent: Instant,
    /// The request that waits for its answer.
    last: String,
    answered: bool,
}

/// What one call is made of, as bytes: for the floor.
struct Sample {
    requests: [Vec<u8>; 2],
    trying: Vec<u8>,
    answer: Vec<u8>,
    goodbye: Vec<u8>,
}

impl Carrier {
    fn new() -> Self {
        let socket = UdpSocket::bind((CARRIER, 5060)).expect("the carrier's port is free");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
        socket.set_nonblocking(true).expect("set");
        let (rtp, rtcp) = (10_000..60_000)
            .step_by(2)
            .find_map(|port| {
                Some((UdpSocket::bind((CARRIER, port)).ok()?, UdpSocket::bind((CARRIER, port + 1)).ok()?))
            })
            .expect("a pair of ports");
        let at = socket.local_addr().expect("bound");
        let side = Side { at, rtp: rtp.local_addr().expect("bound") };
        Self { socket, side, _deaf: vec![rtp, rtcp], calls: BTreeMap::new(), next: 0 }
    }

    fn measure(
        &mut self,
        to: SocketAddr,
        window: usize,
        length: Duration,
        cpu: impl Fn() -> Duration,
    ) -> Measured {
        let before = cpu();
        let round = self.run(to, &Load::Window(window), length);
        Measured { round, cpu: cpu().saturating_sub(before) }
    }

    fn run(&mut self, to: SocketAddr, load: &Load, length: Duration) -> Round {
        let begin = Instant::now();
        let mut round = Round { answered: 0, failed: 0, resent: 0, took: length, set_up: Vec::new() };
        let (mut started, mut looked) = (0u32, begin);
        loop {
            let now = Instant::now();
            let next = match load {
                Load::Window(size) => (self.calls.len() < *size).then_some(now),
                Load::Rate(rate) => Some(begin + Duration::from_secs_f64(f64::from(started) / rate)),
            };
            let over = now >= begin + length;
            if let Some(due) = next.filter(|due| !over && *due <= now) {
                self.call(to, due);
                started += 1;
            } else {
                let wait = next.filter(|_| !over).map_or(T1 / 5, |due| due.saturating_duration_since(now));
                self.wait(wait.min(T1 / 5));
            }
            self.read(to, &mut round);
            if now >= looked + T1 / 5 {
                self.repeat(to, now, &mut round);
                looked = now;
            }
            if over && self.calls.is_empty() {
                round.took = begin.elapsed();
                return round;
            }
        }
    }

    fn call(&mut self, to: SocketAddr, due: Instant) {
        self.next += 1;
        let call = format!("b{:0DIGITS$}", self.next);
        let last = self.side.invite("answer", SWITCH, &call);
        self.send(to, &last);
        self.calls.insert(self.next, Open { began: due, sent: due, last, answered: false });
    }

    fn read(&mut self, to: SocketAddr, round: &mut Round) {
        let mut buffer = [0; 4096];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let message = Message::new(&buffer[..length]);
            let Some(call) = message.call_id().get(1..).and_then(|n| n.parse::<usize>().ok()) else {
                continue;
            };
            let Some(open) = self.calls.get_mut(&call) else { continue };
            let now = Instant::now();
            match (message.status(), message.cseq_method()) {
                (Some(200), "INVITE") => {
                    if !open.answered {
                        open.answered = true;
                        round.set_up.push(now.duration_since(open.began).as_secs_f64() * 1e3);
                        open.last = self.side.within(&message, "BYE", 2);
                        open.sent = now;
                    }
                    let (ack, bye) = (self.side.within(&message, "ACK", 1), open.last.clone());
                    self.send(to, &ack);
                    self.send(to, &bye);
                }
                (Some(200), "BYE") => {
                    self.calls.remove(&call);
                    round.answered += 1;
                }
                (Some(100..200), _) => {}
                // A refusal, or a request: nobody asked the switch to hang up.
                _ => {
                    self.calls.remove(&call);
                    round.failed += 1;
                }
            }
        }
    }

    fn repeat(&mut self, to: SocketAddr, now: Instant, round: &mut Round) {
        let lost = |open: &Open| now.saturating_duration_since(open.began) > GIVE_UP;
        let before = self.calls.len();
        self.calls.retain(|_, open| !lost(open));
        round.failed += before - self.calls.len();
        for open in self.calls.values_mut().filter(|open| now.saturating_duration_since(open.sent) > T1) {
            open.sent = now;
            round.resent += 1;
            let _ = self.socket.send_to(open.last.as_bytes(), to);
        }
    }

    fn send(&self, to: SocketAddr, text: &str) {
        self.socket.send_to(text.as_bytes(), to).expect("sent");
    }

    fn wait(&self, longest: Duration) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: longest.as_nanos() as _ };
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout));
    }

    /// One call with the switch, its messages kept.
    fn sample(&self) -> Sample {
        let invite = self.side.invite("answer", SWITCH, &format!("b{:0DIGITS$}", 0));
        self.send(SWITCH, &invite);
        let trying = self.receive();
        let answer = self.receive();
        let ok = Message::new(&answer);
        assert!(ok.answers("INVITE", 200), "{}", ok.start_line());
        let bye = self.side.within(&ok, "BYE", 2);
        self.send(SWITCH, &self.side.within(&ok, "ACK", 1));
        self.send(SWITCH, &bye);
        let goodbye = self.receive();
        Sample { requests: [invite.into_bytes(), bye.into_bytes()], trying, answer, goodbye }
    }

    fn receive(&self) -> Vec<u8> {
        let deadline = Instant::now() + GIVE_UP;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            self.wait(T1);
            if let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                return buffer[..length].to_vec();
            }
        }
        panic!("no answer");
    }
}

// --- the floor ----------------------------------------------------------------------------------------

/// Receives the same requests and sends the same answers, with the call's number in them, and no more.
struct Floor {
    at: SocketAddr,
}

impl Floor {
    const NAME: &'static str = "bare-echo";

    fn start(cores: &Cores, sample: Sample) -> Self {
        let socket = UdpSocket::bind((SWITCH.ip(), 0)).expect("a port");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
        let at = socket.local_addr().expect("bound");
        let echo = move || echo(&socket, sample);
        cores.measured(|| thread::Builder::new().name(Self::NAME.into()).spawn(echo).expect("started"));
        Self { at }
    }
}

fn echo(socket: &UdpSocket, sample: Sample) {
    let place = |bytes: &[u8]| {
        let at = bytes.windows(9).position(|w| w == b"Call-ID: ").expect("a Call-ID") + 10;
        at..at + DIGITS
    };
    let [invite, bye] = sample.requests.map(|request| place(&request));
    let mut trying = (place(&sample.trying), sample.trying);
    let mut answer = (place(&sample.answer), sample.answer);
    let mut goodbye = (place(&sample.goodbye), sample.goodbye);
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let request = &buffer[..length];
        let answers: &mut [&mut (_, Vec<u8>)] = match request.first() {
            Some(b'I') => &mut [&mut trying, &mut answer],
            Some(b'B') => &mut [&mut goodbye],
            _ => &mut [],
        };
        let number = if request.starts_with(b"I") { invite.clone() } else { bye.clone() };
        for (place, bytes) in answers {
            bytes[place.clone()].copy_from_slice(&request[number.clone()]);
            let _ = socket.send_to(bytes, from);
        }
    }
}

// --- the report ---------------------------------------------------------------------------------------

impl Measured {
    fn rate(&self) -> f64 {
        self.round.answered as f64 / self.round.took.as_secs_f64()
    }

    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.round.answered.max(1) as f64
    }

    fn print(&self, name: &str) {
        let (rate, micros, round) = (self.rate(), self.micros(), &self.round);
        println!("{name:<26}{rate:>10.0}{:>8}{:>8}{micros:>14.1}", round.failed, round.resent);
    }
}

impl Round {
    fn print_set_up(&self, name: &str, rate: f64, cpu: Duration) {
        let mut sorted = self.set_up.clone();
        sorted.sort_by(f64::total_cmp);
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| quantile(&sorted, part));
        let micros = cpu.as_secs_f64() * 1e6 / self.answered.max(1) as f64;
        println!(
            "at {rate:.0} calls/s ({name}): INVITE to 200 p50 {p50:.2} ms, p99 {p99:.2} ms, most {most:.2} ms; \
             answered {}, failed {}, resent {}, {micros:.0} µs of CPU a call",
            self.answered, self.failed, self.resent
        );
    }
}
