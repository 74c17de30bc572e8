//! Rooms in which some can hear more than a telephone: what each hears is decoded as its own phone does, and measured
//! tone by tone.

use std::f64::consts::TAU;

use super::*;
use crate::media::codec::FRAME;
use crate::media::command::Codec;
use crate::media::encode::Encoder;
use crate::media::playout::Playout;

const LOUD: f64 = 6000.0;

/// A phone that says a tone and hears what the room sends it.
struct Phone {
    leg: LegKey,
    codec: Codec,
    hertz: f64,
    encoder: Box<Encoder>,
    ear: Box<Playout>,
    heard: Vec<i16>,
    said: usize,
    /// By which codec it heard last.
    by: Option<Codec>,
}

impl Phone {
    fn new(leg: u64, codec: Codec, hertz: f64) -> Self {
        let encoder = Box::new(Encoder::new(codec, Rate::Wide).expect("a codec"));
        let ear = Box::new(Playout::new(Rate::Wide));
        Self { leg: LegKey(leg), codec, hertz, encoder, ear, heard: Vec::new(), said: 0, by: None }
    }

    fn speaks(&mut self, codec: Codec) {
        self.codec = codec;
        *self.encoder = Encoder::new(codec, Rate::Wide).expect("a codec");
    }

    fn say(&mut self, room: &mut Room) {
        let first = self.said * Rate::Wide.frame();
        let sample = |n: usize| (LOUD * (TAU * self.hertz * (first + n) as f64 / 16_000.0).sin()) as i16;
        let tone: [i16; 2 * FRAME] = std::array::from_fn(sample);
        let mut out = [0; 400];
        let payload = self.encoder.encode(&tone, &mut out).expect("room");
        let (sequence, timestamp) = (self.said as u16, self.said as u32 * self.codec.step());
        let (source, sound) = (self.leg.0 as u32, Sound::Audio(self.codec));
        room.hear(self.leg, &Heard { source, sequence, timestamp, marker: false, sound, payload });
        self.said += 1;
    }

    fn hear(&mut self, heard: &Heard<'_>) {
        let Sound::Audio(codec) = heard.sound else { panic!("sound") };
        self.by = Some(codec);
        self.ear.push(heard);
        self.heard.extend(self.ear.pull());
    }

    /// How loud a tone is in the last so many frames, against what was said.
    fn decibels(&self, hertz: f64, frames: usize) -> f64 {
        let samples = &self.heard[self.heard.len() - frames * Rate::Wide.frame()..];
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = TAU * hertz * n as f64 / 16_000.0;
            real += f64::from(*sample) * angle.cos();
            imaginary += f64::from(*sample) * angle.sin();
        }
        let amplitude = 2.0 * real.hypot(imaginary) / samples.len() as f64;
        20.0 * (amplitude / LOUD).max(1e-6).log10()
    }
}

fn rounds(room: &mut Room, phones: &mut [Phone], count: usize) {
    for _ in 0..count {
        phones.iter_mut().for_each(|phone| phone.say(room));
        if !room.tick() {
            continue;
        }
        for place in 0..MOST_IN_A_ROOM {
            let Some((leg, heard)) = room.heard_by(place) else { break };
            if let Some(phone) = phones.iter_mut().find(|phone| phone.leg == leg) {
                phone.hear(&heard);
            }
        }
    }
}

fn together(phones: &[Phone]) -> Room {
    let mut room = Room::new(RoomKey(1));
    phones.iter().for_each(|phone| room.join(phone.leg));
    room
}

fn greatest_step(samples: &[i16]) -> u32 {
    samples.windows(2).map(|w| i32::from(w[1]).abs_diff(i32::from(w[0]))).max().unwrap_or(0)
}

#[test]
fn two_who_can_hear_each_other_in_full_width_and_a_telephone_hears_what_it_can() {
    for (one, two) in [(Codec::G722, Codec::G722), (Codec::Opus, Codec::G722), (Codec::Opus, Codec::Opus)] {
        let mut phones =
            [Phone::new(1, one, 5000.0), Phone::new(2, two, 1100.0), Phone::new(3, Codec::Pcma, 700.0)];
        let mut room = together(&phones);
        rounds(&mut room, &mut phones, 100);
        let [first, second, telephone] = &phones;
        assert_eq!([first.by, second.by, telephone.by], [Some(one), Some(two), Some(Codec::Pcma)]);
        for (whose, hears, tones) in [
            ("first", first, [(5000.0, false), (1100.0, true), (700.0, true)]),
            ("second", second, [(5000.0, true), (1100.0, false), (700.0, true)]),
            ("telephone", telephone, [(5000.0, false), (1100.0, true), (700.0, false)]),
        ] {
            for (hertz, is_heard) in tones {
                let level = hears.decibels(hertz, 50);
                let as_it_should = if is_heard { level.abs() < 1.5 } else { level < -30.0 };
                assert!(as_it_should, "{one:?}, {two:?}: the {whose} hears {hertz} Hz at {level:.1} dB");
            }
        }
        // What a telephone can't hear is not folded down to where it can.
        assert!(telephone.decibels(3000.0, 50) < -30.0, "{}", telephone.decibels(3000.0, 50));
    }
}

#[test]
fn one_alone_gets_a_telephones_width_in_its_own_codec() {
    // At 8 kHz Opus models a voice, and pure tones are none.
    for (codec, off) in [(Codec::G722, 1.5), (Codec::Opus, 3.0)] {
        let mut phones = [
            Phone::new(1, codec, 5000.0),
            Phone::new(2, Codec::Pcma, 1100.0),
            Phone::new(3, Codec::Pcmu, 700.0),
        ];
        let mut room = together(&phones);
        rounds(&mut room, &mut phones, 100);
        assert!(room.rate == Rate::Narrow && phones[0].by == Some(codec));
        let levels = [1100.0, 700.0].map(|hertz| phones[0].decibels(hertz, 50));
        assert!(levels.iter().all(|level| level.abs() < off), "{codec:?}: {levels:?}");
        assert!(phones[0].decibels(5000.0, 50) < -30.0, "not itself");
        let levels = [700.0, 3000.0].map(|hertz| phones[1].decibels(hertz, 50));
        assert!(levels[0].abs() < 1.5 && levels[1] < -30.0, "{levels:?}");
    }
}

#[test]
fn the_room_widens_with_the_second_who_can_hear_it_and_narrows_again_without_a_click_or_a_gap() {
    let mut phones = [
        Phone::new(1, Codec::G722, 5000.0),
        Phone::new(2, Codec::Pcma, 300.0),
        Phone::new(3, Codec::G722, 1100.0),
    ];
    let mut room = together(&phones[..2]);
    rounds(&mut room, &mut phones[..2], 60);
    assert_eq!(room.rate, Rate::Narrow);
    room.join(LegKey(3));
    rounds(&mut room, &mut phones, 60);
    assert!(room.rate == Rate::Wide && phones[2].decibels(5000.0, 30).abs() < 1.5);
    room.leave(LegKey(1));
    phones[1].heard.clear();
    rounds(&mut room, &mut phones, 60);
    assert_eq!(room.rate, Rate::Narrow);
    // The telephone hears the tone that stayed; its own steps at 16 kHz are 2600.
    assert!(phones[1].decibels(1100.0, 40).abs() < 1.5);
    assert!(greatest_step(&phones[1].heard) < 4000, "{}", greatest_step(&phones[1].heard));
    let quiet = phones[1].heard.windows(320).filter(|w| w.iter().all(|sample| sample.abs() < 500)).count();
    assert_eq!(quiet, 0, "20 ms without the voice");
}

#[test]
fn a_leg_that_changes_its_codec_with_each_packet_costs_a_change_ten_times_as_seldom_and_no_more() {
    let mut phones = [Phone::new(1, Codec::G722, 900.0), Phone::new(2, Codec::Pcma, 300.0)];
    let mut room = together(&phones);
    let mut changes = 0;
    let mut before = None;
    for n in 0..100 {
        phones[0].speaks(if n % 2 == 0 { Codec::Pcma } else { Codec::G722 });
        rounds(&mut room, &mut phones, 1);
        changes += usize::from(phones[0].by != before);
        before = phones[0].by;
    }
    assert!((1..=11).contains(&changes), "{changes}");
}

#[test]
fn who_comes_into_a_wide_room_is_told_by_a_tone_that_all_hear_alike() {
    let tone = crate::media::audio::join_tone();
    let mut phones = [1, 2].map(|leg| Phone::new(leg, Codec::G722, 0.0));
    let mut room = together(&phones);
    rounds(&mut room, &mut phones, 20);
    phones.iter_mut().for_each(|phone| phone.heard.clear());
    room.chime(tone);
    rounds(&mut room, &mut phones, 30);
    assert_eq!(room.rate, Rate::Wide);
    let [one, two] = &phones;
    let peak = |phone: &Phone| phone.heard.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    assert!(peak(one) > 1000 && one.heard == two.heard, "{} {}", peak(one), peak(two));
    assert!(one.heard[20 * 320..].iter().all(|sample| sample.abs() < 60), "it ends");
}

/// The leg sends what the room made as it is: no second jitter buffer, no second coding.
#[test]
fn what_a_leg_of_the_room_is_given_goes_out_untouched_and_at_once() {
    use crate::base::time::Now;
    use crate::media::command::{Origin, Payloads, Stream};
    use crate::media::leg::{MAX_PACKET, MediaLeg};

    for codec in [Codec::G722, Codec::Opus, Codec::Pcmu] {
        let now = Now::read();
        let mut leg = MediaLeg::new(now, LegKey(1), Origin { ssrc: 1, sequence: 1, timestamp: 7, cname: 1 });
        let payloads = Payloads::same_both_ways(&[(Sound::Audio(codec), 96)]);
        leg.connect(Stream { codec, payloads, ..Stream::g711(([127, 0, 0, 1], 5000).into()) });
        leg.bridge();
        let mut phones = [Phone::new(1, codec, 900.0), Phone::new(2, Codec::G722, 300.0)];
        let mut room = together(&phones);
        let (mut out, mut steps) = ([0; MAX_PACKET], Vec::new());
        for _ in 0..20 {
            phones.iter_mut().for_each(|phone| phone.say(&mut room));
            if !room.tick() {
                continue;
            }
            let (_, heard) = room.heard_by(0).expect("a member");
            let sent = leg.relay(now, &heard, &mut out).expect("at once").bytes;
            assert!(sent[12..] == *heard.payload && !heard.payload.is_empty());
            steps.push(u32::from_be_bytes([sent[4], sent[5], sent[6], sent[7]]));
            assert!(!leg.wants_tick(), "nothing waits in it");
        }
        assert!(steps.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == codec.step()), "{steps:?}");
    }
}
