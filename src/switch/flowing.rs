//! The script of a call: its events go to the machine, its instructions to media, queue and lines.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Attempts, Phase};
use super::leg::KeyWay;
use super::recovery::Hours;
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, LegKey, PlayKey};
use crate::base::time::Now;
use crate::callflow::machine::{Act, FlowEvent, Instruction, Say, View};
use crate::media::command::{Clip, MediaCommand};
use crate::telemetry::notice::Outcome;

/// Steps that a script may take without waiting for anything: past it something is wrong with it, and the
/// caller hears the last resort.
const MAX_STEPS: u32 = 32;
/// Longest wait for keys after a prompt that nobody set a limit for.
const LAST_RESORT: &str = "last-resort";
/// What was sent last is not heard yet: a telephone keeps up to so much of it, to even out the network. A call that
/// ended with its last packet would cut the last word.
const PLAYED_OUT: Duration = Duration::from_millis(200);

impl Switch {
    pub(super) fn start_flow(&mut self, now: Now, key: CallKey) {
        let Some(view) = self.view(now, key) else { return };
        let first = self.calls.get_mut(&key).and_then(|c| c.machine.as_mut()).map(|m| m.begin(&view));
        self.listen_for_speech(key, true);
        if let Some(instruction) = first {
            self.instruct(now, key, instruction);
        }
    }

    /// Tells the script what happened and does what it says.
    pub(super) fn flow(&mut self, now: Now, key: CallKey, event: FlowEvent) {
        self.working_for(key);
        #[cfg(test)]
        assert!(self.state.breaks != Some(key), "broken for a test");
        let Some(view) = self.view(now, key) else { return };
        let Some(machine) = self.calls.get_mut(&key).and_then(|c| c.machine.as_mut()) else { return };
        if let Some(instruction) = machine.on(event, &view) {
            self.instruct(now, key, instruction);
        }
    }

    fn instruct(&mut self, now: Now, key: CallKey, first: Instruction) {
        let mut next = Some(first);
        for _ in 0..MAX_STEPS {
            let Some(instruction) = next.take() else { return };
            match instruction.timeout {
                Some(after) => self.timers.set(Owner::Call(key), What::Flow, now.at + after),
                None => self.timers.cancel(Owner::Call(key), What::Flow),
            }
            let mut acts = instruction.acts.into_iter();
            let Some(event) = acts.find_map(|act| self.act(now, key, act)) else { return };
            let Some(view) = self.view(now, key) else { return };
            let machine = self.calls.get_mut(&key).and_then(|c| c.machine.as_mut());
            next = machine.and_then(|m| m.on(event, &view));
        }
        self.farewell(now, key, &[LAST_RESORT], Outcome::Failed);
    }

    /// Does one act; an event when it is over at once.
    fn act(&mut self, now: Now, key: CallKey, act: Act) -> Option<FlowEvent> {
        let (keeps_place, recording) = match (&act, self.calls.get(&key).map(|c| &c.phase)) {
            (Act::Announce(_), Some(Phase::Waiting(_) | Phase::Offering(_))) => (true, false),
            (_, Some(Phase::Recording(_))) => (false, true),
            _ => (false, false),
        };
        if !keeps_place && !recording {
            self.leave_phase(now, key);
        }
        match act {
            Act::Play(says) | Act::Announce(says) => self.say(key, &says),
            Act::Silence => self.stop_playing(key),
            Act::Enqueue { queue } => return self.enqueue(now, key, &queue),
            Act::Dial { destination } => return self.dial(now, key, &destination),
            Act::Line { line } => return self.dial_line(now, key, &line),
            Act::Record { max, silence, finish_key } => {
                return self.record(now, key, max, silence, finish_key);
            }
            Act::PlayTake => return self.play_take(key),
            Act::KeepTake { callback } => return Some(self.keep_take(now, key, callback)),
            Act::DropTake => self.drop_take(key),
            Act::HangUp => {
                self.last_phase(now, key, Outcome::Goodbye);
                self.timers.set(Owner::Call(key), What::Flow, now.at + PLAYED_OUT);
            }
        }
        None
    }

    fn say(&mut self, key: CallKey, says: &[Say]) {
        let Some(call) = self.calls.get(&key) else { return };
        let clips: Vec<Arc<Clip>> = says
            .iter()
            .map(|say| match say {
                Say::Prompt { language, name } => call.policy.clip(language, name),
                Say::Beep => call.policy.beep.clone(),
            })
            .collect();
        self.play(key, clips, false);
    }

    /// Plays to the caller.
    pub(super) fn play(&mut self, key: CallKey, clips: Vec<Arc<Clip>>, repeat: bool) {
        let play = PlayKey(self.mint.serial.next());
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.play = (!repeat).then_some(play);
        let leg = call.caller;
        self.media(MediaCommand::Play { leg, play, clips, repeat });
    }

    /// Music while somebody is looked for: a caller must never meet silence.
    pub(super) fn music(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let queue = match &call.phase {
            Phase::Waiting(ticket) | Phase::Offering(Attempts { ticket: Some(ticket), .. }) => {
                Some(&*ticket.queue)
            }
            _ => None,
        };
        let music = call.policy.music(queue);
        let leg = call.caller;
        if let Some(call) = self.calls.get_mut(&key) {
            call.play = None;
        }
        self.media(MediaCommand::Hold { leg, music });
    }

    fn stop_playing(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.play = None;
        let leg = call.caller;
        self.media(MediaCommand::Stop { leg });
    }

    pub(super) fn play_ended(&mut self, now: Now, leg: LegKey, play: PlayKey) {
        let Some(key) = self.legs.get(&leg).map(|l| l.call) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        match &call.phase {
            Phase::Farewell(last) if *last == play => {
                return self.timers.set(Owner::Call(key), What::Flow, now.at + PLAYED_OUT);
            }
            _ if call.play != Some(play) => return,
            _ => {}
        }
        call.play = None;
        let waits = matches!(call.phase, Phase::Waiting(_) | Phase::Offering(_));
        if waits {
            self.music(key);
        }
        self.flow(now, key, FlowEvent::PlayEnded);
    }

    /// A key by RFC 4733, or as a tone.
    pub(super) fn event_digit(&mut self, now: Now, leg: LegKey, digit: char) {
        if self.legs.get_mut(&leg).is_some_and(|leg| leg.pressed(now.at, KeyWay::Event, digit)) {
            self.carry_key(now, leg, digit, false);
            self.digit(now, leg, digit);
        }
    }

    fn digit(&mut self, now: Now, leg: LegKey, digit: char) {
        let Some(found) = self.legs.get(&leg) else { return };
        let (key, confirming) = (found.call, found.is_confirming());
        self.working_for(key);
        if confirming {
            return self.confirm_digit(now, leg, digit);
        }
        self.code_key(now, leg, digit);
        let Some(call) = self.calls.get(&key).filter(|c| c.caller == leg) else { return };
        match call.phase {
            Phase::InFlow | Phase::Waiting(_) | Phase::Offering(_) => {
                self.flow(now, key, FlowEvent::Digit(digit));
            }
            // The finishing key is media's; others are part of the message.
            Phase::Recording(_) => self.expect_recording(now, key, digit),
            Phase::Arriving | Phase::Together(_) | Phase::Parting(_) | Phase::Farewell(_) => {}
        }
    }

    /// A key by SIP INFO: `Signal=5` (application/dtmf-relay) or the bare key (application/dtmf).
    pub(super) fn info(&mut self, now: Now, dialog: crate::base::id::DialogKey, kind: &str, body: &[u8]) {
        let Some(leg) = self.leg_of(dialog) else { return };
        let Some(digit) = info_digit(kind, body) else { return };
        if !self.legs.get_mut(&leg).is_some_and(|leg| leg.pressed(now.at, KeyWay::Info, digit)) {
            return;
        }
        if !self.hearers(leg).is_empty() {
            // Joined: the key goes across as the other side understands it.
            self.carry_key(now, leg, digit, true);
            return self.code_key(now, leg, digit);
        }
        self.finish_by_info(leg, digit);
        self.digit(now, leg, digit);
    }

    pub(super) fn flow_timeout(&mut self, now: Now, key: CallKey) {
        match self.calls.get(&key).map(|call| &call.phase) {
            // The tone of a join plays: the script waits, in case the other leaves before its end.
            Some(Phase::Together(_)) => {
                self.timers.set(Owner::Call(key), What::Flow, now.at + Duration::from_secs(1));
            }
            Some(Phase::Farewell(_)) => self.end_call(now, key, Outcome::Goodbye),
            Some(Phase::Recording(take)) => self.disk_is_late(now, key, *take),
            _ => self.flow(now, key, FlowEvent::TimedOut),
        }
    }

    /// The last words, then the end.
    pub(super) fn farewell(&mut self, now: Now, key: CallKey, prompts: &[&str], outcome: Outcome) {
        let play = self.last_phase(now, key, outcome);
        let Some(call) = self.calls.get_mut(&key) else { return };
        if self.legs.get(&call.caller).is_none() {
            // Who left others together has heard the last word already.
            return self.end_call(now, key, outcome);
        }
        let language = call.machine.take().map(|m| m.language().to_owned());
        let spoken = |name: &&str| match &language {
            Some(language) => call.policy.clip(language, name),
            None => call.policy.own_clip(name),
        };
        let clips = prompts.iter().map(spoken).collect();
        let leg = call.caller;
        self.media(MediaCommand::Play { leg, play, clips, repeat: false });
    }

    /// What is left to the call is its end. The play that its last words may have.
    fn last_phase(&mut self, now: Now, key: CallKey, outcome: Outcome) -> PlayKey {
        // A message in hand is kept before the script that knows of it goes.
        self.finish_take(now, key);
        self.leave_phase(now, key);
        let play = PlayKey(self.mint.serial.next());
        self.enter(now, key, Phase::Farewell(play));
        self.timers.cancel(Owner::Call(key), What::Flow);
        if let Some(call) = self.calls.get_mut(&key) {
            call.play = None;
            call.outcome.get_or_insert(outcome);
        }
        play
    }

    pub(super) fn too_long_a_call(&mut self, now: Now, key: CallKey) {
        self.farewell(now, key, &["goodbye"], Outcome::Goodbye);
    }

    fn view(&mut self, now: Now, key: CallKey) -> Option<View> {
        let position = self.position(key);
        let call = self.calls.get(&key)?;
        let (state, Hours { local, next_opening, closing }) = self.state.calendar(&call.policy, now.utc);
        Some(View {
            now,
            open: state.open,
            holiday: state.is_holiday(),
            local,
            next_opening,
            closing,
            position,
        })
    }
}

/// The key in an INFO body.
fn info_digit(kind: &str, body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?;
    let word = if kind == "application/dtmf-relay" {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?
    } else {
        text.trim()
    };
    let digit = match word {
        "10" => '*',
        "11" => '#',
        _ => word.chars().next().filter(|_| word.chars().count() == 1)?.to_ascii_uppercase(),
    };
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D').then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_info_are_read_in_both_forms() {
        let cases = [
            ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", Some('5')),
            ("application/dtmf-relay", "signal= # \r\nDuration=160", Some('#')),
            ("application/dtmf-relay", "Signal=10\r\n", Some('*')),
            ("application/dtmf-relay", "Duration=160\r\n", None),
            ("application/dtmf-relay", "Signal=x\r\n", None),
            ("application/dtmf", "7", Some('7')),
            ("application/dtmf", "77", None),
            ("application/dtmf", "", None),
        ];
        for (kind, body, digit) in cases {
            assert_eq!(info_digit(kind, body.as_bytes()), digit, "{body}");
        }
    }
}
