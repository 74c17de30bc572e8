//! Closed, holiday, nobody there, queue full, waited too long: what the caller hears, 106, and a message.

use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::story::{CHRISTMAS, SUNDAY};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::Outcome;

const GREETING: &str = "welcome emergency";

#[test]
fn closed_the_caller_hears_so_and_when_we_open_again_and_is_given_a_choice() {
    let mut world = World::at(SUNDAY);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "closed-menu");
    assert_eq!(
        world.heard("kim"),
        [GREETING, "closed opens-tomorrow from-hour hour-9 until-hour hour-17", "closed-menu"]
    );
    world.finish();
}

#[test]
fn on_a_holiday_the_caller_hears_that_it_is_one() {
    let mut world = World::at(CHRISTMAS);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "closed-menu");
    let holiday = "holiday opens-again day-monday from-hour hour-9 until-hour hour-17";
    assert_eq!(world.heard("kim"), [GREETING, holiday, "closed-menu"]);
    world.finish();
}

#[test]
fn nobody_logged_in_is_told_at_once() {
    let mut world = World::open();
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "closed-menu");
    assert_eq!(world.heard("kim"), [GREETING, "queue-enter", "nobody-there", "closed-menu"]);
    world.finish();
}

#[test]
fn the_last_counsellor_leaves_and_those_who_wait_are_told() {
    let mut world = World::open();
    let anna = world.line("anna", Script::manner(Manner::NeverAnswers));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "music");
    world.with(anna, hulplijn::sim::phone::Phone::unregister);
    world.until_hears("kim", "nobody-there");
    world.finish();
}

#[test]
fn a_full_queue_is_told() {
    let mut world =
        World::with_config(hulplijn::sim::story::TUESDAY, |config| config.queues[0].capacity.value = 1);
    world.line("anna", Script::manner(Manner::NeverAnswers));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "music");
    world.calls("lou", "1712", Script::default());
    world.until_hears("lou", "closed-menu");
    assert_eq!(world.heard("lou"), [GREETING, "queue-enter", "queue-full", "closed-menu"]);
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn every_minute_the_caller_hears_where_they_stand_and_after_the_longest_wait_what_else_there_is() {
    let mut world = World::open();
    world.line("anna", Script::manner(Manner::NeverAnswers));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.run_s(1);
    world.calls("lou", "1712", Script::default());
    world.until_hears("lou", "queue-too-long");
    assert_eq!(
        world.heard("lou"),
        [
            GREETING,
            "queue-enter",
            "music",
            "queue-position-before number-2 queue-position-after queue-choice",
            "music",
            "queue-position-before number-2 queue-position-after queue-choice",
            "music",
            "queue-position-before number-2 queue-position-after queue-choice",
            "music",
            "queue-too-long",
        ]
    );
    world.finish();
}

/// Sunday evening, and the menu has been heard.
fn at_the_menu(script: Script) -> World {
    let mut world = World::at(SUNDAY);
    world.calls("kim", "1712", script);
    world.until_hears("kim", "closed-menu");
    world
}

#[test]
fn key_1_connects_with_106_through_the_trunk() {
    let mut world = at_the_menu(Script::default());
    world.carried("tele-onthaal", "106", Script::answers(3).then(60, Deed::HangUp));
    world.presses("kim", "1");
    assert_eq!(world.hears("kim"), "refer-106");
    world.until_hears("kim", "music");
    world.until_hears("kim", "tele-onthaal");
    assert!(world.talk("kim", "tele-onthaal"));
    world.run_s(70);
    assert!(world.saw("kim", Seen::ByePeer));
    assert_eq!(world.outcomes(), [Outcome::Referred]);
    world.finish();
}

#[test]
fn when_106_can_not_be_reached_the_caller_is_told_its_number_and_may_leave_a_message() {
    for manner in [Manner::Busy, Manner::Declines, Manner::Refuses(503), Manner::NeverAnswers, Manner::Dead] {
        let mut world = at_the_menu(Script::default());
        world.carried("tele-onthaal", "106", Script::manner(manner));
        world.presses("kim", "1");
        world.until_hears("kim", "refer-failed");
        world.until_hears("kim", "message-intro tone/beep");
        world.finish();
    }
}

#[test]
fn nobody_at_all_behind_the_trunk_is_no_dead_end() {
    let mut world = at_the_menu(Script::default());
    world.presses("kim", "1");
    world.until_hears("kim", "refer-failed");
    world.finish();
}

#[test]
fn the_trunk_is_known_to_be_down_and_the_caller_hears_so_at_once() {
    let mut world = at_the_menu(Script::default());
    world.unreachable.insert("10.0.1.1:5060".parse().unwrap());
    world.presses("kim", "1");
    world.until(15, "refer-failed", |world| world.hears("kim") == "refer-failed");
    world.finish();
}

#[test]
fn key_2_leaves_a_message_and_so_does_waiting() {
    let mut world = at_the_menu(Script::default());
    world.presses("kim", "2");
    assert_eq!(world.hears("kim"), "message-intro tone/beep");
    world.finish();
    let mut world = at_the_menu(Script::default());
    world.until_hears("kim", "no-key closed-menu");
    world.until_hears("kim", "message-intro tone/beep");
    world.finish();
}

#[test]
fn a_wrong_key_is_told_and_the_menu_said_again() {
    let mut world = at_the_menu(Script::default());
    world.presses("kim", "7");
    assert_eq!(world.hears("kim"), "invalid-key closed-menu");
    world.finish();
}

#[test]
fn who_waits_may_leave_a_message_with_key_2_and_loses_no_turn_by_other_keys() {
    let mut world = World::open();
    world.line("anna", Script::manner(Manner::NeverAnswers));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "music");
    world.presses("kim", "9");
    assert_eq!((world.hears("kim").as_str(), world.snapshot().waiting), ("music", 1));
    world.presses("kim", "2");
    assert_eq!(world.hears("kim"), "message-intro tone/beep");
    world.run_s(1);
    assert_eq!(world.snapshot().waiting, 0);
    assert_eq!(world.at_phone("anna").calls_alive(), 0, "the line does not ring on");
    world.finish();
}
