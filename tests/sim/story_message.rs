//! The answering machine: tone, message, menu, a number to be called back.

use std::time::Duration;

use hulplijn::sim::phone::{Deed, Script, Seen};
use hulplijn::sim::world::World;
use hulplijn::store::request::MessageState;
use hulplijn::telemetry::notice::Outcome;

/// The caller speaks so many seconds after the tone and is being recorded.
fn recording(speaks: u64) -> World {
    let mut world = World::open();
    world.calls("kim", "vm", Script::default().speaks(speaks));
    world.until_hears("kim", "message-intro tone/beep");
    world.until_hears("kim", "recorded");
    world
}

fn hangs_up(world: &mut World) {
    world.does("kim", Deed::HangUp);
    world.run_s(1);
}

#[test]
fn a_message_ended_by_the_hash_key_is_kept_and_the_caller_thanked() {
    let mut world = recording(60);
    world.run_s(20);
    world.presses("kim", "#");
    assert_eq!(world.hears("kim"), "message-keep-menu");
    world.presses("kim", "1");
    assert_eq!(world.hears("kim"), "callback-ask");
    world.presses("kim", "2");
    assert_eq!(world.hears("kim"), "message-kept");
    world.until_hears("kim", "goodbye");
    world.run_s(20);
    assert!(world.saw("kim", Seen::ByePeer));
    assert_eq!(world.outcomes(), [Outcome::Message]);
    let row = world.messages()[0];
    assert_eq!((row.called.as_str(), row.state, row.callback.clone()), ("vm", MessageState::New, None));
    assert!((Duration::from_secs(19)..Duration::from_secs(22)).contains(&row.length));
    world.finish();
    assert_eq!(world.media.files.len(), 1);
}

#[test]
fn silence_ends_a_message_and_so_does_the_limit() {
    let mut world = recording(30);
    world.until_hears("kim", "message-keep-menu");
    hangs_up(&mut world);
    assert_eq!(world.messages()[0].length, Duration::from_secs(30), "silence is trimmed");
    world.finish();
    let mut world = recording(1_000);
    world.until_hears("kim", "message-keep-menu");
    hangs_up(&mut world);
    assert_eq!(world.messages()[0].length, Duration::from_secs(180));
    world.finish();
}

#[test]
fn the_hash_key_by_info_ends_a_message_too() {
    let mut world = recording(60);
    world.run_s(5);
    world.does("kim", Deed::PressByInfo('#'));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "message-keep-menu");
    world.finish();
}

#[test]
fn the_caller_hears_the_message_again_records_another_and_keeps_that_one() {
    let mut world = recording(10);
    world.until_hears("kim", "message-keep-menu");
    world.presses("kim", "2");
    assert_eq!(world.hears("kim"), "own-message");
    world.until_hears("kim", "message-keep-menu");
    world.presses("kim", "3");
    assert_eq!(world.hears("kim"), "tone/beep");
    world.until_hears("kim", "recorded");
    assert_eq!(world.media.files.len(), 0, "the first is gone");
    world.until_hears("kim", "message-keep-menu");
    world.presses("kim", "12");
    assert_eq!(world.hears("kim"), "message-kept");
    world.finish();
    assert_eq!((world.messages().len(), world.media.files.len()), (1, 1));
}

#[test]
fn a_deleted_message_leaves_nothing() {
    let mut world = recording(10);
    world.until_hears("kim", "message-keep-menu");
    world.presses("kim", "4");
    assert_eq!(world.hears("kim"), "message-deleted");
    world.until_hears("kim", "goodbye");
    world.run_s(20);
    assert_eq!((world.messages().len(), world.media.files.len()), (0, 0));
    assert_eq!(world.outcomes(), [Outcome::Goodbye]);
    world.finish();
}

#[test]
fn a_number_to_be_called_back_is_keyed_in_read_back_and_kept() {
    let mut world = recording(10);
    world.until_hears("kim", "message-keep-menu");
    world.presses("kim", "11");
    assert_eq!(world.hears("kim"), "callback-enter");
    world.presses("kim", "0470#");
    assert_eq!(world.hears("kim"), "callback-read number-0 number-4 number-7 number-0 callback-confirm");
    world.presses("kim", "1");
    assert_eq!(world.hears("kim"), "callback-thanks");
    assert_eq!(world.messages()[0].callback.as_deref(), Some("0470"));
    world.finish();
}

#[test]
fn who_hangs_up_in_mid_message_has_left_it() {
    let mut world = recording(60);
    world.run_s(15);
    hangs_up(&mut world);
    assert_eq!((world.messages().len(), world.outcomes()), (1, vec![Outcome::Message]));
    world.finish();
    assert_eq!(world.media.files.len(), 1);
}

#[test]
fn who_hangs_up_in_the_menu_has_left_it_too() {
    for keys in ["", "1", "11", "11047"] {
        let mut world = recording(10);
        world.until_hears("kim", "message-keep-menu");
        world.presses("kim", keys);
        hangs_up(&mut world);
        assert_eq!(world.messages().len(), 1, "after {keys}");
        assert_eq!(world.messages()[0].callback, None, "a number that was not read back is not kept");
        assert_eq!(world.outcomes(), [Outcome::Message]);
        world.finish();
    }
}

#[test]
fn who_says_nothing_is_asked_once_more_and_nothing_is_kept() {
    let mut world = recording(0);
    world.until_hears("kim", "message-empty tone/beep");
    world.until_hears("kim", "recorded");
    world.until_hears("kim", "message-empty");
    world.until_hears("kim", "goodbye");
    world.run_s(20);
    assert_eq!((world.messages().len(), world.media.files.len()), (0, 0));
    world.finish();
}

#[test]
fn who_hangs_up_before_a_word_leaves_nothing_and_is_no_message() {
    let mut world = recording(0);
    world.run_s(1);
    hangs_up(&mut world);
    assert_eq!((world.messages().len(), world.outcomes()), (0, vec![Outcome::HungUp]));
    world.finish();
    assert_eq!(world.media.files.len(), 0);
}

#[test]
fn without_room_on_the_disk_the_caller_is_told() {
    let mut world = World::open();
    world.check.faults_expected = true;
    world.operate(hulplijn::switch::io::Command::FreeSpace { mebibytes: 0 });
    world.calls("kim", "vm", Script::default());
    world.until_hears("kim", "message-failed");
    world.until_hears("kim", "goodbye");
    world.finish();
}
