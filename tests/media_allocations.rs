//! No allocation per packet on the media path (DESIGN 5): counted in the whole process, which does nothing else
//! meanwhile. One test a file: another test would allocate, too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hulplijn::base::id::{LegKey, PlayKey};
use hulplijn::media::audio;
use hulplijn::media::command::{MediaCommand, MediaEvent, Origin, Stream};
use hulplijn::media::plane::{IoChoice, Plane, PlaneConfig, PlaneHandle};
use tokio::sync::mpsc::Receiver;

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Only a hang gets here.
const DEADLINE: Duration = Duration::from_secs(20);
/// Each way; with those before, fewer than a peer may send at once.
const RELAYED: u16 = 400;
const BEFORE: u16 = 50;
const PLAYED: usize = 100;
/// As a rule there is none. What happens once, such as an event for the core, may need one; of some 900 packets each
/// would show.
const ONCE: u64 = 10;

#[test]
fn a_packet_that_is_relayed_or_played_allocates_nothing() {
    let _counting = dhat::Profiler::builder().testing().build();
    for (io, threads) in [(IoChoice::Epoll, 1), (IoChoice::Auto, 1), (IoChoice::Auto, 2)] {
        let config = PlaneConfig { ports: 22_000..=22_999, threads, io, ..PlaneConfig::default() };
        let (plane, mut events) = Plane::start(config).expect("started");
        // Keys of different parity live on different threads.
        let peers = [0, 1, 2].map(|key| Peer::new(&plane, &mut events, key));
        plane.send(MediaCommand::Bridge { a: LegKey(0), b: LegKey(1) }).expect("room");
        let clips = vec![audio::music()];
        plane
            .send(MediaCommand::Play { leg: LegKey(2), play: PlayKey(1), clips, repeat: true })
            .expect("room");
        speak(&peers, 0, BEFORE);
        let before = dhat::HeapStats::get();
        let relayed = speak(&peers, BEFORE, RELAYED);
        peers[2].hear(PLAYED);
        let after = dhat::HeapStats::get();
        assert!(relayed >= 2 * u32::from(RELAYED) - 4, "{relayed} were relayed");
        let allocations = after.total_blocks - before.total_blocks;
        assert!(allocations < ONCE, "{allocations} allocations; {io:?}, threads: {threads}");
        drop(events);
        plane.stop();
    }
}

struct Peer {
    socket: UdpSocket,
    leg: SocketAddr,
}

impl Peer {
    fn new(plane: &PlaneHandle, events: &mut Receiver<MediaEvent>, key: u64) -> Self {
        let leg = LegKey(key);
        let origin = Origin { ssrc: key as u32, sequence: 1, timestamp: 1, cname: key };
        plane.send(MediaCommand::Open { leg, local: HOST, origin }).expect("room");
        let opened = loop {
            match events.blocking_recv().expect("the plane is there") {
                MediaEvent::Opened { local, .. } => break local,
                MediaEvent::OpenFailed { .. } => panic!("not opened"),
                _ => {}
            }
        };
        let socket = UdpSocket::bind((HOST, 0)).expect("a port");
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        let remote = socket.local_addr().expect("bound");
        let stream = Stream { remote_rtcp: SocketAddr::new(remote.ip(), 9), ..Stream::g711(remote) };
        plane.send(MediaCommand::Connect { leg, stream }).expect("room");
        Self { socket, leg: opened }
    }

    /// The next packet's first byte of sound.
    fn next(&self) -> u8 {
        let mut packet = [0; 400];
        assert_eq!(self.socket.recv(&mut packet).expect("in time"), 172);
        packet[12]
    }

    fn hear(&self, packets: usize) {
        (0..packets).for_each(|_| {
            self.next();
        });
    }
}

/// Both sides say something, and each hears the other, if it is not the silence before the bridge.
fn speak(peers: &[Peer; 3], from: u16, packets: u16) -> u32 {
    let mut packet = [0u8; 172];
    let mut relayed = 0;
    for number in from..from + packets {
        packet[..4].copy_from_slice(&[0x80, 8, (number >> 8) as u8, number as u8]);
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        for (own, other) in [(0, 1), (1, 0)] {
            packet[11] = own as u8 + 1;
            packet[12..].fill(own as u8 + 0x40);
            peers[own].socket.send_to(&packet, peers[own].leg).expect("sent");
            relayed += u32::from(peers[other].next() == own as u8 + 0x40);
        }
    }
    relayed
}
