//! Messages that cross or are lost, and somebody who leaves: at every moment of a call.

use std::time::Duration;

use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::world::World;
use hulplijn::telemetry::notice::{LineWord, Miss, Notice, Outcome};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn rfc3261_14_a_re_invite_proves_that_the_answer_arrived_also_when_its_ack_is_lost() {
    let mut world = World::open();
    let script = Script { acks_lost: 1000, ..Script::default() };
    world.calls("kim", "1712", script.then(2, Deed::Reinvite("sendrecv")));
    world.run_s(3);
    assert_eq!(world.hears("kim"), "welcome emergency");
    world.finish();
}

#[test]
fn rfc3261_9_cancel_at_every_moment_before_and_against_the_200() {
    let (mut taken_back, mut too_late) = (0, 0);
    for moment in (0..400).step_by(10) {
        let mut world = World::open();
        world.media.opens_after = ms(200);
        world.calls("kim", "1712", Script { cancels_after: Some(ms(moment)), ..Script::default() });
        world.run_s(5);
        if world.saw("kim", Seen::Cancelled) {
            taken_back += 1;
            assert_eq!(world.outcomes(), [Outcome::Cancelled], "at {moment} ms");
        } else {
            too_late += 1;
            assert!(world.saw("kim", Seen::Up), "at {moment} ms");
        }
        world.finish();
    }
    assert!(taken_back > 5 && too_late > 5, "{taken_back} {too_late}");
}

#[test]
fn rfc3261_9_2_a_cancel_after_the_200_changes_nothing() {
    let mut world = World::open();
    world.calls("kim", "1712", Script { cancels_at_answer: true, ..Script::default() });
    world.run_s(2);
    assert_eq!(world.hears("kim"), "welcome emergency");
    world.finish();
}

#[test]
fn rfc3261_15_bye_before_the_ack_ends_the_call() {
    let mut world = World::open();
    world.calls("kim", "1712", Script { bye_before_ack: true, ..Script::default() });
    world.run_s(2);
    assert_eq!((world.outcomes().len(), world.snapshot().calls), (1, 0));
    world.finish();
}

#[test]
fn rfc3261_13_3_1_4_a_200_without_ack_is_repeated_and_then_the_call_ends() {
    let mut world = World::open();
    world.calls("kim", "1712", Script { never_acks: true, ..Script::default() });
    world.run_s(31);
    assert_eq!(world.snapshot().calls, 1);
    let answers = world.wire.iter().filter(|w| w.bytes.starts_with(b"SIP/2.0 200")).count();
    assert_eq!(answers, 10, "at 0, 0.5, 1.5, 3.5, 7.5 s and then every 4 s");
    world.run_s(2);
    assert_eq!(world.snapshot().calls, 0);
    assert!(world.saw("kim", Seen::ByePeer));
    world.finish();
}

#[test]
fn an_ack_that_is_lost_a_few_times_costs_nothing() {
    let mut world = World::open();
    world.calls("kim", "1712", Script { acks_lost: 3, ..Script::default() });
    world.until_hears("kim", "welcome emergency");
    world.finish();
}

#[test]
fn rfc3264_5_the_caller_may_ask_for_our_offer_and_must_answer_it() {
    let mut world = World::open();
    world.calls("kim", "1712", Script { late_offer: true, ..Script::default() });
    world.until_hears("kim", "welcome emergency");
    world.finish();
    let mut world = World::open();
    world.calls("lou", "1712", Script { late_offer: true, forgets_answer: true, ..Script::default() });
    world.run_s(2);
    assert_eq!(world.snapshot().calls, 0);
    assert!(world.saw("lou", Seen::ByePeer));
    world.finish();
}

// --- somebody leaves, at every moment -------------------------------------------------------------------

/// Kim calls the queue of anna and bart, who answer after 2 s; `who` does `deed` at this moment.
fn leaves(who: &str, deed: &Deed, moment: u64) -> World {
    let mut world = World::open();
    world.line("anna", Script::answers(2));
    world.line("bart", Script::answers(2));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.run(ms(moment));
    world.does(who, deed.clone());
    world
}

/// Every 2 ms around the ringing, the answer and the bridge; every 100 ms between.
fn moments() -> impl Iterator<Item = u64> {
    (0..40)
        .step_by(2)
        .chain((40..2_000).step_by(100))
        .chain((2_000..2_300).step_by(2))
        .chain((2_300..3_000).step_by(100))
}

#[test]
fn the_caller_hangs_up_at_every_moment_and_no_line_rings_on() {
    for moment in moments() {
        let mut world = leaves("kim", &Deed::HangUp, moment);
        world.run_s(2);
        for line in ["anna", "bart"] {
            assert_eq!(world.at_phone(line).calls_alive(), 0, "{line}, left at {moment} ms");
            assert_eq!(world.state(line), Some(LineWord::Free), "{line}, left at {moment} ms");
        }
        world.finish();
    }
}

#[test]
fn the_line_hangs_up_at_every_moment_and_the_caller_is_never_lost_before_they_have_talked() {
    for moment in moments() {
        let mut world = leaves("anna", &Deed::HangUp, moment);
        world.run(ms(5)); // the BYE's way
        let talked = world.told(|n| matches!(n, Notice::Joined { .. })) > 0;
        world.run_s(10);
        if talked {
            assert_eq!(world.outcomes(), [Outcome::Joined], "left at {moment} ms");
        } else {
            let heard = world.hears("kim");
            assert!(heard == "anna" || heard == "bart", "left at {moment} ms: {heard}");
        }
        world.finish();
    }
}

#[test]
fn the_line_vanishes_at_every_moment_and_the_caller_goes_on_or_the_call_ends() {
    for moment in moments().step_by(5) {
        let mut world = leaves("anna", &Deed::Vanish, moment);
        world.run_s(240);
        assert_ne!(world.hears("kim"), "anna", "vanished at {moment} ms");
        world.finish();
    }
}

#[test]
fn the_caller_vanishes_at_every_moment_and_the_line_is_not_kept_for_ever() {
    for moment in moments().step_by(5) {
        let mut world = leaves("kim", &Deed::Vanish, moment);
        world.run_s(240);
        for line in ["anna", "bart"] {
            assert_eq!(world.state(line), Some(LineWord::Free), "{line}, vanished at {moment} ms");
        }
        assert_eq!(world.snapshot().calls, 0);
        world.finish();
    }
}

#[test]
fn a_line_that_answers_and_hangs_up_before_the_ack_is_a_miss_and_the_next_one_rings() {
    let mut world = World::open();
    world.line("anna", Script::manner(Manner::AnswersAndHangsUp(ms(500))));
    world.line("bart", Script::answers(1));
    world.run_s(1);
    world.calls("kim", "order", Script::default());
    world.until(5, "kim talks with bart", |world| world.talk("kim", "bart"));
    assert_eq!(world.told(|n| matches!(n, Notice::Missed { miss: Miss::Declined, .. })), 1);
    assert_eq!(world.told(|n| matches!(n, Notice::Joined { .. })), 1);
    world.finish();
}

#[test]
fn a_phone_that_only_answers_to_hang_up_comes_to_rest_and_the_caller_hears_where_they_stand() {
    let mut world = World::open();
    world.line("anna", Script::manner(Manner::AnswersAndHangsUp(ms(500))));
    world.run_s(1);
    world.calls("kim", "1712", Script::default());
    world.until(120, "anna rests", |world| world.state("anna") == Some(LineWord::Resting));
    world.until_hears("kim", "queue-next queue-choice");
    world.until_hears("kim", "queue-too-long");
    world.finish();
}

#[test]
fn a_destination_that_answers_and_hangs_up_at_once_was_not_reached() {
    let mut world = World::at(hulplijn::sim::story::SUNDAY);
    world.carried("106", "106", Script::manner(Manner::AnswersAndHangsUp(ms(500))));
    world.calls("kim", "1712", Script::default().then(14, Deed::Press('1')));
    world.until_hears("kim", "closed-menu");
    world.presses("kim", "1");
    world.until_hears("kim", "refer-failed");
    world.finish();
}

#[test]
fn both_hang_up_at_once() {
    let mut world = leaves("kim", &Deed::HangUp, 3_000);
    world.does("anna", Deed::HangUp);
    world.run_s(2);
    assert_eq!(world.outcomes(), [Outcome::Joined]);
    world.finish();
}

#[test]
fn ring_all_two_answer_at_once_and_one_of_them_has_the_caller() {
    let mut world = World::open();
    for line in ["anna", "bart", "cleo"] {
        world.line(line, Script::answers(2));
    }
    world.run_s(1);
    world.calls("kim", "all", Script::default());
    world.run_s(4);
    let up = ["anna", "bart", "cleo"].iter().filter(|line| world.at_phone(line).calls_up() == 1).count();
    assert_eq!((up, world.told(|n| matches!(n, Notice::Joined { .. }))), (1, 1));
    for line in ["anna", "bart", "cleo"] {
        let unlucky = world.at_phone(line).calls_up() == 0;
        assert!(!unlucky || world.saw(line, Seen::ByePeer), "{line} got ACK and BYE");
    }
    world.finish();
}

#[test]
fn rfc3261_14_a_re_invite_that_meets_our_bye_is_refused_and_both_are_over() {
    for (who, other) in [("kim", "anna"), ("anna", "kim")] {
        let mut world = leaves(other, &Deed::HangUp, 3_000);
        world.run(ms(3));
        world.does(who, Deed::Reinvite("sendonly"));
        world.run_s(2);
        assert_eq!(world.at_phone(who).calls_alive(), 0, "{who}");
        world.finish();
    }
}

#[test]
fn both_move_their_audio_at_once() {
    let mut world = leaves("kim", &Deed::MoveMedia, 3_000);
    world.does("anna", Deed::MoveMedia);
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn a_transfer_and_a_hang_up_at_once() {
    for (first, second) in [(0, 3), (3, 0)] {
        let mut world = leaves("kim", &Deed::Press('5'), 3_000);
        world.run(ms(first));
        world.does("anna", Deed::Refer("sip:bart@10.0.0.1".into()));
        world.run(ms(second));
        world.does("anna", Deed::HangUp);
        world.run_s(10);
        assert_eq!(world.hears("kim"), "bart");
        world.finish();
    }
}

#[test]
fn a_refer_before_both_hear_each_other_is_too_early() {
    let mut world = leaves("anna", &Deed::Refer("sip:bart@10.0.0.1".into()), 2_100);
    world.run_s(1);
    assert!(world.talk("kim", "anna"));
    world.finish();
}

#[test]
fn the_trunk_vanishes_in_mid_message_and_the_message_is_kept() {
    let mut world = World::open();
    world.calls("kim", "vm", Script::default().speaks(20));
    world.until_hears("kim", "recorded");
    world.run_s(10);
    world.does("kim", Deed::Vanish);
    world.run_s(240);
    assert_eq!((world.messages().len(), world.snapshot().calls), (1, 0));
    world.finish();
}
