//! Three and more together: a colleague or a destination is brought to the caller, and each may leave.

use hulplijn::sim::phone::{Deed, Identity, Manner, Script, Seen};
use hulplijn::sim::story::{TUESDAY, policy, seconds};
use hulplijn::sim::world::World;
use hulplijn::switch::io::Command;
use hulplijn::telemetry::notice::{LineWord, Notice, Outcome};

use super::story_consult::{BART, consulting, last, states, together_with};

const CODE: &str = "*75";

/// Every queue gives its lines half a minute after a call.
fn with_wrap_up(world: &mut World) {
    let next = policy(2, Some(&world.policy), |config| {
        config.queues.iter_mut().for_each(|queue| queue.wrap_up.value = seconds(30));
    });
    world.reload(next);
}

/// Kim, anna and bart speak together: anna asked bart and pressed the code.
pub fn three() -> World {
    let mut world = consulting();
    with_wrap_up(&mut world);
    world.presses("anna", CODE);
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "bart"]), "{} {}", world.hears("kim"), world.hears("bart"));
    world
}

/// How often that was played to this phone.
fn times(world: &World, name: &str, tone: &str) -> usize {
    world.heard(name).iter().filter(|heard| **heard == tone).count()
}

// --- coming -------------------------------------------------------------------------------------------

#[test]
fn a_counsellor_brings_a_colleague_to_the_caller_and_each_hears_the_two_others() {
    let mut world = three();
    for name in ["kim", "anna", "bart"] {
        assert!(times(&world, name, "tone/join") >= 1, "{name} hears that somebody has come");
    }
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Busy)));
    // The call on hold is over, so that anna's one other call is the one with both.
    assert_eq!(world.at_phone("anna").times(Seen::ByePeer), 1);
    assert_eq!((world.at_phone("anna").calls_alive(), world.snapshot().consultations), (1, 0));
    assert_eq!(world.told(|n| matches!(n, Notice::BroughtTogether { .. })), 1);
    assert_eq!(world.told(|n| matches!(n, Notice::Joined { .. })), 1);
    world.finish();
    assert_eq!(world.outcomes(), [Outcome::Joined]);
}

#[test]
fn back_with_the_caller_the_code_brings_the_colleague_who_waits() {
    let mut world = consulting();
    world.does("anna", Deed::Reinvite("sendonly"));
    world.does_first("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert_eq!((world.hears("kim").as_str(), world.hears("bart").as_str()), ("anna", "music"));
    world.does_first("anna", Deed::Press('*'));
    world.does_first("anna", Deed::Press('7'));
    world.does_first("anna", Deed::Press('5'));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "anna + bart");
    assert_eq!(world.hears("bart"), "anna + kim");
    assert_eq!(world.at_phone("anna").calls_alive(), 1);
    world.finish();
}

#[test]
fn an_interpreters_number_over_the_trunk_is_brought_in_by_keys_of_either_kind() {
    let mut world = together_with(Script::answers(1));
    world.carried("106", "106", Script::answers(2));
    with_wrap_up(&mut world);
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    world.dial("anna", "106");
    world.until_hears("anna", "106");
    for key in CODE.chars() {
        world.does("anna", Deed::PressByInfo(key));
        world.run_s(1);
    }
    assert!(world.all_talk(&["kim", "anna", "106"]));
    let invite = last(&world, "106", "INVITE");
    assert!(invite.get("From").starts_with("\"1712\" <sip:anonymous@"), "{}", invite.get("From"));
    // Anna leaves: caller and interpreter go on.
    world.does("anna", Deed::HangUp);
    world.run_s(2);
    assert!(world.talk("kim", "106"));
    assert_eq!(world.state("anna"), Some(LineWord::WrapUp));
    world.does("106", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("kim", Seen::ByePeer));
    world.finish();
    assert_eq!(world.outcomes(), [Outcome::Joined]);
}

#[test]
fn a_fourth_comes_by_the_same_way_and_a_guest_may_bring_somebody_too() {
    let mut world = three();
    world.line("cleo", Script::answers(1));
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert!(world.talk("kim", "bart"), "a counsellor who is on hold is missing, and no more");
    world.dial("anna", "cleo");
    world.until_hears("anna", "cleo");
    world.presses("anna", CODE);
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "bart", "cleo"]));
    world.carried("106", "106", Script::answers(1));
    world.dial("bart", "106");
    world.until_hears("bart", "106");
    world.presses("bart", CODE);
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "bart", "cleo", "106"]));
    for (leaves, left) in [
        ("bart", &["kim", "anna", "cleo", "106"][..]),
        ("anna", &["kim", "cleo", "106"]),
        ("106", &["kim", "cleo"]),
    ] {
        world.does(leaves, Deed::HangUp);
        world.run_s(2);
        assert!(world.all_talk(left), "after {leaves}: {}", world.hears("kim"));
    }
    world.finish();
}

#[test]
fn keys_in_a_room_reach_the_others_once() {
    let mut world = three();
    let before = (world.keys_at("kim"), world.keys_at("bart"));
    world.presses("anna", "12");
    world.does("anna", Deed::PressByInfo('3'));
    world.run_s(1);
    assert_eq!(world.keys_at("kim"), before.0.clone() + "123");
    assert_eq!(world.keys_at("bart"), before.1.clone() + "123");
    world.presses("kim", "*75");
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "bart"]), "a caller's keys are keys");
    world.finish();
}

#[test]
fn a_code_that_can_do_nothing_is_refused_by_voice_to_the_counsellor_alone() {
    // Nobody is asked; the colleague is the one who presses; the caller has hung up.
    let mut alone = together_with(Script::answers(1));
    alone.presses("anna", CODE);
    alone.run(std::time::Duration::from_millis(500));
    assert_eq!(times(&alone, "anna", "line-refused"), 1);
    alone.run_s(5);
    assert!(alone.talk("kim", "anna"));
    let mut asked = consulting();
    asked.presses("bart", CODE);
    asked.run_s(5);
    assert_eq!((times(&asked, "bart", "line-refused"), times(&asked, "kim", "line-refused")), (1, 0));
    assert!(asked.talk("anna", "bart") && asked.hears("kim") == "music");
    let mut left = consulting();
    left.does("kim", Deed::HangUp);
    left.presses("anna", CODE);
    left.run_s(5);
    assert_eq!(times(&left, "anna", "line-refused"), 1);
    assert!(left.talk("anna", "bart"));
    let nobody_together = |mut world: World| {
        assert_eq!(world.told(|n| matches!(n, Notice::BroughtTogether { .. })), 0);
        world.finish();
    };
    nobody_together(alone);
    nobody_together(asked);
    nobody_together(left);
}

#[test]
fn other_keys_and_a_code_in_pieces_do_nothing() {
    let mut world = consulting();
    for keys in ["75", "*7", "*85", "**7"] {
        world.presses("anna", keys);
        world.run_s(5);
    }
    world.presses("anna", "*7");
    world.run_s(4);
    world.presses("anna", "5");
    world.run_s(1);
    assert!(world.talk("anna", "bart") && world.hears("kim") == "music");
    world.presses("anna", "**75");
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "bart"]));
    world.finish();
}

#[test]
fn with_two_callers_on_hold_nobody_is_brought_together_by_guess() {
    let mut world = World::with_config(TUESDAY, |config| {
        config.lines.iter_mut().filter(|l| l.name.value == "anna").for_each(|l| l.capacity.value = 3);
    });
    world.line("anna", Script::answers(1));
    world.run_s(1);
    for caller in ["kim", "lou"] {
        world.calls(caller, "order", Script::default());
        world.until_hears(caller, "anna");
    }
    world.line("bart", Script::answers(1));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("bart", "anna");
    world.presses("anna", CODE);
    world.run_s(1);
    assert_eq!(times(&world, "anna", "line-refused"), 1);
    assert_eq!((world.hears("kim").as_str(), world.hears("lou").as_str()), ("anna", "anna"));
    // Pressed in the call of one of them it is clear who is meant.
    world.does_first("anna", Deed::Press('*'));
    world.does_first("anna", Deed::Press('7'));
    world.does_first("anna", Deed::Press('5'));
    world.run_s(1);
    assert_eq!((world.hears("kim").as_str(), world.hears("lou").as_str()), ("anna + bart", "anna"));
    world.finish();
}

#[test]
fn a_third_learns_nothing_of_the_caller_and_a_destination_no_lines_name() {
    let mut world = World::open();
    let anna = world.line("anna", Script::answers(1));
    let kim = world.caller("kim", Script::default());
    world.phones[anna].1.identity = Identity::marked("qzx");
    world.phones[kim].1.identity = Identity::marked("vwj");
    world.run_s(1);
    world.dial("kim", "order");
    world.until_hears("kim", "anna");
    world.line("bart", Script::answers(1));
    world.carried("106", "106", Script::answers(1));
    world.run_s(1);
    for whom in ["bart", "106"] {
        world.dial("anna", whom);
        world.until_hears("anna", whom);
        world.presses("anna", CODE);
        world.run_s(1);
    }
    assert!(world.all_talk(&["kim", "anna", "bart", "106"]));
    for deed in [Deed::Reinvite("sendonly"), Deed::Reinvite("sendrecv"), Deed::MoveMedia, Deed::HangUp] {
        world.does("kim", deed);
        world.run_s(1);
    }
    let mut seen = 0;
    for sent in world.wire.iter().filter(|w| w.name == "bart" || w.name == "106") {
        let text = String::from_utf8_lossy(&sent.bytes).into_owned();
        let lines: &[&str] = if sent.name == "106" { &["anna", "bart"] } else { &[] };
        for word in ["qzx", "vwj", "10.0.1.11", "10.0.2.1:"].iter().chain(lines) {
            assert!(!text.contains(word), "{word}: {text}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
    world.finish();
}

// --- leaving ------------------------------------------------------------------------------------------

#[test]
fn the_counsellor_leaves_and_the_caller_goes_on_with_the_colleague() {
    let mut world = three();
    world.does("anna", Deed::HangUp);
    world.run(std::time::Duration::from_millis(200));
    assert_eq!((times(&world, "kim", "tone/leave"), times(&world, "bart", "tone/leave")), (1, 1));
    assert!(world.talk("kim", "bart"), "while the tone sounds, too");
    world.run_s(2);
    assert!(world.talk("kim", "bart"));
    assert_eq!(states(&world), (Some(LineWord::WrapUp), Some(LineWord::Busy)));
    assert_eq!(world.told(|n| matches!(n, Notice::HandedOver { .. })), 1);
    // Bart has the caller as if from the beginning: hold, transfer, hanging up.
    world.does("bart", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    world.does("bart", Deed::Reinvite("sendrecv"));
    world.line("cleo", Script::answers(1));
    world.does("bart", Deed::Refer("sip:cleo@10.0.0.1".into()));
    world.until_hears("kim", "cleo");
    assert_eq!(world.state("bart"), Some(LineWord::WrapUp), "bart talked with the caller");
    world.finish();
    assert_eq!(world.outcomes(), [Outcome::Joined]);
}

#[test]
fn the_colleague_leaves_and_two_are_bridged_again() {
    let mut world = three();
    world.does("bart", Deed::HangUp);
    world.run_s(2);
    assert!(world.talk("kim", "anna"));
    assert_eq!((times(&world, "kim", "tone/leave"), times(&world, "anna", "tone/leave")), (1, 1));
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::WrapUp)));
    // And once more, with another.
    world.line("cleo", Script::answers(1));
    world.dial("anna", "cleo");
    world.until_hears("anna", "cleo");
    world.presses("anna", CODE);
    world.run_s(1);
    assert!(world.all_talk(&["kim", "anna", "cleo"]));
    world.finish();
}

#[test]
fn a_third_who_stays_on_the_line_is_sent_away_by_the_same_code() {
    let mut world = three();
    world.presses("bart", CODE);
    world.run_s(5);
    assert!(world.all_talk(&["kim", "anna", "bart"]), "not by the third");
    world.presses("anna", CODE);
    world.run_s(2);
    assert!(world.saw("bart", Seen::ByePeer) && world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn the_caller_leaves_and_both_others_hear_the_tone_and_then_the_end() {
    let mut world = three();
    world.does("kim", Deed::HangUp);
    world.run(std::time::Duration::from_millis(150));
    assert_eq!((times(&world, "anna", "tone/leave"), times(&world, "bart", "tone/leave")), (1, 1));
    assert_eq!((world.at_phone("anna").times(Seen::ByePeer), world.saw("bart", Seen::ByePeer)), (1, false));
    world.run_s(1);
    assert_eq!((world.at_phone("anna").times(Seen::ByePeer), world.saw("bart", Seen::ByePeer)), (2, true));
    assert_eq!(states(&world), (Some(LineWord::WrapUp), Some(LineWord::WrapUp)));
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn one_after_the_other_within_the_tone_and_the_last_is_told_at_once() {
    for order in
        [["kim", "anna", "bart"], ["anna", "bart", "kim"], ["bart", "kim", "anna"], ["anna", "kim", "bart"]]
    {
        let mut world = three();
        for name in order {
            world.does(name, Deed::HangUp);
            world.run(std::time::Duration::from_millis(60));
        }
        world.run_s(2);
        assert_eq!(world.outcomes(), [Outcome::Joined], "{order:?}");
        assert_eq!(world.snapshot().joined, 0);
        world.finish();
    }
}

#[test]
fn a_third_whose_phone_dies_is_gone_when_it_is_noticed_and_the_others_go_on() {
    let mut world = three();
    world.does("bart", Deed::Vanish);
    world.until(200, "the room without bart", |world| world.talk("kim", "anna"));
    world.run_s(1);
    assert_eq!(world.state("anna"), Some(LineWord::Busy));
    world.finish();
}

#[test]
fn a_third_who_never_answers_leaves_the_two_as_they_were() {
    let mut world = together_with(Script::manner(Manner::NeverAnswers));
    world.dial("anna", "bart");
    world.run_s(2);
    world.presses("anna", CODE);
    world.until(35, "the status", |world| world.saw("anna", Seen::Refused(480)));
    assert!(world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn on_hold_one_is_missing_and_when_all_others_are_the_caller_hears_music() {
    let mut world = three();
    world.does("bart", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    world.does("bart", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.hears("kim"), "music");
    world.does("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn nobody_transfers_a_room_and_glare_of_code_and_end_harms_nobody() {
    let mut world = three();
    for from in ["anna", "bart"] {
        world.does(from, Deed::Refer("sip:106@10.0.0.1".into()));
        world.run_s(1);
        assert!(world.saw(from, Seen::Replied(491)), "{from}: {:?}", world.at_phone(from).seen);
    }
    assert!(world.all_talk(&["kim", "anna", "bart"]));
    world.finish();
    // The last key of the code, and in the same moment each of the others.
    let deeds: [(&str, Deed); 6] = [
        ("bart", Deed::HangUp),
        ("kim", Deed::HangUp),
        ("anna", Deed::HangUp),
        ("anna", Deed::Reinvite("sendonly")),
        ("kim", Deed::Reinvite("sendonly")),
        ("anna", Deed::HandOver(BART.into())),
    ];
    for (who, deed) in deeds {
        for first in [true, false] {
            let mut world = consulting();
            world.presses("anna", "*7");
            if first {
                world.does(who, deed.clone());
            }
            world.does("anna", Deed::Press('5'));
            if !first {
                world.does(who, deed.clone());
            }
            world.run_s(10);
            world.finish();
            assert_eq!(world.outcomes(), [Outcome::Joined], "{who} {deed:?} {first}");
        }
    }
}

#[test]
fn at_a_stop_the_caller_is_told_and_all_are_hung_up() {
    let mut world = three();
    world.operate(Command::Drain);
    world.until(150, "the goodbye", |world| world.heard("kim").contains(&"shutdown-goodbye"));
    world.run_s(30);
    assert!(world.saw("bart", Seen::ByePeer) && world.drained);
    world.finish();
    let mut gone = three();
    gone.does("kim", Deed::HangUp);
    gone.operate(Command::CutOff);
    gone.run_s(20);
    assert!(gone.drained);
    gone.finish();
}

#[test]
fn the_longest_call_ends_for_all() {
    let mut world = three();
    let longest = world.policy.config.limits.call_length.value;
    world.run(longest.saturating_sub(world.elapsed()) + seconds(20));
    assert!(world.heard("kim").contains(&"goodbye"));
    world.run_s(20);
    assert_eq!(world.snapshot().calls, 0);
    world.finish();
}
