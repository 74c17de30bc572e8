//! Walks a program: events in, instructions out. Time comes as `TimedOut`, the world as [`View`].
//!
//! A key acts at once in a menu, also while its prompt plays. A key during a plain prompt does nothing: the
//! emergency numbers are never skipped, and a frightened finger does no harm.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::message::{self, MessageMode};
use super::program::{Program, Step};
use super::speak;
use crate::base::quiet::quiet_debug;
use crate::base::time::Now;
use crate::calendar::schedule::LocalTime;

/// What the machine may know of the world at an event.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub now: Now,
    /// The helpline is open.
    pub open: bool,
    /// Closed because of a holiday.
    pub holiday: bool,
    /// The time in the helpline's zone.
    pub local: LocalTime,
    pub next_opening: Option<LocalTime>,
    /// When it closes: now when it is open, else after the next opening.
    pub closing: Option<LocalTime>,
    /// Place in the queue, from 1.
    pub position: Option<u32>,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    Prompt {
        language: String,
        name: String,
    },
    /// The tone before a recording.
    Beep,
}

/// What the switch is to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Act {
    /// Then `PlayEnded`; keys meanwhile come as `Digit`.
    Play(Vec<Say>),
    /// Stop playing and wait for keys or the timeout.
    Silence,
    /// Into the queue with music: `QueueFull`, `NobodyThere`, `TooLong` or `Connected`.
    Enqueue {
        queue: String,
    },
    /// Said in the queue without losing the place; music again after it.
    Announce(Vec<Say>),
    /// `Connected` or `DialFailed`.
    Dial {
        destination: String,
    },
    Line {
        line: String,
    },
    /// `Recorded` or `RecordFailed`.
    Record {
        max: Duration,
        silence: Duration,
        finish_key: char,
    },
    /// Then `PlayEnded`.
    PlayTake,
    /// `Kept` or `RecordFailed`.
    KeepTake {
        callback: Option<String>,
    },
    DropTake,
    HangUp,
}

/// The number to call back stays unsaid.
impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Play(says) => write!(f, "Play({says:?})"),
            Self::Silence => f.write_str("Silence"),
            Self::Enqueue { queue } => write!(f, "Enqueue({queue})"),
            Self::Announce(says) => write!(f, "Announce({says:?})"),
            Self::Dial { destination } => write!(f, "Dial({destination})"),
            Self::Line { line } => write!(f, "Line({line})"),
            Self::Record { max, silence, .. } => write!(f, "Record({max:?} {silence:?})"),
            Self::PlayTake => f.write_str("PlayTake"),
            Self::KeepTake { callback } => write!(f, "KeepTake({})", callback.is_some()),
            Self::DropTake => f.write_str("DropTake"),
            Self::HangUp => f.write_str("HangUp"),
        }
    }
}

/// Acts in their order, and a time after which `TimedOut` is wanted. It replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub acts: Vec<Act>,
    pub timeout: Option<Duration>,
}

impl From<Act> for Instruction {
    fn from(act: Act) -> Self {
        Self { acts: vec![act], timeout: None }
    }
}

impl Instruction {
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq)]
pub enum FlowEvent {
    Digit(char),
    TimedOut,
    PlayEnded,
    QueueFull,
    NobodyThere,
    TooLong,
    /// Joined with a line or destination: the script has done its work.
    Connected,
    DialFailed,
    Recorded {
        length: Duration,
        voice: bool,
    },
    RecordFailed,
    Kept,
    /// The caller is heard speaking, and no longer is.
    Speaking,
    Quiet,
}

/// Which key it was stays unsaid: keys may be a number to call back.
impl fmt::Debug for FlowEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digit(_) => "Digit",
            Self::TimedOut => "TimedOut",
            Self::PlayEnded => "PlayEnded",
            Self::QueueFull => "QueueFull",
            Self::NobodyThere => "NobodyThere",
            Self::TooLong => "TooLong",
            Self::Connected => "Connected",
            Self::DialFailed => "DialFailed",
            Self::Recorded { .. } => "Recorded",
            Self::RecordFailed => "RecordFailed",
            Self::Kept => "Kept",
            Self::Speaking => "Speaking",
            Self::Quiet => "Quiet",
        })
    }
}

/// What is to become of a recording when the caller hangs up.
#[derive(Clone, PartialEq, Eq)]
pub enum HungUp {
    KeepTake { callback: Option<String> },
    DropTake,
    Nothing,
}

/// What the present step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Prompts play; then this step.
    Playing {
        next: usize,
    },
    Menu {
        tries: u32,
    },
    Language,
    Queueing,
    /// The prompts before a dial.
    Announcing,
    Dialling,
    Message(MessageMode),
    /// Answered and silent.
    Waiting,
    Looping,
    /// The last prompts play.
    Parting,
    Done,
}

/// One caller's way through a program.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) program: Arc<Program>,
    pub(super) language: String,
    step: usize,
    pub(super) mode: Mode,
    /// The caller speaks now, and has spoken since the step began.
    speaks: bool,
    spoke: bool,
}

impl Machine {
    pub fn new(program: Arc<Program>) -> Self {
        let language = program.languages.first().cloned().unwrap_or_default();
        let step = program.start;
        Self { program, language, step, mode: Mode::Done, speaks: false, spoke: false }
    }

    /// The first instruction.
    pub fn begin(&mut self, view: &View) -> Instruction {
        self.go(self.program.start, view)
    }

    /// The language that is spoken now.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// Whether its script depends on the caller's speaking.
    pub fn asks_for_speech(&self) -> bool {
        self.program.asks_for_speech()
    }

    /// It waits for a queue or a dial to end.
    pub fn is_waiting(&self) -> bool {
        matches!(self.mode, Mode::Queueing | Mode::Dialling)
    }

    /// What to do with a finished recording when the caller hangs up now.
    pub fn hung_up(&self) -> HungUp {
        match &self.mode {
            Mode::Message(mode) => mode.hung_up(),
            Mode::Playing { .. }
            | Mode::Menu { .. }
            | Mode::Language
            | Mode::Queueing
            | Mode::Announcing
            | Mode::Dialling
            | Mode::Waiting
            | Mode::Looping
            | Mode::Parting
            | Mode::Done => HungUp::Nothing,
        }
    }

    /// What follows from an event; `None`: go on as it is.
    pub fn on(&mut self, event: FlowEvent, view: &View) -> Option<Instruction> {
        if event == FlowEvent::Connected {
            self.mode = Mode::Done;
            return None;
        }
        if let FlowEvent::Speaking | FlowEvent::Quiet = event {
            self.speaks = event == FlowEvent::Speaking;
            self.spoke |= self.speaks;
            return None;
        }
        let program = self.program.clone();
        let step = program.steps.get(self.step)?;
        match (&self.mode, step) {
            (Mode::Playing { next }, _) if event == FlowEvent::PlayEnded => {
                let next = *next;
                Some(self.go(next, view))
            }
            // In whatever time nobody is heard, and no key: a caller who speaks looks for the key.
            (Mode::Menu { .. }, Step::Menu { silent: Some(silent), .. })
                if event == FlowEvent::TimedOut && !self.spoke =>
            {
                Some(self.go(*silent, view))
            }
            (Mode::Menu { tries }, Step::Menu { prompts, keys, timeout, otherwise, .. }) => {
                let tries = *tries;
                self.menu(event, view, prompts, keys, *timeout, tries, *otherwise)
            }
            (Mode::Language, Step::Language { keys, timeout, next, .. }) => match event {
                FlowEvent::Digit(digit) => {
                    let (_, language) = keys.iter().find(|(key, _)| *key == digit)?;
                    self.language.clone_from(language);
                    Some(self.go(*next, view))
                }
                FlowEvent::PlayEnded => Some(Instruction::from(Act::Silence).within(*timeout)),
                FlowEvent::TimedOut => Some(self.go(*next, view)),
                _ => None,
            },
            (Mode::Queueing, Step::Queue { .. }) => self.queueing(&event, view, step),
            (Mode::Announcing, Step::Dial { destination, .. }) if event == FlowEvent::PlayEnded => {
                self.mode = Mode::Dialling;
                Some(Act::Dial { destination: destination.clone() }.into())
            }
            (Mode::Dialling, Step::Dial { failed, .. } | Step::Line { failed, .. })
                if event == FlowEvent::DialFailed =>
            {
                Some(self.go(*failed, view))
            }
            (Mode::Message(_), Step::Message { .. }) => message::on(self, &event, view, step),
            (Mode::Looping, Step::Loop { prompts }) if event == FlowEvent::PlayEnded => {
                Some(self.say(prompts))
            }
            (Mode::Parting, _) if event == FlowEvent::PlayEnded => {
                self.mode = Mode::Done;
                Some(Act::HangUp.into())
            }
            _ => None,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn menu(
        &mut self,
        event: FlowEvent,
        view: &View,
        prompts: &[String],
        keys: &[(char, usize)],
        timeout: Duration,
        tries: u32,
        otherwise: usize,
    ) -> Option<Instruction> {
        let complaint = match event {
            FlowEvent::Digit(digit) => match keys.iter().find(|(key, _)| *key == digit) {
                Some((_, to)) => return Some(self.go(*to, view)),
                None => "invalid-key",
            },
            FlowEvent::PlayEnded => return Some(Instruction::from(Act::Silence).within(timeout)),
            FlowEvent::TimedOut => "no-key",
            _ => return None,
        };
        if tries <= 1 {
            return Some(self.go(otherwise, view));
        }
        self.mode = Mode::Menu { tries: tries - 1 };
        let again: Vec<String> = [complaint.to_owned()].into_iter().chain(prompts.iter().cloned()).collect();
        Some(self.say(&again))
    }

    fn queueing(&mut self, event: &FlowEvent, view: &View, step: &Step) -> Option<Instruction> {
        let Step::Queue { announce_every, announce, keys, full, nobody, too_long, .. } = step else {
            return None;
        };
        match event {
            FlowEvent::Digit(digit) => {
                let (_, to) = keys.iter().find(|(key, _)| key == digit)?;
                Some(self.go(*to, view))
            }
            FlowEvent::TimedOut => {
                let mut says = position(view.position);
                says.extend(announce.iter().cloned());
                let says: Vec<Say> = says.into_iter().map(|name| self.prompt(&name)).collect();
                // With nothing to say the music goes on as it is.
                let acts = if says.is_empty() { Vec::new() } else { vec![Act::Announce(says)] };
                Some(Instruction { acts, timeout: Some(*announce_every) })
            }
            FlowEvent::QueueFull => Some(self.go(*full, view)),
            FlowEvent::NobodyThere => Some(self.go(*nobody, view)),
            FlowEvent::TooLong => Some(self.go(*too_long, view)),
            _ => None,
        }
    }

    /// Enters a step, and those behind it that need nothing from outside.
    pub(super) fn go(&mut self, to: usize, view: &View) -> Instruction {
        let program = self.program.clone();
        let mut at = to;
        for _ in 0..=program.steps.len() {
            self.step = at;
            match program.steps.get(at) {
                Some(Step::Hours { open, closed, holiday }) => {
                    at = match (view.open, view.holiday) {
                        (true, _) => *open,
                        (false, true) => *holiday,
                        (false, false) => *closed,
                    };
                }
                Some(Step::Play { prompts, next }) if prompts.is_empty() => at = *next,
                Some(step) => return self.enter(step, view),
                None => break,
            }
        }
        // `compile` refuses such programs; should one pass, the caller still hears the numbers.
        self.mode = Mode::Parting;
        self.say(&["last-resort".to_owned()])
    }

    fn enter(&mut self, step: &Step, view: &View) -> Instruction {
        self.spoke = self.speaks;
        match step {
            Step::Play { prompts, next } => {
                self.mode = Mode::Playing { next: *next };
                self.say(prompts)
            }
            Step::NextOpening { prompts, next } => {
                self.mode = Mode::Playing { next: *next };
                let hours = match (view.open, &view.next_opening, &view.closing) {
                    (true, _, Some(closing)) => speak::closing(&view.local, closing),
                    (false, Some(opening), closing) => speak::next_opening(opening, closing.as_ref()),
                    (true, _, None) | (false, None, _) => Vec::new(),
                };
                let all: Vec<String> = prompts.iter().cloned().chain(hours).collect();
                self.say(&all)
            }
            Step::Menu { prompts, tries, .. } => {
                self.mode = Mode::Menu { tries: *tries };
                self.say(prompts)
            }
            Step::Language { prompts, keys, .. } => {
                self.mode = Mode::Language;
                // Each language is offered in its own tongue.
                let says = keys.iter().flat_map(|(_, language)| {
                    prompts.iter().map(|name| Say::Prompt { language: language.clone(), name: name.clone() })
                });
                Act::Play(says.collect()).into()
            }
            Step::Queue { queue, announce_every, .. } => {
                self.mode = Mode::Queueing;
                Instruction::from(Act::Enqueue { queue: queue.clone() }).within(*announce_every)
            }
            Step::Dial { destination, prompts, .. } if prompts.is_empty() => {
                self.mode = Mode::Dialling;
                Act::Dial { destination: destination.clone() }.into()
            }
            Step::Dial { prompts, .. } => {
                self.mode = Mode::Announcing;
                self.say(prompts)
            }
            Step::Line { line, .. } => {
                self.mode = Mode::Dialling;
                Act::Line { line: line.clone() }.into()
            }
            Step::Message { prompts, .. } => message::begin(self, prompts),
            Step::Wait => {
                self.mode = Mode::Waiting;
                Act::Silence.into()
            }
            Step::Loop { prompts } => {
                self.mode = Mode::Looping;
                self.say(prompts)
            }
            Step::HangUp { prompts } if prompts.is_empty() => {
                self.mode = Mode::Done;
                Act::HangUp.into()
            }
            Step::HangUp { prompts } => {
                self.mode = Mode::Parting;
                self.say(prompts)
            }
            // `go` has passed through these.
            Step::Hours { .. } => Act::HangUp.into(),
        }
    }

    pub(super) fn say(&self, names: &[String]) -> Instruction {
        Act::Play(names.iter().map(|name| self.prompt(name)).collect()).into()
    }

    pub(super) fn prompt(&self, name: &str) -> Say {
        Say::Prompt { language: self.language.clone(), name: name.to_owned() }
    }
}

/// Where the caller stands: "you are the next", or the number.
fn position(position: Option<u32>) -> Vec<String> {
    match position {
        Some(1) => vec!["queue-next".into()],
        Some(n) => {
            let mut says = vec!["queue-position-before".into()];
            says.extend(speak::number(n));
            says.push("queue-position-after".into());
            says
        }
        None => Vec::new(),
    }
}

quiet_debug!(HungUp => "HungUp");

#[cfg(test)]
mod tests {
    use super::super::example::{Walk, walk};
    use super::*;

    #[test]
    fn open_the_caller_comes_to_the_queue_and_hears_the_place_every_minute() {
        let mut walk = walk("main");
        assert_eq!(walk.begin(), "play welcome emergency");
        assert_eq!(walk.digit('2'), "-", "the emergency numbers are never skipped");
        assert_eq!(walk.played(), "play queue-enter");
        assert_eq!(walk.played(), "enqueue 1712 within 60s");
        walk.view.position = Some(3);
        assert_eq!(
            walk.timed_out(),
            "announce queue-position-before number-3 queue-position-after queue-choice within 60s"
        );
        walk.view.position = Some(1);
        assert_eq!(walk.timed_out(), "announce queue-next queue-choice within 60s");
        assert!(walk.machine.is_waiting());
        assert_eq!(walk.event(FlowEvent::Connected), "-");
        assert!(!walk.machine.is_waiting());
        assert_eq!(walk.digit('2'), "-");
    }

    #[test]
    fn with_nothing_to_announce_the_music_is_not_disturbed() {
        let mut walk = walk("all");
        assert_eq!(walk.begin(), "enqueue all within 60s");
        assert_eq!(walk.timed_out(), " within 60s");
        walk.view.position = Some(1);
        assert_eq!(walk.timed_out(), "announce queue-next within 60s");
        assert_eq!(walk.played(), "-");
    }

    #[test]
    fn after_106_fails_the_caller_may_leave_a_message_in_the_chosen_language() {
        let mut walk = walk("main");
        walk.view.open = false;
        walk.machine.language = "fr".into();
        walk.begin();
        walk.played();
        walk.played();
        assert_eq!(walk.digit('1'), "play fr/refer-106");
        assert_eq!(walk.digit('2'), "-", "no way back while it is said");
        assert_eq!(walk.played(), "dial tele-onthaal");
        assert!(walk.machine.is_waiting());
        assert_eq!(walk.digit('2'), "-");
        assert_eq!(walk.event(FlowEvent::DialFailed), "play fr/refer-failed");
        assert_eq!(walk.played(), "play fr/message-intro BEEP");
        walk.played();
        let spoken = FlowEvent::Recorded { length: Duration::from_secs(9), voice: true };
        assert_eq!(walk.event(spoken), "play fr/message-keep-menu");
        assert_eq!(walk.digit('4'), "drop-take, play fr/message-deleted");
        assert_eq!(walk.played(), "play fr/goodbye");
        assert_eq!(walk.played(), "hangup");
        assert_eq!(walk.played(), "-");
    }

    #[test]
    fn the_script_is_over_when_the_caller_is_joined_and_late_events_find_nothing() {
        let mut walk = in_queue();
        walk.event(FlowEvent::Connected);
        for event in [FlowEvent::TooLong, FlowEvent::TimedOut, FlowEvent::PlayEnded, FlowEvent::DialFailed] {
            assert_eq!(walk.event(event), "-");
        }
        assert_eq!(walk.machine.hung_up(), HungUp::Nothing);
    }

    #[test]
    fn key_2_leaves_the_queue_for_a_message() {
        let mut walk = in_queue();
        assert_eq!(walk.digit('5'), "-");
        assert_eq!(walk.digit('2'), "play message-intro BEEP");
    }

    #[test]
    fn full_nobody_and_too_long_each_say_so() {
        for (event, said) in [
            (FlowEvent::QueueFull, "queue-full"),
            (FlowEvent::NobodyThere, "nobody-there"),
            (FlowEvent::TooLong, "queue-too-long"),
        ] {
            assert_eq!(in_queue().event(event), format!("play {said}"));
        }
    }

    #[test]
    fn closed_says_when_we_open_then_106_on_1_a_message_on_2_or_by_waiting() {
        let closed = |view: &mut View| {
            view.open = false;
            view.next_opening =
                Some(LocalTime { weekday: chrono::Weekday::Mon, hour: 9, minute: 0, days_ahead: 2 });
            view.closing =
                Some(LocalTime { weekday: chrono::Weekday::Mon, hour: 17, minute: 30, days_ahead: 2 });
        };
        let menu = || {
            let mut walk = walk("main");
            closed(&mut walk.view);
            walk.begin();
            assert_eq!(
                walk.played(),
                "play closed opens-again day-monday from-hour hour-9 until-hour half-17"
            );
            assert_eq!(walk.played(), "play closed-menu");
            walk
        };
        let mut walk = menu();
        assert_eq!(walk.digit('1'), "play refer-106", "also while the prompt plays");
        assert_eq!(walk.played(), "dial tele-onthaal");
        assert_eq!(walk.event(FlowEvent::DialFailed), "play refer-failed");
        let mut walk = menu();
        assert_eq!(walk.played(), "silence within 6s");
        assert_eq!(walk.digit('2'), "play message-intro BEEP");
        let mut walk = menu();
        assert_eq!(walk.digit('9'), "play invalid-key closed-menu");
        assert_eq!(walk.played(), "silence within 6s");
        assert_eq!(walk.timed_out(), "play message-intro BEEP", "two tries, then a message");
    }

    #[test]
    fn a_holiday_is_said() {
        let mut walk = walk("main");
        (walk.view.open, walk.view.holiday) = (false, true);
        walk.begin();
        assert_eq!(walk.played(), "play holiday");
    }

    #[test]
    fn a_language_is_offered_in_its_own_tongue_and_kept() {
        let mut walk = walk("languages");
        assert_eq!(walk.begin(), "play nl/language fr/language");
        assert_eq!(walk.played(), "silence within 5s");
        assert_eq!(walk.digit('7'), "-");
        assert_eq!(walk.digit('2'), "play fr/welcome");
        let mut silent = super::super::example::walk("languages");
        silent.begin();
        silent.played();
        assert_eq!(silent.timed_out(), "play welcome");
    }

    #[test]
    fn wait_loop_and_the_goodbye() {
        let mut walk = walk("wait");
        assert_eq!(walk.begin(), "silence");
        let mut walk = super::super::example::walk("loop");
        assert_eq!(walk.begin(), "play welcome");
        assert_eq!(walk.played(), "play welcome");
        let mut walk = super::super::example::walk("line");
        assert_eq!(walk.begin(), "line anna");
        assert_eq!(walk.event(FlowEvent::DialFailed), "play goodbye");
        assert_eq!(walk.played(), "hangup");
    }

    fn in_queue() -> Walk {
        let mut walk = walk("main");
        walk.begin();
        walk.played();
        walk.played();
        walk
    }

    proptest::proptest! {
        /// Whatever happens, the caller is never left in silence without a timeout but in `wait`.
        #[test]
        fn no_event_leaves_a_caller_without_a_way_on(events in proptest::collection::vec(0u8..16, 1..60)) {
            let mut walk = walk("main");
            let mut last = walk.begin();
            for event in events {
                let event = match event {
                    0..=6 => FlowEvent::Digit(char::from(b'0' + event)),
                    7 => FlowEvent::Digit('#'),
                    8 => FlowEvent::TimedOut,
                    9 => FlowEvent::Recorded { length: Duration::from_secs(9), voice: true },
                    10 => FlowEvent::Recorded { length: Duration::ZERO, voice: false },
                    11 => FlowEvent::RecordFailed,
                    12 => FlowEvent::Kept,
                    13 => FlowEvent::QueueFull,
                    14 => FlowEvent::DialFailed,
                    _ => FlowEvent::PlayEnded,
                };
                let said = walk.event(event);
                if said != "-" {
                    last = said;
                }
                proptest::prop_assert!(last != "silence" && !last.is_empty(), "{last}");
            }
        }
    }
}
