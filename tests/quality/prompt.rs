//! Prompt → caller.

use std::time::Duration;

use super::codec::Codec;
use super::marks::{Heard, Take, Try, hold};
use super::support::{Dialog, Rtp, Sdp, Server};
use super::{CLEAR, CLEAR_AFTER_WIDE, helpline, speech};

#[test]
fn a_caller_hears_the_prompt_as_it_was_spoken_in_each_codec() {
    let server = helpline::start(0);
    hold(&server.site().dir, || {
        let calls: Vec<(Take, Duration)> = std::thread::scope(|scope| {
            let calls = Codec::ALL.map(|codec| {
                let server = &server;
                scope.spawn(move || listen(server, codec))
            });
            calls.into_iter().map(|call| call.join().expect("a call")).collect()
        });
        let held_up = calls.iter().map(|(_, gap)| *gap).max().unwrap_or_default();
        Try { takes: calls.into_iter().map(|(take, _)| take).collect(), held_up }
    });
}

/// What is heard of the prompt, and the longest time between two packets more than there should be.
fn listen(server: &Server, codec: Codec) -> (Take, Duration) {
    let mut carrier = server.carrier_on_another_port();
    let mut ear = Rtp::bind(server.place().host(2));
    ear.payload_type = codec.payload_type();
    let said = speech();
    let sdp = Sdp { codecs: codec.format(), ..Sdp::pcma(ear.local) };
    let (mut dialog, _) = Dialog::call(&mut carrier, "way", &sdp);
    // More than the prompt: it begins after some silence, and more of it on a busy machine.
    let frames = said.len() / 160 + 200;
    ear.hear_until("the prompt", |ear| ear.heard.len() >= frames);
    dialog.bye(&mut carrier);
    let heard = Heard::Payloads(codec, ear.placed(codec.step()));
    let what = format!("prompt -> caller, {codec:?}");
    let late = ear.longest_gap.saturating_sub(Duration::from_millis(20));
    let least = if codec.is_g711() { CLEAR } else { CLEAR_AFTER_WIDE };
    (Take { what, said, heard, least }, late)
}
