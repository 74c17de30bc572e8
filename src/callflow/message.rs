//! The message step: tone, recording, the menu to keep, hear, repeat or delete it, and the question for a
//! number to call back.

use std::time::Duration;

use super::machine::{Act, FlowEvent, HungUp, Instruction, Machine, Mode, Say, View};
use super::program::Step;
use super::speak;
use crate::base::quiet::quiet_debug;
use crate::voicemail::mailbox;

/// How long a menu of this step waits for a key.
const PAUSE: Duration = Duration::from_secs(6);
/// How often a question is put before silence decides.
const ASKED: u32 = 2;
/// How often nothing recorded leads to another recording.
const EMPTY: u32 = 1;

/// Where in the step a caller is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum MessageMode {
    /// Instructions and tone; `empty` recordings were heard before.
    Intro {
        empty: u32,
    },
    Recording {
        empty: u32,
    },
    /// Keep, listen, again or delete; asked so often.
    Menu {
        asked: u32,
    },
    /// The caller listens to the own message.
    Hearing,
    Ask {
        asked: u32,
    },
    Enter {
        digits: String,
        tried: u32,
    },
    Read {
        digits: String,
    },
    Keeping {
        callback: bool,
    },
    /// The last prompt of the step; then there.
    Leaving {
        next: usize,
    },
}

impl MessageMode {
    /// A finished recording is kept when the caller hangs up; a number only when it was read back.
    pub(super) fn hung_up(&self) -> HungUp {
        match self {
            Self::Menu { .. } | Self::Hearing | Self::Ask { .. } | Self::Enter { .. } => {
                HungUp::KeepTake { callback: None }
            }
            Self::Read { digits } => HungUp::KeepTake { callback: Some(digits.clone()) },
            Self::Intro { .. } | Self::Recording { .. } | Self::Keeping { .. } | Self::Leaving { .. } => {
                HungUp::Nothing
            }
        }
    }
}

/// Enters the step.
pub(super) fn begin(machine: &mut Machine, prompts: &[String]) -> Instruction {
    machine.mode = Mode::Message(MessageMode::Intro { empty: 0 });
    with_beep(machine, prompts)
}

/// What follows from an event within the step.
pub(super) fn on(machine: &mut Machine, event: &FlowEvent, view: &View, step: &Step) -> Option<Instruction> {
    let Step::Message { ask_callback, done, deleted, failed, .. } = step else { return None };
    let Mode::Message(mode) = machine.mode.clone() else { return None };
    if *event == FlowEvent::RecordFailed {
        return Some(leave(machine, "message-failed", *failed));
    }
    match (mode, event) {
        (MessageMode::Intro { empty }, FlowEvent::PlayEnded) => Some(record(machine, empty)),
        (MessageMode::Recording { empty }, FlowEvent::Recorded { length, voice }) => {
            if *voice && *length >= machine.program.voicemail.min {
                return Some(menu(machine, 1));
            }
            Some(nothing_heard(machine, empty, *deleted))
        }
        (MessageMode::Menu { asked }, event) => menu_event(machine, event, asked, *ask_callback, *deleted),
        (MessageMode::Hearing, FlowEvent::PlayEnded) => Some(menu(machine, 1)),
        (MessageMode::Hearing, FlowEvent::Digit(_)) => menu_event(machine, event, 1, *ask_callback, *deleted),
        (MessageMode::Ask { asked }, event) => ask_event(machine, event, asked),
        (MessageMode::Enter { digits, tried }, event) => enter_event(machine, event, digits, tried),
        (MessageMode::Read { digits }, event) => read_event(machine, event, digits),
        (MessageMode::Keeping { callback }, FlowEvent::Kept) => {
            let said = if callback { "callback-thanks" } else { "message-kept" };
            Some(leave(machine, said, *done))
        }
        (MessageMode::Leaving { next }, FlowEvent::PlayEnded) => Some(machine.go(next, view)),
        _ => None,
    }
}

fn with_beep(machine: &Machine, prompts: &[String]) -> Instruction {
    let says = prompts.iter().map(|name| machine.prompt(name)).chain([Say::Beep]);
    Act::Play(says.collect()).into()
}

fn record(machine: &mut Machine, empty: u32) -> Instruction {
    machine.mode = Mode::Message(MessageMode::Recording { empty });
    let limits = machine.program.voicemail;
    Act::Record { max: limits.max, silence: limits.silence, finish_key: limits.finish_key }.into()
}

/// Only silence: once more, then on as if deleted.
fn nothing_heard(machine: &mut Machine, empty: u32, deleted: usize) -> Instruction {
    let mut instruction = if empty < EMPTY {
        machine.mode = Mode::Message(MessageMode::Intro { empty: empty + 1 });
        with_beep(machine, &["message-empty".to_owned()])
    } else {
        leave(machine, "message-empty", deleted)
    };
    instruction.acts.insert(0, Act::DropTake);
    instruction
}

fn menu(machine: &mut Machine, asked: u32) -> Instruction {
    ask(machine, "message-keep-menu", MessageMode::Menu { asked })
}

fn ask(machine: &mut Machine, prompt: &str, mode: MessageMode) -> Instruction {
    machine.mode = Mode::Message(mode);
    machine.say(&[prompt.to_owned()])
}

fn menu_event(
    machine: &mut Machine,
    event: &FlowEvent,
    asked: u32,
    ask_callback: bool,
    deleted: usize,
) -> Option<Instruction> {
    match event {
        FlowEvent::Digit('1') if ask_callback => {
            Some(ask(machine, "callback-ask", MessageMode::Ask { asked: 1 }))
        }
        FlowEvent::Digit('1') => Some(keep(machine, None)),
        FlowEvent::Digit('2') => {
            machine.mode = Mode::Message(MessageMode::Hearing);
            Some(Act::PlayTake.into())
        }
        FlowEvent::Digit('3') => {
            machine.mode = Mode::Message(MessageMode::Intro { empty: 0 });
            let mut again = with_beep(machine, &[]);
            again.acts.insert(0, Act::DropTake);
            Some(again)
        }
        FlowEvent::Digit('4') => {
            let mut gone = leave(machine, "message-deleted", deleted);
            gone.acts.insert(0, Act::DropTake);
            Some(gone)
        }
        FlowEvent::PlayEnded => Some(Instruction::from(Act::Silence).within(PAUSE)),
        // Nobody who has spoken loses the message for want of the right key.
        FlowEvent::Digit(_) | FlowEvent::TimedOut if asked >= ASKED => Some(keep(machine, None)),
        FlowEvent::Digit(_) | FlowEvent::TimedOut => Some(menu(machine, asked + 1)),
        _ => None,
    }
}

fn ask_event(machine: &mut Machine, event: &FlowEvent, asked: u32) -> Option<Instruction> {
    match event {
        FlowEvent::Digit('1') => Some(enter(machine, 1)),
        FlowEvent::Digit('2') => Some(keep(machine, None)),
        FlowEvent::PlayEnded => Some(Instruction::from(Act::Silence).within(PAUSE)),
        FlowEvent::Digit(_) if asked < ASKED => {
            Some(ask(machine, "callback-ask", MessageMode::Ask { asked: asked + 1 }))
        }
        FlowEvent::Digit(_) | FlowEvent::TimedOut => Some(keep(machine, None)),
        _ => None,
    }
}

fn enter(machine: &mut Machine, tried: u32) -> Instruction {
    ask(machine, "callback-enter", MessageMode::Enter { digits: String::new(), tried })
}

fn enter_event(
    machine: &mut Machine,
    event: &FlowEvent,
    mut digits: String,
    tried: u32,
) -> Option<Instruction> {
    match event {
        FlowEvent::Digit(digit @ '0'..='9') => {
            // One key too many is kept, so that the number is refused and not cut short.
            if digits.len() <= mailbox::LONGEST_NUMBER {
                digits.push(*digit);
            }
            machine.mode = Mode::Message(MessageMode::Enter { digits, tried });
            Some(Instruction::from(Act::Silence).within(PAUSE))
        }
        FlowEvent::PlayEnded => Some(Instruction::from(Act::Silence).within(PAUSE)),
        FlowEvent::Digit('*') => Some(enter(machine, tried)),
        FlowEvent::Digit(_) | FlowEvent::TimedOut => match mailbox::callback_number(&digits) {
            Some(number) => Some(read(machine, number)),
            None if tried < ASKED => {
                let mode = MessageMode::Enter { digits: String::new(), tried: tried + 1 };
                machine.mode = Mode::Message(mode);
                Some(machine.say(&["callback-invalid".to_owned(), "callback-enter".to_owned()]))
            }
            None => Some(keep(machine, None)),
        },
        _ => None,
    }
}

fn read(machine: &mut Machine, digits: String) -> Instruction {
    let says: Vec<String> = ["callback-read".to_owned()]
        .into_iter()
        .chain(speak::digits(&digits))
        .chain(["callback-confirm".to_owned()])
        .collect();
    machine.mode = Mode::Message(MessageMode::Read { digits });
    machine.say(&says)
}

fn read_event(machine: &mut Machine, event: &FlowEvent, digits: String) -> Option<Instruction> {
    match event {
        FlowEvent::Digit('2') => Some(enter(machine, 1)),
        FlowEvent::Digit('3') => Some(keep(machine, None)),
        FlowEvent::Digit('1') | FlowEvent::TimedOut => Some(keep(machine, Some(digits))),
        FlowEvent::PlayEnded => Some(Instruction::from(Act::Silence).within(PAUSE)),
        _ => None,
    }
}

fn keep(machine: &mut Machine, callback: Option<String>) -> Instruction {
    machine.mode = Mode::Message(MessageMode::Keeping { callback: callback.is_some() });
    Act::KeepTake { callback }.into()
}

fn leave(machine: &mut Machine, prompt: &str, next: usize) -> Instruction {
    ask(machine, prompt, MessageMode::Leaving { next })
}

quiet_debug!(MessageMode => "MessageMode");

#[cfg(test)]
mod tests {
    use super::super::example::{Walk, walk};
    use super::*;

    const VOICE: FlowEvent = FlowEvent::Recorded { length: Duration::from_secs(9), voice: true };
    const NOTHING: FlowEvent = FlowEvent::Recorded { length: Duration::from_secs(9), voice: false };

    fn recorded() -> Walk {
        let mut walk = walk("message");
        assert_eq!(walk.begin(), "play message-intro BEEP");
        assert_eq!(walk.played(), "record 180s silence 8s key #");
        assert_eq!(walk.event(VOICE), "play message-keep-menu");
        walk
    }

    #[test]
    fn a_message_is_heard_recorded_again_kept_and_the_caller_thanked() {
        let mut walk = recorded();
        assert_eq!(walk.digit('2'), "play-take");
        assert_eq!(walk.played(), "play message-keep-menu");
        assert_eq!(walk.digit('3'), "drop-take, play BEEP");
        assert_eq!(walk.played(), "record 180s silence 8s key #");
        assert_eq!(walk.event(VOICE), "play message-keep-menu");
        assert_eq!(walk.digit('1'), "play callback-ask");
        assert_eq!(walk.digit('2'), "keep-take -");
        assert_eq!(walk.event(FlowEvent::Kept), "play message-kept");
        assert_eq!(walk.played(), "play goodbye");
        assert_eq!(walk.played(), "hangup");
    }

    #[test]
    fn a_number_to_call_back_is_keyed_in_read_and_confirmed() {
        let mut walk = recorded();
        walk.digit('1');
        assert_eq!(walk.digit('1'), "play callback-enter");
        for digit in "047".chars() {
            assert_eq!(walk.digit(digit), "silence within 6s");
        }
        assert_eq!(walk.machine.hung_up(), HungUp::KeepTake { callback: None }, "not confirmed");
        assert_eq!(walk.digit('#'), "play callback-read number-0 number-4 number-7 callback-confirm");
        assert_eq!(walk.machine.hung_up(), HungUp::KeepTake { callback: Some("047".into()) });
        assert_eq!(walk.digit('2'), "play callback-enter");
        walk.digit('1');
        assert_eq!(walk.digit('#'), "play callback-invalid callback-enter");
        for digit in "0912".chars() {
            walk.digit(digit);
        }
        assert!(walk.timed_out().starts_with("play callback-read"));
        assert_eq!(walk.digit('1'), "keep-take 0912");
        assert_eq!(walk.event(FlowEvent::Kept), "play callback-thanks");
    }

    #[test]
    fn a_number_too_long_is_refused_and_a_star_begins_it_anew() {
        let enter = || {
            let mut walk = recorded();
            walk.digit('1');
            assert_eq!(walk.digit('1'), "play callback-enter");
            walk
        };
        let mut walk = enter();
        for _ in 0..40 {
            walk.digit('4');
        }
        assert_eq!(walk.digit('#'), "play callback-invalid callback-enter", "not cut to 15 digits");
        assert_eq!(walk.digit('#'), "keep-take -", "a second slip costs the number, never the message");
        let mut walk = enter();
        walk.digit('4');
        assert_eq!(walk.digit('*'), "play callback-enter");
        for digit in "106".chars() {
            walk.digit(digit);
        }
        assert_eq!(walk.digit('#'), "play callback-read number-1 number-0 number-6 callback-confirm");
        assert_eq!(walk.digit('3'), "keep-take -", "no number after all");
    }

    #[test]
    fn silence_after_the_question_means_no_number_and_after_the_reading_yes() {
        let mut walk = recorded();
        walk.digit('1');
        assert_eq!(walk.digit('7'), "play callback-ask");
        assert_eq!(walk.played(), "silence within 6s");
        assert_eq!(walk.timed_out(), "keep-take -");
        let mut walk = recorded();
        walk.digit('1');
        walk.digit('1');
        for digit in "0912".chars() {
            walk.digit(digit);
        }
        walk.digit('#');
        assert_eq!(walk.digit('8'), "-", "a slip while it is read");
        assert_eq!(walk.played(), "silence within 6s");
        assert_eq!(walk.timed_out(), "keep-take 0912");
    }

    #[test]
    fn a_key_stops_the_own_message_and_a_short_one_is_none() {
        let mut walk = recorded();
        walk.digit('2');
        assert_eq!(walk.machine.hung_up(), HungUp::KeepTake { callback: None });
        assert_eq!(walk.digit('4'), "drop-take, play message-deleted");
        let mut walk = super::super::example::walk("message");
        walk.begin();
        walk.played();
        let short = FlowEvent::Recorded { length: Duration::from_secs(1), voice: true };
        assert_eq!(walk.event(short), "drop-take, play message-empty BEEP");
    }

    #[test]
    fn who_says_nothing_in_the_menu_or_hangs_up_keeps_the_message() {
        let mut walk = recorded();
        assert_eq!(walk.machine.hung_up(), HungUp::KeepTake { callback: None });
        assert_eq!(walk.played(), "silence within 6s");
        assert_eq!(walk.timed_out(), "play message-keep-menu");
        walk.played();
        assert_eq!(walk.timed_out(), "keep-take -");
    }

    #[test]
    fn deleted_is_gone_and_silence_is_no_message() {
        let mut walk = recorded();
        assert_eq!(walk.digit('4'), "drop-take, play message-deleted");
        assert_eq!(walk.machine.hung_up(), HungUp::Nothing);
        let mut walk = super::super::example::walk("message");
        walk.begin();
        walk.played();
        assert_eq!(walk.event(NOTHING), "drop-take, play message-empty BEEP");
        walk.played();
        assert_eq!(walk.event(NOTHING), "drop-take, play message-empty");
        assert_eq!(walk.played(), "play goodbye");
    }

    #[test]
    fn a_recording_that_fails_says_so_and_names_106() {
        let mut walk = walk("message");
        walk.begin();
        walk.played();
        assert_eq!(walk.event(FlowEvent::RecordFailed), "play message-failed");
        assert_eq!(walk.played(), "play goodbye");
    }
}
