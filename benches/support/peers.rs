//! Far ends that speak and hear RTP: the peers of all legs share a few sockets. Every packet carries a stamp
//! that a relay must leave as it is: round, leg and time of sending.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hulplijn::media::batch::{Arrived, DATAGRAM, Io, IoChoice};
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, epoll, eventfd};

use super::cpu::Cores;
use super::quantile;

pub const TICK: Duration = Duration::from_millis(20);
/// Sockets of all peers; even ones are callers', odd ones lines'.
const SOCKETS: usize = 64;
/// A tick's packets go out in so many portions.
const PORTIONS: usize = 20;
const PACKET: usize = 172;
/// Before the stamp, within the payload.
const MAGIC: [u8; 4] = *b"hulp";
const STAMP: usize = 12;
/// So many packets between two of which the delay is noted.
const SAMPLE: u64 = 16;

/// One leg: which socket speaks to it, and where it listens. Legs come in pairs: an even one and the next.
#[derive(Clone, Copy)]
pub struct Leg {
    pub peer: usize,
    pub at: SocketAddr,
}

impl Leg {
    pub fn new(index: usize, at: SocketAddr) -> Self {
        Self { peer: index % SOCKETS, at }
    }
}

/// What was measured of one round.
pub struct Round {
    pub sent: u64,
    pub heard: u64,
    /// Came to a far end of another call.
    pub strange: u64,
    /// Lost at the far ends' own sockets: no fault of what is measured.
    pub deaf: u64,
    pub cpu: Duration,
    pub took: Duration,
    /// In milliseconds, sorted.
    pub delays: Vec<f64>,
}

impl Round {
    pub fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.heard.max(1) as f64
    }

    /// In percent.
    pub fn loss(&self) -> f64 {
        100.0 * (1.0 - (self.heard + self.deaf) as f64 / self.sent.max(1) as f64).max(0.0)
    }

    pub fn head() {
        let names = ["packets/s", "loss %", "deaf", "strange", "µs/packet", "core %", "p50 ms", "p99 ms"];
        println!("{:<26}{}", "", names.map(|name| format!("{name:>11}")).concat());
    }

    pub fn print(&self, name: &str) {
        let seconds = self.took.as_secs_f64();
        let [p50, p99] = [0.5, 0.99].map(|part| quantile(&self.delays, part));
        println!(
            "{name:<26}{:>11.0}{:>11.3}{:>11}{:>11}{:>11.2}{:>11.1}{p50:>11.2}{p99:>11.2}",
            self.sent as f64 / seconds,
            self.loss(),
            self.deaf,
            self.strange,
            self.micros(),
            100.0 * self.cpu.as_secs_f64() / seconds,
        );
    }
}

/// The far ends of all legs.
pub struct Peers {
    sockets: Vec<Arc<UdpSocket>>,
    ears: Arc<Ears>,
    /// Of all streams.
    sequence: AtomicU32,
}

struct Ears {
    began: Instant,
    /// The round that counts now.
    round: AtomicU32,
    heard: AtomicU64,
    strange: AtomicU64,
    delays: Mutex<Vec<f64>>,
}

impl Peers {
    pub fn new(callers: Ipv4Addr, lines: Ipv4Addr) -> Self {
        let bind = |index: usize| {
            let host = if index.is_multiple_of(2) { callers } else { lines };
            let socket = UdpSocket::bind((host, 0)).expect("a port");
            // As much as the system allows.
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            Arc::new(socket)
        };
        let sockets: Vec<Arc<UdpSocket>> = (0..SOCKETS).map(bind).collect();
        let ears = Arc::new(Ears {
            began: Instant::now(),
            round: AtomicU32::new(0),
            heard: AtomicU64::new(0),
            strange: AtomicU64::new(0),
            delays: Mutex::new(Vec::new()),
        });
        let (all, listener) = (sockets.clone(), Arc::clone(&ears));
        thread::spawn(move || listener.listen(&all));
        Self { sockets, ears, sequence: AtomicU32::new(0) }
    }

    /// The address that the peer of this leg speaks from and listens on.
    pub fn address(&self, leg: usize) -> SocketAddr {
        self.sockets[leg % SOCKETS].local_addr().expect("bound")
    }

    /// Speaks to all legs for a while and counts what comes back at the other leg of each pair.
    pub fn round(&self, legs: &[Leg], length: Duration, cpu: impl Fn() -> Duration) -> Round {
        // A while to warm up, so that every leg is locked to its peer.
        self.speak(legs, 0, TICK * 25);
        self.ears.delays.lock().expect("not poisoned").clear();
        let number = self.ears.round.load(Ordering::SeqCst) + 1;
        let (heard, strange) = (&self.ears.heard, &self.ears.strange);
        heard.store(0, Ordering::SeqCst);
        strange.store(0, Ordering::SeqCst);
        self.ears.round.store(number, Ordering::SeqCst);
        let (deaf, before, begin) = (self.deaf(), cpu(), Instant::now());
        let sent = self.speak(legs, number, length);
        let (took, cpu) = (begin.elapsed(), cpu().saturating_sub(before));
        thread::sleep(TICK * 10);
        let mut delays = std::mem::take(&mut *self.ears.delays.lock().expect("not poisoned"));
        delays.sort_by(f64::total_cmp);
        Round {
            sent,
            heard: heard.load(Ordering::SeqCst),
            strange: strange.load(Ordering::SeqCst),
            deaf: self.deaf() - deaf,
            cpu,
            took,
            delays,
        }
    }

    /// Sends every leg its packet every 20 ms; who is late catches up.
    pub fn speak(&self, legs: &[Leg], round: u32, length: Duration) -> u64 {
        let begin = Instant::now();
        let ticks = (length.as_millis() / TICK.as_millis()) as u32;
        let mut packet = [0xd5; PACKET];
        packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
        packet[STAMP..STAMP + 4].copy_from_slice(&MAGIC);
        packet[STAMP + 4..STAMP + 8].copy_from_slice(&round.to_be_bytes());
        for tick in 0..ticks {
            // Numbers go on from round to round, as a stream's do, and no tick has that of another: a sender who
            // is late would else repeat one, and a relay that knows RTP drops what is repeated.
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
            packet[..4].copy_from_slice(&[0x80, 8, (sequence >> 8) as u8, sequence as u8]);
            packet[4..8].copy_from_slice(&sequence.wrapping_mul(160).to_be_bytes());
            for (portion, legs) in legs.chunks(legs.len().div_ceil(PORTIONS)).enumerate() {
                let due = begin + TICK * tick + TICK * portion as u32 / PORTIONS as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let now = self.ears.began.elapsed().as_nanos() as u64;
                packet[STAMP + 12..STAMP + 20].copy_from_slice(&now.to_be_bytes());
                for leg in legs {
                    packet[STAMP + 8..STAMP + 12].copy_from_slice(&(leg.peer as u32).to_be_bytes());
                    let _ = self.sockets[leg.peer].send_to(&packet, leg.at);
                }
            }
        }
        thread::sleep((begin + TICK * ticks).saturating_duration_since(Instant::now()));
        u64::from(ticks) * legs.len() as u64
    }

    /// Datagrams that our own sockets have dropped, by the system's table.
    fn deaf(&self) -> u64 {
        let ours: Vec<String> = (0..SOCKETS).map(|index| in_table(self.address(index))).collect();
        let table = fs::read_to_string("/proc/net/udp").expect("Linux");
        let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = lines.filter(|line| line.get(1).is_some_and(|at| ours.iter().any(|o| o == at)));
        own.filter_map(|line| line.last()?.parse::<u64>().ok()).sum()
    }
}

/// As /proc/net/udp writes it.
fn in_table(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()),
        IpAddr::V6(_) => unreachable!("all peers have IPv4"),
    }
}

impl Ears {
    fn listen(&self, sockets: &[Arc<UdpSocket>]) {
        let epoll = watch_all(sockets.iter().map(AsRef::as_ref));
        let (mut ready, mut buffer) = (Vec::with_capacity(SOCKETS), [0; 2048]);
        loop {
            ready.clear();
            let _waited = epoll::wait(&epoll, spare_capacity(&mut ready), None);
            for event in &ready {
                let index = event.data.u64() as usize;
                while let Ok(length) = sockets[index].recv(&mut buffer) {
                    self.hear(index, &buffer[..length]);
                }
            }
        }
    }

    fn hear(&self, socket: usize, packet: &[u8]) {
        let word = |at: usize| packet.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let stamped = packet.len() == PACKET && packet[STAMP..STAMP + 4] == MAGIC;
        if !stamped || word(STAMP + 4) != Some(self.round.load(Ordering::Relaxed)) {
            return;
        }
        if word(STAMP + 8) != Some((socket ^ 1) as u32) {
            self.strange.fetch_add(1, Ordering::Relaxed);
        }
        if self.heard.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE) {
            let (high, low) = (word(STAMP + 12).unwrap_or(0), word(STAMP + 16).unwrap_or(0));
            let sent = u64::from(high) << 32 | u64::from(low);
            let nanos = (self.began.elapsed().as_nanos() as u64).saturating_sub(sent);
            self.delays.lock().expect("not poisoned").push(nanos as f64 / 1e6);
        }
    }
}

/// The floor: what comes on one socket goes out of its neighbour's, and nothing else.
pub struct BareRelay {
    pub legs: Vec<Leg>,
}

impl BareRelay {
    pub const NAME: &'static str = "bare-relay";
    /// The one by the batches of the media plane.
    pub const BATCHED: &'static str = "bare-batched";

    /// By nothing but `recvfrom` and `sendto`.
    pub fn start(cores: &Cores, calls: usize, peers: &Peers) -> Self {
        let Bare { sockets, remotes, legs } = Bare::new(calls, peers);
        let relay = move || {
            let epoll = watch_all(sockets.iter());
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
        cores.measured(|| thread::Builder::new().name(Self::NAME.into()).spawn(relay).expect("started"));
        Self { legs }
    }

    /// By io_uring, as the media plane does it; `None` where that is not to be had.
    pub fn batched(cores: &Cores, calls: usize, peers: &Peers) -> Option<Self> {
        let Bare { sockets, remotes, legs } = Bare::new(calls, peers);
        let (started, has_started) = mpsc::sync_channel(1);
        let relay = move || {
            let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("made");
            let mut io = Io::new(IoChoice::Auto, sockets.len(), &wake).expect("one of both");
            let batched = io.chosen() == IoChoice::IoUring;
            for (mark, socket) in sockets.iter().enumerate().filter(|_| batched) {
                socket.set_nonblocking(true).expect("set");
                io.watch(mark as u32, socket).expect("watched");
            }
            started.send(batched).expect("somebody waits");
            let mut buffer = [0; DATAGRAM];
            if !batched {
                return;
            }
            loop {
                io.wait(None);
                for _ in 0..256 {
                    let Some(Arrived::Datagram { mark, length, .. }) = io.next(&mut buffer) else { break };
                    let other = mark as usize ^ 1;
                    io.send(other as u32, &sockets[other], &buffer[..length], remotes[other]);
                }
            }
        };
        cores.measured(|| thread::Builder::new().name(Self::BATCHED.into()).spawn(relay).expect("started"));
        has_started.recv().expect("it says so").then_some(Self { legs })
    }
}

/// Sockets in pairs, and whom each talks to.
struct Bare {
    sockets: Vec<UdpSocket>,
    remotes: Vec<SocketAddr>,
    legs: Vec<Leg>,
}

impl Bare {
    fn new(calls: usize, peers: &Peers) -> Self {
        let bind =
            || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port; raise the limit of open files");
        let sockets: Vec<UdpSocket> = (0..calls * 2).map(|_| bind()).collect();
        let at = |index: usize| sockets[index].local_addr().expect("bound");
        let legs = (0..calls * 2).map(|index| Leg::new(index, at(index))).collect();
        let remotes: Vec<SocketAddr> = (0..calls * 2).map(|index| peers.address(index)).collect();
        Self { sockets, remotes, legs }
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
