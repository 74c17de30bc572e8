//! Bridged G.711 calls on one media thread, beside a plain recv/send relay of the same packets over the same
//! kind of sockets, in the same run and in turns. Prints CPU time a relayed packet (by the scheduler's account
//! of that one thread), the ratio, the loss, and the memory of a bridged call.
//!
//! `CALLS` (500), `SECONDS` of a round (3) and `ROUNDS` (3) can be set in the environment.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hulplijn::base::bounded::Full;
use hulplijn::base::id::LegKey;
use hulplijn::media::command::{Codec, Direction, MediaCommand, MediaEvent, Origin, Stream};
use hulplijn::media::plane::{Plane, PlaneConfig, PlaneHandle};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TICK: Duration = Duration::from_millis(20);
/// The peers of all legs share so many sockets.
const PEERS: usize = 32;
/// A tick's packets go out in so many portions.
const PORTIONS: usize = 20;

/// What was measured of one round.
struct Round {
    sent: u64,
    heard: u64,
    cpu: Duration,
}

fn main() {
    let calls = number("CALLS", 500);
    let seconds = Duration::from_secs(number("SECONDS", 3) as u64);
    let rounds = number("ROUNDS", 3);
    let peers = Peers::new();
    let bare = bare_relay(calls, &peers);
    let (bridges, memory) = Bridges::new(calls, &peers);
    println!("{calls} bridged calls, {} packets a second, rounds of {seconds:?} in turns", calls * 100);
    println!(
        "{:<8}{:>14}{:>12}{:>14}{:>12}{:>8}",
        "round", "bare µs/pkt", "loss %", "bridge µs/pkt", "loss %", "ratio"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let floor = peers.round("bare-relay", &bare, seconds);
        bridges.connect(&peers, Direction::SendRecv);
        let bridge = peers.round("media-0", &bridges.legs, seconds);
        // Else the legs would fill the pause with silence.
        bridges.connect(&peers, Direction::Inactive);
        let ratio = bridge.micros() / floor.micros();
        println!(
            "{round:<8}{:>14.2}{:>12.3}{:>14.2}{:>12.3}{ratio:>8.2}",
            floor.micros(),
            floor.loss(),
            bridge.micros(),
            bridge.loss()
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio, median: {:.2}", ratios.get(ratios.len() / 2).copied().unwrap_or_default());
    println!("memory of a bridged call in this process: {:.1} KiB", memory / calls as f64 / 1024.0);
}

impl Round {
    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.heard.max(1) as f64
    }

    fn loss(&self) -> f64 {
        100.0 * (1.0 - self.heard as f64 / self.sent.max(1) as f64)
    }
}

/// The far ends of all legs.
struct Peers {
    sockets: Vec<Arc<UdpSocket>>,
    heard: Arc<AtomicU64>,
}

/// One leg: which peer speaks to it, and where it listens.
#[derive(Clone, Copy)]
struct Leg {
    peer: usize,
    at: SocketAddr,
}

impl Peers {
    fn new() -> Self {
        let heard = Arc::new(AtomicU64::new(0));
        let sockets: Vec<Arc<UdpSocket>> = (0..PEERS)
            .map(|_| {
                let socket = UdpSocket::bind((HOST, 0)).expect("a port");
                // As much as the system allows.
                let _larger = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
                Arc::new(socket)
            })
            .collect();
        let (ears, count) = (sockets.clone(), Arc::clone(&heard));
        thread::spawn(move || listen(&ears, &count));
        Self { sockets, heard }
    }

    fn address(&self, peer: usize) -> SocketAddr {
        self.sockets[peer % PEERS].local_addr().expect("bound")
    }

    /// Speaks to all legs for a while and counts what comes back.
    fn round(&self, thread: &str, legs: &[Leg], length: Duration) -> Round {
        let mut sequence = 0u16;
        // Half a second to warm up, so that every leg is locked to its peer.
        for _ in 0..25 {
            self.speak(legs, &mut sequence, TICK);
        }
        thread::sleep(TICK * 5);
        let (heard, cpu) = (self.heard.load(Ordering::SeqCst), cpu_of(thread));
        let ticks = length.as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            self.speak(legs, &mut sequence, TICK);
        }
        thread::sleep(TICK * 5);
        Round {
            sent: ticks as u64 * legs.len() as u64,
            heard: self.heard.load(Ordering::SeqCst) - heard,
            cpu: cpu_of(thread).saturating_sub(cpu),
        }
    }

    fn speak(&self, legs: &[Leg], sequence: &mut u16, length: Duration) {
        let begin = Instant::now();
        *sequence = sequence.wrapping_add(1);
        let mut packet = [0xd5; 172];
        packet[..4].copy_from_slice(&[0x80, 8, (*sequence >> 8) as u8, *sequence as u8]);
        packet[4..8].copy_from_slice(&(u32::from(*sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
        for (index, portion) in legs.chunks(legs.len().div_ceil(PORTIONS)).enumerate() {
            let due = begin + length * index as u32 / PORTIONS as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            for leg in portion {
                self.sockets[leg.peer].send_to(&packet, leg.at).expect("sent");
            }
        }
        thread::sleep((begin + length).saturating_duration_since(Instant::now()));
    }
}

fn listen(sockets: &[Arc<UdpSocket>], heard: &AtomicU64) {
    let epoll = watch_all(sockets.iter().map(AsRef::as_ref));
    let (mut ready, mut buffer) = (Vec::with_capacity(PEERS), [0; 2048]);
    loop {
        ready.clear();
        let _waited = epoll::wait(&epoll, spare_capacity(&mut ready), None);
        for event in &ready {
            let socket = &sockets[event.data.u64() as usize];
            while let Ok(length) = socket.recv(&mut buffer) {
                heard.fetch_add(u64::from(length == 172), Ordering::Relaxed);
            }
        }
    }
}

fn watch_all<'a>(sockets: impl Iterator<Item = &'a UdpSocket>) -> OwnedFd {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("made");
    for (index, socket) in sockets.enumerate() {
        socket.set_nonblocking(true).expect("set");
        let mark = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, socket, mark, epoll::EventFlags::IN).expect("added");
    }
    epoll
}

/// The floor: what comes on one socket goes out of its neighbour's, and nothing else.
fn bare_relay(calls: usize, peers: &Peers) -> Vec<Leg> {
    let sockets: Vec<UdpSocket> =
        (0..calls * 2).map(|_| UdpSocket::bind((HOST, 0)).expect("a port")).collect();
    let legs: Vec<Leg> = (0..calls * 2)
        .map(|index| Leg { peer: index % PEERS, at: sockets[index].local_addr().expect("bound") })
        .collect();
    let remotes: Vec<SocketAddr> = (0..calls * 2).map(|index| peers.address(index)).collect();
    let epoll = watch_all(sockets.iter());
    let relay = move || {
        let (mut ready, mut buffer) = (Vec::with_capacity(256), [0; 2048]);
        loop {
            ready.clear();
            let _waited = epoll::wait(&epoll, spare_capacity(&mut ready), None);
            for event in &ready {
                let index = event.data.u64() as usize;
                if let Ok((length, _)) = sockets[index].recv_from(&mut buffer) {
                    let _sent = sockets[index ^ 1].send_to(&buffer[..length], remotes[index ^ 1]);
                }
            }
        }
    };
    thread::Builder::new().name("bare-relay".into()).spawn(relay).expect("started");
    legs
}

/// The same by the media plane.
struct Bridges {
    plane: PlaneHandle,
    legs: Vec<Leg>,
}

impl Bridges {
    /// Also gives the growth of this process in bytes, once all have spoken.
    fn new(calls: usize, peers: &Peers) -> (Self, f64) {
        let (ports, quarantine) = (1025..=65_535, Duration::ZERO);
        let config =
            PlaneConfig { ports, quarantine, threads: 1, max_legs: calls * 2, ..PlaneConfig::default() };
        let (plane, mut events) = Plane::start(config).expect("started");
        let before = resident();
        let mut legs = Vec::new();
        for index in 0..calls * 2 {
            let leg = LegKey(index as u64);
            let origin = Origin { ssrc: index as u32, sequence: 1, timestamp: 1, cname: index as u64 };
            plane.send(MediaCommand::Open { leg, local: HOST, origin }).expect("room");
            match events.blocking_recv() {
                Some(MediaEvent::Opened { local, .. }) => legs.push(Leg { peer: index % PEERS, at: local }),
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
        let mut sequence = 0;
        peers.speak(&bridges.legs, &mut sequence, TICK * 10);
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
                pcma_pt: Some(8),
                pcmu_pt: None,
                dtmf_pt: Some(101),
                direction,
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

/// On-CPU time of this process's thread with that name.
fn cpu_of(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let thread = tasks
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let account =
        fs::read_to_string(thread.expect("it runs").join("schedstat")).expect("scheduler statistics");
    let nanos = account.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

/// Memory of this process in bytes.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096.0
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}
