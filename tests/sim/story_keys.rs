//! Keys where they are no telephone-event, a key while a prompt plays, and callers who say nothing.

use std::time::Duration;

use hulplijn::config::raw::{Action, At, Config, Keys, Place};
use hulplijn::sim::phone::{Deed, Script, Seen};
use hulplijn::sim::story::{SUNDAY, TUESDAY};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::Notice;

fn info_line(config: &mut Config) {
    let anna = config.lines.iter_mut().find(|line| line.name.value == "anna");
    anna.expect("anna").keys.value = Keys::Info;
}

#[test]
fn a_line_that_wants_its_keys_by_info_gets_each_once_however_it_came() {
    let mut world = World::with_config(TUESDAY, info_line);
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until_hears("kim", "anna");
    world.presses("kim", "42");
    world.does("kim", Deed::PressByInfo('7'));
    world.run_s(1);
    let keys: String = world.at_phone("anna").seen.iter().filter_map(info).collect();
    assert_eq!(keys, "427");
    assert_eq!(world.keys_at("anna"), "", "and no other way");
    world.finish();
}

fn info((_, seen): &(std::time::Instant, Seen)) -> Option<char> {
    if let Seen::Info(key) = seen { Some(*key) } else { None }
}

/// Closed: the menu of the closed helpline sends callers who say nothing to a step of their own.
fn with_silent(config: &mut Config) {
    let steps =
        config.flows.iter_mut().filter(|flow| flow.name.value == "main").flat_map(|flow| &mut flow.steps);
    for step in steps {
        if let Action::Menu { silent, .. } = &mut step.action {
            *silent = Some(At { value: "goodbye".to_owned(), place: Place::default() });
        }
    }
}

#[test]
fn a_caller_who_says_nothing_and_presses_nothing_goes_where_silent_leads() {
    let mut world = World::with_config(SUNDAY, with_silent);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "goodbye");
    assert!(world.heard("kim").contains(&"closed-menu"), "{:?}", world.heard("kim"));
    assert!(!world.heard("kim").iter().any(|names| names.contains("no-key")), "{:?}", world.heard("kim"));
    world.finish();
}

#[test]
fn a_caller_who_is_heard_speaking_is_asked_for_a_key_again() {
    let mut world = World::with_config(SUNDAY, with_silent);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "closed-menu");
    world.does("kim", Deed::Speak(true));
    world.run_s(1);
    world.does("kim", Deed::Speak(false));
    world.until_hears("kim", "no-key closed-menu");
    world.finish();
}

#[test]
fn a_key_stops_the_prompt_of_a_menu_within_40_ms_of_its_coming() {
    let mut world = World::at(SUNDAY);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "closed-menu");
    let pressed = world.now.at;
    world.does("kim", Deed::Press('2'));
    world.run_s(1);
    let next = world.media.played.iter().find(|played| played.at >= pressed).expect("something else plays");
    assert!(next.names.starts_with("message-intro"), "{}", next.names);
    let took = next.at.saturating_duration_since(pressed);
    assert!(took <= Duration::from_millis(40), "{took:?}");
    world.finish();
}

#[test]
fn of_two_who_are_joined_one_falls_silent_and_it_is_told_once() {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until_hears("kim", "anna");
    let kim = world.index("kim");
    world.with(kim, |phone, _| phone.mute = true);
    world.run_s(60);
    assert_eq!(world.told(|notice| matches!(notice, Notice::OneWay { .. })), 1);
    assert!(world.talk("kim", "anna"), "nobody is hung up for it");
    world.finish();
}
