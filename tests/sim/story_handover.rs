//! After a word with a colleague the caller is handed over (RFC 3515, 3891, 5589), and nobody guesses a way into a call.

use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::story::{TUESDAY, seconds};
use hulplijn::sim::text::{Text, parameter};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::{LineWord, Notice, Outcome};

use super::story_consult::{BART, consulting, last, states, together_with};

/// A Replaces of the dialog of a response, as its caller would write it.
fn replaces(response: &Text) -> String {
    let tag = |name| parameter(response.get(name), "tag").unwrap_or("");
    format!("{};to-tag={};from-tag={}", response.get("Call-ID"), tag("To"), tag("From"))
}

fn in_refer_to(replaces: &str) -> String {
    let escaped = replaces.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
    format!("{BART}?Replaces={escaped}")
}

#[test]
fn rfc_5589_after_the_word_the_caller_goes_to_the_colleague_whichever_dialog_bears_the_refer() {
    for first in [true, false] {
        let mut world = consulting();
        if first {
            world.does_first("anna", Deed::HandOver(BART.into()));
        } else {
            world.does("anna", Deed::HandOver(BART.into()));
        }
        world.run_s(2);
        assert!(world.talk("kim", "bart"), "{}", world.hears("kim"));
        let anna = world.at_phone("anna");
        assert_eq!((anna.calls_alive(), anna.times(Seen::ByePeer)), (0, 2), "both calls of anna are over");
        let order: Vec<Seen> = anna.seen.iter().map(|(_, seen)| *seen).collect();
        let at = |what| order.iter().position(|seen| *seen == what);
        assert!(at(Seen::Replied(202)) < at(Seen::Notified(100)), "{order:?}");
        assert!(at(Seen::Notified(100)) < at(Seen::Notified(200)), "{order:?}");
        assert!(at(Seen::Notified(200)) < at(Seen::ByePeer), "{order:?}");
        assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Busy)));
        assert_eq!(world.heard("bart"), ["tone/join"], "the colleague hears that the caller is there");
        assert_eq!(world.told(|n| matches!(n, Notice::HandedOver { .. })), 1);
        world.does("bart", Deed::HangUp);
        world.run_s(1);
        assert_eq!(world.outcomes(), [Outcome::Joined]);
        assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Free)));
        world.finish();
    }
}

#[test]
fn the_colleague_has_the_queues_wrap_up_and_may_hand_the_caller_on() {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until_hears("kim", "anna");
    world.line("bart", Script::answers(1));
    world.line("cleo", Script::answers(1));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("anna", "bart");
    world.does_first("anna", Deed::HandOver(BART.into()));
    world.run_s(1);
    assert_eq!(states(&world), (Some(LineWord::WrapUp), Some(LineWord::Busy)));
    // Bart asks cleo in turn, and hands on.
    world.dial("bart", "cleo");
    world.until_hears("bart", "cleo");
    world.does_first("bart", Deed::HandOver("sip:cleo@10.0.0.1".into()));
    world.until_hears("kim", "cleo");
    assert!(world.talk("kim", "cleo"));
    assert_eq!(world.state("bart"), Some(LineWord::WrapUp));
    world.finish();
}

#[test]
fn a_colleague_on_hold_is_joined_with_the_caller_too() {
    let mut world = consulting();
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    assert_eq!(world.hears("bart"), "music");
    world.does_first("anna", Deed::HandOver(BART.into()));
    world.run_s(2);
    assert!(world.talk("kim", "bart"));
    world.finish();
}

#[test]
fn either_may_leave_while_the_tone_of_the_handover_plays() {
    for leaves in ["kim", "bart"] {
        let mut world = consulting();
        world.does_first("anna", Deed::HandOver(BART.into()));
        world.until(5, "the tone", |world| world.hears("kim") == "tone/join");
        world.does(leaves, Deed::HangUp);
        world.run_s(1);
        assert_eq!(world.outcomes(), [Outcome::Joined], "{leaves}");
        assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Free)));
        world.finish();
    }
}

#[test]
fn semi_attended_the_counsellor_lets_go_while_the_colleague_rings() {
    for (bart, takes) in
        [(Script::answers(5), true), (Script::manner(Manner::RingsThenDeclines(seconds(5))), false)]
    {
        let mut world = together_with(bart);
        world.does("anna", Deed::Reinvite("sendonly"));
        world.run_s(1);
        world.dial("anna", "bart");
        world.run_s(2);
        let named = in_refer_to(&replaces(&last(&world, "anna", "SIP/2.0 180")));
        world.does_first("anna", Deed::Refer(named));
        world.run_s(1);
        assert!(world.saw("anna", Seen::Replied(202)) && world.saw("anna", Seen::Refused(487)));
        assert!(!world.saw("bart", Seen::Cancelled), "the same leg rings on");
        assert_eq!(world.hears("kim"), "music");
        let end = if takes { 200 } else { 603 };
        world.until(10, "the end", |world| world.saw("anna", Seen::Notified(end)));
        world.run_s(2);
        if takes {
            assert!(world.talk("kim", "bart"));
            assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Busy)));
        } else {
            world.does("anna", Deed::Reinvite("sendrecv"));
            world.run_s(1);
            assert!(world.talk("kim", "anna"));
        }
        world.finish();
    }
}

#[test]
fn a_handover_of_what_is_not_the_lines_own_is_refused() {
    let mut world = consulting();
    let consultation = replaces(&last(&world, "anna", "SIP/2.0 200"));
    let own = |text: &str| text.replace("to-tag=", "to-tag=x");
    // No such dialog; tags exchanged; broken.
    for (named, status) in [(own(&consultation), 481), ("a@b;to-tag=1;from-tag=2".to_owned(), 481)] {
        world.does_first("anna", Deed::Refer(in_refer_to(&named)));
        world.run_s(1);
        assert!(world.saw("anna", Seen::Notified(status)), "{:?}", world.at_phone("anna").seen);
    }
    world.does_first("anna", Deed::Refer(format!("{BART}?Replaces=x")));
    world.run_s(1);
    assert!(world.saw("anna", Seen::Replied(400)));
    // What is up is not early any more (RFC 3891 3).
    world.does_first("anna", Deed::Refer(in_refer_to(&format!("{consultation};early-only"))));
    world.run_s(1);
    assert!(world.saw("anna", Seen::Replied(486)));
    // The very dialog that bears the REFER; then that of somebody else, by the caller and by the colleague.
    for name in ["anna", "kim", "bart"] {
        world.does(name, Deed::Refer(in_refer_to(&consultation)));
        world.run_s(1);
        assert!(world.saw(name, Seen::Replied(403)), "{name}: {:?}", world.at_phone(name).seen);
    }
    assert!(world.talk("anna", "bart"));
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn two_callers_of_one_switchboard_are_never_joined_with_each_other() {
    let mut world = World::with_config(TUESDAY, |config| {
        if let Some(line) = config.lines.iter_mut().find(|line| line.name.value == "anna") {
            line.capacity.value = 2;
        }
    });
    world.line("anna", Script::answers(1));
    world.run_s(1);
    for caller in ["kim", "lou"] {
        world.calls(caller, "order", Script::default());
        world.until_hears(caller, "anna");
    }
    world.does("anna", Deed::HandOver(BART.into()));
    world.run_s(1);
    assert!(world.saw("anna", Seen::Replied(403)));
    assert_eq!((world.hears("kim").as_str(), world.hears("lou").as_str()), ("anna", "anna"));
    world.finish();
}

#[test]
fn a_handover_while_another_transfer_rings_has_to_wait() {
    let mut world = consulting();
    world.carried("106", "106", Script::manner(Manner::NeverAnswers));
    world.does_first("anna", Deed::Refer("sip:106@10.0.0.1".into()));
    world.run_s(1);
    world.does_first("anna", Deed::HandOver(BART.into()));
    world.run_s(1);
    assert!(world.saw("anna", Seen::Replied(491)));
    world.finish();
}

#[test]
fn rfc_3891_an_invite_with_a_guessed_replaces_takes_nothing_over() {
    let mut world = consulting();
    let first = last(&world, "kim", "SIP/2.0 200");
    let to_bart = last(&world, "bart", "INVITE");
    let tag = |text: &Text, name| parameter(text.get(name), "tag").unwrap_or("").to_owned();
    let named: Vec<String> = vec![
        replaces(&first),
        replaces(&last(&world, "anna", "SIP/2.0 200")),
        // A dialog of ours with bart: his tag is not in our INVITE, so it is guessed.
        format!("{};to-tag={};from-tag=0", to_bart.get("Call-ID"), tag(&to_bart, "From")),
    ];
    for (n, replaces) in named.iter().enumerate() {
        for (place, number, required, status) in [
            ("10.0.9", "order", false, Some(403)),
            ("10.0.9", "bart", false, Some(403)),
            ("10.0.1", "bart", false, Some(404)),
            ("10.0.1", "order", true, Some(420)),
            ("10.0.9", "order", true, Some(420)),
            // What we don't know is passed over (RFC 3261 8.2.2.3), and a caller is answered as any other.
            ("10.0.1", "vm", false, None),
        ] {
            let name = format!("guess-{n}-{place}-{number}-{required}");
            let host = 100 + world.phones.len();
            let index = world.phone(&name, &format!("{place}.{host}:5060"), Script::default());
            let require = if required { "Require: replaces\r\n" } else { "" };
            world.phones[index].1.identity.headers = format!("Replaces: {replaces}\r\n{require}");
            world.dial(&name, number);
            world.run_s(1);
            if let Some(status) = status {
                assert!(world.saw(&name, Seen::Refused(status)), "{name}");
            } else {
                assert!(world.hears(&name).starts_with("message-intro"), "{name}");
                world.does(&name, Deed::HangUp);
            }
            assert!(world.talk("anna", "bart"), "{name}");
            assert_eq!(world.hears("kim"), "music", "{name}");
        }
    }
    // Nor does it stand in Supported.
    let says = |w: &hulplijn::sim::world::Wire| {
        Text::read(&w.bytes).is_some_and(|text| text.get("Supported").contains("replaces"))
    };
    assert!(!world.wire.iter().any(says));
    world.finish();
}

#[test]
fn a_line_with_a_password_and_a_guessed_replaces_calls_its_colleague_and_no_more() {
    let mut world = consulting();
    let named = replaces(&last(&world, "kim", "SIP/2.0 200"));
    world.does("bart", Deed::HangUp);
    world.run_s(1);
    let index = world.phones.iter().position(|(name, _)| name == "bart").unwrap_or(0);
    world.phones[index].1.identity.headers = format!("Replaces: {named}\r\n");
    world.line("cleo", Script::answers(1));
    world.dial("bart", "cleo");
    world.until_hears("bart", "cleo");
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}
