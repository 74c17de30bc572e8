//! Caller → line and line → caller in each codec pair, and what the caller hears where one source follows another.

use std::net::SocketAddr;
use std::time::Duration;

use super::codec::Codec;
use super::marks::{Take, Try, hold, largest_step, step};
use super::support::prompts::read_wav;
use super::support::rtp::{FRAME, Packet};
use super::support::server::repository;
use super::support::way::Way;
use super::support::{Dialog, Rtp, Sdp, Server};
use super::{CLEAR, helpline, speech};

/// Every codec of the caller with every one of the line.
fn pairs() -> Vec<(Codec, Codec)> {
    Codec::ALL.iter().flat_map(|caller| Codec::ALL.iter().map(move |line| (*caller, *line))).collect()
}

#[test]
fn caller_and_line_hear_each_other_as_spoken_in_each_codec_pair() {
    let server = helpline::start(pairs().len());
    hold(&server.site().dir, || talk_all(&server, Way::default(), CLEAR));
}

/// All pairs talk at once.
fn talk_all(server: &Server, way: Way, least: f64) -> Try {
    let calls: Vec<Try> = std::thread::scope(|scope| {
        let calls: Vec<_> = pairs()
            .into_iter()
            .enumerate()
            .map(|(n, pair)| scope.spawn(move || talk(server, n, pair, way, least)))
            .collect();
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
    /// Speaks after a second of silence; how late it was.
    fn speak(&mut self, way: Way, said: &[i16]) -> Duration {
        let second = vec![self.codec.silence(); 50 * 160];
        self.rtp.say(self.to, &second);
        let late = self.rtp.say_over(way, self.to, &self.codec.encode(said));
        // What is on its way still comes.
        self.rtp.say(self.to, &second);
        late
    }

    fn heard(&self) -> Vec<i16> {
        self.codec.decode(&self.rtp.placed(0, self.codec.silence()))
    }
}

fn talk(server: &Server, n: usize, (a, b): (Codec, Codec), way: Way, least: f64) -> Try {
    let mut carrier = server.carrier_on_another_port();
    let mut phone = server.phone(10 + n as u8);
    let (mut caller, mut line) = (Rtp::bind(server.place().host(2)), Rtp::bind(phone.local.ip()));
    (caller.payload_type, line.payload_type) = (a.payload_type(), b.payload_type());
    let sdp = Sdp { codecs: a.format(), ..Sdp::pcma(caller.local) };
    let (mut dialog, to) = Dialog::call(&mut carrier, &format!("p{n}"), &sdp);
    let sdp = Sdp { codecs: b.format(), ..Sdp::pcma(line.local) };
    let (line_dialog, _, line_to) = Dialog::answer(&mut phone, &sdp);
    let (mut caller, mut line) =
        (End { codec: a, rtp: caller, to }, End { codec: b, rtp: line, to: line_to });
    let said = speech();
    let late = std::thread::scope(|scope| {
        let other = scope.spawn(|| line.speak(way, &said));
        caller.speak(way, &said).max(other.join().expect("the line"))
    });
    dialog.bye(&mut carrier);
    line_dialog.await_bye(&mut phone);
    let takes = [("caller -> line", a, b, &line), ("line -> caller", b, a, &caller)]
        .map(|(what, from, to, end)| {
            let what = format!("{what}, {from:?} -> {to:?}, {way:?}");
            Take { what, said: said.clone(), heard: end.heard(), least }
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
    let mut line = End { codec, rtp: mouth, to: line_to };
    std::thread::scope(|scope| {
        scope.spawn(|| line.speak(Way::default(), &said[..5 * 8000]));
        caller.say(to, &vec![codec.silence(); 7 * 50 * FRAME]);
    });
    dialog.bye(&mut carrier);

    numbers_run_on(&caller.heard);
    let music = read_wav(&repository("prompts/music.wav"));
    let loudest = [&said, &music].map(|source| largest_step(&codec.decode(&codec.encode(source))));
    let bound = loudest.into_iter().max().expect("two");
    let steps: Vec<i32> = caller
        .heard
        .windows(2)
        .filter(|pair| pair[1].marker)
        .map(|pair| step(codec.decode(&pair[0].payload)[FRAME - 1], codec.decode(&pair[1].payload)[0]))
        .collect();
    println!("sources {loudest:?}, transitions {steps:?}");
    // From silence to the prompt, to music, to silence or the tone, to the person.
    assert!(steps.len() >= 3, "{steps:?}");
    assert!(steps.iter().all(|step| *step <= bound), "{steps:?}, the sources {loudest:?}");
    assert!(largest_step(&codec.decode(&caller.placed(0, codec.silence()))) <= bound);
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
