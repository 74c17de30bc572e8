//! No allocation per packet on the media path (DESIGN 5): counted in the whole process, which does nothing else
//! meanwhile. One test a file: another test would allocate, too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hulplijn::base::id::{LegKey, PlayKey, RoomKey};
use hulplijn::media::audio;
use hulplijn::media::command::{Codec, MediaCommand, MediaEvent, Origin, Payloads, Sound, Stream};
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
const MIXED: u16 = 100;
/// As a rule there is none. What happens once, such as an event for the core, may need one; of some 900 packets each
/// would show.
const ONCE: u64 = 10;

#[test]
fn a_packet_that_is_relayed_played_or_mixed_allocates_nothing() {
    let _counting = dhat::Profiler::builder().testing().build();
    for (io, threads) in [(IoChoice::Epoll, 1), (IoChoice::Auto, 1), (IoChoice::Auto, 2)] {
        let config = PlaneConfig { ports: 22_000..=22_999, threads, io, ..PlaneConfig::default() };
        let (plane, mut events) = Plane::start(config).expect("started");
        // Keys of different parity live on different threads.
        let peers = [0, 1, 2].map(|key| Peer::new(&plane, &mut events, key, Codec::Pcma));
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
        let mixed = mix(&plane, &mut events);
        assert!(mixed < ONCE, "{mixed} allocations in a room; {io:?}, threads: {threads}");
        drop(events);
        plane.stop();
    }
}

/// Two who hear in full width and a telephone talk in a room; the allocations meanwhile.
fn mix(plane: &PlaneHandle, events: &mut Receiver<MediaEvent>) -> u64 {
    let members = [(4, Codec::G722), (5, Codec::G722), (6, Codec::Pcma)];
    let peers = members.map(|(key, codec)| Peer::new(plane, events, key, codec));
    for (key, _) in members {
        plane.send(MediaCommand::Mix { room: RoomKey(1), leg: LegKey(key) }).expect("room");
    }
    let mut before = dhat::HeapStats::get();
    for number in 0..BEFORE + MIXED {
        if number == BEFORE {
            before = dhat::HeapStats::get();
        }
        // The clock of the room is that of its legs.
        peers.iter().for_each(|peer| peer.say(number, number as u8));
        peers.iter().for_each(|peer| peer.hear(1));
    }
    dhat::HeapStats::get().total_blocks - before.total_blocks
}

struct Peer {
    socket: UdpSocket,
    leg: SocketAddr,
    key: u8,
    payload_type: u8,
}

impl Peer {
    fn new(plane: &PlaneHandle, events: &mut Receiver<MediaEvent>, key: u64, codec: Codec) -> Self {
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
        let payload_type = if codec == Codec::G722 { 9 } else { 8 };
        let payloads = Payloads::same_both_ways(&[(Sound::Audio(codec), payload_type)]);
        let remote_rtcp = SocketAddr::new(remote.ip(), 9);
        let stream = Stream { remote_rtcp, codec, payloads, ..Stream::g711(remote) };
        plane.send(MediaCommand::Connect { leg, stream }).expect("room");
        Self { socket, leg: opened, key: key as u8, payload_type }
    }

    /// A packet of this number, all of it this sound.
    fn say(&self, number: u16, sound: u8) {
        let mut packet = [0u8; 172];
        packet[..4].copy_from_slice(&[0x80, self.payload_type, (number >> 8) as u8, number as u8]);
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        packet[11] = self.key + 1;
        packet[12..].fill(sound);
        self.socket.send_to(&packet, self.leg).expect("sent");
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
    let mut relayed = 0;
    for number in from..from + packets {
        for (own, other) in [(0, 1), (1, 0)] {
            peers[own].say(number, own as u8 + 0x40);
            relayed += u32::from(peers[other].next() == own as u8 + 0x40);
        }
    }
    relayed
}
