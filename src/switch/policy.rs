//! One configuration, compiled: what every decision of the core is taken by. Immutable; a call keeps the
//! one that it began with.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::domains::Domains;
use super::hold_music;
use crate::base::id::LineKey;
use crate::base::network::Network;
use crate::calendar::schedule::Schedule;
use crate::callflow::program::{self, Program};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw;
use crate::media::audio;
use crate::media::command::{Clip, Music};
use crate::media::prompt_bank::PromptBank;
use crate::privacy::screen::{BELGIUM, ZoneTable};
use crate::sdp::crypto::Suite;
use crate::sdp::offer_answer::{Codec, Srtp};
use crate::sip::digest::{Algorithm, Secret};
use crate::sip::flow::Transport;
use crate::sip::wire::parse::Bounds;

/// A compiled configuration.
pub struct Policy {
    pub generation: u64,
    pub config: raw::Config,
    pub schedule: Schedule,
    pub prompts: Arc<PromptBank>,
    /// Something else is heard in place of a prompt, in the language that callers begin with at least.
    pub lacks_prompts: bool,
    pub zones: ZoneTable,
    pub codecs: Vec<Codec>,
    /// Crypto suites, the preferred one first; empty: those of `sdp`.
    pub suites: Vec<Suite>,
    pub languages: Vec<String>,
    /// Where messages are written.
    pub messages: PathBuf,
    pub join_tone: Arc<Clip>,
    pub leave_tone: Arc<Clip>,
    pub beep: Arc<Clip>,
    music: Arc<Music>,
    /// Of the queues that have their own.
    queue_music: BTreeMap<String, Arc<Music>>,
    numbers: IndexMap<String, (usize, Arc<Program>)>,
    lines: IndexMap<LineKey, usize>,
    /// Found in the same time whether there is such a line or not.
    line_names: BTreeMap<String, LineKey>,
    next_line: u64,
    domains: Domains,
}

impl Policy {
    /// Compiles everything and names every mistake at once. Warnings come with the policy. `old` keeps
    /// the keys of lines that were there before.
    pub fn compile(
        config: raw::Config,
        prompts: Arc<PromptBank>,
        generation: u64,
        old: Option<&Self>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut found = Vec::new();
        let schedule = Schedule::compile(&config.helpline, &config.hours).map_err(|e| found.extend(e)).ok();
        let lacking = Cell::new(prompts.is_forgiving());
        let first = config.helpline.languages.first().map(|language| language.value.clone());
        let has = |language: &str, name: &str| {
            let there = prompts.has(language, name);
            lacking.set(lacking.get() || (!there && first.as_deref() == Some(language)));
            there
        };
        let programs = match program::compile(&config, &has) {
            Ok((programs, warnings)) => {
                found.extend(warnings);
                programs
            }
            Err(mistakes) => {
                found.extend(mistakes);
                Vec::new()
            }
        };
        found.extend(secrets(&config));
        found.extend(hold_music::check(&config, &prompts));
        let (Some(schedule), false) = (schedule, found.iter().any(|d| d.severity == Severity::Error)) else {
            return Err(found);
        };
        let (lines, next_line) = line_keys(&config, old);
        let named = |(key, at): (&LineKey, &usize)| Some((config.lines.get(*at)?.name.value.clone(), *key));
        let line_names = lines.iter().filter_map(named).collect();
        let domains = Domains::new(&config, old.map(|p| &p.domains));
        let zone_names: Vec<&str> =
            config.lines.iter().flat_map(|l| l.zones.iter().map(|z| z.value.as_str())).collect();
        let policy = Self {
            generation,
            schedule,
            zones: ZoneTable::new(BELGIUM, zone_names),
            codecs: codecs(&config.helpline.codecs),
            suites: suites(&config),
            languages: config.helpline.languages.iter().map(|l| l.value.clone()).collect(),
            messages: config.site.data.value.join("messages"),
            join_tone: audio::join_tone(),
            leave_tone: audio::leave_tone(),
            beep: audio::beep(),
            music: hold_music::of_the_helpline(&config, &prompts),
            queue_music: hold_music::of_the_queues(&config, &prompts),
            numbers: numbers(&config, &programs),
            lines,
            line_names,
            next_line,
            domains,
            lacks_prompts: lacking.get(),
            prompts,
            config,
        };
        Ok((policy, found))
    }

    /// The flow of a number of ours, with the number as the config writes it.
    pub fn number(&self, dialled: &str) -> Option<(usize, Arc<Program>)> {
        self.numbers.get(dialled).cloned()
    }

    /// The codecs for a leg in order of preference: those of its line or trunk (`own`), else ours. First the one that
    /// the other side of the call has, so that nothing need be changed on the way.
    pub fn codecs_after(&self, own: &[Codec], spoken: Option<Codec>) -> Vec<Codec> {
        let all = if own.is_empty() { &self.codecs } else { own };
        let first = spoken.filter(|codec| all.contains(codec));
        let others = all.iter().copied().filter(|codec| Some(*codec) != first);
        first.into_iter().chain(others).collect()
    }

    /// The number at that place of the config.
    pub fn number_name(&self, at: usize) -> &str {
        self.config.numbers.get(at).map_or("", |n| n.dial.value.as_str())
    }

    /// All lines with their keys, in the order of the config.
    pub fn lines(&self) -> impl Iterator<Item = (LineKey, &raw::Line)> {
        self.lines.iter().filter_map(|(key, at)| Some((*key, self.config.lines.get(*at)?)))
    }

    pub fn line(&self, key: LineKey) -> Option<&raw::Line> {
        self.config.lines.get(*self.lines.get(&key)?)
    }

    pub fn line_named(&self, name: &str) -> Option<LineKey> {
        self.line_names.get(name).copied()
    }

    pub fn destination(&self, name: &str) -> Option<&raw::Destination> {
        self.config.destinations.iter().find(|d| d.name.value == name)
    }

    pub fn trunk(&self, name: &str) -> Option<&raw::Trunk> {
        self.config.trunks.iter().find(|t| t.name.value == name)
    }

    /// A trunk and the ones to be tried after it. `check` has seen to it that the chain ends.
    pub fn trunk_and_backups(&self, name: &str) -> Vec<&raw::Trunk> {
        let first = self.trunk(name);
        let next = |trunk: &&raw::Trunk| self.trunk(&trunk.backup.as_ref()?.value);
        std::iter::successors(first, next).take(self.config.trunks.len()).collect()
    }

    /// Whether calls from this address are a carrier's.
    pub fn is_trunk(&self, source: IpAddr) -> bool {
        self.trunk_at(source).is_some()
    }

    /// The first carrier whose calls come from this address.
    pub fn trunk_at(&self, source: IpAddr) -> Option<&raw::Trunk> {
        self.trunks_at(source).next()
    }

    /// All carriers whose calls come from this address.
    pub fn trunks_at(&self, source: IpAddr) -> impl Iterator<Item = &raw::Trunk> {
        let source = source.to_canonical();
        let is_there =
            move |trunk: &&raw::Trunk| trunk.sources.iter().any(|n| network(n.value).contains(source));
        self.config.trunks.iter().filter(is_there)
    }

    /// Whether calls from this address are of this carrier: one that we register with may call from anywhere.
    pub fn is_of_trunk(&self, trunk: &raw::Trunk, source: IpAddr) -> bool {
        let source = source.to_canonical();
        trunk.sources.is_empty() || trunk.sources.iter().any(|n| network(n.value).contains(source))
    }

    /// Transports that we can call by, in the order in which we like them.
    pub fn spoken(&self) -> Vec<Transport> {
        spoken(&self.config)
    }

    /// Hosts to which calls go over TLS.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// What one SIP message may have.
    pub fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        Bounds { headers: limits.headers.value as usize, header_length: limits.header_length.value as usize }
    }

    /// SIP transactions at a time: as configured, or what the calls, phones and lamps that there may be can need. A
    /// subscription has its SUBSCRIBE and its NOTIFY under way.
    pub fn transactions(&self) -> usize {
        let limits = &self.config.limits;
        let needed = || {
            let calls = limits.calls.value as usize;
            let (phones, lamps) = (limits.registrations.value as usize, limits.subscriptions.value as usize);
            calls * super::LEGS_PER_CALL * 4 + phones + lamps * 2
        };
        limits.transactions.as_ref().map_or_else(needed, |most| most.value as usize)
    }

    /// A prompt, in the language or one that has it; in the end the built-in last resort.
    pub fn clip(&self, language: &str, name: &str) -> Arc<Clip> {
        self.prompts.clip(language, name)
    }

    /// What is heard by who waits in this queue, or is held.
    pub fn music(&self, queue: Option<&str>) -> Arc<Music> {
        Arc::clone(queue.and_then(|queue| self.queue_music.get(queue)).unwrap_or(&self.music))
    }

    /// A prompt in the helpline's first language.
    pub fn own_clip(&self, name: &str) -> Arc<Clip> {
        self.prompts.clip(self.languages.first().map_or("", String::as_str), name)
    }
}

/// The transports of the listeners that can be called by.
pub fn spoken(config: &raw::Config) -> Vec<Transport> {
    let all = [
        (raw::ListenTransport::Udp, Transport::Udp),
        (raw::ListenTransport::Tcp, Transport::Tcp),
        (raw::ListenTransport::Tls, Transport::Tls),
    ];
    let has = |kind| config.listen.iter().any(|listen| listen.transport.value == kind);
    all.into_iter().filter(|(kind, _)| has(*kind)).map(|(_, transport)| transport).collect()
}

/// Whether audio is encrypted, in the words of `sdp`.
pub fn srtp(raw: raw::Srtp) -> Srtp {
    match raw {
        raw::Srtp::Never => Srtp::Never,
        raw::Srtp::Optional => Srtp::Optional,
        raw::Srtp::Mandatory => Srtp::Mandatory,
    }
}

/// A network of the configuration.
pub fn network(raw: raw::Network) -> Network {
    Network { address: raw.address, prefix: raw.prefix }
}

fn line_keys(config: &raw::Config, old: Option<&Policy>) -> (IndexMap<LineKey, usize>, u64) {
    let mut next = old.map_or(1, |p| p.next_line);
    let mut keys = IndexMap::with_capacity(config.lines.len());
    for (at, line) in config.lines.iter().enumerate() {
        let known = old.and_then(|p| p.line_named(&line.name.value));
        let key = known.unwrap_or_else(|| {
            next += 1;
            LineKey(next - 1)
        });
        keys.insert(key, at);
    }
    (keys, next)
}

/// Passwords that are kept as HA1 must be that, and for each algorithm that a phone may choose.
fn secrets(config: &raw::Config) -> Vec<Diagnostic> {
    let offered = || config.registrar.algorithms.iter();
    let fault = |line: &raw::Line| {
        let raw::Reach::Registers { password } = &line.reach else { return None };
        let make = format!("what `hulplijn password {}` prints", line.name.value);
        let Some(secret) = Secret::parse(&password.value.0) else {
            let what = format!("the password of `{}` begins with `ha1:` and is none", line.name.value);
            return Some(Diagnostic::error(&password.place, what).allowed(make));
        };
        let lacks =
            |word: &&raw::At<String>| Algorithm::from_name(&word.value).is_some_and(|a| !secret.has(a));
        let missing = offered().find(lacks)?;
        let what =
            format!("the `ha1:` of `{}` has none for {}, which is offered", line.name.value, missing.value);
        Some(Diagnostic::error(&password.place, what).allowed(make))
    };
    config.lines.iter().filter_map(fault).collect()
}

fn numbers(config: &raw::Config, programs: &[Arc<Program>]) -> IndexMap<String, (usize, Arc<Program>)> {
    let program = |name: &str| programs.iter().find(|p| p.name() == name).cloned();
    let entry = |(at, number): (usize, &raw::Number)| {
        Some((number.dial.value.clone(), (at, program(&number.flow.value)?)))
    };
    config.numbers.iter().enumerate().filter_map(entry).collect()
}

fn suites(config: &raw::Config) -> Vec<Suite> {
    config.media.srtp_suites.iter().filter_map(|suite| Suite::from_name(&suite.value)).collect()
}

/// The codecs of a list of names; none when there are none.
pub fn codecs(names: &[raw::At<String>]) -> Vec<Codec> {
    let known = |name: &raw::At<String>| match name.value.as_str() {
        "pcma" => Some(Codec::Pcma),
        "pcmu" => Some(Codec::Pcmu),
        "g722" => Some(Codec::G722),
        "opus" => Some(Codec::Opus),
        _ => None,
    };
    names.iter().filter_map(known).collect()
}
