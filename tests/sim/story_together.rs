//! Joined: keys, hold, moved audio, transfers, and both ways of hanging up.

use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::{LineWord, Outcome};

/// Kim talks with anna; bart is there too.
fn together() -> World {
    together_with(Script::answers(1))
}

fn together_with(bart: Script) -> World {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until_hears("kim", "anna");
    world.line("bart", bart);
    world.run_s(1);
    world
}

fn refers(world: &mut World, to: &str) {
    world.does("anna", Deed::Refer(format!("sip:{to}@10.0.0.1")));
    world.run_s(1);
}

#[test]
fn keys_are_carried_across_by_rfc_4733_and_by_info() {
    let mut world = together();
    world.presses("kim", "42");
    world.does("kim", Deed::PressByInfo('7'));
    world.run_s(1);
    assert_eq!(world.keys_at("anna"), "427");
    world.does("anna", Deed::PressByInfo('9'));
    world.run_s(1);
    assert_eq!(world.keys_at("kim"), "9");
    world.finish();
}

#[test]
fn a_held_caller_hears_music_and_the_counsellor_comes_back() {
    let mut world = together();
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    world.does("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.does("anna", Deed::Reinvite("inactive"));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    world.does("kim", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn hold_while_the_tone_plays_is_music_too() {
    let mut world = World::open();
    world.line("anna", Script::answers(1).then_ms(50, Deed::Reinvite("sendonly")));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.run_s(4);
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn either_side_may_move_its_audio_and_ask_for_our_offer() {
    for (name, deed) in [
        ("kim", Deed::MoveMedia),
        ("anna", Deed::MoveMedia),
        ("kim", Deed::AskForOffer),
        ("anna", Deed::AskForOffer),
    ] {
        let mut world = together();
        world.does(name, deed.clone());
        world.run_s(1);
        assert!(world.talk("kim", "anna"), "{name} {deed:?}");
        assert_eq!(world.at_phone(name).calls_up(), 1);
        world.finish();
    }
}

#[test]
fn a_caller_who_holds_hears_nothing_and_comes_back() {
    let mut world = together();
    world.does("kim", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "nothing, held");
    world.does("kim", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.finish();
}

// --- transfers ----------------------------------------------------------------------------------------

#[test]
fn rfc_3515_a_line_hands_the_caller_to_another_line() {
    let mut world = together_with(Script::answers(3));
    refers(&mut world, "bart");
    assert!(world.saw("anna", Seen::Replied(202)) && world.saw("anna", Seen::Notified(100)));
    assert!(world.talk("kim", "anna"), "the caller stays until the other answers");
    world.until_hears("kim", "bart");
    assert!(world.talk("kim", "bart"));
    assert!(world.saw("anna", Seen::Notified(200)) && world.saw("anna", Seen::ByePeer));
    assert_eq!((world.state("anna"), world.state("bart")), (Some(LineWord::Free), Some(LineWord::Busy)));
    world.does("bart", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn a_line_hands_the_caller_to_an_allowed_destination_by_name_or_number() {
    for to in ["106", "tele-onthaal"] {
        let mut world = together();
        world.carried("106", "106", Script::answers(3));
        refers(&mut world, to);
        world.until_hears("kim", "106");
        assert!(world.talk("kim", "106"));
        world.finish();
        assert_eq!(world.outcomes(), [Outcome::Referred]);
    }
}

#[test]
fn a_transfer_to_anything_else_is_refused_and_nothing_is_dialled() {
    let cases = [
        ("0900", 403),
        ("secret", 403),
        ("+32470123456", 403),
        ("anna", 480),
        ("fien", 480),
        ("nobody", 403),
    ];
    for (to, status) in cases {
        let mut world = together();
        let sent = world.wire.len();
        refers(&mut world, to);
        assert!(world.saw("anna", Seen::Replied(status)), "{to}: {:?}", world.at_phone("anna").seen);
        let invites = world.wire[sent..].iter().filter(|w| w.bytes.starts_with(b"INVITE")).count();
        assert_eq!(invites, 0, "{to}");
        assert!(world.talk("kim", "anna"));
        world.finish();
    }
}

#[test]
fn a_caller_may_not_transfer() {
    let mut world = together();
    world.does("kim", Deed::Refer("sip:bart@10.0.0.1".into()));
    world.run_s(1);
    assert!(world.saw("kim", Seen::Replied(403)));
    world.finish();
}

#[test]
fn when_the_target_does_not_take_it_the_caller_stays_and_the_line_is_told_why() {
    let cases = [
        (Manner::Busy, 486),
        (Manner::Declines, 603),
        (Manner::NeverAnswers, 408),
        (Manner::Refuses(404), 480),
    ];
    for (manner, status) in cases {
        let mut world = together_with(Script::manner(manner));
        refers(&mut world, "bart");
        world.until(40, "the line is told", |world| world.saw("anna", Seen::Notified(status)));
        assert!(world.talk("kim", "anna"), "{manner:?}");
        world.finish();
    }
}

#[test]
fn the_line_hangs_up_during_the_transfer_and_the_caller_waits_with_music() {
    let mut world = together_with(Script::answers(10));
    refers(&mut world, "bart");
    world.does("anna", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    assert_eq!(world.state("anna"), Some(LineWord::Free));
    world.until_hears("kim", "bart");
    assert!(world.talk("kim", "bart"));
    world.finish();
}

#[test]
fn when_the_transfer_fails_after_the_line_has_left_the_caller_is_back_in_the_queue() {
    let mut world =
        together_with(Script::manner(Manner::RingsThenDeclines(std::time::Duration::from_secs(5))));
    refers(&mut world, "bart");
    world.does("anna", Deed::HangUp);
    world.run_s(1);
    world.until_hears("kim", "anna");
    assert!(world.talk("kim", "anna"), "anna is free again and takes the caller");
    world.finish();
}

#[test]
fn the_caller_hangs_up_during_a_transfer_and_both_lines_are_free() {
    let mut world = together_with(Script::manner(Manner::NeverAnswers));
    refers(&mut world, "bart");
    world.does("kim", Deed::HangUp);
    world.run_s(2);
    assert_eq!((world.state("anna"), world.state("bart")), (Some(LineWord::Free), Some(LineWord::Free)));
    assert!(world.saw("bart", Seen::Cancelled) && world.saw("anna", Seen::ByePeer));
    world.finish();
}

#[test]
fn a_second_transfer_while_one_rings_is_refused() {
    let mut world = together_with(Script::manner(Manner::NeverAnswers));
    refers(&mut world, "bart");
    refers(&mut world, "106");
    assert!(world.saw("anna", Seen::Replied(491)));
    world.finish();
}

#[test]
fn a_held_caller_is_transferred_too() {
    let mut world = together_with(Script::answers(2));
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    refers(&mut world, "bart");
    assert_eq!(world.hears("kim"), "music");
    world.until_hears("kim", "bart");
    assert!(world.talk("kim", "bart"));
    world.finish();
}
