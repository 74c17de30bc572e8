//! 2,000 callers who hear music at the same time, on the media plane's one thread, beside a bare timed sender of as
//! many packets from as many sockets, in the same run and in turns: CPU a stream, and how regularly packets come.
//!
//! `CALLERS` (2000), `SECONDS` of a round (3) and `ROUNDS` (5) can be set in the environment.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hulplijn::base::bounded::Full;
use hulplijn::base::id::{LegKey, PlayKey};
use hulplijn::media::audio;
use hulplijn::media::command::{Clip, Direction, MediaCommand, MediaEvent, Origin, Stream};
use hulplijn::media::plane::{IoChoice, Plane, PlaneConfig, PlaneHandle};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use support::cpu::{self, Cores, Threads};
use support::{mark_within, median, number, quantile};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TICK: Duration = Duration::from_millis(20);
/// Sockets of all listeners.
const EARS: usize = 64;
/// The bare sender spreads its streams over the 20 ms in so many portions, as the plane does.
const PORTIONS: usize = 4;
const BARE: &str = "bare-sender";

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (callers, rounds) = (number("CALLERS", 2000), number("ROUNDS", 5));
    let length = Duration::from_secs(number("SECONDS", 3) as u64);
    let ears = Ears::start(callers);
    let bare = BareSender::start(&cores, callers, &ears);
    let planes = [IoChoice::Epoll, IoChoice::Auto].map(|io| Callers::new(&cores, callers, &ears, io));
    println!("{callers} callers hear music, {} packets a second; {}", callers * 50, cores.describe());
    println!(
        "{:<26}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "", "packets/s", "µs/packet", "p1 ms", "p50 ms", "p99 ms"
    );
    let mut all: [Vec<Round>; 3] = Default::default();
    for _ in 0..rounds {
        bare.sends.store(true, Ordering::SeqCst);
        all[0].push(ears.round("bare timed sender", length, || cpu::of_thread(BARE)));
        bare.sends.store(false, Ordering::SeqCst);
        for (index, plane) in planes.iter().enumerate() {
            plane.play(&ears);
            all[index + 1].push(ears.round(plane.name(index), length, || plane.threads.cpu()));
            plane.stop(&ears);
        }
    }
    for (index, plane) in planes.iter().enumerate() {
        let ratios: Vec<f64> =
            all[index + 1].iter().zip(&all[0]).map(|(own, bare)| own.micros / bare.micros).collect();
        println!("CPU a stream to the bare sender's, {}: {:.2}", plane.name(index), median(&ratios));
    }
    for (name, rounds) in [("the bare sender", &all[0]), ("the plane by itself", &all[2])] {
        let [p1, p99] = [0.01, 0.99]
            .map(|part| median(&rounds.iter().map(|r| quantile(&r.intervals, part)).collect::<Vec<_>>()));
        mark_within(&format!("interval of packets, {name}, p1 to p99"), (p1, p99), " ms", (18.0, 22.0));
    }
    let lost = all[2].iter().map(|round| round.missing(callers, length)).fold(0.0, f64::max);
    support::mark("packets that did not come, worst round", lost, " %", 0.1);
}

struct Round {
    heard: u64,
    micros: f64,
    /// Between packets of one stream, in milliseconds, sorted.
    intervals: Vec<f64>,
}

impl Round {
    /// In percent; the packet at either end may fall outside.
    fn missing(&self, callers: usize, length: Duration) -> f64 {
        let due = (length.as_millis() / TICK.as_millis() - 1) as f64 * callers as f64;
        (100.0 * (1.0 - self.heard as f64 / due)).max(0.0)
    }
}

/// The far ends of all streams: what stands in a packet's SSRC says whose it is.
struct Ears {
    sockets: Vec<Arc<UdpSocket>>,
    counts: Arc<AtomicBool>,
    intervals: Arc<Mutex<Vec<f64>>>,
}

impl Ears {
    fn start(callers: usize) -> Self {
        let bind = |_| {
            let socket = UdpSocket::bind((HOST, 0)).expect("a port");
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            socket.set_nonblocking(true).expect("set");
            Arc::new(socket)
        };
        let sockets: Vec<Arc<UdpSocket>> = (0..EARS).map(bind).collect();
        let (counts, intervals) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let ears =
            Self { sockets: sockets.clone(), counts: Arc::clone(&counts), intervals: Arc::clone(&intervals) };
        thread::spawn(move || listen(&sockets, callers, &counts, &intervals));
        ears
    }

    fn address(&self, caller: usize) -> SocketAddr {
        self.sockets[caller % EARS].local_addr().expect("bound")
    }

    fn round(&self, name: &str, length: Duration, cpu: impl Fn() -> Duration) -> Round {
        thread::sleep(TICK * 25);
        self.intervals.lock().expect("not poisoned").clear();
        self.counts.store(true, Ordering::SeqCst);
        let (before, begin) = (cpu(), Instant::now());
        thread::sleep(length);
        self.counts.store(false, Ordering::SeqCst);
        let (cpu, took) = (cpu().saturating_sub(before), begin.elapsed());
        let mut intervals = std::mem::take(&mut *self.intervals.lock().expect("not poisoned"));
        intervals.sort_by(f64::total_cmp);
        let heard = intervals.len() as u64;
        let micros = cpu.as_secs_f64() * 1e6 / heard.max(1) as f64;
        let [p1, p50, p99] = [0.01, 0.5, 0.99].map(|part| quantile(&intervals, part));
        println!(
            "{name:<26}{:>11.0}{micros:>11.2}{p1:>11.2}{p50:>11.2}{p99:>11.2}",
            heard as f64 / took.as_secs_f64()
        );
        Round { heard, micros, intervals }
    }
}

fn listen(sockets: &[Arc<UdpSocket>], callers: usize, counts: &AtomicBool, intervals: &Mutex<Vec<f64>>) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("made");
    for (index, socket) in sockets.iter().enumerate() {
        let mark = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, socket, mark, epoll::EventFlags::IN).expect("added");
    }
    let mut last: Vec<Option<Instant>> = vec![None; callers];
    let (mut ready, mut buffer) = (Vec::with_capacity(EARS), [0; 2048]);
    loop {
        ready.clear();
        let _waited = epoll::wait(&epoll, spare_capacity(&mut ready), None);
        let mut noted = intervals.lock().expect("not poisoned");
        for event in &ready {
            while let Ok(length) = sockets[event.data.u64() as usize].recv(&mut buffer) {
                let now = Instant::now();
                let ssrc = buffer.get(8..12).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
                let Some(last) = ssrc.filter(|_| length == 172).and_then(|s| last.get_mut(s as usize)) else {
                    continue;
                };
                let before = last.replace(now);
                if counts.load(Ordering::Relaxed) {
                    noted.extend(before.map(|before| now.duration_since(before).as_secs_f64() * 1e3));
                }
            }
        }
    }
}

/// The floor: a packet from each socket every 20 ms, and nothing else.
struct BareSender {
    sends: Arc<AtomicBool>,
}

impl BareSender {
    fn start(cores: &Cores, callers: usize, ears: &Ears) -> Self {
        let bind = |_| UdpSocket::bind((HOST, 0)).expect("a port; raise the limit of open files");
        let sockets: Vec<UdpSocket> = (0..callers).map(bind).collect();
        let remotes: Vec<SocketAddr> = (0..callers).map(|caller| ears.address(caller)).collect();
        let sends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&sends);
        let send = move || {
            let mut packet = [0xd5; 172];
            let mut due = Instant::now();
            for portion in (0..PORTIONS).cycle() {
                due += TICK / PORTIONS as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if !told.load(Ordering::SeqCst) {
                    due = Instant::now();
                    continue;
                }
                for caller in (portion..callers).step_by(PORTIONS) {
                    packet[8..12].copy_from_slice(&(caller as u32).to_be_bytes());
                    let _sent = sockets[caller].send_to(&packet, remotes[caller]);
                }
            }
        };
        cores.measured(|| thread::Builder::new().name(BARE.into()).spawn(send).expect("started"));
        Self { sends }
    }
}

/// The callers on a media plane.
struct Callers {
    plane: PlaneHandle,
    threads: Threads,
    music: Arc<Clip>,
    count: usize,
}

impl Callers {
    fn new(cores: &Cores, callers: usize, ears: &Ears, io: IoChoice) -> Self {
        let (ports, quarantine) = (1025..=65_535, Duration::ZERO);
        // Each plane draws its ports in an order of its own: they share the range.
        let seed = [u8::from(io == IoChoice::Epoll); 32];
        let config = PlaneConfig { ports, quarantine, max_legs: callers, io, seed, ..PlaneConfig::default() };
        let start = || cores.measured(|| Plane::start(config)).expect("started");
        let (threads, (plane, mut events)) = Threads::of("media-0", start);
        for index in 0..callers {
            let leg = LegKey(index as u64);
            let origin = Origin { ssrc: index as u32, sequence: 1, timestamp: 1, cname: index as u64 };
            plane.send(MediaCommand::Open { leg, local: HOST, origin }).expect("room");
            let opened = events.blocking_recv();
            assert!(
                matches!(opened, Some(MediaEvent::Opened { .. })),
                "raise the limit of open files: {opened:?}"
            );
        }
        thread::spawn(move || while events.blocking_recv().is_some() {});
        let this = Self { plane, threads, music: audio::music(), count: callers };
        this.stop(ears);
        this
    }

    fn name(&self, index: usize) -> &'static str {
        match (index, self.plane.started()[0].io) {
            (0, _) => "the plane, epoll",
            (_, IoChoice::IoUring) => "the plane, io_uring",
            (_, IoChoice::Epoll | IoChoice::Auto) => "the plane, epoll again",
        }
    }

    fn play(&self, ears: &Ears) {
        self.connect(ears, Direction::SendRecv);
        for index in 0..self.count as u64 {
            let clips = vec![Arc::clone(&self.music)];
            let (leg, play) = (LegKey(index), PlayKey(index));
            self.command(MediaCommand::Play { leg, play, clips, repeat: true });
        }
    }

    fn stop(&self, ears: &Ears) {
        (0..self.count as u64).for_each(|index| self.command(MediaCommand::Stop { leg: LegKey(index) }));
        self.connect(ears, Direction::Inactive);
    }

    fn connect(&self, ears: &Ears, direction: Direction) {
        for index in 0..self.count {
            let remote = ears.address(index);
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
