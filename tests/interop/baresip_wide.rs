//! baresip with Opus and with G.722 as a counsellor's phone whose line has that codec alone, and a caller in A-law: the
//! switch decodes and encodes both ways. Each hears the tone that the other makes.

use std::f64::consts::TAU;
use std::path::Path;

use hulplijn::media::g711::Law;

use crate::baresip::{Account, USUAL, with_phone_of};
use crate::support::rtp::{FRAME, Rtp};
use crate::support::server::HELPLINE;
use crate::support::{Dialog, Sdp, prompts};

const COUNSELLOR_HERTZ: f64 = 900.0;
const CALLER_HERTZ: f64 = 500.0;

/// A-law of a tone at 8 kHz.
fn tone(hertz: f64, frames: usize) -> Vec<u8> {
    let octet = |n: usize| Law::A.encode((6000.0 * (TAU * hertz * n as f64 / 8000.0).sin()) as i16);
    (0..frames * FRAME).map(octet).collect()
}

/// Which part of the purest half second is this tone; 1 is all.
fn purest(heard: &[f64], rate: f64, hertz: f64) -> f64 {
    let part = |samples: &[f64]| {
        let (mut sine, mut cosine, mut power) = (0.0, 0.0, 1.0);
        for (n, value) in samples.iter().enumerate() {
            let angle = TAU * hertz * n as f64 / rate;
            sine += value * angle.sin();
            cosine += value * angle.cos();
            power += value * value;
        }
        2.0 * (sine * sine + cosine * cosine) / samples.len() as f64 / power
    };
    let length = (rate / 2.0) as usize;
    heard.windows(length).step_by(length / 10).map(part).fold(0.0, f64::max)
}

/// The first channel of a recording, and its rate.
fn read(path: &Path) -> (Vec<f64>, f64) {
    let mut wav = hound::WavReader::open(path).expect("a WAV");
    let spec = wav.spec();
    let samples = wav.samples::<i16>().step_by(usize::from(spec.channels));
    (samples.map(|s| f64::from(s.expect("a sample"))).collect(), f64::from(spec.sample_rate))
}

fn at_the_caller(ear: &Rtp) -> f64 {
    let audio = ear.audio();
    // The last second is enough, whatever was heard before.
    let last = &audio[audio.len().saturating_sub(8000)..];
    let samples: Vec<f64> = last.iter().map(|octet| f64::from(prompts::linear(*octet))).collect();
    purest(&samples, 8000.0, COUNSELLOR_HERTZ)
}

/// Rates of what baresip decodes differ by codec; that is how one sees which one it had.
fn hear_each_other(codec: &str, rate: f64) {
    let line = format!("name = \"anna\"\ncodecs = [\"{codec}\"]\n");
    let helpline = HELPLINE.replacen("name = \"anna\"\n", &line, 1);
    let says = || tone(COUNSELLOR_HERTZ, 1500);
    let (server, phone) = with_phone_of(&helpline, &Account { codecs: codec, says, ..USUAL });
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (mut dialog, to) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    caller.stay_until(to, "the counsellor's tone", |ear| at_the_caller(ear) > 0.95);
    caller.say(to, &tone(CALLER_HERTZ, 150));
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="joined"}"#, 1.0);
    let recordings = phone.recordings();
    let heard = recordings.iter().map(|path| read(path)).map(|(samples, of)| {
        assert!((of - rate).abs() < 1.0, "{codec}: {of} Hz");
        purest(&samples, of, CALLER_HERTZ)
    });
    let heard = heard.fold(0.0, f64::max);
    assert!(heard > 0.95, "{codec}: {heard:.3} of what the counsellor hears is the caller's tone");
}

#[test]
fn a_counsellor_with_opus_and_a_caller_in_a_law_hear_each_other() {
    hear_each_other("opus", 48_000.0);
}

#[test]
fn a_counsellor_with_g722_and_a_caller_in_a_law_hear_each_other() {
    hear_each_other("g722", 16_000.0);
}
