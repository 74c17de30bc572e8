//! Three together, two of whom have phones with G.722: those two hear each other in its full width, and the third, by
//! G.711, what a telephone can. By sockets; each says a tone of its own. Packet by packet: `media/mixer_wide_tests`.

mod support;

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hulplijn::media::command::Codec;
use hulplijn::media::encode::Encoder;
use hulplijn::media::g711::Law;
use hulplijn::media::g722::Decoder;
use support::server::HELPLINE;
use support::{Algorithm, Challenge, Dialog, PATIENCE, Peer, Registration, Rtp, Sdp, Site};

const LOUD: f64 = 6000.0;
/// What the caller, the counsellor and the third say. The first is beyond a telephone.
const TONES: [f64; 3] = [5000.0, 1100.0, 700.0];
const TICK: Duration = Duration::from_millis(20);
/// Packets of a window: 200 ms, in which each tone has whole periods.
const WINDOW: usize = 10;

/// Who says a tone and hears.
struct Voice {
    rtp: Rtp,
    to: SocketAddr,
    codec: Codec,
    hertz: f64,
    encoder: Encoder,
    said: usize,
}

impl Voice {
    fn new(rtp: Rtp, to: SocketAddr, codec: Codec, hertz: f64) -> Self {
        let encoder = Encoder::new(codec, codec.rate()).expect("a codec");
        Self { rtp, to, codec, hertz, encoder, said: 0 }
    }

    fn say(&mut self) {
        let (length, rate) = (self.codec.rate().frame(), f64::from(self.codec.rate().hertz()));
        let sample = |n: usize| {
            let at = (self.said * length + n) as f64;
            (LOUD * (TAU * self.hertz * at / rate).sin()) as i16
        };
        let frame: Vec<i16> = (0..length).map(sample).collect();
        let mut out = [0; 400];
        let payload = self.encoder.encode(&frame, &mut out).expect("room").to_vec();
        self.rtp.send(self.to, &payload);
        self.said += 1;
    }

    /// The tones of each window of what was heard.
    fn windows(&self) -> Vec<[bool; 3]> {
        let mut decoder = Decoder::default();
        let packets = self.rtp.heard.iter().filter(|packet| packet.payload_type == self.rtp.payload_type);
        let frames = packets.map(|packet| {
            if let Some(law) = self.codec.law() {
                return packet.payload.iter().map(|byte| law.decode(*byte)).collect();
            }
            let mut out = vec![0; 2 * packet.payload.len()];
            decoder.decode(&packet.payload, &mut out);
            out
        });
        let frames: Vec<Vec<i16>> = frames.collect();
        let rate = f64::from(self.codec.rate().hertz());
        let heard =
            |window: &[Vec<i16>]| TONES.map(|hertz| amplitude(&window.concat(), hertz, rate) > LOUD / 2.0);
        frames.chunks_exact(WINDOW).map(heard).collect()
    }
}

fn amplitude(samples: &[i16], hertz: f64, rate: f64) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = TAU * hertz * n as f64 / rate;
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    2.0 * real.hypot(imaginary) / samples.len() as f64
}

/// All speak and hear at a telephone's pace until it is so.
fn talk(voices: &mut [&mut Voice], mut is_so: impl FnMut(&[&mut Voice]) -> bool) {
    let (mut due, deadline) = (Instant::now(), Instant::now() + PATIENCE);
    while !is_so(voices) {
        assert!(Instant::now() < deadline, "what was waited for was not heard");
        due += TICK;
        voices.iter_mut().for_each(|voice| voice.say());
        for voice in voices.iter_mut() {
            while voice.rtp.hear(Instant::now() + Duration::from_millis(1)) {}
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Anna's phone calls 106, which answers; where each is to send its audio.
fn ask(anna: &mut Peer, third: &mut Peer, sdp: &Sdp, third_sdp: &Sdp) -> (Dialog, SocketAddr, SocketAddr) {
    let mut dialog = Dialog::to(anna, "106");
    anna.send(&dialog.invite(sdp));
    let refusal = dialog.await_final(anna, "INVITE");
    assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
    anna.send(&dialog.ack_refusal(&refusal));
    let mut challenge = Challenge::of(&refusal, Algorithm::Sha256);
    let proof = challenge.answer("INVITE", &dialog.target, "anna", "geheim-anna");
    anna.send(&dialog.request("INVITE", &[&proof, "Content-Type: application/sdp"], &sdp.text()));
    let (_, _, third_to) = Dialog::answer(third, third_sdp);
    let answer = dialog.await_final(anna, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    dialog.learn(&answer);
    anna.send(&dialog.ack(None));
    (dialog, Sdp::address(answer.body()), third_to)
}

#[test]
fn two_with_g722_and_a_telephone_hear_each_other_each_as_well_as_it_can() {
    let codecs = "[helpline]\ncodecs = [\"g722\", \"pcma\", \"pcmu\"]";
    let server = Site::new(&HELPLINE.replace("[helpline]", codecs)).start();
    let (mut carrier, mut third, mut anna) =
        (server.carrier_on_another_port(), server.carrier(), server.phone(4));
    Registration::new(&anna, "anna", "geheim-anna").succeed(&mut anna, Algorithm::Sha256);
    let mut ears = [2, 4, 2].map(|last| Rtp::bind(server.place().host(last)));
    (ears[0].payload_type, ears[1].payload_type) = (9, 9);
    let wide = |rtp: &Rtp| Sdp { codecs: "9", ..Sdp::pcma(rtp.local) };
    let (mut dialog, to) = Dialog::call(&mut carrier, "1712", &wide(&ears[0]));
    let (desk, _, _) = Dialog::answer(&mut anna, &wide(&ears[1]));
    server.wait_log("event=\"joined\"");
    let (mut asking, asking_to, third_to) =
        ask(&mut anna, &mut third, &wide(&ears[1]), &Sdp::pcma(ears[2].local));
    let [caller_ear, anna_ear, third_ear] = ears;
    let mut caller = Voice::new(caller_ear, to, Codec::G722, TONES[0]);
    let mut counsellor = Voice::new(anna_ear, asking_to, Codec::G722, TONES[1]);
    let mut listener = Voice::new(third_ear, third_to, Codec::Pcma, TONES[2]);
    let hears_anna = |voices: &[&mut Voice]| {
        let loud = |octet: &u8| Law::A.decode(*octet).abs() > 4000;
        voices[1].rtp.heard.iter().any(|packet| packet.payload.iter().any(loud))
    };
    talk(&mut [&mut counsellor, &mut listener], hears_anna);
    "*75".chars().for_each(|key| counsellor.rtp.press(asking_to, key));
    desk.await_bye(&mut anna);
    server.wait_log("brought_together");

    let begin = [&caller, &counsellor, &listener].map(|voice| voice.rtp.heard.len());
    let long = |voice: &Voice, begin: usize| voice.rtp.heard.len() > begin + 30 * WINDOW;
    talk(&mut [&mut caller, &mut counsellor, &mut listener], |voices| {
        voices.iter().zip(begin).all(|(voice, begin)| long(voice, begin))
    });
    for (whose, voice, expected, own) in [
        ("the caller", &caller, [false, true, true], 0),
        ("the counsellor", &counsellor, [true, false, true], 1),
        ("the third", &listener, [false, true, false], 2),
    ] {
        let windows = voice.windows();
        // The last are those of the room, after the tone that told of it.
        let windows = &windows[windows.len() - 20..];
        let right = windows.iter().filter(|window| **window == expected).count();
        assert!(right >= 12, "{whose} hears this in {right} of 20 windows: {windows:?}");
        assert!(windows.iter().all(|window| !window[own]), "{whose} hears itself: {windows:?}");
    }
    dialog.bye(&mut carrier);
    asking.bye(&mut anna);
}
