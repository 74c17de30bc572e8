//! Random flows and random worlds: a small switch obeys the machine and answers as the real one may. Whatever
//! happens, the machine keeps to the rules of a recording, and a caller who falls silent comes to an end.

use std::time::Duration;

use proptest::prelude::*;

use super::example::{self, at};
use super::machine::{Act, FlowEvent, HungUp, Instruction, Machine, Mode, Say, View};
use super::program::compile;
use crate::base::id::Rng;
use crate::base::time::Now;
use crate::calendar::schedule::LocalTime;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw::{self, Action, At, Jump};

/// What the switch is doing for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Playing,
    Silent,
    Queued { talking: bool, rounds: u32 },
    Dialling,
    Recording,
    Gone,
}

/// How the world answers for as long as a caller is watched.
#[derive(Debug, Clone, Copy)]
struct World {
    open: bool,
    holiday: bool,
    queue: Queue,
    disk: bool,
    voice: bool,
}

#[derive(Debug, Clone, Copy)]
enum Queue {
    Full,
    Nobody,
    Waits,
}

/// One caller, the machine and what a switch would hold for them.
struct Stage {
    machine: Machine,
    world: World,
    doing: Doing,
    timeout: Option<Duration>,
    /// A finished recording that is neither kept nor thrown away.
    take: bool,
    trace: Vec<String>,
}

impl Stage {
    fn begin(mut machine: Machine, world: World) -> Self {
        let first = machine.begin(&view(world));
        let doing = Doing::Silent;
        let mut stage = Self { machine, world, doing, timeout: None, take: false, trace: Vec::new() };
        stage.obey(first);
        stage
    }

    fn tell(&mut self, event: FlowEvent) {
        let key = if let FlowEvent::Digit(key) = event { key.to_string() } else { String::new() };
        self.trace.push(format!("{event:?} {key}"));
        if let Some(instruction) = self.machine.on(event, &view(self.world)) {
            self.obey(instruction);
        }
        self.check();
    }

    /// Does what is said, with what is over at once told at once, as `switch` does.
    fn obey(&mut self, first: Instruction) {
        let mut next = Some(first);
        for _ in 0..32 {
            let Some(instruction) = next.take() else { return };
            self.trace.push(format!("  {instruction:?}"));
            assert!(!instruction.acts.is_empty() || matches!(self.doing, Doing::Queued { .. }), "{self}");
            self.timeout = instruction.timeout;
            for act in instruction.acts {
                if let Some(event) = self.act(act) {
                    next = self.machine.on(event, &view(self.world));
                }
            }
        }
        panic!("it never comes to rest: {self}");
    }

    fn act(&mut self, act: Act) -> Option<FlowEvent> {
        assert!(self.doing != Doing::Gone, "an act after the end: {self}");
        match act {
            Act::Play(says) => {
                assert!(says.iter().all(spoken), "{self}");
                self.doing = Doing::Playing;
            }
            Act::Announce(_) => {
                let Doing::Queued { rounds, .. } = self.doing else { panic!("{self}") };
                self.doing = Doing::Queued { talking: true, rounds };
            }
            Act::Silence => self.doing = Doing::Silent,
            Act::Enqueue { .. } => {
                assert!(self.timeout.is_some(), "a queue without announcements: {self}");
                self.doing = Doing::Queued { talking: false, rounds: 0 };
                return match self.world.queue {
                    Queue::Full => Some(FlowEvent::QueueFull),
                    Queue::Nobody => Some(FlowEvent::NobodyThere),
                    Queue::Waits => None,
                };
            }
            Act::Dial { .. } | Act::Line { .. } => self.doing = Doing::Dialling,
            Act::Record { .. } => {
                assert!(!self.take, "the earlier recording is forgotten: {self}");
                self.doing = Doing::Recording;
                return (!self.world.disk).then_some(FlowEvent::RecordFailed);
            }
            Act::PlayTake => {
                assert!(self.take, "nothing to play: {self}");
                self.doing = Doing::Playing;
            }
            Act::KeepTake { callback } => {
                assert!(self.take, "nothing to keep: {self}");
                assert!(callback.is_none_or(|n| (3..=15).contains(&n.len())), "{self}");
                self.take = false;
                return Some(FlowEvent::Kept);
            }
            Act::DropTake => {
                assert!(self.take, "nothing to throw away: {self}");
                self.take = false;
            }
            Act::HangUp => self.doing = Doing::Gone,
        }
        None
    }

    /// What holds whenever the machine waits.
    fn check(&self) {
        let kept = matches!(self.machine.hung_up(), HungUp::KeepTake { .. });
        assert_eq!(kept, self.take, "a message in hand, and no other, is kept by hanging up: {self}");
        let queued = matches!(self.doing, Doing::Queued { .. } | Doing::Dialling);
        assert_eq!(self.machine.is_waiting(), queued, "{self}");
    }

    /// Something that may happen now, keys included.
    fn event(&mut self, rng: &mut Rng) -> Option<FlowEvent> {
        if self.doing != Doing::Recording && rng.below(2) == 0 {
            // The keys of menus more often than others.
            let key = b"0123456789*#112233##"[rng.below(20) as usize];
            return Some(FlowEvent::Digit(char::from(key)));
        }
        self.quiet_event()
    }

    /// What happens when the caller does nothing; `None`: nothing will, or the call is over.
    fn quiet_event(&mut self) -> Option<FlowEvent> {
        match self.doing {
            Doing::Playing => Some(FlowEvent::PlayEnded),
            Doing::Queued { talking: true, rounds } => {
                self.doing = Doing::Queued { talking: false, rounds };
                Some(FlowEvent::PlayEnded)
            }
            // The switch's longest wait.
            Doing::Queued { rounds: 3.., .. } => Some(FlowEvent::TooLong),
            Doing::Queued { talking: false, rounds } => {
                self.doing = Doing::Queued { talking: false, rounds: rounds + 1 };
                Some(FlowEvent::TimedOut)
            }
            Doing::Silent => self.timeout.map(|_| FlowEvent::TimedOut),
            Doing::Dialling => Some(FlowEvent::DialFailed),
            Doing::Recording => {
                self.take = true;
                Some(FlowEvent::Recorded { length: Duration::from_secs(5), voice: self.world.voice })
            }
            Doing::Gone => None,
        }
    }

    /// The caller does nothing any more: tells whether it ends, or comes to a step that is meant to last.
    fn falls_silent(&mut self, steps: usize) -> bool {
        for _ in 0..60 * steps {
            // Steps that are meant to last.
            if matches!(self.machine.mode, Mode::Waiting | Mode::Looping) {
                return true;
            }
            match self.quiet_event() {
                Some(event) => self.tell(event),
                None => return self.doing == Doing::Gone,
            }
        }
        false
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} take {}\n{}", self.doing, self.take, self.trace.join("\n"))
    }
}

fn spoken(say: &Say) -> bool {
    match say {
        Say::Beep => true,
        Say::Prompt { language, name } => !language.is_empty() && !name.is_empty(),
    }
}

fn view(world: World) -> View {
    let opening = LocalTime { weekday: chrono::Weekday::Tue, hour: 9, minute: 30, days_ahead: 1 };
    View {
        now: Now::read(),
        open: world.open,
        holiday: world.holiday,
        local: LocalTime { hour: 3, days_ahead: 0, ..opening },
        closing: world.disk.then_some(LocalTime { hour: 17, ..opening }),
        next_opening: (!world.open).then_some(opening),
        position: world.voice.then_some(2),
    }
}

fn world(rng: &mut Rng) -> World {
    World {
        open: rng.below(2) == 0,
        holiday: rng.below(2) == 0,
        queue: [Queue::Full, Queue::Nobody, Queue::Waits][rng.below(3) as usize],
        disk: rng.below(4) > 0,
        voice: rng.below(2) == 0,
    }
}

/// A flow of up to eight steps that jump anywhere, without the steps that can't be reached.
fn random_flow(rng: &mut Rng) -> raw::Flow {
    let count = 1 + rng.below(8);
    let name = |n: u64| at(format!("s{n}"));
    let steps: Vec<raw::Step> =
        (0..count).map(|n| raw::Step { name: name(n), action: random_action(rng, count) }).collect();
    let mut reached = vec!["s0".to_owned()];
    let mut done = 0;
    while let Some(name) = reached.get(done).cloned() {
        done += 1;
        let action = steps.iter().find(|s| s.name.value == name).map(|s| &s.action);
        for jump in action.into_iter().flat_map(jumps) {
            if !reached.contains(&jump.value) {
                reached.push(jump.value.clone());
            }
        }
    }
    let steps = steps.into_iter().filter(|s| reached.contains(&s.name.value)).collect();
    raw::Flow { name: at("random".to_owned()), start: name(0), steps }
}

fn random_action(rng: &mut Rng, count: u64) -> Action {
    let mut jump = || at(format!("s{}", rng.below(count)));
    let (a, b, c, d) = (jump(), jump(), jump(), jump());
    let prompts = vec![at("welcome".to_owned())];
    let keys = vec![(at('1'), c.clone()), (at('2'), d)];
    let timeout = at(Duration::from_secs(5));
    match rng.below(13) {
        0 | 1 => Action::Play { prompts, next: a },
        2 => Action::Menu { prompts, keys, timeout, tries: at(2), otherwise: a, silent: Some(b) },
        3 => {
            let keys = vec![(at('1'), at("nl".to_owned())), (at('2'), at("fr".to_owned()))];
            Action::Language { prompts, keys, timeout, next: a }
        }
        4 => Action::Hours { open: a, closed: b, holiday: Some(c) },
        5 => Action::NextOpening { prompts: Vec::new(), next: a },
        6 => {
            let (queue, announce_every) = (at("1712".to_owned()), at(Duration::from_secs(60)));
            Action::Queue { queue, announce_every, announce: prompts, keys, full: a, nobody: b, too_long: c }
        }
        7 => Action::Dial { destination: at("tele-onthaal".to_owned()), prompts, failed: a },
        8 => Action::Message { prompts, ask_callback: at(true), done: a, deleted: b, failed: c },
        9 => Action::Line { line: at("anna".to_owned()), failed: a },
        10 => Action::Wait,
        11 => Action::Loop { prompts },
        _ => Action::HangUp { prompts },
    }
}

fn jumps(action: &Action) -> Vec<&Jump> {
    fn with<'a>(keys: &'a [(At<char>, Jump)], more: [&'a Jump; 3]) -> Vec<&'a Jump> {
        keys.iter().map(|(_, to)| to).chain(more).collect()
    }
    match action {
        Action::Play { next, .. } | Action::Language { next, .. } | Action::NextOpening { next, .. } => {
            vec![next]
        }
        Action::Menu { keys, otherwise, silent, .. } => {
            with(keys, [otherwise, silent.as_ref().unwrap_or(otherwise), otherwise])
        }
        Action::Hours { open, closed, holiday } => {
            [open, closed].into_iter().chain(holiday.as_ref()).collect()
        }
        Action::Queue { keys, full, nobody, too_long, .. } => with(keys, [full, nobody, too_long]),
        Action::Dial { failed, .. } | Action::Line { failed, .. } => vec![failed],
        Action::Message { done, deleted, failed, .. } => vec![done, deleted, failed],
        Action::Wait | Action::Loop { .. } | Action::HangUp { .. } => Vec::new(),
    }
}

/// The machine of a random flow with what `compile` says of it; `None` when it is refused.
fn compiled(flow: raw::Flow) -> (Option<Machine>, Vec<Diagnostic>) {
    let mut config = example::config();
    config.flows = vec![flow];
    match compile(&config, &|_, _| true) {
        Ok((programs, warnings)) => (programs.first().cloned().map(Machine::new), warnings),
        Err(found) => (None, found),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A flow without a finding: whatever happens first, a caller who then does nothing comes to an end.
    #[test]
    fn a_caller_who_falls_silent_comes_to_an_end(seed: u64) {
        let mut rng = Rng::from_number(seed);
        let flow = random_flow(&mut rng);
        let steps = flow.steps.len();
        let (machine, findings) = compiled(flow.clone());
        if let (Some(machine), true) = (machine, findings.is_empty()) {
            for _ in 0..10 {
                let mut stage = Stage::begin(machine.clone(), world(&mut rng));
                for _ in 0..rng.below(30) {
                    let Some(event) = stage.event(&mut rng) else { break };
                    stage.tell(event);
                }
                prop_assert!(stage.falls_silent(steps), "{flow:?}\n{stage}");
            }
        }
    }

    /// A flow is refused only when there is a step that no silent caller leaves, whatever the world.
    #[test]
    fn a_refused_flow_has_no_end_for_the_silent(seed: u64) {
        let mut rng = Rng::from_number(seed);
        let flow = random_flow(&mut rng);
        let (machine, findings) = compiled(flow.clone());
        prop_assert_eq!(machine.is_none(), findings.iter().any(|f| f.severity == Severity::Error));
        if machine.is_none() {
            let ends = |action: &Action| jumps(action).is_empty();
            let quiet = |action: &Action| -> Vec<String> {
                let keyed = match action {
                    Action::Menu { keys, .. } | Action::Queue { keys, .. } => keys.len(),
                    _ => 0,
                };
                jumps(action).into_iter().skip(keyed).map(|to| to.value.clone()).collect()
            };
            let stuck = flow.steps.iter().any(|from| {
                let mut seen = vec![from.name.value.clone()];
                let mut next = 0;
                while let Some(step) = seen.get(next).and_then(|n| flow.steps.iter().find(|s| s.name.value == *n)) {
                    if ends(&step.action) {
                        return false;
                    }
                    for to in quiet(&step.action) {
                        if !seen.contains(&to) {
                            seen.push(to);
                        }
                    }
                    next += 1;
                }
                true
            });
            prop_assert!(stuck, "{flow:?} {findings:?}");
        }
    }

    /// The caller's way and the message alone, walked long with a voice and a disk: nothing that was
    /// recorded is lost or doubled.
    #[test]
    fn the_callers_way_keeps_its_promises(seed: u64) {
        let mut rng = Rng::from_number(seed);
        for name in ["main", "message", "languages"] {
            let machine = example::walk(name).machine;
            let fair = World { disk: true, voice: rng.below(4) > 0, ..world(&mut rng) };
            let mut stage = Stage::begin(machine, fair);
            for _ in 0..rng.below(120) {
                let Some(event) = stage.event(&mut rng) else { break };
                stage.tell(event);
            }
            prop_assert!(stage.falls_silent(14), "{stage}");
        }
    }
}
