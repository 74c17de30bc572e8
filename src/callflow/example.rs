//! A small configuration and a walk through its flows, for tests.

use std::sync::Arc;

use super::machine::{Act, FlowEvent, Instruction, Machine, Say, View};
use super::program::compile;
use crate::base::time::Now;
use crate::calendar::schedule::LocalTime;
use crate::config::raw::{self, At, Place};

pub fn at<T>(value: T) -> At<T> {
    At { value, place: Place::default() }
}

/// The configuration of the simulated world.
pub fn config() -> raw::Config {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    match crate::config::load_with(&dir, &|_| None) {
        Ok(config) => config,
        Err(found) => panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// One caller in a flow, with instructions as short text.
pub struct Walk {
    pub machine: Machine,
    pub view: View,
}

pub fn walk(name: &str) -> Walk {
    let Ok((programs, _)) = compile(&config(), &|_, _| true) else { panic!("the example has mistakes") };
    let program = programs.iter().find(|p| p.name() == name).unwrap().clone();
    let local = LocalTime { weekday: chrono::Weekday::Fri, hour: 10, minute: 0, days_ahead: 0 };
    let view = View {
        now: Now::read(),
        open: true,
        holiday: false,
        local,
        next_opening: None,
        closing: None,
        position: None,
    };
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
