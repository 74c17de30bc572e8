//! Concurrent bridged G.711 calls on one core, through the running binary: two dialogs and two media legs each,
//! beside a plain recv/send relay of the same packets, in the same run. First mark: 1,000 calls with less than
//! 0.1 % of the packets lost, and under 64 KiB of memory a bridged call.
//!
//! `CALLS` (1000), `SECONDS` of a round (5) and `ROUNDS` (3) can be set in the environment.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::cpu::{self, Cores};
use support::message::Message;
use support::peers::{BareRelay, Leg, Peers, Round, TICK};
use support::server::{AGENT, CARRIER, SWITCH, Server};
use support::sip::{Side, audio_at};
use support::{number, quantile};

/// First marks of the project.
const MARK_CALLS: usize = 1000;
const MARK_LOSS: f64 = 0.1;
const MARK_MEMORY_KIB: f64 = 64.0;
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (calls, rounds) = (number("CALLS", MARK_CALLS), number("ROUNDS", 3));
    let length = Duration::from_secs(number("SECONDS", 5) as u64);
    let peers = Peers::new(CARRIER, AGENT);
    println!("{calls} bridged calls, {} packets a second; {}", calls * 100, cores.describe());
    Round::head();

    let bare = BareRelay::start(&cores, calls, &peers);
    let floor = || peers.round(&bare.legs, length, || cpu::of_thread(BareRelay::NAME));
    let before = floor();
    before.print("bare recv/send relay");

    let server = Server::start(&cores);
    let mut ends = Ends::new();
    let empty = server.resident();
    let (legs, took) = ends.bridge_all(calls, &peers);
    // The tone that both hear first, and a while of talking.
    peers.speak(&legs, 0, TICK * 50);
    let memory = (server.resident() - empty) / calls as f64 / 1024.0;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let round = peers.round(&legs, length, || server.cpu());
        round.print("the switch");
        all.push(round);
    }
    let ended = ends.hang_up();
    let stopped = server.stop();

    let after = floor();
    after.print("bare recv/send relay again");
    let floor_cpu = f64::midpoint(before.micros(), after.micros());
    let mut ratios: Vec<f64> = all.iter().map(|round| round.micros() / floor_cpu).collect();
    ratios.sort_by(f64::total_cmp);
    println!("ratio to the floor, by CPU a packet, median: {:.2}", quantile(&ratios, 0.5));
    println!("set up in {:.1} s, one after the other; {ended} ended by the caller", took.as_secs_f64());
    println!("memory of a bridged call: {memory:.1} KiB resident in the switch");

    let (sent, lost) = all.iter().fold((0.0, 0.0), |(sent, lost), round| {
        (sent + round.sent as f64, lost + round.loss() / 100.0 * round.sent as f64)
    });
    let loss = 100.0 * lost / f64::max(sent, 1.0);
    let reached = calls >= MARK_CALLS && loss < MARK_LOSS && memory < MARK_MEMORY_KIB;
    let floor_loss = f64::max(before.loss(), after.loss());
    if floor_loss >= MARK_LOSS {
        println!(
            "the floor itself lost {floor_loss:.3} %: this machine is not quiet, the figures are worth little"
        );
    }
    println!(
        "mark: {MARK_CALLS} calls, loss under {MARK_LOSS} % (here {loss:.3} %), under {MARK_MEMORY_KIB} KiB a call: {}",
        if reached { "reached" } else { "MISSED" }
    );
    let strange: u64 = all.iter().map(|round| round.strange).sum();
    assert_eq!((ended, strange, stopped), (calls, 0, true), "calls, packets of another call, a good end");
}

/// The carrier and the counsellors' switchboard.
struct Ends {
    carrier: End,
    line: End,
}

/// One of them: a socket, and the calls that it has.
struct End {
    socket: UdpSocket,
    /// The 200 of every call that it made.
    made: Vec<Message>,
}

impl Ends {
    fn new() -> Self {
        Self { carrier: End::new(CARRIER.into()), line: End::new(AGENT.into()) }
    }

    /// One call after the other, so that the line's leg is known to belong to the caller's: nothing in its
    /// INVITE says so.
    fn bridge_all(&mut self, calls: usize, peers: &Peers) -> (Vec<Leg>, Duration) {
        let begin = Instant::now();
        let mut legs = Vec::new();
        for call in 0..calls {
            let caller = self.carrier.side(peers.address(call * 2));
            let line = self.line.side(peers.address(call * 2 + 1));
            self.carrier.send(&caller.invite("bridge", SWITCH, &format!("bridge{call:09}")));
            let ok = self.carrier.wait("the answer", |m| m.is_final("INVITE"));
            let audio = audio_at(&ok).filter(|_| ok.status() == Some(200));
            legs.push(Leg::new(
                call * 2,
                audio.unwrap_or_else(|| panic!("call {call}: {}", ok.start_line())),
            ));
            self.carrier.send(&caller.within(&ok, "ACK", 1));
            self.carrier.made.push(ok);
            let invite = self.line.wait("the line's INVITE", |m| m.is("INVITE"));
            legs.push(Leg::new(call * 2 + 1, audio_at(&invite).expect("an offer")));
            self.line.send(&line.ok(&invite, &format!("line{call:09}")));
            self.line.wait("the line's ACK", |m| m.is("ACK") && m.call_id() == invite.call_id());
        }
        (legs, begin.elapsed())
    }

    /// How many ended as they should: 200 to the caller's BYE, and a BYE for the line.
    fn hang_up(&mut self) -> usize {
        let mut ended = 0;
        let (caller, line) = (self.carrier.side(SWITCH), self.line.side(SWITCH));
        for ok in std::mem::take(&mut self.carrier.made) {
            self.carrier.send(&caller.within(&ok, "BYE", 2));
            let answer = self.carrier.wait("the answer to BYE", |m| m.is_final("BYE"));
            let bye = self.line.wait("the line's BYE", |m| m.is("BYE"));
            self.line.send(&line.ok(&bye, ""));
            ended += usize::from(answer.status() == Some(200));
        }
        ended
    }
}

impl End {
    fn new(host: std::net::IpAddr) -> Self {
        let socket = UdpSocket::bind((host, 5060)).expect("the port is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { socket, made: Vec::new() }
    }

    fn side(&self, rtp: SocketAddr) -> Side {
        Side { at: self.socket.local_addr().expect("bound"), rtp }
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), SWITCH).expect("sent");
    }

    /// The next message that is meant; repetitions and provisional answers are passed over.
    fn wait(&self, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
        let (deadline, mut buffer) = (Instant::now() + PATIENCE, [0; 4096]);
        while Instant::now() < deadline {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = Message::new(&buffer[..length]);
            if is_meant(&message) {
                return message;
            }
        }
        panic!("{what} did not come");
    }
}
