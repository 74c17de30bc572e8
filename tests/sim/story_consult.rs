//! A word with a colleague while the caller is on hold.

use hulplijn::sim::phone::{Deed, Identity, Manner, Script, Seen};
use hulplijn::sim::story::{TUESDAY, seconds};
use hulplijn::sim::text::Text;
use hulplijn::sim::world::World;
use hulplijn::switch::io::Command;
use hulplijn::telemetry::notice::{LineWord, Notice, Outcome};

pub const BART: &str = "sip:bart@10.0.0.1";

/// Kim talks with anna; bart is there too.
pub fn together_with(bart: Script) -> World {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until_hears("kim", "anna");
    world.line("bart", bart);
    world.run_s(1);
    world
}

/// Anna holds kim and talks with bart.
pub fn consulting() -> World {
    let mut world = together_with(Script::answers(2));
    world.does("anna", Deed::Reinvite("sendonly"));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("anna", "bart");
    assert!(world.talk("anna", "bart"));
    assert_eq!(world.hears("kim"), "music");
    world
}

pub fn states(world: &World) -> (Option<LineWord>, Option<LineWord>) {
    (world.state("anna"), world.state("bart"))
}

/// The last message of that kind that the switch sent to this phone.
pub fn last(world: &World, name: &str, start: &str) -> Text {
    let found = world.wire.iter().rev().filter(|w| w.name == name && w.bytes.starts_with(start.as_bytes()));
    let mut found = found.filter_map(|w| Text::read(&w.bytes));
    found.next().unwrap_or_else(|| panic!("the switch sent {name} no {start}"))
}

// --- the consultation ---------------------------------------------------------------------------------

#[test]
fn a_counsellor_asks_a_colleague_and_goes_back_to_the_caller() {
    let mut world = consulting();
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Busy)));
    assert!(world.saw("anna", Seen::Ringing), "the counsellor hears that it rings");
    assert_eq!(world.heard("bart"), [""; 0], "the tone stands for a caller");
    world.does("bart", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("anna", Seen::ByePeer));
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Free)));
    world.does("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    assert_eq!(world.told(|n| matches!(n, Notice::Consulted { .. })), 1);
    assert_eq!(world.told(|n| matches!(n, Notice::Joined { .. })), 1, "a consultation is no caller's call");
    world.does("kim", Deed::HangUp);
    world.run_s(1);
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn the_colleague_sees_who_asks_and_nothing_of_the_caller() {
    let mut world = World::open();
    let anna = world.line("anna", Script::answers(1));
    let kim = world.caller("kim", Script::default());
    world.phones[anna].1.identity = Identity::marked("qzx");
    world.phones[kim].1.identity = Identity::marked("vwj");
    world.run_s(1);
    world.dial("kim", "order");
    world.until_hears("kim", "anna");
    world.line("bart", Script::answers(2));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("anna", "bart");
    let invite = last(&world, "bart", "INVITE");
    assert_eq!(invite.get("From").split(';').next(), Some("\"anna\" <sip:anonymous@anonymous.invalid>"));
    world.does_first("anna", Deed::HandOver(BART.into()));
    world.until_hears("kim", "bart");
    world.does("bart", Deed::Reinvite("sendonly"));
    world.does("kim", Deed::HangUp);
    world.run_s(1);
    // Nor what the phone of the one who asks says of itself, nor the address of either.
    for sent in world.wire.iter().filter(|w| w.name == "bart") {
        let text = String::from_utf8_lossy(&sent.bytes).into_owned();
        for word in ["qzx", "vwj", "10.0.1.", "10.0.2.1:"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    world.finish();
}

#[test]
fn a_colleague_who_does_not_take_it_is_told_to_the_phone_by_a_status() {
    let cases = [
        (Manner::Busy, 486, 2),
        (Manner::Declines, 603, 2),
        (Manner::NeverAnswers, 480, 32),
        (Manner::Refuses(404), 480, 2),
        (Manner::Dead, 480, 8),
        (Manner::AnswersBadly(seconds(1)), 480, 3),
    ];
    for (manner, status, within) in cases {
        let mut world = together_with(Script::manner(manner));
        world.dial("anna", "bart");
        world.until(within, "the status", |world| world.saw("anna", Seen::Refused(status)));
        assert!(world.talk("kim", "anna"), "{manner:?}");
        assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Free)), "{manner:?}");
        world.finish();
    }
}

#[test]
fn whom_a_line_may_not_call_does_not_ring() {
    let cases =
        [("anna", 486), ("fien", 480), ("secret", 403), ("0900", 403), ("nobody", 404), ("1712", 404)];
    for (to, status) in cases {
        let mut world = together_with(Script::answers(1));
        let sent = world.wire.len();
        world.dial("anna", to);
        world.run_s(2);
        assert!(world.saw("anna", Seen::Refused(status)), "{to}: {:?}", world.at_phone("anna").seen);
        assert!(!world.wire[sent..].iter().any(|w| w.bytes.starts_with(b"INVITE")), "{to}");
        assert!(world.talk("kim", "anna"));
        world.finish();
    }
}

#[test]
fn a_colleague_who_talks_or_is_asked_already_is_busy() {
    let mut world = consulting();
    world.line("cleo", Script::answers(1));
    world.calls("lou", "order", Script::default());
    world.until_hears("lou", "cleo");
    // Bart is asked by anna; cleo has a caller.
    for (who, to) in [("bart", "anna"), ("bart", "cleo")] {
        world.dial(who, to);
        world.run_s(1);
    }
    assert_eq!(world.at_phone("bart").times(Seen::Refused(486)), 2);
    world.dial("anna", "cleo");
    world.run_s(1);
    assert!(world.saw("anna", Seen::Refused(486)), "one consultation a line");
    assert!(world.talk("lou", "cleo"));
    world.finish();
}

#[test]
fn a_line_that_asks_is_not_rung_by_a_queue() {
    let mut world = World::open();
    world.line("anna", Script::answers(1));
    world.line("bart", Script::answers(2));
    world.run_s(1);
    world.dial("anna", "bart");
    world.run(std::time::Duration::from_millis(200));
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Ringing)));
    world.calls("kim", "order", Script::default());
    world.until_hears("anna", "bart");
    world.run_s(20);
    assert_eq!(world.hears("kim"), "music");
    world.does("anna", Deed::HangUp);
    world.until_hears("kim", "anna");
    world.finish();
}

#[test]
fn who_asks_may_ask_a_destination_that_takes_transfers() {
    for number in ["106", "tele-onthaal"] {
        let mut world = together_with(Script::answers(1));
        world.carried("106", "106", Script::answers(2));
        world.does("anna", Deed::Reinvite("sendonly"));
        world.run_s(1);
        world.dial("anna", number);
        world.until_hears("anna", "106");
        let invite = last(&world, "106", "INVITE");
        assert!(
            invite.get("From").starts_with("\"1712\" "),
            "a trunk learns no line's name: {}",
            invite.get("From")
        );
        world.does_first("anna", Deed::HandOver("sip:106@10.0.0.1".into()));
        world.until_hears("kim", "106");
        assert!(world.talk("kim", "106"));
        world.finish();
        assert_eq!(world.outcomes(), [Outcome::Referred]);
    }
}

#[test]
fn a_colleague_at_a_telephone_presses_1_before_the_counsellor_is_answered() {
    let mut world = together_with(Script::answers(1));
    world.carried("dirk", "+32470000000", Script::answers(2));
    world.dial("anna", "dirk");
    world.until_hears("dirk", "line-confirm");
    assert!(world.talk("kim", "anna"), "not answered yet");
    assert!(last(&world, "dirk", "INVITE").get("From").starts_with("\"1712\" "));
    world.presses("dirk", "1");
    world.until_hears("anna", "dirk");
    assert!(world.talk("anna", "dirk"));
    world.finish();
}

#[test]
fn the_caller_hangs_up_during_the_consultation() {
    let mut world = consulting();
    world.does("kim", Deed::HangUp);
    world.run_s(1);
    assert!(world.talk("anna", "bart"), "the colleagues talk on");
    assert_eq!(world.at_phone("anna").calls_alive(), 1);
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Busy)));
    world.does("anna", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("bart", Seen::ByePeer));
    assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Free)));
    world.finish();
}

#[test]
fn the_first_call_hung_up_by_mistake_ends_for_the_caller_who_is_not_left_in_silence() {
    let mut world = consulting();
    world.does_first("anna", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("kim", Seen::ByePeer));
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    assert!(world.talk("anna", "bart"));
    world.finish();
}

#[test]
fn the_counsellor_gives_up_before_the_colleague_answers() {
    let mut world = together_with(Script::manner(Manner::NeverAnswers));
    world.dial("anna", "bart");
    world.run_s(2);
    assert_eq!(world.state("bart"), Some(LineWord::Ringing));
    world.does("anna", Deed::HangUp);
    world.run_s(1);
    assert!(world.saw("bart", Seen::Cancelled) && world.saw("anna", Seen::Cancelled));
    assert_eq!(states(&world), (Some(LineWord::Busy), Some(LineWord::Free)));
    assert!(world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn a_colleague_on_hold_hears_music_while_the_counsellor_is_back_with_the_caller() {
    let mut world = consulting();
    world.does("anna", Deed::Reinvite("sendonly"));
    world.does_first("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert_eq!((world.hears("bart").as_str(), world.hears("kim").as_str()), ("music", "anna"));
    world.does_first("anna", Deed::Reinvite("sendonly"));
    world.does("anna", Deed::Reinvite("sendrecv"));
    world.run_s(1);
    assert!(world.talk("anna", "bart"));
    assert_eq!(world.hears("kim"), "music");
    world.finish();
}

#[test]
fn a_wrong_password_calls_no_colleague_and_learns_no_name() {
    let mut world = together_with(Script::answers(1));
    // Behind the same address as anna's phone; elsewhere a stranger is refused before that.
    let wrong = Some(("anna".to_owned(), "falsch".to_owned()));
    world.phone("thief", "10.0.2.1:5090", Script { registers: wrong, ..Script::default() });
    world.phone("stranger", "10.0.9.9:5060", Script::default());
    for name in ["bart", "nobody"] {
        world.dial("thief", name);
        world.dial("stranger", name);
        world.run_s(30);
    }
    assert_eq!(world.at_phone("thief").times(Seen::Refused(401)), 2);
    assert_eq!(world.at_phone("stranger").times(Seen::Refused(403)), 2);
    assert!(!world.saw("bart", Seen::Invited));
    world.finish();
}

#[test]
fn a_phone_that_never_confirms_leaves_nothing() {
    let mut world = World::open();
    world.line("anna", Script { never_acks: true, ..Script::default() });
    world.line("bart", Script::answers(1));
    world.run_s(1);
    world.dial("anna", "bart");
    world.run_s(60);
    assert_eq!(states(&world), (Some(LineWord::Free), Some(LineWord::Free)));
    world.finish();
}

#[test]
fn a_phone_without_an_offer_of_its_own_may_ask_too() {
    let mut world = World::open();
    world.line("anna", Script { late_offer: true, ..Script::default() });
    world.line("bart", Script::answers(1));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("anna", "bart");
    assert!(world.talk("anna", "bart"));
    world.finish();
}

#[test]
fn a_colleague_may_pass_the_one_who_asks_on_to_another_who_gets_the_caller_then() {
    let mut world = consulting();
    world.line("cleo", Script::answers(2));
    world.does("bart", Deed::Refer("sip:cleo@10.0.0.1".into()));
    world.until_hears("anna", "cleo");
    assert!(world.talk("anna", "cleo"));
    assert_eq!(world.state("bart"), Some(LineWord::Free));
    world.does_first("anna", Deed::HandOver("sip:cleo@10.0.0.1".into()));
    world.until_hears("kim", "cleo");
    assert!(world.talk("kim", "cleo"));
    world.finish();
}

#[test]
fn a_phone_at_the_carriers_address_may_ask_and_the_carrier_calls_as_ever() {
    let mut world = World::with_config(TUESDAY, |config| {
        for source in config.trunks.iter_mut().flat_map(|trunk| &mut trunk.sources) {
            source.value.prefix = 8;
        }
    });
    world.line("anna", Script::answers(1));
    world.line("bart", Script::answers(1));
    world.run_s(1);
    world.dial("anna", "bart");
    world.until_hears("anna", "bart");
    world.calls("kim", "vm", Script::default());
    world.run_s(1);
    assert!(world.hears("kim").starts_with("message-intro"));
    world.finish();
}

#[test]
fn at_a_stop_both_are_told_and_nothing_is_left() {
    let mut world = consulting();
    world.operate(Command::Drain);
    world.dial("bart", "cleo");
    world.run_s(1);
    assert!(world.saw("bart", Seen::Refused(503)));
    world.run_s(60);
    assert!(
        world.heard("kim").contains(&"shutdown-goodbye") && world.heard("anna").contains(&"shutdown-goodbye")
    );
    world.run_s(20);
    assert!(world.drained);
    world.finish();
}
