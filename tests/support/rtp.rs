//! A raw RTP peer (RFC 3550): sends known payloads, keeps what it hears.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::way::Way;

/// 20 ms of G.711.
pub const FRAME: usize = 160;
/// A-law silence.
pub const SILENCE: u8 = 0xd5;

/// A packet that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
    pub from: SocketAddr,
}

pub struct Rtp {
    socket: UdpSocket,
    pub local: SocketAddr,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload_type: u8,
    /// All that was heard, in order of arrival.
    pub heard: Vec<Packet>,
    /// The longest time between two packets that came, and when the last did.
    pub longest_gap: Duration,
    pub last_at: Option<Instant>,
}

impl Rtp {
    /// An even port of this address, as RFC 3550 11 likes it.
    pub fn bind(ip: IpAddr) -> Self {
        for _ in 0..100 {
            let socket = UdpSocket::bind((ip, 0)).expect("a socket");
            let local = socket.local_addr().expect("bound");
            if local.port().is_multiple_of(2) {
                return Self {
                    socket,
                    local,
                    sequence: 1000,
                    timestamp: 5_000_000,
                    ssrc: 0x1234_5678,
                    payload_type: 8,
                    heard: Vec::new(),
                    longest_gap: Duration::ZERO,
                    last_at: None,
                };
            }
        }
        panic!("no even port");
    }

    /// Sends one packet with the next sequence number and timestamp.
    pub fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        let packet = self.next_packet(payload, payload.len() as u32);
        self.send_raw(to, &packet);
    }

    fn next_packet(&mut self, payload: &[u8], step: u32) -> Vec<u8> {
        let packet = self.packet(self.payload_type, false, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(step);
        packet
    }

    /// Presses a key: three updates and three ends of a telephone-event (RFC 4733 2.5.1).
    pub fn press(&mut self, to: SocketAddr, key: char) {
        let event = "0123456789*#ABCD".find(key).expect("a key") as u8;
        for (n, (end, duration)) in
            [(0, 160), (0, 320), (0, 480), (0x80, 640), (0x80, 640), (0x80, 640)].into_iter().enumerate()
        {
            let [high, low] = u16::to_be_bytes(duration);
            let packet = self.packet(101, n == 0, &[event, end | 0x0a, high, low]);
            self.send_raw(to, &packet);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.timestamp = self.timestamp.wrapping_add(800);
    }

    pub fn packet(&self, payload_type: u8, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, payload_type | (u8::from(marker) << 7)];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    pub fn send_raw(&self, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).expect("sent");
    }

    /// Sends this at a telephone's pace, 20 ms a frame, and hears meanwhile.
    pub fn say(&mut self, to: SocketAddr, audio: &[u8]) {
        let mut due = Instant::now();
        for frame in audio.chunks(FRAME) {
            self.send(to, frame);
            due += Duration::from_millis(20);
            while self.hear(due) {}
        }
    }

    /// Sends payloads of 20 ms, each `step` timestamp units, over a way where packets come out when they do. How late the
    /// latest of them was sent, since the machine was busy.
    pub fn say_over(&mut self, way: Way, to: SocketAddr, payloads: &[Vec<u8>], step: u32) -> Duration {
        let packets: Vec<Vec<u8>> = payloads.iter().map(|payload| self.next_packet(payload, step)).collect();
        let begin = Instant::now();
        let mut latest = Duration::ZERO;
        for (at, index) in way.schedule(packets.len()) {
            while self.hear(begin + at) {}
            latest = latest.max(begin.elapsed().saturating_sub(at));
            self.send_raw(to, &packets[index]);
        }
        while self.hear(begin + Duration::from_millis(20) * packets.len() as u32) {}
        latest
    }

    /// Takes one packet if one comes before this moment.
    pub fn hear(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.socket.set_read_timeout(Some(left)).expect("a socket");
        let mut bytes = [0; 2048];
        let Ok((length, from)) = self.socket.recv_from(&mut bytes) else { return false };
        if let Some(packet) = read(&bytes[..length], from) {
            let now = Instant::now();
            let gap = self.last_at.replace(now).map_or(Duration::ZERO, |last| now - last);
            self.longest_gap = self.longest_gap.max(gap);
            self.heard.push(packet);
        }
        true
    }

    /// Hears until what was heard is enough.
    pub fn hear_until(&mut self, what: &str, is_enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(self) {
            self.hear(deadline);
            assert!(Instant::now() < deadline, "{what} was not heard; {} packets were", self.heard.len());
        }
    }

    /// Speaks silence and hears until what was heard is enough; a leg without packets may be asked whether it
    /// lives, and behind NAT is not sent anything.
    pub fn stay_until(&mut self, to: SocketAddr, what: &str, is_enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(self) {
            self.say(to, &[SILENCE; FRAME]);
            assert!(Instant::now() < deadline, "{what} was not heard; {} packets were", self.heard.len());
        }
    }

    /// The audio heard, in order of sequence numbers, lost packets left out. Telephone events are no audio.
    pub fn audio(&self) -> Vec<u8> {
        let mut packets: Vec<&Packet> = self.heard.iter().filter(|p| p.payload_type != 101).collect();
        // Loopback keeps the order; what is twice counts once.
        packets.dedup_by_key(|p| (p.ssrc, p.sequence));
        packets.iter().flat_map(|p| p.payload.iter().copied()).collect()
    }

    /// The payloads of 20 ms heard, each where its timestamp puts it; empty where nothing came.
    pub fn placed(&self, step: u32) -> Vec<Vec<u8>> {
        let packets: Vec<&Packet> =
            self.heard.iter().filter(|p| p.payload_type == self.payload_type).collect();
        let Some(first) = packets.first() else { return Vec::new() };
        assert!(packets.iter().all(|p| p.ssrc == first.ssrc), "one leg has two SSRCs");
        let mut placed = Vec::new();
        for packet in &packets {
            let later = packet.timestamp.wrapping_sub(first.timestamp) as i32;
            // What comes before the first was overtaken by it; nobody waits for it.
            let Ok(later) = u32::try_from(later) else { continue };
            let at = ((later + step / 2) / step) as usize;
            assert!(at < 50 * 600, "a timestamp jumps by {later}");
            placed.resize((at + 1).max(placed.len()), Vec::new());
            placed[at].clone_from(&packet.payload);
        }
        placed
    }

    /// Whether this was heard anywhere, octet for octet.
    pub fn has_heard(&self, audio: &[u8]) -> bool {
        find(&self.audio(), audio).is_some()
    }
}

/// Whether every frame of what was said is in what was heard, octet for octet (or sample for sample) and in
/// order. What lies between frames is not looked at: when a busy machine makes the speaker pause, the switch
/// fills in silence.
pub fn in_order<T: PartialEq>(heard: &[T], said: &[T]) -> bool {
    let mut rest = heard;
    said.chunks(FRAME).all(|frame| {
        let at = rest.windows(frame.len()).position(|w| w == frame);
        at.is_some_and(|at| {
            rest = &rest[at + frame.len()..];
            true
        })
    })
}

/// Where `needle` begins.
pub fn find(audio: &[u8], needle: &[u8]) -> Option<usize> {
    audio.windows(needle.len().max(1)).position(|w| w == needle)
}

fn read(bytes: &[u8], from: SocketAddr) -> Option<Packet> {
    let (head, payload) = bytes.split_at_checked(12)?;
    if head[0] != 0x80 {
        return None;
    }
    Some(Packet {
        payload_type: head[1] & 0x7f,
        marker: head[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([head[2], head[3]]),
        timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
        payload: payload.to_vec(),
        from,
    })
}
