//! Where the ways through a flow lead: steps that nobody reaches, steps that nobody leaves, and rounds in
//! which a caller who presses nothing may be kept. Callers are silent for good reasons, so no key counts
//! as a way out.

use super::program::Step;

/// What is wrong with the ways; each a list of steps in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    pub unreached: Vec<usize>,
    /// Reached, and whatever the world does, a silent caller never comes to an end.
    pub stuck: Vec<usize>,
    /// On a round that a silent caller leaves only if the world changes: it opens, or a line comes free.
    pub rounds: Vec<usize>,
}

/// Looks at every way from `start`.
pub(super) fn look(start: usize, steps: &[Step]) -> Ways {
    let reached = reached(vec![start], steps.len(), |at| steps.get(at).map(exits).unwrap_or_default());
    let (can, will) = (ends(steps, Rule::Some), ends(steps, Rule::Every));
    let is = |list: &[bool], at: usize| list.get(at) == Some(&true);
    let of =
        |wanted: &dyn Fn(usize) -> bool| (0..steps.len()).filter(|at| wanted(*at)).collect::<Vec<usize>>();
    let on_a_round = |from: usize| {
        let further = |at: usize| {
            let exits = steps.get(at).map(quiet_exits).unwrap_or_default();
            exits.into_iter().filter(|to| !is(&will, *to)).collect()
        };
        is(&self::reached(further(from), steps.len(), further), from)
    };
    Ways {
        unreached: of(&|at| !is(&reached, at)),
        stuck: of(&|at| is(&reached, at) && !is(&can, at)),
        rounds: of(&|at| is(&reached, at) && is(&can, at) && !is(&will, at) && on_a_round(at)),
    }
}

/// How many of the quiet exits must lead to an end.
#[derive(Clone, Copy)]
enum Rule {
    Some,
    Every,
}

/// Steps from which a silent caller comes to an end: from the ends backwards until nothing is added.
fn ends(steps: &[Step], rule: Rule) -> Vec<bool> {
    let mut out = vec![false; steps.len()];
    loop {
        let leads = |step: &Step| {
            let exits = quiet_exits(step);
            let good = exits.iter().filter(|to| out.get(**to) == Some(&true)).count();
            match rule {
                Rule::Some => exits.is_empty() || good > 0,
                Rule::Every => good == exits.len(),
            }
        };
        let next: Vec<bool> = steps.iter().map(leads).collect();
        if next == out {
            return out;
        }
        out = next;
    }
}

fn reached(mut open: Vec<usize>, count: usize, further: impl Fn(usize) -> Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; count];
    while let Some(at) = open.pop() {
        if let Some(mark) = reached.get_mut(at) {
            if !std::mem::replace(mark, true) {
                open.extend(further(at));
            }
        }
    }
    reached
}

/// Where a step may lead.
fn exits(step: &Step) -> Vec<usize> {
    let keys = match step {
        Step::Menu { keys, .. } | Step::Queue { keys, .. } => keys.as_slice(),
        Step::Play { .. }
        | Step::Language { .. }
        | Step::Hours { .. }
        | Step::NextOpening { .. }
        | Step::Dial { .. }
        | Step::Message { .. }
        | Step::Line { .. }
        | Step::Wait
        | Step::Loop { .. }
        | Step::HangUp { .. } => &[],
    };
    keys.iter().map(|(_, to)| *to).chain(quiet_exits(step)).collect()
}

/// Where a step may lead when the caller presses nothing; nowhere from an end and from what is meant to
/// last. A person who answers is an end too, but can't be counted on.
fn quiet_exits(step: &Step) -> Vec<usize> {
    match step {
        Step::Play { next, .. } | Step::Language { next, .. } | Step::NextOpening { next, .. } => vec![*next],
        Step::Menu { otherwise, silent, .. } => std::iter::once(*otherwise).chain(*silent).collect(),
        Step::Hours { open, closed, holiday } => vec![*open, *closed, *holiday],
        Step::Queue { full, nobody, too_long, .. } => vec![*full, *nobody, *too_long],
        Step::Dial { failed, .. } | Step::Line { failed, .. } => vec![*failed],
        Step::Message { done, deleted, failed, .. } => vec![*done, *deleted, *failed],
        Step::Wait | Step::Loop { .. } | Step::HangUp { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn play(next: usize) -> Step {
        Step::Play { prompts: vec!["welcome".into()], next }
    }

    fn menu(key: usize, otherwise: usize) -> Step {
        let (prompts, timeout) = (vec!["closed-menu".into()], Duration::from_secs(5));
        Step::Menu { prompts, keys: vec![('1', key)], timeout, tries: 2, otherwise, silent: None }
    }

    fn queue(full: usize, nobody: usize, too_long: usize) -> Step {
        let (announce_every, announce) = (Duration::from_secs(60), Vec::new());
        Step::Queue { queue: "q".into(), announce_every, announce, keys: vec![], full, nobody, too_long }
    }

    fn ways(unreached: &[usize], stuck: &[usize], rounds: &[usize]) -> Ways {
        Ways { unreached: unreached.to_vec(), stuck: stuck.to_vec(), rounds: rounds.to_vec() }
    }

    #[test]
    fn each_kind_of_trap_is_seen_and_no_honest_flow_is() {
        let end = || Step::HangUp { prompts: Vec::new() };
        let hours = |open, closed| Step::Hours { open, closed, holiday: closed };
        let cases = [
            ("straight on", vec![play(1), end()], ways(&[], &[], &[])),
            ("nobody comes there", vec![end(), end()], ways(&[1], &[], &[])),
            ("two plays", vec![play(1), play(0)], ways(&[], &[0, 1], &[])),
            ("a menu that only a key leaves", vec![menu(1, 0), end()], ways(&[], &[0], &[])),
            ("a key back to the start", vec![menu(0, 1), end()], ways(&[], &[], &[])),
            ("a loop is meant", vec![play(1), Step::Loop { prompts: Vec::new() }], ways(&[], &[], &[])),
            ("a queue that asks again", vec![play(1), queue(1, 2, 2), end()], ways(&[], &[], &[1])),
            ("told why, then again", vec![queue(2, 1, 1), end(), play(0)], ways(&[], &[], &[0, 2])),
            ("closed, again and again", vec![hours(2, 1), play(0), end()], ways(&[], &[], &[0, 1])),
            ("a line tried for ever", vec![Step::Line { line: "a".into(), failed: 0 }], ways(&[], &[0], &[])),
        ];
        for (name, steps, expected) in cases {
            assert_eq!(look(0, &steps), expected, "{name}");
        }
    }
}
