//! Many who hear the same music, in each codec: what it costs, where they come in, and that nothing clicks.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::*;
use crate::base::id::PlayKey;
use crate::media::command::Clip;
use crate::media::outgoing::Outgoing;
use crate::media::{audio, g722, opus};

const CODECS: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];
/// Of the music, which is loud enough that a click would show.
const LEVEL: f64 = -15.0;

fn tone(name: &str, hertz: f64, millis: usize) -> Arc<Clip> {
    let samples: Vec<i16> =
        (0..8 * millis).map(|n| (9000.0 * (TAU * hertz * n as f64 / 8000.0).sin()) as i16).collect();
    audio::clip(name, &samples)
}

fn music() -> Arc<Music> {
    Arc::new(Music::new(&[tone("low", 200.0, 1013), tone("high", 300.0, 507)], LEVEL))
}

enum Decoder {
    Law(crate::media::g711::Law),
    G722(Box<g722::Decoder>),
    Opus(opus::Decoder),
}

/// One leg's outgoing sound, and what its peer's decoder makes of it.
struct Listener {
    codec: Codec,
    sound: Outgoing,
    decoder: Decoder,
    packets: Vec<Vec<u8>>,
    heard: Vec<i16>,
}

impl Listener {
    fn new(codec: Codec) -> Self {
        let decoder = match codec {
            Codec::Pcma | Codec::Pcmu => Decoder::Law(codec.law().expect("a law")),
            Codec::G722 => Decoder::G722(Box::default()),
            Codec::Opus => Decoder::Opus(opus::Decoder::new(Rate::Wide).expect("a decoder")),
        };
        Self { codec, sound: Outgoing::default(), decoder, packets: Vec::new(), heard: Vec::new() }
    }

    fn tick(&mut self, radio: &mut Radio) {
        let mut out = [0; MAX_FRAME];
        let payload = self.sound.next(self.codec, radio, &mut out).expect("something").payload.to_vec();
        let mut frame = [0; 320];
        let count = match &mut self.decoder {
            Decoder::Law(law) => {
                payload.iter().zip(&mut frame).for_each(|(byte, sample)| *sample = law.decode(*byte));
                payload.len()
            }
            Decoder::G722(decoder) => decoder.decode(&payload, &mut frame),
            Decoder::Opus(decoder) => decoder.decode(&payload, &mut frame).expect("it can be read"),
        };
        self.heard.extend(&frame[..count]);
        self.packets.push(payload);
    }

    /// Samples of 20 ms.
    fn frame(&self) -> usize {
        self.codec.rate().frame()
    }
}

fn run(radio: &mut Radio, listeners: &mut [Listener], frames: usize) {
    for _ in 0..frames {
        listeners.iter_mut().for_each(|listener| listener.tick(radio));
        radio.advance();
    }
}

fn largest_step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs()).max().unwrap_or_default()
}

#[test]
fn fifty_who_wait_cost_one_encoder_a_codec_and_hear_the_same_packets() {
    let (mut radio, music) = (Radio::default(), music());
    let mut listeners: Vec<Listener> = (0..50).flat_map(|_| CODECS.map(Listener::new)).collect();
    listeners.iter_mut().for_each(|listener| listener.sound.hold(Arc::clone(&music)));
    run(&mut radio, &mut listeners, 100);
    assert_eq!(radio.made(), 100 * CODECS.len() as u64, "each frame once a codec");
    for (at, codec) in CODECS.into_iter().enumerate() {
        let of_codec: Vec<&Listener> = listeners.iter().filter(|listener| listener.codec == codec).collect();
        assert!(of_codec.iter().all(|listener| listener.packets == listeners[at].packets), "{codec:?}");
    }
}

#[test]
fn who_hears_an_announcement_in_between_is_back_where_the_music_has_got_to() {
    for codec in CODECS {
        let (mut radio, music) = (Radio::default(), music());
        let mut both = [Listener::new(codec), Listener::new(codec)];
        both.iter_mut().for_each(|listener| listener.sound.hold(Arc::clone(&music)));
        run(&mut radio, &mut both, 40);
        both[0].sound.play(PlayKey(1), vec![tone("announcement", 500.0, 400)], false);
        run(&mut radio, &mut both, 25);
        both[0].sound.hold(Arc::clone(&music));
        run(&mut radio, &mut both, 40);
        let [one, other] = both;
        assert!(one.packets[42..60] != other.packets[42..60], "{codec:?}: the announcement");
        assert_eq!(one.packets[65 + LEAD_IN..], other.packets[65 + LEAD_IN..], "{codec:?}");
    }
}

#[test]
fn neither_coming_in_nor_the_hand_over_nor_going_out_clicks_in_any_codec() {
    for codec in CODECS {
        let (mut radio, music) = (Radio::default(), music());
        // The stream is long on its way when the second comes, and its encoder's memory is full.
        let mut both = [Listener::new(codec), Listener::new(codec)];
        both[0].sound.hold(Arc::clone(&music));
        run(&mut radio, &mut both, 30);
        both[1].sound.hold(Arc::clone(&music));
        run(&mut radio, &mut both, 30);
        both[1].sound.stop();
        run(&mut radio, &mut both, 20);
        let [steady, guest] = both;
        let frame = guest.frame();
        let loudest = largest_step(&steady.heard[15 * frame..]);
        let step = largest_step(&guest.heard);
        let steps: Vec<i32> =
            (0..20).map(|n| largest_step(&guest.heard[(4 * n) * frame..(4 * n + 4) * frame])).collect();
        println!("{codec:?}: {step} of {loudest}: {steps:?}");
        assert!(step <= loudest + loudest / 10, "{codec:?}: {step}, the music itself {loudest}");
        let level =
            |from: usize, to: usize| audio::measure(&guest.heard[from * frame..to * frame]).level_dbov;
        assert!(level(0, 30) < -60.0 && level(64, 80) < -60.0, "{codec:?}: silence before and after");
        let during = level(45, 58);
        assert!((during - LEVEL).abs() < 1.5, "{codec:?}: {during}");
        // It rises evenly, and is whole where the shared packets begin.
        assert!(level(30, 31) < level(33, 34) && (level(38, 40) - level(41, 43)).abs() < 2.0, "{codec:?}");
    }
}

#[test]
fn a_key_or_another_codec_in_between_leads_in_anew_and_the_same_music_goes_on_untouched() {
    let (mut radio, music) = (Radio::default(), music());
    let mut listener = [Listener::new(Codec::G722)];
    listener[0].sound.hold(Arc::clone(&music));
    run(&mut radio, &mut listener, 20);
    listener[0].sound.hold(Arc::clone(&music));
    run(&mut radio, &mut listener, 5);
    let shared = |radio: &mut Radio, music: &Arc<Music>| {
        radio.hear(music, Codec::G722).expect("a channel").payload().to_vec()
    };
    let mut out = [0; MAX_FRAME];
    let expected = shared(&mut radio, &music);
    let frame = listener[0].sound.next(Codec::G722, &mut radio, &mut out).expect("music");
    assert_eq!(frame.payload, expected, "no lead-in: it was heard all the time");
    assert!(listener[0].sound.tone(Codec::G722, &[0; FRAME], &mut out).is_some());
    let frame = listener[0].sound.next(Codec::G722, &mut radio, &mut out).expect("music");
    assert_ne!(frame.payload, expected, "its own encoder leads in");
    assert!(listener[0].sound.next(Codec::Opus, &mut radio, &mut out).is_some());
    assert!(listener[0].sound.is_playing());
    listener[0].sound.bridge();
    assert!(listener[0].sound.next(Codec::Opus, &mut radio, &mut out).is_some(), "it fades out");
    assert!(listener[0].sound.next(Codec::Opus, &mut radio, &mut out).is_none());
}
