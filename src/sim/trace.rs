//! One dense line for every event, kept while the world runs and printed when a test fails.

use std::time::Duration;

use super::text::Text;
use crate::media::command::MediaCommand;
use crate::sip::target::Answer;
use crate::switch::io::Input;
use crate::telemetry::notice::Notice;

/// Lines that are kept; the oldest go first.
const MOST: usize = 20_000;

/// The lines.
pub struct Trace {
    on: bool,
    lines: std::collections::VecDeque<String>,
}

impl Trace {
    pub fn new(on: bool) -> Self {
        Self { on, lines: std::collections::VecDeque::new() }
    }

    pub fn line(&mut self, at: Duration, words: String) {
        if self.on {
            if self.lines.len() >= MOST {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{:10.3} {words}", at.as_secs_f64()));
        }
    }

    /// `>` to the switch, `<` from it.
    pub fn message(&mut self, at: Duration, way: char, name: &str, bytes: &[u8]) {
        if !self.on {
            return;
        }
        let words = match Text::read(bytes) {
            Some(text) => {
                let id: String = text.get("Call-ID").chars().take(6).collect();
                let sdp = if text.body.is_empty() { "" } else { " +body" };
                format!("{name:8} {way} {} [{} {id}]{sdp}", text.start, text.get("CSeq"))
            }
            None => format!("{name:8} {way} {} bytes", bytes.len()),
        };
        self.line(at, words);
    }

    pub fn input(&mut self, at: Duration, input: &Input) {
        if !self.on {
            return;
        }
        match input {
            Input::Media(event) => self.line(at, format!("media    > {event:?}")),
            Input::FlowNamed { flow, domain } => self.line(at, format!("net      > flow {flow} is {domain}")),
            Input::FlowClosed { flow } => self.line(at, format!("net      > flow {flow} closed")),
            Input::TransmitFailed { .. } => self.line(at, "net      > transmit failed".to_owned()),
            Input::Resolved { answer, .. } => {
                let words = match answer {
                    Answer::Addresses(list) => format!("{} addresses", list.len()),
                    Answer::Services(list) => format!("{} services", list.len()),
                    Answer::Pointers(list) => format!("{} pointers", list.len()),
                    Answer::Failed => "nothing".to_owned(),
                };
                self.line(at, format!("dns      > {words}"));
            }
            Input::Policy(policy) => self.line(at, format!("operator > policy {}", policy.generation)),
            Input::Operator(command) => self.line(at, format!("operator > {command:?}")),
            Input::Stored(_) | Input::Sip { .. } | Input::NetDropped { .. } | Input::Timeout => {}
        }
    }

    pub fn command(&mut self, at: Duration, command: &MediaCommand, fails: bool) {
        if self.on {
            let failing = if fails { " FAILS" } else { "" };
            let words = match command {
                MediaCommand::Open { leg, .. } => format!("Open {leg}"),
                MediaCommand::Connect { leg, stream } => format!("Connect {leg} {stream:?}"),
                MediaCommand::Play { leg, clips, repeat, .. } => {
                    let names: Vec<&str> = clips.iter().map(|c| c.name.as_str()).collect();
                    format!("Play {leg} {}{}", names.join(" "), if *repeat { " for ever" } else { "" })
                }
                MediaCommand::Record { leg, take, .. } => format!("Record {leg} take {take}"),
                other => format!("{other:?}"),
            };
            self.line(at, format!("media    < {words}{failing}"));
        }
    }

    pub fn notice(&mut self, at: Duration, notice: &Notice) {
        if self.on {
            self.line(at, format!("         ! {notice:?}"));
        }
    }

    /// All lines, for a comparison of two runs.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn print(&self) {
        if self.on {
            eprintln!("{}", self.text());
        }
    }
}
