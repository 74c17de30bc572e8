//! Caller → line and line → caller in each codec pair, and what the caller hears where one source follows another.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::codec::Codec;
use super::marks::{Heard, Take, Try, hold, largest_step, step};
use super::support::prompts::read_wav;
use super::support::rtp::{FRAME, Packet};
use super::support::server::repository;
use super::support::way::Way;
use super::support::{Dialog, Rtp, Sdp, Server};
use super::{CLEAR, helpline, speech};

/// Through sockets. All pairs of codecs: `engine`.
const PAIRS: [(Codec, Codec); 4] = [
    (Codec::Pcma, Codec::Pcma),
    (Codec::Pcma, Codec::Pcmu),
    (Codec::Pcmu, Codec::Pcma),
    (Codec::Opus, Codec::Opus),
];

#[test]
fn caller_and_line_hear_each_other_as_spoken() {
    let server = helpline::start(PAIRS.len());
    hold(&server.site().dir, || talk_all(&server));
}

/// All talk at once.
fn talk_all(server: &Server) -> Try {
    let calls: Vec<Try> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..PAIRS.len()).map(|n| scope.spawn(move || talk(server, n, PAIRS[n]))).collect();
        calls.into_iter().map(|call| call.join().expect("a call")).collect()
    });
    let held_up = calls.iter().map(|call| call.held_up).max().unwrap_or_default();
    Try { takes: calls.into_iter().flat_map(|call| call.takes).collect(), held_up }
}

/// One end of a call.
struct End {
    codec: Codec,
    rtp: Rtp,
    to: SocketAddr,
}

impl End {
    fn new(codec: Codec, mut rtp: Rtp, to: SocketAddr) -> Self {
        rtp.payload_type = codec.payload_type();
        Self { codec, rtp, to }
    }

    /// Speaks; how late it was.
    fn speak(&mut self, words: &[Vec<u8>]) -> Duration {
        self.rtp.say_over(Way::default(), self.to, words, self.codec.step())
    }

    fn heard(&self) -> Heard {
        Heard::Payloads(self.codec, self.rtp.placed(self.codec.step()))
    }
}

/// What each end says: a second of silence, ten of speech, and a second in which all of it can come.
pub fn words(codec: Codec) -> Vec<Vec<u8>> {
    static WORDS: Mutex<Vec<(Codec, Vec<Vec<u8>>)>> = Mutex::new(Vec::new());
    let mut known = WORDS.lock().expect("not poisoned");
    if let Some((_, words)) = known.iter().find(|(other, _)| *other == codec) {
        return words.clone();
    }
    let dir = tempfile::tempdir().expect("a folder");
    let words = codec.encode(dir.path(), &[&[0; 8000][..], &speech(), &[0; 8000]].concat());
    known.push((codec, words.clone()));
    words
}

fn talk(server: &Server, n: usize, (a, b): (Codec, Codec)) -> Try {
    let [say_a, say_b] = [a, b].map(words);
    let mut carrier = server.carrier_on_another_port();
    let mut phone = server.phone(10 + n as u8);
    let (caller, line) = (Rtp::bind(server.place().host(2)), Rtp::bind(phone.local.ip()));
    let sdp = Sdp { codecs: a.format(), ..Sdp::pcma(caller.local) };
    let (mut dialog, to) = Dialog::call(&mut carrier, &format!("p{n}"), &sdp);
    let sdp = Sdp { codecs: b.format(), ..Sdp::pcma(line.local) };
    let (line_dialog, _, line_to) = Dialog::answer(&mut phone, &sdp);
    let (mut caller, mut line) = (End::new(a, caller, to), End::new(b, line, line_to));
    let late = std::thread::scope(|scope| {
        let other = scope.spawn(|| line.speak(&say_b));
        caller.speak(&say_a).max(other.join().expect("the line"))
    });
    dialog.bye(&mut carrier);
    line_dialog.await_bye(&mut phone);
    let takes = [("caller -> line", a, b, &line), ("line -> caller", b, a, &caller)]
        .map(|(what, from, to, end)| {
            let what = format!("{what}, {from:?} -> {to:?}");
            Take { what, said: speech(), heard: end.heard(), least: CLEAR }
        })
        .into();
    Try { takes, held_up: late }
}

#[test]
fn where_prompt_music_and_person_follow_each_other_nothing_clicks_and_no_number_jumps() {
    let server = helpline::start(0);
    let (mut carrier, mut phone) = (server.carrier(), server.phone(3));
    let codec = Codec::Pcma;
    let mut caller = Rtp::bind(server.place().host(2));
    let (mut dialog, to) = Dialog::call(&mut carrier, "way", &Sdp::pcma(caller.local));
    let said = speech();
    // The prompt, and two seconds and more of music while the phone rings.
    let enough = said.len() / FRAME + 130;
    caller.stay_until(to, "prompt and music", |ear| ear.heard.len() > enough);
    let mouth = Rtp::bind(server.place().host(3));
    let (_line, _, line_to) = Dialog::answer(&mut phone, &Sdp::pcma(mouth.local));
    let mut line = End::new(codec, mouth, line_to);
    std::thread::scope(|scope| {
        scope.spawn(|| line.speak(&words(codec)[..300]));
        caller.say(to, &vec![0xd5; 350 * FRAME]);
    });
    dialog.bye(&mut carrier);

    numbers_run_on(&caller.heard);
    let decoded = |payloads: &[Vec<u8>]| codec.decode(payloads).expect("G.711");
    let music = read_wav(&repository("prompts/music.wav"));
    let loudest =
        [&said, &music].map(|source| largest_step(&decoded(&codec.encode(&server.site().dir, source))));
    let [speech, music] = loudest;
    let edge = |packet: &Packet| decoded(std::slice::from_ref(&packet.payload));
    let transitions = caller.heard.windows(2).filter(|pair| pair[1].marker);
    let steps: Vec<i32> =
        transitions.map(|pair| step(edge(&pair[0])[FRAME - 1], edge(&pair[1])[0])).collect();
    println!("sources {loudest:?}, transitions {steps:?}");
    // From silence to the prompt, to music; music is cut off and fades; from the tone to the person.
    assert!(
        steps.len() >= 4 && steps.iter().all(|step| *step <= speech),
        "{steps:?}, the sources {loudest:?}"
    );
    assert!(steps[2] <= music, "the music ends with a click: {steps:?}, the sources {loudest:?}");
    assert!(largest_step(&decoded(&caller.placed(codec.step()))) <= speech);
}

/// RFC 3550 5.1: one SSRC, each sequence number the next, each timestamp by as much later as what came before is long;
/// more only when this machine paused, and then by whole frames and with the marker.
fn numbers_run_on(heard: &[Packet]) {
    for pair in heard.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let passed = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as usize;
        let length = pair[0].payload.len();
        let paused = pair[1].marker && passed.is_multiple_of(FRAME) && passed < 50 * FRAME;
        assert!(passed == length || (passed > length && paused), "{passed} after {length}");
    }
}
