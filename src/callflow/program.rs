//! Steps compiled from the config: every jump resolved, every mistake named at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{speak, ways};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw::{self, Action, At, Jump, Place};

/// One flow, ready to be walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    name: String,
    pub(super) start: usize,
    pub(super) steps: Vec<Step>,
    /// The helpline's languages; the first is spoken until another is chosen.
    pub(super) languages: Vec<String>,
    pub(super) voicemail: Voicemail,
}

/// Limits of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Voicemail {
    pub max: Duration,
    pub silence: Duration,
    pub min: Duration,
    pub finish_key: char,
}

/// Keys and where they lead.
pub(super) type Keys<T> = Vec<(char, T)>;

/// A compiled step; jumps are places in `Program::steps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Play {
        prompts: Vec<String>,
        next: usize,
    },
    Menu {
        prompts: Vec<String>,
        keys: Keys<usize>,
        timeout: Duration,
        tries: u32,
        otherwise: usize,
        silent: Option<usize>,
    },
    Language {
        prompts: Vec<String>,
        keys: Keys<String>,
        timeout: Duration,
        next: usize,
    },
    Hours {
        open: usize,
        closed: usize,
        holiday: usize,
    },
    NextOpening {
        prompts: Vec<String>,
        next: usize,
    },
    Queue {
        queue: String,
        announce_every: Duration,
        announce: Vec<String>,
        keys: Keys<usize>,
        full: usize,
        nobody: usize,
        too_long: usize,
    },
    Dial {
        destination: String,
        prompts: Vec<String>,
        failed: usize,
    },
    Message {
        prompts: Vec<String>,
        ask_callback: bool,
        done: usize,
        deleted: usize,
        failed: usize,
    },
    Line {
        line: String,
        failed: usize,
    },
    Wait,
    Loop {
        prompts: Vec<String>,
    },
    HangUp {
        prompts: Vec<String>,
    },
}

impl Program {
    /// Whether any step depends on the caller's speaking.
    pub(super) fn asks_for_speech(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Menu { silent: Some(_), .. }))
    }

    /// The flow's name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Prompts that the machine says by itself.
const OWN_PROMPTS: [&str; 4] = ["invalid-key", "no-key", "last-resort", "goodbye"];
const QUEUE_PROMPTS: [&str; 3] = ["queue-position-before", "queue-position-after", "queue-next"];
const MESSAGE_PROMPTS: [&str; 4] = ["message-keep-menu", "message-kept", "message-deleted", "message-empty"];
const MESSAGE_FAILED: &str = "message-failed";
const CALLBACK_PROMPTS: [&str; 6] = [
    "callback-ask",
    "callback-enter",
    "callback-read",
    "callback-confirm",
    "callback-thanks",
    "callback-invalid",
];

/// Programs, and warnings about them.
pub type Compiled = (Vec<Arc<Program>>, Vec<Diagnostic>);

/// Compiles every flow. `has_prompt(language, name)` says whether a prompt is there (in that language, or
/// for all). Gives the programs and warnings, or all that is wrong.
pub fn compile(
    config: &raw::Config,
    has_prompt: &dyn Fn(&str, &str) -> bool,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut programs = Vec::new();
    for flow in &config.flows {
        let mut compiler = Compiler { config, flow, has_prompt, found: Vec::new() };
        let program = compiler.compile();
        found.append(&mut compiler.found);
        programs.extend(program.map(Arc::new));
    }
    if found.iter().any(|d| d.severity == Severity::Error) { Err(found) } else { Ok((programs, found)) }
}

struct Compiler<'a> {
    config: &'a raw::Config,
    flow: &'a raw::Flow,
    has_prompt: &'a dyn Fn(&str, &str) -> bool,
    found: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn compile(&mut self) -> Option<Program> {
        self.duplicate_steps();
        let start = self.jump(&self.flow.start);
        let steps: Vec<Option<Step>> = self.flow.steps.iter().map(|step| self.step(step)).collect();
        self.prompts();
        let (start, steps) = (start?, steps.into_iter().collect::<Option<Vec<Step>>>()?);
        self.ways(start, &steps);
        let voicemail = &self.config.voicemail;
        Some(Program {
            name: self.flow.name.value.clone(),
            start,
            steps,
            languages: self.config.helpline.languages.iter().map(|l| l.value.clone()).collect(),
            voicemail: Voicemail {
                max: voicemail.max.value,
                silence: voicemail.silence.value,
                min: voicemail.min.value,
                finish_key: voicemail.finish_key.value,
            },
        })
    }

    fn error(&mut self, place: &Place, what: String) -> &mut Diagnostic {
        self.found.push(Diagnostic::error(place, what));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    fn duplicate_steps(&mut self) {
        let mut seen = BTreeSet::new();
        for step in &self.flow.steps {
            if !seen.insert(step.name.value.as_str()) {
                self.error(&step.name.place, format!("step `{}` is there twice", step.name.value));
            }
        }
    }

    fn step(&mut self, step: &raw::Step) -> Option<Step> {
        Some(match &step.action {
            Action::Play { prompts, next } => Step::Play { prompts: values(prompts), next: self.jump(next)? },
            Action::Menu { prompts, keys, timeout, tries, otherwise, silent } => {
                let (keys, otherwise) = (self.keys(keys), self.jump(otherwise));
                let silent = silent.as_ref().map(|to| self.jump(to));
                let (prompts, timeout, tries) = (values(prompts), timeout.value, tries.value.max(1));
                let silent = match silent {
                    Some(to) => Some(to?),
                    None => None,
                };
                Step::Menu { prompts, keys: keys?, timeout, tries, otherwise: otherwise?, silent }
            }
            Action::Language { prompts, keys, timeout, next } => {
                let (keys, next) = (self.languages(keys), self.jump(next));
                Step::Language { prompts: values(prompts), keys: keys?, timeout: timeout.value, next: next? }
            }
            Action::Hours { open, closed, holiday } => {
                let (open, closed) = (self.jump(open), self.jump(closed));
                let holiday = holiday.as_ref().map_or(closed, |h| self.jump(h));
                Step::Hours { open: open?, closed: closed?, holiday: holiday? }
            }
            Action::NextOpening { prompts, next } => {
                Step::NextOpening { prompts: values(prompts), next: self.jump(next)? }
            }
            Action::Queue { queue, announce_every, announce, keys, full, nobody, too_long } => {
                let names = self.config.queues.iter().map(|q| q.name.value.as_str());
                self.known("queue", queue, names.collect());
                let (keys, full) = (self.keys(keys), self.jump(full));
                let (nobody, too_long) = (self.jump(nobody), self.jump(too_long));
                Step::Queue {
                    queue: queue.value.clone(),
                    announce_every: announce_every.value,
                    announce: values(announce),
                    keys: keys?,
                    full: full?,
                    nobody: nobody?,
                    too_long: too_long?,
                }
            }
            Action::Dial { destination, prompts, failed } => {
                let names = self.config.destinations.iter().map(|d| d.name.value.as_str());
                self.known("destination", destination, names.collect());
                let destination = destination.value.clone();
                Step::Dial { destination, prompts: values(prompts), failed: self.jump(failed)? }
            }
            Action::Message { prompts, ask_callback, done, deleted, failed } => {
                let (done, deleted, failed) = (self.jump(done), self.jump(deleted), self.jump(failed));
                let (prompts, ask_callback) = (values(prompts), ask_callback.value);
                Step::Message { prompts, ask_callback, done: done?, deleted: deleted?, failed: failed? }
            }
            Action::Line { line, failed } => {
                let names = self.config.lines.iter().map(|l| l.name.value.as_str());
                self.known("line", line, names.collect());
                Step::Line { line: line.value.clone(), failed: self.jump(failed)? }
            }
            Action::Wait => Step::Wait,
            Action::Loop { prompts } => {
                if prompts.is_empty() {
                    self.error(&step.name.place, format!("step `{}` repeats no prompt", step.name.value));
                }
                Step::Loop { prompts: values(prompts) }
            }
            Action::HangUp { prompts } => Step::HangUp { prompts: values(prompts) },
        })
    }

    fn jump(&mut self, to: &Jump) -> Option<usize> {
        let at = self.flow.steps.iter().position(|s| s.name.value == to.value);
        if at.is_none() {
            let names: Vec<&str> = self.flow.steps.iter().map(|s| s.name.value.as_str()).collect();
            self.found.push(
                Diagnostic::error(
                    &to.place,
                    format!("no step `{}` in flow `{}`", to.value, self.flow.name.value),
                )
                .nearest(&to.value, names),
            );
        }
        at
    }

    fn known(&mut self, kind: &str, name: &At<String>, names: Vec<&str>) {
        if !names.contains(&name.value.as_str()) {
            let mistake = Diagnostic::error(&name.place, format!("no {kind} `{}`", name.value));
            self.found.push(mistake.allowed(names.join(", ")).nearest(&name.value, names));
        }
    }

    fn keys(&mut self, keys: &[(At<char>, Jump)]) -> Option<Keys<usize>> {
        self.each_key_once(keys.iter().map(|(key, _)| key));
        let jumps: Vec<Option<(char, usize)>> =
            keys.iter().map(|(key, to)| Some((key.value, self.jump(to)?))).collect();
        jumps.into_iter().collect()
    }

    fn languages(&mut self, keys: &[(At<char>, At<String>)]) -> Option<Keys<String>> {
        self.each_key_once(keys.iter().map(|(key, _)| key));
        let names: Vec<&str> = self.config.helpline.languages.iter().map(|l| l.value.as_str()).collect();
        for (_, language) in keys {
            self.known("language", language, names.clone());
        }
        Some(keys.iter().map(|(key, language)| (key.value, language.value.clone())).collect())
    }

    fn each_key_once<'k>(&mut self, keys: impl Iterator<Item = &'k At<char>>) {
        let mut seen = BTreeSet::new();
        for key in keys {
            if !matches!(key.value, '0'..='9' | '*' | '#') {
                self.error(&key.place, format!("`{}` is no key of a telephone", key.value));
            }
            if !seen.insert(key.value) {
                self.error(&key.place, format!("key {} is there twice", key.value));
            }
        }
    }

    // --- prompts ------------------------------------------------------------------------------------

    /// Every prompt must be there in a language; one that is missing in some of them is a warning, since callers then
    /// hear another's: a file that was lost must not stand in the way of a reload that closes the line.
    fn prompts(&mut self) {
        let mut wanted: Vec<(Place, String)> = Vec::new();
        for step in &self.flow.steps {
            let (written, implied) = prompts_of(&step.action);
            wanted.extend(written.into_iter().map(|p| (p.place.clone(), p.value.clone())));
            wanted.extend(implied.into_iter().map(|name| (step.name.place.clone(), name)));
        }
        wanted.extend(OWN_PROMPTS.iter().map(|name| (self.flow.name.place.clone(), (*name).to_owned())));
        let mut told = BTreeSet::new();
        for (place, name) in wanted {
            if !told.insert(name.clone()) {
                continue;
            }
            let all = self.config.helpline.languages.iter().map(|language| language.value.as_str());
            let (there, missing): (Vec<&str>, Vec<&str>) =
                all.partition(|language| (self.has_prompt)(language, &name));
            let (Some(_), there) = (missing.first(), there.first()) else { continue };
            let missing = missing.join("`, `");
            self.found.push(match there {
                Some(there) => {
                    let what = format!("prompt `{name}` is missing in language `{missing}`");
                    Diagnostic::warning(&place, format!("{what}: callers hear that of `{there}`"))
                }
                None => Diagnostic::error(&place, format!("prompt `{name}` is missing in every language"))
                    .allowed(
                        "a WAV of that name in the folder of a language; `hulplijn prompts check` lists them",
                    ),
            });
        }
    }

    // --- ways ---------------------------------------------------------------------------------------

    fn ways(&mut self, start: usize, steps: &[Step]) {
        let names =
            |list: &[usize]| list.iter().filter_map(|at| self.flow.steps.get(*at)).collect::<Vec<_>>();
        let ways = ways::look(start, steps);
        let (unreached, stuck, rounds) = (names(&ways.unreached), names(&ways.stuck), names(&ways.rounds));
        for step in unreached {
            self.error(&step.name.place, format!("step `{}` can't be reached", step.name.value));
        }
        for step in stuck {
            let what =
                format!("from step `{}` a caller who presses nothing finds no way out", step.name.value);
            self.error(&step.name.place, what).allowed =
                Some("a way to `hangup`, `wait` or `loop` without a key".into());
        }
        if let Some(first) = rounds.first() {
            let list: Vec<String> = rounds.iter().map(|step| format!("`{}`", step.name.value)).collect();
            let what =
                format!("a caller who presses nothing may go round without an end: {}", list.join(", "));
            self.found.push(Diagnostic::warning(&first.name.place, what));
        }
    }
}

/// Prompts that a step names, and those that it says by itself.
fn prompts_of(action: &Action) -> (Vec<&At<String>>, Vec<String>) {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>();
    match action {
        Action::Play { prompts, .. }
        | Action::Menu { prompts, .. }
        | Action::Language { prompts, .. }
        | Action::Loop { prompts }
        | Action::HangUp { prompts }
        | Action::Dial { prompts, .. } => (prompts.iter().collect(), Vec::new()),
        Action::NextOpening { prompts, .. } => (prompts.iter().collect(), speak::vocabulary()),
        Action::Queue { announce, .. } => {
            let numbers = speak::numbers();
            (announce.iter().collect(), names(&QUEUE_PROMPTS).into_iter().chain(numbers).collect())
        }
        Action::Message { prompts, ask_callback, .. } => {
            let mut implied = names(&MESSAGE_PROMPTS);
            implied.push(MESSAGE_FAILED.to_owned());
            if ask_callback.value {
                implied.extend(names(&CALLBACK_PROMPTS));
                implied.extend(speak::digits("0123456789"));
            }
            (prompts.iter().collect(), implied)
        }
        Action::Hours { .. } | Action::Line { .. } | Action::Wait => (Vec::new(), Vec::new()),
    }
}

fn values(list: &[At<String>]) -> Vec<String> {
    list.iter().map(|p| p.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::{self, at};
    use super::*;

    fn mistakes(change: impl FnOnce(&mut raw::Config), has: &dyn Fn(&str, &str) -> bool) -> Vec<String> {
        let mut config = example::config();
        change(&mut config);
        match compile(&config, has) {
            Ok((_, warnings)) => warnings.iter().map(|d| d.what.clone()).collect(),
            Err(found) => found
                .iter()
                .map(|d| {
                    format!("{}{}", d.what, d.nearest.as_deref().map_or(String::new(), |n| format!(" → {n}")))
                })
                .collect(),
        }
    }

    fn step(config: &mut raw::Config, name: &str, action: Action) {
        config.flows[0].steps.push(raw::Step { name: at(name.to_owned()), action });
    }

    #[test]
    fn the_example_compiles_without_a_finding() {
        assert_eq!(mistakes(|_| {}, &|_, _| true), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_named_at_once_with_the_nearest_name() {
        let jump = |name: &str| at(name.to_owned());
        let found = mistakes(
            |config| {
                config.flows[0].start = jump("welcom");
                step(config, "goodbye", Action::Wait);
                let keys =
                    vec![(at('1'), jump("goodbye")), (at('1'), jump("goodby")), (at('x'), jump("goodbye"))];
                let (timeout, tries) = (at(Duration::from_secs(5)), at(2));
                step(
                    config,
                    "m",
                    Action::Menu {
                        prompts: vec![],
                        keys,
                        timeout,
                        tries,
                        otherwise: jump("goodbye"),
                        silent: None,
                    },
                );
                step(config, "l", Action::Line { line: jump("anne"), failed: jump("goodbye") });
                step(config, "r", Action::Loop { prompts: vec![] });
            },
            &|_, _| true,
        );
        let expected = [
            "step `goodbye` is there twice",
            "no step `welcom` in flow `main` → welcome",
            "key 1 is there twice",
            "`x` is no key of a telephone",
            "no step `goodby` in flow `main` → goodbye",
            "no line `anne` → anna",
            "step `r` repeats no prompt",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unreachable_step_and_one_without_a_way_out_are_mistakes() {
        let jump = |name: &str| at(name.to_owned());
        let found = mistakes(
            |config| {
                step(config, "alone", Action::Wait);
                step(config, "round", Action::Play { prompts: vec![], next: jump("about") });
                step(config, "about", Action::Play { prompts: vec![], next: jump("round") });
                config.flows[0].start = jump("round");
            },
            &|_, _| true,
        );
        assert!(found.contains(&"step `alone` can't be reached".to_owned()));
        assert!(
            found.contains(&"from step `round` a caller who presses nothing finds no way out".to_owned())
        );
        assert!(
            found.contains(&"from step `about` a caller who presses nothing finds no way out".to_owned())
        );
    }

    #[test]
    fn a_prompt_missing_in_every_language_is_a_mistake_in_some_of_them_a_warning() {
        let missing = |language: &'static str| move |l: &str, n: &str| !(l == language && n == "welcome");
        let mut config = example::config();
        config.flows.truncate(1);
        let Err(found) = compile(&config, &|_, name| name != "welcome") else { panic!() };
        let what: Vec<&str> = found.iter().map(|d| d.what.as_str()).collect();
        assert_eq!(
            what,
            ["prompt `welcome` is missing in every language"],
            "once, and not for each language"
        );
        for (gone, other) in [("nl", "fr"), ("fr", "nl")] {
            let Ok((_, warnings)) = compile(&config, &missing(gone)) else { panic!() };
            assert_eq!((warnings.len(), warnings[0].severity), (1, Severity::Warning));
            let what =
                format!("prompt `welcome` is missing in language `{gone}`: callers hear that of `{other}`");
            assert_eq!(warnings[0].what, what);
        }
    }

    #[test]
    fn prompts_that_a_step_says_by_itself_are_wanted_too() {
        let wanted = |flow: &str, ask: bool| {
            let mut config = example::config();
            config.flows.retain(|f| f.name.value == flow);
            for step in config.flows.iter_mut().flat_map(|f| &mut f.steps) {
                if let Action::Message { ask_callback, .. } = &mut step.action {
                    ask_callback.value = ask;
                }
            }
            let Err(found) = compile(&config, &|_, _| false) else { panic!() };
            found.into_iter().map(|d| d.what).collect::<Vec<_>>().join("\n")
        };
        let has =
            |text: &str, name: &str| text.contains(&format!("prompt `{name}` is missing in every language"));
        let (with, without) = (wanted("message", true), wanted("message", false));
        for name in ["message-keep-menu", "message-kept", "message-failed", "goodbye", "last-resort"] {
            assert!(has(&with, name) && has(&without, name), "{name}");
        }
        for name in ["callback-ask", "callback-read", "callback-thanks", "number-0", "number-9"] {
            assert!(has(&with, name) && !has(&without, name), "{name}");
        }
        assert!(!has(&with, "number-10") && !has(&with, "day-monday"));
        let main = wanted("main", false);
        for name in ["queue-next", "number-59", "number-more", "day-sunday", "hour-23", "at-hour", "no-key"] {
            assert!(has(&main, name), "{name}");
        }
    }

    #[test]
    fn a_round_that_only_a_change_of_the_world_ends_is_a_warning() {
        let mut config = example::config();
        config.flows.truncate(1);
        for step in &mut config.flows[0].steps {
            if let Action::Message { failed, .. } = &mut step.action {
                *failed = at("menu".to_owned());
            }
        }
        let Ok((_, warnings)) = compile(&config, &|_, _| true) else { panic!() };
        let told: Vec<String> = warnings.into_iter().map(|w| w.what).collect();
        assert_eq!(told, ["a caller who presses nothing may go round without an end: `menu`, `message`"]);
    }

    #[test]
    fn what_is_shipped_has_ways_and_prompts_without_a_finding() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for dir in ["config", "config/examples/load"] {
            let Ok(config) = crate::config::load_with(&root.join(dir), &|_| None) else { panic!("{dir}") };
            let has = |language: &str, name: &str| {
                [format!("prompts/{language}/{name}.wav"), format!("prompts/{name}.wav")]
                    .iter()
                    .any(|path| root.join(path).exists())
            };
            let found = compile(&config, &has).map_or_else(|found| found, |(_, warnings)| warnings);
            let told: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(told, Vec::<String>::new(), "{dir}");
        }
    }
}
