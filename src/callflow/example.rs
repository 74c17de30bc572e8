//! A small configuration and a walk through its flows, for tests.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{Act, FlowEvent, Instruction, Machine, Say, View};
use super::program::compile;
use crate::base::time::Now;
use crate::config::raw::{self, Action, At, Flow, Place, Step};

pub fn at<T>(value: T) -> At<T> {
    At { value, place: Place::default() }
}

fn names(list: &[&str]) -> Vec<At<String>> {
    list.iter().map(|n| at((*n).to_owned())).collect()
}

fn to(name: &str) -> At<String> {
    at(name.to_owned())
}

fn step(name: &str, action: Action) -> Step {
    Step { name: to(name), action }
}

fn seconds(n: u64) -> At<Duration> {
    at(Duration::from_secs(n))
}

fn play(prompts: &[&str], next: &str) -> Action {
    Action::Play { prompts: names(prompts), next: to(next) }
}

fn goodbye() -> Step {
    step("goodbye", Action::HangUp { prompts: names(&["goodbye"]) })
}

fn message() -> Step {
    step(
        "message",
        Action::Message {
            prompts: names(&["message-intro"]),
            ask_callback: at(true),
            done: to("goodbye"),
            deleted: to("goodbye"),
            failed: to("goodbye"),
        },
    )
}

/// The caller's way of a helpline, whole.
fn main_flow() -> Vec<Step> {
    let menu = Action::Menu {
        prompts: names(&["closed-menu"]),
        keys: vec![(at('1'), to("refer")), (at('2'), to("message"))],
        timeout: seconds(6),
        tries: at(2),
        otherwise: to("message"),
    };
    let queue = Action::Queue {
        queue: to("1712"),
        announce_every: seconds(60),
        announce: names(&["queue-choice"]),
        keys: vec![(at('2'), to("message"))],
        full: to("full"),
        nobody: to("nobody"),
        too_long: to("too-long"),
    };
    let refer =
        Action::Dial { destination: to("tele-onthaal"), prompts: names(&["refer-106"]), failed: to("refer-failed") };
    vec![
        step("welcome", play(&["welcome", "emergency"], "hours")),
        step("hours", Action::Hours { open: to("enter"), closed: to("closed"), holiday: Some(to("holiday")) }),
        step("enter", play(&["queue-enter"], "queue")),
        step("queue", queue),
        step("full", play(&["queue-full"], "menu")),
        step("nobody", play(&["nobody-there"], "menu")),
        step("too-long", play(&["queue-too-long"], "menu")),
        step("closed", Action::NextOpening { prompts: names(&["closed"]), next: to("menu") }),
        step("holiday", Action::NextOpening { prompts: names(&["holiday"]), next: to("menu") }),
        step("menu", menu),
        step("refer", refer),
        step("refer-failed", play(&["refer-failed"], "message")),
        message(),
        goodbye(),
    ]
}

fn language_flow() -> Vec<Step> {
    let language = Action::Language {
        prompts: names(&["language"]),
        keys: vec![(at('1'), to("nl")), (at('2'), to("fr"))],
        timeout: seconds(5),
        next: to("welcome"),
    };
    vec![step("language", language), step("welcome", play(&["welcome"], "goodbye")), goodbye()]
}

fn flow(name: &str, start: &str, steps: Vec<Step>) -> Flow {
    Flow { name: to(name), start: to(start), steps }
}

/// The shipped configuration with these flows in place of its own.
pub fn config() -> raw::Config {
    let mut config = raw::example();
    config.helpline.languages = names(&["nl", "fr"]);
    config.voicemail.max = seconds(180);
    config.voicemail.silence = seconds(8);
    config.voicemail.min = seconds(2);
    config.voicemail.finish_key = at('#');
    config.flows = vec![
        flow("main", "welcome", main_flow()),
        flow("languages", "language", language_flow()),
        flow("message", "message", vec![message(), goodbye()]),
        flow("wait", "wait", vec![step("wait", Action::Wait)]),
        flow("loop", "loop", vec![step("loop", Action::Loop { prompts: names(&["welcome"]) })]),
        flow("line", "line", vec![step("line", Action::Line { line: to("anna"), failed: to("goodbye") }), goodbye()]),
    ];
    config
}

/// One caller in a flow, with instructions as short text.
pub struct Walk {
    pub machine: Machine,
    pub view: View,
}

pub fn walk(name: &str) -> Walk {
    let Ok((programs, _)) = compile(&config(), &|_, _| true) else { panic!("the example has mistakes") };
    let program = programs.iter().find(|p| p.name() == name).unwrap().clone();
    let view = View { now: Now::read(), open: true, holiday: false, next_opening: None, position: None };
    Walk { machine: Machine::new(Arc::clone(&program)), view }
}

impl Walk {
    pub fn begin(&mut self) -> String {
        text(&self.machine.begin(&self.view))
    }

    pub fn event(&mut self, event: FlowEvent) -> String {
        self.machine.on(event, &self.view).map_or_else(|| "-".to_owned(), |i| text(&i))
    }

    pub fn digit(&mut self, digit: char) -> String {
        self.event(FlowEvent::Digit(digit))
    }

    pub fn played(&mut self) -> String {
        self.event(FlowEvent::PlayEnded)
    }

    pub fn timed_out(&mut self) -> String {
        self.event(FlowEvent::TimedOut)
    }
}

fn text(instruction: &Instruction) -> String {
    let acts: Vec<String> = instruction.acts.iter().map(act).collect();
    let within = instruction.timeout.map_or(String::new(), |t| format!(" within {}s", t.as_secs()));
    acts.join(", ") + &within
}

fn act(act: &Act) -> String {
    match act {
        Act::Play(says) => format!("play {}", said(says)),
        Act::Announce(says) => format!("announce {}", said(says)),
        Act::Silence => "silence".into(),
        Act::Enqueue { queue } => format!("enqueue {queue}"),
        Act::Dial { destination } => format!("dial {destination}"),
        Act::Line { line } => format!("line {line}"),
        Act::Record { max, silence, finish_key } => {
            format!("record {}s silence {}s key {finish_key}", max.as_secs(), silence.as_secs())
        }
        Act::PlayTake => "play-take".into(),
        Act::KeepTake { callback } => format!("keep-take {}", callback.as_deref().unwrap_or("-")),
        Act::DropTake => "drop-take".into(),
        Act::HangUp => "hangup".into(),
    }
}

fn said(says: &[Say]) -> String {
    let word = |say: &Say| match say {
        Say::Beep => "BEEP".to_owned(),
        Say::Prompt { language, name } if language == "nl" && name != "language" => name.clone(),
        Say::Prompt { language, name } => format!("{language}/{name}"),
    };
    says.iter().map(word).collect::<Vec<_>>().join(" ")
}
