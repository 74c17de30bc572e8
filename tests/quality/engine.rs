//! Caller ↔ line in every codec pair, through the engines of both legs in virtual time: what a busy machine does to a
//! switch that transcodes many calls at once is no matter here, and a seed gives one history.

use std::net::SocketAddr;
use std::time::Duration;

use hulplijn::base::id::LegKey;
use hulplijn::base::time::Now;
use hulplijn::media::command::{Codec as Spoken, Origin, Payloads, Sound, Stream};
use hulplijn::media::leg::{MAX_CONTROL, MAX_PACKET, MediaLeg, TICK};

use super::codec::Codec;
use super::joined::words;
use super::marks::{Heard, Take, Try, hold};
use super::support::way::Way;
use super::{BAD, CLEAR, CLEAR_AFTER_WIDE, CONCEALED, CONCEALED_AFTER_WIDE, speech};

#[test]
fn each_codec_pair_keeps_speech_as_it_was_and_what_is_lost_where_we_decode_is_concealed() {
    let dir = tempfile::tempdir().expect("a folder");
    hold(dir.path(), || {
        let takes: Vec<Take> = std::thread::scope(|scope| {
            let calls: Vec<_> = rows().into_iter().map(|row| scope.spawn(move || talk(row))).collect();
            calls.into_iter().flat_map(|call| call.join().expect("a call")).collect()
        });
        Try { takes, held_up: Duration::ZERO }
    });
}

/// The codecs of both sides, and how their packets come.
type Row = (Codec, Codec, Way);

/// Once more over a bad network where we decode, and so conceal. What passes as it is, the phone at the other end mends.
fn rows() -> Vec<Row> {
    let pairs = || Codec::ALL.iter().flat_map(|a| Codec::ALL.iter().map(move |b| (*a, *b)));
    let pairs = || pairs().filter(|(a, b)| (*a as u8) <= (*b as u8));
    let clear = pairs().map(|(a, b)| (a, b, Way::default()));
    let decoded = pairs().filter(|(a, b)| a != b && !(a.is_g711() && b.is_g711()));
    clear.chain(decoded.map(|(a, b)| (a, b, BAD))).collect()
}

/// The least mark of one direction.
fn least(from: Codec, to: Codec, way: Way) -> f64 {
    let untouched = from == to || (from.is_g711() && to.is_g711());
    let lossy = way.loss > 0;
    match (untouched || (lossy && from.is_g711()), lossy) {
        (true, false) => CLEAR,
        (true, true) => CONCEALED,
        (false, false) => CLEAR_AFTER_WIDE,
        (false, true) => CONCEALED_AFTER_WIDE,
    }
}

/// One leg, and what its peer heard: timestamps and payloads.
struct Side {
    leg: MediaLeg,
    codec: Codec,
    peer: SocketAddr,
    heard: Vec<(u32, Vec<u8>)>,
}

impl Side {
    fn new(now: Now, key: u64, codec: Codec) -> Self {
        let peer = SocketAddr::from(([192, 0, 2, key as u8], 4000));
        let origin = Origin { ssrc: key as u32, sequence: 65_000, timestamp: u32::MAX - 9000, cname: key };
        let mut leg = MediaLeg::new(now, LegKey(key), origin);
        leg.connect(Stream {
            remote_rtcp: SocketAddr::new(peer.ip(), 4001),
            codec: spoken(codec),
            payloads: Payloads::same_both_ways(&[(Sound::Audio(spoken(codec)), codec.payload_type())]),
            ..Stream::g711(peer)
        });
        leg.bridge();
        Self { leg, codec, peer, heard: Vec::new() }
    }

    fn hear(&mut self, packet: &[u8]) {
        let timestamp = u32::from_be_bytes(packet[4..8].try_into().expect("a header"));
        self.heard.push((timestamp, packet[12..].to_vec()));
    }

    /// Each payload where its timestamp puts it.
    fn placed(&self) -> Vec<Vec<u8>> {
        let (first, step) = (self.heard[0].0, self.codec.step());
        let mut placed = Vec::new();
        for (timestamp, payload) in &self.heard {
            let at = (timestamp.wrapping_sub(first).wrapping_add(step / 2) / step) as usize;
            assert!(at < 50 * 60, "a timestamp jumps");
            placed.resize((at + 1).max(placed.len()), Vec::new());
            placed[at].clone_from(payload);
        }
        placed
    }
}

fn spoken(codec: Codec) -> Spoken {
    match codec {
        Codec::Pcma => Spoken::Pcma,
        Codec::Pcmu => Spoken::Pcmu,
        Codec::G722 => Spoken::G722,
        Codec::Opus => Spoken::Opus,
    }
}

fn packet(codec: Codec, index: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, codec.payload_type()];
    bytes.extend((index as u16).to_be_bytes());
    bytes.extend((index as u32 * codec.step()).to_be_bytes());
    bytes.extend(77u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Both speak at once; what each heard.
fn talk((a, b, way): Row) -> Vec<Take> {
    let begin = Now::read();
    let mut sides = [Side::new(begin, 1, a), Side::new(begin, 2, b)];
    let said = [a, b].map(words);
    let mut coming: Vec<(Duration, usize, usize)> = Vec::new();
    for (side, words) in said.iter().enumerate() {
        coming.extend(way.schedule(words.len()).into_iter().map(|(at, index)| (at, side, index)));
    }
    coming.sort();
    let mut coming = coming.into_iter().peekable();
    let mut out = [0; MAX_PACKET];
    for tick in 0..said[0].len() as u32 + 20 {
        let now = begin.plus(TICK * tick);
        while let Some((at, from, index)) = coming.next_if(|(at, ..)| *at <= TICK * tick) {
            let mut bytes = packet(sides[from].codec, index, &said[from][index]);
            let [first, second] = &mut sides;
            let (ours, other) = if from == 0 { (first, second) } else { (second, first) };
            let now = begin.plus(at);
            if let Some(heard) = ours.leg.handle_rtp(now, ours.peer, &mut bytes)
                && let Some(sent) = other.leg.relay(now, &heard, &mut out).map(|d| d.bytes.to_vec())
            {
                other.hear(&sent);
            }
        }
        for side in &mut sides {
            if side.leg.wants_tick()
                && let Some(sent) = side.leg.tick(now, &mut out).map(|d| d.bytes.to_vec())
            {
                side.hear(&sent);
            }
            if tick % 10 == 0 {
                let _ = side.leg.look(now, &mut [0; MAX_CONTROL]);
            }
            while side.leg.poll_event().is_some() {}
        }
    }
    let take = |from: Codec, to: &Side| {
        let what = format!("{from:?} -> {:?}, {way:?}", to.codec);
        Take {
            what,
            said: speech(),
            heard: Heard::Payloads(to.codec, to.placed()),
            least: least(from, to.codec, way),
        }
    };
    vec![take(a, &sides[1]), take(b, &sides[0])]
}
