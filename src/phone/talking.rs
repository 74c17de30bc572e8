//! What goes on within a call: the script, keys, changes of the session, sound and its recording.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::call::{Offered, Stage};
use super::happening::Happening;
use super::io::{Act, Ending};
use super::{Owner, Phone, What};
use crate::base::id::{DialogKey, PlayKey, TakeKey};
use crate::base::time::Now;
use crate::media::command::{MediaCommand, RecordEnd};
use crate::media::keying::Keying;

/// How long a key that we press sounds.
const KEY: Duration = Duration::from_millis(100);
/// No packet for so long is told.
const QUIET: Duration = Duration::from_secs(5);
/// When a change of the session is under way, the next one waits for so long.
const AGAIN: Duration = Duration::from_millis(200);

impl Phone {
    /// Both sides know that the call is up.
    pub(super) fn begin_talk(&mut self, now: Now) {
        let Some(call) = &mut self.call else { return };
        call.answered = Some(now.at);
        let (leg, connected) = (call.leg, call.connected);
        if !connected {
            self.begin_sound();
        }
        if let Some(sound) = self.plan.play.clone() {
            let play = PlayKey(self.serial.next());
            self.media(MediaCommand::Play { leg, play, clips: vec![sound.clip], repeat: sound.repeat });
        }
        self.media(MediaCommand::Watch { leg, after: Some(QUIET) });
        self.plan_step();
    }

    /// What to speak is agreed on: from now on the other side may be heard.
    pub(super) fn begin_sound(&mut self) {
        let Some(call) = &mut self.call else { return };
        call.connected = true;
        if let Some(stream) = &call.stream {
            let (codec, security) = (stream.codec, stream.keying.as_ref().map(Keying::suite));
            self.tell(Happening::Answered { codec, security });
        }
        self.connect();
        self.record();
    }

    /// Tells media what was agreed.
    fn connect(&mut self) {
        let Some(call) = &self.call else { return };
        if let Some(stream) = call.stream.clone() {
            self.media(MediaCommand::Connect { leg: call.leg, stream });
        }
    }

    fn record(&mut self) {
        let Some(record) = self.plan.record.clone() else { return };
        self.recorded += 1;
        let take = TakeKey(self.serial.next());
        let Some(call) = &self.call else { return };
        let (leg, path) = (call.leg, numbered(&record.path, self.recorded));
        let command = MediaCommand::Record {
            leg,
            take,
            path,
            max: record.max,
            silence: None,
            finish_key: None,
            normalise_lufs: None,
        };
        self.media(command);
    }

    pub(super) fn was_recorded(&mut self, length: Duration, end: RecordEnd, voice: bool) {
        let Some(record) = self.plan.record.clone() else { return };
        let path = numbered(&record.path, self.recorded);
        if let Some(call) = &mut self.call {
            // What the disk refused says nothing about the voice.
            call.voice = (!end.is_broken()).then_some(voice);
        }
        if record.discard {
            self.media(MediaCommand::Discard { path });
        } else if end.is_broken() {
            self.judge(Ending::NotRecorded);
            self.tell(Happening::NotRecorded { path });
        } else {
            self.tell(Happening::Recorded { path, length });
        }
    }

    pub(super) fn audio_flows(&mut self) {
        let Some(call) = &mut self.call else { return };
        let first = !std::mem::replace(&mut call.heard, true);
        self.tell(if first { Happening::FirstAudio } else { Happening::AudioAgain });
    }

    // --- the script -------------------------------------------------------------------------------------

    fn plan_step(&mut self) {
        let Some(call) = &self.call else { return };
        if let (Some(step), Some(answered)) = (self.plan.script.get(call.step), call.answered) {
            self.timers.set(Owner::Call, What::Step, answered + step.at);
        }
    }

    pub(super) fn step(&mut self, now: Now) {
        let Some(call) = self.call.as_mut().filter(|c| c.stage == (Stage::Up { confirmed: true })) else {
            return;
        };
        let (Some(step), Some(dialog)) = (self.plan.script.get(call.step).cloned(), call.dialog) else {
            return;
        };
        call.step += 1;
        match step.act {
            Act::Press(key) => self.press(now, dialog, key),
            Act::Hold => self.change(now, dialog, Offered::Hold),
            Act::TakeBack => self.change(now, dialog, Offered::TakeBack),
            Act::Transfer(to) => self.transfer(now, dialog, to),
            Act::HangUp => return self.hang_up(now),
        }
        if !self.timers.is_set(Owner::Call, What::Step) {
            self.plan_step();
        }
    }

    /// By RFC 4733 where that was agreed on, else by INFO.
    fn press(&mut self, now: Now, dialog: DialogKey, key: char) {
        let Some(call) = &self.call else { return };
        let by_info = self.plan.keys_by_info
            || call.stream.as_ref().is_none_or(|s| s.payloads.send_key(s.codec).is_none());
        let leg = call.leg;
        if by_info {
            let body = format!("Signal={key}\r\nDuration={}\r\n", KEY.as_millis());
            self.endpoint.info(now, dialog, "application/dtmf-relay", body.into_bytes());
        } else {
            self.media(MediaCommand::SendDigit { leg, digit: key, duration: KEY });
        }
        self.tell(Happening::Pressed { key, by_info });
    }

    fn transfer(&mut self, now: Now, dialog: DialogKey, to: String) {
        let Some(call) = &self.call else { return };
        // A bare name is one of the switch's.
        let target = if to.contains(':') { format!("<{to}>") } else { format!("<sip:{to}@{}>", call.host) };
        self.endpoint.refer(now, dialog, &target);
        self.tell(Happening::Transferring { to });
    }

    pub(super) fn refer_answered(&mut self, dialog: DialogKey, status: u16) {
        if self.call_of(dialog).is_some() && status >= 300 {
            self.tell(Happening::TransferRefused { status });
        }
    }

    pub(super) fn refer_told(&mut self, dialog: DialogKey, status: u16) {
        if self.call_of(dialog).is_some() {
            self.tell(Happening::TransferTold { status });
        }
    }

    // --- changes of the session -------------------------------------------------------------------------

    fn change(&mut self, now: Now, dialog: DialogKey, offered: Offered) {
        let Some(call) = &mut self.call else { return };
        let waits = call.waits_for_answer();
        let sdp = if waits { None } else { call.make_offer(offered) };
        let sent = sdp.is_some_and(|sdp| self.endpoint.offer(now, dialog, sdp).is_ok());
        if !sent {
            if let Some(call) = &mut self.call {
                call.step -= 1;
                if !waits {
                    call.forget_offer();
                }
            }
            self.timers.set(Owner::Call, What::Step, now.at + AGAIN);
        }
    }

    pub(super) fn offer_answered(&mut self, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(call) = self.call_of(dialog) else { return };
        match call.take_answer(sdp.unwrap_or_default()) {
            Ok(offered) => {
                self.connect();
                match offered {
                    Offered::Hold => self.tell(Happening::Held),
                    Offered::TakeBack => self.tell(Happening::TakenBack),
                    Offered::Call => {}
                }
            }
            Err(_) => self.tell(Happening::OfferRefused { status: 488 }),
        }
    }

    pub(super) fn offer_failed(&mut self, dialog: DialogKey, status: u16) {
        if let Some(call) = self.call_of(dialog) {
            call.forget_offer();
            self.tell(Happening::OfferRefused { status });
        }
    }

    /// The other side changes the session, or wants to be offered one.
    pub(super) fn offered(&mut self, now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(call) = self.call_of(dialog) else {
            return self.endpoint.answer_offer(now, dialog, Err(481), false);
        };
        let spoke = call.is_heard_by_other();
        let Some(offer) = sdp else {
            let ours = call.make_offer(Offered::Call);
            return self.endpoint.answer_offer(now, dialog, ours.ok_or(488), true);
        };
        let answer = call.make_answer(offer).map_err(|_| 488);
        let speaks = call.is_heard_by_other();
        let taken = answer.is_ok();
        self.endpoint.answer_offer(now, dialog, answer, false);
        if taken {
            self.connect();
        }
        match (spoke, speaks) {
            (true, false) => self.tell(Happening::HeldByOther),
            (false, true) => self.tell(Happening::TakenBackByOther),
            (true, true) | (false, false) => {}
        }
    }

    /// A key by INFO: `application/dtmf-relay` says `Signal=5`, `application/dtmf` only `5`.
    pub(super) fn info(&mut self, dialog: DialogKey, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let signal = text.lines().find_map(|line| line.trim().strip_prefix("Signal="));
        let key = signal.unwrap_or(&text).trim().chars().next();
        if let Some(key) = key.filter(|key| crate::media::dtmf::event_of(*key).is_some()) {
            if self.call_of(dialog).is_some() {
                self.tell(Happening::KeyHeard { key });
            }
        }
    }
}

/// The file of the so-manieth recording: `heard.wav`, `heard-2.wav` …
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    path.with_file_name(name)
}
