//! From the first ring to the goodbye.

use hulplijn::sim::phone::{Deed, Script, Seen};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::{LineWord, Outcome};

#[test]
fn open_the_caller_is_welcomed_waits_with_music_and_talks_with_a_counsellor() {
    let mut world = World::open();
    world.line("anna", Script::answers(4));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "welcome emergency");
    world.until_hears("kim", "queue-enter");
    world.until_hears("kim", "music");
    assert!(world.saw("anna", Seen::Invited), "the line rings while the caller hears music");
    world.until_hears("kim", "tone/join");
    assert_eq!(world.hears("anna"), "tone/join", "both hear a short tone");
    world.until_hears("kim", "anna");
    assert!(world.talk("kim", "anna"));
    assert_eq!(world.state("anna"), Some(LineWord::Busy));
    world.does("anna", Deed::HangUp);
    world.run_s(2);
    assert!(world.saw("kim", Seen::ByePeer), "the counsellor hangs up: both are over");
    assert_eq!(world.state("anna"), Some(LineWord::WrapUp));
    assert_eq!(world.heard("kim"), ["welcome emergency", "queue-enter", "music", "tone/join"]);
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
    assert_eq!(world.state("anna"), Some(LineWord::Free));
}

#[test]
fn the_caller_hangs_up_and_the_counsellor_is_free_again() {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "anna");
    world.does("kim", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("anna", Seen::ByePeer));
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn nothing_of_the_caller_reaches_the_line() {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "anna");
    let invite = world.wire.iter().find(|w| w.name == "anna" && w.bytes.starts_with(b"INVITE"));
    let text = String::from_utf8_lossy(&invite.unwrap().bytes).into_owned();
    assert!(text.contains("From: \"1712\" <sip:anonymous@anonymous.invalid>;tag="), "{text}");
    assert!(text.contains("Privacy: id"));
    assert!(!text.contains("kim") && !text.contains("10.0.1."));
    world.finish();
}
