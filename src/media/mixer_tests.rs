use std::net::SocketAddr;

use super::*;
use crate::base::time::Now;
use crate::media::audio;
use crate::media::codec::FRAME;
use crate::media::command::{Codec, Origin, Stream};
use crate::media::g711::Law;
use crate::media::leg::{Datagram, MAX_PACKET, MediaLeg, TICK};
use crate::media::rtp::Sender;

const ROOM: RoomKey = RoomKey(3);

/// Each says a steady value, so that a sum says who is in it.
struct Table {
    room: Room,
    /// What each leg says in this round.
    says: Vec<(LegKey, Codec, i16)>,
    round: u32,
    /// What each has heard.
    heard: Vec<(LegKey, Vec<i16>)>,
}

impl Table {
    fn new(says: &[(u64, Codec, i16)]) -> Self {
        let says: Vec<_> = says.iter().map(|(leg, codec, value)| (LegKey(*leg), *codec, *value)).collect();
        let mut room = Room::new(ROOM);
        says.iter().for_each(|(leg, _, _)| room.join(*leg));
        Self { room, says, round: 0, heard: Vec::new() }
    }

    fn rounds(&mut self, count: u32) -> &mut Self {
        for _ in 0..count {
            for (leg, codec, value) in &self.says {
                let payload = [codec.law().expect("G.711").encode(*value); FRAME];
                let timestamp = self.round * FRAME as u32;
                let sound = Sound::Audio(*codec);
                let heard = Heard {
                    source: leg.0 as u32,
                    sequence: 0,
                    timestamp,
                    marker: false,
                    sound,
                    payload: &payload,
                };
                self.room.hear(*leg, &heard);
            }
            self.round += 1;
            if self.room.tick() {
                (0..MOST_IN_A_ROOM).for_each(|place| self.take(place));
            }
        }
        self
    }

    fn take(&mut self, place: usize) {
        let Some((leg, heard)) = self.room.heard_by(place) else { return };
        let Sound::Audio(codec) = heard.sound else { panic!("sound") };
        let samples = heard.payload.iter().map(|byte| codec.law().expect("G.711").decode(*byte));
        match self.heard.iter_mut().find(|(key, _)| *key == leg) {
            Some((_, all)) => all.extend(samples),
            None => self.heard.push((leg, samples.collect())),
        }
    }

    fn heard(&self, leg: u64) -> &[i16] {
        self.heard.iter().find(|(key, _)| *key == LegKey(leg)).map_or(&[], |(_, all)| all)
    }

    fn last(&self, leg: u64) -> i16 {
        self.heard(leg).last().copied().unwrap_or_default()
    }
}

fn near(one: i16, other: i32) -> bool {
    // A step of G.711, twice.
    (i32::from(one) - other).abs() <= 16 + other.abs() / 16
}

fn greatest_step(samples: &[i16]) -> u32 {
    samples.windows(2).map(|w| i32::from(w[1]).abs_diff(i32::from(w[0]))).max().unwrap_or(0)
}

#[test]
fn each_hears_all_but_itself_in_either_law() {
    let values =
        [(1, Codec::Pcma, 1000), (2, Codec::Pcmu, 2000), (3, Codec::Pcma, -4000), (4, Codec::Pcmu, 8000)];
    for count in 1..=values.len() {
        let mut table = Table::new(&values[..count]);
        table.rounds(10);
        let sum: i32 = values[..count].iter().map(|(_, _, value)| i32::from(*value)).sum();
        for (leg, _, own) in &values[..count] {
            let expected = sum - i32::from(*own);
            assert!(near(table.last(*leg), expected), "{leg} of {count}: {} {expected}", table.last(*leg));
        }
    }
}

#[test]
fn loud_voices_are_pressed_together_and_never_turn_over() {
    for (sum, expected) in [(0, 0), (24_576, 24_576), (-20_000, -20_000)] {
        assert_eq!(softened(sum), expected);
    }
    let curve: Vec<i16> = (0..8 * 32_768).step_by(100).map(softened).collect();
    assert!(curve.windows(2).all(|w| w[1] >= w[0] && w[1] - w[0] <= 100), "it only grows, and never faster");
    assert_eq!(softened(-200_000), -softened(200_000));
    let loud: Vec<_> = (1..=8).map(|leg| (leg, Codec::Pcma, 30_000)).collect();
    let mut table = Table::new(&loud);
    table.rounds(10);
    assert!((1..=8).all(|leg| table.last(leg) > 30_000));
}

#[test]
fn a_ninth_finds_no_place_and_who_comes_twice_is_heard_once() {
    let mut table = Table::new(&(1..=9).map(|leg| (leg, Codec::Pcma, 1000)).collect::<Vec<_>>());
    table.room.join(LegKey(1));
    table.rounds(10);
    assert_eq!((table.room.legs().count(), table.heard.len()), (8, 8));
    assert!(near(table.last(1), 7000) && table.heard(9).is_empty());
}

#[test]
fn who_comes_and_goes_makes_no_click_and_the_others_hear_no_gap() {
    let mut table = Table::new(&[(1, Codec::Pcma, 6000), (2, Codec::Pcma, 6000)]);
    table.rounds(10);
    let third = (LegKey(3), Codec::Pcma, 9000);
    table.room.join(third.0);
    table.says.push(third);
    table.rounds(10);
    assert!(near(table.last(1), 15_000));
    table.room.leave(third.0);
    table.rounds(10);
    assert!(near(table.last(1), 6000) && near(table.last(2), 6000));
    // The slope of 9000 over 8 ms, and a step of G.711.
    assert!(greatest_step(&table.heard(1)[FRAME..]) < 9000 / 64 + 600, "{}", greatest_step(table.heard(1)));
    assert!(table.heard(1)[FRAME..].iter().all(|sample| *sample > 5500), "no gap");
    assert_eq!(table.heard(3).len(), 10 * FRAME, "who comes in hears at once");
    assert!(near(table.heard(3)[0], 12_000));
    for leg in [1, 2] {
        table.room.leave(LegKey(leg));
    }
    assert!(table.room.is_empty());
}

#[test]
fn a_leg_that_sends_nothing_costs_only_itself() {
    let mut table = Table::new(&[(1, Codec::Pcma, 1000), (2, Codec::Pcma, 2000), (3, Codec::Pcma, 4000)]);
    table.rounds(10);
    table.says.pop();
    table.rounds(10);
    assert!(near(table.last(1), 2000) && near(table.last(2), 1000));
    assert!(near(table.last(3), 3000), "it still hears");
}

#[test]
fn keys_and_comfort_noise_are_no_sound() {
    let mut table = Table::new(&[(1, Codec::Pcma, 1000), (2, Codec::Pcma, 2000)]);
    for sound in [Sound::Key { clock: 8000 }, Sound::Noise] {
        let heard =
            Heard { source: 1, sequence: 0, timestamp: 0, marker: true, sound, payload: &[0x55; FRAME] };
        table.room.hear(LegKey(1), &heard);
        table.room.hear(LegKey(77), &heard);
    }
    table.rounds(10);
    assert!(near(table.last(2), 1000));
}

#[test]
fn a_room_of_silent_legs_begins_all_the_same() {
    let mut room = Room::new(ROOM);
    room.join(LegKey(1));
    let sends: Vec<bool> = (0..4).map(|_| room.tick()).collect();
    assert_eq!(sends, [false, false, true, true]);
}

#[test]
fn all_hear_who_comes_and_who_leaves_and_the_tones_differ() {
    let power =
        |samples: &[i16]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64;
    let (join, leave) = (audio::join_tone(), audio::leave_tone());
    assert_ne!(join.pcma, leave.pcma);
    let mut levels = Vec::new();
    for tone in [join, leave] {
        assert!(tone.duration().as_millis() <= 250);
        let mut table = Table::new(&[(1, Codec::Pcma, 0), (2, Codec::Pcma, 0), (3, Codec::Pcma, 0)]);
        table.rounds(5);
        table.room.chime(tone);
        table.rounds(20);
        assert!((2..=3).all(|leg| table.heard(leg) == table.heard(1)));
        levels.push(power(&table.heard(1)[5 * FRAME..14 * FRAME]));
        assert!(table.heard(1)[17 * FRAME..].iter().all(|sample| sample.abs() <= 40), "it ends");
    }
    assert!(levels[0] > 1.5 * levels[1], "who leaves is told more softly: {levels:?}");
}

/// Two legs whose peers say a tone each, now bridged and now in a room.
struct Two {
    now: Now,
    legs: [MediaLeg; 2],
    peers: [(SocketAddr, Sender); 2],
    said: u32,
    /// What the peer of the second leg hears.
    heard: Vec<i16>,
}

impl Two {
    fn new() -> Self {
        let now = Now::read();
        let origin = |n: u32| Origin { ssrc: n, sequence: 1, timestamp: 7, cname: 1 };
        let remote = |n: u16| SocketAddr::from(([127, 0, 0, 1], 5000 + n));
        let leg = |n: u16| {
            let mut leg = MediaLeg::new(now, LegKey(n.into()), origin(n.into()));
            leg.connect(Stream { remote_rtcp: remote(n), ..Stream::g711(remote(n)) });
            leg.bridge();
            leg
        };
        let peer = |n: u16| (remote(n), Sender::new(origin(u32::from(n) + 90)));
        Self { now, legs: [leg(1), leg(2)], peers: [peer(1), peer(2)], said: 0, heard: Vec::new() }
    }

    /// 20 ms: both peers send, and what the second leg's hears is kept.
    fn round(&mut self, mut room: Option<&mut Room>) {
        let mut out = [0; MAX_PACKET];
        for (index, hertz) in [(0, 200.0), (1, 300.0)] {
            let sample = |n: usize| {
                let time = f64::from(self.said * FRAME as u32 + n as u32) / 8000.0;
                Law::A.encode((9000.0 * (std::f64::consts::TAU * hertz * time).sin()) as i16)
            };
            let payload: [u8; FRAME] = std::array::from_fn(sample);
            let (from, sender) = &mut self.peers[index];
            let mut packet = [0; MAX_PACKET];
            let length = sender.write(&mut packet, 8, &payload, FRAME as u32).expect("room").len();
            let Some(heard) = self.legs[index].handle_rtp(self.now, *from, &mut packet[..length]) else {
                continue;
            };
            if let Some(room) = &mut room {
                room.hear(LegKey(index as u64 + 1), &heard);
            } else {
                let sent = self.legs[1 - index].relay(self.now, &heard, &mut out);
                keep(&mut self.heard, index == 0, sent.as_ref());
            }
        }
        if let Some(room) = room
            && room.tick()
        {
            for index in 0..2 {
                let (_, heard) = room.heard_by(index).expect("a member");
                let sent = self.legs[index].relay(self.now, &heard, &mut out);
                keep(&mut self.heard, index == 1, sent.as_ref());
            }
        }
        self.said += 1;
        self.now = self.now.plus(TICK);
    }
}

fn keep(heard: &mut Vec<i16>, is_wanted: bool, sent: Option<&Datagram<'_>>) {
    if let Some(sent) = sent.filter(|_| is_wanted) {
        heard.extend(sent.bytes.iter().skip(12).map(|byte| Law::A.decode(*byte)));
    }
}

#[test]
fn from_a_bridge_into_a_room_and_back_there_is_neither_a_gap_nor_a_click() {
    let mut two = Two::new();
    (0..20).for_each(|_| two.round(None));
    let bridged = two.heard.len();
    let mut room = Room::new(ROOM);
    room.join(LegKey(1));
    room.join(LegKey(2));
    (0..20).for_each(|_| two.round(Some(&mut room)));
    let mixed = two.heard.len();
    (0..20).for_each(|_| two.round(None));
    // The room begins a packet later, and what it held then is what is left out at its end.
    assert!(mixed - bridged >= 18 * FRAME && two.heard.len() - mixed == 20 * FRAME, "{bridged} {mixed}");
    // The tone's own steps are 1414 and those of A-law at its peak 512.
    assert!(greatest_step(&two.heard) < 2000, "{}", greatest_step(&two.heard));
    let gap = two.heard.windows(40).filter(|w| w.iter().all(|sample| sample.abs() < 200)).count();
    assert_eq!(gap, 0);
}
