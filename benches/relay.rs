//! Bridged G.711 calls on the media plane's one thread, without the rest of the switch, beside a plain recv/send
//! relay of the same packets over the same kind of sockets, in the same run and in turns. What `benches/bridge.rs`
//! measures of the whole switch is here seen apart.
//!
//! `CALLS` (1000), `SECONDS` of a round (3) and `ROUNDS` (3) can be set in the environment.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use hulplijn::base::bounded::Full;
use hulplijn::base::id::LegKey;
use hulplijn::media::command::{Codec, Direction, MediaCommand, MediaEvent, Origin, Payloads, Stream};
use hulplijn::media::plane::{Plane, PlaneConfig, PlaneHandle};
use support::cpu::{self, Cores};
use support::number;
use support::peers::{BareRelay, Leg, Peers, Round, TICK};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (calls, rounds) = (number("CALLS", 1000), number("ROUNDS", 3));
    let length = Duration::from_secs(number("SECONDS", 3) as u64);
    let peers = Peers::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    let bare = BareRelay::start(&cores, calls, &peers);
    let (bridges, memory) = Bridges::new(&cores, calls, &peers);
    println!("{calls} bridged calls, {} packets a second; {}", calls * 100, cores.describe());
    Round::head();
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let floor = peers.round(&bare.legs, length, || cpu::of_thread(BareRelay::NAME));
        floor.print("bare recv/send relay");
        bridges.connect(&peers, Direction::SendRecv);
        let bridge = peers.round(&bridges.legs, length, || cpu::of_thread("media-0"));
        bridge.print("the media plane");
        // Else the legs would fill the pause with silence.
        bridges.connect(&peers, Direction::Inactive);
        ratios.push(bridge.micros() / floor.micros());
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio to the floor, by CPU a packet, median: {:.2}", support::quantile(&ratios, 0.5));
    println!("memory of a bridged call in the plane: {:.1} KiB", memory / calls as f64 / 1024.0);
}

/// The calls on the media plane.
struct Bridges {
    plane: PlaneHandle,
    legs: Vec<Leg>,
}

impl Bridges {
    /// Also gives the growth of this process in bytes, once all have spoken.
    fn new(cores: &Cores, calls: usize, peers: &Peers) -> (Self, f64) {
        let (ports, quarantine) = (1025..=65_535, Duration::ZERO);
        let config =
            PlaneConfig { ports, quarantine, threads: 1, max_legs: calls * 2, ..PlaneConfig::default() };
        let (plane, mut events) = cores.measured(|| Plane::start(config)).expect("started");
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
        let bridges = Self { plane, legs };
        bridges.connect(peers, Direction::SendRecv);
        for call in 0..calls as u64 {
            bridges.command(MediaCommand::Bridge { a: LegKey(call * 2), b: LegKey(call * 2 + 1) });
        }
        peers.speak(&bridges.legs, 0, TICK * 10);
        let memory = resident() - before;
        bridges.connect(peers, Direction::Inactive);
        (bridges, memory)
    }

    fn connect(&self, peers: &Peers, direction: Direction) {
        for index in 0..self.legs.len() {
            let remote = peers.address(index);
            let stream = Stream {
                remote,
                remote_rtcp: SocketAddr::new(remote.ip(), 9),
                signalling: remote.ip(),
                codec: Codec::Pcma,
                payloads: Payloads::g711(),
                rtcp_mux: false,
                direction,
                keying: None,
                web: None,
            };
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
