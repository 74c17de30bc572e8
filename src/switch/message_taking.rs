//! A message on the answering machine, from the tone to the row in the store. The WAV is whole on disk
//! before its row is written; a row that the database refuses waits in the store's spool.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::call::{Call, Phase};
use super::io::Output;
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, LegKey, PlayKey, TakeKey};
use crate::base::time::Now;
use crate::callflow::machine::{FlowEvent, HungUp};
use crate::media::command::{MediaCommand, RecordEnd};
use crate::store::request::{MessageState, StoreReply, StoreRequest};
use crate::telemetry::notice::{Notice, Outcome};
use crate::voicemail::mailbox::{self, Ending};

/// How long the disk may take to close a recording.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// A recording, from its first sample until it is kept or thrown away.
pub(super) struct Take {
    call: CallKey,
    since: Instant,
    id: String,
    path: PathBuf,
    called: String,
    /// `None` while it is being recorded.
    done: Option<Done>,
    /// The caller has hung up; what is to become of it when the recording is closed.
    left: Option<Left>,
}

#[derive(Clone, Copy)]
struct Done {
    length: Duration,
    broken: bool,
}

struct Left {
    min: Duration,
}

impl Switch {
    /// Records the caller. The tone has been played before.
    pub(super) fn record(
        &mut self,
        now: Now,
        key: CallKey,
        max: Duration,
        silence: Duration,
        finish_key: char,
    ) -> Option<FlowEvent> {
        let call = self.calls.get(&key)?;
        let needed = call.policy.config.voicemail.min_free_mib.value;
        if !mailbox::enough_space(self.state.free_mebibytes, needed) || self.takes.is_full() {
            self.notice(Notice::DiskFull);
            return Some(FlowEvent::RecordFailed);
        }
        let id = mailbox::message_id(&mut self.mint.rng);
        let normalise_lufs = call.policy.config.voicemail.normalise_lufs.as_ref().map(|lufs| lufs.value);
        let path = call.policy.messages.join(mailbox::file_name(&id));
        let called = call.number.map_or(String::new(), |at| call.policy.number_name(at).to_owned());
        let leg = call.caller;
        let take = TakeKey(self.mint.serial.next());
        let _ = self.takes.insert(
            take,
            Take { call: key, since: now.at, id, path: path.clone(), called, done: None, left: None },
        );
        self.enter(now, key, Phase::Recording(take));
        self.timers.set(Owner::Call(key), What::Flow, now.at + max + DISK_PATIENCE);
        let (silence, finish_key) = (Some(silence), Some(finish_key));
        self.media(MediaCommand::Record { leg, take, path, max, silence, finish_key, normalise_lufs });
        None
    }

    /// A recording was closed, by the caller's key, by silence, by its limit, or because the caller left.
    pub(super) fn recorded(&mut self, now: Now, key: TakeKey, length: Duration, end: RecordEnd, voice: bool) {
        let broken = end.is_broken();
        if end == RecordEnd::Disk {
            self.notice(Notice::DiskFull);
        }
        let Some(take) = self.takes.get_mut(&key) else { return };
        take.done = Some(Done { length, broken });
        if let Some(left) = &take.left {
            let ending = if broken { Ending::Broken } else { Ending::Whole { voice } };
            let fate = mailbox::fate(ending, length, left.min);
            return if fate.is_some() { self.save(now, key, None) } else { self.discard(key) };
        }
        let call = take.call;
        let recording = self.calls.get(&call).map(|c| &c.phase);
        if !matches!(recording, Some(Phase::Recording(take)) if *take == key) {
            return self.discard(key);
        }
        self.enter(now, call, Phase::InFlow);
        self.timers.cancel(Owner::Call(call), What::Flow);
        if let Some(call) = self.calls.get_mut(&call) {
            call.take = Some(key);
        }
        if broken {
            // What was flushed is kept and the operator told; the caller hears that it went wrong.
            self.save(now, key, None);
            if let Some(call) = self.calls.get_mut(&call) {
                call.take = None;
            }
            return self.flow(now, call, FlowEvent::RecordFailed);
        }
        self.flow(now, call, FlowEvent::Recorded { length, voice });
    }

    /// The caller has pressed a key while recording: when it is the finishing key the disk has so long to say so.
    pub(super) fn expect_recording(&mut self, now: Now, key: CallKey, digit: char) {
        let finish = self.calls.get(&key).map(|call| call.policy.config.voicemail.finish_key.value);
        if finish == Some(digit) {
            self.timers.set(Owner::Call(key), What::Flow, now.at + DISK_PATIENCE);
        }
    }

    /// The recording is over and the disk says nothing: the caller hears that it went wrong instead of silence. Should
    /// the disk take it after all, the message is kept.
    pub(super) fn disk_is_late(&mut self, now: Now, key: CallKey, take: TakeKey) {
        self.notice(Notice::DiskFull);
        let Some(call) = self.calls.get(&key) else { return };
        let (leg, min) = (call.caller, call.policy.config.voicemail.min.value);
        if let Some(take) = self.takes.get_mut(&take) {
            take.left = Some(Left { min });
        }
        self.media(MediaCommand::StopRecord { leg });
        self.enter(now, key, Phase::InFlow);
        self.flow(now, key, FlowEvent::RecordFailed);
    }

    pub(super) fn play_take(&mut self, key: CallKey) -> Option<FlowEvent> {
        let call = self.calls.get(&key)?;
        let take = call.take.and_then(|take| self.takes.get(&take));
        let Some(path) = take.map(|t| t.path.clone()) else { return Some(FlowEvent::PlayEnded) };
        let play = PlayKey(self.mint.serial.next());
        let leg = call.caller;
        if let Some(call) = self.calls.get_mut(&key) {
            call.play = Some(play);
        }
        self.media(MediaCommand::PlayFile { leg, play, path });
        None
    }

    pub(super) fn keep_take(&mut self, now: Now, key: CallKey, callback: Option<String>) -> FlowEvent {
        let Some(call) = self.calls.get_mut(&key) else { return FlowEvent::RecordFailed };
        let Some(take) = call.take.take() else { return FlowEvent::RecordFailed };
        call.outcome = Some(Outcome::Message);
        self.save(now, take, callback);
        FlowEvent::Kept
    }

    pub(super) fn drop_take(&mut self, key: CallKey) {
        if let Some(take) = self.calls.get_mut(&key).and_then(|c| c.take.take()) {
            self.discard(take);
        }
    }

    /// The caller hung up, or the call ends otherwise: a message in hand is kept when it has a voice.
    pub(super) fn finish_take(&mut self, now: Now, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let wish = call.machine.as_ref().map(super::super::callflow::machine::Machine::hung_up);
        let min = call.policy.config.voicemail.min.value;
        if let Phase::Recording(take) = call.phase {
            let leg = call.caller;
            if let Some(take) = self.takes.get_mut(&take) {
                take.left = Some(Left { min });
                // Whether there was a voice is known only later; who hung up at once left none.
                if now.at.saturating_duration_since(take.since) >= min {
                    call.outcome.get_or_insert(Outcome::Message);
                }
            }
            return self.media(MediaCommand::StopRecord { leg });
        }
        let Some(take) = call.take.take() else { return };
        match wish {
            Some(HungUp::KeepTake { callback }) => {
                call.outcome = Some(Outcome::Message);
                self.save(now, take, callback);
            }
            Some(HungUp::DropTake | HungUp::Nothing) | None => self.discard(take),
        }
    }

    /// The call's code failed: what the caller said is kept.
    pub(super) fn rescue_take(&mut self, now: Now, call: &Call) {
        let min = call.policy.config.voicemail.min.value;
        if let Phase::Recording(take) = call.phase {
            if let Some(take) = self.takes.get_mut(&take) {
                take.left = Some(Left { min });
            }
        }
        if let Some(take) = call.take {
            self.save(now, take, None);
        }
    }

    /// The finishing key by INFO: media only hears RTP.
    pub(super) fn finish_by_info(&mut self, leg: LegKey, digit: char) {
        let call = self.legs.get(&leg).and_then(|l| self.calls.get(&l.call));
        let Some(call) = call.filter(|c| matches!(c.phase, Phase::Recording(_)) && c.caller == leg) else {
            return;
        };
        if call.policy.config.voicemail.finish_key.value == digit {
            self.media(MediaCommand::StopRecord { leg });
        }
    }

    fn save(&mut self, now: Now, key: TakeKey, callback: Option<String>) {
        let Some(take) = self.takes.remove(&key) else { return };
        let Some(done) = take.done else { return };
        let state = if done.broken { MessageState::Interrupted } else { MessageState::New };
        let row = mailbox::row(take.id, take.called, now.utc, done.length, state, callback);
        self.outputs.push_back(Output::Store(StoreRequest::SaveMessage(row)));
        let notice = if done.broken {
            Notice::MessageInterrupted
        } else {
            Notice::MessageTaken { length: done.length }
        };
        self.notice(notice);
    }

    fn discard(&mut self, key: TakeKey) {
        if let Some(take) = self.takes.remove(&key) {
            self.media(MediaCommand::Discard { path: take.path });
        }
    }

    /// What the store says: a failure is the operator's to know; the row waits in the spool.
    pub(super) fn stored(&mut self, reply: &StoreReply) {
        match reply {
            StoreReply::Saved { .. } => {}
            StoreReply::Failed { .. } => self.notice(Notice::StoreFailed),
        }
    }
}
