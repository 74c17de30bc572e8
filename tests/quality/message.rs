//! Caller → recording.

use std::time::Duration;

use super::codec::Codec;
use super::marks::{Heard, Take, Try, hold};
use super::support::prompts::read_wav;
use super::support::server::wait_until;
use super::support::way::Way;
use super::support::{Dialog, Rtp, Sdp, Server};
use super::{BAD, CLEAR, CONCEALED, helpline, speech};

/// In each codec, also over a bad network: a recording waits for what comes late.
const MESSAGES: [(Codec, Way, f64); 8] = [
    (Codec::Pcma, CLEARLY, CLEAR),
    (Codec::Pcmu, CLEARLY, CLEAR),
    (Codec::G722, CLEARLY, CLEAR),
    (Codec::Opus, CLEARLY, CLEAR),
    (Codec::Pcma, BAD, CONCEALED),
    (Codec::Pcmu, BAD, CONCEALED),
    (Codec::G722, BAD, CONCEALED),
    (Codec::Opus, BAD, CONCEALED_OPUS),
];

/// Opus, made again from what its next packet repeats of a lost one, is a little duller.
const CONCEALED_OPUS: f64 = 2.7;
const CLEARLY: Way = Way { loss: 0, jitter: Duration::ZERO, seed: 0 };

#[test]
fn a_message_is_recorded_as_it_was_spoken_in_each_codec_and_what_the_network_loses_is_concealed() {
    let dir = tempfile::tempdir().expect("a folder");
    hold(dir.path(), || {
        let messages: Vec<(Take, Duration)> = std::thread::scope(|scope| {
            let calls = MESSAGES.map(|row| scope.spawn(move || leave_message(row)));
            calls.into_iter().map(|call| call.join().expect("a call")).collect()
        });
        let held_up = messages.iter().map(|(_, late)| *late).max().unwrap_or_default();
        Try { takes: messages.into_iter().map(|(take, _)| take).collect(), held_up }
    });
}

/// What is recorded of a caller, and how late he was sent.
fn leave_message((codec, way, least): (Codec, Way, f64)) -> (Take, Duration) {
    // Each has a switch of its own, and so a folder.
    let server = helpline::start(0);
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let sdp = Sdp { codecs: codec.format(), ..Sdp::pcma(caller.local) };
    caller.payload_type = codec.payload_type();
    let (mut dialog, to) = Dialog::call(&mut carrier, "message", &sdp);
    let dir = &server.site().dir;
    let silence = codec.encode(dir, &[0; 8000]);
    wait_until(
        || {
            caller.say_over(Way::default(), to, &silence[..10], codec.step());
            recordings(&server, "part").len() == 1
        },
        || "no recording has begun".to_owned(),
    );
    let said = speech();
    let late = caller.say_over(way, to, &codec.encode(dir, &said), codec.step());
    dialog.bye(&mut carrier);
    wait_until(|| recordings(&server, "wav").len() == 1, || "no message".to_owned());
    let heard = Heard::Samples(read_wav(&recordings(&server, "wav")[0]));
    (Take { what: format!("caller -> message, {codec:?}, {way:?}"), said, heard, least }, late)
}

/// Recordings whose names end so.
fn recordings(server: &Server, end: &str) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(server.site().data().join("messages")).into_iter().flatten().flatten();
    folder.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == end)).collect()
}
