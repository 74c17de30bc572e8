use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use super::*;
use crate::base::id::TakeKey;
use crate::media::audio;
use crate::media::command::{Codec, Origin, RecordEnd, Stream};
use crate::media::g711::Law;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Only a hang gets here.
const DEADLINE: Duration = Duration::from_secs(20);

struct Story {
    plane: PlaneHandle,
    events: mpsc::Receiver<MediaEvent>,
    /// Events that came while another was waited for.
    others: Vec<MediaEvent>,
    runtime: tokio::runtime::Runtime,
}

/// A peer with its two sockets, and the leg that talks to it.
struct Peer {
    leg: LegKey,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    leg_at: SocketAddr,
    sequence: u16,
}

fn config() -> PlaneConfig {
    PlaneConfig {
        ports: 21_000..=21_999,
        quarantine: Duration::from_secs(3600),
        max_legs: 100,
        ..PlaneConfig::default()
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((HOST, 0)).expect("a port");
    socket.set_read_timeout(Some(DEADLINE)).expect("set");
    socket
}

impl Story {
    fn new(config: PlaneConfig) -> Self {
        let (plane, events) = Plane::start(config).expect("started");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("built");
        Self { plane, events, others: Vec::new(), runtime }
    }

    fn send(&self, command: MediaCommand) {
        self.plane.send(command).expect("room");
    }

    fn wait(&mut self, wanted: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
        if let Some(at) = self.others.iter().position(&wanted) {
            return self.others.remove(at);
        }
        loop {
            let next = async { tokio::time::timeout(DEADLINE, self.events.recv()).await };
            let event = self.runtime.block_on(next).expect("in time").expect("the plane is there");
            if wanted(&event) {
                return event;
            }
            self.others.push(event);
        }
    }

    fn open(&mut self, key: u64) -> MediaEvent {
        let leg = LegKey(key);
        let origin = Origin { ssrc: 0xa000 + key as u32, sequence: 7, timestamp: 9, cname: key };
        self.send(MediaCommand::Open { leg, local: HOST, origin });
        self.wait(|e| matches!(e, MediaEvent::Opened { .. } | MediaEvent::OpenFailed { .. }))
    }

    fn peer(&mut self, key: u64, codec: Codec) -> Peer {
        let MediaEvent::Opened { leg, local } = self.open(key) else { panic!("not opened") };
        let (rtp, rtcp) = (socket(), socket());
        let peer = Peer { leg, rtp, rtcp, leg_at: local, sequence: 0 };
        let remote_rtcp = peer.rtcp.local_addr().expect("bound");
        let stream = Stream { remote_rtcp, codec, ..Stream::g711(peer.rtp.local_addr().expect("bound")) };
        self.send(MediaCommand::Connect { leg, stream });
        peer
    }

    fn close(&mut self, key: u64) {
        self.send(MediaCommand::Close { leg: LegKey(key) });
        self.wait(|e| matches!(e, MediaEvent::Closed { leg, .. } if leg.0 == key));
    }
}

impl Peer {
    fn say(&mut self, byte: u8) {
        let timestamp = u32::from(self.sequence) * 160;
        let mut packet = vec![0x80, 8];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0x77, self.leg.0 as u8]);
        packet.extend([byte; 160]);
        self.sequence += 1;
        self.rtp.send_to(&packet, self.leg_at).expect("sent");
    }

    /// The payload of the next packet.
    fn hear(&self) -> Vec<u8> {
        let mut bytes = [0; 2000];
        let (length, from) = self.rtp.recv_from(&mut bytes).expect("in time");
        assert_eq!(from, self.leg_at, "from the port that the SDP names");
        assert_eq!(bytes[8..12], (0xa000 + self.leg.0 as u32).to_be_bytes());
        bytes[12..length].to_vec()
    }

    /// Ten seconds of packets at most.
    fn hear_until(&self, wanted: u8) -> Vec<u8> {
        let found = (0..500).map(|_| self.hear()).find(|payload| payload[0] == wanted);
        found.expect("the wanted sound")
    }

    /// Speaks until it is heard: the bridge may not be there at the first word.
    fn say_until(&mut self, byte: u8, other: &Peer, wanted: u8) {
        let found = (0..500).any(|_| {
            self.say(byte);
            other.hear() == [wanted; 160]
        });
        assert!(found, "the wanted sound");
    }
}

fn clip(pcma: Vec<u8>) -> Arc<Clip> {
    Arc::new(Clip { name: "test/clip".into(), pcmu: pcma.clone(), pcma, wide: Vec::new() })
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hulplijn-plane-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("made");
    path
}

#[test]
fn a_prompt_reaches_the_peer_sample_by_sample_and_the_leg_says_goodbye() {
    let mut story = Story::new(config());
    let peer = story.peer(1, Codec::Pcma);
    let bytes: Vec<u8> = (0..800u32).map(|n| (n % 199) as u8).collect();
    let (leg, play) = (peer.leg, PlayKey(5));
    story.send(MediaCommand::Play { leg, play, clips: vec![clip(bytes.clone())], repeat: false });
    let mut heard = peer.hear_until(0);
    while heard.len() < 800 {
        heard.extend(peer.hear());
    }
    assert_eq!(heard, bytes);
    assert_eq!(peer.hear(), [0xd5; 160], "silence follows");
    assert_eq!(
        story.wait(|e| matches!(e, MediaEvent::PlayEnded { .. })),
        MediaEvent::PlayEnded { leg, play }
    );
    story.send(MediaCommand::Close { leg });
    let closed = story.wait(|e| matches!(e, MediaEvent::Closed { .. }));
    assert!(matches!(closed, MediaEvent::Closed { stats, .. } if stats.sent >= 6 && stats.received == 0));
    let mut bye = [0; 200];
    let length = peer.rtcp.recv(&mut bye).expect("in time");
    assert_eq!(bye[length - 7], 203);
    assert_eq!(story.plane.legs(), 0);
}

#[test]
fn two_legs_hear_each_other_on_one_thread_and_across_threads() {
    for threads in [1, 2] {
        let mut story = Story::new(PlaneConfig { threads, ports: 22_000..=22_999, ..config() });
        let mut a = story.peer(1, Codec::Pcma);
        let mut b = story.peer(2, Codec::Pcma);
        story.send(MediaCommand::Bridge { a: a.leg, b: b.leg });
        a.say_until(0x70, &b, 0x70);
        b.say_until(0x71, &a, 0x71);
        for byte in 1..=20 {
            a.say(byte);
            assert_eq!(b.hear_until(byte), [byte; 160]);
            b.say(byte + 100);
            assert_eq!(a.hear_until(byte + 100), [byte + 100; 160]);
        }
        for key in [1, 2] {
            story.wait(|e| *e == MediaEvent::Flowing { leg: LegKey(key) });
        }
        // One side leaves: the other hears silence again.
        story.close(1);
        b.say(0xee);
        assert_eq!(b.hear_until(0xd5), [0xd5; 160]);
        let mut c = story.peer(3, Codec::Pcmu);
        story.send(MediaCommand::Bridge { a: c.leg, b: b.leg });
        // The loudest of one law is the loudest of the other.
        b.say_until(0x2a, &c, 0);
        story.send(MediaCommand::Unbridge { leg: c.leg });
        c.say(0x33);
        assert_eq!(b.hear_until(0xd5), [0xd5; 160]);
        story.close(2);
        story.close(3);
    }
}

#[test]
fn three_legs_hear_each_other_in_a_room_on_one_thread_and_across_threads() {
    for threads in [1, 2, 3] {
        let mut story = Story::new(PlaneConfig { threads, ports: 23_000..=23_999, ..config() });
        let mut peers: Vec<Peer> = [(1, Codec::Pcma), (2, Codec::Pcmu), (3, Codec::Pcma)]
            .map(|(key, codec)| story.peer(key, codec))
            .into();
        let room = RoomKey(1);
        story.send(MediaCommand::Bridge { a: peers[0].leg, b: peers[1].leg });
        for peer in &peers {
            story.send(MediaCommand::Mix { room, leg: peer.leg });
        }
        // 3264 and 6016, the same in sum for who says nothing: bytes of A-law that are exact in any sum.
        let byte = |value: i16| Law::A.encode(value);
        let heard = |peer: &Peer, codec: Codec, wanted: i32| {
            (0..500).any(|_| {
                let payload = peer.hear();
                payload
                    .iter()
                    .all(|b| (i32::from(codec.law().expect("G.711").decode(*b)) - wanted).abs() < 300)
            })
        };
        for round in 0..2 {
            for _ in 0..12 {
                peers[0].say(byte(2000));
                peers[1].say(byte(4000));
                std::hint::black_box(peers[2].hear());
            }
            assert!(heard(&peers[2], Codec::Pcma, 6000), "{threads} threads, round {round}");
            for _ in 0..12 {
                peers[2].say(byte(8000));
                peers[0].say(byte(2000));
                std::hint::black_box(peers[1].hear());
            }
            assert!(heard(&peers[1], Codec::Pcmu, 10_000), "{threads} threads, round {round}");
        }
        // One leaves, two are bridged again.
        story.close(3);
        story.send(MediaCommand::Bridge { a: peers[0].leg, b: peers[1].leg });
        let (a, b) = peers.split_at_mut(1);
        a[0].say_until(0x2a, &b[0], 0);
        b[0].say_until(0x2a, &a[0], 0x2a);
        story.close(1);
        story.close(2);
    }
}

#[test]
fn a_port_rests_and_a_full_plane_refuses() {
    let mut story = Story::new(PlaneConfig { ports: 23_000..=23_003, ..config() });
    let MediaEvent::Opened { local: first, .. } = story.open(1) else { panic!("not opened") };
    story.close(1);
    let MediaEvent::Opened { local: second, .. } = story.open(2) else { panic!("not opened") };
    assert_ne!(first, second);
    story.close(2);
    assert_eq!(story.open(3), MediaEvent::OpenFailed { leg: LegKey(3) });
    assert_eq!((story.plane.legs(), story.plane.free_ports()), (0, 2));
    let mut small = Story::new(PlaneConfig { ports: 23_004..=23_100, max_legs: 1, ..config() });
    assert!(matches!(small.open(1), MediaEvent::Opened { .. }));
    assert_eq!(small.open(2), MediaEvent::OpenFailed { leg: LegKey(2) });
    small.close(1);
    assert!(matches!(small.open(3), MediaEvent::Opened { .. }));
}

#[test]
fn a_message_is_on_the_disk_when_it_is_told_and_can_be_heard_again() {
    let directory = directory("message");
    let path = directory.join("m.wav");
    let mut story = Story::new(PlaneConfig { ports: 24_000..=24_999, ..config() });
    let mut peer = story.peer(1, Codec::Pcma);
    let leg = peer.leg;
    let (max, silence) = (Duration::from_secs(60), Some(Duration::from_secs(30)));
    let record = |take, path: &PathBuf| MediaCommand::Record {
        leg,
        take: TakeKey(take),
        path: path.clone(),
        max,
        silence,
        finish_key: Some('#'),
        normalise_lufs: None,
    };
    story.send(record(1, &path));
    for _ in 0..50 {
        peer.say(0x15);
    }
    // The key comes after all that was said.
    peer.rtp.send_to(b"\x80\x65\x00\x40\0\0\0\0\0\0\x77\x01\x0b\x8a\x01\x40", peer.leg_at).expect("sent");
    let recorded = story.wait(|e| matches!(e, MediaEvent::Recorded { .. }));
    let length = Duration::from_secs(1);
    let take = TakeKey(1);
    assert_eq!(recorded, MediaEvent::Recorded { leg, take, length, end: RecordEnd::Key, voice: true });
    // What a gateway leaves of the key's tone before it is muted with it.
    let said = [vec![Law::A.decode(0x15); 7360], vec![0; 640]].concat();
    assert_eq!(audio::read_wav(&path).expect("it plays"), said);
    story.send(MediaCommand::PlayFile { leg, play: PlayKey(8), path: path.clone() });
    assert_eq!(peer.hear_until(0x15), [0x15; 160]);
    story.wait(|e| *e == MediaEvent::PlayEnded { leg, play: PlayKey(8) });
    // A path in a directory that is not there.
    story.send(record(2, &directory.join("no/such.wav")));
    let refused = story.wait(|e| matches!(e, MediaEvent::Recorded { .. }));
    assert!(matches!(refused, MediaEvent::Recorded { take: TakeKey(2), end: RecordEnd::Disk, .. }));
    story.send(MediaCommand::Discard { path: path.clone() });
    story.send(MediaCommand::PlayFile { leg, play: PlayKey(9), path: path.clone() });
    story.wait(|e| *e == MediaEvent::PlayEnded { leg, play: PlayKey(9) });
    assert!(!path.exists());
    std::fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn a_disk_that_hangs_holds_up_no_packet_and_the_message_is_told_to_be_broken_once_it_answers() {
    let directory = directory("hangs");
    let path = directory.join("m.wav");
    // Whoever opens it to write waits until somebody reads.
    let fifo = super::writer::part_of(&path);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    let mut story = Story::new(PlaneConfig { ports: 27_000..=27_999, ..config() });
    let mut peer = story.peer(1, Codec::Pcma);
    let (leg, take) = (peer.leg, TakeKey(1));
    let (max, silence) = (Duration::from_secs(60), None);
    let record = MediaCommand::Record {
        leg,
        take,
        path: path.clone(),
        max,
        silence,
        finish_key: None,
        normalise_lufs: None,
    };
    story.send(record);
    for _ in 0..20 {
        peer.say(0x15);
    }
    story.send(MediaCommand::StopRecord { leg });
    // The clock goes on, for this leg too: a whole prompt is heard while the disk hangs.
    let clip = audio::clip("p", &[Law::A.decode(0x2a); 1600]);
    let play = PlayKey(5);
    story.send(MediaCommand::Play { leg, play, clips: vec![clip], repeat: false });
    assert_eq!(peer.hear_until(0x2a), [0x2a; 160]);
    story.wait(|e| *e == MediaEvent::PlayEnded { leg, play });
    assert!(!story.others.iter().any(|e| matches!(e, MediaEvent::Recorded { .. })), "it waits for the disk");
    let _reader = std::fs::File::open(&fifo).expect("the other end");
    let recorded = story.wait(|e| matches!(e, MediaEvent::Recorded { .. }));
    assert!(matches!(recorded, MediaEvent::Recorded { take: TakeKey(1), end: RecordEnd::Disk, .. }));
    drop(story);
    std::fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn when_the_leg_or_the_plane_ends_the_message_is_kept_first() {
    let directory = directory("kept");
    let mut story = Story::new(PlaneConfig { ports: 25_000..=25_999, ..config() });
    let mut peers = [story.peer(1, Codec::Pcma), story.peer(2, Codec::Pcma)];
    for peer in &mut peers {
        let (leg, take) = (peer.leg, TakeKey(peer.leg.0));
        let path = directory.join(format!("{leg}.wav"));
        let (max, silence) = (Duration::from_secs(60), Some(Duration::from_secs(30)));
        story.send(MediaCommand::Record {
            leg,
            take,
            path,
            max,
            silence,
            finish_key: None,
            normalise_lufs: None,
        });
        for _ in 0..50 {
            peer.say(0x15);
        }
        story.wait(|e| *e == MediaEvent::Flowing { leg });
    }
    story.close(1);
    let first = story.others.first().cloned();
    assert!(
        matches!(first, Some(MediaEvent::Recorded { leg: LegKey(1), .. })),
        "before the close: {first:?}"
    );
    drop(story.events);
    story.plane.stop();
    for name in ["1.wav", "2.wav"] {
        assert!(audio::read_wav(&directory.join(name)).is_ok_and(|samples| !samples.is_empty()), "{name}");
    }
    std::fs::remove_dir_all(directory).expect("removed");
}

/// A command that comes just when the plane goes to sleep. With no leg open nothing else would wake it.
#[test]
fn a_plane_without_legs_hears_every_command() {
    let mut story =
        Story::new(PlaneConfig { ports: 26_000..=26_999, quarantine: Duration::ZERO, ..config() });
    for key in 1..=4000 {
        let opened = story.open(key);
        assert!(matches!(opened, MediaEvent::Opened { .. }), "{opened:?}");
        story.close(key);
    }
}

#[test]
fn a_fault_in_one_legs_code_keeps_its_message_is_told_and_leaves_the_others() {
    let directory = directory("fault");
    let path = directory.join("m.wav");
    let mut story = Story::new(PlaneConfig { ports: 27_000..=27_999, ..config() });
    let mut broken = story.peer(1, Codec::Pcma);
    let leg = broken.leg;
    let (take, max) = (TakeKey(1), Duration::from_secs(60));
    story.send(MediaCommand::Record {
        leg,
        take,
        path: path.clone(),
        max,
        silence: None,
        finish_key: None,
        normalise_lufs: None,
    });
    for _ in 0..100 {
        broken.say(0x15);
    }
    story.wait(|e| *e == MediaEvent::Flowing { leg });
    story.send(MediaCommand::SendDigit { leg, digit: BREAKS, duration: Duration::from_millis(160) });
    story.wait(|e| *e == MediaEvent::Broken { leg });
    story.wait(|e| matches!(e, MediaEvent::Recorded { take: TakeKey(1), end: RecordEnd::Fault, .. }));
    story.wait(|e| matches!(e, MediaEvent::Closed { leg: LegKey(1), .. }));
    assert!(path.exists(), "what the writer had is there under its name");
    assert!(matches!(story.open(3), MediaEvent::Opened { .. }), "the thread goes on");
    std::fs::remove_dir_all(directory).expect("removed");
}
