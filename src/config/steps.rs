//! `[flow.NAME]` and its steps. Whether the jumps lead somewhere is the concern of `callflow`.

use std::time::Duration;

use super::raw::{Action, At, Flow, Step};
use super::section::Section;
use super::value::{duration, language, name, number, truth, word};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// `start` and at least one step are needed.
pub(super) fn flow(s: &mut Section<'_, '_, '_>, flow_name: At<String>) -> Flow {
    let within = format!("flow.{}.", flow_name.value);
    Flow { name: flow_name, start: s.required("start", name), steps: s.named(&within, "step", step) }
}

const ACTIONS: &[&str] = &[
    "play", "menu", "language", "hours", "closed", "queue", "dial", "message", "line", "wait", "loop",
    "hangup",
];

fn step(s: &mut Section<'_, '_, '_>, step_name: At<String>) -> Step {
    let what = s.required("do", word(ACTIONS)).value;
    let action = match what.as_str() {
        "play" => Action::Play { prompts: s.some("prompts", name), next: s.required("next", name) },
        "menu" => menu(s),
        "language" => Action::Language {
            prompts: s.some("prompts", name),
            keys: s.keys("keys", language),
            timeout: s.or("timeout", duration(SECOND, MINUTE), 6 * SECOND),
            next: s.required("next", name),
        },
        "hours" => Action::Hours {
            open: s.required("open", name),
            closed: s.required("closed", name),
            holiday: s.optional("holiday", name),
        },
        "closed" => Action::NextOpening { prompts: s.list("prompts", name), next: s.required("next", name) },
        "queue" => queue(s),
        "dial" => Action::Dial {
            destination: s.required("destination", name),
            prompts: s.list("prompts", name),
            failed: s.required("failed", name),
        },
        "message" => Action::Message {
            prompts: s.list("prompts", name),
            ask_callback: s.or("ask-callback", truth, false),
            done: s.required("done", name),
            deleted: s.required("deleted", name),
            failed: s.required("failed", name),
        },
        "line" => Action::Line { line: s.required("line", name), failed: s.required("failed", name) },
        "wait" => Action::Wait,
        "loop" => Action::Loop { prompts: s.some("prompts", name) },
        "hangup" => Action::HangUp { prompts: s.list("prompts", name) },
        _ => {
            // `do` is wrong or missing, which is reported; what else may stand here is not known.
            s.ask_nothing_more();
            Action::Wait
        }
    };
    Step { name: step_name, action }
}

/// `timeout` 6s, `tries` 3, no `silent`.
fn menu(s: &mut Section<'_, '_, '_>) -> Action {
    Action::Menu {
        prompts: s.some("prompts", name),
        keys: s.keys("keys", name),
        timeout: s.or("timeout", duration(SECOND, MINUTE), 6 * SECOND),
        tries: s.or("tries", number(1, 10), 3),
        otherwise: s.required("otherwise", name),
        silent: s.optional("silent", name),
    }
}

/// `announce-every` 60s, no `announce`, no `keys`.
fn queue(s: &mut Section<'_, '_, '_>) -> Action {
    Action::Queue {
        queue: s.required("queue", name),
        announce_every: s.or("announce-every", duration(10 * SECOND, 60 * MINUTE), MINUTE),
        announce: s.list("announce", name),
        keys: s.keys("keys", name),
        full: s.required("full", name),
        nobody: s.required("nobody", name),
        too_long: s.required("too-long", name),
    }
}
