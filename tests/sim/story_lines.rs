//! Counsellors' lines: who rings, for how long, who is passed over, and what a phone can say by itself.

use std::time::Duration;

use hulplijn::config::raw::Strategy;
use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::story::{TUESDAY, seconds};
use hulplijn::sim::world::World;
use hulplijn::store::request::StoreRequest;
use hulplijn::telemetry::notice::{LineWord, Miss, Notice};

/// Lines that are there, with one manner.
fn with_lines(names: &[&str], script: &Script) -> World {
    let mut world = World::open();
    for name in names {
        world.line(name, script.clone());
    }
    world.run_s(1);
    world
}

fn is_ringing(world: &World, name: &str) -> bool {
    world.state(name) == Some(LineWord::Ringing)
}

/// Lines in the order in which they were first offered a call.
fn offered(world: &World) -> Vec<u64> {
    let offers = world.notices.iter().filter_map(|(_, n)| match n {
        Notice::Offered { line, .. } => Some(line.0),
        _ => None,
    });
    offers.collect()
}

#[test]
fn the_strategies_ring_who_they_say() {
    let cases: [(&str, Strategy, &[u64]); 3] = [
        ("order", Strategy::InOrder, &[1, 1, 1, 1]),
        ("robin", Strategy::RoundRobin, &[1, 2, 3, 1]),
        // Anna had the first call, so she has rested shortest.
        ("robin", Strategy::LongestIdle, &[1, 2, 3, 1]),
    ];
    for (number, strategy, rung) in cases {
        let mut world = World::with_config(TUESDAY, |config| {
            let queue = config.queues.iter_mut().find(|q| q.name.value == number);
            if let Some(queue) = queue {
                queue.strategy.value = strategy;
            }
        });
        for name in ["anna", "bart", "cleo"] {
            world.line(name, Script::answers(1).then(5, Deed::HangUp));
        }
        world.run_s(1);
        for n in 0..4 {
            world.calls(&format!("caller-{n}"), number, Script::default());
            world.run_s(20);
        }
        assert_eq!(offered(&world), rung, "{strategy:?}");
        world.finish();
    }
}

#[test]
fn ring_all_rings_all_and_takes_the_others_back_without_a_missed_call() {
    let mut world = World::open();
    world.line("anna", Script::manner(Manner::NeverAnswers));
    world.line("bart", Script::answers(3));
    world.line("cleo", Script::manner(Manner::NeverAnswers));
    world.run_s(1);
    world.calls("kim", "all", Script::default());
    world.run_s(1);
    assert!(["anna", "bart", "cleo"].iter().all(|name| is_ringing(&world, name)));
    world.until_hears("kim", "bart");
    assert!(world.saw("anna", Seen::Cancelled) && world.saw("cleo", Seen::Cancelled));
    let cancel = world.wire.iter().find(|w| w.name == "anna" && w.bytes.starts_with(b"CANCEL"));
    let text = String::from_utf8_lossy(&cancel.unwrap().bytes).into_owned();
    assert!(text.contains("Reason: SIP;cause=200"), "RFC 3326: answered elsewhere: {text}");
    world.finish();
}

#[test]
fn a_line_that_does_not_take_the_call_is_passed_over() {
    let cases = [
        (Manner::NeverAnswers, Miss::NoAnswer, 12),
        (Manner::Busy, Miss::Busy, 1),
        (Manner::Declines, Miss::Declined, 1),
        (Manner::RingsThenDeclines(seconds(3)), Miss::Declined, 4),
        (Manner::Refuses(404), Miss::Unreachable, 1),
        (Manner::Refuses(500), Miss::Unreachable, 1),
        (Manner::Refuses(302), Miss::Unreachable, 1),
        (Manner::AnswersBadly(seconds(1)), Miss::Unreachable, 2),
        (Manner::Dead, Miss::Unreachable, 6),
    ];
    for (manner, miss, within) in cases {
        let mut world = World::open();
        world.line("anna", Script::manner(manner));
        world.line("bart", Script::answers(0));
        world.run_s(1);
        world.calls("kim", "order", Script::default());
        world.until(within, &format!("bart after {manner:?}"), |world| world.hears("kim") == "bart");
        assert_eq!(offered(&world), [1, 2], "{manner:?}");
        let missed = world.told(|n| matches!(n, Notice::Missed { miss: m, .. } if *m == miss));
        assert_eq!(missed, 1, "{manner:?}: {miss:?}");
        world.finish();
    }
}

#[test]
fn a_line_that_misses_again_and_again_rests_and_comes_back() {
    let mut world = with_lines(&["anna"], &Script::manner(Manner::Declines));
    world.calls("kim", "1712", Script::default());
    world.until(60, "the rest", |world| world.state("anna") == Some(LineWord::Resting));
    assert_eq!(world.at_phone("anna").times(Seen::Invited), 3, "three misses in a row");
    world.run_s(58);
    assert_eq!(world.at_phone("anna").times(Seen::Invited), 3);
    world.run_s(10);
    assert!(world.at_phone("anna").times(Seen::Invited) > 3, "after a minute it is rung again");
    world.finish();
}

#[test]
fn one_line_has_one_call_and_a_switchboard_as_many_as_it_says() {
    let mut world = with_lines(&["centre"], &Script::answers(1));
    for n in 0..4 {
        world.calls(&format!("caller-{n}"), "direct", Script::default());
    }
    world.run_s(5);
    assert_eq!(world.at_phone("centre").calls_up(), 3);
    let talking = (0..4).filter(|n| world.hears(&format!("caller-{n}")) == "centre").count();
    assert_eq!(talking, 3, "the fourth hears goodbye");
    world.finish();
}

#[test]
fn the_second_caller_waits_while_the_only_line_talks_and_then_has_it() {
    let mut world = with_lines(&["anna"], &Script::answers(1).then(60, Deed::HangUp));
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "anna");
    world.calls("lou", "1712", Script::default());
    world.run_s(40);
    assert_eq!((world.hears("lou").as_str(), world.at_phone("anna").calls_alive()), ("music", 1));
    world.until_hears("lou", "anna");
    let waited = world.notices.iter().filter(|(_, n)| matches!(n, Notice::Joined { .. })).count();
    assert_eq!(waited, 2);
    world.finish();
}

#[test]
fn first_come_first_served() {
    let mut world = World::open();
    for n in 0..3 {
        world.calls(&format!("caller-{n}"), "order", Script::default());
        world.run_s(1);
    }
    // Only cleo's fixed address is there, and it is dead so far.
    world.line("cleo", Script::answers(1).then(5, Deed::HangUp));
    world.run_s(120);
    let joined: Vec<u64> = world
        .notices
        .iter()
        .filter_map(|(_, n)| match n {
            Notice::Joined { call, .. } => Some(call.0),
            _ => None,
        })
        .collect();
    assert!(joined.is_sorted() && joined.len() == 3, "{joined:?}");
    world.finish();
}

#[test]
fn a_telephone_must_press_1_before_the_caller_is_joined() {
    let mut world = World::open();
    world.carried("dirk", "+32470000000", Script::answers(2));
    world.calls("kim", "mobile", Script::default());
    world.until_hears("dirk", "line-confirm");
    assert_eq!(world.hears("kim"), "music", "a private voicemail never hears the caller");
    world.presses("dirk", "5");
    assert_eq!(world.hears("dirk"), "line-confirm");
    world.presses("dirk", "1");
    world.until_hears("kim", "dirk");
    assert!(world.talk("kim", "dirk"));
    world.finish();
}

#[test]
fn a_telephone_that_never_presses_1_is_hung_up_and_counts_as_missed() {
    let mut world = World::open();
    world.carried("dirk", "+32470000000", Script::answers(2));
    world.calls("kim", "mobile", Script::default());
    world.until_hears("dirk", "line-confirm");
    world.until(20, "it is hung up", |world| world.saw("dirk", Seen::ByePeer));
    assert_eq!(world.told(|n| matches!(n, Notice::Missed { miss: Miss::NotConfirmed, .. })), 1);
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn a_telephone_that_hangs_up_instead_of_pressing_1_is_passed_over() {
    let mut world = World::open();
    world.carried("dirk", "+32470000000", Script::answers(2));
    world.calls("kim", "mobile", Script::default());
    world.until_hears("dirk", "line-confirm");
    world.does("dirk", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.told(|n| matches!(n, Notice::Missed { .. })), 1);
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn a_line_with_a_host_name_is_looked_up_and_without_an_address_passed_over() {
    let mut world = with_lines(&["eva"], &Script::answers(1));
    world.calls("kim", "named", Script::default());
    world.until_hears("kim", "eva");
    world.finish();
    let mut world = with_lines(&["eva"], &Script::answers(1));
    world.names.clear();
    world.calls("kim", "named", Script::default());
    world.run_s(2);
    assert_eq!(world.told(|n| matches!(n, Notice::Missed { miss: Miss::Unreachable, .. })), 1);
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

// --- codes ------------------------------------------------------------------------------------------

#[test]
fn star_codes_log_in_pause_resume_and_log_out_with_a_spoken_confirmation() {
    let mut world = with_lines(&["fien"], &Script::default());
    assert_eq!(world.state("fien"), Some(LineWord::LoggedOut));
    let helpline = world.policy.config.helpline.clone();
    let steps = [
        (helpline.log_in.value, "line-logged-in", LineWord::Free, "in"),
        (helpline.pause.value, "line-paused", LineWord::Paused, "paused"),
        (helpline.resume.value, "line-resumed", LineWord::Free, "in"),
        (helpline.log_out.value, "line-logged-out", LineWord::LoggedOut, "out"),
    ];
    for (code, prompt, state, word) in steps {
        world.dial("fien", &code);
        world.until_hears("fien", prompt);
        assert_eq!(world.state("fien"), Some(state), "{code}");
        let StoreRequest::SaveWord { key, value } = world.stored.last().unwrap() else { panic!("a word") };
        assert_eq!((key.as_str(), value.as_str()), ("line.fien", word));
        world.run_s(10);
        assert_eq!(world.at_phone("fien").calls_alive(), 0, "the switch hangs up");
    }
    assert_eq!(world.outcomes(), [], "a code is no caller's call");
    assert_eq!(world.told(|n| matches!(n, Notice::CallArrived { .. } | Notice::Answered { .. })), 0);
    world.finish();
}

#[test]
fn a_star_code_with_a_wrong_password_is_refused() {
    let mut world = World::open();
    let wrong = Some(("fien".to_owned(), "falsch".to_owned()));
    world.phone("thief", "10.0.2.66:5060", Script { registers: wrong, ..Script::default() });
    world.run_s(5);
    let code = world.policy.config.helpline.log_in.value.clone();
    world.dial("thief", &code);
    world.run_s(30);
    assert!(world.saw("thief", Seen::Refused(401)) && world.saw("thief", Seen::NotRegistered(401)));
    assert_eq!(world.state("fien"), Some(LineWord::LoggedOut));
    world.finish();
}

#[test]
fn a_code_given_up_before_its_ack_leaves_nothing() {
    let mut world = with_lines(&["fien"], &Script { never_acks: true, ..Script::default() });
    let code = world.policy.config.helpline.log_in.value.clone();
    world.dial("fien", &code);
    world.run_s(60);
    world.finish();
}

#[test]
fn a_counsellor_who_pauses_while_it_rings_still_has_this_call() {
    let mut world = with_lines(&["anna"], &Script::answers(8));
    world.calls("kim", "order", Script::default());
    world.run(Duration::from_millis(500));
    let code = world.policy.config.helpline.pause.value.clone();
    world.dial("anna", &code);
    world.until_hears("kim", "anna");
    world.finish();
}

#[test]
fn a_phone_that_registered_last_and_is_gone_gives_way_to_the_lines_other_phone() {
    let mut world = with_lines(&["anna"], &Script::answers(0));
    let registers = Some(("anna".to_owned(), "geheim-anna".to_owned()));
    world.phone("gone", "10.0.2.77:5060", Script { registers, ..Script::manner(Manner::Dead) });
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until(8, "the other phone", |world| world.hears("kim") == "anna");
    let tried = world.wire.iter().filter(|w| w.name == "gone" && w.bytes.starts_with(b"INVITE")).count();
    assert_eq!(tried, 4, "the phone that was there last is called first");
    assert_eq!(offered(&world), [1]);
    assert_eq!(world.told(|n| matches!(n, Notice::Missed { .. })), 0, "the line was reached after all");
    world.finish();
}
