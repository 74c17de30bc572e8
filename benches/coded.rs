//! What encryption and transcoding cost on the media plane's one thread, through real sockets: bridged G.711 in the
//! clear, with SRTP on one leg and on both, and Opus to and from A-law. Beside them, in the same run and in turns, what
//! cannot be saved: the ciphers alone and the codecs alone on the same packets.
//!
//! `CALLS` (300) in the clear and encrypted, `TRANSCODED` (30) of Opus, `SECONDS` of a round (2) and `ROUNDS` (5) can be
//! set in the environment.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hulplijn::base::bounded::Full;
use hulplijn::base::id::{LegKey, Rng};
use hulplijn::base::secret::Secret;
use hulplijn::media::codec::Rate;
use hulplijn::media::command::{Codec, Direction, MediaCommand, MediaEvent, Origin, Payloads, Sound, Stream};
use hulplijn::media::g711::Law;
use hulplijn::media::keying::{Keying, Suite};
use hulplijn::media::opus;
use hulplijn::media::plane::{Plane, PlaneConfig, PlaneHandle};
use hulplijn::media::srtp::{Inbound, Outbound, RTP_TRAILER};
use rustix::time::{ClockId, clock_gettime};
use support::cpu::{Cores, Threads};
use support::{mark, median, number};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SUITE: Suite = Suite::AesCm128Sha1_80;
const TICK: Duration = Duration::from_millis(20);
const OPUS: u8 = 111;
const HEADER: usize = 12;
/// Frames of the voice that is spoken over and over: 2 s.
const FRAMES: usize = 100;
const MARK_RATIO: f64 = 1.25;

fn main() {
    if !support::is_asked_for() {
        return;
    }
    support::open_files();
    let cores = Cores::share();
    let (calls, transcoded, rounds) = (number("CALLS", 300), number("TRANSCODED", 30), number("ROUNDS", 5));
    let length = Duration::from_secs(number("SECONDS", 2) as u64);
    println!("{calls} bridged calls, {transcoded} of them for Opus; {SUITE:?}; {}", cores.describe());
    let voice = voice();
    let mut kinds = [
        Bridges::new(&cores, 0, calls, [Side::PLAIN, Side::PLAIN]),
        Bridges::new(&cores, 1, calls, [Side::SRTP, Side::PLAIN]),
        Bridges::new(&cores, 2, calls, [Side::SRTP, Side::SRTP]),
        Bridges::new(&cores, 3, transcoded, [Side::PLAIN, Side::PLAIN]),
        Bridges::new(&cores, 4, transcoded, [Side::OPUS, Side::PLAIN]),
    ];
    let mut micros: [Vec<f64>; 5] = Default::default();
    let (mut ciphers, mut codecs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (kind, micros) in kinds.iter_mut().zip(&mut micros) {
            micros.push(kind.round(&voice, length));
        }
        ciphers.push(ciphers_alone());
        codecs.push(codecs_alone(&voice));
    }
    judge(&micros, &ciphers, &codecs);
}

/// The own floor of each is the relay of as many calls in the clear and, beside it, the ciphers or codecs alone.
fn judge([clear, one, both, few, opus]: &[Vec<f64>; 5], ciphers: &[f64], codecs: &[f64]) {
    println!("{:<26}{:>11}{:>11}{:>11}{:>11}", "median of rounds, µs", "a packet", "relay", "alone", "ratio");
    // With one leg encrypted a packet is opened or protected, with both it is each.
    for (name, own, relay, alone, part) in [
        ("SRTP on one leg", one, clear, ciphers, 0.5),
        ("SRTP on both legs", both, clear, ciphers, 1.0),
        ("Opus to and from A-law", opus, few, codecs, 1.0),
    ] {
        let floors = relay.iter().zip(alone).map(|(relay, alone)| relay + part * alone);
        let ratios: Vec<f64> = own.iter().zip(floors).map(|(own, floor)| own / floor).collect();
        let (relay, alone) = (median(relay), part * median(alone));
        println!("{name:<26}{:>11.2}{relay:>11.2}{alone:>11.2}{:>11.2}", median(own), median(&ratios));
        mark(&format!("{name}: CPU a packet to its floor"), median(&ratios), "", MARK_RATIO);
    }
}

/// What a leg of each call speaks.
#[derive(Clone, Copy)]
struct Side {
    codec: Codec,
    encrypted: bool,
}

impl Side {
    const PLAIN: Self = Self { codec: Codec::Pcma, encrypted: false };
    const SRTP: Self = Self { codec: Codec::Pcma, encrypted: true };
    const OPUS: Self = Self { codec: Codec::Opus, encrypted: false };
}

/// 20 ms of a voice in each codec.
struct Frame {
    samples: Vec<i16>,
    alaw: Vec<u8>,
    opus: Vec<u8>,
}

/// One leg and its far end.
struct Far {
    side: Side,
    socket: Arc<UdpSocket>,
    at: SocketAddr,
    cipher: Option<Outbound>,
}

/// Calls on a media plane of their own, and who speaks in them.
struct Bridges {
    plane: PlaneHandle,
    threads: Threads,
    fars: Vec<Far>,
    heard: Arc<AtomicU64>,
    sequence: u32,
}

impl Bridges {
    fn new(cores: &Cores, seed: u8, calls: usize, sides: [Side; 2]) -> Self {
        let (ports, quarantine) = (1025..=65_535, Duration::ZERO);
        let config = PlaneConfig {
            ports,
            quarantine,
            max_legs: calls * 2,
            seed: [seed; 32],
            ..PlaneConfig::default()
        };
        let start = || cores.measured(|| Plane::start(config)).expect("started");
        let (threads, (plane, mut events)) = Threads::of("media-0", start);
        let heard = Arc::new(AtomicU64::new(0));
        // The far ends share a socket for each side.
        let sockets = [far_end(&heard), far_end(&heard)];
        let mut fars = Vec::new();
        for index in 0..calls * 2 {
            let leg = LegKey(index as u64);
            let origin = Origin { ssrc: index as u32, sequence: 1, timestamp: 1, cname: index as u64 };
            plane.send(MediaCommand::Open { leg, local: HOST, origin }).expect("room");
            let Some(MediaEvent::Opened { local, .. }) = events.blocking_recv() else {
                panic!("leg {index} was not opened; raise the limit of open files");
            };
            let (side, socket) = (sides[index % 2], Arc::clone(&sockets[index % 2]));
            let cipher = side.encrypted.then(|| Outbound::new(SUITE, &key(index, 2)).expect("a key"));
            fars.push(Far { side, socket, at: local, cipher });
        }
        // Somebody takes the events for as long as the process lives.
        thread::spawn(move || while events.blocking_recv().is_some() {});
        let bridges = Self { plane, threads, fars, heard, sequence: 0 };
        bridges.connect(Direction::SendRecv);
        for call in 0..calls as u64 {
            bridges.command(MediaCommand::Bridge { a: LegKey(call * 2), b: LegKey(call * 2 + 1) });
        }
        bridges.connect(Direction::Inactive);
        bridges
    }

    /// Microseconds of the plane's thread for each packet that came out.
    fn round(&mut self, voice: &[Frame], length: Duration) -> f64 {
        self.connect(Direction::SendRecv);
        // A while to warm up, so that every leg is locked to its peer and every codec runs.
        self.speak(voice, TICK * 25);
        let (before, heard) = (self.threads.cpu(), self.heard.load(Ordering::SeqCst));
        let sent = self.speak(voice, length);
        let cpu = self.threads.cpu().saturating_sub(before);
        let heard = self.heard.load(Ordering::SeqCst) - heard;
        self.connect(Direction::Inactive);
        assert!(heard * 100 > sent * 95, "{heard} of {sent} packets came out");
        cpu.as_secs_f64() * 1e6 / heard as f64
    }

    /// Sends every leg its packet every 20 ms; who is late catches up.
    fn speak(&mut self, voice: &[Frame], length: Duration) -> u64 {
        let (begin, ticks) = (Instant::now(), (length.as_millis() / TICK.as_millis()) as u32);
        for tick in 0..ticks {
            let frame = &voice[self.sequence as usize % voice.len()];
            self.sequence += 1;
            for far in &mut self.fars {
                far.say(self.sequence, frame);
            }
            thread::sleep((begin + TICK * (tick + 1)).saturating_duration_since(Instant::now()));
        }
        u64::from(ticks) * self.fars.len() as u64
    }

    fn connect(&self, direction: Direction) {
        for (index, far) in self.fars.iter().enumerate() {
            let remote = far.socket.local_addr().expect("bound");
            let plain = [(Sound::Audio(Codec::Pcma), 8), (Sound::Audio(Codec::Opus), OPUS)];
            let payloads: Vec<_> =
                plain.into_iter().filter(|(sound, _)| *sound == Sound::Audio(far.side.codec)).collect();
            let keying = far
                .side
                .encrypted
                .then(|| Keying::new(SUITE, key(index, 1), key(index, 2)).expect("of the suite's length"));
            let stream = Stream {
                codec: far.side.codec,
                payloads: Payloads::same_both_ways(&payloads),
                remote_rtcp: SocketAddr::new(remote.ip(), 9),
                direction,
                keying,
                ..Stream::g711(remote)
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

impl Far {
    fn say(&mut self, sequence: u32, frame: &Frame) {
        let (payload, pt) = match self.side.codec {
            Codec::Opus => (&frame.opus, OPUS),
            _ => (&frame.alaw, 8),
        };
        let mut packet = [0; 512];
        let length = rtp(&mut packet, pt, sequence, self.side.codec.step(), payload);
        let length = match &mut self.cipher {
            Some(cipher) => cipher.protect_rtp(&mut packet, length).expect("in order"),
            None => length,
        };
        let _ = self.socket.send_to(&packet[..length], self.at);
    }
}

/// A socket on which what comes is counted and thrown away.
fn far_end(heard: &Arc<AtomicU64>) -> Arc<UdpSocket> {
    let socket = Arc::new(UdpSocket::bind((HOST, 0)).expect("a port"));
    // As much as the system allows.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    let (ear, heard) = (Arc::clone(&socket), Arc::clone(heard));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while ear.recv(&mut buffer).is_ok() {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    });
    socket
}

fn rtp(packet: &mut [u8], pt: u8, sequence: u32, step: u32, payload: &[u8]) -> usize {
    packet[..4].copy_from_slice(&[0x80, pt, (sequence >> 8) as u8, sequence as u8]);
    packet[4..8].copy_from_slice(&sequence.wrapping_mul(step).to_be_bytes());
    packet[8..HEADER].copy_from_slice(&[1, 2, 3, 4]);
    packet[HEADER..HEADER + payload.len()].copy_from_slice(payload);
    HEADER + payload.len()
}

/// Something that keeps a speech codec as busy as a voice: a gliding pitch with its overtones, in syllables.
fn voice() -> Vec<Frame> {
    let mut encoder = opus::Encoder::new(Rate::Narrow).expect("made");
    let mut angle = 0.0_f64;
    let mut sample = |at: usize| {
        let seconds = at as f64 / 8000.0;
        angle += std::f64::consts::TAU * (140.0 + 40.0 * (seconds * 5.0).sin()) / 8000.0;
        let tone: f64 = (1..16).map(|n| (angle * f64::from(n)).sin() / f64::from(n)).sum();
        (tone * 5000.0 * (seconds * 12.0).sin().abs()) as i16
    };
    let frame = |n: usize| {
        let samples: Vec<i16> = (0..160).map(|at| sample(n * 160 + at)).collect();
        let mut out = [0; 400];
        let length = encoder.encode(&samples, &mut out).expect("room");
        let alaw = samples.iter().map(|sample| Law::A.encode(*sample)).collect();
        Frame { samples, alaw, opus: out[..length].to_vec() }
    };
    (0..FRAMES).map(frame).collect()
}

/// Opening what comes and protecting what goes, in microseconds a packet.
fn ciphers_alone() -> f64 {
    let mut phone = Outbound::new(SUITE, &key(0, 2)).expect("a key");
    let mut inbound = Inbound::new(SUITE, &key(0, 2)).expect("a key");
    let mut outbound = Outbound::new(SUITE, &key(0, 1)).expect("a key");
    let packet = |sequence: u32| {
        let mut bytes = vec![0; HEADER + 160 + RTP_TRAILER];
        let length = rtp(&mut bytes, 8, sequence, 160, &[0xd5; 160]);
        let length = phone.protect_rtp(&mut bytes, length).expect("in order");
        bytes.truncate(length);
        bytes
    };
    let mut packets: Vec<Vec<u8>> = (0..20_000).map(packet).collect();
    let begin = micros();
    for packet in &mut packets {
        let length = inbound.open_rtp(packet).expect("genuine");
        outbound.protect_rtp(packet, length).expect("it goes out");
    }
    (micros() - begin) / packets.len() as f64
}

/// Decoding the one and encoding the other, both ways, in microseconds a packet.
fn codecs_alone(voice: &[Frame]) -> f64 {
    let mut decoder = opus::Decoder::new(Rate::Narrow).expect("made");
    let mut encoder = opus::Encoder::new(Rate::Narrow).expect("made");
    let (mut samples, mut out) = ([0; 160], [0; 400]);
    let begin = micros();
    for frame in voice.iter().cycle().take(voice.len() * 10) {
        decoder.decode(&frame.opus, &mut samples).expect("readable");
        for (byte, sample) in out.iter_mut().zip(&samples) {
            *byte = Law::A.encode(*sample);
        }
        std::hint::black_box(&mut out);
        encoder.encode(&frame.samples, &mut out).expect("room");
    }
    // Each turn has a packet of each way.
    (micros() - begin) / (voice.len() * 10 * 2) as f64
}

fn key(index: usize, whose: u64) -> Secret {
    let seed = index as u64 * 2 + whose;
    Secret::random(&mut Rng::from_number(seed), SUITE.master_length())
}

/// That this thread has had of the processor.
fn micros() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
