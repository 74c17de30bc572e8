//! The words of stories: who is there, what they do, who hears what.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::link::Weather;
use super::phone::{Deed, Identity, Phone, Script, Seen};
use super::world::{SWITCH, Setup, World};
use crate::base::id::RoomKey;
use crate::config::raw::Config;
use crate::media::prompt_bank::PromptBank;
use crate::sip::target::{Answer, Question};
use crate::store::request::{MessageRow, StoreRequest};
use crate::switch::policy::Policy;
use crate::telemetry::notice::{LineWord, Notice, Outcome};

/// A Tuesday, ten in the morning in Brussels: the helpline is open.
pub const TUESDAY: &str = "2026-11-24T09:00:00Z";
/// A Sunday, eight in the evening in Brussels.
pub const SUNDAY: &str = "2026-11-22T19:00:00Z";
/// Christmas morning, a Friday.
pub const CHRISTMAS: &str = "2026-12-25T09:00:00Z";

/// Phones of the lines in `tests/config/sim.toml`: name, address, password.
const LINES: [(&str, &str, Option<&str>); 6] = [
    ("anna", "10.0.2.1:5060", Some("geheim-anna")),
    ("bart", "10.0.2.2:5060", Some("geheim-bart")),
    ("cleo", "10.0.2.3:5060", None),
    ("centre", "10.0.2.4:5060", None),
    ("eva", "10.0.2.5:5060", None),
    ("fien", "10.0.2.6:5060", Some("geheim-fien")),
];
/// The carrier's switch: 106 and mobile lines are behind it.
const CARRIER: &str = "10.0.1.1:5060";

/// The simulated helpline, with changes.
pub fn policy(generation: u64, old: Option<&Policy>, change: impl FnOnce(&mut Config)) -> Arc<Policy> {
    static PROMPTS: OnceLock<Arc<PromptBank>> = OnceLock::new();
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let languages = ["nl".to_owned(), "fr".to_owned()];
    let prompts =
        PROMPTS.get_or_init(|| Arc::new(PromptBank::load(&root.join("prompts"), &languages).0)).clone();
    let load = || match crate::config::load_with(&root.join("tests/config"), &|_| None) {
        Ok(config) => config,
        Err(found) => panic!("{}", found.iter().map(|f| format!("{f}\n")).collect::<String>()),
    };
    let mut config = CONFIG.get_or_init(load).clone();
    change(&mut config);
    match Policy::compile(config, prompts, generation, old) {
        Ok((policy, _)) => Arc::new(policy),
        Err(found) => panic!("{}", found.iter().map(|f| format!("{f}\n")).collect::<String>()),
    }
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or(SocketAddr::from(([10, 0, 9, 9], 5060)))
}

impl World {
    /// The helpline on a Tuesday morning.
    pub fn open() -> Self {
        Self::at(TUESDAY)
    }

    pub fn at(start: &str) -> Self {
        Self::with_config(start, |_| {})
    }

    pub fn with_config(start: &str, change: impl FnOnce(&mut Config)) -> Self {
        let start: DateTime<Utc> = start.parse().unwrap_or_default();
        let policy = policy(1, None, change);
        let mut world =
            Self::new(Setup { policy, start, seed: 1, weather: Weather::FAIR, traced: true, wired: true });
        world.know_names();
        world
    }

    pub fn know_names(&mut self) {
        let host = Question::Addresses("phones.example".to_owned());
        self.names.insert(host, Answer::Addresses(vec![address("10.0.2.5:5060").ip()]));
    }

    /// The phone of a line of the config; a line that registers has done so a second later.
    pub fn line(&mut self, name: &str, script: Script) -> usize {
        let (_, place, password) = LINES.into_iter().find(|(n, _, _)| *n == name).unwrap_or(LINES[0]);
        let registers = password.map(|p| (name.to_owned(), p.to_owned()));
        self.phone(name, place, Script { registers: script.registers.clone().or(registers), ..script })
    }

    /// A number behind the carrier: `106`, or a counsellor's mobile.
    pub fn carried(&mut self, name: &str, number: &str, script: Script) -> usize {
        let phone = Phone::new(
            address(CARRIER),
            address(SWITCH),
            Identity::plain(number),
            Script { takes: Some(number.to_owned()), ..script },
            self.rng.fork(),
        );
        let base = 30_000 + 1_000 * (self.phones.len() as u16 % 20);
        self.add(name, phone.with_rtp_base(base))
    }

    /// A caller behind the carrier's trunk, who does not call yet.
    pub fn caller(&mut self, name: &str, script: Script) -> usize {
        let place = format!("10.0.1.{}:5060", 10 + self.phones.len());
        self.phone(name, &place, script)
    }

    pub fn phone(&mut self, name: &str, place: &str, script: Script) -> usize {
        let phone =
            Phone::new(address(place), address(SWITCH), Identity::plain(name), script, self.rng.fork());
        self.add(name, phone)
    }

    /// A caller who dials at once.
    pub fn calls(&mut self, name: &str, number: &str, script: Script) -> usize {
        let caller = self.caller(name, script);
        self.dial(name, number);
        caller
    }

    pub fn dial(&mut self, name: &str, number: &str) {
        let index = self.index(name);
        self.with(index, |phone, now| phone.dial(now, number));
    }

    /// Does something at a phone now.
    pub fn does(&mut self, name: &str, deed: Deed) {
        let index = self.index(name);
        self.with(index, |phone, now| phone.act(now, deed));
    }

    /// Does something with a phone's oldest call.
    pub fn does_first(&mut self, name: &str, deed: Deed) {
        let index = self.index(name);
        self.with(index, |phone, now| phone.act_on_first(now, deed));
    }

    pub fn presses(&mut self, name: &str, keys: &str) {
        for key in keys.chars() {
            self.does(name, Deed::Press(key));
            self.run(Duration::from_millis(300));
        }
    }

    pub fn run_s(&mut self, n: u64) {
        self.run(seconds(n));
    }

    /// Goes on until something holds, at most so many seconds.
    pub fn until(&mut self, most: u64, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..most * 10 {
            if holds(self) {
                return;
            }
            self.run(Duration::from_millis(100));
        }
        panic!("{what} did not happen within {most} s");
    }

    /// Goes on until the caller hears this.
    pub fn until_hears(&mut self, name: &str, what: &str) {
        self.until(600, &format!("{name} hears {what}"), |world| world.hears(name) == what);
    }

    pub fn index(&self, name: &str) -> usize {
        match self.phones.iter().position(|(n, _)| n == name) {
            Some(index) => index,
            None => panic!("there is no {name}"),
        }
    }

    pub fn at_phone(&self, name: &str) -> &Phone {
        &self.phones[self.index(name)].1
    }

    pub fn saw(&self, name: &str, what: Seen) -> bool {
        self.at_phone(name).saw(what)
    }

    // --- who hears what -------------------------------------------------------------------------------

    /// What a phone hears now: somebody's name, names of prompts, `music`, or nothing.
    pub fn hears(&self, name: &str) -> String {
        let side = self.at_phone(name).own_audio().and_then(|audio| self.media.leg_of(audio));
        let Some((_, side)) = side else { return "no call".to_owned() };
        if side.stream.as_ref().is_some_and(|s| !s.direction.sends()) {
            return "nothing, held".to_owned();
        }
        if let Some(playing) = &side.playing {
            return playing.names.clone();
        }
        if let Some(room) = side.room {
            return self.heard_in(room, name);
        }
        let Some(other) = side.bridged.and_then(|leg| self.media.side(leg)).and_then(|s| s.stream.as_ref())
        else {
            return if side.records() { "recorded".to_owned() } else { "nothing".to_owned() };
        };
        if !other.direction.receives() {
            return "nothing, held".to_owned();
        }
        let speaker = self.phones.iter().find(|(_, p)| p.owns_audio(other.remote));
        speaker.map_or("somebody", |(name, _)| name.as_str()).to_owned()
    }

    /// Who else speaks in a room, by name.
    fn heard_in(&self, room: RoomKey, name: &str) -> String {
        let streams = self.media.in_room(room).filter_map(|leg| self.media.side(leg)?.stream.as_ref());
        let speaking = streams.filter(|stream| stream.direction.receives());
        let phone = |remote| self.phones.iter().find(|(_, p)| p.owns_audio(remote));
        let mut names: Vec<&str> =
            speaking.map(|stream| phone(stream.remote).map_or("somebody", |(n, _)| n.as_str())).collect();
        names.sort_unstable();
        if let Some(own) = names.iter().position(|n| *n == name) {
            names.remove(own);
        }
        if names.is_empty() { "nothing".to_owned() } else { names.join(" + ") }
    }

    /// All that was played to this phone so far, in order.
    pub fn heard(&self, name: &str) -> Vec<&str> {
        let legs = self.legs_of(name);
        self.media.played.iter().filter(|p| legs.contains(&p.leg)).map(|p| p.names.as_str()).collect()
    }

    fn legs_of(&self, name: &str) -> Vec<crate::base::id::LegKey> {
        let phone = self.at_phone(name);
        self.media
            .peers
            .iter()
            .filter(|(_, remote)| phone.owns_audio(**remote))
            .map(|(leg, _)| *leg)
            .collect()
    }

    /// Keys that this phone was sent.
    pub fn keys_at(&self, name: &str) -> String {
        let side = self.at_phone(name).own_audio().and_then(|audio| self.media.leg_of(audio));
        side.map_or(String::new(), |(_, side)| side.digits.clone())
    }

    /// Both hear each other.
    pub fn talk(&self, one: &str, other: &str) -> bool {
        self.hears(one) == other && self.hears(other) == one
    }

    /// Each of these hears all the others, and nobody else.
    pub fn all_talk(&self, names: &[&str]) -> bool {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        let others =
            |name: &&str| sorted.iter().filter(|n| *n != name).copied().collect::<Vec<_>>().join(" + ");
        names.iter().all(|name| self.hears(name) == others(name))
    }

    // --- what was told --------------------------------------------------------------------------------

    pub fn outcomes(&self) -> Vec<Outcome> {
        let ended = |(_, n): &(Duration, Notice)| match n {
            Notice::Ended { outcome, .. } => Some(*outcome),
            _ => None,
        };
        self.notices.iter().filter_map(ended).collect()
    }

    pub fn told(&self, holds: impl Fn(&Notice) -> bool) -> usize {
        self.notices.iter().filter(|(_, n)| holds(n)).count()
    }

    pub fn messages(&self) -> Vec<&MessageRow> {
        let row = |request: &'_ StoreRequest| matches!(request, StoreRequest::SaveMessage(_));
        let rows = self.stored.iter().filter(|r| row(r));
        rows.filter_map(|r| match r {
            StoreRequest::SaveMessage(row) => Some(row),
            StoreRequest::SaveWord { .. } | StoreRequest::SaveBindings { .. } => None,
        })
        .collect()
    }

    /// A line's state, by its name.
    pub fn state(&self, line: &str) -> Option<LineWord> {
        let key = self.policy.line_named(line)?;
        self.snapshot().lines.into_iter().find(|(k, _)| *k == key).map(|(_, word)| word)
    }
}
