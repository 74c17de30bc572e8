//! Legs whose codecs have a memory: what is played to them, what crosses to a leg of another codec, what is recorded.

use super::tests::{CALLER, PHONE, Read, Story, packet, stream};
use super::*;
use crate::media::audio;
use crate::media::codec::Rate;
use crate::media::command::{Codec, Payloads};
use crate::media::encode::Encoder;
use crate::media::playout::Playout;

const OPUS: u8 = 96;
const ALL: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];

fn number(codec: Codec) -> u8 {
    match codec {
        Codec::Pcma => 8,
        Codec::Pcmu => 0,
        Codec::G722 => 9,
        Codec::Opus => OPUS,
    }
}

fn connect(leg: &mut MediaLeg, remote: &str, codec: Codec, noise: bool) {
    let keys = Sound::Key { clock: codec.clock() };
    let mut list: Vec<(Sound, u8)> = ALL.map(|codec| (Sound::Audio(codec), number(codec))).to_vec();
    list.push((keys, 101));
    list.extend(noise.then_some((Sound::Noise, 13)));
    leg.connect(Stream { payloads: Payloads::same_both_ways(&list), ..stream(remote, codec) });
}

/// A caller and a phone.
fn story(caller: Codec, phone: Codec, noise: bool) -> Story {
    let mut story = Story::new();
    connect(&mut story.a.leg, CALLER, caller, noise);
    connect(&mut story.b.leg, PHONE, phone, noise);
    story
}

fn tone(frames: usize) -> Vec<i16> {
    let angle = |n: usize| std::f64::consts::TAU * 700.0 * n as f64 / 8000.0;
    (0..160 * frames).map(|n| (6000.0 * angle(n).sin()) as i16).collect()
}

/// What a phone hears of these packets, at 8 kHz.
fn decoded(codec: Codec, sent: &[Read]) -> Vec<i16> {
    let mut playout = Playout::new(Rate::Narrow);
    let mut out = Vec::new();
    for read in sent {
        let Read { sequence, timestamp, marker, payload, .. } = read;
        let sound = if read.kind == 13 { Sound::Noise } else { Sound::Audio(codec) };
        playout.push(&Heard {
            source: 1,
            sequence: *sequence,
            timestamp: *timestamp,
            marker: *marker,
            sound,
            payload,
        });
        out.extend_from_slice(playout.pull());
    }
    out
}

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

fn assert_steps(sent: &[Read], codec: Codec) {
    for pair in sent.windows(2) {
        let step = (
            pair[1].sequence.wrapping_sub(pair[0].sequence),
            pair[1].timestamp.wrapping_sub(pair[0].timestamp),
        );
        assert_eq!(step, (1, codec.step()), "{codec:?}");
        assert_eq!(pair[1].kind, number(codec));
    }
}

/// The caller says a tone in its codec; what the phone was sent meanwhile.
fn say(story: &mut Story, codec: Codec, frames: usize) -> Vec<Read> {
    say_from(story, codec, 10, frames)
}

/// The same from the so-manieth packet on.
fn say_from(story: &mut Story, codec: Codec, first: u16, frames: usize) -> Vec<Read> {
    let mut encoder = Encoder::new(codec, Rate::Narrow).expect("a codec");
    let mut out = [0; 1400];
    story.b.take_sent();
    for (n, frame) in tone(frames).chunks(160).enumerate() {
        let payload = encoder.encode(frame, &mut out).expect("room");
        let sequence = first + n as u16;
        let bytes = packet(number(codec), sequence, 5000 + u32::from(sequence) * codec.step(), payload);
        story.hear_a(CALLER, &bytes);
        story.tick(1);
    }
    story.b.take_sent()
}

#[test]
fn a_prompt_and_its_end_are_heard_in_every_codec_with_the_clock_of_the_codec() {
    for codec in ALL {
        let mut story = story(codec, codec, false);
        story.tick(5);
        story.a.take_sent();
        let whole = tone(25);
        let (first, second) = whole.split_at(whole.len() / 2 + 37);
        let clips = vec![audio::clip("first", first), audio::clip("second", second)];
        story.a.leg.play(PlayKey(4), clips, false);
        story.tick(40);
        let sent = story.a.take_sent();
        assert_steps(&sent, codec);
        let heard = decoded(codec, &sent);
        let loud = rms(&heard[160 * 10..160 * 20]) / rms(&tone(10));
        assert!((0.85..1.15).contains(&loud), "{codec:?}: {loud}");
        assert!(rms(&heard[160 * 33..]) < 100.0, "{codec:?} is silent after the end");
        let ends: Vec<MediaEvent> = std::iter::from_fn(|| story.a.leg.poll_event()).collect();
        assert!(ends.contains(&MediaEvent::PlayEnded { leg: LegKey(1), play: PlayKey(4) }));
        // Where one clip follows the other there is no step that the tone itself has not.
        let step = heard[160 * 10..160 * 20].windows(2).map(|w| w[1].abs_diff(w[0])).max().expect("samples");
        assert!(step < 5500, "{codec:?}: {step}");
    }
}

#[test]
fn the_same_codec_passes_untouched_and_every_other_is_transcoded() {
    for from in ALL {
        for to in ALL {
            let mut story = story(from, to, false);
            story.bridge();
            story.tick(2);
            let sent = say(&mut story, from, 40);
            assert!(sent.len() >= 39, "{from:?} {to:?}: {}", sent.len());
            assert_steps(&sent, to);
            let heard = decoded(to, &sent);
            let loud = rms(&heard[160 * 15..160 * 35]) / rms(&tone(20));
            assert!((0.85..1.15).contains(&loud), "{from:?} {to:?}: {loud}");
            if from == to {
                let mut encoder = Encoder::new(from, Rate::Narrow).expect("a codec");
                let mut out = [0; 1400];
                let first = encoder.encode(&tone(1), &mut out).expect("room");
                assert_eq!(sent[0].payload, first, "{from:?} is touched");
            }
        }
    }
}

#[test]
fn a_phone_that_changes_its_codec_is_heard_on() {
    let mut story = story(Codec::Pcma, Codec::Opus, false);
    story.bridge();
    say(&mut story, Codec::Pcma, 20);
    connect(&mut story.b.leg, PHONE, Codec::Pcma, false);
    let sent = say_from(&mut story, Codec::Pcma, 30, 20);
    assert!(sent.len() >= 20 && sent[1..].iter().all(|r| r.kind == 8), "{}", sent.len());
    assert!(rms(&decoded(Codec::Pcma, &sent)[160 * 8..]) > 3000.0);
}

#[test]
fn rfc3389_comfort_noise_passes_to_who_has_it_and_is_made_for_who_has_not() {
    for (agreed, to) in [(true, Codec::Pcma), (false, Codec::Pcma), (true, Codec::Opus)] {
        let mut story = story(Codec::Pcma, to, true);
        connect(&mut story.b.leg, PHONE, to, agreed);
        story.bridge();
        say(&mut story, Codec::Pcma, 20);
        story.hear_a(CALLER, &packet(13, 30, 5000 + 30 * 160, &[40]));
        story.tick(15);
        let sent = story.b.take_sent();
        if agreed && to == Codec::Pcma {
            assert_eq!((sent.len(), sent[0].kind, &sent[0].payload[..]), (1, 13, &[40u8][..]));
            continue;
        }
        let noise = rms(&decoded(to, &sent)[160 * 9..]);
        assert!((150.0..700.0).contains(&noise), "{to:?} {agreed}: {noise}");
        // The caller speaks again.
        let sent = say_from(&mut story, Codec::Pcma, 46, 20);
        assert!(rms(&decoded(to, &sent)[160 * 8..]) > 3000.0);
    }
}

#[test]
fn a_message_is_recorded_from_every_codec() {
    for codec in ALL {
        let mut story = story(codec, codec, false);
        story.a.leg.record(story.now, TakeKey(1), Duration::from_secs(60), None, None);
        say(&mut story, codec, 100);
        story.a.leg.stop_record();
        let mut kept = Vec::new();
        while let Some(output) = story.a.leg.poll_take() {
            if let TakeOutput::Samples { samples, .. } = output {
                kept.extend(samples);
            }
        }
        assert!((98 * 160..=101 * 160).contains(&kept.len()), "{codec:?}: {}", kept.len());
        let loud = rms(&kept[160 * 10..160 * 90]) / rms(&tone(80));
        assert!((0.85..1.15).contains(&loud), "{codec:?}: {loud}");
    }
}

#[test]
fn keys_cross_while_the_voice_is_transcoded() {
    let mut story = story(Codec::Pcma, Codec::G722, false);
    story.bridge();
    say(&mut story, Codec::Pcma, 10);
    for (n, (end, duration)) in [(0u8, 160u16), (0, 320), (0x80, 480)].iter().enumerate() {
        let [high, low] = duration.to_be_bytes();
        let key = packet(101, 20 + n as u16, 5000 + 20 * 160, &[5, end | 0x0a, high, low]);
        story.hear_a(CALLER, &key);
        story.tick(1);
    }
    let sent = story.b.take_sent();
    assert_eq!(sent.iter().filter(|r| r.kind == 101 && r.payload[0] == 5).count(), 3);
}
