//! Bridged G.711 calls on the media plane's one thread, without the rest of the switch, beside bare relays of the
//! same packets over the same kind of sockets, in the same run and in turns. What `benches/bridge.rs` measures of the
//! whole switch is here seen apart: what the plane adds to a packet's way, for each way of I/O.
//!
//! `CALLS` (1000), `SECONDS` of a round (2) and `ROUNDS` (5) can be set in the environment.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use hulplijn::base::bounded::Full;
use hulplijn::base::id::LegKey;
use hulplijn::media::command::{Direction, MediaCommand, MediaEvent, Origin, Stream};
use hulplijn::media::plane::{IoChoice, Plane, PlaneConfig, PlaneHandle};
use support::cpu::{self, Cores, Threads};
use support::peers::{BareRelay, Leg, Peers, Round, TICK};
use support::{mark, median, number, quantile};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// More than the calls that are measured: what runs at four fifths of the maximum may be more.
const SPARE: usize = 300;
const FEW: usize = 100;

const MARK_RATIO: f64 = 1.25;
const MARK_LOSS: f64 = 0.1;
const MARK_DELAY_MS: f64 = 2.0;
const MARK_MEMORY_KIB: f64 = 16.0;
const MARK_GROWTH: f64 = 1.1;

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (calls, rounds) = (number("CALLS", 1000), number("ROUNDS", 5));
    let length = Duration::from_secs(number("SECONDS", 2) as u64);
    let peers = Peers::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    let bench = Bench::new(&cores, calls, &peers);
    println!("{calls} bridged calls, {} packets a second; {}", calls * 100, cores.describe());
    Round::head();
    let mut all = Rounds::default();
    for _ in 0..rounds {
        bench.turn(length, &mut all);
    }
    all.table();
    bench.judge(&all, length);
}

/// All that is measured, side by side.
struct Bench<'a> {
    peers: &'a Peers,
    calls: usize,
    plain: BareRelay,
    batched: Option<BareRelay>,
    epoll: Bridges,
    /// The plane as it is by itself, and another one with few calls.
    auto: Bridges,
    few: Bridges,
}

/// Microseconds a packet of each round, and what else the marks ask for.
#[derive(Default)]
struct Rounds {
    plain: Vec<f64>,
    batched: Vec<f64>,
    epoll: Vec<f64>,
    auto: Vec<f64>,
    few: Vec<f64>,
    loss: Vec<f64>,
}

impl<'a> Bench<'a> {
    fn new(cores: &Cores, calls: usize, peers: &'a Peers) -> Self {
        Self {
            peers,
            calls,
            plain: BareRelay::start(cores, calls + SPARE, peers),
            batched: BareRelay::batched(cores, calls, peers),
            auto: Bridges::new(cores, calls + SPARE, peers, IoChoice::Auto),
            epoll: Bridges::new(cores, calls, peers, IoChoice::Epoll),
            few: Bridges::new(cores, FEW.min(calls), peers, IoChoice::Auto),
        }
    }

    fn turn(&self, length: Duration, all: &mut Rounds) {
        let (peers, legs) = (self.peers, self.calls * 2);
        let bare = peers.round(&self.plain.legs[..legs], length, || cpu::of_thread(BareRelay::NAME));
        bare.print("bare recvfrom/sendto");
        all.plain.push(bare.micros());
        let plane = self.epoll.round(peers, legs, length);
        plane.print("the plane, epoll");
        all.epoll.push(plane.micros());
        if let Some(batched) = &self.batched {
            let bare = peers.round(&batched.legs[..legs], length, || cpu::of_thread(BareRelay::BATCHED));
            bare.print("bare io_uring");
            all.batched.push(bare.micros());
        }
        let plane = self.auto.round(peers, legs, length);
        plane.print(self.auto.name());
        all.auto.push(plane.micros());
        all.loss.push(plane.loss());
        let few = self.few.round(peers, self.few.legs.len(), length);
        few.print("the same with few calls");
        all.few.push(few.micros());
    }

    fn judge(&self, all: &Rounds, length: Duration) {
        let own_floor = if all.batched.is_empty() { &all.plain } else { &all.batched };
        mark("CPU a packet to the bare relay of the same I/O", ratio(&all.auto, own_floor), "", MARK_RATIO);
        mark("CPU a packet to bare recvfrom/sendto", ratio(&all.auto, &all.plain), "", MARK_RATIO);
        mark("CPU a packet by epoll to bare recvfrom/sendto", ratio(&all.epoll, &all.plain), "", MARK_RATIO);
        mark("loss", median(&all.loss), " %", MARK_LOSS);
        let growth = ratio(&all.auto, &all.few);
        mark(&format!("CPU a call at {} to that at {FEW}", self.calls), growth, "", MARK_GROWTH);
        mark("memory of a bridged call", self.auto.memory, " KiB", MARK_MEMORY_KIB);
        self.judge_delay(median(&all.auto), length);
    }

    /// At four fifths of what the core can do, by the CPU time of a packet.
    fn judge_delay(&self, micros: f64, length: Duration) {
        let wanted = (0.8 * 1e6 / micros / 100.0) as usize;
        let calls = wanted.min(self.calls + SPARE);
        println!("four fifths of the maximum are {wanted} calls; here {calls}");
        let (mut added, mut loss) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let legs = &self.plain.legs[..calls * 2];
            let bare = self.peers.round(legs, length, || cpu::of_thread(BareRelay::NAME));
            bare.print("bare recvfrom/sendto");
            let plane = self.auto.round(self.peers, calls * 2, length);
            plane.print(self.auto.name());
            added.push(quantile(&plane.delays, 0.99) - quantile(&bare.delays, 0.99));
            loss.push(plane.loss());
        }
        mark("added delay there, p99", median(&added), " ms", MARK_DELAY_MS);
        mark("loss there", median(&loss), " %", MARK_LOSS);
    }
}

impl Rounds {
    fn table(&self) {
        println!("{:<26}{:>11}{:>11}", "median of rounds", "µs/packet", "ratio");
        let rows = [
            ("bare recvfrom/sendto", &self.plain),
            ("the plane, epoll", &self.epoll),
            ("bare io_uring", &self.batched),
            ("the plane by itself", &self.auto),
            ("the same with few calls", &self.few),
        ];
        for (name, micros) in rows {
            println!("{name:<26}{:>11.2}{:>11.2}", median(micros), ratio(micros, &self.plain));
        }
    }
}

/// Of rounds of the same turn, so that what the machine did otherwise hits both.
fn ratio(micros: &[f64], floor: &[f64]) -> f64 {
    median(&micros.iter().zip(floor).map(|(own, floor)| own / floor).collect::<Vec<_>>())
}

/// The calls on a media plane.
struct Bridges {
    plane: PlaneHandle,
    threads: Threads,
    legs: Vec<Leg>,
    /// Growth of this process a call in KiB, once all have spoken.
    memory: f64,
}

impl Bridges {
    fn new(cores: &Cores, calls: usize, peers: &Peers, io: IoChoice) -> Self {
        let (ports, quarantine) = (1025..=65_535, Duration::ZERO);
        // Each plane draws its ports in an order of its own: they share the range.
        let seed = [(calls % 251) as u8 + u8::from(io == IoChoice::Epoll); 32];
        let config =
            PlaneConfig { ports, quarantine, max_legs: calls * 2, io, seed, ..PlaneConfig::default() };
        let start = || cores.measured(|| Plane::start(config)).expect("started");
        let (threads, (plane, mut events)) = Threads::of("media-0", start);
        let resident = || cpu::resident(std::process::id());
        let before = resident();
        let mut legs = Vec::new();
        for index in 0..calls * 2 {
            let leg = LegKey(index as u64);
            let origin = Origin { ssrc: index as u32, sequence: 1, timestamp: 1, cname: index as u64 };
            plane.send(MediaCommand::Open { leg, local: HOST, origin }).expect("room");
            match events.blocking_recv() {
                Some(MediaEvent::Opened { local, .. }) => legs.push(Leg::new(index, local)),
                other => panic!("leg {index} was not opened; raise the limit of open files: {other:?}"),
            }
        }
        // Somebody takes the events for as long as the process lives.
        thread::spawn(move || while events.blocking_recv().is_some() {});
        let mut bridges = Self { plane, threads, legs, memory: 0.0 };
        bridges.connect(peers, calls * 2, Direction::SendRecv);
        for call in 0..calls as u64 {
            bridges.command(MediaCommand::Bridge { a: LegKey(call * 2), b: LegKey(call * 2 + 1) });
        }
        peers.speak(&bridges.legs, 0, TICK * 10);
        bridges.memory = (resident() - before) / calls as f64 / 1024.0;
        bridges.connect(peers, calls * 2, Direction::Inactive);
        bridges
    }

    fn name(&self) -> &'static str {
        match self.plane.started()[0].io {
            IoChoice::IoUring => "the plane, io_uring",
            IoChoice::Epoll | IoChoice::Auto => "the plane, epoll again",
        }
    }

    fn round(&self, peers: &Peers, legs: usize, length: Duration) -> Round {
        self.connect(peers, legs, Direction::SendRecv);
        let round = peers.round(&self.legs[..legs], length, || self.threads.cpu());
        // Else the legs would fill the pause with silence.
        self.connect(peers, legs, Direction::Inactive);
        round
    }

    fn connect(&self, peers: &Peers, legs: usize, direction: Direction) {
        for index in 0..legs {
            let remote = peers.address(index);
            let stream =
                Stream { remote_rtcp: SocketAddr::new(remote.ip(), 9), direction, ..Stream::g711(remote) };
            self.command(MediaCommand::Connect { leg: LegKey(index as u64), stream });
        }
    }

    /// Waits while the thread has too many.
    fn command(&self, mut command: MediaCommand) {
        while let Err(Full(back)) = self.plane.send(command) {
            thread::yield_now();
            command = back;
        }
    }
}
